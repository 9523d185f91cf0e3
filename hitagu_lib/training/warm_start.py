"""Start from another run's checkpoint: `train.init` names it, `train.init_head` says what happens to its classifier.

The classifier and the center loss's centres depend on the classes; everything else fits any run of the same network.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hitagu_lib.errors import WeightsError, first_of
from hitagu_lib.files import file_sha256
from hitagu_lib.models import ClipModel
from hitagu_lib.models.losses import TotalLoss
from hitagu_lib.models.weights import key_difference, refuse_no_numbers
from hitagu_lib.runs.checkpoint import load_checkpoint

HEAD = "head."
CENTERS = "center.centers"
SHOWN = 3
"""How many differences a message spells out."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartedFrom:
    """What was taken from a checkpoint, by part: backbone, mde, ..., and the centres."""

    source: str
    sha256: str
    epoch: int | None  # epochs it had been trained for
    classes: int
    head: str  # keep, replace
    loaded: tuple[str, ...]
    unused: tuple[str, ...]  # in the checkpoint only
    random: tuple[str, ...]  # in this run, started at random

    def __str__(self) -> str:
        parts = {"loaded": self.loaded, "not used": self.unused, "started at random": self.random}
        return f"starting from {self.source}: " + "; ".join(
            f"{what} {', '.join(names) or 'nothing'}" for what, names in parts.items()
        )


def start_from(
    file: str | Path, head: str, model: ClipModel, criterion: TotalLoss, classes: Sequence[str]
) -> StartedFrom:
    """Copy a checkpoint's weights into a model, and its centres into the losses if both have them.

    head: "keep" needs the same classes in the same order; "replace" keeps the model's own classifier and centres. Raises WeightsError, and
    changes nothing, if the file is not a checkpoint, if its classes differ and should be kept, if its network differs, or if a weight is
    nan or infinite. Centres of the other `train.center_normalised` are not used.
    """
    try:
        state = load_checkpoint(file)
    except WeightsError as error:
        raise WeightsError(f"train.init: {error}") from error
    theirs = list(state["classes"])
    if head == "keep" and theirs != list(classes):
        raise WeightsError(
            f"train.init: {file}: its classes differ: {_class_difference(theirs, list(classes))}; "
            "train.init_head=replace starts the classifier at random and loads everything else"
        )
    own, given = model.state_dict(), dict(state["model"])  # own: views, which are written to below
    kept = {key: value for key, value in own.items() if head == "keep" or not key.startswith(HEAD)}
    offered = {key: value for key, value in given.items() if head == "keep" or not key.startswith(HEAD)}
    if difference := key_difference(offered, kept):
        raise WeightsError(
            f"train.init: {file}: its network differs: {difference}; compare its params with yours under `model`, "
            "or load its backbone only, with model.backbone.weights"
        )
    refuse_no_numbers(offered, f"train.init: {file}")
    centers = criterion.state_dict().get(CENTERS)
    their_centers = state.get("criterion", {}).get(CENTERS)
    normalised = state["params"]["train"].get("center_normalised", False)
    for key, value in kept.items():
        value.copy_(given[key])
    parts = dict.fromkeys(key.partition(".")[0] for key in kept)
    loaded, unused, random = list(parts), [], []
    if head == "replace":
        unused.append(HEAD.rstrip("."))
        random.append(HEAD.rstrip("."))
    alike = head == "keep" and normalised == criterion.cfg.center_normalised
    if alike and centers is not None and their_centers is not None and centers.shape == their_centers.shape:
        centers.copy_(their_centers)
        loaded.append("centres")
    else:
        unused += ["centres"] * (their_centers is not None)
        random += ["centres"] * (centers is not None)
    started = StartedFrom(
        str(file), file_sha256(Path(file)), state.get("epoch"), len(theirs), head, tuple(loaded), tuple(unused), tuple(random)
    )  # fmt: skip
    _log.info("%s", started)
    return started


def _class_difference(theirs: list[str], ours: list[str]) -> str:
    if sorted(theirs) == sorted(ours):
        i = next(i for i, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a != b)
        return f"the same {len(ours)} labels in another order (label {i} is {theirs[i]!r} there, {ours[i]!r} here)"
    only = {"there": [c for c in theirs if c not in set(ours)], "here": [c for c in ours if c not in set(theirs)]}
    spelled = [
        f"only {where} {first_of([repr(label) for label in labels], SHOWN)}" for where, labels in only.items() if labels
    ]
    return f"{len(theirs)} there, {len(ours)} here; " + "; ".join(spelled)
