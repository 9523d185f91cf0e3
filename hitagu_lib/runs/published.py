"""Checkpoints that others have trained: `params/checkpoints.yaml` names them, `fetch` brings them.

url -> written aside -> SHA-256 -> load_checkpoint -> rename -> file

The file is there whole and as published, or not at all.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tqdm.auto import tqdm

from hitagu_lib.config import read_params
from hitagu_lib.errors import ConfigError, WeightsError
from hitagu_lib.files import file_sha256, replacing
from hitagu_lib.runs.checkpoint import load_checkpoint

NAMES = "params/checkpoints.yaml"
TIMEOUT = 30.0
"""Seconds without a byte after which a server is given up."""


@dataclass(frozen=True)
class Published:
    """A checkpoint that has a name, a place, and once it is published an address and a hash."""

    name: str
    file: Path
    what: str = ""
    url: str | None = None
    sha256: str | None = None

    def state(self) -> str:
        """Of the file, in a few words."""
        if not self.file.exists():
            return "not there; published" if self.url else "not there; not published yet"
        if self.sha256 is None:
            return "there, your own; not published yet"
        return "there, as published" if file_sha256(self.file) == self.sha256 else "there, another file than published"


def read_names(file: str | Path = NAMES) -> dict[str, Published]:
    """Name -> checkpoint. Raises ConfigError naming the file and the key."""
    names = {}
    for name, value in read_params(file).items():
        where = f"{file}: {name}"
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: found {value!r}; expected the keys file, url, sha256 and what")
        known = {"file", "url", "sha256", "what"}
        if unknown := value.keys() - known:
            raise ConfigError(f"{where}: found {', '.join(sorted(unknown))}; known here: {', '.join(sorted(known))}")
        for key, text in value.items():
            if not isinstance(text, str) and not (text is None and key in ("url", "sha256")):
                raise ConfigError(f"{where}.{key}: found {text!r} ({type(text).__name__}); expected text")
        given = Published(
            str(name), Path(value.get("file", "")), value.get("what", ""), value.get("url"), value.get("sha256")
        )
        _check(given, where)
        names[given.name] = given
    return names


def _check(given: Published, where: str) -> None:
    if not given.file.name:
        raise ConfigError(
            f"{where}.file: found none; expected where the checkpoint goes, such as outputs/pretrained/{given.name}.pt"
        )
    if given.url is not None and (
        urlsplit(given.url).scheme not in ("http", "https") or not urlsplit(given.url).hostname
    ):
        raise ConfigError(
            f"{where}.url: found {given.url!r}; expected an address that begins with https:// or http://, or null"
        )
    if given.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", given.sha256):
        raise ConfigError(f"{where}.sha256: found {given.sha256!r}; expected 64 of 0-9a-f, what `sha256sum` prints")
    if (given.url is None) != (given.sha256 is None):
        raise ConfigError(f"{where}: found one of url and sha256; expected both, or null for both")


def fetch(published: Published, *, force: bool = False, progress: bool = False) -> bool:
    """Bring a checkpoint to `published.file`; whether anything was downloaded, which is not so where it is there already.

    Raises WeightsError where it is not published, another file is in its place (with `force` it is replaced), the download fails, or what
    came is not what was published.
    """
    name, file = published.name, published.file
    if published.url is None or published.sha256 is None:
        if file.exists():
            return False
        raise WeightsError(
            f"{name}: no weights are published yet; put your own at {file}, such as a run's checkpoints/best.pt"
        )
    if file.exists():
        if (there := file_sha256(file)) == published.sha256:
            return False
        if not force:
            raise WeightsError(
                f"{file}: is there already, with SHA-256 {there[:12]}...; {name} as published has {published.sha256[:12]}...; "
                "move it away, or ask to replace it (--force)"
            )
    where, kept = f"{name}: {published.url}", f"; {file} is as it was" if file.exists() else f"; {file} was not written"
    with replacing(file) as aside:
        try:
            found = _download(published.url, aside, progress)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise WeightsError(f"{where}: {_reason(error)}{kept}") from error
        if found != published.sha256:
            raise WeightsError(
                f"{where}: what came has SHA-256 {found[:12]}...; expected {published.sha256[:12]}...; was it published anew, or changed "
                f"on the way?{kept}"
            )
        try:
            load_checkpoint(aside)
        except WeightsError as error:
            raise WeightsError(f"{where}: what came {str(error).partition(': ')[2]}{kept}") from error
    return True


def _download(url: str, aside: Path, progress: bool) -> str:
    """The content into `aside`; its SHA-256. Raises OSError, HTTPException or ValueError."""
    digest, done = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response, aside.open("wb") as stream:
        if urlsplit(response.url).scheme not in ("http", "https"):
            raise ValueError(f"it leads on to {response.url}, which is neither http nor https")
        length = response.headers.get("Content-Length")
        total = int(length) if length is not None else None
        with tqdm(total=total, unit="B", unit_scale=True, desc=aside.name, disable=None if progress else True) as bar:
            while chunk := response.read(1 << 20):
                stream.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                bar.update(len(chunk))
        if total is not None and done != total:
            raise ValueError(f"the connection ended after {done} of {total} bytes; run it again")
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection: {error.reason}"
    if isinstance(error, TimeoutError):
        return f"the server was silent for {TIMEOUT:.0f} seconds"
    return str(error) or type(error).__name__
