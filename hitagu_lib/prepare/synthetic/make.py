"""The mini data set: short synthetic videos, encoded to MP4 by ffmpeg and extracted again.

    MiniSpec -> render_clip -> ffmpeg (MP4) -> extract_tree (JPEG) -> index_frames (CSV)

Fourteen classes in seven pairs; one class of a pair is the other played backwards. Within a pair the frames, their look
and their number have the same distribution, so that a method blind to order cannot pass 50 %.

    out/videos/{train,val}/<class>/<id>.mp4      out/frames/{train,val}/<class>/<id>/000001.jpg ...
    out/train.csv  out/val.csv  out/classes.txt  out/mini.json (written last: the set is whole)
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from hitagu_lib.config import DataConfig
from hitagu_lib.errors import ConfigError, ExtractError, ListError
from hitagu_lib.files import write_atomic
from hitagu_lib.media.ffmpeg import ffmpeg_path
from hitagu_lib.prepare.extract import extract_tree, usable_cores
from hitagu_lib.prepare.index import index_frames
from hitagu_lib.prepare.synthetic.hard import HARD_PAIRS, draw_hard_scene
from hitagu_lib.prepare.synthetic.raster import Pixels, Scene, render
from hitagu_lib.prepare.synthetic.scenes import PAIRS, draw_scene

if sys.platform != "win32":
    import fcntl

GENERATOR_VERSION = 1
"""Raised whenever the same seed gives other pixels."""
FPS = 12
SPLITS = ("train", "val")


class Setting:
    """A set of classes in time-reversed pairs, and how their scenes are drawn."""

    def __init__(
        self,
        pairs: tuple[tuple[str, str], ...],
        draw: Callable[[int, np.random.Generator, int, int], Scene],
    ) -> None:
        self.pairs, self.draw = pairs, draw
        backwards = {name: pair[1 - i] for pair in pairs for i, name in enumerate(pair)}
        sided = [pair for pair in pairs if any(word in pair[0] for word in ("left", "clockwise"))]
        mirrored = {a: b for pair in sided for a, b in (pair, pair[::-1])}
        self.classes: tuple[str, ...] = tuple(sorted(backwards))
        """Label index -> class: the label's text, which is also the folder's name."""
        self.partner: tuple[int, ...] = tuple(self.classes.index(backwards[name]) for name in self.classes)
        """Label index -> label index of the same clip played backwards."""
        self.hflip: tuple[int, ...] = tuple(self.classes.index(mirrored.get(name, name)) for name in self.classes)
        """Label index -> label index of the same clip in a mirror (left and right exchanged)."""


SETTINGS = {
    "mini": Setting(PAIRS, draw_scene),
    "hard": Setting(HARD_PAIRS, draw_hard_scene),
}
_TRAIN_PER_CLASS = {"mini": 120, "hard": 40}
CLASSES, PARTNER, HFLIP = SETTINGS["mini"].classes, SETTINGS["mini"].partner, SETTINGS["mini"].hflip
"""Mini's own."""


@dataclass(frozen=True)
class MiniSpec:
    """What a synthetic data set is made of. Sizes in pixels, counts in clips of a class."""

    setting: str = "mini"
    train_per_class: int = 120
    val_per_class: int = 30
    width: int = 72
    height: int = 72
    seed: int = 0

    @classmethod
    def of(cls, setting: str, **changes: int) -> MiniSpec:
        """The setting as it is made by default, with `changes`."""
        return cls(setting=setting, **({"train_per_class": _TRAIN_PER_CLASS.get(setting, 120)} | changes))

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS:
            raise ConfigError(f"MiniSpec.setting: found {self.setting!r}, expected one of {', '.join(SETTINGS)}")
        limits = {
            "train_per_class": (1, 99999),
            "val_per_class": (1, 99999),
            "width": (32, 1024),
            "height": (32, 1024),
            "seed": (0, 2**32 - 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(f"MiniSpec.{name}: found {value!r}, expected a whole number from {low} to {high}")
        if self.width % 2 or self.height % 2:
            raise ConfigError(
                f"MiniSpec: found {self.width} x {self.height}, expected even sizes (the video format needs them)"
            )


def clip_seed(spec: MiniSpec, split: str, label: int, index: int) -> tuple[int, int, int, int]:
    """The seed of one clip of the data set; no two clips share one."""
    return spec.seed, SPLITS.index(split), label, index


def clip_scene(label: int, seed: Sequence[int], spec: MiniSpec) -> tuple[Scene, bool]:
    """The scene of a clip, and whether its frames are to be played backwards."""
    setting = SETTINGS[spec.setting]
    if not 0 <= label < len(setting.classes):
        raise ConfigError(f"label: found {label}, expected 0 to {len(setting.classes) - 1}")
    name = setting.classes[label]
    kind = next(i for i, pair in enumerate(setting.pairs) if name in pair)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(seed))))
    return setting.draw(kind, rng, spec.width, spec.height), name == setting.pairs[kind][1]


def render_clip(label: int, seed: Sequence[int], spec: MiniSpec | None = None) -> Pixels:
    """One clip, (T, height, width, 3) uint8 RGB with T in 24..36.

    The same label, seed and spec give the same pixels on any machine. With the same seed, a class and its partner
    (`PARTNER`) give the same frames in opposite order.
    """
    scene, backwards = clip_scene(label, seed, spec or MiniSpec())
    frames = render(scene)
    return np.ascontiguousarray(frames[::-1]) if backwards else frames


def prepare_mini(
    out: Path,
    spec: MiniSpec | None = None,
    *,
    use_ffmpeg: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Make the data set under `out` (layout: see the module) or finish one that was begun; if it is whole, do nothing.

    use_ffmpeg: encode to MP4 and extract again; False: write the frames as JPEG (quality 90) straight away, no videos.
    workers: processes, None: one a core; more than one need the caller to be a notebook, or a script with the usual
    `if __name__ == "__main__":`. Raises ListError if `out` holds anything else, ExtractError if ffmpeg fails.
    """
    out, spec = Path(out), spec or MiniSpec()
    asked = {**asdict(spec), "generator_version": GENERATOR_VERSION, "written_by": "ffmpeg" if use_ffmpeg else "pillow"}
    if _is_whole(out, asked):
        return
    make = partial(_make_videos, out, spec, ffmpeg_path()) if use_ffmpeg else partial(_make_frames, out, spec)
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        if _is_whole(out, asked):  # by another process, while this one waited
            return
        write_atomic(out / _BEGUN, [json.dumps(asked, indent=2) + "\n"])
        counts = zip(SPLITS, (spec.train_per_class, spec.val_per_class), strict=True)
        labels = range(len(SETTINGS[spec.setting].classes))
        clips = [(split, label, index) for split, count in counts for label in labels for index in range(count)]
        _run_all(make, clips, workers, progress)
        for split in SPLITS if use_ffmpeg else ():
            report = extract_tree(out / "videos" / split, out / "frames" / split, workers=workers, progress=progress)
            if report.failed:
                video, reason = report.failed[0]
                video = str(out / "videos" / split / video)
                raise ExtractError(f"{video}: {reason}; {len(report.failed)} like it. Remove them and prepare again.")
        frames, classes = out / "frames", out / "classes.txt"
        index_frames(frames / "train", out / "train.csv", relative_to=frames)
        index_frames(frames / "val", out / "val.csv", relative_to=frames, classes=classes)
        os.replace(out / _BEGUN, out / _WHOLE)


_BEGUN, _WHOLE = "mini.unfinished.json", "mini.json"


def _is_whole(out: Path, asked: dict[str, object]) -> bool:
    """Whether `out` holds the set that is asked for, whole. Raises ListError if it holds anything but a part of it."""
    if not out.exists():
        return False
    mark = next((out / name for name in (_WHOLE, _BEGUN) if (out / name).exists()), None)
    if mark is None:
        # Hidden files are none of ours, or our lock.
        if not out.is_dir() or any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise ListError(
                f"{out}: found something that is not mini data (there is no {_WHOLE}), expected an empty or a new folder. "
                "Choose another."
            )
        return False
    try:
        # Sets made before there was a choice of settings do not name theirs.
        found = {"setting": "mini"} | dict(json.loads(mark.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ListError(f"{mark}: found no valid JSON ({error}). Remove the folder, or choose another.") from error
    # Who wrote it counts only while it is unfinished: halves of two kinds must not be mixed.
    keys = [key for key in asked if mark.name == _BEGUN or key != "written_by"]
    if different := [key for key in keys if found.get(key) != asked[key]]:
        there = ", ".join(f"{key} {found.get(key)!r}" for key in different)
        wanted = ", ".join(f"{key} {asked[key]!r}" for key in different)
        raise ListError(
            f"{mark}: found mini data with {there}, expected {wanted}. Remove the folder {out}, or choose another."
        )
    return mark.name == _WHOLE


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Waits until no other process is making the set in `out`. (No such lock on Windows.)"""
    with open(out / ".lock", "w", encoding="utf-8") as lock:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


Clip = tuple[str, int, int]  # split, label, index
_BATCH = 10


def _clip_path(spec: MiniSpec, clip: Clip) -> str:
    split, label, index = clip
    return f"{split}/{SETTINGS[spec.setting].classes[label]}/{label:02d}_{index:05d}"


def _run_all(
    make: Callable[[Sequence[Clip]], None], clips: Sequence[Clip], workers: int | None, progress: bool
) -> None:
    """make(batch) for all clips, over processes. Spawned, not forked: the caller may hold threads (PyTorch does)."""
    workers = workers or usable_cores()
    batches = [clips[i : i + _BATCH] for i in range(0, len(clips), _BATCH)]
    with tqdm(total=len(clips), desc="drawing", unit="clip", disable=None if progress else True) as bar:
        if workers == 1:
            for batch in batches:
                make(batch)
                bar.update(len(batch))
            return
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for batch, _ in zip(batches, pool.map(make, batches), strict=True):
                bar.update(len(batch))


def write_videos(videos: Mapping[Path, Pixels], ffmpeg: str) -> None:
    """Encode clips, (T, H, W, 3) uint8 RGB each and all of one size, to MP4. Written aside, then renamed.

    One ffmpeg for all: starting one costs as much as encoding a clip. It reads the clips one after another and cuts the
    stream into files.

    Every frame is coded by itself (-g 1) at the same quantiser (-qp), so that what a frame looks like after decoding
    depends on that frame alone. Ordinary settings code the first frame better than those that follow, and a method
    blind to order could learn from that which frame was the first.
    """
    height, width = next(iter(videos.values())).shape[1:3]
    command = [ffmpeg, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(FPS), "-i", "-"]
    h264 = ["-c:v", "libx264", "-preset", "veryfast", "-g", "1", "-qp", "22", "-pix_fmt", "yuv420p", "-threads", "1"]
    asides = {file: file.with_name(f".{file.name}.tmp") for file in videos}
    begin = 0
    for file, frames in videos.items():
        cut = f"trim=start_frame={begin}:end_frame={begin + len(frames)},setpts=PTS-STARTPTS"
        command += ["-vf", cut, *h264, "-f", "mp4", str(asides[file])]
        begin += len(frames)
    stream = b"".join(frames.tobytes() for frames in videos.values())
    done = subprocess.run(command, input=stream, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["(no message)"])[-1]
        raise ExtractError(
            f"{next(iter(videos))}: {ffmpeg} could not encode this video or one of the {len(videos)} made with it: {last}; "
            "expected an ffmpeg with libx264. Without one, make the frames directly: prepare_mini(..., use_ffmpeg=False)"
        )
    for file, aside in asides.items():
        os.replace(aside, file)


def _make_videos(out: Path, spec: MiniSpec, ffmpeg: str, batch: Sequence[Clip]) -> None:
    """Draw some clips and encode them, but for those whose videos are there."""
    files = {out / "videos" / f"{_clip_path(spec, clip)}.mp4": clip for clip in batch}
    missing = {file: clip for file, clip in files.items() if not file.exists()}
    for file in missing:
        file.parent.mkdir(parents=True, exist_ok=True)
    if missing:
        drawn = {file: render_clip(clip[1], clip_seed(spec, *clip), spec) for file, clip in missing.items()}
        write_videos(drawn, ffmpeg)


def _make_frames(out: Path, spec: MiniSpec, batch: Sequence[Clip]) -> None:
    """Draw some clips and write their frames as JPEG, but for those that are there. Written aside, then renamed."""
    for clip in batch:
        folder = out / "frames" / _clip_path(spec, clip)
        if folder.exists():
            continue
        aside = folder.with_name(f".{folder.name}.tmp")
        if aside.exists():  # left by a run that was killed
            shutil.rmtree(aside)
        aside.mkdir(parents=True)
        for number, frame in enumerate(render_clip(clip[1], clip_seed(spec, *clip), spec), start=1):
            Image.fromarray(frame).save(aside / f"{number:06d}.jpg", quality=90)
        os.replace(aside, folder)


def prepare_data(cfg: DataConfig, progress: bool = False) -> None:
    """Make the data set that `data.prepare` names, where it is not there yet."""
    made = Path(cfg.train_list).exists() and Path(cfg.val_list).exists()
    if cfg.prepare is not None and not made:
        from hitagu_lib.prepare.synthetic.make import MiniSpec, prepare_mini

        prepare_mini(Path(cfg.root).parent, MiniSpec.of(cfg.prepare), progress=progress)
