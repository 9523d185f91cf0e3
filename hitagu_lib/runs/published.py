"""Published checkpoints: `params/checkpoints.yaml` names them, `fetch` downloads them.

url -> temporary file -> SHA-256 -> load_checkpoint -> rename -> file

So `file` is either complete and as published, or not there.
"""

from __future__ import annotations

import http.client
import re
import socket
import sys
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch.hub import download_url_to_file

from hitagu_lib.config import read_params
from hitagu_lib.errors import ConfigError, WeightsError
from hitagu_lib.files import file_sha256, replacing
from hitagu_lib.runs.checkpoint import load_checkpoint

NAMES = "params/checkpoints.yaml"
TIMEOUT = 30.0
"""Seconds without a byte after which a download fails."""


@dataclass(frozen=True)
class Published:
    """A checkpoint's name and file and, once it is published, its address and hash."""

    name: str
    file: Path
    what: str = ""
    url: str | None = None
    sha256: str | None = None

    def state(self) -> str:
        """Say in a few words whether the file is there, and whether it is the published one."""
        if not self.file.exists():
            return "not there; published" if self.url else "not there; not published yet"
        if self.sha256 is None:
            return "there, your own; not published yet"
        return "there, as published" if file_sha256(self.file) == self.sha256 else "there, another file than published"


def read_names(file: str | Path = NAMES) -> dict[str, Published]:
    """Read a file of names: name -> checkpoint. Raise ConfigError with the file and the key of a wrong entry."""
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
        file_name, url, sha256 = value.get("file", ""), value.get("url"), value.get("sha256")
        if not Path(file_name).name:
            raise ConfigError(
                f"{where}.file: found none; expected a path for the checkpoint, such as outputs/pretrained/{name}.pt"
            )
        if url is not None and not re.match(r"(?i)https?://[^/]", url):
            raise ConfigError(
                f"{where}.url: found {url!r}; expected an address that begins with https:// or http://, or null"
            )
        if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ConfigError(f"{where}.sha256: found {sha256!r}; expected 64 of 0-9a-f, what `sha256sum` prints")
        if (url is None) != (sha256 is None):
            raise ConfigError(f"{where}: found one of url and sha256; expected both, or null for both")
        names[str(name)] = Published(str(name), Path(file_name), value.get("what", ""), url, sha256)
    return names


def fetch(published: Published, *, force: bool = False, progress: bool = False) -> bool:
    """Download a checkpoint to `published.file`. Return False, without downloading, if it is there already.

    force: replace a different file of that name.
    Raises WeightsError if the checkpoint is not published, a different file is in its place, the download fails, or what arrived is not the
    published checkpoint.
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
                f"{file}: exists, with SHA-256 {there[:12]}...; {name} as published has {published.sha256[:12]}...; "
                "move it away, or replace it with --force"
            )
    where, kept = f"{name}: {published.url}", f"; {file} is unchanged" if file.exists() else f"; {file} was not written"
    with replacing(file) as aside:
        try:
            with _timeout(TIMEOUT):
                bar = progress and sys.stderr.isatty()
                download_url_to_file(published.url, str(aside), hash_prefix=published.sha256, progress=bar)
            load_checkpoint(aside)
        except WeightsError as error:
            raise WeightsError(
                f"{where}: the download is not a checkpoint of this library: {str(error).partition(': ')[2]}{kept}"
            ) from error
        except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
            raise WeightsError(f"{where}: {_reason(error)}{kept}") from error
    return True


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Let connections without a timeout of their own, such as torch.hub's, time out."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection: {error.reason}"
    if isinstance(error, TimeoutError):
        return f"the server was silent for {TIMEOUT:.0f} seconds"
    if str(error).startswith("invalid hash value"):  # torch.hub's words, with both values
        return f"{error}: the connection ended early (run the command again), or the file is not the published one"
    return str(error) or type(error).__name__
