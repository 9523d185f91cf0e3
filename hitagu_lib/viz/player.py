"""Players for the built pages: pre-rendered pictures behind a slider, in plain HTML (player.html) that needs no network and no kernel.

Without scripts, the start picture and its caption remain; without HTML, a line of text.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from hitagu_lib.errors import ConfigError

DPI = 90  # makes a figure of style.WIDTH fill the text column of the built page
STEP_MS = 800  # how long each picture stays while the player plays


@dataclass(frozen=True)
class Player:
    """The result of `player`. A notebook shows it as HTML; `repr` is the fallback for plain text."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def player(
    figures: Sequence[Figure | np.ndarray[Any, Any]],
    captions: Sequence[str],
    *,
    label: str,
    alt: str,
    start: int = 0,
) -> Player:
    """Return a slider with buttons over finished pictures; equal content gives equal HTML.

    figures: matplotlib Figures, which are closed, or uint8 (H, W, 3) RGB arrays. captions: one per picture. label: what the slider
    moves along. alt: the pictures' content, in words. start: the picture shown first, and the only one if scripts do not run.
    Raises ConfigError for no figures, another number of captions, a start out of range, or an array that is no picture.
    """
    figures, captions = list(figures), list(captions)
    if not figures or len(figures) != len(captions):
        raise ConfigError(
            f"player: found {len(figures)} figures and {len(captions)} captions; one of each at least, in pairs"
        )
    if not 0 <= start < len(figures):
        raise ConfigError(f"player: found start={start}; the {len(figures)} pictures are 0 to {len(figures) - 1}")
    pictures = [_data_uri(_render(figure)) for figure in figures]
    html = _PAGE.substitute(
        ALT=escape(alt),
        LABEL=escape(label),
        PICTURE=pictures[start],
        CAPTION=escape(captions[start]),
        LAST=len(pictures) - 1,
        START=start,
        STEP=STEP_MS,
        # A "<" anywhere in a script can start a sequence that ends or hides it.
        DATA=json.dumps({"pictures": pictures, "captions": captions}).replace("<", "\\u003c"),
    )
    text = f"[player over {label}, {len(pictures)} pictures: {alt}; shown first: {captions[start]}]"
    return Player(html, text)


def _render(figure: Figure | np.ndarray[Any, Any]) -> Image.Image:
    if isinstance(figure, Figure):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
        plt.close(figure)
        return Image.open(buffer).convert("RGB")
    found = f"{figure.dtype} {figure.shape}" if isinstance(figure, np.ndarray) else type(figure).__name__
    if not isinstance(figure, np.ndarray) or figure.dtype != np.uint8 or figure.ndim != 3 or figure.shape[2] != 3:
        raise ConfigError(
            f"player: found {found} among the figures; matplotlib Figures or uint8 (H, W, 3) arrays are shown"
        )
    return Image.fromarray(figure)


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="webp", quality=85, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


# The pictures stay white in a dark theme; everything else, captions included, takes the page's colours and fonts. The controls stay hidden
# until the script runs. There are no ids: each script finds its own player as its parent, so any number of players fit on a page, even with
# equal content. `data-lm-suppress-shortcuts` keeps JupyterLab from taking keys away from the control that has the focus.
_PAGE = Template(files(__package__).joinpath("player.html").read_text(encoding="utf-8").rstrip("\n"))
