"""Explorers: pictures that the reader controls, live in JupyterLab and as a player in a built page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure

from hitagu_lib.errors import ConfigError
from hitagu_lib.viz.live import watched
from hitagu_lib.viz.player import player


def explore(
    draw: Callable[..., Figure],
    *,
    controls: Mapping[str, Sequence[Any]],
    slide: str,
    alt: str,
    start: Mapping[str, Any] | None = None,
) -> None:
    """Display `draw(**values)`, a pure function, with controls for its values.

    In a live session: a slider for each control with numbers, a dropdown for any other, and a picture that is redrawn. Elsewhere
    (papermill, nbconvert, nbval), and so in the built page: a player over the values of the control `slide`, with the other controls at
    their start values.
    controls: name -> its values in order. start: name -> its start value, else its first. alt: the pictures' content, in words.
    Raises ConfigError for a control without values, or for a name or start value that is not among the controls.
    """
    for name, values in controls.items():
        if not len(values):
            raise ConfigError(f"explore: the control {name!r} has no values")
    for name in [slide, *(start or {})]:
        if name not in controls:
            raise ConfigError(f"explore: found no control {name!r}; there are {', '.join(controls) or 'none'}")
    chosen = {name: values[0] for name, values in controls.items()} | dict(start or {})
    for name, value in chosen.items():
        if value not in controls[name]:
            raise ConfigError(
                f"explore: {name} starts at {value!r}; its values are {', '.join(map(repr, controls[name]))}"
            )
    if watched():
        display(_live(draw, controls, chosen))
        return
    values = controls[slide]
    display(
        player(
            [draw(**(chosen | {slide: value})) for value in values],
            [_caption(chosen | {slide: value}, slide) for value in values],
            label=_words(slide),
            alt=alt,
            start=list(values).index(chosen[slide]),
        )
    )


def _live(
    draw: Callable[..., Figure], controls: Mapping[str, Sequence[Any]], chosen: Mapping[str, Any]
) -> ipywidgets.VBox:
    widgets = {name: _control(name, values, chosen[name]) for name, values in controls.items()}

    def redraw(**values: Any) -> None:
        figure = draw(**values)
        display(figure)
        plt.close(figure)  # or the inline backend would show it a second time

    return ipywidgets.VBox([*widgets.values(), ipywidgets.interactive_output(redraw, widgets)])


def _control(name: str, values: Sequence[Any], chosen: Any) -> ipywidgets.Widget:
    options = [(_value(value), value) for value in values]
    shared = {"options": options, "value": chosen, "description": _words(name)}
    shared |= {"style": {"description_width": "initial"}}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return ipywidgets.SelectionSlider(continuous_update=False, layout={"width": "30em"}, **shared)
    return ipywidgets.Dropdown(**shared)


def _caption(values: Mapping[str, Any], slide: str) -> str:
    others = ", ".join(f"{_words(name)}: {_value(value)}" for name, value in values.items() if name != slide)
    return f"{_words(slide)}: {_value(values[slide])}" + (f" ({others})" if others else "")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
