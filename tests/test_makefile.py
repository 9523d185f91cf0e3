"""`make clean` removes what the book makes, and nothing of a reader's own."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OF_THE_BOOK = {"_build", "data/mini", "data/chapter1", "outputs/mini", "outputs/chapter7", "hitagu_lib/__pycache__"}
OF_A_READER = {
    "experiments",
    "benchmarks",
    ".venv",
    "data/own",
    "data/k700",
    "outputs/own",
    "outputs/published",
    "outputs/mini2",
    "tests",
    "book",
}


def test_clean_leaves_what_is_not_the_books(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in OF_THE_BOOK | OF_A_READER:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    left = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("file")}
    assert left == OF_A_READER
