"""What can be told of a recipe without running it: the cost of its model, for `hitagu report model`."""

from __future__ import annotations

import dataclasses
from typing import Any

from hitagu_lib.config import Config
from hitagu_lib.data.clip_list import read_classes
from hitagu_lib.models.cost import recipe_cost

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
