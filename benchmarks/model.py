"""Time the bare truncated backbone, TSN, TSM, GRU and HiTAGU-Net, as it is and with its 3STU banded: forward and training step.

    python -m benchmarks.model                                          # CPU, fp32
    python -m benchmarks.model --device cuda --dtype bf16               # a GPU; also with --batch 16
    python -m benchmarks.model --device cuda --dtype bf16 --compile

Forward is in evaluation mode without gradients; a training step is forward, backward and SGD with momentum. Every round times each
network once, in a new random order, so that a disturbance of the machine affects all of them; ratios are taken within a round. The report
gives medians and quartiles. CPU: wall time, and the process's CPU time, which other programs hardly affect. CUDA: events around each
step, after a synchronisation. Weights are random: their values do not change the work.

Writes <out>/<setting>.md and .json (every sample, and the conditions). Of the library's dependencies it needs only torch, torchvision,
PyYAML and pydantic.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.stu import BANDED as BANDED_STU
from benchmarks.timing import Samples, compiled, conditions, device_name, in_rounds, median, publish, ratio, table
from hitagu_lib.config import Config, ModelConfig, Temporal, load_config
from hitagu_lib.models import build_model
from hitagu_lib.models.backbone import TruncatedResNet
from hitagu_lib.models.cost import Cost, budget, recipe_cost
from hitagu_lib.runs.provenance import surroundings

BARE, BANDED, KINDS = "bare backbone", "HiTAGU-Net, banded 3STU", ("forward", "training step")
TITLES: dict[str, Temporal] = {"TSN": "tsn", "TSM": "tsm", "GRU": "gru", "HiTAGU-Net": "hitagu"}


class BareBackbone(nn.Module):
    """The reference for the others: clips (B, T, 3, H, W) -> top maps (B T, C, h, w)."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.backbone = TruncatedResNet(cfg.backbone)

    def forward(self, x: Tensor) -> Tensor:
        top: Tensor = self.backbone(x.flatten(0, 1))[self.backbone.cut]
        return top


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params/ssv2.yaml", help="the model, and the size of a clip")
    parser.add_argument("--overrides", default="")
    parser.add_argument("--classes", type=int, default=174)
    parser.add_argument("--batch", type=int, default=1, help="clips per batch")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="bf16: by autocast, as in training")
    parser.add_argument("--layout", choices=("channels-last", "contiguous"), default="channels-last")
    parser.add_argument("--compile", action="store_true", help="use torch.compile in its default mode")
    parser.add_argument("--backend", default="inductor", help="of torch.compile (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3, help="rounds that are not counted")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--out", type=Path, help="(default: outputs/published/model/<device>)")
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: found no CUDA device that torch can use")
    if args.rounds < 2 or args.warmup < 1 or args.batch < 1:
        parser.error("expected --rounds of at least 2, --warmup and --batch of at least 1")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True  # sizes are fixed: let cuDNN choose

    cfg = load_config(args.params, f"{args.overrides} model.backbone.weights=null")
    where = surroundings(device_name(args.device)) | {"load_average": [os.getloadavg()[0]]}
    shape = (args.batch, cfg.data.num_frames, 3, cfg.data.image_size, cfg.data.image_size)
    contestants = {
        name: Contestant(network, args, shape) for name, network in networks(cfg.model, args.classes).items()
    }
    samples = {kind: measure(contestants, kind, args) for kind in KINDS}
    where["load_average"].append(os.getloadavg()[0])

    costs = network_costs(cfg, args.classes)
    clip = " x ".join(map(str, shape))
    setting = [args.dtype, args.layout, f"batch{args.batch}"] + ["compiled"] * args.compile
    lines = report(samples, costs, where, f"{args.params}, {clip}, {', '.join(setting)}", args.rounds, args.device)
    out = (args.out or Path("outputs/published/model") / args.device) / "-".join(setting)
    result = {"clips": clip, "setting": setting, "rounds": args.rounds, "where": where, "milliseconds": samples}
    publish(out, lines, result)


def networks(cfg: ModelConfig, classes: int) -> dict[str, nn.Module]:
    """Return all that are compared, on the backbone of `cfg`, with random weights."""
    torch.manual_seed(0)
    built: dict[str, nn.Module] = {BARE: BareBackbone(cfg)}
    for title, temporal in TITLES.items():
        built[title] = build_model(dataclasses.replace(cfg, temporal=temporal), classes)
    built[BANDED] = build_model(dataclasses.replace(cfg, stu=dataclasses.replace(cfg.stu, **BANDED_STU)), classes)
    return built


def network_costs(cfg: Config, classes: int) -> dict[str, Cost]:
    """Return the cost of each of them for one clip of the recipe `cfg`."""
    costs = budget(cfg, classes)
    stu = dataclasses.replace(cfg.model.stu, **BANDED_STU)
    with_banded = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, stu=stu))
    costs |= {BARE: costs["backbone"], BANDED: recipe_cost(with_banded, classes)["total"]}
    return {name: costs[name] for name in (BARE, *TITLES, BANDED)}


class Contestant:
    """One network with its clips, its optimizer and its two kinds of step."""

    def __init__(self, network: nn.Module, args: argparse.Namespace, shape: tuple[int, ...]) -> None:
        layout = torch.channels_last if args.layout == "channels-last" else torch.contiguous_format
        self.network = network.to(args.device).to(memory_format=layout)  # type: ignore[call-overload]
        self.call = compiled(self.network, args.backend) if args.compile else self.network
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-3, momentum=0.9)
        frames = torch.randn(shape, generator=torch.Generator().manual_seed(0)).flatten(0, 1)
        self.x = frames.to(args.device).contiguous(memory_format=layout).unflatten(0, shape[:2])
        self.labels = torch.zeros(shape[0], dtype=torch.long, device=args.device)
        self.device, self.bf16 = args.device, args.dtype == "bf16"

    def ready(self, kind: str) -> Callable[[], None]:
        """Put the network into the mode for a kind of step; return the step."""
        self.network.train(kind == "training step")
        return self.training_step if kind == "training step" else self.forward

    def forward(self) -> None:
        with torch.no_grad(), self._autocast():
            self.call(self.x)

    def training_step(self) -> None:
        self.optimizer.zero_grad()
        with self._autocast():
            y = self.call(self.x)
            bare = isinstance(self.network, BareBackbone)  # it has no classes, so any loss that depends on every value
            loss = y.square().mean() if bare else nn.functional.cross_entropy(y, self.labels)
        loss.backward()
        self.optimizer.step()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16)


def measure(contestants: dict[str, Contestant], kind: str, args: argparse.Namespace) -> Samples:
    steps = {name: contestant.ready(kind) for name, contestant in contestants.items()}
    in_rounds(steps, args.warmup, args.device)
    return in_rounds(steps, args.rounds, args.device)


def report(
    samples: dict[str, Samples], costs: dict[str, Cost], where: dict[str, Any], setting: str, rounds: int, device: str
) -> list[str]:
    """Return one table per kind of step in Markdown, with the conditions of the measurement."""
    clocks = ("wall",) if device == "cuda" else ("wall", "CPU")
    columns = ["", "GFLOPs", "parameters (M)", *(f"{clock}{what}" for clock in clocks for what in (" ms", " / bare"))]
    lines = [f"# {setting}"]
    for kind, by_network in samples.items():
        rows = []
        for name, own in by_network.items():
            cells = [name, f"{costs[name].gflops:.2f}", f"{costs[name].params_millions:.2f}"]
            for clock in clocks:
                cells += [median(own[clock], 1), "1" if name == BARE else ratio(own[clock], by_network[BARE][clock], 3)]
            rows.append(cells)
        lines += ["", f"## {kind.capitalize()}", "", table(rows, columns)]
    return [
        *lines,
        "",
        f"Median of {rounds} rounds, quartiles in brackets; ratios are taken within a round.",
        "GFLOPs: 10^9 multiply-adds of one clip's forward.",
        *conditions(where, device),
    ]


if __name__ == "__main__":
    main()
