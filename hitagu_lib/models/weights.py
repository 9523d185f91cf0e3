"""Weights into networks: pretrained ones into the backbone, a checkpoint's into a whole network."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from hitagu_lib.config import BackboneConfig
from hitagu_lib.errors import WeightsError, first_of
from hitagu_lib.files import file_sha256
from hitagu_lib.models.backbone import LoadedWeights, TruncatedResNet
from hitagu_lib.models.weights_file import load_weights_file, why_unreadable

SHOWN = 3
"""How many keys of each kind of difference a message spells out."""

_log = logging.getLogger(__name__)


def load_pretrained(backbone: TruncatedResNet, cfg: BackboneConfig) -> LoadedWeights | None:
    """Load the weights that `cfg.weights` names into the backbone, log what was loaded and record it in `backbone.loaded`.

    `cfg.weights` is a name in torchvision's weights enum, or a .pt or .pth file as `load_backbone` takes it; with None nothing is loaded.
    Raises WeightsError if the weights are missing, unreadable or do not fit.
    """
    if cfg.weights is not None:
        backbone.loaded = load_backbone(backbone, *_weights(cfg.name, cfg.weights))
        _log.log(logging.WARNING if backbone.loaded.random else logging.INFO, "%s", backbone.loaded)
    return backbone.loaded


def load_backbone(backbone: TruncatedResNet, state: Mapping[str, Tensor], source: str) -> LoadedWeights:
    """Copy weights into the parts that the backbone and `state` share: the stem and the stages, each as a whole or not at all.

    `state` may come from a network that is cut elsewhere or not cut: a ResNet's state dict under torchvision's names, or the model of a
    checkpoint of this library. Raises WeightsError, and leaves the backbone unchanged, if no part is shared, or if a shared part differs
    in keys or shapes.
    """
    own = {_torchvision_name(key): value for key, value in backbone.state_dict().items()}  # views: written to below
    given = {_torchvision_name(key): value for key, value in unwrapped(state).items()}
    parts, given_parts = (tuple(dict.fromkeys(map(_part, names))) for names in (own, given))
    shared = [part for part in parts if part in given_parts]
    if not shared:
        raise WeightsError(
            f"model.backbone.weights: {source}: found {', '.join(list(state)[:3]) or 'no key'}, ...; expected the names of a torchvision "
            "ResNet (conv1.weight, bn1.weight, ..., layer1.0.conv1.weight, ...), or a checkpoint of this library"
        )
    theirs = {key: value for key, value in given.items() if _part(key) in shared}
    # Older files lack the counts of batches, and nothing here depends on them.
    optional = {key for key in own.keys() - theirs.keys() if key.endswith("num_batches_tracked")}
    mine = {key: value for key, value in own.items() if _part(key) in shared and key not in optional}
    if difference := key_difference(theirs, mine):
        raise WeightsError(
            f"model.backbone.weights: {source}: {difference} (there: in the file; here: in the backbone); are these weights of another "
            "ResNet than model.backbone.name?"
        )
    for key, value in mine.items():
        value.copy_(theirs[key])
    return LoadedWeights(
        source,
        tuple(shared),
        tuple(part for part in given_parts if part not in shared),
        tuple(part for part in parts if part not in shared),
    )


def load_weights(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy a checkpoint's weights into a network of the same form.

    Raises WeightsError naming `source` and the keys and shapes that differ, or the weights that are no numbers, and leaves the network
    unchanged.
    """
    if difference := key_difference(state, model.state_dict()):
        raise WeightsError(
            f"{source}: its weights do not fit the network that its own params and classes describe: {difference} (there: in the file; "
            "here: in the network); use a checkpoint as `hitagu train` wrote it, with the version of hitagu_lib that wrote it"
        )
    refuse_no_numbers(state, source)
    model.load_state_dict(state)


def refuse_no_numbers(state: Mapping[str, Tensor], source: str) -> None:
    """Raise WeightsError naming `source` and the weights that hold nan or infinity."""
    if broken := [key for key, value in state.items() if not value.isfinite().all()]:
        raise WeightsError(
            f"{source}: {first_of(broken, SHOWN)}: found nan or infinity; expected numbers: the training diverged, or the file is damaged"
        )


def key_difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return the first keys and shapes in which two state dicts differ, "there" in `found` and "here" in `expected`; else ""."""
    there, here = ({k: tuple(getattr(v, "shape", ())) for k, v in state.items()} for state in (found, expected))
    told = {
        "only there": [key for key in there if key not in here],
        "only here": [key for key in here if key not in there],
        "of another shape": [
            f"{key} (there {shape}, here {here[key]})" for key, shape in there.items() if here.get(key, shape) != shape
        ],
    }
    return "; ".join(f"{what} {first_of(keys, SHOWN)}" for what, keys in told.items() if keys)


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the prefixes of (Distributed)DataParallel, `module.`, and of torch.compile, `_orig_mod.`."""
    plain = {re.sub(r"(^|\.)_orig_mod\.", r"\1", key): value for key, value in state.items()}
    while plain and all(key.startswith("module.") for key in plain):
        plain = {key.removeprefix("module."): value for key, value in plain.items()}
    return plain


def is_state_dict(state: object) -> TypeGuard[dict[str, Tensor]]:
    """Return whether `state` maps names to tensors."""
    return isinstance(state, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    )


def _torchvision_name(key: str) -> str:
    """Return torchvision's name for a parameter of this library, with or without `backbone.` in front; leave other keys alone."""
    key = re.sub(r"^(backbone\.)?stages\.", "", key)
    key = re.sub(r"^(backbone\.)?stem\.([01])\.", lambda m: ("conv1.", "bn1.")[int(m[2])], key)
    return re.sub(r"^(layer\d\.\d+\.conv1)\.1\.", r"\1.", key)  # TSM puts its shift in front of the convolution


def _part(key: str) -> str:
    """Return the part of the network that torchvision's `key` belongs to."""
    name = key.partition(".")[0]
    return "stem" if name in ("conv1", "bn1") else name


def _weights(name: str, weights: str) -> tuple[Mapping[str, Tensor], str]:
    """Return the state dict that `model.backbone.weights` names, and its source in words."""
    enum = torchvision.models.get_model_weights(name)
    if weights in enum.__members__:
        return _torchvision_weights(enum[weights]), f"{enum.__name__}.{weights}"
    file = Path(weights)
    if file.suffix not in (".pt", ".pth") and not file.is_file():  # train.init may name one with another ending
        raise WeightsError(
            f"model.backbone.weights: found {weights!r}; {name} has {', '.join(enum.__members__)}; "
            "else expected the path of a .pt or .pth file, or null"
        )
    try:
        state = load_weights_file(file, "weights")
    except FileNotFoundError:
        raise WeightsError(f"model.backbone.weights: {file}: no such file (looked from {Path.cwd()})") from None
    except WeightsError as error:
        raise WeightsError(f"model.backbone.weights: {error}") from None
    if isinstance(state, dict) and {"params", "classes", "model"} <= state.keys():  # a checkpoint of this library
        state = state["model"]
    if not is_state_dict(state):
        found = (
            f"a mapping of {', '.join(map(str, list(state)[:5]))}" if isinstance(state, dict) else type(state).__name__
        )
        raise WeightsError(
            f"model.backbone.weights: {file}: found {found}; expected a ResNet's state dict, or a checkpoint of this library"
        )
    return state, str(file)


def _torchvision_weights(entry: WeightsEnum) -> Mapping[str, Tensor]:
    """Return torchvision's weights from its cache; download them into it first if they are not there."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    what = f"model.backbone.weights: {type(entry).__name__}.{entry.name}"
    mend = f"download {entry.url} and put it at {file}"
    cached = file.exists()
    # The name ends in the start of the content's SHA-256; torch checks it when it downloads, not when it reads.
    if cached and (expected := re.search(r"-([0-9a-f]{8,})\.", file.name)):
        found = file_sha256(file)
        if not found.startswith(expected[1]):
            raise WeightsError(
                f"{what}: {file} is damaged: found {file.stat().st_size} bytes with SHA-256 {found[:8]}..., expected {expected[1]}...; "
                f"remove it to have it downloaded again, or {mend}"
            )
    try:
        state: Mapping[str, Tensor] = entry.get_state_dict(check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # no network, no space, a download cut short
        reason = why_unreadable(error)
        if cached:
            raise WeightsError(f"{what}: {file} cannot be read: {reason}; {mend}") from None
        raise WeightsError(
            f"{what} could not be downloaded ({reason}). On a machine with a network, {mend}; "
            "or train from scratch with model.backbone.weights=null"
        ) from error
    return state
