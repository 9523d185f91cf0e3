"""book/_ext/book_links.py, on a book of two pages: equations and chapters that a text names become links, figures get numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIRST = r"""# 2a First

$$ a = b \tag{2a.1} $$

As (2a.1) says, and chapter 2b too; this is chapter 2a. `chapter 2b` and 2.1 stay as they are.

{.cell_output}
![Two dots. One is red.](dots.png)
"""
SECOND = r"""# 2b Second, after chapter 2a

$$ c = d \tag{2b.1} $$

It builds on (2a.1), 2b.1 and chapter 2.
"""


def build(folder: Path, **pages: str) -> tuple[dict[str, str], str]:
    """The pages as HTML, and the warnings."""
    sphinx = pytest.importorskip("sphinx.testing.util")
    (folder / "book").mkdir(parents=True)
    for name, text in pages.items():
        (folder / "book" / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / "book" / "dots.png").write_bytes((ROOT / "outputs/published/mini/maps.png").read_bytes())
    (folder / "index.md").write_text(
        "# Book\n\n```{toctree}\n" + "\n".join(f"book/{name}" for name in pages) + "\n```\n"
    )
    (folder / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'book/_ext')!r})\n"
        "extensions = ['myst_parser', 'book_links']\nmyst_enable_extensions = ['attrs_block', 'dollarmath']\n"
    )
    app = sphinx.SphinxTestApp("html", srcdir=folder)
    try:
        app.build()
        return {name: (folder / f"_build/html/book/{name}.html").read_text() for name in pages}, app.warning.getvalue()
    finally:
        app.cleanup()


@pytest.mark.slow
def test_equations_and_chapters_become_links_and_figures_get_numbers(tmp_path: Path) -> None:
    pages, warnings = build(tmp_path, **{"02a_first": FIRST, "02b_second": SECOND})
    first, second = pages.values()
    assert warnings == ""
    assert '<div class="math notranslate nohighlight" id="equation-2a-1">' in first
    assert '(<a class="reference internal" href="#equation-2a-1">2a.1</a>)' in first
    assert '<a class="reference internal" href="02b_second.html">chapter 2b</a>' in first
    assert "this is chapter 2a." in first and '<span class="pre">chapter</span>' in first and "and 2.1 stay" in first
    assert '<a class="reference internal" href="02a_first.html#equation-2a-1">2a.1</a>' in second
    assert '<a class="reference internal" href="#equation-2b-1">2b.1</a>' in second
    assert '<a class="reference internal" href="02a_first.html">chapter 2</a>' in second
    assert "<h1>2b Second, after chapter 2a<" in second
    (caption,) = re.findall(r'<figure [^>]*id="figure-2a-1".*?<figcaption>(.*?)</figcaption>', first, re.DOTALL)
    assert re.sub(r"<a .*?</a>|<[^>]+>", "", caption).strip() == "Figure 2a.1. Two dots."


@pytest.mark.slow
def test_an_equation_that_does_not_exist_is_a_warning(tmp_path: Path) -> None:
    _, warnings = build(tmp_path, **{"02a_first": FIRST.replace("As (2a.1)", "As (2a.7)")})
    assert "no such equation or chapter: 2a.7" in warnings and "no such equation or chapter: chapter 2b" in warnings
