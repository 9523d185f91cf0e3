"""Read a file that torch.save wrote, or say what the file is instead.

A download or a clone often leaves another file under the name of weights: a web page, a Git LFS pointer, the first half. torch answers
most of them with the advice to load without `weights_only`, which runs whatever code the file carries. The messages here name the file's
kind and a safe way out.
"""

from __future__ import annotations

import json
import re
import stat
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from hitagu_lib.errors import WeightsError

_AGAIN = "copy or download it again"
_STATE_DICT = "load it with what wrote it and torch.save its state_dict()"

_FIRST_BYTES = {
    b"version https://git-lfs": "a Git LFS pointer in place of the weights; run `git lfs pull` in the repository it comes from",
    b"/annex/objects/": "a git-annex pointer in place of the weights; run `git annex get` in the repository it comes from",
    b"\x89HDF\r\n\x1a\n": f"an HDF5 file, such as Keras writes; {_STATE_DICT}",
    b"\x93NUMPY": f"a NumPy array; {_STATE_DICT}",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
}


def load_weights_file(file: str | Path, kind: str) -> Any:
    """Return what torch.save wrote to `file`, on the CPU: tensors and plain values only, never code.

    kind: what the file should hold, for the message, such as "weights" or "a checkpoint". Raises FileNotFoundError if the file is
    missing, else WeightsError with the file, what it is and what to do.
    """
    file = Path(file)
    try:
        reason = _other_kind(file)
        if reason is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # torch warns of pickle protocols before it refuses them
                return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch.load raises a dozen kinds
        reason = why_unreadable(error)
    # Raised outside the except block: a notebook would also show the original error, with torch's advice.
    raise WeightsError(f"{file}: cannot be read as {kind}: {reason}")


def why_unreadable(error: Exception) -> str:
    """Return in one line why torch.load failed, without colour codes and without advice to load unsafely."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if found := re.search(r"GLOBAL (\S+)", text):
        return (
            f"it holds Python objects ({found[1]}), and unpickling them could run code, so it is refused; expected tensors and plain "
            f"values only: {_STATE_DICT}"
        )
    if "weights_only" in text or "Weights only" in text:
        return (
            "it is a pickle of another form than torch.save writes by default, and unpickling it could run code, so it is refused; "
            f"{_STATE_DICT}"
        )
    return (text.splitlines() or [type(error).__name__])[0]


def _other_kind(file: Path) -> str | None:
    """Return what the file is and what to do, or None if it may be torch.save's."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        return f"it is {'a folder' if stat.S_ISDIR(status.st_mode) else 'no regular file'}; expected a file"
    with file.open("rb") as stream:
        head = stream.read(4096)
        if not head:
            return f"it is empty; {_AGAIN}"
        if not any(head) and not any(map(any, iter(lambda: stream.read(1 << 20), b""))):
            return f"it holds {status.st_size} NUL bytes and nothing else, as a power cut or a failed copy leaves it; {_AGAIN}"
    for start, what in _FIRST_BYTES.items():
        if head.startswith(start):
            return f"it is {what}"
    if head.startswith(b"PK\x03\x04"):
        return _other_zip(file, status.st_size)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < status.st_size:
        return "it is a safetensors file; load it with safetensors.torch.load_file and torch.save the result"
    if head[0] == 8 and head[1] < 32 and (file.suffix == ".onnx" or b"onnx" in head or b"pytorch" in head[:64]):
        return "it is an ONNX network; give the checkpoint that it was exported from"
    return _text(head)


def _other_zip(file: Path, size: int) -> str | None:
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile:
        return f"it is a zip archive cut short, {size} bytes without its end; {_AGAIN}"
    with archive:
        # Without torch's folder around them all.
        names = [name.partition("/")[2] or name for name in archive.namelist()]
        if "constants.pkl" in names:
            return f"it is a TorchScript program (torch.jit.save); {_STATE_DICT}"
        if "archive_format" in names or "serialized_exported_program.json" in names:
            return "it is a network exported by torch.export; give the checkpoint that it was exported from"
        if "data.pkl" not in names:
            return (
                f"it is a zip archive that torch.save did not write (it holds {', '.join(names[:3])}); unpack it first"
            )
        # torch writes checksums and does not check them.
        damaged = archive.testzip()
    return damaged and f"{damaged} in it is damaged; {_AGAIN}"


def _text(head: bytes) -> str | None:
    """Say what a text in place of weights is; None for anything but text."""
    text = head.decode("utf-8", errors="ignore")
    # A character cut at the end of `head` is at most three bytes.
    if len(text.encode()) < len(head) - 3 or not all(c.isprintable() or c.isspace() or c == "\ufeff" for c in text):
        return None
    text = text.lstrip("\ufeff").strip()
    begins = json.dumps(text.partition("\n")[0][:80], ensure_ascii=False)
    if re.match(r"(<!doctype html|<(html|head|body)\b)", text, re.IGNORECASE) or "<html" in text.lower():
        title = re.search(r"<title>\s*(.*?)\s*</title>", text, re.IGNORECASE | re.DOTALL)
        named = f" (titled {json.dumps(title[1][:80], ensure_ascii=False)})" if title else ""
        return (
            f"it is a web page{named}, saved in place of the weights; download the file itself, not the page about it"
        )
    kind = "JSON" if text.startswith(("{", "[")) else "text"
    return f"it is {kind}, saved in place of the weights (it begins {begins}); {_AGAIN}"
