"""Time the 3STU, as it is and banded, forward and backward, in its three forms, beside nn.GRU over the same positions, frames and width.

    python -m benchmarks.stu --threads 1                              # CPU, fp32
    python -m benchmarks.stu --device cuda --dtype bf16 --clips 16    # a GPU
    python -m benchmarks.stu --device cuda --dtype bf16 --clips 16 --compile

There are two comparisons of like with like. In each, both sides work on the same (clips x positions, T, D) and return as much:

    memory    z -> read: the 3STU between W_in and W_o (gates, candidates, three states, mix), beside nn.GRU(D, D) with the positions as its
              batch. The cost budget refers to this row. Also beside nn.GRU(D, D, num_layers=3), which is a cascade of three too.
    module    u -> y, C channels in and out: the whole 3STU in its default form, beside the same module with a GRU in its place: W_in,
              BatchNorm, nn.GRU(D, D), W_o and the residual sum.

Banded: `model.stu: {whole_frame: true, bands: true, broadcast: none}`, the form of the older published runs.

Every round times each contestant once, in a new random order; ratios are taken within a round, to the GRU of the same comparison. The
report gives medians and quartiles. A contestant that takes longer than --slow in the warm-up is timed only that once. CPU: also the
process's CPU time, which other programs hardly affect. CUDA: events around each step.

Writes <out>/<setting>.md and .json (every sample, and the conditions).
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.timing import (
    Samples,
    clocked,
    compiled,
    conditions,
    device_name,
    in_rounds,
    median,
    publish,
    ratio,
    table,
)
from hitagu_lib.config import STUConfig
from hitagu_lib.models.stu import ThreeStateTemporalUnit
from hitagu_lib.runs.provenance import surroundings

FORMS = ("loop", "closed", "scan")
BANDED: dict[str, Any] = {"whole_frame": True, "bands": True, "broadcast": "none"}
KINDS: dict[str, dict[str, Any]] = {"3STU": {}, "banded 3STU": BANDED}
GRU, DEEP, GRU_MODULE = "nn.GRU, D to D", "nn.GRU, 3 layers of D", "W_in, BN, nn.GRU, W_o"


class GRUUnit(nn.Module):
    """An nn.GRU in place of the 3STU, positions as its batch: u (B, T, C, h, w) -> u + W_o GRU(BN(W_in u))."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.W_in = nn.Conv2d(channels, width, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.gru = nn.GRU(width, width)
        self.W_o = nn.Conv2d(width, channels, 1, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        B, T, _, h, w = u.shape
        z = self.bn(self.W_in(u.flatten(0, 1))).unflatten(0, (B, T)).permute(1, 0, 3, 4, 2)  # (T, B, h, w, D)
        states, _ = self.gru(z.reshape(T, B * h * w, -1))
        read = states.reshape(T, B, h, w, -1).permute(1, 0, 4, 2, 3).flatten(0, 1)  # (B T, D, h, w)
        if not u.flatten(0, 1).is_contiguous(memory_format=torch.channels_last):
            read = read.contiguous()  # as in the 3STU
        y: Tensor = u + self.W_o(read).unflatten(0, (B, T))
        return y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16, 64], help="T")
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--side", type=int, default=7, help="the map is side x side positions")
    parser.add_argument("--channels", type=int, default=2048, help="C")
    parser.add_argument("--width", type=int, default=256, help="D")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="bf16: by autocast, as in training")
    parser.add_argument(
        "--compile", action="store_true", help="use torch.compile for the 3STU; nn.GRU is one kernel already"
    )
    parser.add_argument("--backend", default="inductor", help="of torch.compile (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warmup", type=int, default=2, help="rounds that are not counted")
    parser.add_argument(
        "--slow", type=float, default=1.5, help="time a step only once if it takes more CPU seconds than this"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--out", type=Path, help="(default: outputs/published/stu/<device>)")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: found no CUDA device that torch can use")
    if args.rounds < 7 or args.warmup < 1 or min(args.frames) < 1:
        parser.error("expected --rounds of at least 7, --warmup and --frames of at least 1")
    if args.threads:
        torch.set_num_threads(args.threads)

    where = surroundings(device_name(args.device)) | {"load_average": [os.getloadavg()[0]]}
    samples = {T: measure(contestants(T, args), args) for T in args.frames}
    where["load_average"].append(os.getloadavg()[0])

    setting = [args.dtype, f"clips{args.clips}", f"side{args.side}", f"width{args.width}"] + ["compiled"] * args.compile
    lines = report(samples, where, args)
    out = (args.out or Path("outputs/published/stu") / args.device) / "-".join(setting)
    result = {"setting": setting, "channels": args.channels, "rounds": args.rounds, "where": where}
    publish(out, lines, result | {"milliseconds": samples})


def contestants(T: int, args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Return name -> one forward and backward, with gradients for the input and the parameters."""
    B, side, C, D = args.clips, args.side, args.channels, args.width
    torch.manual_seed(0)
    z = torch.randn(B, T, side, side, D, device=args.device)
    rows = z.permute(1, 0, 2, 3, 4).reshape(T, B * side * side, D)  # nn.GRU's own layout
    u = torch.randn(B, T, C, side, side, device=args.device)
    t = torch.arange(T, device=args.device, dtype=torch.float32).expand(B, T)
    dt = torch.ones_like(t)

    def step(module: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
        variables = [x.detach().requires_grad_(), *module.parameters()]

        def run() -> None:
            for variable in variables:
                variable.grad = None
            with torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.dtype == "bf16"):
                y = call(variables[0])
            y.backward(torch.ones_like(y))

        return run

    faster: Callable[[Any], Any] = partial(compiled, backend=args.backend) if args.compile else lambda call: call
    gru, deep = nn.GRU(D, D).to(args.device), nn.GRU(D, D, num_layers=3).to(args.device)
    steps = {GRU: step(gru, lambda x: gru(x)[0], rows), DEEP: step(deep, lambda x: deep(x)[0], rows)}
    for kind, switches in KINDS.items():
        for form in FORMS:
            unit = ThreeStateTemporalUnit(STUConfig(width=D, form=form, **switches), C).to(args.device)
            memory = faster(unit.memory)
            steps[f"{kind} memory, {form}"] = step(unit, lambda x, memory=memory: memory(x, dt)[0], z)
    peer = GRUUnit(C, D).to(args.device)
    steps[GRU_MODULE] = step(peer, faster(peer), u)
    for kind, switches in KINDS.items():
        shipped = ThreeStateTemporalUnit(STUConfig(width=D, **switches), C).to(args.device)
        whole = faster(shipped)
        steps[f"{kind}, whole, auto"] = step(shipped, lambda x, whole=whole: whole(x, t)[0], u)
    return steps


def measure(steps: dict[str, Callable[[], None]], args: argparse.Namespace) -> Samples:
    """Time each contestant once per round. One that is too slow has a single sample, from the warm-up; one without enough memory none."""
    first = {}
    for name, step in steps.items():
        with suppress(torch.OutOfMemoryError):
            first[name] = clocked(step, args.device)
    slow = {name for name, times in first.items() if args.device == "cpu" and times["CPU"] > 1e3 * args.slow}
    repeated = {name: step for name, step in steps.items() if name in first.keys() - slow}
    in_rounds(repeated, args.warmup - 1, args.device)
    samples = in_rounds(repeated, args.rounds, args.device)
    once = {name: {clock: [round(ms, 3)] for clock, ms in first[name].items()} for name in slow}
    return {name: once.get(name) or samples.get(name) or {"wall": [], "CPU": []} for name in steps}


def report(samples: dict[int, Samples], where: dict[str, Any], args: argparse.Namespace) -> list[str]:
    """Return one table per T in Markdown, with the conditions of the measurement."""
    clocks = ("wall",) if args.device == "cuda" else ("wall", "CPU")
    columns = ["", *(f"{clock}{what}" for clock in clocks for what in (" ms", " / GRU"))]
    maps = f"{args.clips} x {args.side} x {args.side} positions, C = {args.channels}, D = {args.width}"
    lines = [
        f"# The 3STU beside nn.GRU: {maps}, {args.dtype}, {'compiled' if args.compile else 'eager'}, {args.device}",
        "",
        "Forward and backward. Memory: z to read, D to D, positions as the batch. Whole: C to C, residual sum included.",
        f"'/ GRU' is relative to '{GRU}' for the memory, and to '{GRU_MODULE}' for the whole module.",
    ]
    for T, by_name in samples.items():
        lines += ["", f"## T = {T}", "", table(times(by_name, clocks), columns)]
    return [
        *lines,
        "",
        *fastest(samples, clocks[-1]),
        f"Median of {args.rounds} rounds, quartiles in brackets; ratios are taken within a round.",
        *conditions(where, args.device),
    ]


def times(by_name: Samples, clocks: Sequence[str]) -> list[list[str]]:
    """Return a row of a table for each contestant: by each clock its time, and its ratio to the GRU of its comparison."""
    rows = []
    for name, own in by_name.items():
        peer = by_name[GRU_MODULE if name == GRU_MODULE or "whole" in name else GRU]
        cells = [name]
        for clock in clocks:
            if not own[clock]:
                cells += ["out of memory", ""]
            elif len(own[clock]) == 1:
                cells += [f"{own[clock][0]:.0f}, once", ""]
            else:
                cells += [median(own[clock], 1), "1" if own is peer else ratio(own[clock], peer[clock], 2)]
        rows.append(cells)
    return rows


def fastest(samples: dict[int, Samples], clock: str) -> list[str]:
    """Say which form of each kind is the fastest, by T."""
    lines = []
    for kind in KINDS:
        best = {}
        for T, by_name in samples.items():
            measured = {form: by_name[f"{kind} memory, {form}"][clock] for form in FORMS}
            best[T] = min(
                (form for form in FORMS if measured[form]), key=lambda form: statistics.median(measured[form])
            )
        lines.append(f"Fastest form, {kind}: " + ", ".join(f"{form} at T = {T}" for T, form in best.items()) + ".")
    return lines


if __name__ == "__main__":
    main()
