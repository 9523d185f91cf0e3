"""Does the device compute what the CPU computes in fp32? Each job returns rows of what was found, beside the bound it must keep.

A row that breaks its bound is a fault, in this library or in the bound: its number comes back either way.
"""

from __future__ import annotations

import dataclasses
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.model import networks
from benchmarks.on_gpu.size import BANDED, Size
from benchmarks.stu import KINDS
from benchmarks.timing import compiled, table
from hitagu_lib.config import Config, STUConfig, load_config
from hitagu_lib.data.loader import Batch
from hitagu_lib.models import build_model
from hitagu_lib.models.stu import ThreeStateTemporalUnit

CLASSES, CLIPS = 8, 4
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
Row = dict[str, Any]  # what, found, at_most or at_least


def measure(job: str, size: Size) -> dict[str, Any]:
    # TF32 would round the inputs of convolutions to ten bits, by default.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    rows = list(JOBS[job](size))
    return {"rows": rows, "passed": all(map(_kept, rows))}


def report(results: dict[str, dict[str, Any]]) -> list[str]:
    rows = []
    for job, result in results.items():
        for row in result["rows"]:
            bound = f"<= {row['at_most']:g}" if "at_most" in row else f">= {row['at_least']:g}"
            rows.append([job, row["what"], f"{row['found']:.2g}", bound, "yes" if _kept(row) else "**NO**"])
    return [table(rows, ["", "what", "found", "bound", "kept"], text_columns=2)]


def _kept(row: Row) -> bool:
    return bool(row["found"] <= row["at_most"] if "at_most" in row else row["found"] >= row["at_least"])


def _error(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference, relative to the norm of what is expected."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((found - expected).norm() / expected.norm())


def _config(size: Size, overrides: str = "") -> Config:
    return load_config("params/ssv2.yaml", f"model.backbone.weights=null {size.checked} {overrides}")


def _networks(size: Size) -> dict[str, nn.Module]:
    """Return every network in training mode without dropout, and with no weight left at its initial zero: those would hide errors."""
    built = networks(_config(size, "model.dropout=0").model, CLASSES)
    for network in built.values():
        for parameter in network.parameters():
            if parameter.ndim > 1 and not parameter.any():
                nn.init.normal_(parameter, std=0.1 * parameter[0].numel() ** -0.5)
    return built


def _clips(size: Size) -> Tensor:
    cfg = _config(size).data
    shape = (CLIPS, cfg.num_frames, 3, cfg.image_size, cfg.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _autocast(network: nn.Module, x: Tensor, dtype: torch.dtype | None) -> Tensor:
    with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
        y: Tensor = network(x)
    return y


def _forward_backward(network: nn.Module, x: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """Return the outputs and the gradients of all weights in one vector, from the batch's own statistics."""
    network.zero_grad()
    y = _autocast(network, x, dtype)
    y.float().square().mean().backward()
    return y.float(), torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def _fp32(size: Size) -> Iterator[Row]:
    """A deep random network multiplies a rounding by some hundreds (bf16's 0.002 became 0.4); TF32 would break these bounds."""
    x = _clips(size)
    for name, network in _networks(size).items():
        expected = _forward_backward(network, x)
        found = _forward_backward(network.to(size.device), x.to(size.device))
        for what, ours, theirs, bound in zip(("outputs", "gradients"), found, expected, (1e-3, 0.05), strict=True):
            yield {"what": f"{name}: {what}", "found": _error(ours, theirs), "at_most": bound}


def _half(size: Size) -> Iterator[Row]:
    """Autocast rounds each product to 8 (bf16) or 11 (fp16) bits, and a deep random network multiplies errors: the CPU's is the measure."""
    x = _clips(size)
    for name, network in _networks(size).items():
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        with torch.no_grad():
            for momentum in (1.0, 0.0):  # the running statistics become those of these clips, and stay
                for norm in norms:
                    norm.momentum = momentum
                network(x)
            expected = network.eval()(x)
            errors = [_error(_autocast(network, x, dtype), expected) for dtype in HALVES.values()]
        network.to(size.device)
        for (title, dtype), error in zip(HALVES.items(), errors, strict=True):
            with torch.no_grad():
                found = _error(_autocast(network.eval(), x.to(size.device), dtype), expected)
            yield {"what": f"{name}: {title}, outputs", "found": found, "at_most": 2 * error}
            _, gradients = _forward_backward(network.train(), x.to(size.device), dtype)
            lost = 1 - gradients.isfinite().double().mean().item()
            yield {"what": f"{name}: {title}, share of gradients not finite", "found": lost, "at_most": 0.0}


def _forms(size: Size) -> Iterator[Row]:
    """The 3STU in its three forms, as it is and banded, beside the loop on the CPU in double precision."""
    C, D = size.unit["channels"], size.unit["width"]
    for kind, switches in KINDS.items():
        for T in size.frames:
            torch.manual_seed(0)
            unit = ThreeStateTemporalUnit(STUConfig(width=D, form="loop", **switches), C)
            nn.init.normal_(unit.W_o.weight, std=D**-0.5)
            u, t = torch.randn(2, T, C, 3, 3), torch.arange(float(T)).expand(2, T)
            expected = unit.double()(u.double(), t.double())[0].detach()
            for form in ("loop", "closed", "scan"):
                other = ThreeStateTemporalUnit(STUConfig(width=D, form=form, **switches), C)
                other.load_state_dict(unit.state_dict())
                found, _ = other.to(size.device)(u.to(size.device), t.to(size.device))
                yield {"what": f"{kind}, {form}, T = {T}", "found": _error(found, expected), "at_most": 1e-4}


def _compiled(size: Size) -> Iterator[Row]:
    x = _clips(size).to(size.device)
    for overrides in ("", BANDED):
        torch.manual_seed(0)
        network = build_model(_config(size, f"model.dropout=0 {overrides}").model, CLASSES).to(size.device).train()
        expected = _forward_backward(network, x)
        found = _forward_backward(compiled(network, size.backend), x)
        name = "HiTAGU-Net, banded 3STU" if overrides else "HiTAGU-Net"
        for what, ours, theirs, bound in zip(("outputs", "gradients"), found, expected, (1e-3, 0.05), strict=True):
            yield {"what": f"{name}: {what}, against eager", "found": _error(ours, theirs), "at_most": bound}


def _learner(size: Size, overrides: str = "", scaler: torch.amp.GradScaler | None = None) -> Any:
    """Return a Learner of the recipe; with a scaler, one that computes in fp16, also on the CPU, where it could not by itself."""
    from hitagu_lib.inference.accelerator import make_accelerator
    from hitagu_lib.training.learner import Learner

    cfg = _config(size, f"train.precision=fp32 train.warmup_epochs=0 {overrides}")
    precision = "fp32" if scaler is None else "fp16"
    accelerator = make_accelerator(dataclasses.replace(cfg.train, precision=precision))
    if scaler is not None:
        accelerator.native_amp, accelerator.scaler = True, scaler
    torch.manual_seed(0)
    learner = Learner(cfg, [str(k) for k in range(CLASSES)], 8, accelerator)
    learner.model.train()
    return learner


def _batch(size: Size, seed: int) -> Batch:
    cfg, g = _config(size).data, torch.Generator().manual_seed(seed)
    shape = (CLIPS, cfg.num_frames, 3, cfg.image_size, cfg.image_size)
    return Batch(
        frames=torch.randint(256, shape, generator=g, dtype=torch.uint8),
        t=torch.arange(float(cfg.num_frames)).expand(CLIPS, -1).clone(),
        label=torch.randint(CLASSES, (CLIPS,), generator=g),
        row=torch.arange(CLIPS),
        bad=[],
    )


def _resume(size: Size) -> Iterator[Row]:
    """A run that resumes draws the dropout that the undisturbed run draws, from the device's random state."""
    whole = _learner(size)
    for seed in (0, 1):
        whole.step([_batch(size, seed)])
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    expected = [whole.step([_batch(size, seed)])["loss"] for seed in (2, 3)]

    def resumed(**changes: Tensor) -> float:
        file.seek(0)
        state = torch.load(file, weights_only=True)
        learner = _learner(size)
        learner.load_state_dict(state | changes)
        return max(
            abs(learner.step([_batch(size, s)])["loss"] - loss) for s, loss in zip((2, 3), expected, strict=True)
        )

    yield {"what": "resumed: largest difference of the loss", "found": resumed(), "at_most": 1e-3}
    torch.manual_seed(99)
    on_cuda = whole.accelerator.device.type == "cuda"
    other = {"cuda_rng": torch.cuda.get_rng_state()} if on_cuda else {"rng": torch.get_rng_state()}
    yield {"what": "from another random state", "found": resumed(**other), "at_least": 1e-2}


def _scaler(size: Size) -> Iterator[Row]:
    """fp16: a step whose scaled gradients overflow is skipped and lowers the scale; the next ones are those of fp32."""
    plain = _learner(size, "model.dropout=0")
    scaler = torch.amp.GradScaler(size.device, init_scale=2.0**40, backoff_factor=2.0**-30)
    fp16 = _learner(size, "model.dropout=0", scaler)
    before = {name: value.detach().clone() for name, value in fp16.model.named_parameters()}
    values = fp16.step([_batch(size, 0)])
    moved = max(float((value.detach() - before[name]).abs().max()) for name, value in fp16.model.named_parameters())
    yield {"what": "first step, skipped: largest change of a weight", "found": moved, "at_most": 0.0}
    yield {"what": "it has a gradient norm (0: no)", "found": float("grad_norm" in values), "at_most": 0.0}
    yield {"what": "the scale after it", "found": scaler.get_scale(), "at_most": 2.0**10}
    ours, theirs = (learner.step([_batch(size, 1)]) for learner in (fp16, plain))
    for name in ("loss", "grad_norm"):
        error = abs(ours[name] / theirs[name] - 1)
        yield {"what": f"next step: {name}, relative to fp32", "found": error, "at_most": 0.3}


def _sync_bn(size: Size) -> Iterator[Row]:
    """SyncBatchNorm in a group of one process is BatchNorm."""
    from hitagu_lib.training.distributed import share_statistics

    cfg, x = _config(size, "model.dropout=0").model, _clips(size).to(size.device)
    torch.manual_seed(0)
    model = build_model(cfg, CLASSES).to(size.device).eval()
    with _group(size.device), torch.no_grad():
        expected = model(x)
        share_statistics(model)
        yield {"what": "network, in evaluation", "found": _error(model(x), expected), "at_most": 1e-5}
        if size.device == "cuda":  # PyTorch synchronises on GPUs only, and in a module not with a single process
            yield from _synchronised(torch.randn(16, 8, 7, 7, device="cuda"))


def _synchronised(x: Tensor) -> Iterator[Row]:
    from torch.nn.modules._functions import SyncBatchNorm

    expected, found = (nn.BatchNorm2d(x.shape[1], device=x.device) for _ in range(2))
    y = expected(x)
    kept = (found.weight, found.bias, found.running_mean, found.running_var, found.eps, 0.1)
    z = SyncBatchNorm.apply(x, *kept, dist.group.WORLD, 1)
    yield {"what": "a norm in training: outputs", "found": _error(z, y), "at_most": 1e-5}
    assert found.running_var is not None and expected.running_var is not None
    error = _error(found.running_var, expected.running_var)
    yield {"what": "its running variance", "found": error, "at_most": 1e-5}


@contextmanager
def _group(device: str) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{Path(folder) / 'meeting'}"
        dist.init_process_group("nccl" if device == "cuda" else "gloo", init_method=meeting, rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()


JOBS = {
    "fp32": _fp32,
    "half precision": _half,
    "resume": _resume,
    "fp16 scaler": _scaler,
    "3STU forms": _forms,
    "SyncBatchNorm": _sync_bn,
    "compiled": _compiled,
}
