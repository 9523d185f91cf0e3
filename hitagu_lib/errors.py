"""Errors that a user can act on.

The command line prints only the message of a `HitaguError` and exits with 2; any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


def first_of(names: Sequence[str], shown: int) -> str:
    """Return the first `shown` names and how many more there are, for a message of one line."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


class HitaguError(Exception):
    """Base class of all errors whose message is for the user: where, what was found, what was expected, what to do."""

    def __init__(self, message: str = "") -> None:
        # PyTorch raises a loader process's error anew, with that process's traceback as the message; its last words are ours.
        before, name, ours = message.rpartition(f"\n{type(self).__module__}.{type(self).__qualname__}: ")
        super().__init__(ours.rstrip("\n") if name and before.startswith("Caught ") else message)


class ListError(HitaguError):
    """A list of clips, a classes file or a folder of frames is wrong."""


class ExtractError(HitaguError):
    """A video cannot be extracted to frames, or not with these settings."""


class ConfigError(HitaguError):
    """A parameter is unknown, of the wrong type, out of range or in conflict with another."""


class ClipError(HitaguError):
    """A clip's frames cannot be read."""


class WeightsError(HitaguError):
    """Weights or a checkpoint are missing, cannot be read or do not fit."""


class ExportError(HitaguError):
    """A network cannot be exported as asked, or the exported file gives other logits."""


class TrainingError(HitaguError):
    """Training cannot continue, for instance because the loss is not a number."""
