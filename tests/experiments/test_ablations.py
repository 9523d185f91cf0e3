"""experiments/ablations.py: each file of params/ablations is trained as it is written, and the tables say what the files say."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prose import prose

from experiments import ablations, compare
from hitagu_lib.config import Config, load_config
from hitagu_lib.evaluation.seeds import ends, folder_name
from hitagu_lib.files import project_root, write_csv


def test_ablations_are_trained_and_told_apart(
    tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, out = tmp_path / "params.yaml", tmp_path / "ablations"
    params.write_text(tiny_cfg.to_yaml())
    without = tmp_path / "no_stu.yaml"
    without.write_text(
        f"# Is the memory missed?\nbase: {params}\nrun: elsewhere\nmodel: {{ stu: {{ enabled: false }} }}\n"
    )
    monkeypatch.setattr(ablations, "FILES", {"no_stu": without})
    right = {(True, 0): 5, (True, 1): 6, (False, 0): 4, (False, 1): 4}
    trained: list[Config] = []

    def train(command: list[str], **options: Any) -> None:
        cfg = load_config(command[5], command[7])
        trained.append(cfg)
        run = Path(cfg.run)
        run.mkdir(parents=True)
        (run / "params.yaml").write_text(cfg.to_yaml())
        correct = right[cfg.model.stu.enabled, cfg.train.seed]
        summary = {"seed": cfg.train.seed, "epochs": cfg.train.epochs, "val_clips": 10, "val_top1": correct / 10}
        (run / "summary.json").write_text(json.dumps(summary | {"train_cpu_seconds": 100.0, "parameters": 7}))
        (run / "val_classes.csv").write_text(f'label,clips,correct\n"Moving something up",10,{correct}\n')
        keys = ("git_commit", "git_changed", "device", "started", "data_fingerprint")
        origin = dict.fromkeys([*keys, "python"], "x") | {"packages": {"torch": "2", "torchvision": "0"}}
        (run / "provenance.json").write_text(json.dumps(origin))
        (run / "metrics.jsonl").write_text("{}\n")

    monkeypatch.setattr(compare.subprocess, "run", train)
    ablations.main(["--params", str(params), "--out", str(out), "--seeds", "0", "1", "--parallel", "1"])
    assert [(cfg.model.stu.enabled, cfg.train.seed, cfg.train.epochs) for cfg in trained] == [
        (True, 0, 2), (False, 0, 2), (True, 1, 2), (False, 1, 2)
    ]  # fmt: skip
    base, less = (out / "ablations.md").read_text().splitlines()[2:]
    assert "| as it is " in base and " 55.0 ± 7.1 |" in base
    assert "| `no_stu`: Is the memory missed? | " in less and " -15.0 |" in less
    table = pd.read_csv(tmp_path / "ablations.csv")
    assert table["points"].tolist() == [0, 0, -10, -20] and (table["git_commit"] == "x").all()
    assert table["gflops"][0] > table["gflops"][2]


def test_every_file_asks_a_question_and_can_change_any_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    root = project_root()
    monkeypatch.chdir(root)
    for name, file in ablations.FILES.items():
        assert ablations.question(name)
        assert "base: params/mini.yaml" in file.read_text(encoding="utf-8")
        as_overrides = load_config(root / "params/mini.yaml", ablations.changes(name))
        assert dataclasses.replace(load_config(file), run=as_overrides.run) == as_overrides
        assert folder_name(name, 0) == f"{name}-seed0"
    assert len(ablations.FILES) == len(list((project_root() / "params/ablations").iterdir()))


def test_runs_on_the_memory_set_are_told_by_task_and_wait(tmp_path: Path) -> None:
    files = [tmp_path / f"waits{seed}.csv" for seed in range(2)]
    for file, lighting in zip(files, (10, 6), strict=True):
        rows = [
            (name, label, "10", str(right))
            for name in ("val", "val_wait2", "val_wait4")
            for label, right in (
                ("Lighting it", lighting - 5 * (name == "val_wait4")),
                ("Hiding it", 7),
                ("Showing it", 9),
            )
        ]
        write_csv(file, rows, ("list", "label", "clips", "correct"))
    assert ablations._after_waits(files) == {
        "Lighting, x 1 / x 4": "80.0 / 30.0",
        "Hiding, x 1 / x 4": "70.0 / 70.0",
        "Showing, x 1 / x 4": "90.0 / 90.0",
    }
    assert ablations._after_waits([]) == {}, "other recipes' tables stay as they are"


LOSSES = ("center_loss", "temporal_loss", "both_losses")


def said(folder: str, name: str) -> str:
    """The ablation's difference in the published table, as the text begins it: `-3.4 (-5.5 to -1.2`."""
    table = (project_root() / "outputs/published" / folder / "ablations.md").read_text(encoding="utf-8")
    (row,) = [line for line in table.splitlines() if line.startswith(f"| `{name}`")]
    return row.split("|")[4].strip().rstrip(")")


def test_chapter_6_says_what_the_published_runs_show() -> None:
    runs = pd.read_csv(project_root() / "outputs/published/ablations.csv")
    points, seeds = (
        runs.groupby("ablation")[column].agg(how) for column, how in (("points", "mean"), ("seed", "count"))
    )
    assert set(seeds.index) == {"as it is", *ablations.FILES} and set(seeds) == {5}
    assert "two epochs under five seeds" in (text := prose("book/06_ablations.py"))
    files = f"Each of the {len(ablations.FILES)} files in `params/ablations/` has been run under five seeds on mini."
    assert files in prose("book/index.md")
    as_it_is = runs[runs["ablation"] == "as it is"]["top1"]
    assert f"Five seeds of the network as it is lie up to {np.ptp(as_it_is):.1f} points apart" in text

    mde = said("ablations", "no_mde")
    assert f"MDE is worth {-points['no_mde']:.0f} points**: without it the network is at {mde})." in text
    assert f"(`mde_no_differences`, {points['mde_no_differences']:+.1f})" in text
    alone, top, shifts = (
        f"(`{name}`, {points[name]:+.1f})" for name in ("mde_map_alone", "mde_top_map", "mde_no_shifts")
    )
    assert f"look at other frames {alone}, on an early map {top}, and allow for shifts {shifts}." in text
    low, high = ({name: ends(list(of))[i] for name, of in runs.dropna().groupby("ablation")["points"]} for i in (0, 1))
    for name in ("no_mde", "mde_map_alone", "mde_top_map", "mde_no_shifts"):
        assert high[name] < 0
    for name in ("mde_no_differences", *(name for name in low if name.startswith("stu_")), *LOSSES):
        assert low[name] < 0 < high[name], "the text says that it decides nothing"

    stu, sca, tsa = (said("ablations", name).split(" (") for name in ("no_stu", "no_sca", "no_tsa"))
    assert f"without one of them the network is at {stu[0]}, {sca[0]} and {tsa[0]} points" in text
    assert f"Only TSA's interval excludes zero ({tsa[1]}), a hint that it costs here." in text
    assert low["no_stu"] < 0 and low["no_sca"] < 0 < low["no_tsa"]
    seconds = runs.groupby("ablation")["cpu_seconds"].median()
    assert (
        f"With four frames in place of eight the network is at {said('ablations', 'frames_4')}), with sixteen at "
        f"{said('ablations', 'frames_16')}), in {seconds['frames_16'] / seconds['as it is']:.1f} times the time."
    ) in text
    assert (
        f"gates from 0 to 1 that start at random, is at {said('ablations', 'sca_as_in_cbam')}), which decides nothing"
        in text
    )
    assert low["sca_as_in_cbam"] < 0 < high["sca_as_in_cbam"]
    assert f"pass a quarter of the map at the start, the network is at {said('ablations', 'sca_half_open')})." in text
    assert f"of which one is low ({as_it_is.min():.1f} %) and lifts nearly every ablation" in text
    assert as_it_is.min() < as_it_is.sort_values().iloc[1] - 2
    index = prose("book/index.md")
    lower, more = (f"{abs(points[name]):.1f}" for name in ("no_mde", "no_attention"))
    assert low["no_stu"] < 0 < high["no_stu"], "level"
    assert (
        f"it is {lower} points lower without MDE, level without the 3STU, and {more} higher without its two attentions"
        in index
    )
    assert points["no_mde"] < 0 < min(points["no_stu"], points["no_attention"])
    recovered = points["mde_no_shifts"] - points["mde_map_alone"]
    assert 0.4 < recovered / -points["mde_map_alone"] < 0.6 and "without it they recover half of what is lost." in text
    assert f"a random one is at {said('ablations', 'sca_random_start')})." in text
    assert f"the random start is at {said('sca-hard', 'sca_random_start')}; three seeds" in text
    assert not runs["git_changed"].any()


def test_other_chapters_say_what_their_modules_ablations_show() -> None:
    of = {name: said("ablations", name) for name in ablations.FILES}
    mde, attention, losses, results = (
        prose(f"book/{name}")
        for name in ("02b_mde.py", "02d_attention.py", "02e_head_and_losses.py", "appendix/results.md")
    )
    low, high = re.findall(r"-(\d+\.\d)", of["mde_no_shifts"].split(" (")[1])
    shifts = of["mde_no_shifts"].split(" (")[0].lstrip("-")
    assert f"taking out the shift weights costs {shifts} points ({high} to {low})" in mde
    assert f"nothing that these seeds can show ({of['mde_no_differences'].replace(' (', ', ')})" in mde
    top, top_ends = of["mde_top_map"].split(" (")
    high, low = re.findall(r"-(\d+\.\d)", top_ends)
    assert f"mini's network loses {top.lstrip('-')} points ({low} to {high};" in mde
    cbam, start, half_open = (of[name].split(" (") for name in ("sca_as_in_cbam", "sca_random_start", "sca_half_open"))
    assert (
        f"the network with this random start is {cbam[0].lstrip('-')} points lower, which decides nothing ({cbam[1]}). With our "
        f"gates up to 2 but a random start it is {start[0].lstrip('+')} points higher ({start[1]}), with gates up to 1 that start half "
        f"open {half_open[0].lstrip('-')} points lower ({half_open[1]})."
    ) in attention
    points, both = of["no_attention"].split(" (")
    assert f"the network is {points.lstrip('+')} points higher without both ({both}; five seeds" in attention
    assert (
        f"center loss {of['center_loss'].replace(' (', ' points (')}), temporal consistency {of['temporal_loss']}), both "
        f"{of['both_losses']})."
    ) in losses
    lower, without = of["no_mde"].split(" (")
    assert (
        f"the network is {lower.lstrip('-')} points lower without MDE ({without}), and {points.lstrip('+')} points higher without both "
        f"attentions ({both})."
    ) in results and f"all {len(ablations.FILES)} ablations" in results
