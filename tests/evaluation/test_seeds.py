"""Comparisons: reading published runs, the numbers in tables and figures, and the published files themselves."""

from __future__ import annotations

import json
import math
from pathlib import Path

import matplotlib as mpl
import pytest
from prose import table_rows

mpl.use("Agg")

from hitagu_lib.config import load_config
from hitagu_lib.errors import ConfigError
from hitagu_lib.evaluation.seeds import (
    KINDS,
    METHODS,
    above_by_more_than_spread,
    by_method,
    differences_table,
    ends,
    folder_name,
    interval,
    is_published,
    kind_of,
    kinds_table,
    methods_table,
    paired_differences,
    read_runs,
    same_recipe,
    spread,
)
from hitagu_lib.prepare.synthetic.make import SETTINGS
from hitagu_lib.viz.seeds import COLOURS, draw_pairs, draw_points, draw_seeds, draw_training
from hitagu_lib.viz.style import new_figure

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = [folder for name in ("hard", "mini-compare") if read_runs(folder := ROOT / "outputs/published" / name)]
MOTION, SHOWING = "Moving something up", "Showing something red, then something blue"


def publish(out: Path, method: str, seed: int, motion: int, showing: int | None = None, epochs: int = 8) -> Path:
    """Write a run's files as experiments/compare.py copies them; of ten clips per class, how many were right."""
    folder = out / folder_name(method, seed)
    folder.mkdir(parents=True)
    correct = [motion] if showing is None else [motion, showing]
    summary = {"seed": seed, "epochs": epochs, "val_clips": 10 * len(correct)}
    summary |= {"val_top1": sum(correct) / 10 / len(correct), "train_cpu_seconds": 100.0 + seed}
    (folder / "summary.json").write_text(json.dumps(summary))
    rows = [f'"{label}",10,{n}\n' for label, n in zip((MOTION, SHOWING), correct, strict=False)]
    (folder / "val_classes.csv").write_text("label,clips,correct\n" + "".join(rows))
    lines = [
        {"epoch": 0, "cpu_seconds": 40.0, "train_top1": 0.2},
        {"epoch": 1, "cpu_seconds": 90.0, "train_top1": motion / 10},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Runs of HiTAGU-Net with seeds 0, 1 and 10, of TSM with 0 and 1, of no other method."""
    for seed, motion in ((10, 10), (1, 8), (0, 9)):
        publish(tmp_path, "HiTAGU-Net", seed, motion, 10)
    for seed, motion in ((1, 7), (0, 9)):
        publish(tmp_path, "TSM", seed, motion, 5, epochs=9)
    return tmp_path


def test_runs_are_read_in_the_order_of_methods_then_seeds(out: Path) -> None:
    found = [(run.method, run.seed) for run in read_runs(out)]
    assert found == [("HiTAGU-Net", 0), ("HiTAGU-Net", 1), ("HiTAGU-Net", 10), ("TSM", 0), ("TSM", 1)]


@pytest.mark.parametrize("missing", ["summary.json", "val_classes.csv"])
def test_a_run_that_is_still_being_copied_is_left_out(out: Path, missing: str) -> None:
    (out / "tsm-seed1" / missing).unlink()
    assert [run.seed for run in read_runs(out) if run.method == "TSM"] == [0]


def test_a_published_run_is_not_made_again_and_other_parameters_are_refused(out: Path) -> None:
    folder = out / "tsm-seed0"
    cfg = load_config(ROOT / "params/mini.yaml", "model.temporal=tsm")
    assert not is_published(folder, cfg), "its parameters and provenance are missing"
    (folder / "provenance.json").write_text("{}")
    older = cfg.to_mapping()
    del older["eval"]["average"]  # like a run from before this key existed
    (folder / "params.yaml").write_text(json.dumps(older))
    assert is_published(folder, cfg), "keys newer than the run count as their defaults"
    other = load_config(ROOT / "params/mini.yaml", "model.temporal=tsm train.epochs=9")
    with pytest.raises(ConfigError, match=r"(?s)tsm-seed0: .*other parameters:\ntrain\.epochs: 4, asked for 9\n"):
        is_published(folder, other)
    without = load_config(ROOT / "params/mini.yaml", "model.temporal=tsm model.attention.sca=false model.stu.width=8")
    assert is_published(folder, without), "TSM has neither"


def test_a_folder_that_is_not_there_has_no_runs(tmp_path: Path) -> None:
    assert read_runs(tmp_path / "none") == []
    assert kinds_table([]) == [] and differences_table([], "TSM") == [] and len(methods_table([])) == 2


def test_top1_over_all_classes_of_a_kind_and_of_one_class(out: Path) -> None:
    run = read_runs(out)[3]  # TSM, seed 0: 9 and 5 of 10
    assert (run.top1(), run.top1(KINDS[0]), run.top1(KINDS[1])) == pytest.approx((70, 90, 50))
    assert run.top1(label=SHOWING) == 50 and run.top1(KINDS[0], SHOWING) is None and run.top1(label="Dancing") is None


def test_the_hard_set_has_both_kinds_and_mini_one() -> None:
    kinds = [kind_of(label) for label in SETTINGS["hard"].classes]
    assert (kinds.count(KINDS[0]), kinds.count(KINDS[1])) == (8, 6)
    assert {kind_of(label) for label in SETTINGS["mini"].classes} == {KINDS[0]}


def test_differences_pair_the_seeds_that_both_have(out: Path) -> None:
    runs = read_runs(out)
    assert paired_differences(runs, "HiTAGU-Net", "TSM") == pytest.approx({0: 25, 1: 30})
    assert paired_differences(runs, "HiTAGU-Net", "TSM", KINDS[0]) == pytest.approx({0: 0, 1: 10})
    assert paired_differences(runs, "HiTAGU-Net", "GRU") == {}


def test_above_by_more_than_the_spread_counts_both_standard_deviations() -> None:
    ours, theirs = [80.0, 82.0, 84.0], [77.0, 78.0, 79.0]  # means 4 apart, sds 2 and 1
    assert above_by_more_than_spread(ours, theirs) is True
    assert above_by_more_than_spread(ours, [78.0, 79.0, 80.0]) is False, "exactly the sum is not more"
    assert above_by_more_than_spread(theirs, ours) is False
    assert above_by_more_than_spread(ours, [50.0]) is None, "one seed has no spread"


def test_spread_is_that_of_a_sample() -> None:
    assert spread([80.0, 82.0, 84.0]) == "82.0 ± 2.0"
    assert spread([80.0]) == "80.0"


def cells(lines: list[str]) -> list[list[str]]:
    """Return the cells of a Markdown table, without the padding."""
    return table_rows("\n".join(lines))


def test_tables(out: Path) -> None:
    runs = read_runs(out)
    assert cells(methods_table(runs))[2:] == [
        ["HiTAGU-Net", "3", "95.0 ± 5.0", "95.0, 90.0, 100.0", "8", "101"],
        ["TSM", "2", "65.0 ± 7.1", "70.0, 60.0", "9", "100"],
    ]
    assert kinds_table(runs) == [
        "| top-1 (%) on           |   HiTAGU-Net |         TSM |",
        "|:-----------------------|-------------:|------------:|",
        "| one motion             |  90.0 ± 10.0 | 80.0 ± 14.1 |",
        "| two events and a pause |  100.0 ± 0.0 |  50.0 ± 0.0 |",
    ]
    # by hand: 25 and 30 points, whose sd is 3.536; 12.706 x 3.536 / sqrt 2 = 31.8. Means 30 apart, sds 5 and 7.1.
    assert cells(differences_table(runs, "HiTAGU-Net"))[2:] == [["TSM", "+27.5", "+25.0, +30.0", "yes"]]
    assert cells(differences_table(runs, "TSM"))[2:] == [["HiTAGU-Net", "-27.5", "-25.0, -30.0", "no"]]
    assert cells(differences_table(runs[2:4], "TSM")) == [], "seeds 10 and 0 are no pair"


def test_a_set_of_one_kind_has_no_table_of_kinds(tmp_path: Path) -> None:
    publish(tmp_path, "TSM", 0, 7)
    assert kinds_table(read_runs(tmp_path)) == []
    assert by_method(read_runs(tmp_path), KINDS[1]) == {}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("summary.json", '{"seed": 0', r"tsm-seed0.summary\.json: found no JSON object"),
        ("summary.json", "[1]", r"tsm-seed0.summary\.json: found no JSON object"),
        ("summary.json", '{"seed": 0, "epochs": 8, "val_clips": 10, "val_top1": 1}', r"found no train_cpu_seconds"),
        ("val_classes.csv", "label,clips\nx,3\n", r"val_classes\.csv: found .*expected columns label, clips, correct"),
        ("val_classes.csv", "label,clips,correct\nx,3,many\n", r"val_classes\.csv: found .*many"),
    ],
)
def test_files_that_are_not_a_runs_are_named(out: Path, file: str, text: str, message: str) -> None:
    (out / "tsm-seed0" / file).write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_runs(out)


def test_a_run_in_another_seeds_folder_is_refused(out: Path) -> None:
    (out / "tsm-seed0").rename(out / "tsm-seed7")
    with pytest.raises(ConfigError, match=r"tsm-seed7.*found seed 0; expected the one that the folder is named after"):
        read_runs(out)


def test_a_run_can_be_repeated_with_another_seed(out: Path) -> None:
    cfg = load_config(ROOT / "params/mini.yaml", "model.temporal=tsm train.epochs=9 train.precision=bf16")
    (out / "tsm-seed1/params.yaml").write_text(cfg.to_yaml())
    again = same_recipe(read_runs(out), "TSM", seed=5, run="outputs/live/TSM")
    assert (again.run, again.train.seed) == ("outputs/live/TSM", 5)
    same = "run=outputs/live/TSM train.seed=5 train.precision=auto"
    assert again == load_config(out / "tsm-seed1/params.yaml", same) and again.train.epochs == 9
    with pytest.raises(ConfigError, match="found no run of 'tsm'; expected one of HiTAGU-Net, TSM"):
        same_recipe(read_runs(out), "tsm", seed=5, run="outputs/live/tsm")


def test_every_method_is_a_model_of_its_own() -> None:
    models = [load_config(ROOT / "params/hard.yaml", overrides).model for overrides in METHODS.values()]
    assert all(a != b for i, a in enumerate(models) for b in models[:i])
    assert len({folder_name(method, 0) for method in METHODS}) == len(METHODS) == len(set(COLOURS.values()))


def test_every_seed_is_a_dot_and_mean_and_deviation_stand_below() -> None:
    _, ax = new_figure(2)
    draw_seeds(ax, {"HiTAGU-Net": [80.0, 82.0, 84.0], "TSN": [50.0]}, "hard")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["HiTAGU-Net", "TSN"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == [[80, 82, 84], [50]]
    (bar,) = [c for c in ax.containers if c.has_xerr]
    assert list(bar.lines[0].get_xdata()) == [82]
    assert bar.lines[2][0].get_segments()[0][:, 0].tolist() == pytest.approx([80, 84])


def test_ablations_stand_in_the_order_of_their_loss() -> None:
    _, ax = new_figure(2)
    draw_points(ax, {"no_tsa": [-1.0, 2.0], "tsn": [-60.0, -50.0], "no_sca": [-3.0]})
    assert [label.get_text() for label in ax.get_yticklabels()] == ["tsn", "no_sca", "no_tsa"]
    drawn = [(line.get_marker(), list(line.get_xdata()), line.get_ydata()[0]) for line in ax.lines[:-1]]
    assert drawn[:2] == [("o", [-60, -50], 0), ("|", [-55], 0)] and drawn[4:] == [("o", [-1, 2], 2), ("|", [0.5], 2)]
    assert ax.lines[-1].get_xdata() == [0, 0]


def test_bars_of_spread_end_where_top1_does() -> None:
    _, ax = new_figure(2)
    draw_seeds(ax, {"HiTAGU-Net": [90.0, 100.0, 100.0], "TSN": [0.0, 1.0, 8.0]})  # means 96.7 and 3, sds 5.8 and 4.4
    high, low = ([x for x, _ in bar.lines[2][0].get_segments()[0]] for bar in ax.containers)
    assert high == pytest.approx([290 / 3 - (100 / 3) ** 0.5, 100]) and low == pytest.approx([0, 3 + 19**0.5])


def test_pairs_are_means_over_seeds_and_both_classes(out: Path) -> None:
    _, ax = new_figure(4.2)
    draw_pairs(ax, read_runs(out), [(MOTION, SHOWING)])
    assert [text.get_text() for text in ax.texts] == ["95", "65"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["HiTAGU-Net", "TSM"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"{MOTION} /\n{SHOWING}"]


def test_training_curves_are_a_line_a_run_named_once_a_method(out: Path) -> None:
    _, ax = new_figure(2)
    draw_training(ax, read_runs(out))
    assert [list(line.get_ydata()) for line in ax.lines] == [[20, 90], [20, 80], [20, 100], [20, 90], [20, 70]]
    assert {tuple(line.get_xdata()) for line in ax.lines} == {(40, 90)}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["HiTAGU-Net", "TSM"]
    _, empty = new_figure(2)
    draw_training(empty, [])
    assert empty.get_legend() is None


# Published files


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_the_published_table_is_that_of_the_published_files(folder: Path) -> None:
    runs = read_runs(folder)
    lines = (folder / "compare.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line] == [*methods_table(runs), *kinds_table(runs)]


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_published_runs_differ_in_nothing_but_method_seed_and_epochs(folder: Path) -> None:
    recipes = set()
    for run in read_runs(folder):
        params = load_config(run.folder / "params.yaml").to_mapping()
        override = METHODS[run.method].replace("model.", "", 1).split("=")
        assert (params["train"].pop("seed"), params["train"].pop("epochs")) == (run.seed, run.summary["epochs"])
        temporal, memory = params["model"].pop("temporal"), params["model"]["stu"].pop("enabled")
        assert temporal == (override[1] if override[0] == "temporal" else "hitagu")
        assert memory is (run.method != "without 3STU")
        del params["run"]
        recipes.add(json.dumps(params, sort_keys=True))
    assert len(recipes) == 1


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_classes_of_a_published_run_add_up_to_its_top1(folder: Path) -> None:
    for run in read_runs(folder):
        correct, clips = (sum(column) for column in zip(*run.classes.values(), strict=True))
        assert clips == run.summary["val_clips"] and 100 * correct / clips == pytest.approx(run.top1())


@pytest.mark.equation("6.1")
@pytest.mark.parametrize(("n", "student"), [(3, 4.303), (5, 2.776), (10, 2.262)])
def test_an_interval_is_the_chapters(n: int, student: float) -> None:
    differences = [(3.7 * i) % 5 for i in range(n)]
    mean = sum(differences) / n
    half = student * math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1)) / math.sqrt(n)
    assert ends(differences) == pytest.approx((mean - half, mean + half), abs=2e-3)


def test_an_interval_needs_three_differences() -> None:
    assert interval([2.0]) == "+2.0" and interval([1.0, 3.0]) == "+2.0"
    assert interval([1.0, 2.0, 3.0]) == "+2.0 (-0.5 to +4.5)"  # by hand: 4.303 / sqrt 3 = 2.48


def test_an_interval_of_more_than_ten_differences_has_the_factor_of_ten() -> None:
    assert interval([1.0, 3.0] * 6) == "+2.0 (+1.3 to +2.7)"  # by hand: 2.262 * 1.044 / sqrt 12 = 0.68
