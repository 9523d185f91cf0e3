"""What holds the repository together: versions, the lock, the Makefile and its README, notebooks and their .py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from prose import prose

import hitagu_lib
from experiments.execute import RECORD, cells_hash
from hitagu_lib.runs.environment import TORCH_PAIRS as PAIRS

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


def read(name: str | Path) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PROJECT = tomllib.loads(read("pyproject.toml"))["project"]


def read_lock() -> dict[str, list[Requirement]]:
    """Name -> its lines of requirements.txt (more than one where versions differ by Python or system)."""
    lock: dict[str, list[Requirement]] = {}
    for line in read("requirements.txt").splitlines():
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            lock.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return lock


def pinned(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement}: not one exact version"
    return Version(specifier.version)


def minor(version: Version) -> str:
    return f"{version.major}.{version.minor}"


# Versions and requirements


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == PROJECT["version"] == hitagu_lib.__version__
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_license_is_apache_2_in_full() -> None:
    text = read("LICENSE")
    assert "Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_lock_lies_within_the_ranges(extra: str) -> None:
    lock = read_lock()
    wanted = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for requirement in map(Requirement, wanted):
        locked = lock.get(canonicalize_name(requirement.name))
        assert locked, f"{requirement.name} is in pyproject.toml, not in requirements.txt; make lock"
        for one in locked:
            assert pinned(one) in requirement.specifier, f"requirements.txt: {one}; pyproject.toml: {requirement}"


def test_lock_holds_one_matching_torch_pair() -> None:
    lock = read_lock()
    (torch,), (torchvision,) = lock["torch"], lock["torchvision"]
    assert minor(pinned(torch)) in PAIRS, f"{torch}: no torchvision is known for it"
    assert PAIRS[minor(pinned(torch))] == minor(pinned(torchvision)), f"{torch} and {torchvision} are not a pair"


def test_ranges_admit_exactly_the_known_torch_pairs() -> None:
    ranges = {r.name: r.specifier for r in map(Requirement, PROJECT["dependencies"])}
    for torch, torchvision in PAIRS.items():
        assert f"{torch}.0" in ranges["torch"]
        assert f"{torchvision}.0" in ranges["torchvision"]
    for torch in ("2.10.0", "2.13.0", "3.0.0"):
        assert torch not in ranges["torch"]
    for torchvision in ("0.25.0", "0.28.0"):
        assert torchvision not in ranges["torchvision"]


def test_lock_pins_every_line() -> None:
    for lines in read_lock().values():
        for line in lines:
            pinned(line)
            assert line.url is None


def test_environment_yml_installs_the_lock_and_the_library() -> None:
    environment = yaml.safe_load(read("environment.yml"))
    assert environment["channels"][0] == "conda-forge"
    conda = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert {"python=3.11", "ffmpeg", "pip"} <= set(conda)
    assert pip == ["-r requirements.txt", "-e ."]


def test_only_the_library_is_packaged() -> None:
    """book/, params/, outputs/ and tests/ lie beside it and must not be installed."""
    from setuptools import find_packages

    include = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["packages"]["find"]["include"]
    found = set(find_packages(str(ROOT), include=include))
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "hitagu_lib").rglob("*.py")}
    assert found == {".".join(folder.parts) for folder in folders}, "a folder without __init__.py is not installed"


def test_library_imports_without_ipython() -> None:
    code = "import sys, hitagu_lib, hitagu_lib.cli; print([m for m in ('IPython', 'ipywidgets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


# The Makefile, the README, CI


def make_targets() -> set[str]:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", read("Makefile"), flags=re.MULTILINE)
    return set(phony.split())


def test_make_targets_that_are_named_exist() -> None:
    targets = make_targets()
    for target in targets:
        assert re.search(rf"^{target}:.*## ", read("Makefile"), re.MULTILINE), f"make {target}: no help"
    for name in ("README.md", "book/index.md", ".ci/run", ".pre-commit-config.yaml", ".github/workflows/ci.yml"):
        named = set(re.findall(r"(?:`|entry: |run: |^)make ([a-z]+)", read(name), flags=re.MULTILINE))
        assert named <= targets, f"{name} names make {sorted(named - targets)}"
    readme = read("README.md")
    assert {"train", "test"} <= set(re.findall(r"^make ([a-z]+)", readme, flags=re.MULTILINE))


def makefile_commands() -> str:
    """The Makefile with its variables put in, and without the folder of its tools."""
    text = read("Makefile").replace("\\\n", "")
    variables = dict(re.findall(r"^(\w+) *:= (.*)$", text, flags=re.MULTILINE))
    for name in ("PYTEST", "NBVAL"):
        text = text.replace(f"$({name})", variables[name].strip())
    return text.replace("$(BIN)/", "")


def test_the_page_without_make_says_what_make_runs() -> None:
    """The commands for those without make are the Makefile's own, but for the processes that share the work."""
    makefile = makefile_commands()
    page = read("book/appendix/install.md")
    for command in (
        "hitagu prepare mini",
        "book/03_train.ipynb outputs/mini/03_train.ipynb",
        "ruff check .",
        "ruff format --check .",
        "mypy",
        "pytest -n auto",
        "--nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg book",
        "jupyter-book build . --all -n -W --keep-going",
    ):
        assert command in makefile, f"Makefile: no {command}"
        assert command in page, f"install.md: no {command}"


@pytest.mark.parametrize("name", ["README.md", "book/index.md"])
def test_text_links_and_pictures_exist(name: str) -> None:
    text = read(name)
    for alt, target in re.findall(r"(!?\[[^\]]*\])\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            assert (ROOT / name).parent.joinpath(target.partition("#")[0]).exists(), f"{name}: {alt} -> {target}"
        assert alt != "![]", f"{name}: the picture {target} has no alt text"


@pytest.mark.parametrize("name", ["README.md", "book/index.md", *(f"book/{path.stem}.py" for path in NOTEBOOKS)])
def test_no_placeholder_is_left(name: str) -> None:
    """While a text is written, `{{...}}` marks a number that is yet to be measured."""
    assert re.findall(r"\{\{\w+\}\}", read(name)) == []


def test_ci_runs_what_the_readme_says() -> None:
    assert "make test" in read(".ci/run")
    workflow = yaml.safe_load(read(".github/workflows/ci.yml"))
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert "bash .ci/run" in steps
    older = [torch for torch in PAIRS if torch != minor(pinned(read_lock()["torch"][0]))]
    for torch in older:
        assert any(f"torch=={torch}.*" in s and f"torchvision=={PAIRS[torch]}.*" in s for s in steps)


def test_pre_commit_downloads_nothing() -> None:
    config = yaml.safe_load(read(".pre-commit-config.yaml"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert {hook["language"] for hook in config["repos"][0]["hooks"]} == {"system"}


# The book


def paired_text(notebook: Path) -> str:
    """The .py that belongs to a notebook, as jupytext writes it."""
    import jupytext
    from jupytext.config import load_jupytext_config

    config = load_jupytext_config(str(notebook))
    return jupytext.writes(jupytext.read(notebook, config=config), fmt="py:percent", config=config)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_pair_is_in_step(notebook: Path) -> None:
    pair = notebook.with_suffix(".py")
    mend = f"after an edit of the .py: make sync; of the .ipynb: jupytext --to py:percent book/{notebook.name}"
    assert pair.exists(), f"{pair.name} is missing; {mend}"
    assert read(pair).splitlines() == paired_text(notebook).splitlines(), f"{pair.name} differs; {mend}"


def test_every_py_in_the_book_has_its_notebook_pair() -> None:
    assert NOTEBOOKS, "no notebook in book/"
    assert {path.stem for path in (ROOT / "book").glob("*.py")} == {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_was_executed_from_top_to_bottom(notebook: Path) -> None:
    """nbval compares nothing for a cell that was not executed, and so would pass it."""
    content = json.loads(read(notebook))
    assert content["metadata"]["kernelspec"]["name"] == "python3", "papermill and nbval start the kernel of that name"
    cells = [c for c in content["cells"] if c["cell_type"] == "code" and c["source"]]
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    compared = [c for c in cells if c["outputs"] and "nbval-ignore-output" not in c["metadata"].get("tags", [])]
    assert compared, "no stored output that a run is compared with"
    for cell in cells:
        for output in cell["outputs"]:
            expected = "raises-exception" in cell["metadata"].get("tags", [])
            assert output["output_type"] != "error" or expected, "".join(cell["source"])


REASONS = {
    "trained": "numbers of a training, whose last digits depend on the processor",
    "timed": "measured times",
    "player": "a player or an explorer, drawn as pictures in HTML",
    "progress": "a progress bar",
    "machine": "what this machine has, or how its ffmpeg encodes",
    "text": "counts words of the book or lines of the library",
}
"""Why nbval does not compare a cell's output: the tag beside `nbval-ignore-output`. CONTRIBUTING.md has the list."""


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_cell_that_is_not_compared_says_why(notebook: Path) -> None:
    for number, cell in enumerate(json.loads(read(notebook))["cells"]):
        tags = set(cell["metadata"].get("tags", []))
        assert len(tags & set(REASONS)) == ("nbval-ignore-output" in tags), f"cell {number}: {sorted(tags)}"


def test_contributing_lists_the_reasons() -> None:
    for tag, reason in REASONS.items():
        assert f"`{tag}` ({reason})" in prose("CONTRIBUTING.md")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_stored_outputs_are_of_the_recorded_execution(notebook: Path) -> None:
    took = json.loads(read(RECORD))[notebook.stem]
    assert took["cells"] == cells_hash(ROOT / notebook), (
        f"cells changed since: make execute CHAPTERS=book/{notebook.name}"
    )
    assert not took["git_changed"]


def test_stored_outputs_are_of_two_commits_at_most() -> None:
    """A processor of another kind gives other bits, so chapters that train keep the outputs of the one whose numbers the text quotes."""
    assert len({took["git_commit"] for took in json.loads(read(RECORD)).values()}) <= 2, (
        "make execute, for all chapters"
    )


def test_published_runs_name_no_folder_of_a_machine() -> None:
    for file in (ROOT / "outputs" / "published").rglob("provenance.json"):
        assert not re.search(r'[" =](?:/\w|[A-Z]:\\\\)', file.read_text(encoding="utf-8")), file


def test_contents_list_every_chapter_once() -> None:
    toc = yaml.safe_load(read("_toc.yml"))
    parts = toc.get("parts", [toc])
    listed = [entry["file"] for part in parts for entry in part["chapters"]]
    assert len(listed) == len(set(listed))
    assert set(listed) >= {f"book/{path.stem}" for path in NOTEBOOKS}, "a chapter is missing from _toc.yml"
    for file in [toc["root"], *listed]:
        assert any((ROOT / f"{file}{suffix}").exists() for suffix in (".ipynb", ".md")), f"_toc.yml: no {file}"


@pytest.fixture(scope="module")
def sanitize():
    from nbval.plugin import get_sanitize_patterns

    patterns = get_sanitize_patterns(read("tests/nbval_sanitize.cfg"))
    assert len(patterns) == read("tests/nbval_sanitize.cfg").count("\nregex: ")

    def apply(text: str) -> str:
        for regex, replacement in patterns:
            text = re.sub(regex, replacement, text)
        return text

    return apply


@pytest.mark.parametrize(
    ("stored", "fresh"),
    [
        ("epoch 3: loss 0.41, 12.3 s", "epoch 3: loss 0.41, 9.87 s"),
        ("took 4 min 02 s", "took 3 min 58 s"),
        ("{'train_seconds': 231.4, 'val_top1': 0.958}", "{'train_seconds': 207, 'val_top1': 0.958}"),
        (" 60%|██████    | 3/5 [00:12<00:08, 4.51it/s]", " 60%|██████    | 3/5 [01:02<00:41, 0.31it/s]"),
        ("41.2 clips/s", "7.0 clips/s"),
        ("<Net at 0x7f3a5c0d1e50>", "<Net at 0x7f8812aa0b10>"),
        ("wrote /home/a/hitagu/outputs/mini/summary.json", "wrote ../outputs/mini/summary.json"),
        ("wrote /srv/book/hitagu/outputs/mini/summary.json", "wrote outputs/mini/summary.json"),
        ("2026-11-22T13:09:33.120+00:00 start", "2027-01-02 08:00:01 start"),
    ],
)
def test_outputs_that_only_time_and_place_tell_apart_are_equal(sanitize, stored: str, fresh: str) -> None:
    assert sanitize(stored) == sanitize(fresh)


@pytest.mark.parametrize(
    ("stored", "fresh"),
    [
        ("val top-1 95.8 %", "val top-1 12.5 %"),
        ("{'train_seconds': 231.4, 'val_top1': 0.958}", "{'train_seconds': 231.4, 'val_top1': 0.125}"),
        ("(2, 8, 3, 64, 64)", "(2, 16, 3, 64, 64)"),
        ("3 states", "2 states"),
        ("12 samples", "13 samples"),
        ("outputs/mini/checkpoints/best.pt", "outputs/mini/checkpoints/last.pt"),
        ("11.4 M parameters", "23.5 M parameters"),
    ],
)
def test_results_stay_apart(sanitize, stored: str, fresh: str) -> None:
    assert sanitize(stored) != sanitize(fresh)


def test_the_groups_of_conftest_hold(request: pytest.FixtureRequest) -> None:
    """Else the cells of a chapter would be shared out among the processes, and most of them would fail."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("pytest runs in one process")
    assert request.node.nodeid.endswith("@tests/test_packaging.py")
