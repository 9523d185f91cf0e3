"""The interface of every model in the book: a per-frame half and a temporal half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hitagu_lib.models.backbone import TruncatedResNet
from hitagu_lib.models.head import ClassifierHead


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
    shares_frames = True  # `encode_frames` works, so views of a video can share a frame's features

    @property
    def clip_width(self) -> int:
        """Channels of the clip embedding: D, or 2 D where `model.readout` is both or memory."""
        return self.head.linear.in_features

    def encode_frames(self, frames: Tensor) -> FrameFeatures:
        """frames (N, 3, H, W) -> their features; those of one frame do not depend on any other frame."""
        raise NotImplementedError

    def temporal_head(self, features: FrameFeatures, t: Tensor, return_maps: bool = False) -> tuple[Tensor, ClipMaps]:
        """Features of N = B T frames in (B, T) order, t (B, T) -> logits (B, num_classes), maps.

        The embeddings are always filled; the maps, which cost extra, only with `return_maps`.
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

        Without `t` the frames are taken to be sampled at the reference stride: t = 0, 1, 2, ...
        also_backwards (n,): indices of clips to append played backwards, so B becomes B + n; their frames are not encoded again.
        """
        B, T = x.shape[:2]
        if t is None:
            t = torch.arange(T, device=x.device, dtype=torch.float32).expand(B, T)
        features, t = self._encode_clips(x, t, also_backwards)
        logits, maps = self.temporal_head(features, t, return_maps)
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
