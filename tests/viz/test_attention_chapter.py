"""What chapter 5 says first is what its stored tables measured."""

import json
import re
from pathlib import Path

BOOK = Path(__file__).resolve().parents[2] / "book"


def stored_rows() -> dict[tuple[str, str], tuple[float, str]]:
    """(map, control) -> the difference of the areas, and whether the map is better, from the notebook's outputs."""
    notebook = json.loads((BOOK / "05_attention_maps.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    markdown = "\n".join("".join(output.get("data", {}).get("text/markdown", "")) for output in outputs)
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in markdown.splitlines() if line.startswith("|")]
    rows = [row for row in cells if len(row) == 7 and re.fullmatch(r"[+-]\d\.\d+", row[4])]
    return {(row[0], row[2]): (float(row[4]), row[6].strip("*")) for row in rows}


def told_rows() -> dict[tuple[str, str], tuple[float, str]]:
    """The same from the table at the chapter's head."""
    text = (BOOK / "05_attention_maps.py").read_text(encoding="utf-8")
    lines = re.findall(r"^# \|(.*)\|$", text.partition("**You will be able to**")[0], re.MULTILINE)
    head, _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    told = {}
    for name, *verdicts in rows:
        for control, verdict in zip(head[1:], verdicts, strict=True):
            if verdict != "":
                better, difference = re.fullmatch(r"\*{0,2}(yes|no)\*{0,2}, ([+-]\d\.\d\d)", verdict).groups()
                told[name, control] = float(difference), better
    return told


def test_the_head_says_what_was_measured() -> None:
    stored, told = stored_rows(), told_rows()
    assert len(stored) == 3 * 2 + 1 and told.keys() == stored.keys()
    for key, (difference, better) in stored.items():
        assert told[key][1] == better, key
        assert abs(told[key][0] - difference) <= 0.0055, key
