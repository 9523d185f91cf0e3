"""HiTAGU-Net, the whole network.

    x (B, T, 3, H, W)
      | encode_frames, each frame alone:  truncated ResNet -> top map F, reduced maps r
      | temporal_head:  MDE -> 3STU -> SCA -> mean over positions -> TSA -> what `model.readout` says -> linear
    logits (B, num_classes)

The pipeline and the modules' names were given; the equations are our reconstruction (chapters 02a to 02e).
"""

from __future__ import annotations

import torch
from torch import Tensor

from hitagu_lib.config import ModelConfig
from hitagu_lib.errors import ConfigError
from hitagu_lib.models.attention import Cache, SpatialChannelAttention, TemporalSelfAttention
from hitagu_lib.models.backbone import TruncatedResNet
from hitagu_lib.models.baselines import PositionGRU
from hitagu_lib.models.clip_model import ClipMaps, ClipModel, FrameFeatures, State, evaluating
from hitagu_lib.models.head import ClassifierHead
from hitagu_lib.models.mde import MDE
from hitagu_lib.models.stu import Memory, ThreeStateTemporalUnit


class HiTAGUNet(ClipModel):
    """Each module has a switch; a module that is off is left out, and the rest stays wired as before."""

    def __init__(self, cfg: ModelConfig, num_classes: int) -> None:
        super().__init__()
        self.causal = cfg.causal
        self.backbone = TruncatedResNet(cfg.backbone)
        channels = self.width = self.backbone.channels[cfg.backbone.cut]
        self.mde = MDE(cfg.mde, self.backbone.channels, cfg.backbone.cut, cfg.causal) if cfg.mde.enabled else None
        unit = PositionGRU if cfg.stu.gru else ThreeStateTemporalUnit
        self.stu = unit(cfg.stu, channels) if cfg.stu.enabled else None
        self.sca = SpatialChannelAttention(cfg.attention, channels) if cfg.attention.sca else None
        self.tsa = TemporalSelfAttention(cfg.attention, channels, cfg.causal) if cfg.attention.tsa else None
        self.head = ClassifierHead(channels, num_classes, cfg.dropout, cfg.readout)

    def encode_frames(self, frames: Tensor) -> FrameFeatures:
        maps = self.backbone(frames)
        return FrameFeatures(maps[self.backbone.cut], self.mde.reduce(maps) if self.mde else ())

    def resume_head(
        self, features: FrameFeatures, t: Tensor, before: State | None, return_maps: bool = False
    ) -> tuple[Tensor, ClipMaps, State]:
        B, T = t.shape
        state: State = {}
        y = features.top  # (B T, C, h, w)
        gate = mix = channel = spatial = None
        if self.mde:
            y, gate = self.mde(y, features.reduced, T, self._frame_before(features, T, before))
            state |= {f"mde.{i}": r.unflatten(0, (B, T))[:, -1] for i, r in enumerate(features.reduced)}
        if self.stu:
            y = y.unflatten(0, (B, T))
            if self.causal:
                kept = None if before is None else Memory(t.new_zeros(B), _parts(before, "stu."))
                y, mix, memory = self.stu.resume(y, t, kept)
                state |= {f"stu.{k}": h for k, h in enumerate(memory.states)}
            else:
                y, mix = self.stu(y, t)
            y = y.flatten(0, 1)
        held = y.mean((2, 3)).unflatten(0, (B, T)) if self.head.readout == "memory" else None
        if self.sca:
            y, channel, spatial = self.sca(y)
        tokens = y.mean((2, 3)).unflatten(0, (B, T))  # (B, T, C)
        embeddings = tokens
        if self.tsa and self.causal:
            kept_tokens, age = (None, None) if before is None else (Cache(*_parts(before, "tsa.")), before["age"])
            embeddings, cache = self.tsa.resume(tokens, t, kept_tokens, age)
            state |= {f"tsa.{name}": part for name, part in cache._asdict().items()}
        elif self.tsa:
            embeddings = self.tsa(tokens, t)
        logits, maps, read = self._read(embeddings, before, held)
        if return_maps:
            maps.motion_gate = None if gate is None else gate.abs().mean(1).unflatten(0, (B, T))
            maps.state_mix = None if mix is None else mix.mean(3)
            maps.channel_gate = None if channel is None else channel.unflatten(0, (B, T))
            maps.spatial_map = None if spatial is None else spatial.unflatten(0, (B, T))
            maps.temporal_attention = self.tsa.weights(tokens, t) if self.tsa else None
        return logits, maps, read | state if self.causal else {}

    def _frame_before(self, features: FrameFeatures, num_frames: int, before: State | None) -> list[Tensor] | None:
        """Return the reduced maps (B, R, h_s, w_s) of the frame before; where none came before, of the first frame itself."""
        if before is None:
            return None
        first = before["age"][:, None, None, None] == 0
        reduced = [r.unflatten(0, (-1, num_frames))[:, 0] for r in features.reduced]
        return [torch.where(first, r, last) for r, last in zip(reduced, _parts(before, "mde."), strict=True)]

    @torch.no_grad()
    def states(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the 3STU reads and remembers of clips x (B, T, 3, H, W) at times t (B, T).

        Its input u (B, T, C, h, w), and every level's state after each frame (B, T, K, D, h, w). Raises ConfigError without a 3STU.
        """
        if not isinstance(self.stu, ThreeStateTemporalUnit):
            raise ConfigError(
                "model.stu: found enabled: false, or gru: true; expected a network with a 3STU, which alone has states"
            )
        with evaluating(self):  # BatchNorm must not learn from a look
            features = self.encode_frames(x.flatten(0, 1))
            top = self.mde(features.top, features.reduced, t.shape[1])[0] if self.mde else features.top
            u = top.unflatten(0, tuple(t.shape))
            return u, self.stu.trace(u, t)


def _parts(state: State, module: str) -> list[Tensor]:
    """Return a module's parts of the state, in the order in which it put them there."""
    return [part for name, part in state.items() if name.startswith(module)]
