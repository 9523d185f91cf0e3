"""The 3STU's forms, as it is and banded, beside nn.GRU."""

from __future__ import annotations

from typing import Any

from benchmarks import stu
from benchmarks.on_gpu.size import Size
from benchmarks.timing import Samples, table


def measure(job: str, size: Size) -> dict[str, Any]:
    options = size.options(compiled=job == "compiled")
    samples = {T: stu.measure(stu.contestants(T, options), options) for T in size.frames}
    return {"unit": size.unit, "milliseconds": samples}


def report(results: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for job, result in results.items():
        samples: dict[int, Samples] = result["milliseconds"]
        for T, by_name in samples.items():
            lines += [f"## {job}: T = {T}", "", table(stu.times(by_name, ("wall",)), ["", "ms", "/ GRU"]), ""]
        lines += [*stu.fastest(samples, "wall"), ""]
    setting = ", ".join(f"{name} {value}" for name, value in next(iter(results.values()))["unit"].items())
    return [
        *lines,
        f"Forward and backward, bf16, {setting}. Medians, quartiles in brackets. '/ GRU' is relative to '{stu.GRU}' for the memory, "
        f"to '{stu.GRU_MODULE}' for the whole module. The aim: at most 0.5. Set `form: auto` to the fastest (hitagu_lib/models/stu.py).",
    ]
