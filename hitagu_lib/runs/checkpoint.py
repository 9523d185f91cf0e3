"""Checkpoint files: read, checked, written."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from hitagu_lib.errors import WeightsError


def load_checkpoint(file: str | Path) -> dict[str, Any]:
    """A checkpoint's state, on the CPU; tensors and plain values only, never code.

    Raises WeightsError where the file is missing, damaged or no checkpoint of this library.
    """
    try:
        if zipfile.is_zipfile(file):  # as torch writes them, with checksums that it does not look at itself
            with zipfile.ZipFile(file) as archive:
                if (part := archive.testzip()) is not None:
                    raise ValueError(f"{part} is damaged")
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(
            f"{file}: no such checkpoint; `hitagu train` writes one to outputs/<run>/checkpoints/last.pt"
        ) from None
    except Exception as error:  # torch.load raises a dozen kinds
        raise WeightsError(f"{file}: cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not {"params", "classes", "model"} <= state.keys():
        raise WeightsError(f"{file}: found no params, classes and model in it; expected a checkpoint of this library")
    return state


def tensor_bytes(state: Any) -> int:
    if isinstance(state, torch.Tensor):
        return state.nbytes
    items = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(map(tensor_bytes, items))
