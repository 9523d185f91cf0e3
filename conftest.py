"""How pytest-xdist shares out the tests and the chapters: one thread a worker, one worker a file, the longest first.

A chapter's cells are followed by the solutions of its exercises.
"""

import os
from collections import defaultdict
from itertools import groupby

import pytest
from nbformat.v4 import new_code_cell, new_output
from nbval.plugin import IPyNbCell, IPyNbFile
from solutions import solutions

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: workers and what they start, a chapter's kernel too, share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

MINI = ("03_train.ipynb", "04_evaluate.ipynb", "05_attention_maps.ipynb")
"""Chapters 4 and 5 read the network that chapter 3 trains, and train it if it is missing."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for file, of in groupby(items, lambda item: item.parent) for item in (*of, *_solutions(file))]
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


def _solutions(file: pytest.Collector | None) -> list[pytest.Item]:
    """The solutions of a notebook's exercises as cells for nbval; what they print is compared where the text shows it."""
    if not isinstance(file, IPyNbFile):
        return []
    text = "\n".join(cell.source for cell in file.nb.cells if cell.cell_type == "markdown")
    own = sum(cell.cell_type == "code" for cell in file.nb.cells)
    return [
        IPyNbCell.from_parent(
            file,
            name=f"Solution {number}",
            cell_num=own + place,
            cell=new_code_cell(code, execution_count=1, outputs=[new_output("stream", text=printed or "")]),
            options=defaultdict(bool, check=printed is not None),
        )
        for place, (number, code, printed) in enumerate(solutions(text))
    ]
