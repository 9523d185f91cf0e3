"""experiments/streaming.py: matched bytes, top-1 by the frames seen, and the table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import woken
from prose import prose

from experiments.memory import read_waits
from experiments.streaming import (
    METHODS,
    causal_minus,
    every_prefix,
    matched_window,
    read_shares,
    stream_bytes,
    write_table,
)
from hitagu_lib.config import load_config, resolve
from hitagu_lib.evaluation.seeds import interval
from hitagu_lib.files import write_csv

ROOT = Path(__file__).resolve().parents[2]


def test_the_causal_tsa_keeps_as_many_bytes_as_the_unit_in_its_place() -> None:
    cfg = load_config(ROOT / "params" / "mini.yaml", "model.causal=true")
    window = matched_window(cfg)

    def without(window: int) -> int:
        return stream_bytes(resolve(cfg.to_mapping(), f"model.stu.enabled=false model.attention.tsa_window={window}"))

    assert without(window - 1) < stream_bytes(cfg) <= without(window)


def test_a_network_that_is_not_causal_is_run_anew_on_each_prefix() -> None:
    model = {"backbone": {"name": "resnet18", "cut": "layer1"}, "temporal": "gru"}
    x, t = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(4.0).expand(2, 4)
    with torch.inference_mode():
        anew = every_prefix(woken(resolve({"model": model}).model), x, t)
        causal = every_prefix(woken(resolve({"model": model | {"causal": True}}).model), x, t)
    torch.testing.assert_close(anew, causal, rtol=0, atol=1e-5)  # a GRU is causal either way


def test_the_table_has_a_row_a_method_and_a_column_a_share(tmp_path: Path) -> None:
    for name, half in (("causal-seed0", 40.0), ("fold1/causal-seed0", 50.0), ("tsn-seed0", 30.0)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "shares.json").write_text(json.dumps({"1": half, "2": 80.0}))
    write_table(tmp_path)
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (tmp_path / "shares.md").read_text().splitlines()[2:6]
    ]
    assert lines[0] == ["method", "runs", "50 %", "100 %"]
    assert lines[2:] == [["causal", "2", "45.0 ± 7.1", "80.0 ± 0.0"], ["TSN", "1", "30.0", "80.0"]]


def test_differences_pair_runs_of_one_fold_whose_seeds_are_averaged(tmp_path: Path) -> None:
    """Seeds of one fold share its clips: they are no pairs of their own."""
    reached = {
        "causal": {"fold1/%s-seed0": 60.0, "fold1/%s-seed10": 10.0, "fold1/%s-seed2": 80.0, "fold2/%s-seed0": 50.0},
        "TSN": {"fold1/%s-seed0": 40.0, "fold1/%s-seed2": 70.0, "fold2/%s-seed0": 20.0, "fold2/%s-seed3": 5.0},
        "online TSM": {"fold3/%s-seed0": 1.0},
    }
    for method, runs in reached.items():
        for run, half in runs.items():
            folder = tmp_path / (run % method.lower().replace(" ", "-"))
            folder.mkdir(parents=True)
            (folder / "shares.json").write_text(json.dumps({"1": half, "2": 2 * half}))
    assert causal_minus(tmp_path, 50.0) == {"online TSM": [], "TSN": [15.0, 30.0]}
    write_table(tmp_path)
    *_, row = (tmp_path / "shares.md").read_text().splitlines()
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "TSN",
        "2",
        interval([15, 30]),
        interval([30, 60]),
    ]


def test_a_clip_of_an_odd_number_of_frames_has_its_last_frame_before_the_half(tmp_path: Path) -> None:
    for method, ahead in (("causal", 3.0), ("tsn", 0.0)):
        (tmp_path / f"{method}-seed0").mkdir()
        shares = {str(n): 10.0 * n + ahead for n in range(1, 6)}
        (tmp_path / f"{method}-seed0" / "shares.json").write_text(json.dumps(shares))
    write_table(tmp_path)
    head, _, row = (tmp_path / "shares.md").read_text().splitlines()[-3:]
    assert "after 40 %" in head and row.split("|")[3].strip() == "+3.0"


def test_runs_on_the_memory_set_have_a_table_of_waits(tmp_path: Path) -> None:
    (tmp_path / "causal-seed0").mkdir()
    (tmp_path / "causal-seed0" / "shares.json").write_text(json.dumps({"1": 40.0}))
    rows = [
        (name, label, "10", str(right))
        for name, lighting in (("val", 10), ("val_wait2", 9), ("val_wait4", 8), ("val_wait8", 6))
        for label, right in (("Lighting something", lighting), ("Hiding something", 5), ("Showing it", 9))
    ]
    summary = {"seed": 0, "epochs": 1, "val_clips": 30, "val_top1": 0.5, "train_cpu_seconds": 1}
    (tmp_path / "causal-seed0" / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "causal-seed0" / "val_classes.csv").write_text("label,clips,correct\n")
    write_csv(tmp_path / "causal-seed0" / "waits.csv", rows, ("list", "label", "clips", "correct"))
    write_table(tmp_path)
    head, _, row = [line.strip("| \n").split("|") for line in (tmp_path / "shares.md").read_text().splitlines()[-3:]]
    assert [cell.strip() for cell in head[2:]] == [
        *(f"all, x {wait}" for wait in (1, 2, 4, 8)),
        *(f"{task}, x {wait}" for task in ("Lighting", "Hiding") for wait in (1, 4)),
    ]
    assert [cell.strip() for cell in row] == [
        "causal",
        "1",
        *["80.0", "76.7", "73.3", "66.7", "100.0", "80.0", "50.0", "50.0"],
    ]


@pytest.mark.parametrize("file", sorted((ROOT / "outputs/published/streaming").rglob("shares.json")), ids=str)
def test_the_last_share_is_what_validation_reached(file: Path) -> None:
    shares = list(json.loads(file.read_text()).values())
    summary = json.loads(file.with_name("summary.json").read_text())
    assert shares[-1] == pytest.approx(100 * summary["val_top1"], abs=0.01)


def reached(data: str, runs: int, *shares: float) -> list[dict[str, str]]:
    """Return method -> mean top-1 as texts have it, for each share of the clip; every method has as many runs."""
    found = read_shares(ROOT / "outputs/published/streaming" / data)
    assert set(found) == set(METHODS) and {len(t) for top1 in found.values() for t in top1.values()} == {runs}
    return [{method: f"{np.mean(top1[share]):.1f}" for method, top1 in found.items()} for share in shares]


def ahead_of(data: str, peer: str, share: float) -> list[str]:
    """Return by how many points the causal network is ahead, and the interval of it, as texts have them."""
    points = causal_minus(ROOT / "outputs/published/streaming" / data, share)[peer]
    return interval(points).rstrip(")").split(" (")


def test_chapter_10_says_what_the_runs_reached() -> None:
    half, end, eighth = reached("mini", 5, 50.0, 100.0, 12.5)
    (ahead, range_half), (behind, range_end) = (ahead_of("mini", "not causal", share) for share in (50.0, 100.0))
    text = prose("book/10_live.py")
    prefix = "causal with prefix loss"
    for sentence in (
        f"no cost shows at the end of a clip: {end['causal']} % against {end['not causal']} % ({behind} points, {range_end}, five seeds). "
        f"After half of it the causal network is right on {half['causal']} %, the one that is not causal on {half['not causal']} % "
        f"({ahead} points, {range_half}), but that one was not trained on so few frames.",
        f"After half of a clip of mini, the causal network is right on {half['causal']} % of the clips, with the prefix loss "
        f"{half[prefix]} %; after an eighth, "
        f"{eighth['causal']} and {eighth[prefix]} %: training on prefixes pays where little has been seen.",
        f"there TSM's online form is ahead of the causal network without that loss, with {eighth['online TSM']} %, and TSN is near it with "
        f"{eighth['TSN']} %.",
        f"The network that is not causal is right on {half['not causal']} % at half.",
        f"TSM's online form reaches {half['online TSM']} %, TSN {half['TSN']} %. A causal TSA "
        f"without the 3STU is as good, {half['causal TSA']} %",
    ):
        assert sentence in text
    assert float(end["causal"]) >= float(end["not causal"])
    usual = read_shares(ROOT / "outputs/published/streaming/mini")["not causal"][50.0]
    assert (
        f"On mini it is right on {half['causal']} % after half of each clip, the usual one, which was not trained on so few frames, on "
        f"{half['not causal']} % ({min(usual):.0f} to {max(usual):.0f} %; {ahead} points, {range_half}, five seeds). "
        f"At the end the causal one is right on {end['causal']} %, the usual one on {end['not causal']} % ({behind} points, {range_end})."
    ) in prose("book/appendix/results.md")


def test_chapter_10_says_what_hard_reached() -> None:
    half, end = reached("hard", 1, 50.0, 100.0)
    prefix = "causal with prefix loss"
    *attentive, tsm, tsn = (
        end[method] for method in ("causal", prefix, "not causal", "causal TSA", "online TSM", "TSN")
    )
    assert min(map(float, attentive)) >= 99
    assert (
        f"After half of it, the causal network is right on {half['causal']} %, with the prefix loss on {half[prefix]} %, the network that "
        f"is not causal on {half['not causal']} %, a causal TSA on {half['causal TSA']} %, TSM's online form on {half['online TSM']} % and "
        f"TSN on {half['TSN']} %. At its end the first four are right on {', '.join(attentive[:3])} and {attentive[3]} %, TSM's online "
        f"form on {tsm} % and TSN on {tsn} % (one seed)."
    ) in prose("book/10_live.py")
    assert (
        f"On hard it is right on {half['causal']} % after half and on {end['causal']} % at the end, with the prefix loss on "
        f"{half[prefix]} and {end[prefix]} %, the usual one on {half['not causal']} and {end['not causal']} % (one seed)."
    ) in prose("book/appendix/results.md")


def test_chapter_10_says_what_the_words_reached() -> None:
    half, end = reached("lips_words", 4, 50.0, 100.0)
    points, low_high = ahead_of("lips_words", "causal TSA", 100.0)
    range_half, range_end = (ahead_of("lips_words", "not causal", share)[1] for share in (50.0, 100.0))
    text = prose("book/10_live.py")
    for sentence in (
        f"with the prefix loss the causal network is right on {half['causal with prefix loss']} %, without it on {half['causal']} %, and "
        f"TSM's online form on {half['online TSM']} %; the network that is not causal, run anew on each prefix, on {half['not causal']} %.",
        f"On ten spoken words the causal network is behind after half of a clip: {half['causal']} against {half['not causal']} % "
        f"({range_half} points over four folds, one seed). At the end the runs cannot tell: {end['causal']} against {end['not causal']} % "
        f"({range_end}).",
        f"At the end the causal network is right on {end['causal']} %, the one that is not causal on {end['not causal']} %, TSM's "
        f"online form on {end['online TSM']} % and TSN on {end['TSN']} %.",
        f"with a causal TSA in its place, it ends at {end['causal TSA']} %, {points.lstrip('+')} points lower ({low_high} by Student's t "
        "over the four folds, one seed), and after half no difference shows.",
    ):
        assert sentence in text
    assert low_high.startswith("+") and range_half.count("-") == 2 and range_end.startswith("-") and "+" in range_end
    assert ahead_of("lips_words", "causal TSA", 50.0)[1].startswith("-")
    assert (
        f"On the ten words it ends at {end['causal']} %, the usual network at {end['not causal']} % "
        f"({ahead_of('lips_words', 'not causal', 100.0)[0]} points, {range_end}), and a causal attention in place of its 3STU at "
        f"{end['causal TSA']} % (one seed, four folds)."
    ) in prose("book/appendix/results.md")


def test_chapter_10_says_what_a_stream_remembers() -> None:
    found = read_waits(ROOT / "outputs/published/streaming/memory", METHODS)
    assert {seed for _, seed in found} == {0}
    causal = found["causal", 0]
    assert [round(causal[name]["all"], 1) for name in ("val", "val_wait2", "val_wait4", "val_wait8")] == [100.0] * 4
    text = prose("book/10_live.py")
    assert "is right on 100.0 % of all clips at their end, after 1, 2, 4 and 8 times the wait of training" in text
    tsa, tsm = (
        [f"{found[method, 0][name]['Lighting']:.1f}" for name in ("val", "val_wait4")]
        for method in ("causal TSA", "online TSM")
    )
    assert (
        f"A causal TSA with as many bytes is right on {tsa[0]} % of the clips of *Lighting* (chapter 2c; chance is 50 %) at the wait of "
        f"training and on {tsa[1]} % at four times it, TSM's online form on {tsm[0]} and {tsm[1]} %."
    ) in text
    attention = found["causal TSA", 0]["val"]["all"]
    mini = np.mean(read_shares(ROOT / "outputs/published/streaming/mini")["causal TSA"][100.0])
    assert (
        f"On mini that attention is as good, {mini:.1f} %. On memory that attention is right on {attention:.1f} % at the wait of training. "
        "The causal network is right on all clips, also after 2, 4 and 8 times that wait (one seed)."
    ) in prose("book/appendix/results.md")


def test_chapter_10_says_what_a_frame_of_a_stream_costs() -> None:
    def rows(name: str) -> dict[str, list[str]]:
        lines = (ROOT / f"outputs/published/streaming/{name}.md").read_text().splitlines()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| 1")]
        return {row[0]: row[1:] for row in cells}

    mini, large = rows("mini"), rows("ssv2")
    first, last = (float(mini[frames][1].split(" ")[0]) for frames in ("10", "10,000"))
    assert len({row[3] for row in mini.values()}) == 1 and last < 1.1 * first, "neither bytes nor time grow"
    text = prose("book/10_live.py")
    assert (
        f"a frame takes {first:.1f} ms after 10 frames and {last:.1f} ms after 10,000, and the state stays at {mini['10'][3]} bytes"
        in text
    )
    assert f"That is {float(mini['10,000'][2]):.1f} times the bare backbone" in text
    wall, _, ratio = large["100"][:3]
    assert f"a frame takes {float(wall.split(' ')[0]):.0f} ms, {ratio} times the bare backbone." in text
