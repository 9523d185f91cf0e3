"""Errors that a user can act on.

The command line prints only the message of a `HitaguError` and exits with 2; anything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


def first_of(names: Sequence[str], shown: int) -> str:
    """The first of many names, and how many more there are, for a message in one line."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


class HitaguError(Exception):
    """Base of every error whose message is meant for the user: where it is, what was found, what was expected, what to do."""


class ListError(HitaguError):
    """A list of clips, a classes file or a tree of frames that is not as it should be."""


class ExtractError(HitaguError):
    """A video that could not be turned into frames, or settings under which it cannot be."""


class ConfigError(HitaguError):
    """A parameter that is unknown, of the wrong type or out of range."""


class ClipError(HitaguError):
    """A clip whose frames cannot be read."""


class WeightsError(HitaguError):
    """Weights or a checkpoint that cannot be had or do not fit."""


class ExportError(HitaguError):
    """A network that cannot be written as asked, or whose file does not give its logits."""


class TrainingError(HitaguError):
    """Training that cannot go on, such as a loss that is not a number."""
