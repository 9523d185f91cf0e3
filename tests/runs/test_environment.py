"""The environment check: a whole environment passes, and each thing that is missing is named with its remedy."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import jupyter_client.kernelspec
import pytest
import torch
import torchvision

from hitagu_lib.cli.main import main
from hitagu_lib.runs import environment
from hitagu_lib.runs.environment import Check, check_environment, environment_text


def named(name: str, folder: Path) -> Check:
    return next(check for check in check_environment(folder) if check.name == name)


def test_every_check_says_what_it_found(tmp_path: Path) -> None:
    checks = check_environment(tmp_path)
    assert all(check.found for check in checks)
    found = {check.name: check for check in checks}
    assert torch.__version__ in found["torch, torchvision"].found
    # What these tests themselves need is here.
    assert [found[name].advice for name in ("Python", "packages", "torch, torchvision")] == ["", "", ""]


def test_a_torchvision_that_does_not_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchvision from PyPI beside a CPU-only torch."""

    def fail(name: str) -> object:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return sys.modules[name]

    monkeypatch.setattr(environment.importlib, "import_module", fail)
    check = named("torch, torchvision", tmp_path)
    assert "torchvision::nms" in check.found and "built together" in check.advice


def test_a_pair_that_does_not_match_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision, "__version__", "0.25.0+cpu")
    check = named("torch, torchvision", tmp_path)
    assert "0.25.0+cpu" in check.found and "2.12 with 0.27" in check.advice


def test_missing_and_old_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = importlib.metadata.version

    def version(name: str) -> str:
        if name == "papermill":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "ipywidgets" else whole(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    advice = named("packages", tmp_path).advice
    assert "papermill is missing" in advice and "ipywidgets is 0.1, expected >=8.1" in advice


def fake_ffmpeg(folder: Path, first: str, encoders: str) -> None:
    script = folder / "ffmpeg"
    script.write_text(f"#!/bin/sh\ncase $1 in -version) echo '{first}';; *) echo '{encoders}';; esac\n")
    script.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for ffmpeg")
@pytest.mark.parametrize(
    ("first", "encoders", "advice"),
    [
        ("ffmpeg version 5.1.6-0+deb12u1 Copyright", " V....D libx264 ", ""),
        ("ffmpeg version n7.0 Copyright", " V....D libx264 ", ""),
        ("ffmpeg version 4.2.7 Copyright", " V....D libx264 ", "expected 4.4 or newer"),
        ("ffmpeg version 6.0 Copyright", " V....D mpeg4 ", "expected the encoder libx264"),
    ],
)
def test_ffmpeg_must_be_new_and_write_h264(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, encoders: str, advice: str
) -> None:
    fake_ffmpeg(tmp_path, first, encoders)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    check = named("ffmpeg", tmp_path)
    assert str(tmp_path) in check.found
    assert check.advice.startswith(advice) and bool(check.advice) == bool(advice)


def test_a_kernel_of_another_python_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(argv=["/somewhere/else/bin/python", "-m", "ipykernel_launcher"])
    monkeypatch.setattr(jupyter_client.kernelspec.KernelSpecManager, "get_kernel_spec", lambda self, name: other)
    check = named("kernel python3", tmp_path)
    assert check.found == "/somewhere/else/bin/python" and sys.executable in check.advice


def test_cores_and_disk_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "usable_cores", lambda: 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_500_000_000))
    assert "times in this book are for two" in named("processor cores", tmp_path).advice
    check = named("free disk space", tmp_path)
    assert check.found == "1.5 GB" and "expected 2 GB" in check.advice


def test_the_command_prints_the_checks_and_counts_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [Check("Python", "3.12.1")]
    monkeypatch.setattr(environment, "check_environment", lambda folder: checks)
    assert main(["report", "environment"]) == 0
    assert capsys.readouterr().out == environment_text(checks) + "\n"
    checks.append(Check("ffmpeg", "none", "install one"))
    assert main(["report", "environment"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == ["MISSING ffmpeg                none", "        install one"]
