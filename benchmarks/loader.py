"""Time the loader beside one written the usual way and beside bare JPEG decoding; and the route straight from video files.

    python benchmarks/loader.py                          # the real clips, if they are there, else mini's videos
    python benchmarks/loader.py --clips a.mp4 b.webm     # your own

One process, one thread. First all on the same JPEGs, 340 x 256 pixels (ffmpeg -q:v 2), the same 8 frames a clip and the same random-scale
crops to 224, batches of 8 clips:

    ours       ClipDataset and make_loader: decode, crop uint8, resize the whole clip at once, uint8 in the batch
    usual      a DataLoader of PIL: decode, crop and resize each frame, ToTensor and Normalize on the CPU, float32 in the batch
    bare       the 8 frames of each clip read and decoded, nothing else: by torchvision, by Pillow and, if it is installed, by simplejpeg

Then clips of `data.source: frames`, extracted at short side 256, beside `data.source: video`, sampled by segments and dense, and what each
takes on disk. In every round each way is timed once on the same clips, in a new random order; ratios are taken within a round. Reported are
medians with the quartiles beside them, of wall time and of the process's CPU time, which other programs hardly change. All files were read
before: nobody waits for the disk.

Without --clips: the clips in $HITAGU_SHARED/clips, or in shared/data/clips beside the repository. Writes <out>.md and <out>.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_jpeg, read_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import clocked, conditions, device_name, median, publish
from hitagu_lib.config import DataConfig
from hitagu_lib.data.clip_list import read_list
from hitagu_lib.data.dataset import ClipDataset, read_clip
from hitagu_lib.data.frames import MEAN, STD, normalise
from hitagu_lib.data.loader import make_loader
from hitagu_lib.data.sampling import clip_indices
from hitagu_lib.media.ffmpeg import VIDEO_SUFFIXES, ffmpeg_path
from hitagu_lib.prepare.extract import extract_video
from hitagu_lib.runs.provenance import surroundings

BATCH = 8
TITLES = {
    "ours": "ours",
    "usual": "the usual way",
    "torchvision": "bare decoding, torchvision",
    "Pillow": "bare decoding, Pillow",
    "simplejpeg": "bare decoding, simplejpeg",
}
Samples = dict[str, dict[str, list[float]]]  # way -> clock -> milliseconds, one a round


class UsualDataset(Dataset[tuple[Tensor, int]]):
    """Clips as most code in use makes them, the same frames and crops as ClipDataset's of the same seed."""

    def __init__(self, like: ClipDataset) -> None:
        self.like = like
        self.change = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.like)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, row = key
        cfg, clips = self.like.cfg, self.like.clips
        rng = np.random.default_rng((self.like.seed, epoch, row))
        indices = clip_indices(int(clips.num_frames[row]), cfg.num_frames, cfg.sampling, cfg.dense_span, rng)
        pictures = [Image.open(clips.frames_dir(row) / f"{i + 1:06d}.jpg").convert("RGB") for i in indices]
        W, H = pictures[0].size
        side = max(1, round(min(H, W) * rng.uniform(cfg.min_scale, 1.0)))
        top, left = int(rng.integers(H - side + 1)), int(rng.integers(W - side + 1))
        size = (cfg.image_size, cfg.image_size)
        crops = [p.crop((left, top, left + side, top + side)).resize(size, Image.Resampling.BILINEAR) for p in pictures]
        return torch.stack([self.change(crop) for crop in crops]), int(clips.labels[row])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", metavar="FILE", help="videos")
    parser.add_argument("--rows", type=int, default=32, help="clips a round, drawn from these videos")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("outputs/published/loader/cpu"))
    args = parser.parse_args()
    if args.rounds < 2 or args.rows < BATCH:
        parser.error(f"expected --rounds of at least 2 and --rows of at least {BATCH}")
    torch.set_num_threads(1)
    where = surroundings(device_name("cpu")) | {"load_average": [os.getloadavg()[0]]}
    with tempfile.TemporaryDirectory() as scratch:
        clips, what = (args.clips, "given clips") if args.clips else some_clips(Path(scratch))
        result = {"clips": what, "names": [clip.name for clip in clips], "rounds": args.rounds, "rows": args.rows}
        result["jpeg"] = measure_jpeg(clips, Path(scratch) / "jpeg", args)
        if importlib.util.find_spec("av"):
            result["routes"] = [measure_routes(clip, Path(scratch) / "routes", args.rounds) for clip in clips]
    where["load_average"].append(os.getloadavg()[0])
    result["where"] = where
    publish(args.out, report(result), result)


def some_clips(scratch: Path) -> tuple[list[Path], str]:
    """Real clips where they are, else three of the mini data set's videos; and which of the two."""
    shared = Path(os.environ.get("HITAGU_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if found := sorted(p for p in (shared / "clips").glob("*") if p.suffix in VIDEO_SUFFIXES):
        return found, "real clips"
    from hitagu_lib.prepare.synthetic.make import MiniSpec, prepare_mini

    prepare_mini(scratch / "mini", MiniSpec(train_per_class=1, val_per_class=1), progress=False)
    return sorted((scratch / "mini" / "videos" / "train").rglob("*.mp4"))[:3], "mini's videos, enlarged"


def measure_jpeg(videos: list[Path], folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Ours, the usual way and bare decoding on the same JPEGs: milliseconds for `rows` clips, one a round."""
    dataset = ClipDataset(read_list(a_list(videos, folder, args.rows), folder), DataConfig(workers=0), train=True)
    ours = make_loader(dataset, BATCH, shuffle=True)
    usual = DataLoader(UsualDataset(dataset), BATCH, sampler=ours.sampler)  # type: ignore[arg-type]
    rows = list(ours.sampler)  # type: ignore[arg-type]
    files = [dataset.clips.frames_dir(row) / f"{i + 1:06d}.jpg" for _, row in rows for i in drawn(dataset, row)]
    decoders: dict[str, Callable[[Path], Any]] = {
        "torchvision": lambda file: decode_jpeg(read_file(str(file)), mode=ImageReadMode.RGB),
        "Pillow": lambda file: Image.open(file).load(),
    }
    if importlib.util.find_spec("simplejpeg"):
        import simplejpeg

        decoders["simplejpeg"] = lambda file: simplejpeg.decode_jpeg(file.read_bytes())

    def bare(decode: Callable[[Path], Any]) -> Callable[[], None]:
        def run() -> None:
            for file in files:
                decode(file)

        return run

    ways: dict[str, Callable[[], None]] = {"ours": through(ours), "usual": through(usual)}
    ways |= {name: bare(decode) for name, decode in decoders.items()}
    frames, floats = next(iter(ours))["frames"], next(iter(usual))[0]
    scale = 255 * torch.tensor(STD)[:, None, None]
    return {
        "clips": len(rows),
        "bytes_a_frame": sum(file.stat().st_size for file in files) / len(files),
        "difference": float(((normalise(frames) - floats) * scale).abs().mean()),  # grey levels
        "milliseconds": rounds(ways, args.rounds),
    }


def a_list(videos: list[Path], folder: Path, rows: int) -> Path:
    """Each video as JPEGs of 340 x 256, and a list of `rows` that goes round them."""
    counts = []
    for number, video in enumerate(videos):
        frames = folder / str(number)
        frames.mkdir(parents=True)
        command = [ffmpeg_path(), "-nostdin", "-v", "error", "-i", video, "-vf", "scale=340:256", "-q:v", "2"]
        subprocess.run([*command, "-pix_fmt", "yuvj420p", frames / "%06d.jpg"], check=True)
        counts.append(sum(1 for _ in frames.iterdir()))
    (folder / "classes.txt").write_text("".join(f"{number}\n" for number in range(len(videos))))
    lines = [f"{row % len(videos)},{row % len(videos)},{counts[row % len(videos)]}\n" for row in range(rows)]
    (folder / "list.csv").write_text("".join(lines))
    return folder / "list.csv"


def drawn(dataset: ClipDataset, row: int) -> list[int]:
    """The frames of a clip in epoch 0."""
    cfg, rng = dataset.cfg, np.random.default_rng((dataset.seed, 0, row))
    count = int(dataset.clips.num_frames[row])
    return clip_indices(count, cfg.num_frames, cfg.sampling, cfg.dense_span, rng).tolist()


def through(loader: Any) -> Callable[[], None]:
    def run() -> None:
        for _ in loader:
            pass

    return run


def measure_routes(video: Path, folder: Path, rounds_: int) -> dict[str, Any]:
    """8 clips of one video by each route and sampling: milliseconds, bytes on disk, the mean difference of the clips in grey levels."""
    frames = folder / video.stem
    count = extract_video(video, frames)
    found: dict[str, Any] = {
        "video": video.name,
        "frames": count,
        "bytes": {"frames": sum(file.stat().st_size for file in frames.iterdir()), "video": video.stat().st_size},
        "files": {"frames": sum(1 for _ in frames.iterdir()), "video": 1},
        "milliseconds": {},
        "difference": {},
    }
    for sampling in ("segment", "dense"):
        settings = {source: DataConfig(source=source, sampling=sampling) for source in ("frames", "video")}
        paths = {"frames": frames, "video": video}

        def clip(source: str, seed: int, settings: Any = settings, paths: Any = paths) -> Tensor:
            return read_clip(paths[source], count, settings[source], np.random.default_rng(seed))[0]

        ways = {
            source: lambda source=source, clip=clip: [clip(source, seed) for seed in range(BATCH)] for source in paths
        }
        found["milliseconds"][sampling] = rounds(ways, rounds_)  # type: ignore[arg-type]
        pairs = [[clip(source, seed).float() for source in paths] for seed in range(BATCH)]
        found["difference"][sampling] = float(torch.stack([(a - b).abs().mean() for a, b in pairs]).mean())
    return found


def rounds(ways: dict[str, Callable[[], None]], count: int) -> Samples:
    samples: Samples = {name: {"wall": [], "CPU": []} for name in ways}
    order, names = random.Random(0), list(ways)
    for step in ways.values():  # warms up
        step()
    for _ in range(count):
        order.shuffle(names)
        for name in names:
            for clock, milliseconds in clocked(ways[name], "cpu").items():
                samples[name][clock].append(round(milliseconds, 3))
    return samples


def rates(clips: int, milliseconds: list[float]) -> str:
    return median([1e3 * clips / ms for ms in milliseconds], 0)


def ratio(faster: list[float], slower: list[float], digits: int = 2) -> str:
    return median([b / a for a, b in zip(faster, slower, strict=True)], digits)


def report(result: dict[str, Any]) -> list[str]:
    jpeg, where = result["jpeg"], result["where"]
    samples = jpeg["milliseconds"]
    bare = [name for name in samples if name not in ("ours", "usual")]
    fastest = min(bare, key=lambda name: float(np.median(samples[name]["CPU"])))
    lines = [
        f"# The loader, one process, {result['clips']}: {', '.join(result['names'])}",
        "",
        f"JPEGs of 340 x 256 pixels ({jpeg['bytes_a_frame'] / 1e3:.1f} kB each), clips of 8 frames, the same random-scale crops to 224. On "
        f"average ours and the usual way differ by {jpeg['difference']:.2f} grey levels.",
        "",
        "| | clips/s, CPU | clips/s, wall | ours is faster, CPU | wall |",
        "|---|---|---|---|---|",
    ]
    for name, clocks in samples.items():
        cells = [TITLES[name], *(rates(jpeg["clips"], clocks[clock]) for clock in ("CPU", "wall"))]
        cells += [
            ratio(samples["ours"][clock], clocks[clock]) + " x" if name != "ours" else "" for clock in ("CPU", "wall")
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Ours is {ratio(samples['ours']['CPU'], samples['usual']['CPU'])} times as fast as the usual way and reaches "
        f"{ratio(samples['ours']['CPU'], samples[fastest]['CPU'])} of the rate of the fastest bare decoder, {fastest} (CPU time).",
    ]
    if "routes" in result:
        lines += [
            "",
            "From folders of frames (`hitagu extract`, short side 256) and straight from the video file (`data.source: video`):",
            "",
            "| video | frames | sampling | clips/s, frames | clips/s, video | frames faster, CPU | kB, frames | kB, video | files "
            "| difference, grey levels |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for of in result["routes"]:
            for sampling, ways in of["milliseconds"].items():
                cells = [of["video"], str(of["frames"]), sampling]
                cells += [rates(BATCH, ways[source]["CPU"]) for source in ("frames", "video")]
                cells += [ratio(ways["frames"]["CPU"], ways["video"]["CPU"], 1) + " x"]
                cells += [f"{of['bytes'][source] / 1e3:.0f}" for source in ("frames", "video")]
                cells += [f"{of['files']['frames']} / {of['files']['video']}", f"{of['difference'][sampling]:.2f}"]
                lines.append(f"| {' | '.join(cells)} |")
    return [
        *lines,
        "",
        f"Medians of {result['rounds']} rounds of {jpeg['clips']} clips (of the second table {BATCH}), quartiles in brackets; ratios are "
        "taken within a round.",
        *conditions(where, "cpu"),
    ]


if __name__ == "__main__":
    main()
