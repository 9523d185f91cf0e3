"""How pytest-xdist shares out the tests and the chapters: one thread a worker, one worker a file, the longest first."""

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: workers and what they start, a chapter's kernel too, share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

MINI = ("03_train.ipynb", "04_evaluate.ipynb", "05_attention_maps.ipynb")
"""Chapters 4 and 5 read the network that chapter 3 trains, and train it if it is missing."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # A file stays in one process: its cells share a kernel, its tests share what fixtures made.
        item.add_marker(pytest.mark.xdist_group("mini" if item.path.name in MINI else item.nodeid.partition("::")[0]))
        if item.path.parent.name in ("system", "benchmarks"):
            item.add_marker(pytest.mark.system)
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """What takes longest comes first: chapters on mini, other chapters, then what starts processes; within each the order stays."""
    if item.path.suffix == ".ipynb":
        return 0 if item.path.name in MINI else 1
    return 2 if item.get_closest_marker("system") else 3
