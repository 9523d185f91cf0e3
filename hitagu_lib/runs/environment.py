"""Is everything here that the book needs? `hitagu report environment`, and chapter 0.

Every check runs even if torch cannot be imported: that is one of the things to find out.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hitagu_lib.errors import ExtractError, first_of
from hitagu_lib.media.ffmpeg import ffmpeg_path
from hitagu_lib.prepare.extract import usable_cores

TORCH_PAIRS = {"2.11": "0.26", "2.12": "0.27"}
"""torch -> torchvision: the releases that are built together."""
KERNEL = "python3"
"""The kernel that the chapters name."""
FREE_GB = 2.0
"""Room for the mini data and the book's runs, in 1e9 bytes."""
_INSTALL = "python -m pip install -r requirements.txt"


@dataclass(frozen=True)
class Check:
    name: str
    found: str
    advice: str = ""
    """What is missing and what to do about it; empty: nothing is missing."""


def check_environment(folder: Path) -> list[Check]:
    """Look for what the book needs; `folder` is where its data and runs will be written."""
    return [_python(), _packages(), _torch(), _ffmpeg(), _kernel(), _cores(), _disk(folder)]


def environment_text(checks: list[Check]) -> str:
    """Format the checks as plain text: one line each, its advice below it."""
    lines = []
    for check in checks:
        lines.append(f"{'MISSING' if check.advice else 'ok':8}{check.name:22}{check.found}")
        if check.advice:
            lines.append(f"{'':8}{check.advice}")
    return "\n".join(lines)


def _python() -> Check:
    advice = "" if sys.version_info >= (3, 11) else "expected Python 3.11 or newer: make a new environment with it"
    return Check("Python", platform.python_version(), advice)


def _packages() -> Check:
    """Compare the installed packages with the ranges of pyproject.toml, the book's extras included."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires("hitagu-net") or []]
    except importlib.metadata.PackageNotFoundError:
        return Check(
            "packages", "this library is not installed", "python -m pip install --no-deps --no-build-isolation -e ."
        )
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": "book"})]
    wrong = []
    for one in needed:
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
        else:
            if not one.specifier.contains(version, prereleases=True):
                wrong.append(f"{one.name} is {version}, expected {one.specifier}")
    advice = f"{first_of(wrong, 5)}: {_INSTALL}" if wrong else ""
    return Check("packages", f"{len(needed) - len(wrong)} of {len(needed)}", advice)


def _torch() -> Check:
    """Import both: a torchvision that was built for another torch fails only then."""
    name = "torch, torchvision"
    try:
        torch = importlib.import_module("torch")
        torchvision = importlib.import_module("torchvision")
    except Exception as error:
        return Check(name, f"{type(error).__name__}: {error}", f"expected a pair that was built together: {_INSTALL}")
    device = torch.accelerator.current_accelerator(check_available=True)
    found = f"{torch.__version__}, {torchvision.__version__}; {f'GPU: {device.type}' if device else 'no GPU, and none is needed'}"
    expected = TORCH_PAIRS.get(_minor(torch.__version__))
    if expected == _minor(torchvision.__version__):
        return Check(name, found)
    pairs = " or ".join(f"{one} with {other}" for one, other in TORCH_PAIRS.items())
    return Check(name, found, f"expected {pairs}: {_INSTALL}")


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _ffmpeg() -> Check:
    """An ffmpeg from 4.4 on that can write H.264, which drawing the mini data takes."""
    get = "install one: apt-get install ffmpeg, conda install -c conda-forge ffmpeg, or pip install imageio-ffmpeg"
    try:
        path = ffmpeg_path()
        said = subprocess.run([path, "-hide_banner", "-encoders"], capture_output=True, text=True, check=True).stdout
        first = subprocess.run([path, "-version"], capture_output=True, text=True, check=True).stdout.partition("\n")[0]
    except (ExtractError, OSError, subprocess.CalledProcessError) as error:
        return Check("ffmpeg", str(error), get)
    version = re.search(r"version n?(\d+)\.(\d+)", first)
    found = f"{version.group().removeprefix('version ') if version else first}, {path}"
    if version and (int(version[1]), int(version[2])) < (4, 4):
        return Check("ffmpeg", found, f"expected 4.4 or newer; {get}")
    return Check("ffmpeg", found, "" if "libx264" in said else f"expected the encoder libx264; {get}")


def _kernel() -> Check:
    """The chapters' kernel must start this Python: another one has other packages."""
    name = f"kernel {KERNEL}"
    try:
        kernelspec = importlib.import_module("jupyter_client.kernelspec")
        command = kernelspec.KernelSpecManager().get_kernel_spec(KERNEL).argv[0]
    except Exception as error:  # jupyter_client is missing, or its NoSuchKernel
        return Check(name, f"{type(error).__name__}: {error}", "python -m pip install ipykernel")
    if command in (sys.executable, "python", "python3") or Path(command).parent == Path(sys.executable).parent:
        return Check(name, command)
    return Check(name, command, f"expected {sys.executable}: python -m ipykernel install --sys-prefix --name {KERNEL}")


def _cores() -> Check:
    cores = usable_cores()
    return Check("processor cores", str(cores), "" if cores >= 2 else "one works; the times in this book are for two")


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / 1e9
    advice = (
        ""
        if free >= FREE_GB
        else f"expected {FREE_GB:g} GB for the mini data and the runs: free some, or clone elsewhere"
    )
    return Check("free disk space", f"{free:,.1f} GB", advice)
