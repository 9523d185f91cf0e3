"""3STU, Three-State Temporal Unit: a short, a mid and a long memory at every position.

    u (B, T, C, h, w) --W_in, BN--> z (B, T, D, h, w)
        level 1:  c1 = tanh(V_1 z),   h1_t = f1 h1_{t-1} + (1 - f1) c1        f1 in the fast band
        level 2:  c2 = tanh(V_2 h1),  h2_t = f2 h2_{t-1} + (1 - f2) c2        f2 in the middle band
        level 3:  c3 = tanh(V_3 h2),  h3_t = f3 h3_{t-1} + (1 - f3) c3        f3 in the slow band
    y = u + W_o (s1 h1 + s2 h2 + s3 h3),   (s1, s2, s3) = softmax(W_s z)

Our reconstruction. Relatives: minGRU (Feng et al. 2024), HGRN (Qin et al. 2023), GRU-D (Che et al. 2018), T-LSTM (Baytas et al. 2017).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hitagu_lib.config import STUConfig

# Upper edges of the fast, middle and slow band at the start, evenly spread half-lives: 1, 4 and 16 steps.
_EDGES = (0.5, 0.84, 0.96)
_LOG_FLOOR = 1e-20  # added to a forget gate before its logarithm is taken


class ThreeStateTemporalUnit(nn.Module):
    """Three gated memories; weights shared over positions. See the module's drawing."""

    def __init__(self, cfg: STUConfig, channels: int) -> None:
        super().__init__()
        D, K = cfg.width, cfg.states
        self.states, self.bands, self.elapsed_time = K, cfg.bands, cfg.elapsed_time
        self.W_in = nn.Conv2d(channels, D, 1, bias=False)
        self.bn = nn.BatchNorm2d(D)
        self.W_f = nn.Conv2d(D, K * D, 1)
        self.W_s = nn.Conv2d(D, K * D, 1)
        self.V = nn.ModuleList(nn.Conv2d(D, D, 1) for _ in range(K))
        self.W_o = nn.Conv2d(D, channels, 1, bias=False)
        widths = torch.diff(torch.tensor([0.0, *_EDGES[:K], 1.0]))
        self.gamma = nn.Parameter(widths.log()[:, None].repeat(1, D))  # (K + 1, D)
        nn.init.zeros_(self.W_o.weight)  # starts as the identity

    def band_edges(self) -> Tensor:
        """a_0 .. a_K (K + 1, D): level k forgets at a rate between a_{k-1} and a_k."""
        edges = torch.cumsum(torch.softmax(self.gamma, dim=0), dim=0)[: self.states]
        return torch.cat([torch.zeros_like(edges[:1]), edges])

    def forget_gates(self, z: Tensor, dt: Tensor) -> Tensor:
        """z (B, T, D, h, w), dt (B, T) elapsed reference strides -> f (B, T, K, D, h, w) in (0, 1)."""
        B, T, D, h, w = z.shape
        f = torch.sigmoid(self.W_f(z.flatten(0, 1))).reshape(B, T, self.states, D, h, w)
        if self.bands:
            a = self.band_edges()[:, :, None, None]  # (K + 1, D, 1, 1)
            f = a[:-1] + (a[1:] - a[:-1]) * f
        if self.elapsed_time:
            # f ** dt by logarithm; the floor keeps the gradient finite where a gate has underflowed to 0.
            f = torch.exp(dt[:, :, None, None, None, None] * torch.log(f.clamp_min(torch.finfo(f.dtype).tiny)))
        return f

    def forward(self, u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """u (B, T, C, h, w), t (B, T) in reference strides -> y (B, T, C, h, w), state mix s (B, T, K, D, h, w)."""
        B, T, _, h, w = u.shape
        z = self.bn(self.W_in(u.flatten(0, 1)))  # (B T, D, h, w)
        s = torch.softmax(self.W_s(z).reshape(B, T, self.states, -1, h, w), dim=2)
        dt = torch.cat([torch.ones_like(t[:, :1]), torch.diff(t, dim=1)], dim=1)
        gates = self.forget_gates(z.reshape(B, T, -1, h, w), dt)
        level, read = z, torch.zeros_like(z).reshape(B, T, -1, h, w)
        # unbind rather than an index a level: its gradient is one stack, not a sum of mostly empty tensors
        for V, f, share in zip(self.V, gates.unbind(2), s.unbind(2), strict=True):
            c = torch.tanh(V(level)).reshape(B, T, -1, h, w)
            state = recur_loop(f, (1 - f) * c)
            read = read + share * state
            level = state.flatten(0, 1)
        return u + self.W_o(read.flatten(0, 1)).reshape(u.shape), s


def recur_loop(f: Tensor, x: Tensor) -> Tensor:
    """(2c.6) h_t = f_t h_{t-1} + x_t along dimension 1, h_0 = 0, step by step. f, x and the result are (B, T, ...).

    The reference of the three forms: T steps one after the other, no extra memory.
    """
    state, states = torch.zeros_like(x[:, 0]), []
    for f_t, x_t in zip(f.unbind(1), x.unbind(1), strict=True):
        state = f_t * state + x_t
        states.append(state)
    return torch.stack(states, dim=1)


def recur_closed(f: Tensor, x: Tensor) -> Tensor:
    """(2c.10) The same as one product with a lower-triangular matrix: h_t = sum_{i <= t} exp(L_t - L_i) x_i, L = cumsum(log f).

    T times the memory of x. L_t - L_i is summed from i + 1 to t anew for each i: a difference of two long sums would lose digits to
    cancellation and be inf - inf where gates are 0.
    """
    T = f.shape[1]
    # The floor stands in for f = 0: far below what a sum can show, and far enough above the smallest float that 1 / floor, which the
    # gradient of the logarithm is there, times its own products is exact too.
    log_f = torch.log(f + _LOG_FLOOR)
    steps = log_f[:, :, None].expand(-1, -1, T, *f.shape[2:])  # (B, t, i, ...)
    shape = (T, T, *[1] * (f.ndim - 2))
    below = torch.ones(T, T, dtype=torch.bool, device=f.device).tril(-1).reshape(shape)  # i < t
    span = torch.cumsum(steps.masked_fill(~below, 0), dim=1)  # L_t - L_i for i <= t
    above = torch.ones(T, T, dtype=torch.bool, device=f.device).triu(1).reshape(shape)  # i > t: masked before exp
    decay = torch.exp(span.masked_fill(above, -torch.inf))
    return (decay * x[:, None]).sum(2)


def recur_scan(f: Tensor, x: Tensor) -> Tensor:
    """(2c.11) The same as an associative scan: (f, x) o (f', x') = (f f', f' x + x'), in ceil(log2 T) doublings.

    Hillis and Steele (1986). After the step of d, (f_t, x_t) spans the 2d steps that end at t.
    """
    d, T = 1, f.shape[1]
    while d < T:
        x = torch.cat([x[:, :d], torch.addcmul(x[:, d:], f[:, d:], x[:, :-d])], dim=1)
        f = torch.cat([f[:, :d], f[:, d:] * f[:, :-d]], dim=1)
        d *= 2
    return x


def half_life(f: Tensor) -> Tensor:
    """(2c.9) ln(1/2) / ln f: the steps after which a forget gate f in (0, 1) has halved what a state holds."""
    return -math.log(2) / torch.log(f)
