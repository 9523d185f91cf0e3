"""benchmarks/threads.py measures each case in each round; the library sets what it measures, and leaves a user's setting alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prose import prose

from benchmarks import threads

ROOT = Path(__file__).resolve().parents[2]


def test_each_case_is_measured_in_each_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {(None, 1): 200.0, (None, 2): 800.0, ("1000", 1): 200.0, ("1000", 2): 460.0}
    monkeypatch.setattr(threads, "measure", lambda spin, at_once, seconds: given[spin, at_once])
    threads.main(["--rounds", "3", "--out", str(tmp_path / "cpu")])
    measured = json.loads((tmp_path / "cpu.json").read_text())["milliseconds"]
    assert measured["this library's, 2 at once"] == [460] * 3 and len(measured) == 4
    table = (tmp_path / "cpu.md").read_text()
    assert "| PyTorch's own | 200 (200–200) | 800 (800–800) | 4.0 (4.0–4.0) |" in table
    assert "| this library's | 200 (200–200) | 460 (460–460) | 2.3 (2.3–2.3) |" in table


@pytest.mark.slow
def test_processes_take_steps_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # no thread is idle: what is measured on two takes minutes
    assert threads.measure("1000", 2, 0) > 0


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
