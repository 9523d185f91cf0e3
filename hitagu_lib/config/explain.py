"""Pydantic's errors in the words of this library: where, which key, what was found, what was expected, the nearest known name."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import ValidationError

KeyPath = tuple[str | int, ...]


def explanation(error: ValidationError, cls: Any, place: Callable[[Sequence[KeyPath]], str]) -> str:
    """One line per problem, `place` giving the source of the first known of several keys."""
    lines = []
    for details in error.errors(include_url=False):
        kind, path, context = details["type"], details["loc"], details.get("ctx", {})
        paths = [path]
        if kind == "conflict":
            paths = [(*path, *key.split(".")) for key in context["keys"]]
        elif kind == "missing":
            paths = [path[:-1]]  # an item of a list that is too short
        in_list = kind != "invalid_key"  # that is a key which is a number
        key = "".join(f"[{step}]" if in_list and isinstance(step, int) else f".{step}" for step in paths[0])
        problem = context["problem"] if kind == "conflict" else _problem(kind, details["input"], paths[0], cls)
        lines.append(": ".join(filter(None, [place(paths), key.removeprefix("."), problem])))
    return "\n".join(lines)


def _problem(kind: str, value: Any, path: KeyPath, cls: Any) -> str:
    """What was found at `path`, and what was expected."""
    if kind in ("unexpected_keyword_argument", "invalid_key"):
        return f"unknown key{_nearest(str(path[-1]), path[:-1], cls)}"
    field = field_at(cls, path)
    if field is None or dataclasses.is_dataclass(field.annotation):
        return f"found {value!r}; expected a mapping of keys"
    hint = bare(field.annotation)
    for _ in range(sum(isinstance(step, int) for step in path)):
        hint = bare(typing.get_args(hint)[0])
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        return f"found {value!r}; expected a list{'' if items[-1] is ... else f' of {len(items)}'}"
    if typing.get_origin(hint) is Literal:
        choices = [str(choice) for choice in typing.get_args(hint)]
        near = difflib.get_close_matches(str(value), choices, n=1)
        return f"found {value!r}; expected one of {', '.join(choices)}" + (f"; did you mean {near[0]}?" if near else "")
    if kind in ("greater_than_equal", "less_than_equal", "finite_number"):
        low, high = (next((getattr(m, end) for m in field.metadata if hasattr(m, end)), None) for end in ("ge", "le"))
        return f"found {value!r}; expected " + (f"at least {low}" if high is None else f"from {low} to {high}")
    expected = "bool, true or false" if hint is bool else hint.__name__
    if types.NoneType in typing.get_args(field.annotation):
        expected += " or null"
    if hint is str and isinstance(value, (bool, int, float)):
        expected += ", so put it in quotes"
    return f"found {value!r} ({type(value).__name__}); expected {expected}"


def _nearest(name: str, section: KeyPath, cls: Any) -> str:
    """The most similar key of the section, else keys of that name in other sections, else what the section knows."""
    field = field_at(cls, section)
    known = list((field.annotation if field else cls).__pydantic_fields__)
    near = difflib.get_close_matches(name, known, n=1) or [k for k in keys_of(cls) if k.split(".")[-1] == name]
    return f"; did you mean {' or '.join(near)}?" if near else f"; known here: {', '.join(known)}"


def field_at(cls: Any, path: Sequence[str | int]) -> Any:
    """Pydantic's description of the field at `path`, list indices left out; None where there is none."""
    field = None
    for step in path:
        if isinstance(step, int):
            break
        field = getattr(cls, "__pydantic_fields__", {}).get(step)
        cls = field and field.annotation
    return field


def bare(hint: Any) -> Any:
    """A type without `Annotated` and `| None`."""
    if typing.get_origin(hint) is Annotated:
        return bare(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return bare(next(a for a in typing.get_args(hint) if a is not types.NoneType))
    return hint


def keys_of(cls: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all values in the tree of `cls`."""
    for name, field in cls.__pydantic_fields__.items():
        if dataclasses.is_dataclass(field.annotation):
            yield from keys_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name
