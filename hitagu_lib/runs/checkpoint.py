"""Read, check and write checkpoint files."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from hitagu_lib.errors import WeightsError
from hitagu_lib.files import replacing, to_disk


def load_checkpoint(file: str | Path) -> dict[str, Any]:
    """Return a checkpoint's state, on the CPU. Only tensors and plain values are loaded, never code.

    Raises WeightsError if the file is missing, damaged or not a checkpoint of this library.
    """
    try:
        if not zipfile.is_zipfile(file):
            raise ValueError(_kind(Path(file)))
        with zipfile.ZipFile(file) as archive:  # torch writes checksums, and does not check them
            if (part := archive.testzip()) is not None:
                raise ValueError(f"{part} is damaged")
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(
            f"{file}: no such checkpoint; `hitagu train` writes one to outputs/<run>/checkpoints/last.pt"
        ) from None
    except Exception as error:  # torch.load raises a dozen kinds, some of them without a word
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{file}: cannot be read as a checkpoint: {first_line}") from error
    if not isinstance(state, dict) or not {"params", "classes", "model"} <= state.keys():
        raise WeightsError(f"{file}: found no params, classes and model in it; expected a checkpoint of this library")
    return state


def _kind(file: Path) -> str:
    """Say what a file is that is not the zip archive that torch.save writes."""
    with file.open("rb") as stream:
        start = stream.read(64)
    size = file.stat().st_size
    if not size:
        return "the file is empty; a power cut or a full disk leaves such files"
    if not start.strip(b"\0"):
        return f"the file begins with zeros ({size} bytes); a power cut leaves such files"
    if start.startswith(b"version https://git-lfs"):
        return "the file is a Git LFS pointer; `git lfs pull` fetches what it stands for"
    if start.lstrip().startswith(b"<"):
        return "the file is a web page or XML; download the checkpoint itself"
    if start.startswith(b"PK"):
        return f"the file is cut short ({size} bytes); copy or download it again"
    return f"found {size} bytes beginning with {start[:8]!r}; expected the zip archive that torch.save writes"


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
