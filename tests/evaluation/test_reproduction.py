"""`hitagu report reproduction`: runs made up for the purpose, whose right table is known."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from prose import prose

from hitagu_lib.cli.main import main
from hitagu_lib.config import load_config
from hitagu_lib.errors import ConfigError
from hitagu_lib.evaluation.reproduction import (
    PEERS,
    Result,
    read_peers,
    reproduction,
    reproduction_table,
    reproduction_text,
    run_commands,
)
from hitagu_lib.evaluation.seeds import by_method, read_runs, rerun_within

ROOT = Path(__file__).resolve().parents[2]
MULTI = {"clips": 2, "crops": 3, "crop_size": 256}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def write_run(
    folder: Path, top1: float, seed: int = 0, recipe: str = "ssv2", overrides: str = "", **changed: Any
) -> Path:
    """A finished run of a recipe on 8 processes, as far as the report reads it."""
    cfg = load_config(f"params/{recipe}.yaml", f"run={folder} train.seed={seed} {overrides}")
    summary = {
        "seed": seed, "num_classes": 174, "train_clips": 168913, "val_clips": 24777, "train_seconds": 3600.0, "device": "cuda",
        "val_top1": top1 / 100, "bad_clips": 0, "global_batch_size": cfg.train.global_batch_size(),
    }  # fmt: skip
    provenance = {"processes": 8, "git_changed": False, "git_commit": "0123456789abcdef"}
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(cfg.to_yaml())
    (folder / "summary.json").write_text(json.dumps(summary | {k: v for k, v in changed.items() if k in summary}))
    (folder / "provenance.json").write_text(
        json.dumps(provenance | {k: v for k, v in changed.items() if k in provenance})
    )
    return folder


def write_evaluation(run: Path, name: str, **report: Any) -> None:
    (run / f"evaluate-{name}").mkdir()
    (run / f"evaluate-{name}" / "report.json").write_text(json.dumps(report))


def write_runs(out: Path, *top1: float, overrides: str = "train.processes=8", **changed: Any) -> list[Result]:
    """Runs of one recipe, seed by seed; return what the report finds."""
    for seed, value in enumerate(top1):
        write_run(out / f"seed{seed}", value, seed, overrides=overrides, **changed)
    return reproduction([out]).results


def test_runs_that_differ_in_their_seed_are_one_result(tmp_path: Path) -> None:
    (result,) = write_runs(tmp_path, 62.0, 63.0, 64.0)
    assert (result.data, result.method, result.views, result.frames) == ("ssv2", "HiTAGU-Net", "1 x 1", 8)
    assert result.top1 == pytest.approx([62, 63, 64]) and result.seeds == [0, 1, 2]
    assert result.hours == pytest.approx(8), "an hour of eight processes"
    assert result.deviations == [] and result.commits == ["0123456789ab"]
    assert result.gflops == pytest.approx(33.9, abs=0.1), "chapter 8's budget"
    assert result.verdict == "above TSM: +3.9 points"
    (row,) = [line for line in reproduction_table(reproduction([tmp_path]), "ssv2").splitlines() if "run" in line]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "**HiTAGU-Net**, run", "resnet50", "8", "1 x 1", "33.98", "**63.0 ± 1.0**", "3", "8.0 h, cuda", "above TSM: +3.9 points"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("top1", "verdict"),
    [
        ((58.0, 59.0, 60.0), "level with TSM: -0.1 points, within two standard deviations"),
        ((50.0, 50.5, 51.0), "below TSM: -8.6 points"),
        ((70.0, 70.1), "no verdict from fewer than 3 seeds: +10.9 points from TSM"),
    ],
)
def test_verdict_beside_a_peer(tmp_path: Path, top1: tuple[float, ...], verdict: str) -> None:
    (result,) = write_runs(tmp_path, *top1)
    assert result.verdict == verdict


@pytest.mark.parametrize(
    ("top1", "verdict"),
    # by hand: one run beside three of standard deviation 0.364: 4.303 x 0.364 x sqrt(1/3 + 1) = 1.81; of two runs sqrt(1/3 + 1/2): 1.43
    [
        ((98.8,), "reproduced: -0.4 points from 99.2 ± 0.4, where 95 % of reruns are within 1.8"),
        ((100.0,), "reproduced: +0.8 points from 99.2 ± 0.4, where 95 % of reruns are within 1.8"),
        ((97.3,), "not reproduced: -1.9 points from 99.2 ± 0.4, where 95 % of reruns are within 1.8"),
        ((97.7, 97.7), "not reproduced: -1.5 points from 99.2 ± 0.4, where 95 % of reruns are within 1.4"),
    ],
)
def test_verdict_beside_our_own_runs(tmp_path: Path, top1: tuple[float, ...], verdict: str) -> None:
    for seed, value in enumerate(top1):
        write_run(tmp_path / f"run{seed}", value, recipe="mini", num_classes=14, seed=seed)
    (result,) = reproduction([tmp_path]).results
    assert (result.data, result.verdict) == ("mini", verdict)


def test_chapter_9_says_how_far_a_rerun_may_lie() -> None:
    ours = by_method(read_runs(ROOT / "outputs/published/mini-compare"))["HiTAGU-Net"]
    assert len(ours) == 3 and f"on mini one run may lie {rerun_within(ours, 1):.1f} points away" in prose(
        "book/09_reproduction.py"
    )


def test_every_deviation_is_named(tmp_path: Path) -> None:
    (result,) = write_runs(
        tmp_path, 60.0, overrides="train.lr=0.02 train.processes=4 data.workers=3 data.root=/big", train_clips=160000, git_changed=True,
        bad_clips=3,
    )  # fmt: skip
    assert result.deviations == [
        "train.lr 0.02, recipe 0.01",
        "32 clips per step, recipe 64",
        "train_clips 160,000 of 168,913",
        "3 clips could not be read",
        "the code had uncommitted changes, or its commit is not known",
    ]
    assert result.verdict.endswith("; deviates from the recipe")
    text = reproduction_text(reproduction([tmp_path]))
    assert all(f"  - {deviation}" in text for deviation in result.deviations)


def test_the_clips_of_a_step_are_those_of_the_run_whoever_started_its_processes(tmp_path: Path) -> None:
    """torchrun leaves train.processes at 1."""
    run = write_run(tmp_path / "run", 60.0)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"global_batch_size": 64}))
    (result,) = reproduction([tmp_path]).results
    assert result.deviations == []


def test_other_parameters_make_another_result(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 60.0, overrides="train.processes=8")
    write_run(tmp_path / "b", 61.0, seed=1, overrides="train.processes=8 train.epochs=10")
    write_run(tmp_path / "c", 50.0, overrides="train.processes=8 model.temporal=tsm")
    results = {result.method + str(result.seeds): result for result in reproduction([tmp_path]).results}
    assert results.keys() == {"HiTAGU-Net[0]", "HiTAGU-Net[1]", "TSM[0]"}
    assert results["TSM[0]"].deviations == [], "the method is not a deviation from itself"
    assert results["HiTAGU-Net[1]"].deviations == ["train.epochs 10, recipe 50"]


def test_an_evaluation_in_the_run_s_folder_is_a_result_of_its_own(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        run = write_run(tmp_path / f"seed{seed}", 60.0, seed, overrides="train.processes=8")
        write_evaluation(run, "multi", views=MULTI, top1=0.615 + 0.01 * seed)
    single, multi = reproduction([tmp_path]).results
    assert (single.views, multi.views) == ("1 x 1", "2 x 3")
    assert multi.top1 == pytest.approx([61.5, 62.5, 63.5])
    assert multi.gflops == pytest.approx(single.gflops * (256 / 224) ** 2, rel=0.02), "larger crops cost more"
    assert multi.verdict == "level with TSM: +1.3 points, within two standard deviations", (
        "the reference with six views"
    )


def test_an_evaluation_of_other_frames_another_list_checkpoint_or_average_is_not_the_run_s(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 60.0)
    views = {"clips": 1, "crops": 1, "crop_size": 224, "num_frames": 8, "sampling": "segment"}
    for name, report in (
        ("T4", {"views": views | {"num_frames": 4}}),
        ("train", {"views": views, "list": "train.csv"}),
        ("best", {"views": views, "checkpoint": f"{run}/checkpoints/best.pt"}),
        ("logits", {"views": views, "average": "logits"}),
    ):
        write_evaluation(run, name, **report, top1=0.99)
    found = reproduction([tmp_path])
    assert [result.top1 for result in found.results] == [[60.0]]
    assert [line.split(": ")[1].split(",")[0] for line in found.left_out] == [
        "num_frames 4",
        f"checkpoint {'best.pt'}",
        "average logits",
        "list train.csv",
    ]


def test_a_run_counts_once_and_so_does_a_seed(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "run", 60.0)
    write_run(tmp_path / "b" / "run", 60.0)
    found = reproduction([tmp_path / "a", tmp_path / "a" / "run", tmp_path / "b"])
    assert [result.top1 for result in found.results] == [[60.0]] and len(found.left_out) == 1
    assert "another run of seed 0, which counts once" in found.left_out[0]


def test_a_second_run_of_a_seed_is_named_once_however_many_views_it_has(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_evaluation(write_run(tmp_path / name, 60.0), "multi", views=MULTI, top1=0.62)
    found = reproduction([tmp_path])
    assert [result.top1 for result in found.results] == [[60.0], [62.0]]
    assert found.left_out == [f"{tmp_path}/b: another run of seed 0, which counts once"]


def test_two_protocols_with_as_many_views_are_two_results(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 60.0)
    for name, top1 in (("multi", 0.62), ("tsm_twice", 0.59)):
        write_evaluation(run, name, protocol=name, views=MULTI, top1=top1)
    results = {result.views: result for result in reproduction([tmp_path]).results}
    assert {views: result.top1 for views, result in results.items()} == {
        "1 x 1": [60.0],
        "2 x 3": [62.0],
        "2 x 3 tsm_twice": [59.0],
    }
    assert all("from TSM" in result.verdict for result in results.values()), "the peers with as many views"


@pytest.mark.parametrize("provenance", [{"git_changed": None, "git_commit": None}, {"git_commit": None}])
def test_a_run_of_an_unknown_commit_deviates(tmp_path: Path, provenance: dict[str, Any]) -> None:
    (result,) = write_runs(tmp_path, 62.0, **provenance)
    assert result.deviations == ["the code had uncommitted changes, or its commit is not known"]


def test_epochs_are_those_of_the_books_own_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "short", 36.0, recipe="mini", overrides="model.temporal=tsn train.epochs=4", num_classes=14)
    write_run(tmp_path / "full", 44.0, recipe="mini", overrides="model.temporal=tsn train.epochs=8", num_classes=14)
    short, full = sorted(reproduction([tmp_path]).results, key=lambda result: result.top1)
    assert (short.deviations, full.deviations) == (["train.epochs 4, recipe 8"], [])
    assert short.verdict.endswith("deviates from the recipe") and full.verdict.startswith("reproduced")


def test_the_books_own_runs_count_only_where_a_folder_of_theirs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hitagu_lib.evaluation.reproduction.PEERS", str(tmp_path / "outputs/published/peers.yaml"))
    mine = write_run(tmp_path / "outputs/mine", 60.0)
    theirs = write_run(tmp_path / "outputs/published/grid/run-seed1", 61.0, seed=1)

    def runs(*folders: Path) -> list[str]:
        return [
            run
            for result in reproduction(folders, ROOT / "outputs/published/peers.yaml").results
            for run in result.runs
        ]

    outputs = tmp_path / "outputs"
    assert runs(outputs) == runs(*outputs.iterdir()) == [str(mine)]
    assert runs(outputs, theirs.parent) == [str(mine), str(theirs)]
    assert runs(outputs / "published") == []
    (left_out,) = reproduction([outputs / "published"], ROOT / "outputs/published/peers.yaml").left_out
    assert left_out.startswith(
        f"{outputs}/published: this book's own 1 runs, which count if a folder inside it is named"
    )


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    (write_run(tmp_path / "stopped", 60.0) / "summary.json").unlink()
    write_run(tmp_path / "own", 60.0, num_classes=3)
    found = reproduction([tmp_path])
    assert not found.results
    assert found.left_out == [
        f"{tmp_path}/own: its data are not in {PEERS}",
        f"{tmp_path}/stopped: unfinished, 0 epochs done",
    ]
    assert f"- {found.left_out[0]}" in reproduction_text(found)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none: no such folder; expected runs"):
        reproduction([tmp_path / "none"])


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("summary.json", "{", "summary.json: found no JSON object"),
        ("summary.json", "[1]", "summary.json: found [1]; expected what a run writes"),
        ("summary.json", '{"seed": 0}', "summary.json: val_top1: found nothing; expected what a run writes"),
        ("summary.json", {"val_top1": "high"}, "summary.json: val_top1: found 'high'; expected what a run writes"),
        ("summary.json", {"val_top1": 60.0}, "summary.json: val_top1: found 60.0; expected what a run writes"),
        ("summary.json", {"seed": None}, "summary.json: seed: found None; expected what a run writes"),
        ("provenance.json", {"processes": "8 of them"}, "provenance.json: processes: found '8 of them'"),
        ("provenance.json", None, "provenance.json: found no JSON object"),
        ("params.yaml", "data: 3\n", "params.yaml:1: data"),
    ],
)
def test_a_damaged_run_is_left_out_with_the_reason(
    tmp_path: Path, file: str, text: str | dict[str, object] | None, reason: str
) -> None:
    write_run(tmp_path / "whole", 60.0)
    damaged = write_run(tmp_path / "damaged", 60.0, seed=1) / file
    damaged.parent.mkdir(exist_ok=True)
    if isinstance(text, dict):
        text = json.dumps(json.loads(damaged.read_text()) | text)
    damaged.unlink() if text is None else damaged.write_text(text)
    found = reproduction([tmp_path])
    assert [result.seeds for result in found.results] == [[0]]
    assert len(found.left_out) == 1 and f"{tmp_path}/damaged/" in found.left_out[0] and reason in found.left_out[0]


def test_a_damaged_evaluation_is_left_out_and_its_run_counts(tmp_path: Path) -> None:
    report = write_run(tmp_path / "run", 60.0) / "evaluate-multi" / "report.json"
    report.parent.mkdir()
    report.write_text('{"views": {"clips": 2}, "top1": 0.5}')
    found = reproduction([tmp_path])
    assert [result.views for result in found.results] == ["1 x 1"]
    assert found.left_out == [f"{report}: views.crops: found nothing; expected what a run writes"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("top1: 61", "found 61"),
        ("top: 61.0", r"ssv2\.peers\.0\.top: found 61\.0; expected otherwise: Extra inputs"),
        ("views: 6", r"ssv2\.peers\.0\.views: found 6; expected otherwise"),
    ],
)
def test_a_wrong_entry_of_the_peers_file_is_named(tmp_path: Path, line: str, message: str) -> None:
    row = "name: TSM, backbone: R50, pretrain: null, frames: 8, gflops: null, source: s, checked: true"
    rest = "" if line.startswith("views") else ", views: 1 x 1"
    rest += "" if line.startswith("top1") else ", top1: 61.2"
    (tmp_path / "peers.yaml").write_text(
        f"ssv2:\n  title: s\n  recipe: params/ssv2.yaml\n  peers:\n    - {{ {row}{rest}, {line} }}\n"
    )
    if line == "top1: 61":  # a whole number will do for a percentage
        assert read_peers(tmp_path / "peers.yaml")["ssv2"].peers[0].top1 == 61
        return
    with pytest.raises(ConfigError, match=message):
        read_peers(tmp_path / "peers.yaml")


@pytest.mark.slow
def test_the_repository_s_own_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "reproduction", "outputs/published/mini"]) == 0
    text = capsys.readouterr().out
    assert text.count("not run: needs data and GPUs") == 2, "Kinetics-700 and Something-Something V2"
    assert re.search(r"\| reproduced: [+-]0\.\d points from 99\.2 ± 0\.4", text), (
        "runs of mini's recipe beside the other seeds"
    )
    assert main(["report", "reproduction", "outputs/published/mini", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [result["data"] for result in found["results"]] == ["mini"] and found["left_out"] == []


@pytest.mark.parametrize("data", ["k700", "ssv2", "hard"])
def test_the_commands_for_a_missing_run_are_commands(data: str) -> None:
    """Their options exist, their parameters resolve, and a run by them deviates from nothing."""
    entry = read_peers()[data]
    for line in run_commands(data, entry):
        words = shlex.split(line)
        assert words[0] == "hitagu"
        if words[1] == "train":
            cfg = load_config(words[words.index("--params") + 1], words[words.index("--overrides") + 1])
            assert cfg.train.global_batch_size() == (cfg.train.lr_batch or cfg.train.batch_size)
        assert main([*words[1:], "--help"]) == 0
