"""Time scoring many views of a video: with shared frames, beside the plain loop over the same views.

    python -m benchmarks.views                                                          # 10 x 3 views, ssv2.yaml's network, CPU
    python -m benchmarks.views --overrides "data.short_side=64 data.image_size=64"      # smaller frames: minutes instead of hours
    python -m benchmarks.views --device cuda --dtype bf16                               # a GPU

For every length of video, sampling and T, both ways score one video. Every round times them one after the other, in a new random order,
and takes the ratio. The report gives medians and quartiles of wall time and, on a CPU, of the process's CPU time, which other programs
hardly affect. Both ways have at most --frames-at-once frames in the network at a time; the loop takes as many views together as that
allows, so that small batches do not slow it down.

Memory is measured in a pass of its own: on a CPU the largest resident memory, sampled every 2 ms, above that before the pass; on CUDA the
most that torch had allocated. The logits of all views are compared. Frames are random; decoding is not included.

Writes <out>/<setting>.md and .json (every sample, and the conditions).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import conditions, device_name, in_rounds, median, publish, ratio, table
from hitagu_lib.config import Config, load_config
from hitagu_lib.evaluation.multi_view import score_views, score_views_plainly
from hitagu_lib.evaluation.protocols import Views, arrange, protocol
from hitagu_lib.models import ClipModel, build_model
from hitagu_lib.runs.provenance import surroundings

WAYS: dict[str, Callable[..., list[Tensor]]] = {"plain loop": score_views_plainly, "shared": score_views}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params/ssv2.yaml", help="the network, and the size of a frame")
    parser.add_argument("--overrides", default="")
    parser.add_argument("--classes", type=int, default=174)
    parser.add_argument(
        "--videos", nargs="+", default=["40:segment", "300:segment", "300:dense"], metavar="LENGTH:SAMPLING"
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16], help="T")
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--crops", type=int, default=3)
    parser.add_argument("--frames-at-once", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="bf16: by autocast")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--out", type=Path, help="(default: outputs/published/views/<device>)")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: found no CUDA device that torch can use")
    if args.rounds < 2 or min(args.frames_at_once, *args.frames) < 1:
        parser.error("expected --rounds of at least 2, --frames-at-once and --frames of at least 1")
    if args.threads:
        torch.set_num_threads(args.threads)

    overrides = f"eval.protocol=multi eval.clips={args.clips} eval.crops={args.crops} model.backbone.weights=null"
    cfg = load_config(args.params, f"{args.overrides} {overrides}")
    where = surroundings(device_name(args.device)) | {"load_average": [os.getloadavg()[0]]}
    torch.manual_seed(0)
    model = build_model(cfg.model, args.classes).eval()
    for parameter in model.parameters():  # a weight that starts at zero could hide a difference
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.01)
    model = model.to(args.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    results = [
        measure(model, *a_video(cfg, int(length), sampling, T), args)
        | {"length": int(length), "sampling": sampling, "T": T}
        for length, sampling in (video.split(":") for video in args.videos)
        for T in args.frames
    ]
    where["load_average"].append(os.getloadavg()[0])

    size = protocol(cfg.data, cfg.eval).crop_size
    setting = [cfg.model.temporal, args.dtype, f"views{args.clips}x{args.crops}", f"size{size}"]
    lines = report(results, where, cfg, size, args)
    out = (args.out or Path("outputs/published/views") / args.device) / "-".join(setting)
    result = {"setting": setting, "rounds": args.rounds, "frames_at_once": args.frames_at_once, "where": where}
    publish(out, lines, result | {"results": results})


def a_video(cfg: Config, length: int, sampling: str, T: int) -> tuple[Views, int]:
    """Return the views of a 16:9 video of noise, and the number of distinct frames in its clips."""
    plan = protocol(dataclasses.replace(cfg.data, sampling=sampling, num_frames=T), cfg.eval)
    clips, S = plan.clip_indices(length), plan.short_side
    distinct = len(np.unique(clips))
    generator = torch.Generator().manual_seed(length)
    frames = torch.randint(0, 256, (distinct, 3, S, round(S * 16 / 9)), dtype=torch.uint8, generator=generator)
    return arrange(frames, clips, plan), distinct


def measure(model: ClipModel, views: Views, distinct: int, args: argparse.Namespace) -> dict[str, Any]:
    logits: dict[str, Tensor] = {}

    def step(name: str) -> Callable[[], None]:
        def run() -> None:
            with torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.dtype == "bf16"):
                (logits[name],) = WAYS[name](model, [views], args.frames_at_once)

        return run

    memory = {name: peak(step(name), args.device) for name in WAYS}  # also the warm-up
    samples = in_rounds({name: step(name) for name in WAYS}, args.rounds, args.device)
    plain, shared = logits["plain loop"], logits["shared"]
    return {
        "frames_asked": views.index.size // args.crops,  # per crop
        "frames_distinct": distinct,
        "views_distinct": len(np.unique(views.index, axis=0)),
        "largest_difference": float((plain - shared).abs().max()),
        "largest_logit": float(plain.abs().max()),
        "megabytes": memory,
        "milliseconds": samples,
    }


def peak(step: Callable[[], None], device: str) -> float:
    """Return the peak memory of `step` in MB, above that before it."""
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)
    before, most, done = _resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.002):
            most = max(most, _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        step()
    finally:
        done.set()
        watcher.join()
    return round(max(0, most - before) / 1e6, 1)


def _resident() -> int:
    """Return the resident memory of this process in bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def report(
    results: list[dict[str, Any]], where: dict[str, Any], cfg: Config, size: int, args: argparse.Namespace
) -> list[str]:
    """Return the table in Markdown, with the conditions of the measurement."""
    clocks = ("wall",) if args.device == "cuda" else ("wall", "CPU")
    network = f"{cfg.model.temporal} on {cfg.model.backbone.name} up to {cfg.model.backbone.cut}"
    columns = ["video", "T", "frames asked / distinct, per crop", "distinct views"]
    columns += [f"{clock} ms, {way}" for clock in clocks for way in ("plain loop", "shared")]
    columns += [f"{clock}, times faster" for clock in clocks] + ["MB, plain loop", "MB, shared", "largest difference"]
    rows = []
    for result in results:
        plain, shared = (result["milliseconds"][way] for way in WAYS)
        cells = [f"{result['length']} frames, {result['sampling']}", str(result["T"])]
        cells += [f"{result['frames_asked']} / {result['frames_distinct']}", str(result["views_distinct"])]
        cells += [median(way[clock], 0) for clock in clocks for way in (plain, shared)]
        cells += [ratio(plain[clock], shared[clock], 2) for clock in clocks]
        cells += [f"{result['megabytes'][way]:.0f}" for way in WAYS]
        cells += [f"{result['largest_difference']:.0e} ({result['largest_logit']:.1f})"]
        rows.append(cells)
    return [
        f"# {args.clips} x {args.crops} views, {size} x {size} pixels, {network}, {args.dtype}, {args.device}",
        "",
        f"One video; at most {args.frames_at_once} frames in the network at a time. Largest difference: of any "
        "logit of any view between the two ways; in brackets the largest logit.",
        "",
        table(rows, columns),
        "",
        f"Median of {args.rounds} rounds, quartiles in brackets; ratios are taken within a round. Memory: one pass.",
        *conditions(where, args.device),
    ]


if __name__ == "__main__":
    main()
