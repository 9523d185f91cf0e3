"""experiments/memory.py: a finished run is tested on each list, and the tables say what the files say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prose import prose

from experiments import memory
from hitagu_lib.config import load_config
from hitagu_lib.evaluation.seeds import interval
from hitagu_lib.files import write_csv
from hitagu_lib.prepare.synthetic.memory import WAITS

ROOT = Path(__file__).resolve().parents[2]


def publish(out: Path, name: str, correct: dict[str, tuple[int, int]]) -> None:
    """correct: list -> of ten clips each, how many are right of a Lighting class and of a Hiding class."""
    folder = out / name
    folder.mkdir()
    rows = [
        (list_name, label, "10", str(n))
        for list_name, (lighting, hiding) in correct.items()
        for label, n in (("Lighting something red", lighting), ("Hiding something", hiding), ("Showing it", 0))
    ]
    write_csv(folder / "waits.csv", rows, ("list", "label", "clips", "correct"))
    (folder / "summary.json").write_text("{}")


def test_the_tables_say_what_the_files_say(tmp_path: Path) -> None:
    lists = [name for name in WAITS if name != "train"]
    for seed, lighting in enumerate((10, 8, 9)):
        publish(tmp_path, f"hitagu-net-seed{seed}", dict.fromkeys(lists, (lighting, 8)))
        publish(tmp_path, f"without-3stu-seed{seed}", dict.fromkeys(lists, (5, 7)) | {"val_wait4": (2, 7)})
    (tmp_path / "tsn-seed0").mkdir()  # is still being copied
    publish(tmp_path, "tsm-seed12", dict.fromkeys(lists, (5, 5)))
    publish(tmp_path, "tsm-seed9", dict.fromkeys(lists, (5, 5)))
    right = memory.read_waits(tmp_path)
    both = [(method, seed) for method in ("HiTAGU-Net", "without 3STU") for seed in range(3)]
    assert list(right) == [*both, ("TSM", 9), ("TSM", 12)]
    assert right["without 3STU", 1]["val_wait4"] == pytest.approx(
        {"Lighting": 20, "Hiding": 70, "Showing": 0, "all": 30}
    )
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in memory.tables(right)]
    assert ["HiTAGU-Net", "3", *["56.7 ± 3.3"] * 4] in cells
    assert ["without 3STU", "3", "50.0 / 20.0", "70.0 / 70.0", "0.0 / 0.0"] in cells
    assert ["without 3STU", *["50 / 70, 20 / 70"] * 3, "", ""] in cells
    # by hand: differences over all 20, 13.33 and 16.67: 4.303 x 3.333 / sqrt 3 = 8.28; in Lighting 50, 30 and 40: 24.84
    in_all, in_lighting = (
        ("+16.7 (+8.4 to +24.9)", "+26.7 (+18.4 to +34.9)"),
        ("+40.0 (+15.2 to +64.8)", "+70.0 (+45.2 to +94.8)"),
    )
    assert ["without 3STU", "3", *in_all, *in_lighting, *["+10.0 (+10.0 to +10.0)"] * 2] in cells
    assert sum(row[:1] == ["TSM"] for row in cells) == 3, "no difference: it shares no seed with HiTAGU-Net"


PUBLISHED = ROOT / "outputs/published/memory"


@pytest.mark.parametrize("run", sorted(PUBLISHED.glob("*-seed*")), ids=lambda run: run.name)
def test_the_list_of_the_trainings_wait_gives_what_training_validated(run: Path) -> None:
    rows = pd.read_csv(run / "waits.csv").query("list == 'val'")
    summary = json.loads((run / "summary.json").read_text())
    assert rows["correct"].sum() / rows["clips"].sum() == pytest.approx(summary["val_top1"], abs=1e-6)


def test_readme_says_what_the_runs_reached() -> None:
    right = memory.read_waits(PUBLISHED)

    def lighting(method: str, name: str) -> list[float]:
        return [found[name]["Lighting"] for (one, _), found in right.items() if one == method]

    methods = ("HiTAGU-Net", "without 3STU", "3STU as it was", "TSM", "GRU per position")
    ours, without = (f"{np.mean(lighting(method, 'val')):.1f} %" for method in methods[:2])
    paired = [a - b for a, b in zip(*(lighting(method, "val") for method in methods[:2]), strict=True)]
    points, low_high = interval(paired).rstrip(")").split(" (")
    later = [a - b for a, b in zip(*(lighting(method, "val_wait4") for method in methods[:2]), strict=True)]
    by_now, range_now = interval(later).rstrip(")").split(" (")
    swapped = [f"{value:.0f}" for value in lighting("GRU per position", "val_wait2")]
    assert (
        f"{ours} with its 3STU, {without} without, {points} points ({low_high}; seven seeds), and {by_now} ({range_now}) "
        "after four times the wait."
    ) in prose("README.md")
    assert f"{', '.join(swapped[:-1])} and {swapped[-1]} % in Lighting at twice the wait (three seeds)" in prose(
        "README.md"
    )
    chapter = prose("book/06_ablations.py")
    assert f"on {ours} of these clips, without it on {without}: {points} points ({low_high}; seven seeds)" in chapter
    assert f"After four times the wait it is {by_now} points ({range_now})." in chapter
    assert f"Where only a memory at each position helps, it is worth {float(points):.0f} points" in chapter
    assert [len(lighting(method, "val")) for method in methods] == [7, 7, 1, 1, 3]


def test_methods_are_distinct_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    models = [load_config("params/memory.yaml", overrides).model for overrides in memory.METHODS.values()]
    assert all(a != b for i, a in enumerate(models) for b in models[:i])


def test_the_recipe_says_what_the_zero_start_reached() -> None:
    def reached(folder: Path) -> list[float]:
        files = sorted(folder.glob("hitagu-net-seed*/summary.json"))
        return [100 * json.loads(file.read_text(encoding="utf-8"))["val_top1"] for file in files]

    zero, random = reached(ROOT / "outputs/published/memory-sca-zero-start"), reached(PUBLISHED)
    said = "With it, two seeds reached {:.0f} and {:.0f} %".format(*zero)
    assert said in prose("params/memory.yaml")
    assert f"without, seven {min(random):.0f} to {max(random):.0f} %" in prose("params/memory.yaml")
