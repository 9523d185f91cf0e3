"""What a model costs: parameters and multiply-adds, by module.

    model --every tensor as a shape without values (the meta device)--> one clip through it --> what each child module multiplied

No data, no weights and no arithmetic are needed, so ResNet-50 at 8 x 224 x 224 takes a fraction of a second.

Counted: convolutions, linear layers and matrix products, those of attention and of MDE's ShiftMatch included
(`torch.utils.flop_counter`). Not counted, as in the literature, is work of a few operations a value: BatchNorm, activations,
gates, differences, the 3STU's recurrence, pooling, softmax.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hitagu_lib.config import Config, ModelConfig, Temporal
from hitagu_lib.data.clip_list import read_classes
from hitagu_lib.models import build_model
from hitagu_lib.models.clip_model import ClipModel


@dataclass(frozen=True)
class Cost:
    gflops: float  # 10^9 multiply-adds for one clip, as the literature counts them
    params_millions: float


def model_cost(model: ClipModel, num_frames: int, image_size: int) -> dict[str, Cost]:
    """The cost of each child module for one clip of (num_frames, 3, image_size, image_size), and their "total".

    The model may be on any device; neither its values nor its mode change.
    """
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    was_training = model.training
    model.eval()
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter, _products_by_child(model, counter) as products:
        torch.func.functional_call(
            model, shapes, (torch.empty(1, num_frames, 3, image_size, image_size, device="meta"),)
        )
    model.train(was_training)
    costs = {name: Cost(products[name] / 1e9, _millions(child)) for name, child in model.named_children()}
    return costs | {"total": Cost(counter.get_total_flops() / 2e9, _millions(model))}


@contextmanager
def _products_by_child(model: nn.Module, counter: FlopCounterMode) -> Iterator[Counter[str]]:
    """Multiply-adds by the name of the child in any part of which they are made.

    Any part: MDE's reducers are called for themselves, in the per-frame half, and by the counter's own names would not be MDE's.
    """
    products, inside, before, handles = Counter[str](), Counter[str](), {}, []

    def enter(child: str) -> None:
        if not inside[child]:
            before[child] = counter.get_total_flops()
        inside[child] += 1

    def leave(child: str) -> None:
        inside[child] -= 1
        if not inside[child]:
            products[child] += (counter.get_total_flops() - before[child]) // 2  # a multiply-add counts as two

    for name, child in model.named_children():
        for part in child.modules():
            handles.append(part.register_forward_pre_hook(lambda *_, name=name: enter(name)))
            handles.append(part.register_forward_hook(lambda *_, name=name: leave(name)))
    try:
        yield products
    finally:
        for handle in handles:
            handle.remove()


def _millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def shape_model(cfg: ModelConfig, num_classes: int) -> ClipModel:
    """The model that `cfg` describes, on the meta device: shapes without values. Pretrained weights are not looked for."""
    with torch.device("meta"):
        return build_model(cfg, num_classes, pretrained=False)


def recipe_cost(cfg: Config, num_classes: int) -> dict[str, Cost]:
    """`model_cost` of a params file's model, for one clip as its data section has it."""
    return model_cost(shape_model(cfg.model, num_classes), cfg.data.num_frames, cfg.data.image_size)


def budget(cfg: Config, num_classes: int) -> dict[str, Cost]:
    """HiTAGU-Net's modules, then the totals of HiTAGU-Net and its baselines on the same backbone and clip."""
    totals: dict[str, Cost] = {}
    modules: dict[str, Cost] = {}
    titles: dict[Temporal, str] = {"hitagu": "HiTAGU-Net", "tsn": "TSN", "tsm": "TSM", "gru": "GRU"}
    for temporal, title in titles.items():
        model = dataclasses.replace(cfg.model, temporal=temporal)
        costs = recipe_cost(dataclasses.replace(cfg, model=model), num_classes)
        totals[title] = costs.pop("total")
        modules = modules or costs
    return modules | totals


def markdown_table(costs: Mapping[str, Cost]) -> str:
    """One row an entry, as Markdown."""
    rows = [f"| {name} | {cost.gflops:.4f} | {cost.params_millions:.3f} |" for name, cost in costs.items()]
    return "\n".join(["| | GFLOPs (multiply-adds) | parameters (M) |", "|---|---:|---:|", *rows])


ASSUMED_CLASSES = 174
"""Something-Something V2's: the number that published budgets of these networks are given for."""


def count_classes(cfg: Config, given: int | None = None) -> tuple[int, str]:
    """How many classes the model has, and where that is from: `given`, else the recipe's classes.txt, else ASSUMED_CLASSES.

    Raises ListError where classes.txt is there and not as it should be.
    """
    if given is not None:
        return given, "as given"
    file = cfg.data.classes_file
    if file.exists():
        return len(read_classes(file)), f"the lines of {file}"
    return ASSUMED_CLASSES, f"assumed, Something-Something V2's number; {file} is not there, --classes sets another"


def model_report(cfg: Config, classes: int | None = None) -> dict[str, Any]:
    """Multiply-adds for one view and parameters, by module and in total; see hitagu_lib.models.cost for what is counted."""
    num_classes, classes_from = count_classes(cfg, classes)
    modules = {name: dataclasses.asdict(cost) for name, cost in recipe_cost(cfg, num_classes).items()}
    return {
        **modules.pop("total"),
        "modules": modules,
        "temporal": cfg.model.temporal,
        "backbone": cfg.model.backbone.name,
        "cut": cfg.model.backbone.cut,
        "num_frames": cfg.data.num_frames,
        "image_size": cfg.data.image_size,
        "num_classes": num_classes,
        "num_classes_from": classes_from,
    }


def model_report_text(report: dict[str, Any]) -> str:
    """The same for people."""
    size = report["image_size"]
    rows = [*report["modules"].items(), ("total", report)]
    return "\n".join(
        [
            f"{report['temporal']} on {report['backbone']} up to {report['cut']}",
            f"one view of {report['num_frames']} frames, {size} x {size} pixels",
            f"{report['num_classes']} classes ({report['num_classes_from']})",
            "",
            f"{'module':12}{'GFLOPs':>10}{'parameters (M)':>18}",
            *(f"{name:12}{cost['gflops']:10.4f}{cost['params_millions']:18.3f}" for name, cost in rows),
            "",
            "GFLOPs: 10^9 multiply-adds of convolutions, linear layers and matrix products.",
            "Not counted: BatchNorm, activations, gates, the 3STU's recurrence, pooling and softmax.",
        ]
    )
