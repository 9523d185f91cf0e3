"""Draw a network's view into a video: where it sees motion, which frames it reads, what it predicts now.

    +--------------------+
    |  the video, with   |   orange: MDE's motion gate, within the square that the network sees
    |  the square        |
    +--------------------+
    |  | |  |   ||       |   the clip's frames along the video's length; height: the weight with which this frame reads them (TSA)
    |  three labels      |   the most probable now, one bar each
    +--------------------+

hitagu_lib/inference/streaming.py defines "now". For a network without this gate or these weights (TSN, TSM, GRU, an ablation), only the
prediction is drawn. In chapter 5's test on mini, the motion gate finds what the answer needs and the spatial gate does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor
from tqdm.auto import tqdm

from hitagu_lib.config import DataConfig
from hitagu_lib.inference.live import Moment
from hitagu_lib.inference.predict import frame_folder
from hitagu_lib.inference.streaming import Running, predict_along
from hitagu_lib.media.encode import video_writer
from hitagu_lib.media.ffmpeg import frame_rate
from hitagu_lib.models import ClipModel

SMALLEST, LARGEST = 320, 480
"""Limits of the picture's shorter side: a smaller video is enlarged, so that the text is legible; a larger one is scaled down."""
FOLDER_FPS = 25.0
"""The frame rate for a folder of frames, which has none of its own."""
SHOWN = 3  # labels
_LOOKS, _READS = (222, 143, 5), (213, 94, 0)  # seaborn's colorblind palette, as in the book's figures
_BAR, _GROUND, _WORDS, _FAINT = (1, 115, 178), (24, 24, 28), (255, 255, 255), (150, 150, 155)


def overlay_video(
    source: str | Path,
    out: str | Path,
    model: ClipModel,
    cfg: DataConfig,
    classes: list[str],
    *,
    window: int | None = None,
    fps: float | None = None,
    frames_at_once: int = 64,
    progress: bool = False,
) -> Running:
    """Write a video file or frame folder with the network's attention and running prediction drawn in, as H.264 MP4 without sound.

    fps: default the video's own rate, or FOLDER_FPS for a folder. window, frames_at_once: see `predict_along`. `out` is written
    atomically. Raises ExtractError or ClipError for what cannot be read or written.
    """
    source = Path(source)
    if fps is None:
        fps = (None if source.is_dir() else frame_rate(source)) or FOLDER_FPS
    with frame_folder(source, max(cfg.short_side, LARGEST)) as (folder, num_frames):
        running = predict_along(
            folder, num_frames, model, cfg, window=window, frames_at_once=frames_at_once, progress=progress
        )
        files = [folder / f"{number:06d}.jpg" for number in range(1, num_frames + 1)]
        with Image.open(files[0]) as first:
            drawn = Overlay(running, cfg, classes, ImageOps.exif_transpose(first).size)
        with video_writer(Path(out), drawn.width, drawn.height, fps) as write:
            for n, file in enumerate(
                tqdm(files, desc="drawing", unit="frame", disable=None if progress else True, leave=False)
            ):
                with Image.open(file) as picture:
                    write(drawn.draw(n, ImageOps.exif_transpose(picture)))  # upright, as the network sees it
    return running


class Overlay:
    """Draw onto the frames of one video; size: (width, height) of its frames."""

    def __init__(self, running: Running, cfg: DataConfig, classes: list[str], size: tuple[int, int]) -> None:
        self.running, self.classes = running, classes
        short = min(max(min(size), SMALLEST), LARGEST)
        scale = short / min(size)
        self.picture = _even(size[0] * scale), _even(size[1] * scale)
        self.row = round(14 + short / 50)
        self.width, self.height = self.picture[0], _even(self.picture[1] + (SHOWN + 2.5) * self.row)
        self.font = ImageFont.load_default(round(0.65 * self.row))
        # The central square that the network sees: (left, top, side) in the picture's pixels.
        side = min(round(short * cfg.image_size / cfg.short_side), *self.picture)
        self.square = (self.picture[0] - side) // 2, (self.picture[1] - side) // 2, side
        gate = running.motion_map
        # One scale for the whole video, so that frames with less motion look paler.
        self.scale = None if gate is None else (float(gate.min()), float(gate.max()))

    def draw(self, n: int, frame: Image.Image) -> NDArray[np.uint8]:
        """Return frame n of the video, from 0, with everything drawn in: uint8 (height, width, 3)."""
        picture = frame.convert("RGB").resize(self.picture, Image.Resampling.BICUBIC)
        canvas = Image.new("RGB", (self.width, self.height), _GROUND)
        canvas.paste(self._with_gate(n, picture))
        draw = ImageDraw.Draw(canvas)
        left, top, side = self.square
        if (side, side) != self.picture:
            draw.rectangle((left, top, left + side - 1, top + side - 1), outline=_FAINT)
        y = self.picture[1] + self.row // 4
        self._draw_reads(draw, n, y)
        ranked = self.running.probabilities[n].topk(min(SHOWN, len(self.classes)))
        for i, (probability, label) in enumerate(zip(ranked.values.tolist(), ranked.indices.tolist(), strict=True)):
            self._draw_label(draw, y + (i + 1) * self.row, probability, self.classes[label])
        if self.scale:
            words = f"orange: motion gate, {self.scale[0]:.2f} to {self.scale[1]:.2f}"
            self._write(draw, 4, y + (SHOWN + 1) * self.row, words, self.width - 8, _FAINT)
        return np.asarray(canvas)

    def _with_gate(self, n: int, picture: Image.Image) -> Image.Image:
        if self.scale is None or self.scale[1] <= self.scale[0]:
            return picture
        assert self.running.motion_map is not None
        low, high = self.scale
        strength = ((self.running.motion_map[n] - low) / (high - low)).numpy()
        left, top, side = self.square
        mask = Image.fromarray((150 * strength).astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR)
        picture.paste(Image.new("RGB", (side, side), _LOOKS), (left, top), mask)
        return picture

    def _draw_reads(self, draw: ImageDraw.ImageDraw, n: int, y: int) -> None:
        """Draw the video's length from left to right, its progress, and a stroke for each frame of the clip."""
        N = len(self.running.probabilities)
        foot, tall, margin = y + self.row - 5, self.row - 6, 4

        def place(frame: int) -> int:
            return margin + round(frame / max(1, N - 1) * (self.width - 1 - 2 * margin))

        draw.line((place(0), foot, place(N - 1), foot), fill=_FAINT)
        draw.line((place(0), foot, place(n), foot), fill=_WORDS)
        frames = self.running.clips[n].tolist()
        weights = torch.ones(len(frames)) if self.running.reads is None else self.running.reads[n]
        summed: dict[int, float] = {}  # early clips hold some frames several times
        for frame, weight in zip(frames, weights.tolist(), strict=True):
            summed[frame] = summed.get(frame, 0.0) + weight
        most = max(summed.values())
        for frame, weight in summed.items():
            x = place(frame)
            draw.rectangle((x, foot - round(tall * weight / most), x + 1, foot), fill=_READS)

    def _draw_label(self, draw: ImageDraw.ImageDraw, y: int, probability: float, label: str) -> None:
        draw.rectangle((4, y, 4 + round((self.width - 9) * probability), y + self.row - 3), fill=_BAR)
        percent = f"{probability:.0%}"
        beside = self.width - 6 - draw.textlength(percent, self.font)
        draw.text((beside, y), percent, fill=_WORDS, font=self.font)
        self._write(draw, 8, y, label, beside - 14, _WORDS)

    def _write(
        self, draw: ImageDraw.ImageDraw, x: int, y: int, words: str, room: float, colour: tuple[int, int, int]
    ) -> None:
        """Write one line, shortened with an ellipsis to fit into `room` pixels."""
        words = " ".join(words.split())
        if draw.textlength(words, self.font) > room:
            while words and draw.textlength(words + "…", self.font) > room:
                words = words[:-1]
            words = words.rstrip() + "…"
        draw.text((x, y), words, fill=colour, font=self.font)


class LiveOverlay:
    """Write a stream's picture and prediction, frame by frame. Its attention is not drawn: a stream keeps no maps."""

    def __init__(self, drawn: Overlay, write: Callable[[NDArray[np.uint8]], None]) -> None:
        self.drawn, self.append = drawn, write

    @classmethod
    @contextmanager
    def opened(cls, out: Path, cfg: DataConfig, classes: list[str], frame: Tensor, fps: float) -> Iterator[LiveOverlay]:
        """Open an MP4 for frames (3, H, W) of the size of `frame`. It appears when the context ends without an error."""
        drawn = Overlay(_one_frame(torch.zeros(len(classes))), cfg, classes, (frame.shape[2], frame.shape[1]))
        with video_writer(out, drawn.width, drawn.height, fps) as write:
            yield cls(drawn, write)

    def write(self, moment: Moment) -> None:
        self.drawn.running = _one_frame(moment.probabilities)
        self.append(self.drawn.draw(0, Image.fromarray(moment.frame.permute(1, 2, 0).numpy())))


def _one_frame(probabilities: Tensor) -> Running:
    return Running(probabilities[None], np.zeros((1, 1), np.int64), None, None)


def _even(length: float) -> int:
    return 2 * round(length / 2)
