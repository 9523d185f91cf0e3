"""A long video's labels over time, by sliding windows or by a stream, in bounded memory.

    windows:  |--- T frames ---|            each window is scored as one clip and stands for `hop` seconds around its middle
                      |--- T frames ---|
    stream:   a causal network's label at each step, which stands for the time since the step before

Neighbours of one label form intervals. Only the intervals and the current window are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hitagu_lib.config import DataConfig
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.sampling import clip_indices, clip_times
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.errors import ClipError
from hitagu_lib.inference.live import follow
from hitagu_lib.inference.predict import class_probabilities
from hitagu_lib.models import ClipModel


@dataclass(frozen=True)
class Interval:
    start: float  # seconds
    end: float
    label: str
    score: float  # the mean over the interval's windows or steps of the label's probability, weighted by their length


@dataclass(frozen=True)
class Piece:
    """What one window or step says about the time that it stands for."""

    start: float
    end: float
    probabilities: Tensor  # (K,)


def windows(
    frames: Iterable[tuple[float, Tensor]], model: ClipModel, cfg: DataConfig, fps: float, length: float, hop: float
) -> Iterator[Piece]:
    """Yield one Piece per window of `length` seconds, every `hop` seconds; in a shorter video, one for all of it.

    A window of N frames is sampled as a video of N frames is in validation; fps: the frame rate of the training videos. Memory holds one
    window of cropped frames. A window without a frame of its own, as in a recording that stores a frame only on change, has the last one
    before it. Raises ClipError if there is no frame.
    """
    kept: deque[tuple[float, Tensor]] = deque()
    begin = start = end = 0.0
    pending: Piece | None = None
    for n, (seconds, frame) in enumerate(frames):
        if n == 0:
            begin = start = seconds
        while kept and seconds >= begin + length:
            piece = Piece(start, begin + (length + hop) / 2, _score(kept, model, cfg, fps))
            if pending:
                yield pending
            pending, start, begin = piece, piece.end, begin + hop
            while len(kept) > 1 and kept[0][0] < begin:
                kept.popleft()
        while kept and kept[0][0] < begin:
            kept.popleft()
        kept.append((seconds, centre_crop(frame[None], cfg.image_size, cfg.short_side)[0]))
        end = seconds
    if pending is None:
        if not kept:
            raise ClipError("found no frame; expected a video with at least one")
        pending = Piece(start, end, _score(kept, model, cfg, fps))
    elif end >= begin and end > start:
        # The rest fills no window of its own, but reaches beyond the last one's share.
        yield pending
        pending = Piece(start, end, _score(kept, model, cfg, fps))
    yield Piece(pending.start, max(end, pending.start), pending.probabilities)


@torch.inference_mode()
def _score(kept: Sequence[tuple[float, Tensor]], model: ClipModel, cfg: DataConfig, fps: float) -> Tensor:
    rows = clip_indices(len(kept), cfg.num_frames, cfg.sampling, cfg.dense_span)
    seconds = torch.tensor([kept[i][0] for i in rows.tolist()], dtype=torch.float64)
    clip = torch.stack([kept[i][1] for i in rows.tolist()])
    device = next(model.parameters()).device
    t = ((seconds - seconds[0]) * fps / cfg.ref_stride).float().to(device)
    if (t[1:] <= t[:-1]).any():  # a window of few frames repeats some, as validation does
        t = torch.from_numpy(clip_times(rows, cfg.ref_stride)).to(device)
    logits = model(normalise(clip.to(device))[None], t[None])
    assert isinstance(logits, Tensor)
    return class_probabilities(logits[0], f"from {kept[0][0]:g} s on")


def steps(frames: Iterable[tuple[float, Tensor]], model: ClipModel, cfg: DataConfig, fps: float) -> Iterator[Piece]:
    """Yield one Piece per step of a stream; together they cover the video.

    The first frame's step stands for no time unless it is the only one, and the last step also stands for what follows it. Raises
    ConfigError if the network is not causal, ClipError if there is no frame.
    """
    pending: Piece | None = None
    end = 0.0
    for moment in follow(frames, model, cfg, fps):
        end = moment.seconds
        if moment.stepped:
            if pending and pending.end > pending.start:
                yield pending
            pending = Piece(pending.end if pending else end, end, moment.probabilities)
    if pending is None:
        raise ClipError("found no frame; expected a video with at least one")
    yield Piece(pending.start, end, pending.probabilities)


def joined(pieces: Iterable[Piece], classes: Sequence[str]) -> list[Interval]:
    """Return intervals: neighbouring pieces whose most probable label is the same."""
    intervals: list[Interval] = []
    for piece in pieces:
        best = int(piece.probabilities.argmax())
        score, label = float(piece.probabilities[best]), classes[best]
        before = intervals[-1] if intervals else None
        if before and before.label == label:
            old, new = before.end - before.start, piece.end - piece.start
            mean = (old * before.score + new * score) / (old + new) if old + new else score
            intervals[-1] = Interval(before.start, piece.end, label, mean)
        else:
            intervals.append(Interval(piece.start, piece.end, label, score))
    return intervals
