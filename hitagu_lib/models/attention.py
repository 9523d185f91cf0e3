"""Spatial Channel Attention (SCA) on the maps, Temporal Self-Attention (TSA) on the frame tokens.

    y (N, C, h, w) --SCA: channel gate, then spatial gate--> (N, C, h, w) --mean over h, w--> tokens (B, T, C)
    tokens + TSA(LayerNorm(tokens) + position(t)) -> frame embeddings (B, T, C)

SCA has CBAM's form (Woo et al. 2018). TSA is pre-norm multi-head self-attention (Vaswani et al. 2017); its position code is computed from
the frames' times, so T at test may differ from T in training.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hitagu_lib.config import AttentionConfig


class SpatialChannelAttention(nn.Module):
    """CBAM: which channels, then where. (N, C, h, w) -> the same, channel gate (N, C), spatial gate (N, h, w).

    A gate that `sca_gates` does not list is left out; None is returned for it.
    """

    def __init__(self, cfg: AttentionConfig, channels: int) -> None:
        super().__init__()
        self.bottleneck = self.conv = None
        if "channel" in cfg.sca_gates:
            hidden = max(4, channels // cfg.sca_reduction)
            self.bottleneck = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        if "spatial" in cfg.sca_gates:
            self.conv = nn.Conv2d(2, 1, cfg.sca_kernel, padding=cfg.sca_kernel // 2, bias=False)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        channel = spatial = None
        if self.bottleneck:
            channel = torch.sigmoid(self.bottleneck(y.mean((2, 3))) + self.bottleneck(y.amax((2, 3))))  # (N, C)
            y = y * channel[:, :, None, None]
        if self.conv:
            where = torch.stack([y.mean(1), y.amax(1)], dim=1)  # (N, 2, h, w)
            spatial = torch.sigmoid(self.conv(where))[:, 0]  # (N, h, w)
            y = y * spatial[:, None]
        return y, channel, spatial


class TemporalSelfAttention(nn.Module):
    """Frames look at frames. tokens (B, T, C), t (B, T) -> (B, T, C)."""

    def __init__(self, cfg: AttentionConfig, channels: int) -> None:
        super().__init__()
        self.heads = cfg.tsa_heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * cfg.tsa_width)
        self.position = nn.Linear(cfg.tsa_width, 3 * cfg.tsa_width, bias=False) if cfg.tsa_position else None
        self.out = nn.Linear(cfg.tsa_width, channels)
        nn.init.zeros_(self.out.weight)  # starts as the identity
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor, t: Tensor) -> Tensor:
        q, k, v = self._heads(tokens, t)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, T, width / heads)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + out

    def weights(self, tokens: Tensor, t: Tensor) -> Tensor:
        """Return the attention weights that `forward` uses without forming them: (B, heads, T, T); rows sum to 1."""
        q, k, _ = self._heads(tokens, t)
        return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)

    def _heads(self, tokens: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B, T, _ = tokens.shape
        qkv = self.qkv(self.norm(tokens))
        if self.position:
            qkv = qkv + self.position(sinusoids(t, self.position.in_features).to(tokens.dtype))
        q, k, v = qkv.reshape(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (B, heads, T, width / heads)
        return q, k, v


def sinusoids(t: Tensor, width: int) -> Tensor:
    """Return the position code of real-valued times: (B, T) -> (B, T, width), sines then cosines.

    Times count from the clip's first frame. Wavelengths run from 4 to 400 reference strides: half of the sinusoids of Vaswani et al.
    would be almost constant within a clip of 8 frames.
    """
    t = t - t[:, :1]
    wavelengths = torch.logspace(math.log10(4), math.log10(400), width // 2, device=t.device, dtype=t.dtype)
    angles = 2 * math.pi * t[:, :, None] / wavelengths  # (B, T, width / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
