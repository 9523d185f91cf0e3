"""What a chapter or page says, as tests look for it."""

import re
from pathlib import Path

NUMBERS = ("no", "one", "two", "three", "four", "five")
ROOT = Path(__file__).resolve().parents[2]


def prose(file: str) -> str:
    """The text of a file of the repository, such as "book/06_ablations.py", in one line: without line ends and comment signs."""
    return re.sub(r"(?m:^\s*# |\s)+", " ", (ROOT / file).read_text(encoding="utf-8"))
