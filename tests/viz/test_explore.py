"""Explorers in both modes: live controls in a live session, a player elsewhere."""

from typing import Any

import ipywidgets
import matplotlib as mpl
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from hitagu_lib.errors import ConfigError
from hitagu_lib.viz import explore as widgets
from hitagu_lib.viz.player import Player

CONTROLS: dict[str, list[Any]] = {
    "dot_speed": [0, 0.5, 2],
    "direction": ["right", "down"],
    "camera_moves": [False, True],
}


@pytest.fixture
def drawn() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect what is displayed."""
    shown: list[Any] = []
    monkeypatch.setattr(widgets, "display", shown.append)
    return shown


def explore(drawn: list[dict[str, Any]], **kwargs: Any) -> None:
    def draw(**values: Any) -> Figure:
        drawn.append(values)
        return plt.figure(figsize=(2, 1))

    arguments: dict[str, Any] = {"controls": CONTROLS, "slide": "dot_speed", "alt": "a dot"} | kwargs
    widgets.explore(draw, **arguments)


def test_unwatched_a_player_slides_over_one_control_the_others_at_their_start(
    monkeypatch: pytest.MonkeyPatch, drawn: list[dict[str, Any]], shown: list[Any]
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.delenv("VSCODE_PID", raising=False)
    explore(drawn, start={"dot_speed": 2, "direction": "down"})
    assert drawn == [{"dot_speed": s, "direction": "down", "camera_moves": False} for s in (0, 0.5, 2)]
    (only,) = shown
    assert isinstance(only, Player)
    assert repr(only) == (
        "[player over dot speed, 3 pictures: a dot; shown first: dot speed: 2 (direction: down, camera moves: False)]"
    )
    assert "dot speed: 0.5 (direction: down" in only._repr_html_()
    assert not plt.get_fignums()


def test_watched_each_control_redraws(
    monkeypatch: pytest.MonkeyPatch, drawn: list[dict[str, Any]], shown: list[Any]
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "book/02b_mde.ipynb")
    explore(drawn, start={"dot_speed": 0.5})
    first, box = shown  # with a kernel, the first picture would go to the box's output
    assert isinstance(first, Figure)
    speed, direction, camera, _ = box.children
    assert [type(w) for w in box.children] == [
        ipywidgets.SelectionSlider,
        ipywidgets.Dropdown,
        ipywidgets.Dropdown,
        ipywidgets.Output,
    ]
    assert [w.description for w in (speed, direction, camera)] == ["dot speed", "direction", "camera moves"]
    assert drawn == [{"dot_speed": 0.5, "direction": "right", "camera_moves": False}]
    direction.value = "down"
    speed.value = 2
    camera.value = True
    assert drawn[1:] == [
        {"dot_speed": 0.5, "direction": "down", "camera_moves": False},
        {"dot_speed": 2, "direction": "down", "camera_moves": False},
        {"dot_speed": 2, "direction": "down", "camera_moves": True},
    ]
    assert len([figure for figure in shown if isinstance(figure, Figure)]) == 4
    assert not plt.get_fignums(), "a figure that stays open is shown twice by the inline backend"


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"slide": "speed"}, "no control 'speed'; there are dot_speed, direction, camera_moves"),
        ({"start": {"way": "down"}}, "no control 'way'; there are dot_speed, direction"),
        ({"start": {"direction": "left"}}, "direction starts at 'left'; its values are 'right', 'down'"),
        ({"controls": {"dot_speed": []}}, "the control 'dot_speed' has no values"),
        ({"controls": {}}, "no control 'dot_speed'; there are none"),
    ],
)
def test_what_is_not_known_is_named(
    drawn: list[dict[str, Any]], shown: list[Any], wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        explore(drawn, **wrong)
    assert not drawn and not shown
