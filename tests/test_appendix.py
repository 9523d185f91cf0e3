"""The appendices stay true to the code: symbols, files, terms, timings, and the steps of adding a module, followed on a copy."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prose import table_rows

from experiments.execute import RECORD, TABLE, timings_table

ROOT = Path(__file__).resolve().parents[1]
APPENDIX = ROOT / "book" / "appendix"
CHAPTERS = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "book").glob("*.py")))


def notation() -> list[list[str]]:
    """The cells of each row: symbol, what it is, tensor, code, equation."""
    rows = table_rows((APPENDIX / "notation.md").read_text(encoding="utf-8"))
    return [row for row in rows if row[0].startswith("$")]


@pytest.mark.parametrize("row", notation(), ids=lambda row: row[0])
def test_a_symbol_its_code_and_its_equations_exist(row: list[str]) -> None:
    _, _, tensor, code, equations = row
    file, name = re.findall(r"`([^`]+)`", code)
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"\b{re.escape(name)}\b", text), f"{file} has no {name}"
    for variable in re.findall(r"`([^`]+)`", tensor):
        assert re.search(rf"\b{re.escape(variable)}\b", text), f"{file} has no {variable}"
    for equation in equations.split(", "):
        assert f"\\tag{{{equation}}}" in CHAPTERS, f"no chapter has equation {equation}"


@pytest.mark.parametrize("row", notation(), ids=lambda row: row[0])
def test_a_symbol_stands_in_its_equation(row: list[str]) -> None:
    symbols, equations = row[0].strip("$"), row[4].split(", ")
    shown = " ".join(
        re.findall(rf"\$\$(?:(?!\$\$).)*?\\tag\{{(?:{'|'.join(map(re.escape, equations))})\}}", CHAPTERS, re.DOTALL)
    )
    for symbol in re.split(r", | \\dots ", symbols):
        letter = re.match(r"\\?[A-Za-z]+(?: [a-z])?", symbol)
        assert letter and letter[0] in shown, f"{symbol} is not in {equations}"


def test_each_chapter_has_its_line_of_timings() -> None:
    record = json.loads((ROOT / RECORD).read_text(encoding="utf-8")) if (ROOT / RECORD).exists() else {}
    chapters = sorted((ROOT / "book").glob("*.ipynb"))
    assert (ROOT / TABLE).read_text(encoding="utf-8") == timings_table(chapters, record), (
        "python -m experiments.execute writes it anew"
    )


def test_timings_are_only_those_that_were_measured() -> None:
    took = {"minutes": 1.234, "memory_gib": 0.5, "cores": 2, "git_commit": "0123456789abcdef"}
    rows = table_rows(timings_table([Path("a.ipynb"), Path("b.ipynb")], {"a": took, "gone": took}))
    assert rows[2:] == [["`a`", "1.2", "0.5", "2", "0123456789ab"], ["`b`", "not measured", "", "", ""]]


def test_every_page_that_a_text_links_exists() -> None:
    for page in APPENDIX.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (APPENDIX / target).exists(), f"{page.name} -> {target}"


def test_the_glossary_is_in_order_and_its_terms_are_used() -> None:
    text = (APPENDIX / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^(\S.*)\n  \S", text.partition("{glossary}\n")[2], re.MULTILINE)
    assert len(terms) > 20 and terms == sorted(terms, key=str.casefold)
    unused = [
        term
        for term in terms
        if not re.search(rf"\b{term}", CHAPTERS + (ROOT / "README.md").read_text(), re.IGNORECASE)
    ]
    assert not unused


@pytest.mark.slow
def test_the_steps_of_adding_a_module_work(tmp_path: Path) -> None:
    for folder in ("hitagu_lib", "params"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    page = (APPENDIX / "add_a_module.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\{code-block\} (\w+)\n(?::caption: (\S+)\n)?(.*?)```", page, re.DOTALL)
    assert [kind for kind, *_ in blocks] == ["diff", "python", "diff", "yaml", "python"]
    for kind, caption, content in blocks:
        if kind == "diff":
            patch(tmp_path, content)
        else:
            file = tmp_path / caption
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/models/test_smoothing.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr


def patch(root: Path, diff: str) -> None:
    """Apply a diff by its lines alone: each hunk's old lines must stand in the file exactly once."""
    head, *hunks = re.split(r"^@@.*\n", diff, flags=re.MULTILINE)
    file = root / re.findall(r"^\+\+\+ b/(\S+)", head, re.MULTILINE)[0]
    text = file.read_text(encoding="utf-8")
    for hunk in hunks:
        lines = hunk.splitlines()
        old, new = ("".join(f"{line[1:]}\n" for line in lines if line[:1] != drop) for drop in "+-")
        assert text.count(old) == 1, f"{file.name}: these lines are not there once:\n{old}"
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def plain(title: str) -> str:
    return re.sub(r"[^a-z0-9]", "", title.lower())


def test_a_chapter_s_references_are_in_the_bibliography_under_the_same_address() -> None:
    bibliography = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    works = {
        plain(title): url for title, url in re.findall(r"title=\{(.*?)\}, author.*? url=\{(.*?)\}\}", bibliography)
    }
    assert len(works) == bibliography.count("\n@") + 1, "each work has an address"
    for chapter in sorted((ROOT / "book").glob("*.py")):
        references = " ".join(
            re.sub(r"\n# ?", " ", chapter.read_text(encoding="utf-8").partition("**References.**")[2]).split()
        )
        linked = re.findall(r"\[\*([^*]+)\*\]\((\S+?)\)", references)
        assert linked and "*" not in re.sub(r"\[\*[^*]+\*\]", "", references), (
            f"{chapter.name}: a work without its address"
        )
        for title, url in linked:
            assert url in {works[work] for work in works if work.startswith(plain(title))}, f"{chapter.name}: {title}"


def test_the_page_of_timings_says_what_training_takes() -> None:
    run = json.loads((ROOT / "outputs/published/mini/summary.json").read_text(encoding="utf-8"))
    minutes = (run["train_seconds"] + run["tsn_train_seconds"]) / 60
    assert f"chapter 3 takes {minutes:.1f} minutes more" in (APPENDIX / "timings.md").read_text(encoding="utf-8")
