"""Read, check and write checkpoint files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from hitagu_lib.errors import WeightsError
from hitagu_lib.files import replacing, to_disk
from hitagu_lib.models.weights import is_state_dict, unwrapped
from hitagu_lib.models.weights_file import load_weights_file


def load_checkpoint(file: str | Path) -> dict[str, Any]:
    """Return a checkpoint's state, on the CPU. Only tensors and plain values are loaded, never code.

    Raises WeightsError if the file is missing, damaged or not a checkpoint of this library.
    """
    try:
        state = load_weights_file(file, "a checkpoint")
    except FileNotFoundError:
        raise WeightsError(
            f"{file}: no such checkpoint; `hitagu train` writes one to outputs/<run>/checkpoints/last.pt"
        ) from None
    if not isinstance(state, dict) or not {"params", "classes", "model"} <= state.keys():
        raise WeightsError(f"{file}: found no params, classes and model in it; expected a checkpoint of this library")
    for key, fits, expected in (
        ("params", isinstance(state["params"], dict), "a mapping"),
        ("classes", _is_labels(state["classes"]), "a list of labels"),
        ("model", is_state_dict(state["model"]), "tensors by name"),
    ):
        if not fits:
            raise WeightsError(f"{file}: {key}: found {type(state[key]).__name__}; expected {expected}")
    state["model"] = unwrapped(state["model"])
    return state


def _is_labels(classes: object) -> bool:
    return isinstance(classes, list | tuple) and all(isinstance(label, str) for label in classes)


def save_checkpoint(file: Path, state: dict[str, Any], keep_as: Path | None = None) -> None:
    """Write `state` to `file` atomically; it is on disk when this returns. `keep_as`: the name that the replaced file takes."""
    with replacing(file) as aside:
        with aside.open("wb") as stream:
            try:
                torch.save(state, stream)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch's own error hides the kind, such as a full disk
                    raise error.__context__ from None
                raise
            to_disk(stream)
        if keep_as is not None and file.exists():
            os.replace(file, keep_as)


def tensor_bytes(state: Any) -> int:
    """Return the bytes of all tensors in nested dicts, lists and tuples."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    items = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(map(tensor_bytes, items))
