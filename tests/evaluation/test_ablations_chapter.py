"""What chapter 6 says in words is what the published runs measured."""

import json
import math
import statistics
from pathlib import Path

import pytest
from prose import prose

from experiments.ablations import EPOCHS
from hitagu_lib.config import load_config
from hitagu_lib.evaluation.seeds import (
    KINDS,
    METHODS,
    PublishedRun,
    above_by_more_than_spread,
    by_method,
    differences_table,
    read_runs,
    spread,
)
from hitagu_lib.prepare.synthetic.hard import HARD_FRAMES
from hitagu_lib.prepare.synthetic.make import SETTINGS
from hitagu_lib.runs.run_dir import read_metrics

ROOT = Path(__file__).resolve().parents[2]
TEXT = prose("book/06_ablations.py")
MINI, HARD = (read_runs(ROOT / "outputs/published" / name) for name in ("mini-compare", "hard"))
OURS, WITHOUT, *PEERS = METHODS


def means(runs: list[PublishedRun], kind: str | None = None) -> dict[str, float]:
    return {method: statistics.mean(top1) for method, top1 in by_method(runs, kind).items()}


def pair(of: str) -> dict[str, float]:
    """Method -> mean over seeds of top-1 on both classes of the pair that `of` belongs to."""
    (both,) = [labels for labels in SETTINGS["hard"].pairs if of in labels]
    first, second = (by_method(HARD, label=label) for label in both)
    return {m: statistics.mean((a + b) / 2 for a, b in zip(first[m], second[m], strict=True)) for m in first}


def minus(runs: list[PublishedRun], method: str) -> str:
    """HiTAGU-Net minus a method, with its interval, as the table of differences has it."""
    (row,) = [line for line in differences_table(runs, OURS) if line.startswith(f"| {method} ")]
    return row.split("|")[2].strip()


def said(*words: str) -> None:
    for sentence in words:
        assert sentence in TEXT, f"the chapter no longer says {sentence!r}; its test is out of date"


def test_all_methods_have_the_seeds_that_the_head_names() -> None:
    mini, hard = ({method: len(top1) for method, top1 in by_method(runs).items()} for runs in (MINI, HARD))
    assert set(mini.values()) == {3} and hard == {OURS: 7, WITHOUT: 7, **dict.fromkeys(PEERS, 3)}
    said("standard deviation over three seeds; on hard seven seeds of HiTAGU-Net and of the network without 3STU:")


@pytest.mark.parametrize("method", METHODS)
def test_the_table_at_the_head(method: str) -> None:
    columns = [by_method(MINI), by_method(HARD), *(by_method(HARD, kind) for kind in KINDS)]
    said(f"| {method} | {' | '.join(spread(top1[method]) for top1 in columns)} |")


def test_readme_and_results_have_the_same_rows() -> None:
    rows = {"mini": by_method(MINI), "hard": by_method(HARD)}
    kinds = ("its classes of one motion", "its classes of two events and a pause")
    rows |= {name: by_method(HARD, kind) for name, kind in zip(kinds, KINDS, strict=True)}
    for name, top1 in rows.items():
        row = f"| {name} | {' | '.join(f'{spread(top1[method])} %' for method in METHODS)} |"
        assert row in prose("book/appendix/results.md")
        assert name not in ("mini", "hard") or row in prose("README.md")


def test_the_network_is_above_its_peers_with_every_seed_and_the_bar_is_reached() -> None:
    said(
        "On both sets, HiTAGU-Net's worst seed is above the best seed of TSM, GRU and TSN.",
        "At about equal training time HiTAGU-Net beats TSM, GRU and TSN on mini and on hard.",
        "is reached: above TSM on hard by more than",
    )
    for runs in (MINI, HARD):
        top1 = by_method(runs)
        assert all(min(top1[OURS]) > max(top1[peer]) for peer in PEERS)
    assert above_by_more_than_spread(by_method(HARD)[OURS], by_method(HARD)["TSM"])


def test_the_memory_is_not_needed_on_mini_and_hard() -> None:
    more = [means(runs)[WITHOUT] - means(runs)[OURS] for runs in (MINI, HARD)]
    said("Without it, the mean is {:.1f} points higher on mini and {:.1f} on hard".format(*more))
    said(
        f"is {minus(MINI, WITHOUT)} points on mini and {minus(HARD, WITHOUT)} on hard, where it costs a little: both solve the sets,"
    )
    assert minus(HARD, WITHOUT).count("-") == 3, "the interval excludes zero"
    assert min(more) > 0 and min(min(by_method(runs)[m]) for runs in (MINI, HARD) for m in (OURS, WITHOUT)) > 97


def test_tsm_has_not_finished_learning() -> None:
    def at_the_end(method: str) -> str:
        top1 = [100 * read_metrics(run.folder)[-1]["train_top1"] for run in HARD if run.method == method]
        return f"{min(top1):.0f} to {max(top1):.0f} %"

    tsm, ours = at_the_end("TSM"), at_the_end(OURS)
    said(f"at the end it is right on {tsm} of hard's training clips, HiTAGU-Net on {ours}.")
    assert f"was right on {tsm} of hard's training clips, where HiTAGU-Net had {ours}." in prose(
        "book/appendix/results.md"
    )
    assert f"({tsm} of hard's training clips)" in prose("README.md")


def test_the_kinds_of_class() -> None:
    tsm = by_method(HARD, KINDS[0])["TSM"]
    said(
        f"On one motion, TSM's seeds range from {min(tsm):.0f} to {max(tsm):.0f} %.",
        "This may be why it is at chance on two events.",
    )
    assert abs(means(HARD, KINDS[1])["TSM"] - 50) < 5


def test_the_times_that_differ() -> None:
    def of(method: str, key: str) -> list[float]:
        return [run.summary[key] for run in MINI if run.method == method]

    seconds = {method: f"{statistics.mean(of(method, 'train_cpu_seconds')):.0f}" for method in ("TSM", OURS, WITHOUT)}
    ours, without = ({4: "four", 5: "five"}[of(method, "epochs")[0]] for method in (OURS, WITHOUT))
    said(
        f"on mini TSM took {seconds['TSM']} seconds, HiTAGU-Net {seconds[OURS]}, and the network without 3STU {seconds[WITHOUT]}, for "
        f"{without} epochs against {ours}."
    )


def test_the_pairs() -> None:
    up = pair("Turning the camera upwards while filming something")
    side = pair("Turning the camera left while filming something")
    zoom, push = pair("Approaching something with your camera"), pair("Pushing something from left to right")
    lowest = min(pair(labels[0])[OURS] for labels in SETTINGS["hard"].pairs)
    said(
        f"HiTAGU-Net is right on {lowest:.0f} % of every pair or more.",
        f"TSM knows the pushes ({push['TSM']:.0f} %) and the turns to left and right ({side['TSM']:.0f} %), "
        f"but neither approaching and moving away ({zoom['TSM']:.0f} %) nor the turns up and down ({up['TSM']:.0f} %).",
        f"It is weakest on camera turns: {side['GRU']:.0f} and {up['GRU']:.0f} %.",
    )
    assert max(side["GRU"], up["GRU"]) < min(zoom["GRU"], push["GRU"])


def test_where_the_runs_come_from() -> None:
    origins = [json.loads((run.folder / "provenance.json").read_text()) for run in HARD + MINI]
    said("none had uncommitted edits.")
    assert not any(origin["git_changed"] for origin in origins)


def test_tsm_at_lower_learning_rates() -> None:
    runs = [ROOT / "outputs/published/tsm-lr" / f"lr{lr}" for lr in ("1e-3", "2e-3")]
    cfgs = [load_config(run / "params.yaml") for run in runs]
    assert [(cfg.train.lr, cfg.train.seed, cfg.model.temporal) for cfg in cfgs] == [(1e-3, 5, "tsm"), (2e-3, 5, "tsm")]
    one, two = (100 * json.loads((run / "summary.json").read_text())["val_top1"] for run in runs)
    said(f"1e-3 and 2e-3 in place of 5e-3, it reached {one:.1f} and {two:.1f} % on hard (seed 5,")
    tsm = by_method(HARD)["TSM"]
    said("more than its mean, but within the range of its seeds")
    assert statistics.mean(tsm) < min(one, two) and max(one, two) < max(tsm) < min(by_method(HARD)["GRU"])


def test_the_gru_with_decay_on_its_matrices() -> None:
    with_it = by_method(read_runs(ROOT / "outputs/published/gru-decay"))["GRU"]
    said(f"With it, it reaches {spread(with_it)} % on hard in place of {spread(by_method(HARD)['GRU'])} (")
    assert max(with_it) < min(by_method(HARD)[OURS])


def test_the_error_of_a_finite_set_and_the_length_of_the_pause() -> None:
    p, clips = means(HARD)[OURS] / 100, HARD[0].summary["val_clips"]
    said(
        f"{100 * math.sqrt(p * (1 - p) / clips):.1f} points for HiTAGU-Net's accuracy $p$ on the {clips} clips of hard"
    )
    shortest, longest = (round(16 * pause / frames) for pause, frames in zip((24, 28), HARD_FRAMES[::-1], strict=True))
    said(f"the pause, {shortest} to {longest} frames of 16,")


def test_the_length_of_the_ablations() -> None:
    assert EPOCHS == 2
    said("`make ablations` trains all on mini, two epochs under five seeds")
