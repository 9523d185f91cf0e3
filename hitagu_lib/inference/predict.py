"""One video in, ranked labels out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hitagu_lib.config import Config, DataConfig
from hitagu_lib.data.dataset import read_clip
from hitagu_lib.data.frames import normalise
from hitagu_lib.errors import ClipError
from hitagu_lib.media.ffmpeg import VIDEO_SUFFIXES
from hitagu_lib.models import ClipMaps, ClipModel, build_model
from hitagu_lib.prepare.extract import extract_video
from hitagu_lib.runs.checkpoint import load_checkpoint


@dataclass(frozen=True)
class Prediction:
    labels: list[str]  # most probable first
    probabilities: list[float]  # of the same order
    frames: Tensor  # uint8 (T, 3, S, S), what the network saw
    t: Tensor  # (T,)
    maps: ClipMaps  # B = 1


def load_model(checkpoint: str | Path) -> tuple[ClipModel, Config, list[str]]:
    """The model of a checkpoint in evaluation mode, the parameters it was trained with, its class labels."""
    state = load_checkpoint(checkpoint)
    cfg = Config.from_mapping(state["params"], str(checkpoint))
    model = build_model(cfg.model, len(state["classes"]), pretrained=False)
    model.load_state_dict(state["model"])
    return model.eval(), cfg, state["classes"]


def read_source(source: str | Path, cfg: DataConfig) -> tuple[Tensor, Tensor]:
    """One clip from a video file or a frame folder, sampled and cropped as in validation: uint8 (T, 3, S, S), t (T,)."""
    with frame_folder(source, cfg.short_side) as (folder, num_frames):
        return read_clip(folder, num_frames, cfg)


@contextmanager
def frame_folder(source: str | Path, short_side: int) -> Iterator[tuple[Path, int]]:
    """A frame folder and how many frames it has: `source` itself, or a video file's frames, there for as long as the context lasts."""
    source = Path(source)
    if source.is_dir():
        num_frames = sum(1 for _ in source.glob("[0-9]" * 6 + ".jpg"))
        if num_frames == 0:
            videos = sum(1 for file in source.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES)
            hint = f" (it holds {videos} video{'s' * (videos != 1)}: name the files)" if videos else ""
            raise ClipError(
                f"{source}: found no frames named 000001.jpg, 000002.jpg, ...; expected a frame folder or a video file{hint}"
            )
        yield source, num_frames
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "frames"
        yield folder, extract_video(source, folder, short_side=short_side)


@torch.inference_mode()
def predict(source: str | Path, model: ClipModel, cfg: DataConfig, classes: list[str]) -> Prediction:
    """Rank the classes for one video file or frame folder."""
    device = next(model.parameters()).device
    frames, t = read_source(source, cfg)
    logits, maps = model(normalise(frames.to(device))[None], t.to(device)[None], return_maps=True)
    ranked = torch.softmax(logits[0].float(), dim=0).sort(descending=True)
    return Prediction([classes[i] for i in ranked.indices.tolist()], ranked.values.tolist(), frames, t, maps)
