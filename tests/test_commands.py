"""Every command that README, the chapters, the appendices and the recipes show can be given: its options and parameters exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from hitagu_lib.cli.main import cli
from hitagu_lib.config import load_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "book/index.md")),
    *sorted((ROOT / "book").glob("*.py")),
    *sorted((ROOT / "book" / "appendix").glob("*.md")),
    *sorted((ROOT / "params").rglob("*.yaml")),
]
STARTS = r"(?:hitagu|papermill|make|torchrun|python -m (?:hitagu_lib|experiments|benchmarks)[.\w]*)(?: |$)"


def commands(page: Path) -> list[list[str]]:
    """The words of each command in a page's fenced blocks and in its backticks."""
    text = re.sub(r"^# ?", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    blocks = re.findall(r"^```(?:bash|sh|text)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines()]
    spans = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    found = [line.strip() for line in [*lines, *spans] if re.match(STARTS, line.strip())]
    # A block of text explains a command beside it, two spaces away.
    return [shlex.split(re.split(" [|] |  ", line)[0], comments=True) for line in found]


ALL = [(page.relative_to(ROOT).as_posix(), words) for page in PAGES for words in commands(page)]


def check_hitagu(words: list[str]) -> None:
    """Raise what the command line raises for a command or an option that it does not have."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and words[0] != "COMMAND" and not words[0].startswith("-"):
        name, *words = words
        assert name in command.commands, f"no such command: {name}"
        command = command.commands[name]
    if isinstance(command, click.Group):  # named without one of its commands
        return
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known, f"{command.name} has {known}"


def check_overrides(words: list[str], recipe: str = "params/mini.yaml") -> None:
    """Raise ConfigError for a parameter that does not exist; a command that names its recipe means that one."""
    for flag in ("--params", "-f"):
        if flag in words and (ROOT / words[words.index(flag) + 1]).exists():
            recipe = words[words.index(flag) + 1]
    for i, word in enumerate(words):
        if word in ("overrides", "--overrides") and "..." not in words[i + 1] and "=" in words[i + 1]:
            load_config(ROOT / recipe, words[i + 1])


def parameters(notebook: Path) -> set[str]:
    (cell,) = [c for c in json.loads(notebook.read_text())["cells"] if "parameters" in c["metadata"].get("tags", [])]
    return set(re.findall(r"^(\w+)\b[^=\n]*=", "".join(cell["source"]), re.MULTILINE))


@pytest.mark.parametrize(("page", "words"), ALL, ids=[f"{page}: {' '.join(words)}"[:120] for page, words in ALL])
def test_a_command_of_the_text_can_be_given(page: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    if "hitagu_lib" in words and words[0] != "hitagu":
        words = ["hitagu", *words[words.index("hitagu_lib") + 1 :]]
    program, *rest = words
    if program == "hitagu":
        check_hitagu(rest)
        check_overrides(rest)
    elif program == "papermill" and len(rest) > 1:
        notebook = ROOT / rest[0]
        assert notebook.exists()
        given = {rest[i + 1] for i, word in enumerate(rest) if word == "-p"}
        assert given <= parameters(notebook), f"{rest[0]} has {parameters(notebook)}"
        check_overrides(rest)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in rest if re.fullmatch(r"[a-z][\w-]*", word)} <= set(targets)
    elif program == "python":
        place = ROOT / Path(*rest[1].split("."))
        if place.name != "name":  # CONTRIBUTING's word for any of them
            files = [place.with_suffix(".py")] if place.with_suffix(".py").exists() else sorted(place.glob("*.py"))
            source = "".join(file.read_text() for file in [*files, ROOT / "experiments" / "compare.py"])
            assert files and all(f'"{word}"' in source for word in rest if word.startswith("--")), "no such option"
        check_overrides(rest)


def test_the_commands_are_found() -> None:
    programs = {words[0] for _, words in ALL}
    assert {"hitagu", "papermill", "make", "python", "torchrun"} <= programs and len(ALL) > 100
