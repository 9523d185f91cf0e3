"""Predict while a video plays: at each frame, from the frames so far.

`Stream`: a causal network (`model.causal: true`) takes one frame after another, keeps a state of fixed size, and gives at each frame what
it would give for the clip of all frames so far.

    stream = Stream(model)
    logits = stream.step(frame, seconds)

`predict_along`: any network, which sees a new clip at each frame:

    frame n:  the last `window` frames up to n  --sampled so that the clip ends in n-->  T frames  -->  probabilities, maps

The clip is sampled like the last clip of protocol `multi` (hitagu_lib/evaluation/protocols.py) for a video that ends here: the last frame
of each of T equal segments, or T frames of a dense window. Its last frame is therefore the frame on display, and the attention drawn over
that frame is its own. While there are fewer than T frames, some stand in the clip twice. `predict` sees the whole video once, by the middle
frame of each segment: its probabilities are close to those at the last frame, but not equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from hitagu_lib.config import DataConfig
from hitagu_lib.data.frames import normalise, read_frames
from hitagu_lib.data.sampling import Indices, clip_times, dense_clips, segment_clips
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.errors import ClipError, ConfigError, WeightsError
from hitagu_lib.inference.predict import class_probabilities
from hitagu_lib.models import ClipMaps, ClipModel, FrameFeatures
from hitagu_lib.models.clip_model import State

WINDOW = 1024
"""How many frames back a clip of segments reaches by default. It bounds the memory: 0.5 GB for features of ResNet-50."""


class Stream:
    """One video, or several at once, shown to a causal network frame by frame.

    model: in evaluation mode. seconds_per_stride: the seconds in one reference stride, `data.ref_stride` / the videos' frame rate; by
    default, times are given in reference strides themselves. Raises ConfigError if the network is not causal.
    """

    def __init__(self, model: ClipModel, seconds_per_stride: float = 1.0) -> None:
        if not model.causal:
            raise ConfigError("model.causal: found false; expected true: only a causal network can be streamed")
        if model.training:
            raise ConfigError(
                "Stream: found a network in training mode; expected model.eval(): BatchNorm would mix streams"
            )
        if not seconds_per_stride > 0:
            raise ConfigError(f"seconds_per_stride: found {seconds_per_stride}; expected more than 0")
        self.model, self.seconds_per_stride = model, seconds_per_stride
        self.state: State | None = None  # none before the first frame
        self.size: tuple[int, ...] = ()  # (B, 3, H, W) of the frames
        self.seconds = torch.zeros(0, dtype=torch.float64)  # (B,), when each stream's last frame was shown

    @torch.inference_mode()
    def step(self, frame: Tensor, seconds: float | Tensor) -> Tensor:
        """Show the next frame: (3, H, W) -> logits (num_classes,), or of several streams (B, 3, H, W) -> (B, num_classes).

        frame: uint8, or float and normalised. seconds: when it is shown, for several streams also (B,), from any origin.
        Raises ClipError if its size is not that of the frames before, its pixels are of another type, or its time is no number or not
        after theirs.
        """
        frames = frame if frame.ndim == 4 else frame[None]
        if self.size and tuple(frames.shape) != self.size:
            raise ClipError(f"Stream.step: found a frame of {tuple(frames.shape)}; expected {self.size}, as before")
        parameter = next(self.model.parameters())
        if not (frames.dtype == torch.uint8 or frames.is_floating_point()):
            raise ClipError(
                f"Stream.step: found pixels of {frames.dtype}; expected torch.uint8, or floats and normalised"
            )
        now = torch.as_tensor(seconds, dtype=torch.float64).expand(len(frames)).clone()
        if not now.isfinite().all():
            raise ClipError(f"Stream.step: found {seconds} s; expected a number")
        elapsed = torch.ones(len(frames))
        if self.state is not None:
            old = self.state["age"].cpu() > 0
            late = (now <= self.seconds) & old
            if late.any():
                b = int(late.nonzero()[0, 0])
                raise ClipError(
                    f"Stream.step: stream {b}: found {now[b]:g} s; expected more than {self.seconds[b]:g}, the last frame's"
                )
            elapsed = ((now - self.seconds) / self.seconds_per_stride).float()
        frames = frames.to(parameter.device)
        frames = (normalise(frames) if frames.dtype == torch.uint8 else frames).to(parameter.dtype)
        logits, self.state = self.model.step(frames, elapsed.to(parameter.device), self.state)
        self.size, self.seconds = tuple(frames.shape), now
        return logits if frame.ndim == 4 else logits[0]

    def reset(self, which: slice | Tensor = slice(None)) -> None:
        """Forget what all streams saw, or the streams `which`: their next frame is their first."""
        if self.state is not None:
            self.state = {name: part.clone() for name, part in self.state.items()}
            for part in self.state.values():
                part[which] = 0

    @property
    def num_bytes(self) -> int:
        """The size of the state, the same after every frame; 0 before the first."""
        return sum(part.nbytes for part in (self.state or {}).values())

    def __repr__(self) -> str:
        if self.state is None:
            return "Stream: no frame yet"
        sizes: dict[str, int] = {}
        for name, part in self.state.items():
            module = name.partition(".")[0]
            sizes[module] = sizes.get(module, 0) + part.nbytes
        each = ", ".join(f"{module} {size:,}" for module, size in sizes.items())
        ages = ", ".join(map(str, self.state["age"].tolist()))
        return f"Stream: frames seen {ages}; {self.num_bytes:,} bytes ({each})"

    def state_dict(self) -> dict[str, Any]:
        """Return what another Stream of the same network needs to go on from here: tensors and plain values."""
        state = {name: part.clone() for name, part in (self.state or {}).items()}
        return {"state": state, "size": list(self.size), "seconds": self.seconds.clone()}

    def load_state_dict(self, stored: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken. Raises WeightsError if it is that of another network."""
        state, size = dict(stored["state"]), tuple(stored["size"])
        parameter = next(self.model.parameters())
        if state:
            expected = empty_state(self.model, size)
            for name in sorted({*expected, *state}):
                found, wanted = (str(tuple(s[name].shape)) if name in s else "none" for s in (state, expected))
                if found != wanted:
                    raise WeightsError(
                        f"stream's state: {name}: found {found}; expected {wanted}, as this network has it"
                    )
            state = {name: state[name] for name in expected}  # the network reads a module's parts in their order
        self.state = {name: part.to(parameter.device) for name, part in state.items()} or None
        self.size, self.seconds = size, stored["seconds"].clone()


@torch.no_grad()  # not inference_mode: export traces with this state
def empty_state(model: ClipModel, size: tuple[int, ...]) -> State:
    """Return the state of streams without a frame, for frames of `size` (B, 3, H, W)."""
    parameter = next(model.parameters())
    frames = torch.zeros(size, device=parameter.device, dtype=parameter.dtype)
    _, state = model.step(frames, torch.ones(size[0], device=parameter.device), None)
    return {name: torch.zeros_like(part) for name, part in state.items()}


@dataclass(frozen=True)
class Running:
    """The running prediction at each of a video's N frames."""

    probabilities: Tensor  # (N, K)
    clips: Indices  # (N, T), the frames that were used; the last is the frame itself
    # (N, h, w), MDE's motion gate in the frame itself; None: the network has none.
    motion_map: Tensor | None
    # (N, T), the weights with which the frame reads its clip: TSA's, mean over heads; None: the network has none.
    reads: Tensor | None


def running_clips(num_frames: int, cfg: DataConfig, window: int | None = None) -> Indices:
    """Return the clip that ends in each frame of a video, (num_frames, T).

    window: how many frames it covers, the last included; None: `data.dense_span` with dense sampling, else WINDOW.
    """
    reach = window or (cfg.dense_span if cfg.sampling == "dense" else WINDOW)
    clips = np.empty((num_frames, cfg.num_frames), np.int64)
    for n in range(num_frames):
        seen = min(n + 1, reach)
        if cfg.sampling == "dense":
            within = dense_clips(seen, cfg.num_frames, cfg.dense_span, 2)[1]
        else:
            within = segment_clips(seen, cfg.num_frames, 2)[1]
        clips[n] = n + 1 - seen + within
    return clips


@torch.inference_mode()
def predict_along(
    folder: Path,
    num_frames: int,
    model: ClipModel,
    cfg: DataConfig,
    *,
    window: int | None = None,
    frames_at_once: int = 64,
    progress: bool = False,
) -> Running:
    """Return the running prediction over a frame folder by a model in evaluation mode; window: see `running_clips`.

    Each frame passes through the backbone once, and its features are kept as long as a later clip needs them; TSM, which mixes frames in
    its backbone, encodes once per clip. At most `frames_at_once` frames, or one clip, are in the network at a time. Raises ClipError
    naming a frame that cannot be read.
    """
    device = next(model.parameters()).device
    clips = running_clips(num_frames, cfg, window)
    t = torch.from_numpy(clip_times(clips, cfg.ref_stride)).to(device)
    # Kept for each frame from `begin` on: its features, or for TSM the picture.
    kept: FrameFeatures | None = None
    begin = 0
    probabilities, motion, reads = [], [], []
    with tqdm(
        total=num_frames, desc="predicting", unit="frame", disable=None if progress else True, leave=False
    ) as bar:
        for block in _blocks(0, num_frames, frames_at_once):
            pictures = read_frames(folder, block, lambda frame: centre_crop(frame, cfg.image_size, cfg.short_side))
            x = normalise(pictures.to(device))
            new = model.encode_frames(x) if model.shares_frames else FrameFeatures(x)
            oldest = int(clips[block.start].min())  # no later clip reaches back further
            kept = new if kept is None else FrameFeatures.joined([kept.at(slice(oldest - begin, None)), new])
            begin = oldest
            for some in _blocks(block.start, block.stop, max(1, frames_at_once // cfg.num_frames)):
                asked = torch.from_numpy(clips[some.start : some.stop] - begin).to(device)  # (n, T)
                logits, maps = _run(model, kept.at(asked.flatten()), t[some.start : some.stop])
                probabilities.append(class_probabilities(logits, str(folder)))
                if maps.motion_gate is not None:
                    motion.append(maps.motion_gate[:, -1].float().cpu())
                if maps.temporal_attention is not None:
                    reads.append(maps.temporal_attention.mean(1)[:, -1].float().cpu())
                bar.update(len(some))
    return Running(
        torch.cat(probabilities), clips, torch.cat(motion) if motion else None, torch.cat(reads) if reads else None
    )


def _run(model: ClipModel, features: FrameFeatures, t: Tensor) -> tuple[Tensor, ClipMaps]:
    if model.shares_frames:
        return model.temporal_head(features, t, return_maps=True)
    logits, maps = model(features.top.unflatten(0, tuple(t.shape)), t, return_maps=True)
    return logits, maps


def _blocks(start: int, stop: int, size: int) -> Iterator[range]:
    return (range(begin, min(begin + size, stop)) for begin in range(start, stop, size))
