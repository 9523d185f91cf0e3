"""benchmarks/threads.py measures each case in each round; the library sets what it measures, and leaves a user's setting alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prose import prose

ROOT = Path(__file__).resolve().parents[2]


def test_a_small_run_writes_its_table_and_every_sample(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.threads", "--rounds", "2", "--seconds", "0"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}  # no thread is idle: what is measured on two takes minutes
    subprocess.run([*command, "--out", str(tmp_path / "cpu")], cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
    measured = json.loads((tmp_path / "cpu.json").read_text())["milliseconds"]
    assert len(measured) == 4 and all(len(values) == 2 and min(values) > 0 for values in measured.values())
    assert "| this library's |" in (tmp_path / "cpu.md").read_text()


@pytest.mark.parametrize(
    ("given", "found"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_the_library_says_how_long_idle_threads_spin(given: dict[str, str], found: str) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} | given
    code = "import hitagu_lib, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == found


def test_the_faq_says_what_was_measured() -> None:
    rows = (ROOT / "outputs/published/threads/cpu.md").read_text(encoding="utf-8").splitlines()[2:4]
    default, ours = (row.split("|")[4].split()[0] for row in rows)
    faq = prose("book/appendix/faq.md")
    assert f"each training took {default} times as long as alone" in faq
    assert f"which make and `hitagu` set, it took {ours} times as long" in faq
