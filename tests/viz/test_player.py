"""Players: the page's content without scripts, and the data for the script."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

mpl.use("Agg")
import matplotlib.pyplot as plt

from hitagu_lib.errors import ConfigError
from hitagu_lib.viz.player import DPI, Player, player
from hitagu_lib.viz.style import WIDTH, new_figure

COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


def flat(colour: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    return np.full((20, 30, 3), colour, np.uint8)


def make(**kwargs: Any) -> Player:
    captions = kwargs.pop("captions", ["a red one", "a green one", "a blue one"])
    return player(
        [flat(colour) for colour in COLOURS], captions, **({"label": "colour", "alt": "one flat colour"} | kwargs)
    )


class Page(HTMLParser):
    """Parse a player's HTML: its elements with their attributes, and the text in each kind of element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "every element is closed, in order"

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data

    def one(self, tag: str) -> dict[str, str | None]:
        (attrs,) = [attrs for name, attrs in self.tags if name == tag]
        return attrs


def script_data(html: str) -> dict[str, list[str]]:
    line = re.search(r"const data = (.*);\n", html)
    assert line
    data: dict[str, list[str]] = json.loads(line[1])
    return data


def decode(uri: str | None) -> Image.Image:
    head, body = (uri or "").split(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB")


@pytest.mark.parametrize("start", [0, 2])
def test_without_scripts_the_start_picture_its_caption_and_the_alt_text_remain(start: int) -> None:
    page = Page(make(start=start)._repr_html_())
    assert page.one("img")["alt"] == "one flat colour"
    middle = decode(page.one("img")["src"]).getpixel((15, 10))
    assert np.abs(np.subtract(middle, COLOURS[start])).max() < 8
    assert page.text["figcaption"] == ["a red one", "a green one", "a blue one"][start]
    controls = next(attrs for _, attrs in page.tags if attrs.get("class") == "hitagu-player-controls")
    assert "hidden" in controls, "controls that nothing answers to are not shown"
    assert page.one("input")["value"] == str(start)


def test_the_script_has_every_picture_and_caption_in_order() -> None:
    html = make()._repr_html_()
    data = script_data(html)
    assert data["captions"] == ["a red one", "a green one", "a blue one"]
    for uri, colour in zip(data["pictures"], COLOURS, strict=True):
        assert np.abs(np.subtract(decode(uri).getpixel((15, 10)), colour)).max() < 8
    assert Page(html).one("input")["max"] == "2"


def test_every_control_has_a_name() -> None:
    page = Page(make()._repr_html_())
    names = [attrs["aria-label"] for tag, attrs in page.tags if tag == "button"]
    assert names == ["previous picture", "play", "next picture"]
    assert page.text["span"] == "colour"  # inside the slider's <label>
    assert page.one("figcaption")["aria-live"] == "polite"
    for tag, attrs in page.tags:
        assert (tag in ("button", "input")) == ("data-lm-suppress-shortcuts" in attrs), "JupyterLab would take its keys"


def test_texts_cannot_break_out_of_the_page_or_the_script() -> None:
    nasty = '</script><b id="x">&"$ALT'
    html = make(captions=[nasty, nasty, "c"], label=nasty, alt=nasty)._repr_html_()
    page = Page(html)
    assert not [tag for tag, _ in page.tags if tag == "b"]
    assert page.one("img")["alt"] == page.text["figcaption"] == page.text["span"] == nasty
    assert script_data(html)["captions"] == [nasty, nasty, "c"]
    assert html.count("<script") == html.count("</script") == 1


def test_the_page_asks_for_nothing_from_outside_and_carries_no_ids() -> None:
    page = Page(make()._repr_html_())
    for _, attrs in page.tags:
        assert "id" not in attrs, "several players on a page would clash"
        for key in ("src", "href"):
            assert (attrs.get(key) or "data:").startswith("data:")
    assert "http" not in page.text["script"]


def test_the_same_content_gives_the_same_html() -> None:
    assert make() == make()


def test_figures_are_rendered_at_the_page_s_width_and_closed() -> None:
    drawn = []
    for y in (0, 1):
        figure, ax = new_figure(2)
        ax.plot([0, 1], [0, y])
        drawn.append(figure)
    html = player(drawn, ["flat", "rising"], label="slope", alt="a line")._repr_html_()
    first, second = (decode(uri) for uri in script_data(html)["pictures"])
    assert first.size == second.size == (WIDTH * DPI, 2 * DPI)
    assert first.tobytes() != second.tobytes()
    assert not [figure for figure in drawn if plt.fignum_exists(figure.number)]


def test_the_text_names_what_is_shown() -> None:
    assert repr(make(start=1)) == "[player over colour, 3 pictures: one flat colour; shown first: a green one]"


@pytest.mark.parametrize(
    "figures, captions, start, said",
    [
        ([], [], 0, "found 0 figures and 0 captions"),
        ([flat((0, 0, 0))], ["a", "b"], 0, "found 1 figures and 2 captions"),
        ([flat((0, 0, 0))], ["a"], 1, "found start=1; the 1 pictures are 0 to 0"),
        ([flat((0, 0, 0))], ["a"], -1, "found start=-1"),
        ([np.zeros((4, 4, 3))], ["a"], 0, r"found float64 \(4, 4, 3\)"),
        ([np.zeros((4, 4), np.uint8)], ["a"], 0, r"found uint8 \(4, 4\)"),
        (["picture.png"], ["a"], 0, "found str"),
    ],
)
def test_input_that_cannot_be_played_is_named(figures: list[Any], captions: list[str], start: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        player(figures, captions, label="l", alt="a", start=start)
