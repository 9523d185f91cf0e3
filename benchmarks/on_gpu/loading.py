"""Clips per second of the loader, by the number of its processes, on frames drawn here."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.io import encode_jpeg

from benchmarks.on_gpu.size import Size
from benchmarks.timing import median, table
from hitagu_lib.config import DataConfig
from hitagu_lib.data.clip_list import read_list
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.loader import make_loader

BATCH, FRAMES, WIDTH, HEIGHT = 8, 40, 340, 256


def measure(job: str, size: Size) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rates: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bytes_ = _draw(folder, videos := min(size.clips, 16))
        (folder / "list.csv").write_text(
            "".join(f"{row % videos},{row % videos},{FRAMES}\n" for row in range(size.clips))
        )
        clips = read_list(folder / "list.csv", folder)
        for workers in sorted({min(workers or cores, cores) for workers in size.workers}):
            loader = make_loader(ClipDataset(clips, DataConfig(workers=workers), train=True), BATCH, shuffle=True)
            for turn in range(4):  # the first starts the processes, and has the files read into memory
                started = time.perf_counter()
                for _ in loader:
                    pass
                if turn:
                    rates.setdefault(workers, []).append(size.clips / (time.perf_counter() - started))
    return {"cores": cores, "bytes a frame": bytes_, "clips per second": rates}


def _draw(folder: Path, videos: int) -> float:
    """Write videos of smooth waves and some noise as JPEG frames; return the bytes of one frame."""
    rng, total = np.random.default_rng(0), 0
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for video in range(videos):
        frames = folder / str(video)
        frames.mkdir()
        noise = rng.integers(-5, 6, (3, HEIGHT, WIDTH))
        for i in range(FRAMES):
            waves = [127 + 100 * np.sin(0.02 * (c + 1 + video) * x + 0.05 * y + 0.3 * i) for c in range(3)]
            picture = torch.from_numpy((np.stack(waves) + noise).clip(0, 255).astype(np.uint8))
            jpeg = encode_jpeg(picture, quality=90).numpy().tobytes()
            (frames / f"{i + 1:06d}.jpg").write_bytes(jpeg)
            total += len(jpeg)
    (folder / "classes.txt").write_text("".join(f"{video}\n" for video in range(videos)))
    return total / (videos * FRAMES)


def report(results: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for result in results.values():
        rates = {int(workers): found for workers, found in result["clips per second"].items()}
        rows = [[str(n), median(found, 0), f"{n / max(found):.4f}"] for n, found in rates.items()]
        lines += [
            table(rows, ["loader processes", "clips/s", "core-seconds a clip (8.5)"]),
            "",
            f"Clips of 8 frames, {WIDTH} x {HEIGHT} JPEGs of {result['bytes a frame'] / 1e3:.1f} kB drawn here, random crops to 224, "
            f"batches of {BATCH}; {result['cores']} cores; all files in memory. Medians of three rounds, quartiles in brackets.",
        ]
    return lines
