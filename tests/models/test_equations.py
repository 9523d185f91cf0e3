r"""Every numbered equation of chapters 1 to 7 has a test that is marked with its number: `@pytest.mark.equation("2b.1")`.

The chapters number by `\tag{2b.1}`. Both are read as text, so nothing is imported.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "book").glob("0[1-7]*.py"))  # chapter 8 numbers what its own cells compute: prices
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))

HOW_MANY = {"1": 3, "2a": 2, "2b": 9, "2c": 13, "2d": 8, "2e": 5, "3": 2, "4": 8, "6": 1}
NUMBERS = {chapter: [f"{chapter}.{i}" for i in range(1, count + 1)] for chapter, count in HOW_MANY.items()}


def tags(text: str) -> list[str]:
    return re.findall(r"\\tag\{([^}]*)\}", text)


def marks(source: str) -> set[str]:
    """The numbers in the decorators of a file's tests."""
    return {
        ast.literal_eval(number)
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_")
        for decorator in function.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.equation"
        for number in decorator.args
    }


MARKED = {str(file.relative_to(ROOT)): marks(file.read_text(encoding="utf-8")) for file in TESTS}


def test_every_equation_of_the_book_has_a_test() -> None:
    tagged = {number for chapter in CHAPTERS for number in tags(chapter.read_text(encoding="utf-8"))}
    missing = tagged - set().union(*MARKED.values())
    assert not missing, f"equations of the book without a marked test: {sorted(missing)}"


def test_every_mark_names_an_equation() -> None:
    known = set().union(*NUMBERS.values())
    unknown = {file: sorted(numbers - known) for file, numbers in MARKED.items() if numbers - known}
    assert not unknown, f"marks that name no equation: {unknown}"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_numbers_its_equations_in_the_order_they_come(chapter: Path) -> None:
    own = chapter.stem.partition("_")[0].lstrip("0")  # 02b_mde -> 2b
    assert tags(chapter.read_text(encoding="utf-8")) == NUMBERS.get(own, [])


def test_what_counts_as_a_tag_and_as_a_mark() -> None:
    assert tags(r"# $$r = W F \tag{2b.1}$$ and $$d \tag{2b.2}$$") == ["2b.1", "2b.2"]
    source = """
@pytest.mark.parametrize("T", [1])
@pytest.mark.equation("2b.1", "2b.2")
def test_a(T): ...

@pytest.mark.equation("2b.3")
def helper(): ...

text = '@pytest.mark.equation("2b.4")'
"""
    assert marks(source) == {"2b.1", "2b.2"}
