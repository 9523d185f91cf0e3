"""Time the 3STU, forward and backward, in its three forms, beside nn.GRU over the same positions, frames and width.

    python benchmarks/stu.py --threads 1                              # CPU, fp32
    python benchmarks/stu.py --device cuda --dtype bf16 --clips 16    # a GPU
    python benchmarks/stu.py --device cuda --dtype bf16 --clips 16 --compile

Like with like, in two halves. Both work on the same (clips x positions, T, D) and return as much:

    memory    z -> read: the 3STU between W_in and W_o (gates, candidates, three states, mix), beside nn.GRU(D, D), positions as its
              batch. The row that the budget is about. Also beside nn.GRU(D, D, num_layers=3), a cascade of three as well, at each
              position.
    module    u -> y, C channels in and out: the whole 3STU in its shipped form, beside W_in, BatchNorm, nn.GRU(D, D), W_o and the
              sum: the GRU in its place.

In every round each contestant is timed once, in a new random order; a ratio is taken within a round, to the GRU of the same half.
Reported are medians with the quartiles beside them. One that takes longer than --slow in the warm-up is left out and its one time told.
CPU: the process's CPU time too, which other programs hardly change. CUDA: events around each step.

Writes <out>/<setting>.md and .json (every sample, and where it was measured).
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import clocked, conditions, device_name, median, publish
from hitagu_lib.config import STUConfig
from hitagu_lib.models.stu import ThreeStateTemporalUnit
from hitagu_lib.runs.provenance import surroundings

FORMS = ("loop", "closed", "scan")
GRU, DEEP, GRU_MODULE = "nn.GRU, D to D", "nn.GRU, 3 layers of D", "W_in, BN, nn.GRU, W_o"
# T -> contestant -> clock -> milliseconds, one a round; one alone if too slow
Samples = dict[int, dict[str, dict[str, list[float]]]]


class GRUUnit(nn.Module):
    """An nn.GRU in the 3STU's place: u (B, T, C, h, w) -> u + W_o GRU(BN(W_in u)), positions as its batch."""

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
            read = read.contiguous()  # as the 3STU does
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
    parser.add_argument("--compile", action="store_true", help="torch.compile for the 3STU; nn.GRU is a kernel already")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warmup", type=int, default=2, help="rounds that are not counted")
    parser.add_argument(
        "--slow", type=float, default=1.5, help="seconds of CPU time a step that are too many to repeat"
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
    samples: Samples = {T: measure(contestants(T, args), args) for T in args.frames}
    where["load_average"].append(os.getloadavg()[0])

    setting = [args.dtype, f"clips{args.clips}", f"side{args.side}", f"width{args.width}"] + ["compiled"] * args.compile
    lines = report(samples, where, args)
    out = (args.out or Path("outputs/published/stu") / args.device) / "-".join(setting)
    result = {"setting": setting, "channels": args.channels, "rounds": args.rounds, "where": where}
    publish(out, lines, result | {"milliseconds": samples})


def contestants(T: int, args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """name -> one forward and backward, input and parameters both differentiated."""
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

    faster: Callable[[Any], Any] = torch.compile if args.compile else lambda call: call
    gru, deep = nn.GRU(D, D).to(args.device), nn.GRU(D, D, num_layers=3).to(args.device)
    steps = {GRU: step(gru, lambda x: gru(x)[0], rows), DEEP: step(deep, lambda x: deep(x)[0], rows)}
    units = {form: ThreeStateTemporalUnit(STUConfig(width=D, form=form), C).to(args.device) for form in FORMS}
    for form, unit in units.items():
        memory = faster(unit.memory)
        steps[f"3STU memory, {form}"] = step(unit, lambda x, memory=memory: memory(x, dt)[0], z)
    peer = GRUUnit(C, D).to(args.device)
    steps[GRU_MODULE] = step(peer, faster(peer), u)
    shipped = ThreeStateTemporalUnit(STUConfig(width=D), C).to(args.device)
    whole = faster(shipped)
    steps["3STU, whole, auto"] = step(shipped, lambda x: whole(x, t)[0], u)
    return steps


def measure(steps: dict[str, Callable[[], None]], args: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Each contestant once a round, in a new order each time."""
    order, names = random.Random(0), list(steps)
    samples: dict[str, dict[str, list[float]]] = {name: {"wall": [], "CPU": []} for name in steps}
    for name in list(names):
        times = clocked(steps[name], args.device)
        if args.device == "cpu" and times["CPU"] > 1e3 * args.slow:
            samples[name] = {clock: [round(milliseconds, 3)] for clock, milliseconds in times.items()}
            names.remove(name)
    for turn in range(1 - args.warmup, args.rounds):
        order.shuffle(names)
        for name in names:
            times = clocked(steps[name], args.device)
            if turn >= 0:
                for clock, milliseconds in times.items():
                    samples[name][clock].append(round(milliseconds, 3))
    return samples


def report(samples: Samples, where: dict[str, Any], args: argparse.Namespace) -> list[str]:
    """A table for each T, in Markdown, and under what conditions they were made."""
    clocks = ("wall",) if args.device == "cuda" else ("wall", "CPU")
    maps = f"{args.clips} x {args.side} x {args.side} positions, C = {args.channels}, D = {args.width}"
    lines = [
        f"# The 3STU beside nn.GRU: {maps}, {args.dtype}, {'compiled' if args.compile else 'eager'}, {args.device}",
        "",
        "Forward and backward. Memory: z to read, D to D, positions as the batch. Whole: C to C, residual sum included.",
        f"'/ GRU' is to '{GRU}' for the memory, and to '{GRU_MODULE}' for the whole module.",
    ]
    for T, by_name in samples.items():
        head = ["", *(f"{clock}{what}" for clock in clocks for what in (" ms", " / GRU"))]
        lines += ["", f"## T = {T}", "", f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
        for name, own in by_name.items():
            peer = by_name[GRU_MODULE if name == GRU_MODULE or "whole" in name else GRU]
            cells = [name]
            if len(own["wall"]) == 1:
                cells += [text for clock in clocks for text in (f"{own[clock][0]:.0f}, once", "")]
                lines.append(f"| {' | '.join(cells)} |")
                continue
            for clock in clocks:
                ratios = [a / b for a, b in zip(own[clock], peer[clock], strict=True)]
                cells += [median(own[clock], 1), "1" if own is peer else median(ratios, 2)]
            lines.append(f"| {' | '.join(cells)} |")
    best = {
        T: min(FORMS, key=lambda form: statistics.median(by_name[f"3STU memory, {form}"][clocks[-1]]))
        for T, by_name in samples.items()
    }
    return [
        *lines,
        "",
        "Fastest form: " + ", ".join(f"{form} at T = {T}" for T, form in best.items()) + ".",
        f"Median of {args.rounds} rounds, quartiles in brackets; ratios are taken within a round.",
        *conditions(where, args.device),
    ]


if __name__ == "__main__":
    main()
