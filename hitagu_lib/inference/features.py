"""`hitagu features`: what a network makes of each frame and clip, for a classifier, a search or a plot of one's own.

    list or files -> one clip per video, as in validation -> frame embeddings (N, T, D), clip embedding (N, D) -> features.npz, features.csv

Without a checkpoint the network is the frozen backbone alone: a frame's embedding is its top map's mean over positions, a clip's the mean
over its frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hitagu_lib.config import Config, DataConfig
from hitagu_lib.data.clip_list import ClipList
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.loader import Bar, make_loader
from hitagu_lib.errors import ClipError, ConfigError, ExtractError
from hitagu_lib.files import replacing, write_csv
from hitagu_lib.inference.predict import read_source
from hitagu_lib.models import ClipModel, build_model


@dataclass(frozen=True)
class Features:
    """The embeddings of N videos, in the order of the list or files."""

    paths: list[str]
    labels: list[str]  # "" where none is known
    t: NDArray[np.float32]  # (N, T), the frames' times in reference strides
    frames: NDArray[np.float32]  # (N, T, D)
    clip: NDArray[np.float32]  # (N, D), or (N, 2 D) with `model.readout` both or memory
    failed: list[str]  # why the others could not be read


def backbone_alone(cfg: Config) -> ClipModel:
    """Return the backbone of `cfg.model` with its pretrained weights, in evaluation mode. Raises ConfigError without weights."""
    if cfg.model.backbone.weights is None:
        raise ConfigError("model.backbone.weights: found null; expected pretrained weights, or give a checkpoint")
    return build_model(dataclasses.replace(cfg.model, temporal="tsn", readout="mean"), 1, pretrained=True).eval()


def features_of_list(model: ClipModel, clips: ClipList, cfg: Config, progress: bool = False) -> Features:
    """Return the features of a list's videos, `eval.batch_size` at a time. Those that cannot be read are in `failed`."""
    data = dataclasses.replace(cfg.data, on_bad_clip="skip")
    loader = make_loader(ClipDataset(clips, data, train=False), cfg.eval.batch_size, shuffle=False)
    bad: list[str] = []

    def batches() -> Iterator[tuple[list[str], list[str], Tensor, Tensor]]:
        for batch in Bar(iter(loader), desc="features", total=len(loader), disable=not progress, leave=False):
            bad.extend(batch["bad"])
            rows, labels = batch["row"].tolist(), batch["label"].tolist()
            names = [clips.classes[label] if label >= 0 else "" for label in labels]
            yield [clips.path(row) for row in rows], names, batch["frames"], batch["t"]

    return _collect(model, batches(), bad)


def features_of_files(model: ClipModel, sources: Sequence[Path], cfg: DataConfig) -> Features:
    """Return the features of video files or frame folders. Those that cannot be read are in `failed`."""
    bad: list[str] = []

    def batches() -> Iterator[tuple[list[str], list[str], Tensor, Tensor]]:
        for source in sources:
            try:
                frames, t = read_source(source, cfg)
            except (ClipError, ExtractError) as error:
                bad.append(str(error))
            else:
                yield [str(source)], [""], frames[None], t[None]

    return _collect(model, batches(), bad)


@torch.inference_mode()
def _collect(
    model: ClipModel, batches: Iterable[tuple[list[str], list[str], Tensor, Tensor]], bad: list[str]
) -> Features:
    device = next(model.parameters()).device
    paths: list[str] = []
    labels: list[str] = []
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for names, theirs, frames, t in batches:
        if names:
            _, maps = model(normalise(frames.to(device)), t.to(device), return_embeddings=True)
            parts.append((t, maps.frame_embeddings.float().cpu(), maps.clip_embedding.float().cpu()))
            paths += names
            labels += theirs
    if not parts:
        raise ClipError(f"none of the videos could be read; the first: {bad[0] if bad else 'there are none'}")
    times, of_frames, of_clips = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return Features(paths, labels, times, of_frames, of_clips, bad)


def features_files(file: Path) -> tuple[Path, Path]:
    """Return what `write_features` writes: `file`, .npz, and a .csv beside it.

    Raises ConfigError for another ending, and for a .csv that is there and is not of features: it may be the list of the clips.
    """
    if file.suffix != ".npz":
        raise ConfigError(f"{file}: expected a file that ends in .npz; a .csv is written beside it")
    table = file.with_suffix(".csv")
    if table.exists():
        with table.open(encoding="utf-8", errors="replace") as stream:
            if not stream.readline().startswith("path,label,c0"):
                raise ConfigError(
                    f"{table}: would be replaced, and is not a table of features; choose another name than {file}"
                )
    return file, table


def write_features(file: Path, found: Features) -> tuple[Path, Path]:
    """Write FILE.npz with paths, labels, t, frames and clip, and FILE.csv with path, label and the clip embedding; return both paths."""
    npz, table = features_files(file)
    with replacing(npz) as aside:
        np.savez(
            aside,
            paths=np.array(found.paths),
            labels=np.array(found.labels),
            t=found.t,
            frames=found.frames,
            clip=found.clip,
        )
    rows = (
        (path, label, *(f"{value:.6g}" for value in values))
        for path, label, values in zip(found.paths, found.labels, found.clip.tolist(), strict=True)
    )
    write_csv(table, rows, ["path", "label", *(f"c{i}" for i in range(found.clip.shape[1]))])
    return npz, table
