"""experiments/lamp_probe.py: where the lamps are and what they showed, and a memory that is known to hold it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from prose import prose
from torch import Tensor, nn

from experiments import lamp_probe
from experiments.lamp_probe import cells, lamps_of, measure
from hitagu_lib.config import Config, load_config
from hitagu_lib.errors import ConfigError
from hitagu_lib.prepare.synthetic.hard import COLOURS
from hitagu_lib.prepare.synthetic.make import SETTINGS, MiniSpec, clip_seed, prepare_mini, render_clip
from hitagu_lib.prepare.synthetic.memory import LIT, WAIT, clip_frames

ROOT = Path(__file__).resolve().parents[2]
MEMORY, SPEC = SETTINGS["memory"], MiniSpec.of("memory")
LIGHTING = [label for label, name in enumerate(MEMORY.classes) if name.startswith("Lighting")]


@pytest.mark.parametrize("label", LIGHTING, ids=lambda label: MEMORY.classes[label])
def test_lamps_are_where_and_what_the_frames_show(label: int) -> None:
    seed = clip_seed(SPEC, "val", label, 1)
    lamps, frames = lamps_of(label, seed, SPEC, "val"), render_clip(label, seed, SPEC).astype(int)
    colours = [np.array(COLOURS[name]) for name in LIT]
    assert lamps.x.shape == lamps.last.shape == (4, clip_frames(1))
    for x, y, last, lit in zip(*lamps, strict=True):
        assert lit.any() and set(last) == {-1, 0, 1} and not lit[:1].any()
        for t, frame in enumerate(frames):
            row, column = round(y[t]), round(x[t])
            patch = frame[row - 1 : row + 2, column - 1 : column + 2].mean((0, 1))
            far = [np.abs(patch - colour).sum() for colour in colours]
            assert (min(far) < 60) == lit[t]
            if lit[t]:
                assert int(np.argmin(far)) == last[t]
    assert sorted(lamps.last[:, -1]) == [0, 0, 1, 1]


def test_only_lighting_has_lamps() -> None:
    hiding = next(label for label, name in enumerate(MEMORY.classes) if name.startswith("Hiding"))
    with pytest.raises(ConfigError, match=r"found 'Hiding .*expected a class of Lighting"):
        lamps_of(hiding, (0, 0, hiding, 0), SPEC, "val")


def test_cells_follow_the_resize_and_the_crop() -> None:
    cfg = load_config(ROOT / "params/memory.yaml").data
    assert (cfg.short_side, cfg.image_size) == (36, 32)
    # 36 / 72 = 1 / 2; the crop takes 2 pixels away at each side; a cell of a 4 x 4 grid has 8 pixels.
    assert cells(np.array([0, 4, 19.9, 20, 36, 70]), cfg, 72, 4).tolist() == [0, 0, 0, 1, 2, 3]


class Holds(nn.Module):
    """The mean colour of 2 x 2 pixels, well inside a lamp. The mid level keeps the last bright one at each position; the long one is 0."""

    def states(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        u = F.avg_pool2d(x.flatten(0, 1), 2).unflatten(0, tuple(t.shape))
        held, states = torch.zeros_like(u[:, 0]), []
        for now in u.unbind(1):
            held = torch.where(now.mean(1, keepdim=True) > -0.8, now, held)  # a dark lamp is at -1.5
            states.append(torch.stack([now, held, torch.zeros_like(now)], dim=1))
        return u, torch.stack(states, dim=1)


@pytest.fixture(scope="module")
def memory_cfg(tmp_path_factory: pytest.TempPathFactory) -> Config:
    out = tmp_path_factory.mktemp("data") / "memory"
    spec = MiniSpec.of("memory", train_per_class=24, val_per_class=4)
    prepare_mini(out, spec, use_ffmpeg=False, workers=1, progress=False)
    data = f"data.root={out}/frames data.train_list={out}/train.csv data.val_list={out}/val.csv"
    return load_config(ROOT / "params/memory.yaml", data)


@pytest.mark.slow
def test_the_probe_finds_the_level_that_holds_the_colours(memory_cfg: Config) -> None:
    found = measure(Holds(), memory_cfg, ["val", "val_wait2"])
    assert found["training_lamps"] == 2 * 12 * 4
    assert {split: one["wait_frames"] for split, one in found["lists"].items()} == {"val": WAIT, "val_wait2": 2 * WAIT}
    for one in found["lists"].values():
        assert one["lamps"] == 2 * 4 * 4
        right = {name: value["right"] for name, value in one["features"].items()}
        assert right["mid"] > 0.95 and right["all levels"] > 0.9
        assert right["input"] < 0.75 and right["short"] < 0.75 and right["long"] < 0.75, "32 lamps, chance is a half"
        low, high = one["features"]["mid"]["interval"]
        assert low <= right["mid"] <= high


@pytest.mark.slow
def test_the_command_writes_what_it_measured(
    memory_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "provenance.json").write_text(json.dumps({"git_commit": "0" * 40, "git_changed": False}))
    monkeypatch.setattr(lamp_probe, "load_model", lambda file: (Holds(), memory_cfg, list(MEMORY.classes)))
    monkeypatch.setattr(lamp_probe, "HiTAGUNet", Holds)
    lamp_probe.main(["--run", str(tmp_path), "--out", str(tmp_path / "out"), "--lists", "val"])
    written = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert written["run"].endswith("commit 000000000") and list(written["lists"]) == ["val"]
    assert "val: 32 lamps" in capsys.readouterr().out


def test_another_data_set_has_no_lamps(tiny_cfg: Config) -> None:
    with pytest.raises(ConfigError, match="found the set 'mini'; expected memory"):
        measure(Holds(), tiny_cfg, ["val"])


def test_chapter_5_says_what_the_probe_found() -> None:
    found = json.loads((ROOT / "outputs/published/lamp_probe/probe.json").read_text())
    waits = {one["wait_frames"]: one["features"] for one in found["lists"].values()}
    reads = {wait: {name: 100 * value["right"] for name, value in features.items()} for wait, features in waits.items()}
    assert list(reads) == [12, 24, 48, 96]
    assert [round(one["all levels"]) for one in reads.values()] == [100, 100, 95, 85]
    assert (round(min(r["input"] for r in reads.values())), round(max(r["input"] for r in reads.values()))) == (44, 54)
    assert {round(one["all levels, mean over positions"]) for one in reads.values()} == {50}
    assert [round(reads[96][state]) for state in ("long", "mid", "short")] == [96, 85, 76]
    text = prose("book/05_attention_maps.py")
    assert (
        "reads the colours of 100 % of the lamps after waits of 12 and 24 frames, of 95 % after 48 and of 85 % after 96"
        in text
    )
    assert "After 96 frames the long state alone still gives 96 %, the mid one 85 % and the short one 76 %;" in text
    assert (
        "the long state knows most: a linear classifier that sees this state alone (a *probe*, chapter 5) names 96 % of the colours. The "
        "short state, which starts with a half-life of one step, still gives it 76 %."
    ) in prose("book/02c_3stu.py")
    assert "it is right in 44 to 54 %" in text and "so any probe is right in 50 %" in text
