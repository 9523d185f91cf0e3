"""Who remembers? A linear probe reads a lamp's last colour off the states at the lamp's position, long after it went dark.

    python -m experiments.lamp_probe --run outputs/memory --out outputs/published/lamp_probe

In the memory set's Lighting clips, four lamps flash in two colours and then are dark, all alike. At the last sampled frame before the
mark, a probe is asked for each lamp's last colour, from what a trained network has at the lamp's position: the 3STU's input at that frame
(a control: dark lamps look alike), each level's state, all levels together; and from the mean of all states over positions (a control: in
validation, two lamps have each colour). The probe is fitted to the training clips and asked on each validation list. Two colours: chance
is 50 %.

Writes <out>/probe.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from experiments.memory import waiting
from hitagu_lib.config import Config, DataConfig
from hitagu_lib.data.clip_list import ClipList, read_list
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.loader import collate
from hitagu_lib.data.sampling import clip_indices
from hitagu_lib.errors import ConfigError
from hitagu_lib.evaluation.linear_probe import linear_probe
from hitagu_lib.evaluation.metrics import RESAMPLES, interval
from hitagu_lib.files import write_json
from hitagu_lib.inference.predict import load_model
from hitagu_lib.models import HiTAGUNet
from hitagu_lib.prepare.synthetic.make import SETTINGS, MiniSpec, clip_scene, clip_seed
from hitagu_lib.prepare.synthetic.memory import MARK, WAIT, WAITS
from hitagu_lib.runs.provenance import source_of
from hitagu_lib.viz.modules import STATES

LAMPS = 4


class Lamps(NamedTuple):
    """The four lamps of one clip, in the clip's order of frames."""

    x: np.ndarray[Any, Any]  # (4, T), pixels from the left, in the frame as drawn
    y: np.ndarray[Any, Any]  # (4, T), pixels from the top
    last: np.ndarray[Any, Any]  # (4, T), the colour shown last so far: 0 or 1 of the pair's, -1 before the first flash
    lit: np.ndarray[Any, Any]  # (4, T), whether it shines now


def lamps_of(label: int, seed: Sequence[int], spec: MiniSpec, split: str) -> Lamps:
    """Return the lamps of a Lighting clip, from its scene. Raises ConfigError for another class."""
    setting = SETTINGS[spec.setting]
    if not setting.classes[label].startswith("Lighting"):
        raise ConfigError(f"label: found {setting.classes[label]!r}; expected a class of Lighting")
    scene, order = clip_scene(label, seed, spec, split)
    frames = len(order)
    _, *parts = scene.things[-scene.subjects :]  # the mark, then each lamp: dark, in the first colour, in the second
    bases = parts[::3]
    shines = [np.stack([parts[3 * i + 1 + k].x == base.x for k in (0, 1)])[:, order] for i, base in enumerate(bases)]
    last = np.full((LAMPS, frames), -1)
    for lamp, on in enumerate(shines):
        for t in range(frames):
            last[lamp, t] = 0 if on[0, t] else 1 if on[1, t] else last[lamp, t - 1] if t else -1
    # Camera steps are 1 in these clips: a world pixel is a screen pixel.
    x = np.stack([(base.x - scene.camera_x)[order] / 16 + scene.width / 2 for base in bases])
    y = np.stack([(base.y - scene.camera_y)[order] / 16 + scene.height / 2 for base in bases])
    return Lamps(x, y, last, np.stack([on.any(0) for on in shines]))


def cells(pixels: np.ndarray[Any, Any], cfg: DataConfig, drawn: int, grid: int) -> np.ndarray[Any, Any]:
    """Return the cell, 0 to grid - 1, of pixels of a frame `drawn` pixels wide, after validation's resize and central crop."""
    at = (pixels * cfg.short_side / drawn - (cfg.short_side - cfg.image_size) // 2) / cfg.image_size
    return np.clip((at * grid).astype(int), 0, grid - 1)


class Read(NamedTuple):
    """What a network has at the lamps of a list; N = clips x 4, clip by clip."""

    features: dict[str, Tensor]  # name -> (N, D)
    colours: Tensor  # (N,), 0 or 1: the last one


@torch.no_grad()
def read_lamps(model: HiTAGUNet, clips: ClipList, cfg: DataConfig, spec: MiniSpec, batch: int = 16) -> Read:
    """Read the features at the last sampled frame before the mark, at each lamp of the list's Lighting clips."""
    dataset = ClipDataset(clips, cfg, train=False)
    labels = [label for label, name in enumerate(SETTINGS[spec.setting].classes) if name.startswith("Lighting")]
    rows = [row for row in range(len(clips)) if int(clips.labels[row]) in labels]
    features: dict[str, list[Tensor]] = {}
    colours: list[int] = []
    for begin in range(0, len(rows), batch):
        some = collate([dataset[0, row] for row in rows[begin : begin + batch]])
        u, states = model.states(normalise(some["frames"]), some["t"])
        for b, row in enumerate(rows[begin : begin + batch]):
            frames = int(clips.num_frames[row])
            sampled = clip_indices(frames, cfg.num_frames, cfg.sampling, cfg.dense_span, None)
            tau = int(np.flatnonzero(sampled < frames - MARK)[-1])
            split, _, name = clips.path(row).split("/")
            label, index = map(int, name.split("_"))
            lamps = lamps_of(label, clip_seed(spec, split, label, index), spec, split)
            j = cells(lamps.x[:, sampled[tau]], cfg, spec.width, u.shape[4])
            i = cells(lamps.y[:, sampled[tau]], cfg, spec.height, u.shape[3])
            at = states[b, tau][:, :, i, j].permute(2, 0, 1)  # (4, K, D)
            found = {"input": u[b, tau][:, i, j].T} | {STATES[k]: at[:, k] for k in range(at.shape[1])}
            found["all levels"] = at.flatten(1)
            found["all levels, mean over positions"] = states[b, tau].mean((2, 3)).flatten().expand(LAMPS, -1)
            for key, value in found.items():
                features.setdefault(key, []).append(value)
            colours += lamps.last[:, sampled[tau]].tolist()
    return Read({key: torch.cat(values) for key, values in features.items()}, torch.tensor(colours))


def probe(train: Read, test: Read) -> dict[str, dict[str, Any]]:
    """Fit a probe for each feature to `train`; return feature -> its share right on `test`, with an interval.

    The interval is from a bootstrap over clips: the lamps of a clip are not independent.
    """
    found = {}
    for key in train.features:
        right, *_ = linear_probe(train.features[key], train.colours, test.features[key], test.colours)
        by_clip = right.double().unflatten(0, (-1, LAMPS)).mean(1).numpy()
        drawn = np.random.default_rng(0).integers(len(by_clip), size=(RESAMPLES, len(by_clip)))
        found[key] = {"right": float(by_clip.mean()), "interval": interval(by_clip[drawn].mean(1))}
    return found


def measure(model: HiTAGUNet, cfg: Config, lists: Sequence[str]) -> dict[str, Any]:
    """Fit the probes to the run's training clips and ask them on the validation `lists` of its data set."""
    folder = Path(cfg.data.root).parent
    made = json.loads((folder / "mini.json").read_text(encoding="utf-8"))
    spec = MiniSpec(**{field.name: made[field.name] for field in dataclasses.fields(MiniSpec)})
    if spec.setting != "memory":
        raise ConfigError(f"{folder}: found the set {spec.setting!r}; expected memory, which has lamps")

    def read(split: str) -> Read:
        data = waiting(cfg.data, WAITS[split])
        clips = read_list(folder / f"{split}.csv", Path(cfg.data.root), cfg.data.classes_file)
        return read_lamps(model, clips, data, spec)

    train = read("train")
    found: dict[str, Any] = {"training_lamps": len(train.colours), "lists": {}}
    for split in lists:
        test = read(split)
        found["lists"][split] = {
            "wait_frames": WAITS[split] * WAIT,
            "lamps": len(test.colours),
            "features": probe(train, test),
        }
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="the folder of a run on the memory set")
    parser.add_argument("--out", type=Path, required=True)
    lists = [split for split in WAITS if split != "train"]
    parser.add_argument("--lists", nargs="+", choices=lists, default=lists)
    args = parser.parse_args(argv)
    model, cfg, _ = load_model(args.run / "checkpoints" / "last.pt")
    if not isinstance(model, HiTAGUNet):
        raise ConfigError(f"{args.run}: found model.temporal={cfg.model.temporal}; expected hitagu, which has states")
    found = {"run": source_of(args.run)} | measure(model, cfg, args.lists)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "probe.json", found)
    for split, result in found["lists"].items():
        print(f"{split}: {result['lamps']} lamps")
        for name, value in result["features"].items():
            low, high = value["interval"]
            print(f"  {name:32} {value['right']:6.1%}  ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main()
