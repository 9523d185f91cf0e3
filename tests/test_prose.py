"""No sentence of a chapter or a page is lost on its way into the built book."""

import re
from pathlib import Path

import pytest

from hitagu_lib.config import flat, load_config

BOOK = Path(__file__).resolve().parents[1] / "book"


@pytest.mark.parametrize("page", sorted([*BOOK.rglob("*.py"), *BOOK.rglob("*.md")]), ids=lambda page: page.stem)
def test_no_line_begins_with_a_percent_sign(page: Path) -> None:
    """MyST takes such a line for a comment: where a sentence was wrapped before its "%", the rest would be missing."""
    lines = page.read_text(encoding="utf-8").splitlines()
    comment = re.compile(r"\s*%" if page.suffix == ".md" else r"# +%(?!%)")
    assert [line for line in lines if comment.match(line)] == []


PAGES = sorted(
    [*BOOK.glob("*.py"), *BOOK.rglob("*.md"), *(BOOK.parent / name for name in ("README.md", "CONTRIBUTING.md"))]
)


@pytest.fixture(scope="module")
def parameters() -> set[str]:
    """All that a recipe may hold: `model`, `model.stu`, `model.stu.width`."""
    leaves = flat(load_config(BOOK.parent / "params/mini.yaml").to_mapping())
    return {".".join(leaf.split(".")[:n]) for leaf in leaves for n in range(1, leaf.count(".") + 2)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_parameters_and_files_that_a_text_names_exist(page: Path, parameters: set[str]) -> None:
    """In backticks: `model.stu.width`, `data.workers=0`, `params/mini.yaml`."""
    text = re.sub(r"(?m)^# ?", "", page.read_text(encoding="utf-8"))
    for name in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text):
        parameter = re.match(r"((?:model|data|train|eval)\.[\w.]+)(?:[:=].*)?$", name)
        if parameter and parameter[1] != "train.missing.csv":
            assert parameter[1] in parameters, name
        if re.match(r"(?:outputs/published|params|hitagu_lib|book|experiments|benchmarks|tests)/[\w./-]+$", name):
            assert (BOOK.parent / name).exists() or "NN_" in name, name


@pytest.mark.parametrize("chapter", sorted(BOOK.glob("*.py")), ids=lambda page: page.stem)
def test_a_quiz_has_three_questions_whose_right_answers_are_a_b_and_c_in_some_order(chapter: Path) -> None:
    quiz = chapter.read_text(encoding="utf-8").partition("# ## Quiz\n")[2].partition("# ## Next")[0]
    answers = re.findall(r"<summary>([a-c])\) .+?</summary>\n#\n# (\S+)", quiz)
    assert [letter for letter, _ in answers] == list("abc") * 3
    right = [[letter for letter, answer in answers[i : i + 3] if answer[:3] == "Yes"] for i in (0, 3, 6)]
    assert sorted(right) == [["a"], ["b"], ["c"]]
