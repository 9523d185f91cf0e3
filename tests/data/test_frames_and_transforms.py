"""Decoding, cropping, mirroring and normalising stay in uint8 throughout, and damage is named."""

import errno
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from media_fixtures import make_clip
from PIL import Image

from hitagu_lib.config import DataConfig
from hitagu_lib.data.clip_list import read_list
from hitagu_lib.data.dataset import read_clip
from hitagu_lib.data.frames import normalise, read_frames
from hitagu_lib.data.loader import collate
from hitagu_lib.data.sampling import clip_indices
from hitagu_lib.data.transforms import RandomCrop, centre_crop, mirror
from hitagu_lib.errors import ClipError
from hitagu_lib.prepare.check import check_list


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(5):
        Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)).save(tmp_path / f"{i + 1:06d}.jpg")
    return tmp_path


def test_frames_come_in_the_order_asked_for_repeats_included(folder: Path) -> None:
    frames = read_frames(folder, [3, 0, 0, 4])
    assert frames.dtype == torch.uint8 and frames.shape == (4, 3, 20, 30)
    assert [round(float(frame.float().mean()) / 40) for frame in frames] == [3, 0, 0, 4]


def test_a_missing_frame_names_the_file_and_what_is_there(folder: Path) -> None:
    with pytest.raises(ClipError, match=r"000006\.jpg: missing; found a folder of 5 frames"):
        read_frames(folder, [5])
    with pytest.raises(ClipError, match=r"nowhere/000001\.jpg: missing; found no such folder"):
        read_frames(folder / "nowhere", [0])


def odd_frames() -> dict[str, tuple[bytes, str | None]]:
    """Return what people have in place of a frame of 30x20: its bytes, and why it cannot be read or None."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))

    def saved(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
        picture.save(buffer := io.BytesIO(), kind, **options)
        return buffer.getvalue()

    whole, half = saved(picture), len(saved(picture)) // 2
    header = whole.index(b"\xff\xc0") + 4  # precision, height, width
    size = f" (the file has {len(whole)} bytes); extract it again"
    return {
        "grey": (saved(picture.convert("L")), None),
        "four inks": (saved(picture.convert("CMYK")), None),
        "progressive": (saved(picture, progressive=True), None),
        "more bytes than the picture": (whole + b"more", None),
        "empty": (b"", "found 0 bytes, expected a JPEG"),
        "cut short": (whole[:half], f"cannot be decoded: Image is incomplete or truncated (the file has {half} bytes)"),
        "its last byte missing": (whole[:-1], "cannot be decoded: Image is incomplete or truncated"),
        "its second half zeros": (whole[:half].ljust(len(whole), b"\0"), "cannot be decoded: Image is incomplete"),
        "progressive, cut short": (saved(picture, progressive=True)[:half], "cannot be decoded: Image is incomplete"),
        "12 bits": (whole[:header] + b"\x0c" + whole[header + 1 :],
                    f"cannot be decoded: Unsupported JPEG data precision 12{size}"),
        "of size zero": (whole[: header + 1] + bytes(4) + whole[header + 5 :],
                         f"cannot be decoded: Empty JPEG image (DNL not supported){size}"),
        "too large": (whole[: header + 1] + b"\xff" * 4 + whole[header + 5 :], "cannot be decoded: Maximum supported"),
        "a PNG": (saved(picture, "PNG"), "cannot be decoded: found a PNG, expected a JPEG"),
        "a WebP": (saved(picture, "WEBP"), "cannot be decoded: found a WebP, expected a JPEG"),
        "text": (b"<html>", "cannot be decoded: Not a JPEG file: starts with 0x3c 0x68 (the file has 6 bytes)"),
        "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "cannot be decoded: found a Git LFS pointer"),
        "a folder": (b"", "cannot be read: Is a directory"),
    }  # fmt: skip


@pytest.mark.parametrize("name", odd_frames())
def test_the_checker_refuses_what_the_reader_refuses_in_the_same_words(folder: Path, name: str) -> None:
    data, expected = odd_frames()[name]
    file = folder / "000002.jpg"
    if name == "a folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(data)
    (folder / "classes.txt").write_text("a\nb\n")
    (folder / "list.csv").write_text(".,0,5\n")
    clips = read_list(folder / "list.csv", folder)
    for other in ("classes.txt", "list.csv"):
        (folder / other).unlink()
    problems = [problem.what for problem in check_list(clips, progress=False)]
    if expected is None:
        assert problems == [] and read_frames(folder, [0, 1]).shape == (2, 3, 20, 30)
        return
    with pytest.raises(ClipError) as caught:
        read_frames(folder, [0, 1])
    assert str(caught.value).startswith(f"{file}: {expected}")
    assert problems == [str(caught.value).removeprefix(f"{folder}/")]


def test_a_frame_is_upright_by_its_exif_mark_for_the_checker_too(tmp_path: Path) -> None:
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[:, :15] = 255  # its left half is bright; shown a quarter turn clockwise, its upper half
    marks = Image.Exif()
    marks[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "000001.jpg", exif=marks)
    Image.fromarray(stored).save(tmp_path / "000002.jpg")
    upright = read_frames(tmp_path, [0])[0]
    assert upright.shape == (3, 30, 20) and upright[:, :14].min() > 200 and upright[:, 16:].max() < 50
    with pytest.raises(ClipError, match=r"000002\.jpg: found 30x20; expected 20x30 as frame 000001"):
        read_frames(tmp_path, [0, 1])


def test_a_frame_that_the_user_may_not_read_is_named_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(ClipError, match=r"000001\.jpg: cannot be read: Permission denied; give this user permission"):
        read_frames(folder, [0])


def test_a_failing_disk_and_a_name_too_long_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClipError, match=r"a/000001\.jpg: cannot be read: File name too long"):
        read_frames(folder / ("a" * 300), [0])

    def failing(file: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(file))

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(ClipError, match=r"000001\.jpg: cannot be read: Input/output error$"):
        read_frames(folder, [0])


@pytest.mark.parametrize("size", [0, 300])
def test_a_damaged_jpeg_names_the_file(folder: Path, size: int) -> None:
    file = folder / "000002.jpg"
    file.write_bytes(file.read_bytes()[:size])
    words = (
        r"cannot be decoded: Image is incomplete or truncated \(the file has 300 bytes\)" if size else "found 0 bytes"
    )
    with pytest.raises(ClipError, match=rf"000002\.jpg: {words}.*; extract it again"):
        read_frames(folder, [0, 1])


def test_frames_of_two_sizes_are_refused(folder: Path) -> None:
    Image.fromarray(np.zeros((22, 30, 3), np.uint8)).save(folder / "000003.jpg")
    with pytest.raises(ClipError, match=r"000003\.jpg: found 30x22; expected 30x20 as frame 000001"):
        read_frames(folder, [0, 2])


def test_normalise_uses_imagenets_statistics_and_can_be_undone() -> None:
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    x = normalise(frames)
    assert x.dtype == torch.float32
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close((x * std[:, None, None] + mean[:, None, None]) * 255, frames.float(), atol=1e-4, rtol=0)


def gradient(H: int, W: int) -> torch.Tensor:
    """Make a clip whose pixel values give their position: red = column, green = row, blue = frame."""
    rows, cols = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    return torch.stack([torch.stack([cols, rows, torch.full_like(rows, t)]) for t in range(3)]).to(torch.uint8)


@pytest.mark.parametrize(("H", "W", "left", "top"), [(64, 96, 16, 0), (96, 64, 0, 16), (64, 64, 0, 0), (64, 97, 16, 0)])
def test_the_centre_crop_is_the_centre(H: int, W: int, left: int, top: int) -> None:
    crop = centre_crop(gradient(H, W), 64, 64)
    assert crop.shape == (3, 3, 64, 64)
    assert (crop[0, 0, 0, 0], crop[0, 1, 0, 0]) == (left, top)


@pytest.mark.parametrize(("H", "W"), [(72, 96), (240, 427), (427, 240), (50, 50), (1080, 608)])
def test_the_centre_crop_resizes_the_short_side_first(H: int, W: int) -> None:
    assert centre_crop(torch.zeros(1, 3, H, W, dtype=torch.uint8), 56, 64).shape == (1, 3, 56, 56)


def random_crop(frames: torch.Tensor, size: int, min_scale: float, rng: np.random.Generator) -> torch.Tensor:
    """A whole clip at once: (T, 3, H, W) -> (T, 3, size, size)."""
    crop = RandomCrop(size, min_scale, rng)
    return crop.resize(crop.cut(frames))


def test_random_crops_are_the_same_in_every_frame_and_reach_all_corners() -> None:
    frames, rng, corners = gradient(72, 96), np.random.default_rng(0), set()
    for _ in range(400):
        crop = random_crop(frames, 64, 64 / 72, rng)
        assert crop.shape == (3, 3, 64, 64)
        assert torch.equal(crop[0, :2], crop[2, :2])
        corners.add(
            (
                int(crop[0, 1, 0, 0]) < 2,
                int(crop[0, 1, -1, -1]) > 69,
                int(crop[0, 0, 0, 0]) < 3,
                int(crop[0, 0, -1, -1]) > 92,
            )
        )
    assert {any(c[i] for c in corners) for i in range(4)} == {True}


def test_a_mirror_swaps_left_and_right_only() -> None:
    frames = gradient(8, 10)
    assert mirror(frames)[0, 0, 3].tolist() == list(range(9, -1, -1))
    assert torch.equal(mirror(frames)[:, 1:], frames[:, 1:])


def test_frames_lie_in_memory_as_the_fast_resize_wants_them_up_to_the_batch(tmp_path: Path) -> None:
    """Channels last makes the uint8 resize four times as fast; planar frames give the same pixels, but slower."""
    frames = read_frames(make_clip(tmp_path / "clip", 2), [0, 1])
    assert frames.is_contiguous(memory_format=torch.channels_last)
    fast, slow = (random_crop(x, 10, 0.5, np.random.default_rng(1)) for x in (frames, frames.contiguous()))
    assert torch.equal(fast, slow)
    cfg = DataConfig(num_frames=2, image_size=8, short_side=12)
    clip, t = read_clip(tmp_path / "clip", 2, cfg, np.random.default_rng(0))
    assert clip.is_contiguous(memory_format=torch.channels_last)
    batch = collate([(clip, t, 0, 0), (clip, t, 0, 1)])
    assert batch["frames"].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_a_clip_cut_frame_by_frame_is_the_whole_clip_cropped(tmp_path: Path) -> None:
    folder = make_clip(tmp_path / "clip", 4)
    cfg = DataConfig(num_frames=4, image_size=8, short_side=12)
    for seed in range(5):
        clip, _ = read_clip(folder, 4, cfg, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        indices = clip_indices(4, 4, cfg.sampling, cfg.dense_span, rng)
        assert torch.equal(clip, random_crop(read_frames(folder, indices.tolist()), 8, cfg.min_scale, rng))
