"""hitagu_lib/evaluation.py and scoring.py: a list, and a video, scored by a protocol."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hitagu_lib.config import Config, resolve
from hitagu_lib.data.dataset import ClipDataset, make_loader, open_lists
from hitagu_lib.devices import make_accelerator
from hitagu_lib.errors import ClipError, ConfigError
from hitagu_lib.evaluate import score_clips
from hitagu_lib.evaluation import evaluate, evaluate_video
from hitagu_lib.predict import load_model


def config(tiny: Config, **evaluation: object) -> Config:
    return dataclasses.replace(tiny, eval=dataclasses.replace(tiny.eval, **evaluation))


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


def test_single_scores_as_validation_does(untrained: Path, tiny_cfg: Config) -> None:
    cfg = config(tiny_cfg, average="logits")
    evaluate(cfg, untrained)
    saved = np.load(Path(tiny_cfg.run) / "evaluate-single" / "scores.npz")
    dataset = ClipDataset(open_lists(cfg.data)[1], cfg.data, train=False)
    scores = score_clips(load_model(untrained)[0], make_loader(dataset, 9, shuffle=False), make_accelerator(cfg.train))
    np.testing.assert_allclose(saved["scores"], scores.logits.numpy(), atol=1e-5)


def test_a_model_is_evaluated_at_another_number_of_frames(untrained: Path, tiny_cfg: Config) -> None:
    cfg = resolve(tiny_cfg.to_mapping(), "data.num_frames=5 eval.protocol=tsm_twice eval.order_tests=false")
    assert evaluate(cfg, untrained)["frames_asked"] == 28 * 6 * 5


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


def test_one_video_gets_the_scores_that_it_gets_in_a_list(untrained: Path, tiny_cfg: Config, tmp_path: Path) -> None:
    cfg = config(tiny_cfg, protocol="multi")
    evaluate(cfg, untrained)
    saved = np.load(Path(tiny_cfg.run) / "evaluate-multi" / "scores.npz")["scores"][4]
    clips = open_lists(cfg.data)[1]
    report = evaluate_video(cfg, untrained, clips.frames_dir(4), tmp_path / "out")
    assert report["labels"][0] == clips.classes[saved.argmax()]
    np.testing.assert_allclose(report["scores"], np.sort(saved)[::-1], atol=1e-5)
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
