"""Videos that play: raw frames, files and pipes; which frames the network sees; timelines."""

import copy
import dataclasses
import io
import itertools
import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from media_fixtures import make_video
from networks import SMALLEST_CAUSAL, woken

from hitagu_lib.config import DataConfig, resolve
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.data.video import need_av, play
from hitagu_lib.errors import ClipError, WeightsError
from hitagu_lib.inference.live import RawVideo, follow, open_live
from hitagu_lib.inference.timeline import Piece, joined, steps, windows
from hitagu_lib.models import ClipModel

DATA = DataConfig(num_frames=4, ref_stride=2.0, short_side=32, image_size=32)


@pytest.fixture(scope="module")
def model() -> ClipModel:
    return woken(resolve({"model": SMALLEST_CAUSAL | {"readout": "last"}}).model)


def frames(count: int, rate: float = 10.0) -> list[tuple[float, torch.Tensor]]:
    random = torch.Generator().manual_seed(3)
    return [(n / rate, torch.randint(256, (3, 32, 40), dtype=torch.uint8, generator=random)) for n in range(count)]


def test_raw_frames_come_as_they_were_written() -> None:
    raw = RawVideo.parse("5x4@12.5")
    pixels = torch.arange(120, dtype=torch.uint8).view(2, 4, 5, 3)
    read = list(raw.frames(io.BytesIO(pixels.numpy().tobytes())))
    assert [seconds for seconds, _ in read] == [0, 0.08]
    assert all(torch.equal(frame, pixels[n].permute(2, 0, 1)) for n, (_, frame) in enumerate(read))
    with pytest.raises(ClipError, match="-: frame 2: found 10 bytes; expected 60 for rgb24 5x4"):
        list(raw.frames(io.BytesIO(bytes(70))))
    for wrong in ("5x4", "0x4@5", "5x4@0", "axb@c"):
        with pytest.raises(ValueError):
            RawVideo.parse(wrong)
    with pytest.raises(ClipError, match="-: found no size; expected --raw"), open_live("-", None, io.BytesIO(), None):
        pass


def test_a_file_plays_its_frames_at_their_times(tmp_path: Path) -> None:
    with play(make_video(tmp_path / "a.mp4", rate=10, frames=12), 32) as playing:
        assert playing.rate == 10 and playing.duration == pytest.approx(1.2)
        shown = list(playing.frames)
    assert [seconds for seconds, _ in shown] == pytest.approx([n / 10 for n in range(12)])
    assert all(frame.shape == (3, 32, 43) for _, frame in shown)
    with pytest.raises(ClipError, match=r"none\.mp4: cannot be read"), play(tmp_path / "none.mp4", 32):
        pass


def test_the_network_sees_a_frame_in_each_reference_stride(model: ClipModel) -> None:
    """And what it says is what forward says of those frames."""
    video = frames(11)
    moments = list(follow(video, model, DATA, fps=10))
    assert [n for n, moment in enumerate(moments) if moment.stepped] == [0, 2, 4, 6, 8, 10]
    assert torch.equal(moments[3].probabilities, moments[2].probabilities)
    seen = normalise(torch.stack([centre_crop(video[n][1][None], 32, 32)[0] for n in range(0, 11, 2)]))
    with torch.inference_mode():
        expected = model(seen[None], every_prefix=True)[0].softmax(1)
    streamed = torch.stack([moments[n].probabilities for n in range(0, 11, 2)])
    torch.testing.assert_close(streamed, expected, rtol=0, atol=1e-5)
    assert sum(moment.stepped for moment in follow(video, model, DATA, fps=20)) == 11, "trained at 20 frames a second"


def test_windows_cover_the_video_once_and_score_their_frames(model: ClipModel) -> None:
    video = frames(33)
    pieces = list(windows(iter(video), model, DATA, 10, length=0.8, hop=0.4))
    assert pieces[0].start == 0 and pieces[-1].end == pytest.approx(3.2)
    assert all(a.end == b.start for a, b in itertools.pairwise(pieces))
    assert [piece.end for piece in pieces[:3]] == pytest.approx([0.6, 1.0, 1.4])
    clip = torch.stack([centre_crop(video[n][1][None], 32, 32)[0] for n in (5, 7, 9, 11)])  # segments' middles
    with torch.inference_mode():
        expected = model(normalise(clip)[None])[0].softmax(0)
    torch.testing.assert_close(pieces[1].probabilities, expected, rtol=0, atol=1e-5)


def test_a_video_shorter_than_a_window_is_one_piece(model: ClipModel) -> None:
    (piece,) = windows(iter(frames(3)), model, DATA, 10, length=5, hop=1)
    assert (piece.start, piece.end) == (0, 0.2)
    with pytest.raises(ClipError, match="found no frame"):
        list(windows(iter([]), model, DATA, 10, 5, 1))
    with pytest.raises(ClipError, match="found no frame"):
        list(steps(iter([]), model, DATA, 10))


def test_logits_that_are_no_numbers_are_refused(model: ClipModel) -> None:
    broken = copy.deepcopy(model)
    torch.nn.init.constant_(next(m for m in broken.head.modules() if isinstance(m, torch.nn.Linear)).weight, 3e38)
    with pytest.raises(WeightsError, match=r"^at 0 s: the network's logits are nan or infinite; expected numbers"):
        list(follow(frames(3), broken, DATA, fps=10))
    with pytest.raises(WeightsError, match=r"^from 0 s on: the network's logits are nan or infinite"):
        list(windows(iter(frames(12)), broken, DATA, 10, length=0.8, hop=0.4))


def test_windows_that_leave_gaps_score_their_own_frames_alone(model: ClipModel) -> None:
    video = frames(32)
    pieces = list(windows(iter(video), model, DATA, 10, length=0.8, hop=1.6))
    assert [piece.start for piece in pieces] == pytest.approx([0, 1.2]) and pieces[-1].end == pytest.approx(3.1)
    for piece, first in zip(pieces, (0, 16), strict=True):
        clip = torch.stack([centre_crop(video[first + n][1][None], 32, 32)[0] for n in (1, 3, 5, 7)])
        with torch.inference_mode():
            expected = model(normalise(clip)[None])[0].softmax(0)
        torch.testing.assert_close(piece.probabilities, expected, rtol=0, atol=1e-5)


def test_a_window_without_a_frame_has_the_one_that_is_still_shown(model: ClipModel) -> None:
    """A screen recording may store a frame only when something changes."""
    (first, still), (_, late) = frames(2)
    pieces = list(windows([(first, still), (10.0, late)], model, DATA, 10, length=0.8, hop=0.4))
    with torch.inference_mode():
        shown = normalise(centre_crop(still[None], 32, 32).repeat(4, 1, 1, 1))
        expected = model(shown[None], torch.zeros(1, 4))[0].softmax(0)
    before = [piece for piece in pieces if piece.end < 9]
    assert len(before) > 15
    for piece in before:
        assert piece.probabilities.argmax() == expected.argmax()
        torch.testing.assert_close(piece.probabilities, before[0].probabilities)
    assert not torch.allclose(pieces[-1].probabilities, before[0].probabilities)


def test_windows_keep_no_more_than_one_window(model: ClipModel) -> None:
    """A long video in bounded memory: a frame is let go when no later window needs it."""
    alive: list[weakref.ref[torch.Tensor]] = []

    def video():
        for n in range(60):
            frame = torch.full((3, 32, 32), n, dtype=torch.uint8)
            alive.append(weakref.ref(frame))
            yield n / 10, frame

    most = 0
    for _ in windows(video(), model, DATA, 10, length=0.8, hop=0.4):
        most = max(most, sum(ref() is not None for ref in alive))
    assert len(alive) == 60 and most <= 10


@pytest.mark.parametrize("count", [1, 2, 7, 23])
def test_steps_cover_the_video_once(model: ClipModel, count: int) -> None:
    """With a step every 8 frames: the first frame's stands for no time if another follows, and the last one also for what follows it."""
    cfg = dataclasses.replace(DATA, ref_stride=8.0)
    pieces = list(steps(frames(count), model, cfg, fps=10))
    assert (pieces[0].start, pieces[-1].end) == (0.0, (count - 1) / 10)
    assert [piece.end for piece in pieces[:-1]] == [piece.start for piece in pieces[1:]]
    assert len(pieces) == max(1, (count - 1) // 8) and all(piece.end > piece.start for piece in pieces if count > 1)
    last = [moment for moment in follow(frames(count), model, cfg, fps=10) if moment.stepped][-1]
    assert torch.equal(pieces[-1].probabilities, last.probabilities)


@pytest.mark.parametrize(("stride", "fps"), [(1.5, 30.0), (2.5, 25.0), (4.5, 12.0)])
def test_rounding_does_not_decide_which_frames_are_seen(model: ClipModel, stride: float, fps: float) -> None:
    cfg = dataclasses.replace(DATA, ref_stride=stride)
    seen = [n for n, moment in enumerate(follow(frames(40, fps), model, cfg, fps)) if moment.stepped]
    assert {later - earlier for earlier, later in itertools.pairwise(seen)} == {int(stride)}


def browsers_webm(file: Path) -> Path:
    """What a browser records: about 30 frames a second, and as their rate the 1000 of its clock."""
    import av

    with av.open(str(file), "w") as container:
        stream = container.add_stream("libvpx", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * n, np.uint8), "rgb24")
            frame.pts, frame.time_base = 33 * n + n % 3, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


def test_a_rate_of_1000_is_not_believed(tmp_path: Path) -> None:
    video = browsers_webm(tmp_path / "a.webm")
    with play(video, 32) as playing:
        assert playing.rate == pytest.approx(30, abs=1)
        assert len(list(playing.frames)) == 60


def test_a_file_that_is_cut_short_is_refused_before_it_plays(tmp_path: Path) -> None:
    """Also where the cut lies between two packets, which FFmpeg takes for the end."""
    whole = make_video(tmp_path / "whole.mp4", "-movflags", "+faststart", frames=40)
    with need_av().open(str(whole)) as container:
        ends = sorted(packet.pos + packet.size for packet in container.demux(video=0) if packet.size)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: ends[20]])
    with pytest.raises(ClipError, match=r"cut\.mp4: the file is cut short: its header promises \d+ bytes more"):
        with play(cut, 32):
            pass


def test_a_name_with_a_colon_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_video(tmp_path / "2024-01-01T10:22:33.mp4", frames=3)
    monkeypatch.chdir(tmp_path)
    with play(Path(video.name), None) as playing:
        assert len(list(playing.frames)) == 3


@pytest.mark.parametrize("text", ["640x480", "0x480@25", "640x480@0", "16385x8@25", "99999999999x99999999999@25"])
def test_a_size_of_raw_frames_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        RawVideo.parse(text)


def test_an_error_of_who_uses_the_frames_is_not_the_videos(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no space here"), play(make_video(tmp_path / "a.mp4"), 32):
        raise OSError("no space here")


def test_neighbours_of_one_label_are_joined() -> None:
    def piece(start: float, end: float, *probabilities: float) -> Piece:
        return Piece(start, end, torch.tensor(probabilities))

    pieces = [piece(0, 1, 0.9, 0.1), piece(1, 4, 0.5, 0.499), piece(4, 5, 0.2, 0.8), piece(5, 6, 0.7, 0.3)]
    found = joined(pieces, ["x", "y"])
    assert [(each.start, each.end, each.label) for each in found] == [(0, 4, "x"), (4, 5, "y"), (5, 6, "x")]
    assert [each.score for each in found] == pytest.approx([(0.9 + 3 * 0.5) / 4, 0.8, 0.7])
