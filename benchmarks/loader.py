"""Time the loader beside a common way to write one and beside bare JPEG decoding; and time loading clips from video files.

    python -m benchmarks.loader                          # the real clips if they are there, else videos of mini
    python -m benchmarks.loader --clips a.mp4 b.webm     # your own

One process, one thread. The first table compares three ways on the same JPEGs of 340 x 256 pixels (ffmpeg -q:v 2), with the same 8 frames
per clip and the same random-scale crops to 224, in batches of 8 clips:

    ours       ClipDataset and make_loader: decode, crop uint8, resize the whole clip at once, uint8 in the batch
    usual      a DataLoader with PIL: decode, crop and resize each frame, ToTensor and Normalize on the CPU, float32 in the batch
    bare       read and decode the 8 frames of each clip, nothing else: by torchvision, by Pillow and, if it is installed, by simplejpeg

The second table compares `data.source: frames`, extracted at short side 256, with `data.source: video`, for segment and dense sampling,
and gives the size of each on disk. Every round times each way once on the same clips, in a new random order; ratios are taken within a
round. The report gives medians and quartiles of wall time and of the process's CPU time, which other programs hardly affect. All files
have been read before, so no time is spent waiting for a disk.

Without --clips: the clips in $HITAGU_SHARED/clips, or in shared/data/clips beside the repository. Writes <out>.md and <out>.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
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

from benchmarks.timing import Samples, conditions, device_name, in_rounds, median, publish, ratio, table
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


class UsualDataset(Dataset[tuple[Tensor, int]]):
    """Load clips the way most code does; the frames and crops are those of a ClipDataset with the same seed."""

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
    parser.add_argument("--rows", type=int, default=32, help="clips per round, drawn from these videos")
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
    """Return the real clips if they are there, else three videos of mini; and say which."""
    shared = Path(os.environ.get("HITAGU_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if found := sorted(p for p in (shared / "clips").glob("*") if p.suffix in VIDEO_SUFFIXES):
        return found, "real clips"
    from hitagu_lib.prepare.synthetic.make import MiniSpec, prepare_mini

    prepare_mini(scratch / "mini", MiniSpec(train_per_class=1, val_per_class=1), progress=False)
    return sorted((scratch / "mini" / "videos" / "train").rglob("*.mp4"))[:3], "videos of mini, enlarged"


def measure_jpeg(videos: list[Path], folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Time ours, the usual way and bare decoding on the same JPEGs: milliseconds for `rows` clips, one sample per round."""
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
        "milliseconds": warm_rounds(ways, args.rounds),
    }


def a_list(videos: list[Path], folder: Path, rows: int) -> Path:
    """Extract each video as JPEGs of 340 x 256; write a list of `rows` rows that cycles through them."""
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
    """Return the frame indices of a clip in epoch 0."""
    cfg, rng = dataset.cfg, np.random.default_rng((dataset.seed, 0, row))
    count = int(dataset.clips.num_frames[row])
    return clip_indices(count, cfg.num_frames, cfg.sampling, cfg.dense_span, rng).tolist()


def through(loader: Any) -> Callable[[], None]:
    def run() -> None:
        for _ in loader:
            pass

    return run


def measure_routes(video: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Time 8 clips of one video by each route and sampling. Also return the bytes on disk and the clips' mean difference in grey levels."""
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
        found["milliseconds"][sampling] = warm_rounds(ways, rounds)
        pairs = [[clip(source, seed).float() for source in paths] for seed in range(BATCH)]
        found["difference"][sampling] = float(torch.stack([(a - b).abs().mean() for a, b in pairs]).mean())
    return found


def warm_rounds(ways: dict[str, Callable[[], Any]], rounds: int) -> Samples:
    for step in ways.values():
        step()
    return in_rounds(ways, rounds)


def rates(clips: int, milliseconds: list[float]) -> str:
    return median([1e3 * clips / ms for ms in milliseconds], 0)


def report(result: dict[str, Any]) -> list[str]:
    """Return the tables in Markdown, with the conditions of the measurement."""
    jpeg = result["jpeg"]
    samples: Samples = jpeg["milliseconds"]
    ours, rows = samples["ours"], []
    for name, clocks in samples.items():
        faster = ["" if name == "ours" else f"{ratio(clocks[clock], ours[clock], 2)} x" for clock in ("CPU", "wall")]
        rows.append([TITLES[name], *(rates(jpeg["clips"], clocks[clock]) for clock in ("CPU", "wall")), *faster])
    bare = [name for name in samples if name not in ("ours", "usual")]
    fastest = min(bare, key=lambda name: float(np.median(samples[name]["CPU"])))
    lines = [
        f"# The loader, one process, {result['clips']}: {', '.join(result['names'])}",
        "",
        f"JPEGs of 340 x 256 pixels ({jpeg['bytes_a_frame'] / 1e3:.1f} kB each), clips of 8 frames, the same random-scale crops to 224. On "
        f"average ours and the usual way differ by {jpeg['difference']:.2f} grey levels.",
        "",
        table(rows, ["", "clips/s, CPU", "clips/s, wall", "ours is faster, CPU", "wall"]),
        "",
        f"Ours is {ratio(samples['usual']['CPU'], ours['CPU'], 2)} times as fast as the usual way and reaches "
        f"{ratio(samples[fastest]['CPU'], ours['CPU'], 2)} of the rate of the fastest bare decoder, {fastest} (CPU time).",
    ]
    if "routes" in result:
        rows = []
        for of in result["routes"]:
            for sampling, ways in of["milliseconds"].items():
                cells = [of["video"], sampling, str(of["frames"])]
                cells += [rates(BATCH, ways[source]["CPU"]) for source in ("frames", "video")]
                cells += [ratio(ways["video"]["CPU"], ways["frames"]["CPU"], 1) + " x"]
                cells += [f"{of['bytes'][source] / 1e3:.0f}" for source in ("frames", "video")]
                cells += [f"{of['files']['frames']} / {of['files']['video']}", f"{of['difference'][sampling]:.2f}"]
                rows.append(cells)
        columns = [
            "video",
            "sampling",
            "frames",
            "clips/s, frames",
            "clips/s, video",
            "frames faster, CPU",
            "kB, frames",
        ]
        columns += ["kB, video", "files", "difference, grey levels"]
        lines += [
            "",
            "From folders of frames (`hitagu extract`, short side 256) and straight from the video file (`data.source: video`):",
            "",
            table(rows, columns, text_columns=2),
        ]
    return [
        *lines,
        "",
        f"Medians of {result['rounds']} rounds of {jpeg['clips']} clips (second table: {BATCH}), quartiles in brackets; ratios are taken "
        "within a round.",
        *conditions(result["where"], "cpu"),
    ]


if __name__ == "__main__":
    main()
