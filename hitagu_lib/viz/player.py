"""Players for the built pages: pre-rendered pictures behind a slider, in plain HTML that needs no network and no kernel.

Where scripts do not run, the start picture and its caption stand there by themselves; where HTML does not either, a line of text.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from hitagu_lib.errors import ConfigError

DPI = 90  # a figure of style.WIDTH then fills the text column of the built page
STEP_MS = 800  # how long a picture stays while the player plays


@dataclass(frozen=True)
class Player:
    """What `player` returns; a notebook shows it as HTML. `repr` is what is shown where only text is."""

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
    """A slider with buttons over pictures that are drawn already; the same content gives the same HTML.

    figures: matplotlib Figures, which are closed, or uint8 (H, W, 3) RGB arrays. captions: one a picture. label: what the slider
    moves along. alt: what the pictures show, in words. start: the picture shown first, and the only one where scripts do not run.
    Raises ConfigError on no figures, another number of captions, a start beyond them, or an array that is no picture.
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
        # "<" can begin what ends or hides a script, wherever it stands in it.
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


# The pictures stay white in a dark theme; all else takes the page's colours and letters, the caption too, which themes make pale. The
# controls are hidden until the script has taken hold of them. No ids: each script finds its own player as its parent, so that any number
# fit on a page, even of the same content. `data-lm-suppress-shortcuts` keeps JupyterLab from taking keys away from what has the focus.
_PAGE = Template("""\
<div class="hitagu-player" role="group" aria-label="Player: $LABEL" style="max-width: 728px; padding: 4px">
<figure style="margin: 0">
<img src="$PICTURE" alt="$ALT" style="display: block; max-width: 100%; height: auto; background: white">
<figcaption aria-live="polite"
 style="margin: 0.4em 0; min-height: 1.5em; font: inherit; color: inherit; text-align: left">$CAPTION</figcaption>
</figure>
<div class="hitagu-player-controls" hidden>
<div style="display: flex; flex-wrap: wrap; align-items: center; gap: 0.6em">
<button type="button" data-lm-suppress-shortcuts="true" aria-label="previous picture" style="min-width: 2.6em">&larr;</button>
<button type="button" data-lm-suppress-shortcuts="true" aria-label="play" style="min-width: 4.2em">play</button>
<button type="button" data-lm-suppress-shortcuts="true" aria-label="next picture" style="min-width: 2.6em">&rarr;</button>
<label style="display: flex; flex: 1 1 16em; align-items: center; gap: 0.6em; margin: 0"><span>$LABEL</span>
<input type="range" data-lm-suppress-shortcuts="true" min="0" max="$LAST" value="$START" step="1" style="flex: 1; min-width: 8em"></label>
</div>
</div>
<script>
(function () {
  const data = $DATA;
  const root = document.currentScript.parentElement;
  const picture = root.querySelector("img");
  const caption = root.querySelector("figcaption");
  const slider = root.querySelector("input");
  const [previous, play, next] = root.querySelectorAll("button");
  const last = data.pictures.length - 1;
  let timer = null;
  function show(i) {
    i = Math.min(Math.max(i, 0), last);
    slider.value = i;
    picture.src = data.pictures[i];
    caption.textContent = data.captions[i];
    slider.setAttribute("aria-valuetext", data.captions[i]);
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "play";
    play.setAttribute("aria-label", "play");
    caption.setAttribute("aria-live", "polite");
  }
  function step() {
    show(Number(slider.value) + 1);
    if (Number(slider.value) === last) stop();
  }
  slider.addEventListener("input", function () { stop(); show(Number(slider.value)); });
  previous.addEventListener("click", function () { stop(); show(Number(slider.value) - 1); });
  next.addEventListener("click", function () { stop(); show(Number(slider.value) + 1); });
  play.addEventListener("click", function () {
    if (timer !== null) return stop();
    if (Number(slider.value) === last) show(0);
    caption.setAttribute("aria-live", "off");
    play.textContent = "pause";
    play.setAttribute("aria-label", "pause");
    timer = setInterval(step, $STEP);
  });
  show(Number(slider.value));
  root.querySelector(".hitagu-player-controls").hidden = false;
})();
</script>
</div>""")
