"""The baselines, on the same backbone and trained the same way: TSN, TSM and a GRU; and a GRU in the place of the 3STU.

They make the book's claims testable: where order alone decides between two classes, TSN cannot exceed one half.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from hitagu_lib.config import ModelConfig, STUConfig
from hitagu_lib.models.backbone import TruncatedResNet
from hitagu_lib.models.clip_model import ClipMaps, ClipModel, FrameFeatures, State, reversed_times
from hitagu_lib.models.head import ClassifierHead
from hitagu_lib.models.stu import Memory


class TSN(ClipModel):
    """Temporal Segment Network (Wang et al. 2016): the mean over frames of each frame's logits. It is blind to order.

    The head is linear, so the mean of the frames' logits is the head of the mean embedding.
    """

    def __init__(self, cfg: ModelConfig, num_classes: int) -> None:
        super().__init__()
        self.causal = cfg.causal
        self.backbone = TruncatedResNet(cfg.backbone)
        self.width = self.backbone.channels[cfg.backbone.cut]
        self.head = ClassifierHead(self.width, num_classes, cfg.dropout, cfg.readout)

    def encode_frames(self, frames: Tensor) -> FrameFeatures:
        return FrameFeatures(self.backbone(frames)[self.backbone.cut])

    def resume_head(
        self, features: FrameFeatures, t: Tensor, before: State | None, return_maps: bool = False
    ) -> tuple[Tensor, ClipMaps, State]:
        return self._read(features.top.mean((2, 3)).unflatten(0, tuple(t.shape)), before)


class GRU(TSN):
    """A GRU (Cho et al. 2014) over the pooled features, as wide as they are; the head classifies the mean of its outputs."""

    def __init__(self, cfg: ModelConfig, num_classes: int) -> None:
        super().__init__(cfg, num_classes)
        self.gru = nn.GRU(self.width, self.width, batch_first=True)

    def resume_head(
        self, features: FrameFeatures, t: Tensor, before: State | None, return_maps: bool = False
    ) -> tuple[Tensor, ClipMaps, State]:
        pooled = features.top.mean((2, 3)).unflatten(0, tuple(t.shape))  # (B, T, C)
        embeddings, hidden = self.gru(pooled, None if before is None else before["gru"][None])
        logits, maps, state = self._read(embeddings, before)
        return logits, maps, state | {"gru": hidden[0]} if self.causal else {}


class TSM(TSN):
    """Temporal Shift Module (Lin et al. 2019): in every residual branch 1/8 of the channels comes from the next frame,
    1/8 from the previous one. In the 101-layer ResNet only every second branch shifts, as in the authors' code.

    Causal, 1/8 comes from the previous frame and none from the next (the authors' online form).

    Its backbone mixes frames, so it encodes whole clips: `encode_frames` is not defined for one frame alone.
    """

    shares_frames = False

    def __init__(self, cfg: ModelConfig, num_classes: int) -> None:
        super().__init__(cfg, num_classes)
        every = 2 if cfg.backbone.name == "resnet101" else 1
        for stage in self.backbone.stages.values():
            blocks = [block for block in stage.children() if isinstance(block, BasicBlock | Bottleneck)]
            for block in blocks[::every]:
                block.conv1 = nn.Sequential(TemporalShift(cfg.causal), block.conv1)

    def shifts(self) -> list[TemporalShift]:
        """Return the shifts in the order of the pipeline, looked up anew: a replica of the network has its own."""
        return [module for module in self.modules() if isinstance(module, TemporalShift)]

    def encode_frames(self, frames: Tensor) -> FrameFeatures:
        raise RuntimeError("TSM mixes frames inside its backbone: it has no per-frame half; call forward(x)")

    def _encode_clips(self, x: Tensor, t: Tensor, also_backwards: Tensor | None) -> tuple[FrameFeatures, Tensor]:
        if also_backwards is not None:  # a reversed clip has other features: nothing is shared
            x = torch.cat([x, x[also_backwards].flip(1)])
            t = torch.cat([t, reversed_times(t[also_backwards])])
        for shift in self.shifts():
            shift.num_frames = t.shape[1]
        return FrameFeatures(self.backbone(x.flatten(0, 1))[self.backbone.cut]), t

    def _resume(self, x: Tensor, t: Tensor, before: State | None) -> tuple[Tensor, ClipMaps, State]:
        shifts = self.shifts()
        try:
            for i, shift in enumerate(shifts):
                shift.streams, shift.before = True, None if before is None else before[f"shift.{i}"]
            features, t = self._encode_clips(x, t, None)
            logits, maps, state = self.resume_head(features, t, before)
            for i, shift in enumerate(shifts):
                assert shift.last is not None
                state[f"shift.{i}"] = shift.last
            return logits, maps, state
        finally:  # a step that was interrupted leaves nothing for the next clip
            for shift in shifts:
                shift.streams, shift.before, shift.last = False, None, None


class TemporalShift(nn.Module):
    """(B T, C, h, w) -> the same shape: channels [0, C/8) from the next frame, [C/8, C/4) from the previous one; zeros beyond the ends.

    Causal: channels [0, C/8) from the previous frame, the rest as they are.
    """

    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.num_frames = 1
        self.causal = causal
        # In a stream: what the first frame takes from the one before it, and what the next frame will take, (B, C / 8, h, w).
        self.streams = False
        self.before: Tensor | None = None
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        fold = x.shape[1] // 8
        x = x.unflatten(0, (-1, self.num_frames))  # (B, T, C, h, w)
        y = x.clone()
        if self.causal:
            y[:, 1:, :fold] = x[:, :-1, :fold]
            y[:, 0, :fold] = 0 if self.before is None else self.before
            self.last = x[:, -1, :fold] if self.streams else None
            return y.flatten(0, 1)
        y[:, :-1, :fold] = x[:, 1:, :fold]
        y[:, -1, :fold] = 0
        y[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
        y[:, 0, fold : 2 * fold] = 0
        return y.flatten(0, 1)


class PositionGRU(nn.Module):
    """A GRU at each position, weights shared over positions, in the place of the 3STU: y = u + W_o GRU(BN(W_in u)).

    u (B, T, C, h, w), t (B, T) -> y (B, T, C, h, w), None: it mixes no states. It ignores elapsed time.
    """

    def __init__(self, cfg: STUConfig, channels: int) -> None:
        super().__init__()
        self.W_in = nn.Conv2d(channels, cfg.width, 1, bias=False)
        self.bn = nn.BatchNorm2d(cfg.width)
        self.gru = nn.GRU(cfg.width, cfg.width, batch_first=True)
        self.W_o = nn.Conv2d(cfg.width, channels, 1, bias=False)
        nn.init.zeros_(self.W_o.weight)  # starts as the identity, as the 3STU does

    def forward(self, u: Tensor, t: Tensor) -> tuple[Tensor, None]:
        return self.resume(u, t, None)[:2]

    def resume(self, u: Tensor, t: Tensor, before: Memory | None) -> tuple[Tensor, None, Memory]:
        """Run `forward` on frames that follow others, as the 3STU's `resume` does; the state is (B, h, w, D)."""
        B, T, _, h, w = u.shape
        z = self.bn(self.W_in(u.flatten(0, 1))).unflatten(0, (B, T))
        rows = z.permute(0, 3, 4, 1, 2).reshape(B * h * w, T, -1)
        states, last = self.gru(rows, None if before is None else before.states[0].reshape(1, B * h * w, -1))
        maps = states.reshape(B, h, w, T, -1).permute(0, 3, 4, 1, 2)  # (B, T, D, h, w)
        y = u + self.W_o(maps.flatten(0, 1)).unflatten(0, (B, T))
        return y, None, Memory(t[:, -1], [last.reshape(B, h, w, -1)])
