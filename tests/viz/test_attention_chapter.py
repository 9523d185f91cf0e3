"""What chapter 5 says first is what its stored tables measured."""

import re
from pathlib import Path

import pandas as pd
from prose import prose, stored_rows

from hitagu_lib.evaluation.faithfulness import PAINTS

BOOK = Path(__file__).resolve().parents[2] / "book"


def measured() -> list[list[str]]:
    """The rows of the stored tables of areas: map, its area, control, its area, difference, interval, verdict."""
    return [row for row in stored_rows("05_attention_maps") if len(row) == 7 and re.fullmatch(r"[+-]\d\.\d+", row[4])]


def told_rows() -> dict[tuple[str, str], tuple[float, str]]:
    """(map, control) -> the difference of the areas, and the verdict, from the table at the chapter's head."""
    text = (BOOK / "05_attention_maps.py").read_text(encoding="utf-8")
    lines = re.findall(r"^# \|(.*)\|$", text.partition("**You will be able to**")[0], re.MULTILINE)
    head, _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    told = {}
    for name, *verdicts in rows:
        for control, verdict in zip(head[1:], verdicts, strict=True):
            if verdict != "":
                better, difference = re.fullmatch(r"(better|open|worse), ([+-]\d\.\d\d)", verdict).groups()
                told[name, control] = float(difference), better
    return told


def test_the_head_says_what_was_measured() -> None:
    stored, told = {(row[0], row[2]): (float(row[4]), row[6]) for row in measured()}, told_rows()
    assert stored.pop(("motion gate", "Grad-CAM"))[1] == "open", "they cannot be told apart"
    assert len(stored) == 3 * 2 + 2 and told.keys() == stored.keys()
    for key, (difference, better) in stored.items():
        assert told[key][1] == better, key
        assert abs(told[key][0] - difference) <= 0.0055, key


def test_the_text_says_how_far_the_curves_fall() -> None:
    areas = {row[0]: f"{float(row[1]):.2f}" for row in measured()}
    motion, spatial, cam = (areas[name] for name in ("motion gate", "spatial gate", "Grad-CAM"))
    said, told = prose("book/05_attention_maps.py"), told_rows()
    moved, another = (told["motion gate", control][0] for control in ("moved", "another clip's"))
    assert f"the motion gate gains {moved:.2f}, over another clip's only {another:.2f}. So half of the gain" in said
    assert f"cannot be told apart (areas {motion} and {cam})" in said
    for name, area in (("motion gate", motion), ("spatial gate", spatial), ("Grad-CAM", cam)):
        assert f"| {name} | {area} |" in said, "the solution's table of paints"


def test_the_text_says_what_other_runs_and_paints_found() -> None:
    gains = pd.read_csv(BOOK.parent / "outputs/published/faithfulness/gains.csv", keep_default_na=False)
    assert gains["run"].nunique() == 5 and set(gains["paint"]) == {*PAINTS, ""}
    cells = gains[~gains["paint"].isin(["frame before", ""])]
    finding = cells[cells["map"].isin(["motion gate", "Grad-CAM"])]
    assert set(finding["verdict"]) == {"better"} and len(finding) == 5 * 3 * 2 * 2
    spatial = cells[cells["map"] == "spatial gate"]
    assert set(spatial[spatial["control"] == "moved"]["verdict"]) == {"worse"} and "better" not in set(
        spatial["verdict"]
    )
    before = (gains[gains["paint"] == "frame before"]["verdict"] == "open").sum()
    frames = gains[(gains["paint"] == "") & (gains["verdict"] == "better")].groupby("control").size()
    text = prose("book/05_attention_maps.py")
    assert f"With the frame before, {before} of 30 comparisons are open" in text
    assert frames.to_dict() == {"at random": 4, "another clip's": 2}
    assert (
        "better than frames at random in four of the five networks, and better than another clip's attention in two"
        in text
    )
