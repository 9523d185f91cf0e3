"""`hitagu evaluate | predict | features | export`: use a trained network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hitagu_lib.cli.options import COUNT, PATH, checkpoint_option, failed, overrides_option, reason
from hitagu_lib.errors import HitaguError


@click.command
@checkpoint_option
@click.option("--params", type=PATH, metavar="FILE", help="The parameters.  [default: those of the training]")
@overrides_option("data.num_frames=16")
@click.option(
    "--protocol",
    type=click.Choice(["single", "multi", "tsm_twice"]),
    help="The views to score.  [default: the parameters']",
)
@click.option("--clips", type=COUNT, metavar="N", help="Clips per video.  [default: the protocol's]")
@click.option("--crops", type=COUNT, metavar="M", help="Crops per frame.  [default: the protocol's]")
@click.option(
    "--average", type=click.Choice(["probabilities", "logits"]),
    help="What to average over the views.  [default: the parameters']",
)  # fmt: skip
@click.option(
    "--order-tests/--no-order-tests", default=None,
    help="Score again with frames shuffled, reversed, and frozen to the middle one.  [default: the parameters']",
)  # fmt: skip
@click.option("--video", type=PATH, metavar="DIR", help="One folder of frames, or video file, instead of the list.")
@click.option(
    "--out", type=PATH, metavar="DIR",
    help="The folder to write.  [default: evaluate-<protocol> in the run's folder; with --video, none]",
)  # fmt: skip
def evaluate(
    checkpoint: Path, params: Path | None, overrides: str, video: Path | None, out: Path | None, **given: Any
) -> int:
    """Score the validation videos, by one or several views.

    The protocol is single (1 clip of segments, 1 crop), multi (10 clips x 3 crops if data.sampling is dense, 2 x 3 if it is segment) or
    tsm_twice (2 x 3). The network is the checkpoint's; the parameters give the data and the number of frames. The options from --protocol
    to --order-tests are short for overrides such as eval.protocol=multi.

    The command writes report.json, predictions.csv, classes.csv, confusion.csv and scores.npz. Run it again to resume. If some videos
    cannot be read, the exit code is 1.

    \b
    hitagu evaluate --checkpoint outputs/mini/checkpoints/last.pt --protocol multi
    torchrun --nproc_per_node 2 -m hitagu_lib evaluate --checkpoint outputs/mini/checkpoints/last.pt
    """
    from hitagu_lib.config import load_config, resolve
    from hitagu_lib.evaluation.evaluate import default_folder, evaluate, evaluate_video
    from hitagu_lib.inference.accelerator import make_accelerator
    from hitagu_lib.prepare.synthetic.make import prepare_data
    from hitagu_lib.runs.checkpoint import load_checkpoint

    chosen = [f"eval.{key}={value}" for key, value in given.items() if value is not None]
    overrides = " ".join([overrides, *chosen])
    if params:
        cfg = load_config(params, overrides)
    else:
        cfg = resolve(load_checkpoint(checkpoint)["params"], overrides, source=str(checkpoint))
    if video:
        report = evaluate_video(cfg, checkpoint, video, out)
        views = report["views"]
        click.echo(
            f"{video}: {report['protocol']}, {views['clips']} x {views['crops']} views, mean of {report['average']}"
        )
        for score, label in list(zip(report["scores"], report["labels"], strict=True))[:5]:
            click.echo(f"  {score:9.4f}  {label}")
        return 0
    # Before any other use of Accelerate: it must learn that several processes without GPUs share the CPU.
    accelerator = make_accelerator(cfg.train)
    with accelerator.main_process_first():
        prepare_data(cfg.data, progress=True)
    report = evaluate(cfg, checkpoint, out, progress=True)
    if not accelerator.is_main_process:
        return 1 if report["videos_failed"] else 0
    click.echo("\n".join(_summary(report, out or default_folder(checkpoint, report["protocol"]))))
    return failed(
        report["failed"],
        f"{report['videos_failed']} of {report['videos_listed']} videos could not be read and are left out; counted as wrong, top1 is "
        f"{report['top1_of_listed']:.1%}",
    )


def _summary(report: dict[str, Any], folder: Path) -> list[str]:
    views, pairs, calibrated = report["views"], report["reversed_pairs"], report["calibration"]
    resumed = f" ({report['videos_resumed']} of them before)" if report["videos_resumed"] else ""
    lines = [
        f"{folder}: {report['videos_scored']} videos{resumed}, {report['protocol']}, {views['clips']} x {views['crops']} views, mean of "
        f"{report['average']}"
    ]
    for name in ("top1", "top5", "mean_class_accuracy"):
        low, high = report["intervals"][name]
        lines.append(f"  {report[name]:6.1%}  {name.replace('_', ' ')} (95 % interval {low:.1%} to {high:.1%})")
    if pairs:
        lines.append(
            f"  {pairs['called_partner']:6.1%}  called the reversed class, of {pairs['videos']} videos that have one"
        )
    lines.append(
        f"  {calibrated['expected_calibration_error']:6.1%}  calibration error; mean confidence {calibrated['mean_confidence']:.1%}, "
        f"{calibrated['probabilities']}"
    )
    for order, of in report["orders"].items():
        called = f", called the reversed class {of['reversed_pairs']['called_partner']:.1%}" if pairs else ""
        lines.append(f"  {of['top1']:6.1%}  top1 with frames {order}{called}")
    return lines


def _rate(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value <= 1000:  # also for nan
        raise click.BadParameter(f"found {value:g}, expected frames per second, above 0 and up to 1000")
    return value


@click.command
@click.argument("sources", nargs=-1, required=True, type=PATH, metavar="FILE...")
@checkpoint_option
@click.option("--top", type=COUNT, default=5, metavar="N", help="Number of labels to show.")
@click.option("--json", "as_json", is_flag=True, help="Print one line with a JSON object for each FILE.")
@click.option(
    "--overlay", type=PATH, metavar="OUT",
    help="Also write each video with the network's attention and its prediction so far drawn in: to OUT.mp4 for one FILE, or as "
    "NAME.overlay.mp4 to a folder OUT.",
)  # fmt: skip
@click.option(
    "--window", type=COUNT, metavar="N",
    help="With --overlay: predict from the last N frames so far.  [default: data.dense_span for dense sampling, else 1024]",
)  # fmt: skip
@click.option(
    "--fps", type=float, callback=_rate, metavar="RATE",
    help="With --overlay: frames per second.  [default: the video's; for a folder of frames, 25]",
)  # fmt: skip
def predict(
    sources: tuple[Path, ...], checkpoint: Path, top: int, as_json: bool, overlay: Path | None, window: int | None,
    fps: float | None,
) -> int:  # fmt: skip
    """Rank the labels for videos.

    Each FILE is a video in any format that ffmpeg reads, or a folder of frames 000001.jpg ... The network sees one clip, sampled and
    cropped as in validation. If some cannot be read, the exit code is 1.

    \b
    hitagu predict new.mp4 other.webm --checkpoint outputs/own/checkpoints/last.pt
    hitagu predict new.mp4 --checkpoint outputs/own/checkpoints/last.pt --overlay seen.mp4
    """
    if overlay is None and (window or fps):
        raise click.UsageError("--window and --fps are for --overlay")
    overlays = _overlay_files(sources, overlay) if overlay else {}

    import torch

    from hitagu_lib.inference.predict import load_model, predict

    model, cfg, classes = load_model(checkpoint)
    if (device := torch.accelerator.current_accelerator(check_available=True)) is not None:
        model.to(device)
    code, attention = 0, True
    for source in sources:
        try:
            prediction = predict(source, model, cfg.data, classes)
            ranked = list(zip(prediction.labels, prediction.probabilities, strict=True))[:top]
            if as_json:
                best = [{"label": label, "probability": probability} for label, probability in ranked]
                click.echo(json.dumps({"source": str(source), "predictions": best}, ensure_ascii=False))
            else:
                click.echo(
                    "\n".join([str(source), *(f"  {probability:6.1%}  {label}" for label, probability in ranked)])
                )
            if overlays:
                from hitagu_lib.viz.overlay import overlay_video

                running = overlay_video(
                    source, overlays[source], model, cfg.data, classes,
                    window=window, fps=fps, frames_at_once=cfg.eval.frames_at_once, progress=True,
                )  # fmt: skip
                # Standard output is for the predictions.
                click.echo(f"hitagu: wrote {overlays[source]}", err=True)
                attention = running.spatial_map is not None or running.reads is not None
        except (HitaguError, PermissionError) as error:
            code = 1
            click.echo(f"hitagu: {reason(error)}", err=True)
    if not attention:
        click.echo(
            f"hitagu: this network ({cfg.model.temporal}) has no attention to draw: its prediction alone", err=True
        )
    return code


def _overlay_files(sources: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Return the overlay's file for each source. Raise UsageError for a file that cannot be written, or would replace a source."""
    from hitagu_lib.media.ffmpeg import VIDEO_SUFFIXES

    if out.suffix.lower() == ".mp4" and not out.is_dir():
        if len(sources) > 1:
            raise click.UsageError(f"--overlay {out}: one file for {len(sources)} videos; give a folder")
        files = {sources[0]: out}
    elif out.suffix.lower() in VIDEO_SUFFIXES and not out.is_dir():
        raise click.UsageError(f"--overlay {out}: overlays are MP4; give a name that ends in .mp4, or a folder")
    else:
        files = {}
        for source in sources:
            name = source.resolve().name if source.is_dir() else source.stem
            files[source] = out / f"{name}.overlay.mp4"
            if len(set(files.values())) < len(files):
                raise click.UsageError(f"--overlay {out}: {source} and another FILE would both become {files[source]}")
    for source, file in files.items():
        if file.exists() and any(file.samefile(other) for other in sources if other.exists()):
            raise click.UsageError(f"--overlay {file}: would replace the video itself; give another name than {source}")
    return files


@click.command
@click.argument("sources", nargs=-1, type=PATH, metavar="[FILE...]")
@click.option(
    "--checkpoint", type=PATH, metavar="FILE", help="A checkpoint.  [default: the backbone of --params alone]"
)
@click.option(
    "--params", type=PATH, metavar="FILE", help="The parameters.  [default: those of the checkpoint's training]"
)
@overrides_option("data.val_list=data/own/train.csv")
@click.option(
    "--out", type=PATH, required=True, metavar="FILE", help="The file to write, .npz; a .csv is written beside it."
)
def features(sources: tuple[Path, ...], checkpoint: Path | None, params: Path | None, overrides: str, out: Path) -> int:
    """Write the embeddings of videos to .npz and CSV.

    The videos are FILE..., or without any those of data.val_list. The .npz holds paths, labels, t (N, T), frames (N, T, D), each frame's
    embedding, and clip (N, D), each video's, which the CSV holds too. The network sees one clip, sampled and cropped as in validation.
    Without --checkpoint it is the pretrained backbone of --params; nothing is trained. If some videos cannot be read, the exit code is 1.

    \b
    hitagu features --checkpoint outputs/own/checkpoints/last.pt --out features.npz
    hitagu features --params params/own.yaml --overrides data.val_list=data/own/train.csv --out train.npz
    """
    if checkpoint is None and params is None:
        raise click.UsageError("expected --checkpoint, or --params for a pretrained backbone alone")

    import torch

    from hitagu_lib.config import load_config, resolve
    from hitagu_lib.data.clip_list import read_list
    from hitagu_lib.data.source import check_paths
    from hitagu_lib.inference.features import backbone_alone, features_of_files, features_of_list, write_features
    from hitagu_lib.inference.predict import load_model

    if checkpoint:
        model, trained, _ = load_model(checkpoint)
        cfg = (
            load_config(params, overrides)
            if params
            else resolve(trained.to_mapping(), overrides, source=str(checkpoint))
        )
    else:
        assert params is not None
        cfg = load_config(params, overrides)
        model = backbone_alone(cfg)
    if (device := torch.accelerator.current_accelerator(check_available=True)) is not None:
        model.to(device)
    if sources:
        found = features_of_files(model, sources, cfg.data)
    else:
        check_paths(cfg.data)
        clips = read_list(Path(cfg.data.val_list), Path(cfg.data.root), cfg.data.classes_file, allow_unlabelled=True)
        found = features_of_list(model, clips, cfg, progress=True)
    npz, table = write_features(out, found)
    N, T, D = found.frames.shape
    click.echo(f"{npz}, {table}: {N} videos, {T} frames of {D} numbers each, clips of {found.clip.shape[1]}")
    return failed(
        found.failed, f"{len(found.failed)} of {N + len(found.failed)} videos could not be read and are left out"
    )


@click.command
@checkpoint_option
@click.option("--out", type=PATH, required=True, metavar="FILE", help="The file to write, .onnx or .pt2.")
@click.option("--num-frames", type=COUNT, metavar="T", help="Frames per clip.  [default: as in training]")
@click.option("--image-size", type=COUNT, metavar="PIXELS", help="Side of a frame.  [default: as in training]")
def export(checkpoint: Path, out: Path, num_frames: int | None, image_size: int | None) -> int:
    """Write a trained network as ONNX or .pt2.

    The file runs without this library: ONNX, or torch.export's .pt2. It takes x (B, T, 3, H, W), normalised, and t (B, T); B is free, T and
    H = W are fixed. The export checks it against the network; it carries the class labels and the parameters.

    \b
    hitagu export --checkpoint outputs/mini/checkpoints/last.pt --out model.onnx
    """
    from hitagu_lib.inference.export import export_checkpoint

    cfg, difference = export_checkpoint(checkpoint, out, num_frames, image_size)
    T, S = cfg.data.num_frames, cfg.data.image_size
    click.echo(f"{out}: x (B, {T}, 3, {S}, {S}), t (B, {T}); its logits are within {difference:.0e} of the network's")
    return 0
