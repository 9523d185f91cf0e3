"""What a chapter or page says, as tests look for it."""

import json
import re
from pathlib import Path

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ROOT = Path(__file__).resolve().parents[2]


def prose(file: str) -> str:
    """The text of a file of the repository, such as "book/06_ablations.py", in one line: without line ends and comment signs."""
    return re.sub(r"(?m:^\s*# |\s)+", " ", (ROOT / file).read_text(encoding="utf-8"))


def table_rows(text: str) -> list[list[str]]:
    """The cells of each line of the Markdown tables in a text, header and rule too."""
    lines = (line for line in text.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def stored_rows(chapter: str) -> list[list[str]]:
    """`table_rows` of what a stored chapter displays, such as "05_attention_maps"."""
    notebook = json.loads((ROOT / "book" / f"{chapter}.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return table_rows("\n".join("".join(output.get("data", {}).get("text/markdown", "")) for output in outputs))
