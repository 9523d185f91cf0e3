"""What a model costs: parameters and multiply-adds, by module.

    model --tensors as shapes without values (the meta device)--> one clip through it --> multiply-adds of each child module

This needs no data, weights or arithmetic, so ResNet-50 at 8 x 224 x 224 takes a fraction of a second.

Counted: convolutions, linear layers and matrix products, including those of attention and of MDE's ShiftMatch
(`torch.utils.flop_counter`). Not counted, as in the literature: elementwise work such as BatchNorm, activations, gates, differences,
the 3STU's recurrence, pooling and softmax.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hitagu_lib.config import Config, ModelConfig, Temporal
from hitagu_lib.data.clip_list import read_classes
from hitagu_lib.models import build_model
from hitagu_lib.models.clip_model import ClipModel, evaluating


@dataclass(frozen=True)
class Cost:
    gflops: float  # 10^9 multiply-adds for one clip, as the literature counts them
    params_millions: float


def model_cost(model: ClipModel, num_frames: int, image_size: int) -> dict[str, Cost]:
    """Return the cost of each child module for one clip of (num_frames, 3, image_size, image_size), and their "total".

    The model may be on any device; its values and its mode stay as they are.
    """
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    counter = FlopCounterMode(display=False)
    with evaluating(model), torch.inference_mode(), counter, _products_by_child(model, counter) as products:
        torch.func.functional_call(
            model, shapes, (torch.empty(1, num_frames, 3, image_size, image_size, device="meta"),)
        )
    costs = {name: Cost(products[name] / 1e9, _millions(child)) for name, child in model.named_children()}
    return costs | {"total": Cost(counter.get_total_flops() / 2e9, _millions(model))}


@contextmanager
def _products_by_child(model: nn.Module, counter: FlopCounterMode) -> Iterator[Counter[str]]:
    """Yield a counter that collects multiply-adds by the name of the child module, in whichever of its parts they happen.

    MDE's reducers are called on their own, in the per-frame half; the flop counter's own names would not attribute them to MDE. A causal
    network calls its modules' `resume`.
    """
    products, inside, before = Counter[str](), Counter[str](), {}

    def enter(child: str) -> None:
        if not inside[child]:
            before[child] = counter.get_total_flops()
        inside[child] += 1

    def leave(child: str) -> None:
        inside[child] -= 1
        if not inside[child]:
            products[child] += (counter.get_total_flops() - before[child]) // 2  # a multiply-add counts as two

    def counted(child: str, resume: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            enter(child)
            result = resume(*args, **kwargs)
            leave(child)
            return result

        return call

    with ExitStack() as undo:
        for name, child in model.named_children():
            for part in child.modules():
                undo.callback(part.register_forward_pre_hook(lambda *_, name=name: enter(name)).remove)
                undo.callback(part.register_forward_hook(lambda *_, name=name: leave(name)).remove)
            if resume := getattr(child, "resume", None):
                vars(child)["resume"] = counted(name, resume)  # hides the class's method
                undo.callback(vars(child).pop, "resume")
        yield products


def _millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def shape_model(cfg: ModelConfig, num_classes: int) -> ClipModel:
    """Return the model that `cfg` describes on the meta device, shapes without values; pretrained weights are not loaded."""
    with torch.device("meta"):
        return build_model(cfg, num_classes, pretrained=False)


def recipe_cost(cfg: Config, num_classes: int) -> dict[str, Cost]:
    """Return `model_cost` of a recipe's model for one clip of its data section."""
    return model_cost(shape_model(cfg.model, num_classes), cfg.data.num_frames, cfg.data.image_size)


def budget(cfg: Config, num_classes: int) -> dict[str, Cost]:
    """Return the cost of HiTAGU-Net's modules, then the totals of HiTAGU-Net and its baselines on the same backbone and clip."""
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
    """Return the costs as a Markdown table, one row per entry."""
    import pandas as pd  # here, so that counting works where only torch is installed

    rows = [(name, f"{cost.gflops:.4f}", f"{cost.params_millions:.3f}") for name, cost in costs.items()]
    table = pd.DataFrame(rows, columns=["", "GFLOPs (multiply-adds)", "parameters (M)"])
    return table.to_markdown(index=False, disable_numparse=True, colalign=("left", "right", "right"))


ASSUMED_CLASSES = 174
"""The number of classes of Something-Something V2, for which published budgets of these networks are given."""


def count_classes(cfg: Config, given: int | None = None) -> tuple[int, str]:
    """Return the model's number of classes and its origin: `given`, else the recipe's classes.txt, else ASSUMED_CLASSES.

    Raises ListError if classes.txt exists but is malformed.
    """
    if given is not None:
        return given, "as given"
    file = cfg.data.classes_file
    if file.exists():
        return len(read_classes(file)), f"the lines of {file}"
    return ASSUMED_CLASSES, f"assumed, Something-Something V2's number; {file} is not there, --classes sets another"


def model_report(cfg: Config, classes: int | None = None) -> dict[str, Any]:
    """Return the multiply-adds for one view and the parameters, by module and in total; the module docstring says what is counted."""
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
    """Format the report as plain text."""
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
