"""No sentence of a chapter or a page is lost on its way into the built book."""

import re
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[1] / "book"


@pytest.mark.parametrize("page", sorted([*BOOK.rglob("*.py"), *BOOK.rglob("*.md")]), ids=lambda page: page.stem)
def test_no_line_begins_with_a_percent_sign(page: Path) -> None:
    """MyST takes such a line for a comment: where a sentence was wrapped before its "%", the rest would be missing."""
    lines = page.read_text(encoding="utf-8").splitlines()
    comment = re.compile(r"\s*%" if page.suffix == ".md" else r"# +%(?!%)")
    assert [line for line in lines if comment.match(line)] == []
