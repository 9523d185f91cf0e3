"""hitagu_lib/evaluation/evaluate.py and score_list.py: a list, and a video, scored by a protocol."""

import csv
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.io import write_jpeg
from torchvision.transforms.v2 import functional as TF

from hitagu_lib.config import Config, resolve
from hitagu_lib.data import frames
from hitagu_lib.data.dataset import ClipDataset, swap_table
from hitagu_lib.data.loader import make_loader
from hitagu_lib.data.source import open_lists
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.errors import ClipError, ConfigError, WeightsError
from hitagu_lib.evaluation import resume as partial
from hitagu_lib.evaluation import score_list as scoring
from hitagu_lib.evaluation.evaluate import evaluate, evaluate_video
from hitagu_lib.evaluation.metrics import accuracies, calibration
from hitagu_lib.evaluation.multi_view import average_views, score_views
from hitagu_lib.evaluation.protocols import protocol, read_views
from hitagu_lib.evaluation.results import read_results
from hitagu_lib.evaluation.scores import reorder_views, score_clips
from hitagu_lib.inference.accelerator import make_accelerator
from hitagu_lib.inference.predict import load_model, predict

ROOT = Path(__file__).resolve().parents[2]


def config(tiny: Config, **evaluation: object) -> Config:
    return dataclasses.replace(tiny, eval=dataclasses.replace(tiny.eval, **evaluation))


@pytest.mark.slow
def test_an_evaluation_writes_its_report_predictions_and_scores(untrained: Path, tiny_cfg: Config) -> None:
    cfg = config(tiny_cfg, protocol="multi", order_tests=False)
    report = evaluate(cfg, untrained)
    folder = Path(tiny_cfg.run) / "evaluate-multi"
    written = ["classes.csv", "confusion.csv", "predictions.csv", "report.json", "scores.npz"]
    assert sorted(file.name for file in folder.iterdir()) == written
    assert json.loads((folder / "report.json").read_text()) == report
    assert (report["protocol"], report["average"]) == ("multi", "probabilities")
    assert (report["views"]["clips"], report["views"]["crops"]) == (2, 3)
    assert (report["videos_listed"], report["videos_scored"], report["videos_failed"]) == (28, 28, 0)
    assert report["top1_of_listed"] == report["top1"]
    assert report["frames_asked"] == 28 * 6 * 3 and report["frames_encoded"] == 28 * 2 * 3, "square: one crop"
    saved = np.load(folder / "scores.npz")
    assert saved["view_logits"].shape == (28, 6, 14)
    of_views = torch.from_numpy(saved["view_logits"])
    np.testing.assert_allclose(saved["scores"], torch.softmax(of_views, -1).mean(1), atol=1e-6)
    hits = saved["scores"].argmax(1) == saved["labels"]
    assert report["top1"] == pytest.approx(hits.mean())
    assert report["mean_class_accuracy"] == pytest.approx(
        np.mean([hits[saved["labels"] == c].mean() for c in range(14)])
    )
    top5 = np.argsort(-saved["scores"], 1)[:, :5] == saved["labels"][:, None]
    assert report["top5"] == pytest.approx(top5.any(1).mean())
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    clips = open_lists(tiny_cfg.data)[1]
    assert [row["path"] for row in rows] == [clips.path(i) for i in range(28)]
    assert [row["label"] == row["predicted"] for row in rows] == hits.tolist()
    assert float(rows[3]["score"]) == pytest.approx(saved["scores"][3].max(), rel=1e-4)
    again = evaluate(cfg, untrained, folder.parent / "again")
    assert (np.load(folder.parent / "again" / "scores.npz")["scores"] == saved["scores"]).all()
    assert again["top1"] == report["top1"]


@pytest.mark.slow
def test_single_scores_as_validation_does(untrained: Path, tiny_cfg: Config) -> None:
    cfg = config(tiny_cfg, average="logits")
    evaluate(cfg, untrained)
    saved = np.load(Path(tiny_cfg.run) / "evaluate-single" / "scores.npz")
    dataset = ClipDataset(open_lists(cfg.data)[1], cfg.data, train=False)
    scores = score_clips(load_model(untrained)[0], make_loader(dataset, 9, shuffle=False), make_accelerator(cfg.train))
    np.testing.assert_allclose(saved["scores"], scores.logits.numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "frames_of_30", "stride"),
    [
        ("data.num_frames=6", [2, 7, 12, 17, 22, 27], 5),  # trained with 3 frames, 10 apart
        ("data.num_frames=2", [7, 22], 15),
        ("data.sampling=dense data.dense_span=24 data.num_frames=6", [3, 7, 11, 15, 19, 23], 4),
        ("data.sampling=dense data.dense_span=12 data.num_frames=6", [9, 11, 13, 15, 17, 19], 2),
        ("data.sampling=dense data.dense_span=3", [13, 14, 15], 1),
    ],
)
def test_a_model_is_evaluated_at_other_numbers_of_frames_and_strides(
    untrained: Path, tiny_cfg: Config, overrides: str, frames_of_30: list[int], stride: float
) -> None:
    """The reference is the network on those frames at their times, in the reference strides of training."""
    cfg = resolve(
        tiny_cfg.to_mapping(), f"{overrides} eval.protocol=multi eval.clips=1 eval.crops=1 eval.average=logits"
    )
    evaluate(config(cfg, order_tests=False), untrained)
    found = read_results(Path(cfg.run) / "evaluate-multi").scores.logits
    model, clips = load_model(untrained)[0], open_lists(cfg.data)[1]
    row = clips.num_frames.tolist().index(30)
    x = centre_crop(frames.read_frames(clips.frames_dir(row), frames_of_30), 32, 36)
    t = torch.tensor([frames_of_30]) / cfg.data.ref_stride
    with torch.no_grad():
        torch.testing.assert_close(model(frames.normalise(x)[None], t)[0], found[row], atol=1e-5, rtol=1e-5)
        told_otherwise = model(frames.normalise(x)[None], torch.arange(len(x))[None].float())[0]
    assert t.diff().unique().tolist() == [stride / cfg.data.ref_stride]
    assert stride == cfg.data.ref_stride or (told_otherwise - found[row]).abs().max() > 1e-4, "t says how far apart"


@pytest.mark.slow
def test_a_video_that_cannot_be_read(untrained: Path, tiny_cfg: Config, tmp_path: Path) -> None:
    listed = Path(tiny_cfg.data.val_list).read_text().splitlines()
    (tmp_path / "val.csv").write_text("\n".join([*listed[:3], "gone/v1,0,30", ""]))
    data = dataclasses.replace(
        tiny_cfg.data,
        val_list=str(tmp_path / "val.csv"),
        classes=str(Path(tiny_cfg.data.train_list).with_name("classes.txt")),
    )
    cfg = dataclasses.replace(tiny_cfg, data=data)
    with pytest.raises(ClipError, match=r"val\.csv:4: .*gone.*data\.on_bad_clip=skip"):
        evaluate(cfg, untrained, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["partial"], (
        "what was scored is kept, no result written"
    )
    cfg = dataclasses.replace(cfg, data=dataclasses.replace(data, on_bad_clip="skip"))
    report = evaluate(cfg, untrained, tmp_path / "out")
    assert (report["videos_listed"], report["videos_scored"], report["videos_failed"]) == (4, 3, 1)
    assert f"{tmp_path / 'val.csv'}:4: " in report["failed"][0] and "gone" in report["failed"][0]
    assert report["top5_of_listed"] == pytest.approx(report["top5"] * 3 / 4)
    (tmp_path / "val.csv").write_text("gone/v1,0,30\n")
    with pytest.raises(ClipError, match="none of the 1 videos could be read; the first"):
        evaluate(cfg, untrained, tmp_path / "out")


def test_a_list_of_other_classes_is_refused(untrained: Path, tiny_cfg: Config, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a\nb\n")
    data = dataclasses.replace(tiny_cfg.data, classes=str(tmp_path / "classes.txt"))
    (tmp_path / "val.csv").write_text("a/v1,0,30\n")
    data = dataclasses.replace(data, val_list=str(tmp_path / "val.csv"))
    with pytest.raises(
        ConfigError, match=r"last\.pt: found 14 classes .*; expected the classes of .*2 classes \('a', 'b'\)"
    ):
        evaluate(dataclasses.replace(tiny_cfg, data=data), untrained)


@pytest.mark.slow
def test_one_video_gets_the_scores_that_it_gets_in_a_list(untrained: Path, tiny_cfg: Config, tmp_path: Path) -> None:
    cfg = config(tiny_cfg, protocol="multi")
    evaluate(cfg, untrained)
    saved = np.load(Path(tiny_cfg.run) / "evaluate-multi" / "scores.npz")["scores"][4]
    clips = open_lists(cfg.data)[1]
    report = evaluate_video(cfg, untrained, clips.frames_dir(4), tmp_path / "out")
    assert report["labels"][0] == clips.classes[saved.argmax()]
    np.testing.assert_allclose(report["scores"], np.sort(saved)[::-1], atol=1e-5)
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


def saved(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "scores.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def assert_same_files(folder: Path, other: Path) -> None:
    ours, theirs = saved(folder), saved(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    for name in ("predictions.csv", "classes.csv", "confusion.csv"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()
    reports = [json.loads((f / "report.json").read_text()) for f in (folder, other)]
    for key in reports[0].keys() - {"seconds", "where", "videos_resumed"}:
        assert reports[0][key] == reports[1][key], key


@pytest.mark.slow
def test_the_report_holds_every_measure(untrained: Path, tiny_cfg: Config) -> None:
    report = evaluate(config(tiny_cfg, protocol="multi"), untrained)
    found = read_results(Path(tiny_cfg.run) / "evaluate-multi")
    partner = swap_table(found.classes, tiny_cfg.data.reverse_swaps, "data.reverse_swaps")
    expected = accuracies(found.scores, partner)
    assert report.items() >= expected.items() and report["bootstrap"]["resamples"] == 2000
    assert report["reversed_pairs"]["videos"] == 28
    assert report["by_views"] == found.by_views()
    assert [(row["clips"], row["crops"]) for row in report["by_views"]] == [(1, 3), (2, 3), (2, 1), (2, 2)]
    assert report["by_views"][1]["top1"] == pytest.approx(report["top1"])
    assert report["calibration"] == {
        **calibration(found.scores.logits, found.scores.labels),
        "probabilities": "mean of the views' probabilities",
    }
    assert {order: accuracies(of, partner) for order, of in found.orders.items()} == report["orders"]
    assert list(report["orders"]) == ["shuffled", "reversed", "frozen"]
    assert found.paths[3] == open_lists(tiny_cfg.data)[1].path(3)
    assert (found.clips, found.crops, found.average, found.listed) == (2, 3, "probabilities", 28)


def test_with_logits_the_probabilities_are_the_softmax_of_their_mean(untrained: Path, tiny_cfg: Config) -> None:
    found = evaluate(config(tiny_cfg, average="logits", order_tests=False), untrained)["calibration"]
    scores = read_results(Path(tiny_cfg.run) / "evaluate-single").scores
    assert found.pop("probabilities") == "softmax of the views' mean logits"
    assert found == calibration(scores.logits.softmax(1), scores.labels)


def test_classes_and_confusion_are_written_by_name(untrained: Path, tiny_cfg: Config) -> None:
    evaluate(config(tiny_cfg, order_tests=False), untrained)
    folder = Path(tiny_cfg.run) / "evaluate-single"
    scores, classes = read_results(folder).scores, list(open_lists(tiny_cfg.data)[1].classes)
    with (folder / "confusion.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["label", *classes] and [row[0] for row in rows[1:]] == classes
    confusion = np.array([row[1:] for row in rows[1:]], int)
    for label, predicted in zip(scores.labels.tolist(), scores.predicted.tolist(), strict=True):
        confusion[label, predicted] -= 1
    assert not confusion.any()
    with (folder / "classes.csv").open(newline="") as file:
        rows_by_label = {row["label"]: row for row in csv.DictReader(file)}
    up, down = (classes.index(f"Moving something {way}") for way in ("up", "down"))
    row, of_up = rows_by_label[classes[up]], scores.predicted[scores.labels == up]
    assert (row["videos"], row["correct"]) == ("2", str(int((of_up == up).sum())))
    assert float(row["accuracy"]) == int((of_up == up).sum()) / 2
    assert (row["partner"], row["called_partner"]) == (classes[down], str(int((of_up == down).sum())))
    assert row["called"] == str(int((scores.predicted == up).sum()))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["shuffled", "reversed", "frozen"])
def test_one_clip_in_another_order_scores_as_validation_does(untrained: Path, tiny_cfg: Config, order: str) -> None:
    cfg = config(tiny_cfg, average="logits")
    evaluate(cfg, untrained)
    dataset = ClipDataset(open_lists(cfg.data)[1], cfg.data, train=False)
    loader = make_loader(dataset, 9, shuffle=False)
    expected = score_clips(load_model(untrained)[0], loader, make_accelerator(cfg.train), order)
    found = read_results(Path(cfg.run) / "evaluate-single").orders[order]
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_views_in_another_order_are_averaged_as_those_in_order_are(
    untrained: Path, tiny_cfg: Config, average: str
) -> None:
    cfg = config(tiny_cfg, protocol="multi", average=average)
    evaluate(cfg, untrained)
    found = read_results(Path(cfg.run) / "evaluate-multi").orders
    clips, plan = open_lists(cfg.data)[1], protocol(cfg.data, cfg.eval)
    model = load_model(untrained)[0]
    views = read_views(clips.frames_dir(3), int(clips.num_frames[3]), plan)
    for order, scores in found.items():
        (logits,) = score_views(model, [reorder_views(views, order, plan.crops, 3)])
        torch.testing.assert_close(scores.logits[3], average_views(logits, average), atol=1e-5, rtol=1e-5)


class Stopped(BaseException):
    """Like a keyboard interrupt, but without stopping pytest."""


def stop_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the network after it has scored this many groups of videos."""
    score, left = scoring.score_views, iter(range(calls))

    def some(*args: Any) -> list[torch.Tensor]:
        if next(left, None) is None:
            raise Stopped
        return score(*args)

    monkeypatch.setattr(scoring, "score_views", some)


@pytest.mark.slow
def test_a_stopped_evaluation_continues_where_it_stopped(
    untrained: Path, tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config(tiny_cfg, protocol="multi", frames_at_once=60)  # 3 of 28 videos at a time
    whole, out = tmp_path / "whole", tmp_path / "out"
    evaluate(cfg, untrained, whole)
    monkeypatch.setattr(partial, "SAVE_SECONDS", 0.0)
    for groups, there in ((2, 6), (3, 15)):
        with monkeypatch.context() as stopping, pytest.raises(Stopped):
            stop_after(groups, stopping)
            evaluate(cfg, untrained, out)
        assert sorted(file.name for file in out.iterdir()) == ["partial"]
        assert len(partial.PartialScores(out / "partial").scored) == there
    again = count_calls(monkeypatch)
    report = evaluate(cfg, untrained, out)
    assert (report["videos_resumed"], report["videos_scored"], again) == (15, 28, [3, 3, 3, 3, 1])
    assert_same_files(out, whole)
    assert not (out / "partial").exists()


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of videos that pass through the network together, call by call."""
    score, calls = scoring.score_views, []
    monkeypatch.setattr(scoring, "score_views", lambda *args: (calls.append(len(args[1])), score(*args))[1])
    return calls


@pytest.mark.slow
def test_scores_under_other_settings_are_not_reused(
    untrained: Path, tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are they thrown away; fewer frames at once, which the message about full memory advises, are no other setting."""
    rows = Path(tiny_cfg.data.val_list).read_text().splitlines()
    cfg = config(listing(tiny_cfg, tmp_path, rows), frames_at_once=9)
    with monkeypatch.context() as stopping, pytest.raises(Stopped):
        stop_after(4, stopping)
        evaluate(cfg, untrained, tmp_path / "out")
    state = torch.load(untrained)
    other = tmp_path / "other.pt"
    torch.save(state | {"epoch": 9}, other)
    message = re.escape(
        f"{tmp_path / 'out' / 'partial'}: found scores of a stopped evaluation with another checkpoint, eval.average;"
    )
    with pytest.raises(ConfigError, match=message):
        evaluate(config(cfg, average="logits"), other, tmp_path / "out")
    edited = listing(tiny_cfg, tmp_path, [*rows[9:], *rows[:9]])
    assert edited.data.val_list == cfg.data.val_list
    with pytest.raises(ConfigError, match="with another list;"):
        evaluate(cfg, untrained, tmp_path / "out")
    listing(tiny_cfg, tmp_path, rows)
    assert evaluate(config(cfg, frames_at_once=3), untrained, tmp_path / "out")["videos_resumed"] > 0


def evaluate_to(cfg: Config, checkpoint: Path, out: Path) -> Path:
    evaluate(cfg, checkpoint, out)
    return out


def listing(tiny: Config, tmp_path: Path, rows: list[str], root: Path | None = None) -> Config:
    """Return `tiny` with another validation list."""
    file = tmp_path / f"list{len(rows)}.csv"
    file.write_text("\n".join([*rows, ""]))
    classes = Path(tiny.data.train_list).with_name("classes.txt")
    data = dataclasses.replace(tiny.data, val_list=str(file), classes=str(classes), root=str(root or tiny.data.root))
    return dataclasses.replace(tiny, data=data)


@pytest.mark.slow
def test_a_resumed_evaluation_retries_unreadable_videos(
    untrained: Path, tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Path(tiny_cfg.data.val_list).read_text().splitlines()[:9]
    folder = tmp_path / "frames" / rows[4].split(",")[0]
    for row in rows:
        source = Path(tiny_cfg.data.root) / row.split(",")[0]
        (tmp_path / "frames" / row.split(",")[0]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "frames" / row.split(",")[0]).symlink_to(source)
    folder.unlink()
    cfg = config(listing(tiny_cfg, tmp_path, rows, tmp_path / "frames"), frames_at_once=9)
    cfg = dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, on_bad_clip="skip"))
    left_out = evaluate(cfg, untrained, tmp_path / "left_out")
    assert (left_out["videos_listed"], left_out["videos_scored"], left_out["videos_failed"]) == (9, 8, 1)
    assert left_out["top1_of_listed"] == pytest.approx(left_out["top1"] * 8 / 9)
    with monkeypatch.context() as stopping, pytest.raises(Stopped):
        stop_after(2, stopping)
        evaluate(cfg, untrained, tmp_path / "out")
    folder.symlink_to(Path(tiny_cfg.data.root) / rows[4].split(",")[0])
    report = evaluate(cfg, untrained, tmp_path / "out")
    assert (report["videos_scored"], report["videos_failed"], report["videos_resumed"]) == (9, 0, 3)
    assert_same_files(tmp_path / "out", evaluate_to(cfg, untrained, tmp_path / "whole"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread, as torchrun gives each process: with more, sums round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_processes_write_what_one_writes(untrained: Path, tiny_cfg: Config, tmp_path: Path) -> None:
    """Shares of 4 and 3 videos, one of them unreadable; and fewer videos than processes."""
    rows = Path(tiny_cfg.data.val_list).read_text().splitlines()
    lists = {"seven": [*rows[:3], "gone/v1,0,30", *rows[12:15]], "one": rows[5:6]}
    commands = []
    for name, some in lists.items():
        cfg = config(listing(tiny_cfg, tmp_path, some), protocol="multi", frames_at_once=36)
        cfg = dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, on_bad_clip="skip"))
        evaluate(cfg, untrained, tmp_path / "alone" / name)
        (tmp_path / f"{name}.yaml").write_text(cfg.to_yaml())
        commands.append(["--params", str(tmp_path / f"{name}.yaml"), "--out", str(tmp_path / "together" / name)])
    script = tmp_path / "both.py"
    script.write_text(
        "import json, sys\nfrom hitagu_lib.cli.main import main\n"
        f"codes = [main(['evaluate', '--checkpoint', {str(untrained)!r}, *c]) for c in json.loads(sys.argv[1])]\n"
        "sys.exit(codes != [1, 0] and f'codes {codes}')\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    done = subprocess.run(
        [*command, json.dumps(commands)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("videos, multi, 2 x 3 views") == 2, "the main process alone speaks"
    for name in lists:
        assert_same_files(tmp_path / "together" / name, tmp_path / "alone" / name)
    assert json.loads((tmp_path / "together" / "seven" / "report.json").read_text())["videos_failed"] == 1
    assert saved(tmp_path / "together" / "seven")["rows"].tolist() == [0, 1, 2, 4, 5, 6]


SHAPES = {
    "one frame": (1, 40, 56),
    "short": (2, 40, 56),
    "upright": (9, 61, 45),
    "odd": (7, 37, 53),
    "4K": (6, 2160, 3840),
}


@pytest.mark.slow
def test_videos_of_every_shape_are_scored_as_each_alone(untrained: Path, tiny_cfg: Config, tmp_path: Path) -> None:
    noise = torch.Generator().manual_seed(0)
    for name, (length, height, width) in SHAPES.items():
        (tmp_path / "frames" / name).mkdir(parents=True)
        coarse = torch.randint(0, 256, (length, 3, 9, 16), generator=noise, dtype=torch.uint8)
        for i, frame in enumerate(TF.resize(coarse, [height, width])):
            write_jpeg(frame, str(tmp_path / "frames" / name / f"{i + 1:06d}.jpg"))
    rows = [f"{name},{i},{length}" for i, (name, (length, _, _)) in enumerate(SHAPES.items())]
    cfg = config(listing(tiny_cfg, tmp_path, rows, tmp_path / "frames"), protocol="multi", clips=3, crop_size=32)
    report = evaluate(cfg, untrained, tmp_path / "out")
    assert (report["videos_scored"], report["videos_failed"]) == (len(SHAPES), 0)
    found = saved(tmp_path / "out")
    assert np.isfinite(found["view_logits"]).all()
    for i, name in enumerate(SHAPES):
        alone = evaluate_video(cfg, untrained, tmp_path / "frames" / name)
        ranked = [alone["scores"][alone["labels"].index(label)] for label in found["classes"]]
        np.testing.assert_allclose(found["scores"][i], ranked, atol=1e-5, err_msg=name)
    assert (found["view_logits"][0] == np.tile(found["view_logits"][0, :3], (3, 1))).all(), "one frame: all clips alike"


@pytest.mark.slow
def test_large_frames_do_not_accumulate_in_memory(
    tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v").mkdir()
    for i in range(12):
        write_jpeg(torch.zeros(3, 2160, 3840, dtype=torch.uint8), str(tmp_path / "v" / f"{i + 1:06d}.jpg"))
    decoded: list[weakref.ref[torch.Tensor]] = []
    most, read = 0, frames.read_frame

    def tracked(file: Path) -> torch.Tensor:
        nonlocal most
        frame = read(file)
        decoded.append(weakref.ref(frame))
        most = max(most, sum(there() is not None for there in decoded))
        return frame

    monkeypatch.setattr(frames, "read_frame", tracked)
    plan = protocol(tiny_cfg.data, config(tiny_cfg, protocol="multi", clips=5).eval)
    assert read_views(tmp_path / "v", 12, plan).frames.shape == (12, 3, 36, 64)
    assert len(decoded) == 12 and most <= 2, "the one that is read, and the one before"


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", bytes(100), b"PK\x03\x04 half"], ids=["empty", "NULs", "half"])
def test_videos_whose_scores_a_power_cut_damaged_are_scored_again(
    content: bytes, untrained: Path, tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    cfg = config(tiny_cfg, frames_at_once=9)
    for damaged in ("settings.json", "*-0.npz"):
        out = tmp_path / damaged[0].replace("*", "scores")
        with monkeypatch.context() as stopping, pytest.raises(Stopped):
            stop_after(4, stopping)
            evaluate(cfg, untrained, out)
        (file,) = (out / "partial").glob(damaged)
        file.write_bytes(content)
        caplog.clear()
        assert evaluate(cfg, untrained, out)["videos_resumed"] == 0
        assert f"{file}: cannot be read" in caplog.text
        assert_same_files(out, evaluate_to(cfg, untrained, tmp_path / "whole"))


def test_scores_that_are_damaged_anywhere_in_their_file_are_not_read(tmp_path: Path) -> None:
    saved = partial.PartialScores(tmp_path)
    saved.add({"rows": np.arange(3), "view_logits": np.ones((3, 100), np.float32)}, {})
    saved.save()
    (file,) = tmp_path.glob("*-0.npz")
    content = file.read_bytes()
    file.write_bytes(content.replace(np.float32(1).tobytes() * 9, bytes(36), 1))
    again = partial.PartialScores(tmp_path)
    assert not again.scored
    again.add({"rows": np.arange(3), "view_logits": np.zeros((3, 100), np.float32)}, {})
    again.save()
    assert not again.read()[0]["view_logits"].any()


def test_a_single_array_is_no_scores_file(tmp_path: Path) -> None:
    np.save(tmp_path / "scores.npy", np.zeros(3))
    with pytest.raises(ConfigError, match=r"scores\.npy: cannot be read as scores\.npz: found one array"):
        read_results(tmp_path / "scores.npy")


@pytest.mark.slow
def test_an_evaluation_does_not_replace_another_one(untrained: Path, tiny_cfg: Config, tmp_path: Path) -> None:
    """The same one may be repeated, also after its run was moved; another checkpoint, list or view needs a folder of its own."""
    cfg = config(tiny_cfg, order_tests=False)
    report = evaluate(cfg, untrained)
    file = Path(tiny_cfg.run) / "evaluate-single" / "report.json"
    data = dataclasses.replace(cfg.data, num_frames=4)
    shorter = dataclasses.replace(cfg, data=data)
    other = listing(cfg, tmp_path, Path(cfg.data.val_list).read_text().splitlines()[:5])
    copy = shutil.copy(untrained, tmp_path / "other.pt")
    for changed, checkpoint, what in (
        (shorter, untrained, "num_frames 3; expected 4"),
        (config(cfg, average="logits"), untrained, "average probabilities; expected logits"),
        (other, untrained, f"list {cfg.data.val_list}; expected {other.data.val_list}"),
        (cfg, copy, f"checkpoint {untrained}; expected {copy}"),
    ):
        with pytest.raises(ConfigError, match=re.escape(f"{file}: found an evaluation with {what}, or no evaluation")):
            evaluate(changed, checkpoint, file.parent)
    assert json.loads(file.read_text()) == report
    with pytest.raises(ConfigError, match=r"found an evaluation with list .*; expected None"):
        evaluate_video(cfg, untrained, Path(cfg.data.root) / "none", file.parent)
    assert json.loads(file.read_text()) == report
    assert evaluate(cfg, os.path.relpath(untrained), file.parent)["top1"] == report["top1"]
    file.write_text(json.dumps(report | {"checkpoint": "moved/checkpoints/last.pt"}))
    assert evaluate(cfg, untrained)["checkpoint"] == str(untrained)
    file.write_text(json.dumps({key: value for key, value in report.items() if key != "list"} | {"video": "a.mp4"}))
    with pytest.raises(ConfigError, match=r"found an evaluation with list None; expected"):
        evaluate(cfg, untrained)


def test_an_evaluation_that_does_not_fit_into_memory_says_what_to_change(
    untrained: Path, tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(scoring, "score_views", score)
    with pytest.raises(
        ConfigError, match=r"allocate 9 bytes\.\nfound eval\.frames_at_once 64; expected fewer, such as 16"
    ):
        evaluate(config(tiny_cfg, frames_at_once=64), untrained)
    with pytest.raises(ConfigError, match=r"found eval\.frames_at_once 1; expected a device with more memory"):
        evaluate(config(tiny_cfg, frames_at_once=1), untrained)


def test_logits_that_are_no_numbers_are_refused(untrained: Path, tiny_cfg: Config) -> None:
    state = torch.load(untrained, weights_only=True)
    state["model"]["head.linear.weight"] = torch.full_like(
        state["model"]["head.linear.weight"], 3e38
    )  # finite, but their products are not
    torch.save(state, untrained)
    with pytest.raises(WeightsError, match=r"val\.csv:1: the network's logits are nan or infinite; expected numbers"):
        evaluate(tiny_cfg, untrained)
    video = open_lists(tiny_cfg.data)[1].frames_dir(0)
    with pytest.raises(WeightsError, match=f"^{video}: the network's logits are nan or infinite"):
        evaluate_video(tiny_cfg, untrained, video)
    with pytest.raises(WeightsError, match=f"^{video}: the network's logits are nan or infinite"):
        predict(video, untrained)


def test_one_process_at_a_time_writes_to_a_folder(untrained: Path, tiny_cfg: Config) -> None:
    folder = Path(tiny_cfg.run) / "evaluate-single"
    folder.mkdir()
    hold = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(ConfigError, match="evaluate-single: this evaluation is in use by another process"):
            evaluate(config(tiny_cfg, order_tests=False), untrained)
    assert list(folder.iterdir()) == [folder / ".lock"]


def test_what_a_killed_evaluation_left_half_written_is_removed(untrained: Path, tiny_cfg: Config) -> None:
    folder = Path(tiny_cfg.run) / "evaluate-single"
    folder.mkdir()
    (folder / ".hitagu-28221.scores.npz").write_bytes(b"half")
    evaluate(config(tiny_cfg, order_tests=False), untrained)
    assert not list(folder.glob(".*"))
