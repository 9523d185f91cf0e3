"""Time a stream frame by frame: neither time nor memory may grow with the video.

    python -m benchmarks.streaming                                              # mini's network, 10,000 frames
    python -m benchmarks.streaming --params params/ssv2.yaml --frames 200       # ResNet-50 at 224 pixels

A causal network with random weights sees frames one by one. Every tenth frame the bare backbone is timed on the same frame, so that a
disturbance of the machine affects both. Reported after 10, 100, 1,000 and 10,000 frames: milliseconds a frame by the wall clock and by
the process's CPU clock, the ratio to the bare backbone, the state's bytes, and the memory of the process. Every prefix of the first
frames is also given to `forward`: the largest difference of the logits.

Writes <out>/<setting>.md and .json.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path

import torch

from benchmarks.timing import clocked, conditions, device_name, median, publish, table
from hitagu_lib.config import load_config
from hitagu_lib.inference.streaming import Stream
from hitagu_lib.models import build_model
from hitagu_lib.runs.provenance import surroundings

BLOCK = 100  # different frames, shown again and again; a median is over as many
CHECKED = 64  # frames whose prefixes forward sees


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params/mini.yaml", help="the model, and the size of a frame")
    parser.add_argument("--overrides", default="")
    parser.add_argument("--classes", type=int, default=14)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("outputs/published/streaming"))
    args = parser.parse_args(argv)
    if args.frames < 10:
        parser.error("expected --frames of at least 10")
    torch.set_num_threads(1)
    cfg = load_config(args.params, f"{args.overrides} model.backbone.weights=null model.causal=true")
    where = surroundings(device_name("cpu")) | {"load_average": [os.getloadavg()[0]]}
    torch.manual_seed(0)
    model = build_model(cfg.model, args.classes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():  # zero at the start: with these alone, the modules would add nothing
                parameter.normal_(0, 0.1)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = cfg.data.image_size
    frames = torch.randn(BLOCK, 3, size, size, generator=torch.Generator().manual_seed(0))
    frames = frames.contiguous(memory_format=torch.channels_last)
    difference, largest = largest_difference(Stream(model), frames[: min(CHECKED, args.frames)])

    stream = Stream(model)
    clocks = ("wall", "CPU")
    samples: dict[str, dict[str, list[float]]] = {name: {c: [] for c in clocks} for name in ("step", "bare")}
    memory, sizes = [], []
    for n in range(args.frames):
        frame = frames[n % BLOCK]
        for clock, milliseconds in clocked(lambda f=frame, s=float(n): stream.step(f, s), "cpu").items():  # type: ignore[misc]
            samples["step"][clock].append(round(milliseconds, 3))
        if n % 10 == 9:
            with torch.inference_mode():
                for clock, milliseconds in clocked(lambda f=frame: model.backbone(f[None]), "cpu").items():  # type: ignore[misc]
                    samples["bare"][clock].append(round(milliseconds, 3))
            memory.append(resident_bytes())
            sizes.append(stream.num_bytes)
    where["load_average"].append(os.getloadavg()[0])

    rows = []
    for after in [n for n in (10, 100, 1_000, 10_000) if n <= args.frames]:
        last = slice(max(0, after - BLOCK), after)
        bare = slice(max(0, after - BLOCK) // 10, after // 10)
        step_cpu, bare_cpu = samples["step"]["CPU"][last], samples["bare"]["CPU"][bare]
        rows.append([
            f"{after:,}", median(samples["step"]["wall"][last], 2), median(step_cpu, 2),
            f"{statistics.median(step_cpu) / statistics.median(bare_cpu):.2f}",
            f"{sizes[after // 10 - 1]:,}", f"{memory[after // 10 - 1] / 2**20:.1f}",
        ])  # fmt: skip
    columns = ["frames", "wall ms", "CPU ms", "CPU / bare backbone", "state, bytes", "process, MiB"]
    setting = Path(args.params).stem
    lines = [
        f"# A stream of {args.params}, causal, {size} x {size}", "", table(rows, columns), "",
        f"Median over the last {BLOCK} frames (fewer at 10), quartiles in brackets; the bare backbone is timed every tenth frame. "
        f"{stream!r}.",
        f"Stream and forward on every prefix of {min(CHECKED, args.frames)} frames: logits of up to {largest:.1f} differ by "
        f"{difference:.1e} at most.",
        *conditions(where, "cpu"),
    ]  # fmt: skip
    result = {
        "params": args.params,
        "where": where,
        "difference": difference,
        "largest_logit": largest,
        "bytes": sizes[-1],
        "milliseconds": samples,
    }
    publish(args.out / setting, lines, result | {"process_bytes": memory})


@torch.inference_mode()
def largest_difference(stream: Stream, frames: torch.Tensor) -> tuple[float, float]:
    """Return the largest difference between the stream's logits and forward's on the prefix, at odd times, and the largest logit."""
    t = (0.2 + torch.rand(len(frames), generator=torch.Generator().manual_seed(1))).cumsum(0)
    every = stream.model(frames[None], t[None], every_prefix=True)[0]
    streamed = torch.stack([stream.step(frame, seconds) for frame, seconds in zip(frames, t, strict=True)])
    return float((streamed - every).abs().max()), float(every.abs().max())


def resident_bytes() -> int:
    """Return the memory that this process holds (Linux; elsewhere 0)."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if file.exists() else 0


if __name__ == "__main__":
    main()
