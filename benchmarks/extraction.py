"""What extraction costs: frames per second of one core, and bytes per frame, on real clips.

    python -m benchmarks.extraction --clips arm_wrestling.mp4 poking_166766.mp4 --enlarge 720

Each clip is extracted as `hitagu extract` does it, at short side 256, by one ffmpeg with one thread for each of its stages, once for each
value of --quality (ffmpeg's -q:v; 2 is the default). Every round does this in a new random order; the report gives medians and quartiles.

The reported time is processor time, of ffmpeg and of this program together. Other programs affect it less than wall time, but they do
where two virtual cores share a real one: measure on an idle machine. Wall time, which can be shorter because the stages run side by side,
is in the .json. --enlarge also scales the first clip up to that height and encodes it again (x264, preset medium, crf 23): an estimate of
what decoding costs at the size of web videos. Frames go to a temporary folder, and no time is spent waiting for a disk.

Writes <out>.md and <out>.json (every sample, and the conditions).
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import conditions, device_name, median, publish, table
from hitagu_lib.media.ffmpeg import ffmpeg_path
from hitagu_lib.prepare.extract import extract_video
from hitagu_lib.runs.provenance import surroundings

SHORT_SIDE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument(
        "--enlarge", type=int, metavar="HEIGHT", help="also measure the first clip scaled up to this height"
    )
    parser.add_argument("--quality", type=int, nargs="+", default=[2, 5], metavar="Q")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("outputs/published/extraction/cpu"))
    args = parser.parse_args()
    if args.rounds < 2:
        parser.error("expected --rounds of at least 2")
    torch.set_num_threads(1)
    where = surroundings(device_name("cpu")) | {"ffmpeg": ffmpeg_version(), "load_average": [os.getloadavg()[0]]}
    with tempfile.TemporaryDirectory() as scratch:
        clips = {clip.name: clip for clip in args.clips}
        if args.enlarge:
            name = f"{args.clips[0].stem}, {args.enlarge} high"
            clips[name] = enlarged(args.clips[0], args.enlarge, Path(scratch))
        results = [
            {"clip": name, "quality": quality, **stream(clip)}
            for name, clip in clips.items()
            for quality in args.quality
        ]
        order, samples = random.Random(0), list(results)
        for turn in range(args.rounds + 1):
            order.shuffle(samples)
            for result in samples:
                measure(clips[result["clip"]], result, Path(scratch) / "frames", keep=turn > 0)  # the first warms up
    where["load_average"].append(os.getloadavg()[0])
    publish(
        args.out, report(results, where, args.rounds), {"short_side": SHORT_SIDE, "where": where, "results": results}
    )


def measure(clip: Path, result: dict[str, Any], folder: Path, keep: bool) -> None:
    """Extract once; put the seconds, the number of frames and their bytes into `result`."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    frames = extract_video(clip, folder, short_side=SHORT_SIDE, quality=result["quality"])
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    files = [file.stat() for file in folder.glob("*.jpg")]
    result |= {
        "frames": frames,
        "bytes": sum(f.st_size for f in files),
        "disk_bytes": sum(f.st_blocks * 512 for f in files),
    }
    for clock, seconds in (("cpu_seconds", cpu), ("wall_seconds", wall)):
        result.setdefault(clock, []).extend([round(seconds, 4)] if keep else [])
    shutil.rmtree(folder)


def cpu_seconds() -> float:
    """Return the processor time of this process and of the children that it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def enlarged(clip: Path, height: int, folder: Path) -> Path:
    out = folder / "enlarged.mp4"
    encode = ["-vf", f"scale=-2:{height}:flags=bicubic", "-c:v", "libx264", "-preset", "medium", "-crf", "23", "-an"]
    subprocess.run([ffmpeg_path(), "-nostdin", "-v", "error", "-i", str(clip), *encode, str(out)], check=True)
    return out


def stream(clip: Path) -> dict[str, Any]:
    """Read a video's codec, size in pixels and duration from ffmpeg's output, and the file's size in bytes."""
    said = subprocess.run([ffmpeg_path(), "-hide_banner", "-i", str(clip)], capture_output=True, text=True).stderr
    codec = re.search(r"Video: (\w+)", said)
    size = re.search(r"Video: .*?, (\d+)x(\d+)", said)
    length = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said)
    if not (codec and size and length):
        raise SystemExit(f"{clip}: ffmpeg reports no codec, size or duration of a video:\n{said}")
    hours, minutes, seconds = length.groups()
    return {
        "codec": codec[1],
        "width": int(size[1]),
        "height": int(size[2]),
        "seconds": 3600 * int(hours) + 60 * int(minutes) + float(seconds),
        "video_bytes": clip.stat().st_size,
    }


def ffmpeg_version() -> str:
    said = subprocess.run([ffmpeg_path(), "-version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]


def report(results: list[dict[str, Any]], where: dict[str, Any], rounds: int) -> list[str]:
    """Return the table in Markdown, with the conditions of the measurement."""
    columns = [
        "clip",
        "codec",
        "pixels",
        "seconds",
        "frames",
        "kB, video",
        "-q:v",
        "kB per frame",
        "kB per frame, on disk",
    ]
    columns += ["frames per core second", "seconds of video per core second"]
    rows = []
    for r in results:
        cells = [r["clip"], r["codec"], f"{r['width']} x {r['height']}", f"{r['seconds']:.1f}", str(r["frames"])]
        cells += [f"{r['video_bytes'] / 1e3:.0f}", str(r["quality"])]
        cells += [f"{r[key] / r['frames'] / 1e3:.1f}" for key in ("bytes", "disk_bytes")]
        cells += [
            median([r[of] / s for s in r["cpu_seconds"]], digits) for of, digits in (("frames", 0), ("seconds", 1))
        ]
        rows.append(cells)
    waited = statistics.median(w / c for r in results for w, c in zip(r["wall_seconds"], r["cpu_seconds"], strict=True))
    return [
        f"# Extraction at short side {SHORT_SIDE} (never enlarged)",
        "",
        table(rows, columns, text_columns=3),
        "",
        f"Median of {rounds} rounds, quartiles in brackets; processor time. Wall time was {waited:.2f} times as long (median): ffmpeg's "
        f"stages run side by side. kB: 1000 bytes. ffmpeg {where['ffmpeg']}.",
        *conditions(where, "cpu"),
    ]


if __name__ == "__main__":
    main()
