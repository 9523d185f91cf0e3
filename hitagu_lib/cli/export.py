"""`hitagu export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from hitagu_lib.cli.options import Commands, add_checkpoint, at_least_one


def add_export(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "export",
        help="a trained network as ONNX or .pt2",
        description="Write the network of a checkpoint as one file that runs without this library: ONNX, or torch.export's .pt2. It takes "
        "x (B, T, 3, H, W), normalised, and t (B, T); B is free, T and H = W are fixed. The file is checked against the network first, "
        "and carries the class labels and the parameters.",
    )
    add_checkpoint(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="model.onnx or model.pt2")
    parser.add_argument(
        "--num-frames", type=at_least_one, metavar="T", help="frames a clip (default: as it was trained)"
    )
    parser.add_argument(
        "--image-size", type=at_least_one, metavar="PIXELS", help="side of a frame (default: as it was trained)"
    )
    parser.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> int:
    from hitagu_lib.inference.export import export_checkpoint

    cfg, difference = export_checkpoint(args.checkpoint, args.out, args.num_frames, args.image_size)
    T, S = cfg.data.num_frames, cfg.data.image_size
    print(f"{args.out}: x (B, {T}, 3, {S}, {S}), t (B, {T}); its logits are within {difference:.0e} of the network's")
    return 0
