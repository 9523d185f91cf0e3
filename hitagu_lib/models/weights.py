"""Pretrained weights for the backbone: from torchvision, a file, or a checkpoint."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from torch import Tensor
from torchvision.models import WeightsEnum

from hitagu_lib.config import BackboneConfig
from hitagu_lib.errors import WeightsError
from hitagu_lib.models.backbone import LoadedWeights, TruncatedResNet

_log = logging.getLogger(__name__)


def load_pretrained(backbone: TruncatedResNet, cfg: BackboneConfig) -> LoadedWeights | None:
    """Load what `cfg.weights` names into the backbone, log it and keep a record in `backbone.loaded`; None where it names nothing.

    `cfg.weights` is a name in torchvision's weights enum, or a .pt or .pth file as `load_backbone` takes it. Raises WeightsError where
    they cannot be had or do not fit.
    """
    if cfg.weights is not None:
        backbone.loaded = load_backbone(backbone, *_weights(cfg.name, cfg.weights))
        _log.log(logging.WARNING if backbone.loaded.random else logging.INFO, "%s", backbone.loaded)
    return backbone.loaded


def load_backbone(backbone: TruncatedResNet, state: Mapping[str, Tensor], source: str) -> LoadedWeights:
    """Copy weights into the parts that the backbone and `state` both have: the stem and the stages, each whole or not at all.

    `state` may be of a network cut elsewhere or not at all: a ResNet's state dict under torchvision's names, or the model of one of our
    checkpoints. Raises WeightsError, and leaves the backbone as it was, where nothing is shared, or a shared part has other shapes or keys.
    """
    own = {_torchvision_name(key): value for key, value in backbone.state_dict().items()}  # views: written to below
    given = {_torchvision_name(key): value for key, value in state.items()}
    parts, given_parts = (tuple(dict.fromkeys(map(_part, names))) for names in (own, given))
    shared = [part for part in parts if part in given_parts]
    if not shared:
        raise WeightsError(
            f"model.backbone.weights: {source}: found {', '.join(list(state)[:3]) or 'no key'}, ...; expected the names of a torchvision "
            "ResNet (conv1.weight, bn1.weight, ..., layer1.0.conv1.weight, ...), or a checkpoint of this library"
        )
    copied = []
    for key, value in own.items():
        if _part(key) not in shared:
            continue
        if key not in given:
            if key.endswith("num_batches_tracked"):  # older files are without it, and nothing here depends on it
                continue
            raise WeightsError(f"model.backbone.weights: {source}: {key} is missing; {_OTHER_RESNET}")
        found, expected = tuple(given[key].shape), tuple(value.shape)
        if found != expected:
            raise WeightsError(
                f"model.backbone.weights: {source}: {key}: found shape {found}; expected {expected}; {_OTHER_RESNET}"
            )
        copied.append((value, given[key]))
    for key in given:
        if _part(key) in shared and key not in own:
            raise WeightsError(f"model.backbone.weights: {source}: {key} has no place in the backbone; {_OTHER_RESNET}")
    for value, new in copied:
        value.copy_(new)
    return LoadedWeights(
        source,
        tuple(shared),
        tuple(part for part in given_parts if part not in shared),
        tuple(part for part in parts if part not in shared),
    )


_OTHER_RESNET = "are these weights of another ResNet than model.backbone.name?"


def _torchvision_name(key: str) -> str:
    """torchvision's name of a parameter of ours, with or without `backbone.` in front; any other key as it is."""
    key = re.sub(r"^(backbone\.)?stages\.", "", key)
    key = re.sub(r"^(backbone\.)?stem\.([01])\.", lambda m: ("conv1.", "bn1.")[int(m[2])], key)
    return re.sub(r"^(layer\d\.\d+\.conv1)\.1\.", r"\1.", key)  # TSM puts its shift in front of the convolution


def _part(key: str) -> str:
    """The part of the network that torchvision's `key` belongs to."""
    name = key.partition(".")[0]
    return "stem" if name in ("conv1", "bn1") else name


def _weights(name: str, weights: str) -> tuple[Mapping[str, Tensor], str]:
    """The state dict that `model.backbone.weights` names, and where it comes from."""
    enum = torchvision.models.get_model_weights(name)
    if weights in enum.__members__:
        return _torchvision_weights(enum[weights]), f"{enum.__name__}.{weights}"
    file = Path(weights)
    if file.suffix not in (".pt", ".pth"):
        raise WeightsError(
            f"model.backbone.weights: found {weights!r}; {name} has {', '.join(enum.__members__)}; "
            "else expected the path of a .pt or .pth file, or null"
        )
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"model.backbone.weights: {file}: no such file (looked from {Path.cwd()})") from None
    except Exception as error:  # torch.load raises a dozen kinds
        raise WeightsError(f"model.backbone.weights: {file}: cannot be read as weights: {_reason(error)}") from error
    if isinstance(state, dict) and {"params", "classes", "model"} <= state.keys():  # a checkpoint of ours
        state = state["model"]
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        found = (
            f"a mapping of {', '.join(map(str, list(state)[:5]))}" if isinstance(state, dict) else type(state).__name__
        )
        raise WeightsError(
            f"model.backbone.weights: {file}: found {found}; expected a ResNet's state dict, or a checkpoint of this library"
        )
    return state, str(file)


def _torchvision_weights(entry: WeightsEnum) -> Mapping[str, Tensor]:
    """torchvision's weights from its cache, else downloaded into it."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    what = f"model.backbone.weights: {type(entry).__name__}.{entry.name}"
    mend = f"download {entry.url} and put it at {file}"
    cached = file.exists()
    # The name ends in the start of the content's SHA-256; torch checks it when it downloads, not when it reads.
    if cached and (expected := re.search(r"-([0-9a-f]{8,})\.", file.name)):
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if not found.startswith(expected[1]):
            raise WeightsError(
                f"{what}: {file} is damaged: found {file.stat().st_size} bytes with SHA-256 {found[:8]}..., expected {expected[1]}...; "
                f"remove it to have it downloaded again, or {mend}"
            )
    try:
        state: Mapping[str, Tensor] = entry.get_state_dict(check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # no network, no space, a download cut short
        if cached:
            raise WeightsError(f"{what}: {file} cannot be read: {_reason(error)}; {mend}") from error
        raise WeightsError(
            f"{what} could not be downloaded ({_reason(error)}). On a machine with a network, {mend}; "
            "or train from scratch with model.backbone.weights=null"
        ) from error
    return state


def _reason(error: Exception) -> str:
    """The first line of what torch says, or the error's kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
