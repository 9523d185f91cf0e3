"""Can the maps be trusted? Chapter 5's deletion test on several runs, under every paint.

    python -m experiments.faithfulness --runs outputs/mini-ablations/as-it-is-seed* --out outputs/published/faithfulness

For each run, every fifth validation clip: the gain of a map is the area under the deletion curve of a control minus the area under the
map's, the interval is from a bootstrap over clips (hitagu_lib/evaluation/faithfulness.py).

Writes <out>/gains.csv, a row for each run, paint, map and control; <out>/gains.md, which counts the verdicts over runs; and
<out>/provenance.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.loader import collate
from hitagu_lib.data.source import open_lists
from hitagu_lib.errors import ConfigError
from hitagu_lib.evaluation.faithfulness import (
    PAINTS,
    against_random,
    areas,
    cell_curve,
    frame_curve,
    moved,
    of_another_clip,
    random_like,
)
from hitagu_lib.evaluation.seeds import table_lines
from hitagu_lib.files import write_atomic, write_csv, write_json
from hitagu_lib.inference.predict import load_model
from hitagu_lib.models import HiTAGUNet
from hitagu_lib.runs.provenance import source_of, surroundings
from hitagu_lib.viz.grad_cam import grad_cam

SHARES = (0, 0.05, 0.1, 0.2, 0.4)
EVERY = 5
RANDOM = 12  # rankings of frames at random: with three, their mean still moves by half of the gain
COLUMNS = ("run", "paint", "map", "control", "area", "control_area", "gain", "low", "high", "verdict")
FRAMES = "temporal attention"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders of HiTAGU-Net's runs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--paints", nargs="+", choices=PAINTS, default=list(PAINTS))
    args = parser.parse_args(argv)
    rows = [row for run in args.runs for row in measure(run, args.paints)]
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "provenance.json", surroundings("cpu"))
    write_csv(args.out / "gains.csv", [[row[name] for name in COLUMNS] for row in rows], COLUMNS)
    write_atomic(args.out / "gains.md", [f"{line}\n" for line in table(pd.DataFrame(rows))])
    print((args.out / "gains.md").read_text(encoding="utf-8"))


def measure(run: Path, paints: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the gains of one run's maps, a row of COLUMNS each. Raises ConfigError unless it has all of them."""
    model, cfg, _ = load_model(run / "checkpoints/last.pt")
    if not isinstance(model, HiTAGUNet):
        raise ConfigError(f"{run}: found model.temporal {cfg.model.temporal}; expected hitagu, whose maps are tested")
    dataset = ClipDataset(open_lists(cfg.data)[1], cfg.data, train=False)
    batch = collate([dataset[0, row] for row in range(0, len(dataset), EVERY)])
    x, t = normalise(batch["frames"]), batch["t"]
    with torch.no_grad():
        logits, maps = model(x, t, return_maps=True)
    called = logits.argmax(1)
    motion, spatial, attention = maps.motion_gate, maps.spatial_map, maps.temporal_attention
    if motion is None or spatial is None or attention is None:
        raise ConfigError(f"{run}: found a network without MDE's gate, SCA or TSA; expected all three")
    places = {"motion gate": motion, "spatial gate": spatial, "Grad-CAM": grad_cam(model, x, t, called)}
    generator = torch.Generator().manual_seed(0)
    source = source_of(run)

    def row(paint: str, name: str, control: str, area: torch.Tensor, other: torch.Tensor) -> dict[str, Any]:
        found = against_random(area, other)
        numbers = found["area"], found["random"], found["difference"], *found["interval"]
        told = (source, paint, name, control, *(round(number, 4) for number in numbers), found["verdict"])
        return dict(zip(COLUMNS, told, strict=True))

    for paint in paints:

        def fall(maps: torch.Tensor, paint: str = paint) -> torch.Tensor:
            return areas(cell_curve(model, x, t, called, maps, SHARES, paint), SHARES)

        for name, of in places.items():
            area = fall(of)
            yield row(paint, name, "moved", area, fall(moved(of, generator)))
            yield row(paint, name, "another clip's", area, fall(of_another_clip(of)))

    reads = attention.mean((1, 2))  # (B, T)
    T = reads.shape[1]

    def fall_frames(weights: torch.Tensor) -> torch.Tensor:
        return areas(frame_curve(model, x, t, called, weights), [count / T for count in range(T)])

    area = fall_frames(reads)
    yield row("", FRAMES, "another clip's", area, fall_frames(of_another_clip(reads)))
    at_random = torch.stack([fall_frames(random_like(reads, generator)) for _ in range(RANDOM)]).mean(0)
    yield row("", FRAMES, "at random", area, at_random)


def table(gains: pd.DataFrame) -> list[str]:
    """Return Markdown tables, of cells and of frames: of each map and paint, over each control the gain's mean over runs, and how many runs
    found better, open and worse.
    """
    lines: list[str] = []
    for frames, some in gains.groupby(gains["map"] == FRAMES):
        rows = []
        for (name, paint), of in some.groupby(["map", "paint"], sort=False):
            row = {"deleted by": name} | ({} if frames else {"painted": paint})
            for control, one in of.groupby("control", sort=False):
                counts = " / ".join(str((one["verdict"] == verdict).sum()) for verdict in ("better", "open", "worse"))
                row[f"gain over {control}; better / open / worse"] = f"{one['gain'].mean():+.2f}; {counts}"
            rows.append(row)
        lines += [*table_lines(pd.DataFrame(rows), left=("deleted by", "painted")), ""]
    return lines[:-1]


if __name__ == "__main__":
    main()
