"""Make the synthetic data sets: draw short videos, encode them to MP4 with ffmpeg, and extract their frames.

    MiniSpec -> render_clip -> ffmpeg (MP4) -> ffmpeg (JPEG) -> index_frames (CSV)

The classes come in pairs; in mini and hard, each class is its partner played backwards. The two classes of a pair have the
same distribution of frames and of lengths, so a method that ignores order cannot exceed 50 %.

    out/videos/{train,val}/<class>/<id>.mp4      out/frames/{train,val}/<class>/<id>/000001.jpg ...
    out/train.csv  out/val.csv  out/classes.txt  out/mini.json (written last: the set is complete)

The memory set has val_wait2, val_wait4 and val_wait8 in addition to val.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from PIL import Image
from pydantic import Field, StrictInt, model_validator
from tqdm.auto import tqdm

from hitagu_lib.config import DataConfig, conflict, section
from hitagu_lib.errors import ConfigError, ExtractError, ListError
from hitagu_lib.files import write_atomic
from hitagu_lib.media.ffmpeg import ffmpeg_path
from hitagu_lib.prepare.extract import extract_short, extract_tree, usable_cores
from hitagu_lib.prepare.index import index_frames
from hitagu_lib.prepare.synthetic.hard import HARD_PAIRS, draw_hard_scene
from hitagu_lib.prepare.synthetic.memory import (
    MEMORY_PAIRS,
    TRAINING_SHARES,
    WAITS,
    draw_memory_scene,
    partner_order,
)
from hitagu_lib.prepare.synthetic.raster import Ints, Pixels, Scene, render
from hitagu_lib.prepare.synthetic.scenes import PAIRS, draw_scene

GENERATOR_VERSION = {"mini": 1, "hard": 1, "memory": 2}
"""Setting -> its version. Increase it whenever a change gives the same seed different pixels."""
FPS = 12
SPLITS = ("train", "val")


def _backwards(kind: int, frames: int) -> Ints:
    return np.arange(frames)[::-1]


class Setting:
    """The classes of a data set, in pairs that share frames but not their order, and how their scenes are drawn."""

    def __init__(
        self,
        pairs: tuple[tuple[str, str], ...],
        draw: Callable[[int, np.random.Generator, int, int, str], Scene],
        order: Callable[[int, int], Ints] = _backwards,
        waits: Mapping[str, int] | None = None,
        shared_scenes: bool = False,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        """
        draw: (kind, rng, width, height, split) -> the scene of one clip; kind is an index into `pairs`.
        order: (kind, frames) -> the indices that reorder the scene's frames for the pair's second class; the first class
        shows them as drawn.
        waits: split -> the wait in its clips, as a multiple of that in the training clips. Each split gets its own list.
        None: SPLITS, with a multiple of 1.
        shared_scenes: both classes of a pair show the same scenes in training, so that no scene tells its class.
        shares: first word of a class -> its training clips, as a share of those asked for. Other classes have all of them.
        """
        self.shares = shares or {}
        self.pairs, self.draw, self.order, self.shared_scenes = pairs, draw, order, shared_scenes
        self.waits = waits or dict.fromkeys(SPLITS, 1)
        swapped = {name: pair[1 - i] for pair in pairs for i, name in enumerate(pair)}
        sided = [pair for pair in pairs if any(word in pair[0] for word in ("left", "clockwise"))]
        mirrored = {a: b for pair in sided for a, b in (pair, pair[::-1])}
        self.classes: tuple[str, ...] = tuple(sorted(swapped))
        """Label index -> the label's text, which also names the class folder."""
        self.partner: tuple[int, ...] = tuple(self.classes.index(swapped[name]) for name in self.classes)
        """Label index -> label index of the same frames in the partner's order: in mini and hard, backwards."""
        self.hflip: tuple[int, ...] = tuple(self.classes.index(mirrored.get(name, name)) for name in self.classes)
        """Label index -> label index of the mirrored clip (left and right exchanged)."""

    def training_clips(self, label: int, per_class: int) -> int:
        """Return how many training clips a class has where `per_class` are asked for."""
        return max(1, round(per_class * self.shares.get(self.classes[label].split()[0], 1)))

    def pair_of(self, label: int) -> tuple[int, bool]:
        """Return the index of a label's pair, and whether the label is the second of the pair. Raises ConfigError if unknown."""
        if not 0 <= label < len(self.classes):
            raise ConfigError(f"label: found {label}, expected 0 to {len(self.classes) - 1}")
        name = self.classes[label]
        kind = next(i for i, pair in enumerate(self.pairs) if name in pair)
        return kind, name == self.pairs[kind][1]


def _in_any_split(draw: Callable[[int, np.random.Generator, int, int], Scene]) -> Callable[..., Scene]:
    return lambda kind, rng, width, height, split: draw(kind, rng, width, height)


SETTINGS = {
    "mini": Setting(PAIRS, _in_any_split(draw_scene)),
    "hard": Setting(HARD_PAIRS, _in_any_split(draw_hard_scene)),
    "memory": Setting(
        MEMORY_PAIRS, draw_memory_scene, partner_order, WAITS, shared_scenes=True, shares=TRAINING_SHARES
    ),
}
_TRAIN_PER_CLASS = {"mini": 120, "hard": 40, "memory": 800}
CLASSES, PARTNER, HFLIP = SETTINGS["mini"].classes, SETTINGS["mini"].partner, SETTINGS["mini"].hflip
"""Those of mini."""


@section
class MiniSpec:
    """The specification of a synthetic data set: sizes in pixels, counts in clips per class.

    val_per_class holds for each validation list. Some of memory's classes have fewer training clips (TRAINING_SHARES).
    """

    setting: Literal["mini", "hard", "memory"] = "mini"
    train_per_class: StrictInt = Field(default=120, ge=1, le=99999)
    val_per_class: StrictInt = Field(default=30, ge=1, le=99999)
    width: StrictInt = Field(default=72, ge=32, le=1024)
    height: StrictInt = Field(default=72, ge=32, le=1024)
    seed: StrictInt = Field(default=0, ge=0, le=2**32 - 1)

    @classmethod
    def of(cls, setting: str, **changes: int) -> MiniSpec:
        """Return the default specification of a setting, with `changes`."""
        given: dict[str, Any] = {"setting": setting, "train_per_class": _TRAIN_PER_CLASS.get(setting, 120)} | changes
        return cls(**given)

    @model_validator(mode="after")
    def _check(self) -> MiniSpec:
        if self.width % 2 or self.height % 2:
            problem = f"found {self.width} x {self.height}; expected even sizes (the video format needs them)"
            raise conflict(problem, "width")
        return self


def clip_seed(spec: MiniSpec, split: str, label: int, index: int) -> tuple[int, int, int, int]:
    """Return the seed of one clip; no two clips of a data set share one, unless the setting's partners share training scenes."""
    setting = SETTINGS[spec.setting]
    if setting.shared_scenes and split == "train":
        label = min(label, setting.partner[label])
    return spec.seed, list(setting.waits).index(split), label, index


def clip_scene(label: int, seed: Sequence[int], spec: MiniSpec, split: str = "val") -> tuple[Scene, Ints]:
    """Return the scene of a clip, and the order in which the clip shows its frames: (T,) indices.

    split: a list of the setting; memory's clips wait as long as those of their list.
    """
    setting = SETTINGS[spec.setting]
    kind, swapped = setting.pair_of(label)
    if split not in setting.waits:
        raise ConfigError(f"split: found {split!r}, expected for {spec.setting} one of {', '.join(setting.waits)}")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(seed))))
    scene = setting.draw(kind, rng, spec.width, spec.height, split)
    frames = len(scene.step)
    return scene, setting.order(kind, frames) if swapped else np.arange(frames)


def render_clip(label: int, seed: Sequence[int], spec: MiniSpec | None = None, split: str = "val") -> Pixels:
    """Return one clip, (T, height, width, 3) uint8 RGB; in mini, T is 24 to 36. `split`: see `clip_scene`.

    The same label, seed, spec and split give the same pixels on any machine. With the same seed, a class and its partner
    (`Setting.partner`) give the same frames in another order: in mini and hard, the opposite one.
    """
    spec = spec or MiniSpec()
    scene, order = clip_scene(label, seed, spec, split)
    return render(scene)[order]


def prepare_mini(
    out: Path,
    spec: MiniSpec | None = None,
    *,
    use_ffmpeg: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Make the data set in `out` (the module's docstring shows the layout), or finish one that was interrupted.

    If the set is complete, do nothing.

    use_ffmpeg: True encodes MP4 videos and extracts their frames; False writes the frames directly, as JPEG of quality 90.
    workers: the number of processes; None: one per core. With more than one, the caller must be a notebook, or a script with
    the usual `if __name__ == "__main__":`. Raises ListError if `out` holds anything else, ExtractError if ffmpeg fails.
    """
    out, spec = Path(out), spec or MiniSpec()
    asked = {
        **asdict(spec),
        "generator_version": GENERATOR_VERSION[spec.setting],
        "written_by": "ffmpeg" if use_ffmpeg else "pillow",
    }
    if _is_whole(out, asked):
        return
    make = partial(_make_videos, out, spec, ffmpeg_path()) if use_ffmpeg else partial(_make_frames, out, spec)
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / ".lock"):  # waits; the system releases it with the process, however that ends
        if _is_whole(out, asked):  # another process made it while this one waited
            return
        write_atomic(out / _BEGUN, [json.dumps(asked, indent=2) + "\n"])
        setting = SETTINGS[spec.setting]
        clips = [
            (split, label, index)
            for split in setting.waits
            for label in range(len(setting.classes))
            for index in range(
                setting.training_clips(label, spec.train_per_class) if split == "train" else spec.val_per_class
            )
        ]
        _run_all(make, clips, workers, progress)
        for split in setting.waits if use_ffmpeg else ():
            report = extract_tree(out / "videos" / split, out / "frames" / split, workers=workers, progress=progress)
            if report.failed:
                video, reason = report.failed[0]
                video = str(out / "videos" / split / video)
                raise ExtractError(f"{video}: {reason}; {len(report.failed)} like it. Remove them and prepare again.")
        frames, classes = out / "frames", out / "classes.txt"
        index_frames(frames / "train", out / "train.csv", relative_to=frames)
        for split in list(setting.waits)[1:]:
            index_frames(frames / split, out / f"{split}.csv", relative_to=frames, classes=classes)
        os.replace(out / _BEGUN, out / _WHOLE)


_BEGUN, _WHOLE = "mini.unfinished.json", "mini.json"


def _is_whole(out: Path, asked: dict[str, object]) -> bool:
    """Return whether `out` holds the complete set as asked. Raises ListError if it holds anything but that set or a part of it."""
    if not out.exists():
        return False
    mark = next((out / name for name in (_WHOLE, _BEGUN) if (out / name).exists()), None)
    if mark is None:
        # Hidden files do not count: among them is the lock.
        if not out.is_dir() or any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise ListError(
                f"{out}: found something that is not a synthetic set (there is no {_WHOLE}), expected an empty or a new folder. "
                "Choose another."
            )
        return False
    try:
        # Sets that are older than the choice of settings do not name theirs.
        found = {"setting": "mini"} | dict(json.loads(mark.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ListError(f"{mark}: found no valid JSON ({error}). Remove the folder, or choose another.") from error
    # The writer matters only while the set is unfinished: two writers must not each make a part of it.
    keys = [key for key in asked if mark.name == _BEGUN or key != "written_by"]
    if different := [key for key in keys if found.get(key) != asked[key]]:
        there = ", ".join(f"{key} {found.get(key)!r}" for key in different)
        wanted = ", ".join(f"{key} {asked[key]!r}" for key in different)
        raise ListError(
            f"{mark}: found a synthetic set with {there}, expected {wanted}. Remove the folder {out}, or choose another."
        )
    return mark.name == _WHOLE


Clip = tuple[str, int, int]  # split, label, index
_BATCH = 10


def _clip_path(spec: MiniSpec, clip: Clip) -> str:
    split, label, index = clip
    return f"{split}/{SETTINGS[spec.setting].classes[label]}/{label:02d}_{index:05d}"


def _drawn(spec: MiniSpec, clip: Clip) -> Pixels:
    split, label, _ = clip
    return render_clip(label, clip_seed(spec, *clip), spec, split)


def _run_all(
    make: Callable[[Sequence[Clip]], None], clips: Sequence[Clip], workers: int | None, progress: bool
) -> None:
    """Call make(batch) for all clips, in several processes: spawned, not forked, since the caller may have threads (PyTorch has)."""
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
    """Encode clips, each (T, H, W, 3) uint8 RGB and all of one size, to MP4. Each file is renamed to its name once complete.

    One ffmpeg encodes all clips, because starting it costs as much as encoding a clip: it reads the clips as one stream and
    cuts that into files.

    Every frame is coded by itself (-g 1) with the same quantiser (-qp), so a decoded frame depends on no other frame.
    Ordinary settings code the first frame better than the later ones, and a method that ignores order could learn from that
    which frame came first.
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
    """Draw and encode the clips of a batch whose videos do not exist yet, and extract their frames."""
    files = {out / "videos" / f"{_clip_path(spec, clip)}.mp4": clip for clip in batch}
    missing = {file: clip for file, clip in files.items() if not file.exists()}
    for file in missing:
        file.parent.mkdir(parents=True, exist_ok=True)
    if missing:
        drawn = {file: _drawn(spec, clip) for file, clip in missing.items()}
        write_videos(drawn, ffmpeg)
        extract_short({file: out / "frames" / _clip_path(spec, clip) for file, clip in missing.items()})


def _make_frames(out: Path, spec: MiniSpec, batch: Sequence[Clip]) -> None:
    """Draw the clips of a batch whose frame folders do not exist yet, and write their frames as JPEG.

    Each folder is renamed to its name once complete.
    """
    for clip in batch:
        folder = out / "frames" / _clip_path(spec, clip)
        if folder.exists():
            continue
        aside = folder.with_name(f".{folder.name}.tmp")
        if aside.exists():  # a killed run left it
            shutil.rmtree(aside)
        aside.mkdir(parents=True)
        for number, frame in enumerate(_drawn(spec, clip), start=1):
            Image.fromarray(frame).save(aside / f"{number:06d}.jpg", quality=90)
        os.replace(aside, folder)


def prepare_data(cfg: DataConfig, progress: bool = False) -> None:
    """Make the data set that `data.prepare` names, unless its lists exist."""
    made = Path(cfg.train_list).exists() and Path(cfg.val_list).exists()
    if cfg.prepare is not None and not made:
        prepare_mini(Path(cfg.root).parent, MiniSpec.of(cfg.prepare), progress=progress)
