"""What a training shows of itself beside its losses: speed, the share of time spent waiting for data, and what the network's gates do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from hitagu_lib.data.dataset import Batch, ClipDataset, collate
from hitagu_lib.data.frames import normalise
from hitagu_lib.models import HiTAGUNet

SPEED_EVERY = 20
"""Steps between two readings of the speed; the last step of an epoch is always read."""


@dataclass
class EpochTally:
    """What an epoch has added up so far. It travels in checkpoints, so that an epoch that was cut has the means of a whole one."""

    steps: int = 0
    clips: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)  # clips behind each sum: not every step has every value
    seconds: float = 0.0  # spent in the epoch's steps
    waited: float = 0.0  # of these, for the loader

    def add(self, values: dict[str, float], clips: float) -> None:
        """Count a step: `values` are means over `clips` clips."""
        self.steps += 1
        self.clips += clips
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * clips
            self.weights[name] = self.weights.get(name, 0.0) + clips

    def means(self) -> dict[str, float]:
        return {name: total / self.weights[name] for name, total in self.sums.items()}


class Stopwatch:
    """Wall and processor seconds since the last reading."""

    def __init__(self) -> None:
        self._read = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def lap(self) -> tuple[float, float]:
        (wall, cpu), self._read = self._read, self._now()
        return self._read[0] - wall, self._read[1] - cpu


class Speed:
    """Clips a second and the share of time that the loop waited for its loader, on the board every SPEED_EVERY steps."""

    def __init__(self, tally: EpochTally, board: SummaryWriter | None) -> None:
        self.tally, self.board = tally, board
        self._mark = self._window_start = time.perf_counter()
        self._window_clips = self._window_waited = 0.0

    def waited_for(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, the wait for each one counted."""
        source = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            waited = time.perf_counter() - asked
            self.tally.waited += waited
            self._window_waited += waited
            if batch is None:
                return
            yield batch

    def step(self, clips: float, step: int, last: bool) -> None:
        """Count a step of `clips` clips; `step` of the whole training."""
        now = time.perf_counter()
        self.tally.seconds += now - self._mark
        self._mark = now
        self._window_clips += clips
        if self.board is None or not (last or self.tally.steps % SPEED_EVERY == 0):
            return
        seconds = now - self._window_start
        self.board.add_scalar("speed/clips_per_second", self._window_clips / seconds, step)
        self.board.add_scalar("speed/data_wait_share", self._window_waited / seconds, step)
        self._window_start, self._window_clips, self._window_waited = now, 0.0, 0.0


def probe_batch(dataset: ClipDataset, clips: int) -> Batch:
    """`clips` clips, spread evenly over the list: the same ones whenever the gates are looked at. Raises ClipError as the loader does."""
    rows = torch.linspace(0, len(dataset) - 1, min(clips, len(dataset))).round().long().tolist()
    return collate([dataset[0, row] for row in rows])


@torch.no_grad()
def gate_statistics(model: nn.Module, batch: Batch, device: torch.device) -> dict[str, float]:
    """Scalars of what each module of HiTAGU-Net does with the batch's clips; none for another network. The model keeps its mode.

    mde/gate_*: MDE's gate, mean over channels. stu/mix_k: the share of state k that is read. stu/forget_k_q10 .. q90: quantiles of
    level k's forget gates, as they are for one reference stride. sca/*: its gates. tsa/entropy: of the attention over frames, 1 being even.
    """
    if not isinstance(model, HiTAGUNet):
        return {}
    gates: list[Tensor] = []
    was_training = model.training
    model.eval()
    hook = None
    if model.stu is not None and model.stu.U is None:  # gates that see the state have no value apart from it
        stu = model.stu
        hook = stu.bn.register_forward_hook(lambda module, inputs, z: gates.append(z))
    try:
        frames, t = normalise(batch["frames"].to(device)), batch["t"].to(device)
        _, maps = model(frames, t, return_maps=True)
    finally:
        if hook is not None:
            hook.remove()
        model.train(was_training)
    values: dict[str, Any] = {}
    if maps.motion_gate is not None:
        gate = maps.motion_gate.float()
        values |= {"mde/gate_mean": gate.mean(), "mde/gate_abs": gate.abs().mean(), "mde/gate_max": gate.abs().max()}
    if maps.state_mix is not None:
        values |= {f"stu/mix_{k + 1}": share for k, share in enumerate(maps.state_mix.float().mean((0, 1, 3, 4)))}
    if gates:
        z = gates[0].float().unflatten(0, tuple(t.shape))
        forget = stu.forget_gates(z, torch.ones_like(t)).float()
        for k in range(forget.shape[2]):
            for q in (0.1, 0.5, 0.9):
                values[f"stu/forget_{k + 1}_q{round(100 * q)}"] = _quantile(forget[:, :, k], q)
    for name, gate in (("sca/channel_gate", maps.channel_gate), ("sca/spatial_gate", maps.spatial_map)):
        if gate is not None:
            values |= {f"{name}_mean": gate.float().mean(), f"{name}_std": gate.float().std()}
    if maps.temporal_attention is not None and t.shape[1] > 1:
        p = maps.temporal_attention.float()
        entropy = -torch.xlogy(p, p).sum(-1).mean()
        values["tsa/entropy"] = entropy / torch.log(torch.tensor(float(t.shape[1])))
    return {name: float(value) for name, value in values.items()}


def _quantile(x: Tensor, q: float) -> Tensor:
    """As torch.quantile to the nearest element, for tensors of any size."""
    flat = x.flatten()
    return flat.kthvalue(1 + round(q * (len(flat) - 1))).values
