"""Forward and training step at full size, beside the peers; and the batch size against memory."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from benchmarks.model import BANDED, BARE, KINDS, Contestant, network_costs, networks
from benchmarks.model import measure as time_in_rounds
from benchmarks.on_gpu.size import Size
from benchmarks.timing import clocked, median, ratio, table
from hitagu_lib.config import Config, load_config

CLASSES = 174
PEER = "TSN"
JOBS = {  # job: kinds of step, networks, compiled?
    "eager": (KINDS, (BARE, PEER, "TSM", "GRU", "HiTAGU-Net", BANDED), False),
    "compiled training step": (("training step",), (BARE, PEER, "HiTAGU-Net"), True),
    "compiled forward": (("forward",), (BARE, PEER, "HiTAGU-Net"), True),
    "compiled, the other networks": (KINDS, (PEER, "TSM", "GRU", BANDED), True),
}


def _config(size: Size) -> Config:
    return load_config("params/ssv2.yaml", f"model.backbone.weights=null {size.model}")


def _shape(size: Size, batch: int) -> tuple[int, ...]:
    data = _config(size).data
    return batch, data.num_frames, 3, data.image_size, data.image_size


def measure(job: str, size: Size) -> dict[str, Any]:
    torch.backends.cudnn.benchmark = True  # sizes are fixed
    return _batches(size, job) if job in ("HiTAGU-Net", PEER) else _steps(size, job)


def _steps(size: Size, job: str) -> dict[str, Any]:
    kinds, names, compiled = JOBS[job]
    cfg, options, shape = _config(size), size.options(compiled=compiled), _shape(size, size.batch)
    built = networks(cfg.model, CLASSES)
    contestants = {name: Contestant(built[name], options, shape) for name in names}
    costs = network_costs(cfg, CLASSES)
    found: dict[str, Any] = {"clips": shape, "matrix peak, TFLOP/s": _peak(size), "kinds": {}}
    for kind in kinds:
        samples = time_in_rounds(contestants, kind, options)
        found["kinds"][kind] = {
            name: {
                "milliseconds": own["wall"],
                "clips_per_second": 1e3 * size.batch / statistics.median(own["wall"]),
                # forward; the backward pass costs about twice as much
                "operations a clip": 2e9 * costs[name].gflops * (3 if kind == "training step" else 1),
                "bytes": _peak_bytes(contestants[name], kind, size),
            }
            for name, own in samples.items()
        }
    return found


def _peak(size: Size) -> float:
    """Return the TFLOP/s of a large bf16 matrix product: the most that this card gives to such work."""
    a, b = (torch.randn(size.matrix, size.matrix, device=size.device, dtype=torch.bfloat16) for _ in range(2))
    times = [clocked(lambda: a @ b, size.device)["wall"] for _ in range(3 + size.rounds)][3:]
    return 2 * size.matrix**3 / statistics.median(times) / 1e9


def _peak_bytes(contestant: Contestant, kind: str, size: Size) -> int | None:
    """Return the most memory that a step takes at a time, beside what lay there before; None on the CPU."""
    step = contestant.ready(kind)
    if size.device != "cuda":
        step()
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _batches(size: Size, name: str) -> dict[str, Any]:
    """Take training steps of more and more clips, until memory is full; of each, clips per second and memory, the network's included."""
    options, rows = size.options(compiled=False), []
    network = networks(_config(size).model, CLASSES)[name]
    for batch in size.batches:
        try:
            contestant = Contestant(network, options, _shape(size, batch))
            samples = time_in_rounds({name: contestant}, "training step", options)[name]["wall"]
        except torch.OutOfMemoryError:
            rows.append({"batch": batch, "out of memory": True})
            break
        bytes_ = torch.cuda.max_memory_allocated() if size.device == "cuda" else None
        rows.append({"batch": batch, "milliseconds": samples, "bytes": bytes_})
        del contestant
        if size.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    memory = torch.cuda.get_device_properties(0).total_memory if size.device == "cuda" else None
    return {"rows": rows, "memory of the card": memory}


def report(results: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for job, result in results.items():
        peak = result["matrix peak, TFLOP/s"]
        for kind, by_network in result["kinds"].items():
            rows = []
            for name, own in by_network.items():
                reached = own["operations a clip"] * own["clips_per_second"] / 1e12
                bare = by_network.get(BARE, own)["milliseconds"]
                rows.append(
                    [
                        name,
                        median(own["milliseconds"], 1),
                        f"{own['clips_per_second']:.0f}",
                        "1" if name == BARE else ratio(own["milliseconds"], bare, 3) if BARE in by_network else "",
                        "1" if name == PEER else ratio(own["milliseconds"], by_network[PEER]["milliseconds"], 3),
                        f"{reached:.0f}",
                        f"{reached / peak:.0%}",
                        _gib(own["bytes"]),
                    ]
                )
            columns = ["", "ms", "clips/s", "/ bare", "/ TSN", "TFLOP/s", "of the peak", "GiB a step"]
            lines += [f"## {job}: {kind}", "", table(rows, columns), ""]
        clips = " x ".join(map(str, result["clips"]))
        lines += [
            f"Clips of {clips}, bf16, channels-last. A product of bf16 matrices reaches {peak:.0f} TFLOP/s here: the peak.",
            "",
        ]
    return [
        *lines,
        "Medians, quartiles in brackets; ratios are taken within a round. The aim: at most 1.08 of TSN's training step.",
    ]


def report_batches(results: dict[str, dict[str, Any]]) -> list[str]:
    rows = []
    for name, result in results.items():
        for row in result["rows"]:
            if "out of memory" in row:
                rows.append([name, str(row["batch"]), "out of memory", "", ""])
                continue
            rate = 1e3 * row["batch"] / statistics.median(row["milliseconds"])
            rows.append([name, str(row["batch"]), _gib(row["bytes"]), f"{rate:.0f}", median(row["milliseconds"], 1)])
    memory = {_gib(result["memory of the card"]) for result in results.values()}
    return [
        table(rows, ["", "clips a batch", "GiB", "clips/s", "ms a step"]),
        "",
        f"Training steps, bf16, channels-last, eager; memory with weights, momentum and clips, of the card's {', '.join(memory)} GiB.",
    ]


def _gib(bytes_: int | None) -> str:
    return "" if bytes_ is None else f"{bytes_ / 2**30:.1f}"
