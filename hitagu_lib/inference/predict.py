"""Rank the labels for one video.

from hitagu_lib import predict

predict("new.mp4", "outputs/mini/checkpoints/last.pt").labels[0]
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import torch
from torch import Tensor, nn

from hitagu_lib import __version__
from hitagu_lib.config import Config, DataConfig
from hitagu_lib.data.dataset import read_clip
from hitagu_lib.data.frames import normalise
from hitagu_lib.errors import ClipError, ConfigError, WeightsError
from hitagu_lib.media.ffmpeg import VIDEO_SUFFIXES
from hitagu_lib.media.frame_folder import FRAME_NAME, IS_FRAME
from hitagu_lib.models import ClipMaps, ClipModel, build_model
from hitagu_lib.models.weights import load_weights
from hitagu_lib.prepare.extract import extract_video
from hitagu_lib.runs.checkpoint import load_checkpoint


@dataclass(frozen=True)
class Prediction:
    labels: list[str]  # most probable first
    probabilities: list[float]  # in the same order
    frames: Tensor  # uint8 (T, 3, S, S), what the network saw
    t: Tensor  # (T,), in reference strides
    maps: ClipMaps  # B = 1


def load_model(checkpoint: str | Path) -> tuple[ClipModel, Config, list[str]]:
    """Return a checkpoint's network in evaluation mode on the CPU, the parameters it was trained with, and its class labels.

    Raises WeightsError if the file is no checkpoint, its params are those of another version, or its weights do not fit its params.
    """
    state = load_checkpoint(checkpoint)
    try:
        cfg = Config.from_mapping(state["params"], str(checkpoint))
    except ConfigError as error:
        raise WeightsError(
            f"{error}. The checkpoint was written by hitagu_lib {state.get('hitagu_lib', 'of an unknown version')} and cannot be read by "
            f"this version, {__version__}; use the version that wrote it"
        ) from error
    model = build_model(cfg.model, len(state["classes"]), pretrained=False)
    load_weights(model, state["model"], str(checkpoint))
    return model.eval(), cfg, list(state["classes"])


def on_best_device(model: nn.Module) -> None:
    """Move a network to the accelerator, if there is one."""
    if (best := torch.accelerator.current_accelerator(check_available=True)) is not None:
        model.to(best)


def read_source(source: str | Path, cfg: DataConfig) -> tuple[Tensor, Tensor]:
    """Read one clip of a video file or frame folder, sampled and cropped as in validation: uint8 (T, 3, S, S), t (T,).

    Raises ClipError or ExtractError naming the source if it cannot be read.
    """
    with frame_folder(source, cfg.short_side) as (folder, num_frames):
        return read_clip(folder, num_frames, cfg)


@contextmanager
def frame_folder(source: str | Path, short_side: int) -> Iterator[tuple[Path, int]]:
    """Yield a frame folder and its number of frames: `source` itself, or a video's frames, extracted for as long as the context lasts.

    Raises ClipError or ExtractError naming `source` if it cannot be read.
    """
    source = Path(source)
    with ExitStack() as stack:
        with readable(source):
            if source.is_dir():
                folder, num_frames = source, _count_frames(source)
            elif source.is_file():
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "frames"
                num_frames = extract_video(source, folder, short_side=short_side)
            elif source.exists():
                raise ClipError(f"{source}: found neither a file nor a folder; expected a video file or a frame folder")
            else:
                raise ClipError(f"{source}: no such file or folder (looked from {Path.cwd()})")
        yield folder, num_frames


@contextmanager
def readable(source: Path) -> Iterator[None]:
    """Convert an OSError into ClipError naming `source`, so that a loop over several sources goes on after one that is unreadable."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename and os.fspath(error.filename) != str(source) else ""
        raise ClipError(f"{source}: cannot be read: {error.strerror or error}{where}") from error


def _count_frames(folder: Path) -> int:
    files = list(folder.iterdir())  # Path.glob takes a folder that it may not list for an empty one
    names = {file.name for file in files if IS_FRAME.fullmatch(file.name)}
    if not names:
        videos = sum(file.suffix.lower() in VIDEO_SUFFIXES for file in files)
        hint = f" (it holds {videos} video{'s' * (videos != 1)}: name the files)" if videos else ""
        raise ClipError(
            f"{folder}: found no frames named 000001.jpg, 000002.jpg, ...; expected a frame folder or a video file{hint}"
        )
    expected = [FRAME_NAME.format(number) for number in range(1, len(names) + 1)]
    if missing := next((name for name in expected if name not in names), None):
        raise ClipError(f"{folder}: {missing} is missing; expected 000001.jpg, 000002.jpg, ... without gaps")
    return len(names)


def class_probabilities(logits: Tensor, where: str) -> Tensor:
    """Return the softmax of logits (..., K) over the classes, float32 on the CPU. Raises as `expect_numbers` does."""
    return torch.softmax(expect_numbers(logits.float().cpu(), where), dim=-1)


def expect_numbers(logits: Tensor, where: str) -> Tensor:
    """Return logits; where: of which video, or when. Raise WeightsError if one is nan or infinite: it would have a rank all the same."""
    if not logits.isfinite().all():
        raise WeightsError(
            f"{where}: the network's logits are nan or infinite; expected numbers. Its weights are too large, "
            "or their products are for half precision: then train.precision=fp32 helps"
        )
    return logits


@overload
def predict(source: str | Path, model: str | Path) -> Prediction: ...


@overload
def predict(source: str | Path, model: ClipModel, cfg: DataConfig, classes: Sequence[str]) -> Prediction: ...


@torch.inference_mode()
def predict(
    source: str | Path, model: str | Path | ClipModel, cfg: DataConfig | None = None, classes: Sequence[str] = ()
) -> Prediction:
    """Rank the classes for one video file or frame folder: one clip, sampled and cropped as in validation.

    model: a checkpoint's path, which runs on the best device; or, to load it once for many videos, the network that `load_model`
    returned, with the `data` section of its parameters and its classes. Raises WeightsError for a checkpoint, ClipError or ExtractError
    for a source that cannot be read.
    """
    if isinstance(model, str | Path):
        model, trained, classes = load_model(model)
        cfg = trained.data
        on_best_device(model)
    if cfg is None or not classes:
        raise TypeError("predict: with a loaded network also give cfg.data and classes, as load_model returns them")
    device = next(model.parameters()).device
    with readable(Path(source)):
        frames, t = read_source(source, cfg)
    logits, maps = model(normalise(frames.to(device))[None], t.to(device)[None], return_maps=True)
    ranked = class_probabilities(logits[0], str(source)).sort(descending=True)
    return Prediction([classes[i] for i in ranked.indices.tolist()], ranked.values.tolist(), frames, t, maps)
