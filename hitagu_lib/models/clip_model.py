"""The interface of every model in the book: a per-frame half and a temporal half."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hitagu_lib.errors import ClipError, ConfigError
from hitagu_lib.models.backbone import TruncatedResNet
from hitagu_lib.models.head import ClassifierHead

State = dict[str, Tensor]
"""What a causal network keeps between two frames, by name, streams first. Its size does not depend on how many frames came before.

"age" (B,) counts a stream's frames; all of a stream's rows are 0 before its first one.
"""


class FrameFeatures(NamedTuple):
    """The features of N frames, each encoded alone; small enough to cache."""

    top: Tensor  # (N, C, h, w): the truncated backbone's map
    reduced: tuple[Tensor, ...] = ()  # one (N, R, h_s, w_s) for each stage that MDE taps

    def each(self, change: Callable[[Tensor], Tensor]) -> FrameFeatures:
        """Return features with `change` applied to every map."""
        return FrameFeatures(change(self.top), tuple(change(r) for r in self.reduced))

    def at(self, which: slice | Tensor) -> FrameFeatures:
        """Return the features of the frames `which`, in that order, repeats included."""
        return self.each(lambda maps: maps[which])

    @staticmethod
    def joined(parts: Sequence[FrameFeatures]) -> FrameFeatures:
        """Return the features of all parts' frames, one part after another."""
        reduced = zip(*(part.reduced for part in parts), strict=True)
        return FrameFeatures(torch.cat([part.top for part in parts]), tuple(torch.cat(maps) for maps in reduced))


@dataclass
class ClipMaps:
    """What a model attended to; maps of modules that a model lacks stay None."""

    frame_embeddings: Tensor  # (B, T, D)
    clip_embedding: Tensor  # (B, `clip_width`)
    motion_gate: Tensor | None = None  # (B, T, h, w): the size of MDE's gate a, mean over channels, in [0, 1)
    state_mix: Tensor | None = None  # (B, T, states, h, w): 3STU's s, mean over channels, sums to 1 over states
    channel_gate: Tensor | None = None  # (B, T, D)
    spatial_map: Tensor | None = None  # (B, T, h, w)
    temporal_attention: Tensor | None = None  # (B, heads, T, T)
    # (B, T, num_classes), of a causal network: from the frames so far; always filled
    prefix_logits: Tensor | None = None


def _check_times(t: Tensor, B: int, T: int) -> None:
    """Raise ClipError unless t is (B, T) and does not fall. Values on a GPU are not read, which would wait for it at every step."""
    if t.shape != (B, T):
        raise ClipError(f"t: found {tuple(t.shape)}; expected (B, T) = ({B}, {T}), a time for each frame")
    if t.device.type == "cpu" and not torch.compiler.is_compiling():
        for clip, frame in (t[:, 1:] < t[:, :-1]).nonzero().tolist()[:1]:
            raise ClipError(
                f"t: clip {clip}, frame {frame + 1}: found {t[clip, frame + 1]:g} after {t[clip, frame]:g}; expected times that do not "
                "fall: reversed_times(t) has those of a clip played backwards"
            )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, and each of its modules back into the mode that it had."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class ClipModel(nn.Module, ABC):
    """Two halves: `encode_frames` sees one frame alone, `temporal_head` sees several.

    Clips x: (B, T, 3, H, W), float, normalised. Times t: (B, T), positions in the video in reference strides.
    """

    backbone: TruncatedResNet
    head: ClassifierHead
    width: int  # D, channels of the frame embeddings
    shares_frames = True  # `encode_frames` works, so views of a video can share a frame's features
    causal = False  # model.causal: no output depends on a later frame

    @property
    def clip_width(self) -> int:
        """Channels of the clip embedding: D, or 2 D where `model.readout` is both or memory."""
        return self.head.linear.in_features

    @abstractmethod
    def encode_frames(self, frames: Tensor) -> FrameFeatures:
        """frames (N, 3, H, W) -> their features; those of one frame do not depend on any other frame."""

    def temporal_head(self, features: FrameFeatures, t: Tensor, return_maps: bool = False) -> tuple[Tensor, ClipMaps]:
        """Features of N = B T frames in (B, T) order, t (B, T) -> logits (B, num_classes), maps.

        The embeddings are always filled; the maps, which cost extra, only with `return_maps`.
        """
        return self.resume_head(features, t, None, return_maps)[:2]

    @abstractmethod
    def resume_head(
        self, features: FrameFeatures, t: Tensor, before: State | None, return_maps: bool = False
    ) -> tuple[Tensor, ClipMaps, State]:
        """Run `temporal_head` on frames that follow others; also return the state after them, {} from a network that is not causal.

        before: the state after those; t (B, T) then counts from the last of them (its first is 1 where none came). None: none came.
        """

    def step(self, frame: Tensor, elapsed: Tensor, before: State | None) -> tuple[Tensor, State]:
        """Show a causal network one more frame of each stream: frame (B, 3, H, W), normalised -> logits (B, num_classes), state.

        elapsed (B,): reference strides since the stream's last frame; ignored for its first. before: None for all streams' first.
        """
        t = torch.ones_like(elapsed) if before is None else torch.where(before["age"] == 0, 1.0, elapsed)
        logits, _, state = self._resume(frame[:, None], t[:, None], before)
        return logits, state

    def _resume(self, x: Tensor, t: Tensor, before: State | None) -> tuple[Tensor, ClipMaps, State]:
        """Run `resume_head` on the frames x (B, T, 3, H, W) themselves."""
        return self.resume_head(self.encode_frames(x.flatten(0, 1)), t, before)

    def _read(
        self, embeddings: Tensor, before: State | None, held: Tensor | None = None
    ) -> tuple[Tensor, ClipMaps, State]:
        """Classify: frame embeddings (B, T, D) -> logits (B, num_classes), maps, the head's part of the state.

        held (B, T, D): the frames before attention, for `model.readout: memory`.
        """
        if not self.causal:
            logits, clip = self.head(embeddings, held)
            return logits, ClipMaps(embeddings, clip), {}
        B, T = embeddings.shape[:2]
        age = torch.zeros(B, dtype=torch.int64, device=embeddings.device) if before is None else before["age"]
        wide = torch.promote_types(embeddings.dtype, torch.float32)
        mean = torch.zeros_like(embeddings[:, 0], dtype=wide) if before is None else before["head.mean"]
        every, clips, means = self.head.prefixes(embeddings, mean, age, held)
        maps = ClipMaps(embeddings, clips[:, -1], prefix_logits=every)
        return every[:, -1], maps, {"age": age + T, "head.mean": means[:, -1]}

    def forward(
        self,
        x: Tensor,
        t: Tensor | None = None,
        return_maps: bool = False,
        return_embeddings: bool = False,
        also_backwards: Tensor | None = None,
        every_prefix: bool = False,
    ) -> Tensor | tuple[Tensor, ClipMaps]:
        """x (B, T, 3, H, W) -> logits (B, num_classes); with either of the first two switches (logits, ClipMaps).

        t (B, T): when each frame is shown, in reference strides; it must not fall (`reversed_times` gives those of a reversed clip).
        Without `t` the frames are taken to be sampled at the reference stride: t = 0, 1, 2, ...
        also_backwards (n,): indices of clips to append played backwards, so B becomes B + n; their frames are not encoded again.
        every_prefix: return logits (B, T, num_classes) after every frame, from the frames so far. Raises ConfigError unless causal.

        Raises ClipError for times of another shape, and, on a CPU, for times that fall: a memory would have to remember backwards.
        """
        if every_prefix and not self.causal:
            raise ConfigError(
                "model.causal: found false; expected true: only a causal network has logits for each prefix"
            )
        B, T = x.shape[:2]
        if t is None:
            t = torch.arange(T, device=x.device, dtype=torch.float32).expand(B, T)
        _check_times(t, B, T)
        features, t = self._encode_clips(x, t, also_backwards)
        logits, maps = self.temporal_head(features, t, return_maps)
        if every_prefix:
            assert maps.prefix_logits is not None
            logits = maps.prefix_logits
        return (logits, maps) if return_maps or return_embeddings else logits

    def _encode_clips(self, x: Tensor, t: Tensor, also_backwards: Tensor | None) -> tuple[FrameFeatures, Tensor]:
        """Clips (B, T, 3, H, W), times (B, T) -> features of their frames, and times; those of `also_backwards` come last."""
        features = self.encode_frames(x.flatten(0, 1))
        if also_backwards is None:
            return features, t
        T = t.shape[1]

        def again(maps: Tensor) -> Tensor:
            return torch.cat([maps, maps.unflatten(0, (-1, T))[also_backwards].flip(1).flatten(0, 1)])

        return features.each(again), torch.cat([t, reversed_times(t[also_backwards])])


def reversed_times(t: Tensor) -> Tensor:
    """Return the times (B, T) of the same frames played backwards, from 0: the gaps in opposite order."""
    return t[:, -1:] - t.flip(1)
