"""Statistics of the network's gates on a batch of clips."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.loader import Batch, collate
from hitagu_lib.models import HiTAGUNet
from hitagu_lib.models.clip_model import evaluating
from hitagu_lib.models.stu import ThreeStateTemporalUnit


def probe_batch(dataset: ClipDataset, clips: int) -> Batch:
    """Return `clips` clips spread evenly over the list, the same ones on every call. Raises ClipError as the loader does."""
    rows = torch.linspace(0, len(dataset) - 1, min(clips, len(dataset))).round().long().tolist()
    return collate([dataset[0, row] for row in rows])


@torch.no_grad()
def gate_statistics(model: nn.Module, batch: Batch, device: torch.device) -> dict[str, float]:
    """Return scalars that describe each module of HiTAGU-Net on the batch; {} for another network or no clip. The model keeps its mode.

    mde/gate_*: MDE's gate, mean over channels. stu/mix_k: the share of state k that is read. stu/forget_k_q10 .. q90: quantiles of
    level k's forget gates for one reference stride. sca/*: SCA's gates. tsa/entropy: entropy of the attention over frames; 1 is uniform
    (in a causal network uniform is less, as most frames see fewer than all).
    """
    if not isinstance(model, HiTAGUNet) or not len(batch["row"]):
        return {}
    gates: list[Tensor] = []
    stu = model.stu
    with ExitStack() as undo:
        undo.enter_context(evaluating(model))
        # Gates that see the state have no value apart from it.
        if isinstance(stu, ThreeStateTemporalUnit) and stu.U is None:
            undo.enter_context(stu.bn.register_forward_hook(lambda module, inputs, z: gates.append(z)))
        frames, t = normalise(batch["frames"].to(device)), batch["t"].to(device)
        _, maps = model(frames, t, return_maps=True)
    values: dict[str, Any] = {}
    if maps.motion_gate is not None:
        values |= {"mde/gate_abs": maps.motion_gate.float().mean(), "mde/gate_max": maps.motion_gate.float().max()}
    if maps.state_mix is not None:
        values |= {f"stu/mix_{k + 1}": share for k, share in enumerate(maps.state_mix.float().mean((0, 1, 3, 4)))}
    if gates:
        assert isinstance(stu, ThreeStateTemporalUnit)
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
    """Return the quantile as torch.quantile does with the nearest element, for tensors of any size."""
    flat = x.flatten()
    return flat.kthvalue(1 + round(q * (len(flat) - 1))).values
