"""Spatial Channel Attention (SCA) on the maps, Temporal Self-Attention (TSA) on the frame tokens.

    y (N, C, h, w) --SCA: channel gate, then spatial gate--> (N, C, h, w) --mean over h, w--> tokens (B, T, C)
    tokens + TSA(LayerNorm(tokens) + position(t)) -> frame embeddings (B, T, C)

SCA has CBAM's form (Woo et al. 2018). TSA is pre-norm multi-head self-attention (Vaswani et al. 2017); its position code is computed from
the frames' times, so T at test may differ from T in training.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hitagu_lib.config import AttentionConfig


class Cache(NamedTuple):
    """The frames that a causal TSA still sees when the next one comes: the last W - 1, zeros where fewer came."""

    keys: Tensor  # (B, heads, W - 1, width / heads)
    values: Tensor  # of the same shape
    t: Tensor  # (B, W - 1), their times since the last frame: none is positive


class SpatialChannelAttention(nn.Module):
    """CBAM: which channels, then where. (N, C, h, w) -> the same, channel gate (N, C), spatial gate (N, h, w).

    A gate that `sca_gates` does not list is left out; None is returned for it. A gate is a sigmoid; with `sca_identity` twice a sigmoid,
    which can close and amplify.

    A fresh gate depends on the map: behind a fresh 3STU its values are large, so random weights open some channels and close others, and
    differently in each frame. With `sca_zero_start` it is half open everywhere: a fresh SCA passes a quarter of the map, with
    `sca_identity` all of it.
    """

    def __init__(self, cfg: AttentionConfig, channels: int) -> None:
        super().__init__()
        self.open = 2.0 if cfg.sca_identity else 1.0  # a gate's largest value
        self.bottleneck = self.conv = None
        if "channel" in cfg.sca_gates:
            hidden = max(4, channels // cfg.sca_reduction)
            first, last = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
            self.bottleneck = nn.Sequential(first, nn.ReLU(), last)
            if cfg.sca_zero_start:
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
        if "spatial" in cfg.sca_gates:
            self.conv = nn.Conv2d(2, 1, cfg.sca_kernel, padding=cfg.sca_kernel // 2, bias=False)
            if cfg.sca_zero_start:
                nn.init.zeros_(self.conv.weight)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        channel = spatial = None
        if self.bottleneck:
            seen = self.bottleneck(y.mean((2, 3))) + self.bottleneck(y.amax((2, 3)))
            channel = self.open * torch.sigmoid(seen)  # (N, C)
            y = y * channel[:, :, None, None]
        if self.conv:
            where = torch.stack([y.mean(1), y.amax(1)], dim=1)  # (N, 2, h, w)
            spatial = self.open * torch.sigmoid(self.conv(where))[:, 0]  # (N, h, w)
            y = y * spatial[:, None]
        return y, channel, spatial


class TemporalSelfAttention(nn.Module):
    """Frames look at frames. tokens (B, T, C), t (B, T) -> (B, T, C).

    Time enters as a code of each frame's own time, or with `tsa_relative` by differences of times alone, head by head:

        score_ij += before_h max(t_i - t_j, 0) + after_h max(t_j - t_i, 0)        a slope a side, in 1 / reference stride

    so that a network trained on short clips meets nothing new in long ones (ALiBi, Press et al. 2022, has one slope, fixed and for the
    past; T5, Raffel et al. 2020, a learned bias for bins of signed distances). The slopes start at 0, so that at first every frame
    counts alike at any distance, and the two sides differ only by what is learned.

    In a causal network a frame sees itself and the `tsa_window` - 1 frames before it, always by differences of times. after_h is then not
    used; it stays, so that TSA's weights fit a network with `tsa_relative`.
    """

    def __init__(self, cfg: AttentionConfig, channels: int, causal: bool = False) -> None:
        super().__init__()
        self.heads = cfg.tsa_heads
        self.window = cfg.tsa_window if causal else None
        relative = cfg.tsa_relative or causal
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * cfg.tsa_width)
        coded = cfg.tsa_position and not relative
        self.position = nn.Linear(cfg.tsa_width, 3 * cfg.tsa_width, bias=False) if coded else None
        self.slopes = nn.Parameter(torch.zeros(2, cfg.tsa_heads)) if cfg.tsa_position and relative else None
        self.out = nn.Linear(cfg.tsa_width, channels)
        nn.init.zeros_(self.out.weight)  # starts as the identity
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor, t: Tensor) -> Tensor:
        q, k, v = self._heads(tokens, t)
        return tokens + self._mixed(q, k, v, self._bias(t, q.dtype))

    def resume(
        self, tokens: Tensor, t: Tensor, before: Cache | None = None, age: Tensor | None = None
    ) -> tuple[Tensor, Cache]:
        """Run `forward`, causal, on frames that follow `age` (B,) others, of which `before` is kept; None: nothing came before.

        t (B, T) counts from the last of those. Also return what to keep. A clip in two pieces gives what the whole clip gives.
        """
        assert self.window is not None
        T, kept = tokens.shape[1], self.window - 1
        q, k, v = self._heads(tokens, t)
        if before is None:
            out = tokens + self._mixed(q, k, v, self._bias(t, q.dtype))
            k, v, t = (F.pad(k, [0, 0, kept, 0]), F.pad(v, [0, 0, kept, 0]), F.pad(t, [kept, 0]))
        else:
            assert age is not None
            k, v = torch.cat([before.keys, k], dim=2), torch.cat([before.values, v], dim=2)
            t = torch.cat([before.t, t], dim=1)
            bias = self._bias(t, q.dtype)
            assert bias is not None
            empty = torch.arange(kept + T, device=t.device) < kept - age[:, None]  # (B, kept + T): no frame came there
            out = tokens + self._mixed(q, k, v, bias[:, :, kept:].masked_fill(empty[:, None, None], -torch.inf))
        return out, Cache(k[:, :, T:], v[:, :, T:], t[:, T:] - t[:, -1:])

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # (B, heads, T, width / heads)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def weights(self, tokens: Tensor, t: Tensor) -> Tensor:
        """Return the attention weights that `forward` uses without forming them: (B, heads, T, T); rows sum to 1."""
        q, k, _ = self._heads(tokens, t)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        bias = self._bias(t, scores.dtype)
        return torch.softmax(scores if bias is None else scores + bias, dim=-1)

    def _bias(self, t: Tensor, dtype: torch.dtype) -> Tensor | None:
        """Return what differences of the times t (B, T) add to the scores, (B, heads, T, T), or -inf where a frame is not seen.

        None if they add nothing.
        """
        bias: Tensor | None = None
        if self.slopes is not None:
            ahead = (t[:, :, None] - t[:, None, :])[:, None]  # (B, 1, T, T), t_i - t_j
            before, after = self.slopes[:, :, None, None]
            bias = (before * ahead.relu() + after * (-ahead).relu()).to(dtype)
        if self.window is not None:
            step = torch.arange(t.shape[1], device=t.device)
            ago = step[:, None] - step  # (T, T), how many frames before i frame j came
            if bias is None:
                bias = torch.zeros(len(t), 1, *ago.shape, dtype=dtype, device=t.device)
            bias = bias.masked_fill((ago < 0) | (ago >= self.window), -torch.inf)
        return bias

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
    # Wavelengths in whole numbers or in bfloat16 would be others.
    t = (t - t[:, :1]).to(torch.promote_types(t.dtype, torch.float32))
    wavelengths = torch.logspace(math.log10(4), math.log10(400), width // 2, device=t.device, dtype=t.dtype)
    angles = 2 * math.pi * t[:, :, None] / wavelengths  # (B, T, width / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
