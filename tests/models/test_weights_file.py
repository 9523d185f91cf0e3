"""hitagu_lib/models/weights_file.py: every file that is not torch.save's is named, and no message advises to load it unsafely."""

import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hitagu_lib.errors import WeightsError
from hitagu_lib.models.weights_file import load_weights_file
from hitagu_lib.runs.checkpoint import load_checkpoint


class Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch HACKED",)


def saved(value: object, **options: object) -> Callable[[Path], None]:
    return lambda file: torch.save(value, file, **options)


def half_of(write: Callable[[Path], None]) -> Callable[[Path], None]:
    def cut(file: Path) -> None:
        write(file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return cut


def one_byte_changed(file: Path) -> None:
    torch.save({"w": torch.arange(1000)}, file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def torch_export(file: Path) -> None:
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), file.with_suffix(".pt2"))
    file.with_suffix(".pt2").rename(file)


def numpy_archive(file: Path) -> None:
    with file.open("wb") as stream:
        np.savez(stream, w=np.zeros(3))


def holding(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


SAFETENSORS = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
WEIGHTS = {"w": torch.zeros(1000)}

OTHER_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (holding(b""), "it is empty; copy or download it again"),
    "NULs": (holding(bytes(70_000)), "it holds 70000 NUL bytes and nothing else, as a power cut"),
    "web page": (
        holding(b"\n<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>"),
        r'it is a web page \(titled "404 Not Found"\), saved in place of the weights; download the file itself',
    ),
    "LFS pointer": (
        holding(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4000000\n"),
        "it is a Git LFS pointer in place of the weights; run `git lfs pull`",
    ),
    "annex pointer": (holding(b"/annex/objects/SHA256E-s4--4d7a.pt\n"), "it is a git-annex pointer .* `git annex get`"),
    "JSON": (holding(b'{"error": "no such key"}'), r'it is JSON, .*\(it begins "\{.*no such key'),
    "XML": (holding(b'<?xml version="1.0"?><Error>AccessDenied</Error>'), r"it is text, .*\(it begins .*AccessDenied"),
    "text": (holding("\ufeffkein Zugriff: Ä\n".encode()), r'it is text, .*\(it begins "kein Zugriff: Ä"\)'),
    "safetensors": (
        holding(struct.pack("<Q", len(SAFETENSORS)) + SAFETENSORS + bytes(4)),
        "safetensors.torch.load_file",
    ),
    "ONNX": (holding(b"\x08\x0a\x12\x07pytorch\x1a\x062.11.0:\x80"), "it is an ONNX network; give the checkpoint"),
    "HDF5": (holding(b"\x89HDF\r\n\x1a\n" + bytes(range(256))), "it is an HDF5 file, such as Keras writes"),
    "gzip": (holding(b"\x1f\x8b\x08" + bytes(range(256))), "it is a gzip archive; unpack it first"),
    "TorchScript": (
        lambda file: torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), file),
        r"it is a TorchScript program .*torch\.save its state_dict\(\)",
    ),
    "torch.export": (torch_export, r"it is a network exported by torch\.export; give the checkpoint"),
    "npz": (numpy_archive, r"a zip archive that torch\.save did not write \(it holds w\.npy\)"),
    "half a zip": (half_of(saved(WEIGHTS)), r"it is a zip archive cut short, \d+ bytes without its end"),
    "half a legacy file": (half_of(saved(WEIGHTS, _use_new_zipfile_serialization=False)), "unexpected EOF, expected"),
    "one byte changed": (one_byte_changed, r"\w+/data/0 in it is damaged; copy or download it again"),
    "code": (saved({"model": Evil()}), r"it holds Python objects \(posix\.system\), .* so it is refused"),
    "a network": (
        saved(torch.nn.Linear(2, 2)),
        r"it holds Python objects \(torch\.nn\.modules\.linear\.Linear\), .*torch\.save its state_dict\(\)",
    ),
    "plain pickle": (
        holding(pickle.dumps(Evil())),
        r"it is a pickle of another form than torch\.save writes by default, .* it is refused",
    ),
    "folder": (lambda file: file.mkdir(), "it is a folder; expected a file"),
    "pipe": (lambda file: os.mkfifo(file), "it is no regular file; expected a file"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit is on its way out; its files stay
@pytest.mark.parametrize(("write", "message"), OTHER_FILES.values(), ids=OTHER_FILES)
def test_a_file_that_is_no_weights_is_named(
    write: Callable[[Path], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "some.pt")
    with pytest.raises(WeightsError, match=f"^{tmp_path}/some.pt: cannot be read as weights: .*{message}") as caught:
        load_weights_file(tmp_path / "some.pt", "weights")
    assert not re.search(r"\x1b|weights_only|\n|trust", str(caught.value)), "neither colours nor unsafe advice"
    assert caught.value.__cause__ is None and caught.value.__context__ is None, "a notebook shows those too"
    assert not Path("HACKED").exists()


def test_the_odd_files_of_real_reports(shared_data: Path) -> None:
    for name, what in (("w_html.pth", "it is a web page"), ("lfs.pt", "it is a Git LFS pointer")):
        file = shared_data / "odd" / name
        if not file.exists():
            pytest.skip(f"no {file}")
        with pytest.raises(WeightsError, match=f"{name}: cannot be read as a checkpoint: {what}"):
            load_checkpoint(file)


def test_whole_files_of_every_kind_that_torch_saves_are_read(tmp_path: Path) -> None:
    for i, options in enumerate(({}, {"_use_new_zipfile_serialization": False})):
        torch.save(WEIGHTS, tmp_path / f"{i}.pt", **options)
        assert torch.equal(load_weights_file(tmp_path / f"{i}.pt", "weights")["w"], WEIGHTS["w"])
    with pytest.raises(FileNotFoundError):
        load_weights_file(tmp_path / "none.pt", "weights")
