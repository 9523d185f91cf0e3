"""MDE, Motion Difference Embedding: what changes between neighbouring frames, where, and which way.

    tapped map F^s --W_r, BN--> r (N, R, h_s, w_s)                 per frame: part of encode_frames
                                |
          d+_t = K r_{t+1} - r_t,  d-_t = r_t - K r_{t-1}          how much changes, forwards and backwards
          w^delta_t = (2 radius + 1) softmax_delta(kappa cos(q_t(p), q_{t+1}(p + delta)))    which shift is the best, q = r - mean_p r
                                |
          m = sum over taps of trunk([r ; d+ ; d- ; w])  (N, M, h, w) on the top map's grid
                                |
          e = W_e m,  a = g (2 sigmoid(W_a m) - 1)       (N, C, h, w), with g = E / (E + 0.1), E how much changes at and beside a position
                                |
          F' = F + a * F + e                             (N, C, h, w)

In a causal network (`model.causal: true`) MDE looks back alone, so nothing is delayed: there is no d+, the search is in the previous frame,
and E is the change since then. Before a clip's first frame stands that frame itself, as if nothing had moved.

Our reconstruction. Relatives: TEA's motion excitation (Li et al. 2020), ACTION-Net's ME (Wang et al. 2021), TDN (Wang et al. 2021) for the
differences; MotionSqueeze (Kwon et al. 2020) and the cost volumes of optical flow for the shifts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hitagu_lib.config import GRIDS, MDEConfig

# The motion energy at which the gate is half open. r has unit variance, so a change of 1 is large.
_HALF_ENERGY = 0.1


class FrameReducer(nn.Module):
    """r = BN(W_r F): (N, C_s, h_s, w_s) -> (N, R, h_s, w_s), from each frame alone."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.W_r = nn.Conv2d(channels, reduced, 1, bias=False)
        self.bn = nn.BatchNorm2d(reduced)

    def forward(self, stage_map: Tensor) -> Tensor:
        reduced: Tensor = self.bn(self.W_r(stage_map))
        return reduced


class MotionDifference(nn.Module):
    """d+ and d- of one tap: r (B, T, R, h, w) -> two of the same shape.

    K is a depthwise 3x3 convolution that starts as the identity, so the differences start as plain ones; it can learn to cancel a
    one-cell shift. With `kernel` 1 there is no K, and the differences stay plain.
    """

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.K: nn.Module = nn.Identity()
        if kernel > 1:
            self.K = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
            nn.init.dirac_(self.K.weight, groups=channels)

    def forward(self, r: Tensor) -> tuple[Tensor, Tensor]:
        k = self.K(r.flatten(0, 1)).unflatten(0, r.shape[:2])
        zero = torch.zeros_like(r[:, :1])  # d+ of the last frame, d- of the first
        forward = torch.cat([k[:, 1:] - r[:, :-1], zero], dim=1)
        backward = torch.cat([zero, r[:, 1:] - k[:, :-1]], dim=1)
        return forward, backward

    def since(self, r: Tensor, before: Tensor) -> Tensor:
        """d- alone, with `before` (B, 1, R, h, w) as the frame before the first."""
        earlier = torch.cat([before, r[:, :-1]], dim=1)
        return r - self.K(earlier.flatten(0, 1)).unflatten(0, r.shape[:2])


class ShiftMatch(nn.Module):
    """w of one tap, where each position has moved to in the next frame: r (B, T, R, h, w) -> (B, T, S, h, w), S = (2 radius + 1)^2.

    The frame's mean, which all positions share, is subtracted first; otherwise any two positions would look alike (zero-mean normalised
    cross-correlation). For unit vectors kappa cos(a, b) = kappa - kappa/2 |a - b|^2, so w is a softmin of the squared difference under
    each shift. Shifts run row by row from (-radius, -radius); beyond the map's edge the similarity is 0. The last frame is matched
    with itself. The weights sum to 2 radius + 1, so their root mean square is 1 where one shift wins.
    Given the frame `before` (B, 1, R, h, w), each frame is matched with the previous one instead.
    """

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius = radius
        self.kappa = nn.Parameter(torch.tensor(10.0))

    def forward(self, r: Tensor, before: Tensor | None = None) -> Tensor:
        B, T, _, h, w = r.shape
        if before is not None:
            r = torch.cat([before, r], dim=1)
        side = 2 * self.radius + 1
        # r has unit variance; a vector shorter than eps is rounding noise on a uniform area and must not be amplified.
        now = F.normalize(r - r.mean((3, 4), keepdim=True), dim=2, eps=1e-3).movedim(2, -1)  # (B, T, h, w, R)
        if before is None:
            other = torch.cat([now[:, 1:], now[:, -1:]], dim=1)
        else:
            now, other = now[:, 1:], now[:, :-1]
        other = F.pad(other, [0, 0, *[self.radius] * 4])
        # One row against another is a matrix product, of which only a band is needed: far faster than one product per shift.
        band = torch.arange(w, device=r.device)[:, None] + torch.arange(side, device=r.device)  # (w, side)
        band = band.expand(B, T, h, w, side)
        rows = [(now @ other[:, :, i : i + h].mT).gather(-1, band) for i in range(side)]
        cosine = torch.cat(rows, dim=-1)  # (B, T, h, w, S)
        return (side * torch.softmax(self.kappa * cosine, dim=-1)).movedim(-1, 2)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm around a shortcut, as in ResNet-18: (N, C, h, w) -> (N, C', h / stride, w / stride)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if channels_in != channels_out or stride != 1:
            convolution = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class MotionTrunk(nn.Module):
    """[r ; d+ ; d- ; w] of one tap -> m (N, M, h, w), striding down to the top map's grid.

    The convolutions matter: the direction of a turn shows only in a neighbourhood of differences.
    With `trunk_blocks` 0 there are none: each position is projected by itself, then averaged down to the grid.
    """

    def __init__(self, cfg: MDEConfig, halvings: int, causal: bool = False) -> None:
        super().__init__()
        self.reads = [name for name in cfg.reads if not (causal and name == "forward")]
        differs = bool({"forward", "backward"} & set(self.reads))
        self.difference = MotionDifference(cfg.reduced, cfg.difference_kernel) if differs else None
        self.match = ShiftMatch(cfg.shift_radius) if cfg.shift_radius else None
        channels = len(self.reads) * cfg.reduced + ((2 * cfg.shift_radius + 1) ** 2 if self.match else 0)
        strides = [2] * halvings + [1] * max(0, cfg.trunk_blocks - halvings)
        widths = [channels] + [cfg.width] * (len(strides) - 1)
        self.blocks = (
            nn.Sequential(*(ResidualBlock(c, cfg.width, s) for c, s in zip(widths, strides, strict=True)))
            if cfg.trunk_blocks
            else nn.Sequential(
                nn.Conv2d(channels, cfg.width, 1, bias=False),
                nn.BatchNorm2d(cfg.width),
                nn.ReLU(),
                nn.AvgPool2d(2**halvings, ceil_mode=True),  # rounds up, as strided convolutions do
            )
        )

    def forward(self, r: Tensor, num_frames: int, before: Tensor | None = None) -> Tensor:
        r = r.unflatten(0, (-1, num_frames))  # (B, T, R, h_s, w_s)
        parts = {"map": r}
        if self.difference and before is not None:
            parts["backward"] = self.difference.since(r, before)
        elif self.difference:
            parts["forward"], parts["backward"] = self.difference(r)
        read = [parts[name] for name in self.reads]
        if self.match:
            read.append(self.match(r, before))
        m: Tensor = self.blocks(torch.cat(read, dim=2).flatten(0, 1))
        return m


def motion_energy(r: Tensor, halvings: int, before: Tensor | None = None) -> Tensor:
    """E of one tap, how much changes at and beside each position: r (B, T, R, h, w) -> (B T, 1, h', w') on the top map's grid.

    It is the squared plain difference to the next frame plus that from the previous one, mean over channels, then the maximum over 3 x 3
    positions, then the mean over the grid's `halvings`. It is exactly 0 where nothing changes, whatever the network has learned.
    Given the frame `before` (B, 1, R, h, w), only the difference from the previous frame counts.
    """
    change = torch.diff(r, dim=1, prepend=before).square().mean(2)  # (B, T - 1, h, w), with `before` (B, T, h, w)
    energy = change
    if before is None:
        zero = torch.zeros_like(r[:, :1, 0])
        energy = torch.cat([change, zero], dim=1) + torch.cat([zero, change], dim=1)
    return F.avg_pool2d(F.max_pool2d(energy.flatten(0, 1)[:, None], 3, 1, 1), 2**halvings, ceil_mode=True)


class MDE(nn.Module):
    """Motion Difference Embedding on the top map, from reduced maps of the tapped stages.

    `reducers` belong to the per-frame half, `forward` to the temporal half.
    """

    def __init__(self, cfg: MDEConfig, channels: dict[str, int], cut: str, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.taps: Sequence[str] = cfg.taps
        self.reducers = nn.ModuleList(FrameReducer(channels[stage], cfg.reduced) for stage in cfg.taps)
        self.halvings = [GRIDS[cut] - GRIDS[stage] for stage in cfg.taps]
        self.trunks = nn.ModuleList(MotionTrunk(cfg, halvings, causal) for halvings in self.halvings)
        self.W_e = _zero_projection(cfg.width, channels[cut]) if cfg.embedding else None
        self.W_a = _zero_projection(cfg.width, channels[cut]) if cfg.gate else None

    def reduce(self, maps: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """The per-frame part: {stage: (N, C_s, h_s, w_s)} -> one (N, R, h_s, w_s) for each tap."""
        return tuple(reducer(maps[stage]) for stage, reducer in zip(self.taps, self.reducers, strict=True))

    def forward(
        self, top: Tensor, reduced: Sequence[Tensor], num_frames: int, before: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """top (N, C, h, w), reduced as from `reduce`, N = B T -> F' (N, C, h, w), gate a (N, C, h, w) in (-1, 1) if any.

        before: in a causal network, the reduced maps of the frame before each clip, (B, R, h_s, w_s) for each tap; None: the first frame's.
        """
        maps = [r.unflatten(0, (-1, num_frames)) for r in reduced]  # (B, T, R, h_s, w_s)
        earlier: list[Tensor | None] = [None] * len(maps)
        if self.causal:
            earlier = [r[:, :1] for r in maps] if before is None else [r[:, None] for r in before]
        taps = zip(self.trunks, reduced, earlier, strict=True)
        m = torch.stack([trunk(r, num_frames, b) for trunk, r, b in taps]).sum(0)
        out, gate = top, None
        if self.W_a:
            energies = [motion_energy(r, h, b) for r, h, b in zip(maps, self.halvings, earlier, strict=True)]
            energy = torch.stack(energies).sum(0)  # (N, 1, h, w)
            # tanh(x / 2) = 2 sigmoid(x) - 1
            gate = energy / (energy + _HALF_ENERGY) * torch.tanh(self.W_a(m) / 2)
            out = out + gate * top
        if self.W_e:
            out = out + self.W_e(m)
        return out, gate


def _zero_projection(width: int, channels: int) -> nn.Conv2d:
    """Return a 1x1 convolution of zeros: MDE starts as the identity and leaves pretrained features intact."""
    projection = nn.Conv2d(width, channels, 1, bias=False)
    nn.init.zeros_(projection.weight)
    return projection
