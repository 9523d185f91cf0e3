"""3STU, Three-State Temporal Unit: three gated memories at every position, which hear what the frame as a whole holds.

    u (B, T, C, h, w) --W_in, BN--> z = h^0 (B, T, D, h, w)
        level k = 1, 2, 3:
            m   = max over positions of h^{k-1}          one event among many positions survives it; k > 1
            f   = sigmoid(W_k z + G_k m + b_k)           1 holds, 0 overwrites; half-lives start at 1, 8.8 and 103 steps
            c   = tanh(V_k h^{k-1} + H_k m)
            h^k_t = f h^k_{t-1} + (1 - f) c
    y = u + W_o (s1 h^1 + s2 h^2 + s3 h^3),   (s1, s2, s3) = softmax(W_s z)

A memory at each position knows what was where, which a mean over positions loses; through m it also knows what happened elsewhere.

The form of the older published runs is `whole_frame: true, bands: true, broadcast: none`: a short memory at each position, a mid and a long
one for the whole frame, fed by the mean of the level below, and each gate in a learned band of its own.

Our reconstruction. Relatives: minGRU (Feng et al. 2024), HGRN (Qin et al. 2023), GRU-D (Che et al. 2018), T-LSTM (Baytas et al. 2017).
Numbers in brackets are the equations of chapter 02c.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hitagu_lib.config import STUConfig

# Upper edges of the fast, middle and slow band before training; their half-lives are 1, 4 and 17 steps.
_EDGES = (0.5, 0.84, 0.96)
# A gamma is held within this distance of its channel's largest, so no band is narrower than e^-10 / 4.
_GAMMA_SPAN = 10.0
_FREE_BIASES = (0.0, 2.5, 5.0)  # where free gates start: half-lives of 1, 8.8 and 103 steps
_LOG_FLOOR = 1e-20  # added to a forget gate before its logarithm is taken


class Memory(NamedTuple):
    """What a unit keeps between two frames: their size does not depend on how many came before."""

    t: Tensor  # (B,), the time of the last frame
    states: list[Tensor]  # of each level, (B, h, w, D), of a level of the whole frame (B, 1, 1, D)


class ThreeStateTemporalUnit(nn.Module):
    """Three gated memories; weights shared over positions. See the module's drawing.

    Inside, channels come last, (B, T, h, w, D): every projection is then one matrix product over all positions and frames, and every step
    of the recurrence reads whole rows. Gates, states and the mix are at least float32, even under autocast: bfloat16 has no number
    between 0.996 and 1, so a slow gate would round to one that never forgets.
    """

    def __init__(self, cfg: STUConfig, channels: int) -> None:
        super().__init__()
        D, K = cfg.width, cfg.states
        self.states, self.bands, self.elapsed_time = K, cfg.bands, cfg.elapsed_time
        self.whole_frame = cfg.whole_frame
        # "auto" is the loop: the fastest on a CPU by measurement (benchmarks/stu.py, outputs/published/stu/cpu). CUDA is not measured yet;
        # the loop is used there too, because it needs the least memory and is the reference for the other two.
        self.recur = {"auto": recur_loop, "loop": recur_loop, "closed": recur_closed, "scan": recur_scan}[cfg.form]
        self.W_in = nn.Conv2d(channels, D, 1, bias=False)
        self.bn = nn.BatchNorm2d(D)
        self.W_f = nn.Conv2d(D, K * D, 1)
        self.W_s = nn.Conv2d(D, K * D, 1)
        self.V = nn.ModuleList(nn.Conv2d(D, D, 1) for _ in range(K))
        self.W_o = nn.Conv2d(D, channels, 1, bias=False)
        if cfg.bands:
            widths = torch.diff(torch.tensor([0.0, *_EDGES[:K], 1.0]))
            self.gamma = nn.Parameter(widths.log()[:, None].repeat(1, D))  # (K + 1, D)
        else:
            assert self.W_f.bias is not None
            with torch.no_grad():
                self.W_f.bias.copy_(torch.tensor(_FREE_BIASES[:K]).repeat_interleave(D))
        nn.init.zeros_(self.W_o.weight)  # starts as the identity
        # What a level's gate and candidate hear of the frame, one level down. The first level hears nothing.
        self.broadcast = {"none": None, "mean": torch.mean, "max": torch.amax}[cfg.broadcast or "max"]
        heard = K - 1 if self.broadcast else 0
        self.G = nn.ModuleList(nn.Conv2d(D, D, 1, bias=False) for _ in range(heard))
        self.H = nn.ModuleList(nn.Conv2d(D, D, 1, bias=False) for _ in range(heard))
        # An ablation: gates that also see their own state, as a GRU's do, and so can only run step by step.
        self.U = nn.ModuleList(nn.Conv2d(D, D, 1, bias=False) for _ in range(K)) if cfg.gates_see_state else None

    def band_edges(self) -> Tensor:
        """(2c.12) a_0 .. a_K (K + 1, D): level k forgets at a rate between a_{k-1} and a_k."""
        gamma = self.gamma.to(_at_least_float32(self.gamma))  # half precision would round edges onto one another
        gamma = torch.maximum(gamma, gamma.amax(0) - _GAMMA_SPAN)
        edges = torch.cumsum(torch.softmax(gamma, dim=0), dim=0)[: self.states]
        return torch.cat([torch.zeros_like(edges[:1]), edges])

    def forget_gates(self, z: Tensor, dt: Tensor) -> Tensor:
        """(2c.5, 2c.6, 2c.13) z (B, T, D, h, w), dt (B, T) elapsed reference strides -> f (B, T, K, D, h, w) in [0, 1].

        Gates of a whole-frame level see z's mean over positions and are repeated at every position. Free gates may reach 0 and 1. With
        bands and dt = 1, 0 < f^1 < f^2 < f^3 < 1 holds strictly, even in floating point and for any weights. For other dt > 0
        the order stays, and is strict unless f^dt rounds to 0 or 1. Raises RuntimeError with `gates_see_state`: such gates have no
        value apart from the state.
        """
        if self.U is not None:
            raise RuntimeError("with gates_see_state the gates depend on the states: they exist only inside forward")
        z = z.permute(0, 1, 3, 4, 2)
        gates = [f.expand_as(z) for f, _ in self._levels(z, dt, None) if f is not None]
        return torch.stack(gates, dim=2).permute(0, 1, 2, 5, 3, 4)

    def forward(self, u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """u (B, T, C, h, w), t (B, T) in reference strides -> y (B, T, C, h, w), state mix s (B, T, K, D, h, w)."""
        y, s, _ = self.resume(u, t, None)
        return y, s

    def resume(self, u: Tensor, t: Tensor, before: Memory | None) -> tuple[Tensor, Tensor, Memory]:
        """Run `forward` on frames that follow others, which left the memory as `before`; None: nothing came before.

        Also return the memory after the last frame. A clip in two pieces gives what the whole clip gives.
        """
        z, dt = self._inputs(u, t, before)
        read, s, states = self._remember(z, dt, None if before is None else before.states)
        read = read.to(z.dtype).flatten(0, 1).permute(0, 3, 1, 2)  # (B T, D, h, w)
        if not u.flatten(0, 1).is_contiguous(memory_format=torch.channels_last):
            read = read.contiguous()  # W_o's result then has u's memory layout, and the sum is not strided
        y = u + self.W_o(read).unflatten(0, u.shape[:2])
        return y, s.permute(0, 1, 4, 5, 2, 3), Memory(t[:, -1], states)

    def trace(self, u: Tensor, t: Tensor) -> Tensor:
        """Return every level's state after each frame of `forward`'s inputs: (B, T, K, D, h, w).

        A state of the whole frame is repeated at each position.
        """
        z, dt = self._inputs(u, t, None)
        states = [state.expand(*z.shape[:-1], -1) for _, state in self._levels(z, dt, None)]
        return torch.stack(states, dim=2).permute(0, 1, 2, 5, 3, 4)

    def _inputs(self, u: Tensor, t: Tensor, before: Memory | None) -> tuple[Tensor, Tensor]:
        """Return z (B, T, h, w, D) and the elapsed times dt (B, T)."""
        frames = self.bn(self.W_in(u.flatten(0, 1)))  # (B T, D, h, w), (2c.3)
        z = frames.permute(0, 2, 3, 1).contiguous().unflatten(0, u.shape[:2])  # (B, T, h, w, D)
        first = torch.ones_like(t[:, :1]) if before is None else t[:, :1] - before.t[:, None]
        return z, torch.cat([first, torch.diff(t, dim=1)], dim=1)

    def memory(self, z: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
        """The unit between W_in and W_o: z (B, T, h, w, D), dt (B, T) -> sum_k s^k h^k (B, T, h, w, D), s (B, T, h, w, K, D)."""
        read, s, _ = self._remember(z, dt, None)
        return read, s

    def _remember(self, z: Tensor, dt: Tensor, before: Sequence[Tensor] | None) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Run `memory` from the states before the first frame; also return those after the last."""
        scores = _linear(z, self.W_s).unflatten(-1, (self.states, -1))
        s = torch.softmax(scores, dim=-2, dtype=_at_least_float32(z))  # (2c.8)
        read: Tensor | None = None
        last = []
        for share, (_, state) in zip(s.unbind(-2), self._levels(z, dt, before), strict=True):
            read = share * state if read is None else torch.addcmul(read, share, state)  # (2c.9)
            last.append(state[:, -1])
        assert read is not None
        return read, s, last

    def _levels(self, z: Tensor, dt: Tensor, before: Sequence[Tensor] | None) -> Iterator[tuple[Tensor | None, Tensor]]:
        """Yield each level's forget gates (None where they see the state) and its states, from the first level up."""
        steps, bands, below = self._steps(dt, z), self._bands(z), z
        for k, (pre, V) in enumerate(zip(self._gate_inputs(z), self.V, strict=True)):
            candidate = _linear(below, V)
            if k and self.broadcast is not None:
                frame = self.broadcast(below, (2, 3), keepdim=True)  # m (B, T, 1, 1, D), (2c.4)
                pre, candidate = pre + _linear(frame, self.G[k - 1]), candidate + _linear(frame, self.H[k - 1])
            c = torch.tanh(candidate)  # (2c.7)
            f, state = self._level(k, pre, c, steps, bands, None if before is None else before[k])
            yield f, state
            below = self._summary(state, k).to(z.dtype)

    def _summary(self, x: Tensor, k: int) -> Tensor:
        """Return what the level above level k (from 0) sees of x (B, T, h, w, D): its mean over positions, (B, T, 1, 1, D), or x itself."""
        return x.mean((2, 3), keepdim=True) if self.whole_frame and k == 0 else x

    def _level(
        self, k: int, pre: Tensor, c: Tensor, dt: Tensor | None, bands: Tensor | None, before: Tensor | None
    ) -> tuple[Tensor | None, Tensor]:
        """(2c.1) Return gates and states of one level from its gate's input and its candidates.

        Both inputs are (B, T, h, w, D) or (B, T, 1, 1, D). The gates are None where they see the state.
        """
        if self.U is None:
            f = self._gate(pre, k, dt, bands)
            new = (1 - f) * c
            if before is not None:  # h_0 enters as part of the first frame's input
                new = torch.cat([torch.addcmul(new[:, :1], f[:, :1], before[:, None]), new[:, 1:]], dim=1)
            return f, self.recur(f, new)
        U, states = self.U[k], []
        state = torch.zeros_like(c[:, 0], dtype=_at_least_float32(c)) if before is None else before
        for i in range(c.shape[1]):
            seen = pre[:, i] + _linear(state.to(c.dtype), U)
            f = self._gate(seen, k, None if dt is None else dt[:, i], bands)
            state = f * state + (1 - f) * c[:, i]
            states.append(state)
        return None, torch.stack(states, dim=1)

    def _gate_inputs(self, z: Tensor) -> list[Tensor]:
        """Return W_k z for each level, (B, T, h, w, D), or (B, T, 1, 1, D) for whole-frame levels.

        One product per level, so that each result is contiguous.
        """
        assert self.W_f.bias is not None
        weights, biases = self.W_f.weight.flatten(1).chunk(self.states), self.W_f.bias.chunk(self.states)
        seen = [z] + [self._summary(z, 0)] * (self.states - 1)
        return [F.linear(x, weight, bias) for x, weight, bias in zip(seen, weights, biases, strict=True)]

    def _gate(self, pre: Tensor, k: int, dt: Tensor | None, bands: Tensor | None) -> Tensor:
        """(2c.5, 2c.6) Return level k's forget gate from its input (..., D)."""
        f = torch.sigmoid(pre.to(_at_least_float32(pre)))
        if bands is not None:
            lower, upper = bands[:, k]
            f = torch.addcmul(lower, upper - lower, f)  # (2c.13)
        else:
            f = f.clamp_min(torch.finfo(f.dtype).tiny)  # keeps the logarithm and its gradient finite
        return f if dt is None else torch.exp(dt * torch.log(f))  # f ** dt

    def _bands(self, z: Tensor) -> Tensor | None:
        """Return (2, K, D): the ends of each level's gate, a few roundings inside the band's edges, so that the bands stay apart."""
        if not self.bands:
            return None
        a = self.band_edges().to(_at_least_float32(z))
        limits = torch.finfo(a.dtype)
        return torch.stack([torch.cat([a[:1] + limits.tiny, a[1:-1] + 4 * limits.eps]), a[1:] - 4 * limits.eps])

    def _steps(self, dt: Tensor, z: Tensor) -> Tensor | None:
        """dt (B, T) -> (B, T, 1, 1, 1), or None if elapsed time is ignored."""
        return dt.to(_at_least_float32(z))[:, :, None, None, None] if self.elapsed_time else None


def _linear(x: Tensor, conv: nn.Module) -> Tensor:
    """Apply a 1x1 convolution over the last dimension: (..., C_in) -> (..., C_out)."""
    assert isinstance(conv, nn.Conv2d)
    return F.linear(x, conv.weight.flatten(1), conv.bias)


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def recur_loop(f: Tensor, x: Tensor) -> Tensor:
    """(2c.1) h_t = f_t h_{t-1} + x_t along dimension 1, h_0 = 0, step by step. f, x and the result are (B, T, ...).

    The reference for the three forms: T steps one after the other, no extra memory.
    """
    state, states = torch.zeros_like(x[:, 0]), []
    # unbind rather than one index per step: its gradient is one stack, not a sum of mostly empty tensors
    for f_t, x_t in zip(f.unbind(1), x.unbind(1), strict=True):
        state = torch.addcmul(x_t, f_t, state)
        states.append(state)
    return torch.stack(states, dim=1)


def recur_closed(f: Tensor, x: Tensor) -> Tensor:
    """(2c.10) The recurrence as one product with a lower-triangular matrix: h_t = sum_{i <= t} exp(L_t - L_i) x_i, L = cumsum(log f).

    It takes T times the memory of x. L_t - L_i is summed from i + 1 to t separately for each i: a difference of two long sums would
    lose digits to cancellation, and be inf - inf where gates are 0.
    """
    T = f.shape[1]
    # The floor stands in for f = 0. It is far below what a sum can show, yet far enough above the smallest float that the logarithm's
    # gradient there, 1 / floor, and its products stay exact.
    log_f = torch.log(f + _LOG_FLOOR)
    steps = log_f[:, :, None].expand(-1, -1, T, *f.shape[2:])  # (B, t, i, ...)
    shape = (T, T, *[1] * (f.ndim - 2))
    below = torch.ones(T, T, dtype=torch.bool, device=f.device).tril(-1).reshape(shape)  # i < t
    span = torch.cumsum(steps.masked_fill(~below, 0), dim=1)  # L_t - L_i for i <= t
    above = torch.ones(T, T, dtype=torch.bool, device=f.device).triu(1).reshape(shape)  # i > t: masked before exp
    decay = torch.exp(span.masked_fill(above, -torch.inf))
    return (decay * x[:, None]).sum(2)


def recur_scan(f: Tensor, x: Tensor) -> Tensor:
    """(2c.11) The recurrence as an associative scan: (f, x) o (f', x') = (f f', f' x + x'), in ceil(log2 T) doublings.

    Hillis and Steele (1986). After the doubling with distance d, (f_t, x_t) covers the 2d steps that end at t.
    """
    d, T = 1, f.shape[1]
    while d < T:
        x = torch.cat([x[:, :d], torch.addcmul(x[:, d:], f[:, d:], x[:, :-d])], dim=1)
        f = torch.cat([f[:, :d], f[:, d:] * f[:, :-d]], dim=1)
        d *= 2
    return x


def half_life(f: Tensor) -> Tensor:
    """(2c.2) ln(1/2) / ln f: the number of steps in which a forget gate f in [0, 1] halves what a state holds; infinite for f = 1."""
    return math.log(2) / torch.log(f).abs()
