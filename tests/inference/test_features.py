"""Embeddings of a list and of files: the network's own, with and without a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hitagu_lib.cli.main import main
from hitagu_lib.config import Config
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.source import open_lists
from hitagu_lib.inference.predict import load_model, read_source


def test_a_list_and_its_files_have_the_networks_embeddings(
    untrained: Path, tiny_cfg: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, clips = open_lists(tiny_cfg.data)
    assert main(["features", "--checkpoint", str(untrained), "--out", str(tmp_path / "list.npz")]) == 0
    found = np.load(tmp_path / "list.npz")
    model, cfg, classes = load_model(untrained)
    T, D = cfg.data.num_frames, model.width
    assert found["frames"].shape == (len(clips), T, D) and found["clip"].shape == (len(clips), model.clip_width)
    assert found["paths"].tolist() == clips.paths()
    assert found["labels"].tolist() == [classes[label] for label in clips.labels]
    frames, t = read_source(clips.frames_dir(1), cfg.data)
    with torch.inference_mode():
        _, maps = model(normalise(frames)[None], t[None], return_embeddings=True)
    np.testing.assert_allclose(found["frames"][1], maps.frame_embeddings[0], atol=1e-4)
    np.testing.assert_allclose(found["clip"][1], maps.clip_embedding[0], atol=1e-4)
    table = pd.read_csv(tmp_path / "list.csv")
    np.testing.assert_allclose(table.filter(regex="^c[0-9]+$"), found["clip"], rtol=1e-4, atol=1e-5)

    folders = [str(clips.frames_dir(i)) for i in range(2)]
    command = ["features", *folders, str(tmp_path / "gone.mp4"), "--checkpoint", str(untrained)]
    assert main([*command, "--out", str(tmp_path / "files.npz")]) == 1
    assert "gone.mp4: no such file" in capsys.readouterr().err
    files = np.load(tmp_path / "files.npz")
    assert files["paths"].tolist() == folders and files["labels"].tolist() == ["", ""]
    np.testing.assert_allclose(files["clip"], found["clip"][:2], atol=1e-4)


def test_a_backbone_alone_needs_weights_and_no_checkpoint(
    untrained: Path, tiny_cfg: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(tiny_cfg.to_yaml())
    command = ["features", "--params", str(params), "--out", str(tmp_path / "f.npz")]
    assert main(command) == 2 and "model.backbone.weights: found null" in capsys.readouterr().err
    assert main([*command, "--overrides", f"model.backbone.weights={untrained}"]) == 0
    found = np.load(tmp_path / "f.npz")
    np.testing.assert_allclose(found["clip"], found["frames"].mean(1), atol=1e-5)
    backbone = load_model(untrained)[0].backbone
    frames, _ = read_source(open_lists(tiny_cfg.data)[1].frames_dir(0), tiny_cfg.data)
    with torch.inference_mode():
        top = backbone(normalise(frames))[backbone.cut]
    np.testing.assert_allclose(found["frames"][0], top.mean((2, 3)), atol=1e-4)
    with pytest.raises(SystemExit):
        main(["features", "--out", str(tmp_path / "f.npz")])


def test_no_file_of_another_kind_is_replaced(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = tmp_path / "val.csv"
    clips.write_text("a/v1,0,3\n")
    for out, message in (
        (clips.with_suffix(".npz"), "is not a table of features"),
        (tmp_path / "run.v1", "ends in .npz"),
    ):
        assert main(["features", "--checkpoint", str(untrained), "--out", str(out)]) == 2
        assert message in capsys.readouterr().err
    assert clips.read_text() == "a/v1,0,3\n" and [file.name for file in tmp_path.glob("*.npz")] == []


def test_embeddings_keep_their_paths_if_a_clip_cannot_be_read(
    untrained: Path, tiny_cfg: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Path(tiny_cfg.data.val_list).read_text().splitlines()
    val = tmp_path / "val.csv"
    val.write_text("\n".join([rows[0], "val/no such clip,1,9", rows[9], rows[18], ""]))
    classes = Path(tiny_cfg.data.train_list).with_name("classes.txt")
    command = ["features", "--checkpoint", str(untrained), "--out", str(tmp_path / "f.npz"), "--overrides"]
    assert main([*command, f"data.val_list={val} data.classes={classes} data.on_bad_clip=skip"]) == 1
    assert "val.csv:2" in capsys.readouterr().err
    found = np.load(tmp_path / "f.npz")
    model, cfg, names = load_model(untrained)
    assert found["paths"].tolist() == [rows[i].rsplit(",", 2)[0] for i in (0, 9, 18)]
    assert found["labels"].tolist() == [names[int(rows[i].rsplit(",", 2)[1])] for i in (0, 9, 18)]
    for path, clip in zip(found["paths"], found["clip"], strict=True):
        frames, t = read_source(Path(tiny_cfg.data.root) / str(path), cfg.data)
        with torch.inference_mode():
            _, maps = model(normalise(frames)[None], t[None], return_embeddings=True)
        np.testing.assert_allclose(clip, maps.clip_embedding[0], atol=1e-4)
