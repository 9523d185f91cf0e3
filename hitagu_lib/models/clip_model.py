"""What every model of the book can do, whatever its temporal part: the split into a per-frame and a temporal half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hitagu_lib.models.backbone import TruncatedResNet
from hitagu_lib.models.head import ClassifierHead


class FrameFeatures(NamedTuple):
    """What is known of N frames, each seen alone; small enough to cache."""

    top: Tensor  # (N, C, h, w): the truncated backbone's map
    reduced: tuple[Tensor, ...] = ()  # one (N, R, h_s, w_s) for each stage that MDE taps

    def each(self, change: Callable[[Tensor], Tensor]) -> FrameFeatures:
        """Of other frames: every map as `change` makes it."""
        return FrameFeatures(change(self.top), tuple(change(r) for r in self.reduced))

    def at(self, which: slice | Tensor) -> FrameFeatures:
        """Of some frames, in the order and as often as `which` has them."""
        return self.each(lambda maps: maps[which])

    @staticmethod
    def joined(parts: Sequence[FrameFeatures]) -> FrameFeatures:
        """Of the frames of all parts, one part after another."""
        reduced = zip(*(part.reduced for part in parts), strict=True)
        return FrameFeatures(torch.cat([part.top for part in parts]), tuple(torch.cat(maps) for maps in reduced))


@dataclass
class ClipMaps:
    """What a model has looked at; a part that a model lacks stays None."""

    frame_embeddings: Tensor  # (B, T, D)
    clip_embedding: Tensor  # (B, D)
    motion_gate: Tensor | None = None  # (B, T, h, w): MDE's gate a, mean over channels, in (-1, 1)
    state_mix: Tensor | None = None  # (B, T, states, h, w): 3STU's s, mean over channels, sums to 1 over states
    channel_gate: Tensor | None = None  # (B, T, D)
    spatial_map: Tensor | None = None  # (B, T, h, w)
    temporal_attention: Tensor | None = None  # (B, heads, T, T)


class ClipModel(nn.Module):
    """Two halves: `encode_frames` sees one frame alone, `temporal_head` sees several.

    Clips x: (B, T, 3, H, W), float, normalised. Times t: (B, T), positions in the video in reference strides.
    """

    backbone: TruncatedResNet
    head: ClassifierHead
    width: int  # D, channels of the frame embeddings
    shares_frames = True  # `encode_frames` is there, so that views of a video can share the features of a frame

    @property
    def clip_width(self) -> int:
        """Channels of the clip embedding: D, or 2 D where `model.readout` is both."""
        return self.head.linear.in_features

    def encode_frames(self, frames: Tensor) -> FrameFeatures:
        """frames (N, 3, H, W) -> their features; no frame's features depend on another frame."""
        raise NotImplementedError

    def temporal_head(self, features: FrameFeatures, t: Tensor, return_maps: bool = False) -> tuple[Tensor, ClipMaps]:
        """Features of N = B T frames in (B, T) order, t (B, T) -> logits (B, num_classes), maps.

        The maps that cost extra are filled only with `return_maps`; the embeddings always are.
        """
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        t: Tensor | None = None,
        return_maps: bool = False,
        return_embeddings: bool = False,
        also_backwards: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ClipMaps]:
        """x (B, T, 3, H, W) -> logits (B, num_classes); with either switch (logits, ClipMaps).

        Without `t` the frames count as sampled at the reference stride: t = 0, 1, 2, ...
        also_backwards (n,): indices of clips that follow a second time, played backwards, so that B becomes B + n; their frames are
        not encoded again.
        """
        B, T = x.shape[:2]
        if t is None:
            t = torch.arange(T, device=x.device, dtype=torch.float32).expand(B, T)
        features, t = self._encode_clips(x, t, also_backwards)
        logits, maps = self.temporal_head(features, t, return_maps)
        return (logits, maps) if return_maps or return_embeddings else logits

    def _encode_clips(self, x: Tensor, t: Tensor, also_backwards: Tensor | None) -> tuple[FrameFeatures, Tensor]:
        """Clips (B, T, 3, H, W), times (B, T) -> features of their frames and times, those of `also_backwards` following."""
        features = self.encode_frames(x.flatten(0, 1))
        if also_backwards is None:
            return features, t
        T = t.shape[1]

        def again(maps: Tensor) -> Tensor:
            return torch.cat([maps, maps.unflatten(0, (-1, T))[also_backwards].flip(1).flatten(0, 1)])

        return features.each(again), torch.cat([t, reversed_times(t[also_backwards])])


def reversed_times(t: Tensor) -> Tensor:
    """Times (B, T) of the same frames played backwards, from 0: the gaps in opposite order."""
    return t[:, -1:] - t.flip(1)
