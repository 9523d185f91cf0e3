"""`hitagu evaluate | predict | timeline | features | export`: use a trained network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitagu_lib.cli.options import COUNT, PATH, checkpoint_option, failed, overrides_option, reason
from hitagu_lib.errors import ClipError, HitaguError

if TYPE_CHECKING:
    from hitagu_lib.inference.live import RawVideo


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

    The command writes report.json, predictions.csv, classes.csv, confusion.csv and scores.npz. Run it again to resume, or to repeat
    it; another checkpoint, list, view or average needs another --out. A video that cannot be read stops the command (exit code 2); with
    data.on_bad_clip=skip the others are scored, and the exit code is 1.

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
            f"  {pairs['called_partner']:6.1%}  called the partner class, of {pairs['videos']} videos that have one"
        )
    lines.append(
        f"  {calibrated['expected_calibration_error']:6.1%}  calibration error; mean confidence {calibrated['mean_confidence']:.1%}, "
        f"{calibrated['probabilities']}"
    )
    for order, of in report["orders"].items():
        called = f", called the partner class {of['reversed_pairs']['called_partner']:.1%}" if pairs else ""
        lines.append(f"  {of['top1']:6.1%}  top1 with frames {order}{called}")
    return lines


def _span(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):  # also for nan
        raise click.BadParameter(f"found {value:g}, expected seconds, above 0")
    return value


def _rate(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value <= 1000:  # also for nan
        raise click.BadParameter(f"found {value:g}, expected frames per second, above 0 and up to 1000")
    return value


def _raw(ctx: click.Context, param: click.Parameter, value: str | None) -> RawVideo | None:
    if value is None:
        return None
    from hitagu_lib.inference.live import RawVideo

    try:
        return RawVideo.parse(value)
    except ValueError:
        raise click.BadParameter(
            f"found {value!r}, expected width x height @ frames per second, such as 640x480@25, and at most 16384 pixels a side"
        ) from None


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
    help="With --overlay: frames per second.  [default: the video's; for a folder of frames, 25]  With --stream: the frame rate of the "
    "videos that the network was trained on.  [default: FILE's]",
)  # fmt: skip
@click.option(
    "--stream", is_flag=True,
    help="Follow one FILE while it plays, with a causal network: a video, a camera such as /dev/video0, or - for raw frames from "
    "standard input. A line for each second.",
)  # fmt: skip
@click.option("--raw", metavar="WxH@FPS", callback=_raw, help="With --stream -: size and rate of its rgb24 frames.")
def predict(
    sources: tuple[Path, ...], checkpoint: Path, top: int, as_json: bool, overlay: Path | None, window: int | None,
    fps: float | None, stream: bool, raw: RawVideo | None,
) -> int:  # fmt: skip
    """Rank the labels for videos.

    Each FILE is a video in any format that ffmpeg reads, or a folder of frames 000001.jpg ... The network sees one clip, sampled and
    cropped as in validation. If some cannot be read, the exit code is 1.

    \b
    hitagu predict new.mp4 other.webm --checkpoint outputs/own/checkpoints/last.pt
    hitagu predict new.mp4 --checkpoint outputs/own/checkpoints/last.pt --overlay seen.mp4
    hitagu predict --stream /dev/video0 --checkpoint outputs/causal/checkpoints/last.pt
    """
    if stream:
        if len(sources) > 1 or window:
            raise click.UsageError("--stream follows one FILE, from its first frame on: give no other, and no --window")
        if raw and str(sources[0]) != "-":
            raise click.UsageError("--raw is for --stream -")
        return _follow(str(sources[0]), checkpoint, top, as_json, overlay, fps, raw)
    if raw:
        raise click.UsageError("--raw is for --stream -")
    if overlay is None and (window or fps):
        raise click.UsageError("--window and --fps are for --overlay")
    overlays = _overlay_files(sources, overlay) if overlay else {}

    from hitagu_lib.inference.predict import load_model, on_best_device, predict

    model, cfg, classes = load_model(checkpoint)
    on_best_device(model)
    code, attention = 0, True
    for source in sources:
        try:
            prediction = predict(source, model, cfg.data, classes)
            ranked = list(zip(prediction.labels, prediction.probabilities, strict=True))[:top]
            if as_json:
                best = [{"label": label, "probability": probability} for label, probability in ranked]
                click.echo(_json({"source": str(source), "predictions": best}))
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
                attention = running.motion_map is not None or running.reads is not None
        except (HitaguError, PermissionError) as error:
            code = 1
            click.echo(f"hitagu: {reason(error)}", err=True)
    if not attention:
        click.echo(
            f"hitagu: this network ({cfg.model.temporal}) has no attention to draw: its prediction alone", err=True
        )
    return code


def _json(value: object) -> str:
    """Return one line of JSON, with letters that standard output can encode."""
    import sys

    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return json.dumps(value, ensure_ascii=encoding.lower().replace("-", "") != "utf8")


def _follow(
    source: str,
    checkpoint: Path,
    top: int,
    as_json: bool,
    overlay: Path | None,
    fps: float | None,
    raw: RawVideo | None,
) -> int:
    """Print a line for each second of a video that plays, as soon as the second is over, and one for the last frame.

    Where the user, the reader of the lines or an error ends it, as a camera never ends by itself, the last frame has its line and the
    overlay is kept.
    """
    import sys

    from hitagu_lib.inference.live import Moment, follow, open_live
    from hitagu_lib.inference.predict import load_model, on_best_device
    from hitagu_lib.viz.overlay import LARGEST, LiveOverlay

    if overlay is not None and (
        overlay.suffix.lower() != ".mp4" or (Path(source).exists() and overlay.exists() and overlay.samefile(source))
    ):
        raise click.UsageError(
            f"--overlay {overlay}: with --stream, expected another file than {source} that ends in .mp4"
        )
    model, cfg, classes = load_model(checkpoint)
    on_best_device(model)

    def say(moment: Moment) -> None:
        best = moment.probabilities.topk(min(top, len(classes)))
        ranked = [(classes[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)]
        if as_json:
            predictions = [{"label": label, "probability": probability} for label, probability in ranked]
            line = {"source": source, "seconds": round(moment.seconds, 3), "predictions": predictions}
            click.echo(_json(line))
        else:
            click.echo(f"{moment.seconds:8.1f} s" + "".join(f"  {p:6.1%} {label}" for label, p in ranked))
        sys.stdout.flush()

    last: Moment | None = None
    ended_by: BaseException | None = None
    if source == "-" and sys.stdin is None:
        raise ClipError("-: standard input is closed; expected raw frames from a pipe")
    with ExitStack() as stack:
        pipe = sys.stdin.buffer if source == "-" else None
        playing = stack.enter_context(open_live(source, max(cfg.data.short_side, LARGEST), pipe, raw))
        drawn: LiveOverlay | None = None
        try:
            for moment in follow(playing.frames, model, cfg.data, fps or playing.rate):
                if overlay is not None:
                    drawn = drawn or stack.enter_context(
                        LiveOverlay.opened(overlay, cfg.data, classes, moment.frame, playing.rate)
                    )
                    drawn.write(moment)
                before, last = last, moment
                if before is not None and int(last.seconds) > int(before.seconds):
                    say(before)
        except (KeyboardInterrupt, ClipError, BrokenPipeError) as error:
            if last is None:
                raise
            ended_by = error
        if last is None:
            raise ClipError(f"{source}: found no frame; expected a video with at least one")
        if not isinstance(ended_by, BrokenPipeError):  # else nobody reads any more
            say(last)
    if ended_by:
        raise ended_by
    return 0


@click.command
@click.argument("video", type=PATH, metavar="VIDEO")
@checkpoint_option
@click.option("--out", type=PATH, metavar="DIR", help="The folder to write.  [default: VIDEO's name + .timeline, here]")
@click.option(
    "--window",
    type=float,
    callback=_span,
    metavar="SECONDS",
    help="Length of a window.  [default: what a clip of the training spans]",
)
@click.option(
    "--hop",
    type=float,
    callback=_span,
    metavar="SECONDS",
    help="From one window's start to the next.  [default: half a window]",
)
@click.option("--stream", is_flag=True, help="By the stream of a causal network instead of windows.")
@click.option(
    "--fps",
    type=float,
    callback=_rate,
    metavar="RATE",
    help="The frame rate of the training videos.  [default: VIDEO's]",
)
def timeline(
    video: Path,
    checkpoint: Path,
    out: Path | None,
    window: float | None,
    hop: float | None,
    stream: bool,
    fps: float | None,
) -> int:
    """Label a long video over time.

    Sliding windows are scored one by one, or with --stream a causal network sees frame after frame. A stream that reads the mean of its
    frames (model.readout) remembers all of the video, and changes its mind ever more slowly. Neighbouring windows of one label form
    intervals, each with its mean probability.

    The command writes timeline.csv and timeline.json, the intervals, and timeline.png; another video needs another --out. Memory does not
    grow with the video, but for its intervals.

    \b
    hitagu timeline match.mp4 --checkpoint outputs/own/checkpoints/last.pt
    """
    from hitagu_lib.data.video import play
    from hitagu_lib.inference.predict import load_model, on_best_device
    from hitagu_lib.inference.timeline import joined, steps, windows
    from hitagu_lib.viz.timeline import refuse_other_timeline, with_progress, write_timeline

    if stream and (window or hop):
        raise click.UsageError("--window and --hop are for sliding windows: give them without --stream")
    folder = out or Path(f"{video.stem}.timeline")
    refuse_other_timeline(folder, video)
    model, cfg, classes = load_model(checkpoint)
    on_best_device(model)
    with play(video, cfg.data.short_side) as playing:
        rate = fps or playing.rate
        frames = with_progress(playing)
        if stream:
            pieces = steps(frames, model, cfg.data, rate)
        else:
            spanned = cfg.data.dense_span if cfg.data.sampling == "dense" else cfg.data.num_frames * cfg.data.ref_stride
            length = window or spanned / rate
            step = hop or length / 2
            if step * playing.rate < 0.999:  # a hop is typed with a few digits
                raise click.UsageError(
                    f"windows {step:g} s apart: expected at least a frame, {1 / playing.rate:.3g} s; give a larger --hop"
                )
            pieces = windows(frames, model, cfg.data, rate, length, step)
        intervals = joined(pieces, classes)
    write_timeline(folder, str(video), intervals)
    for each in intervals[:10]:
        click.echo(f"{each.start:9.1f} to {each.end:9.1f} s  {each.score:6.1%}  {each.label}")
    more = f" ({len(intervals) - 10} more)" if len(intervals) > 10 else ""
    click.echo(f"{folder}: {len(intervals)} intervals{more}: timeline.csv, timeline.json, timeline.png")
    return 0


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

    from hitagu_lib.config import load_config, resolve
    from hitagu_lib.data.clip_list import read_list
    from hitagu_lib.data.source import check_paths
    from hitagu_lib.inference.features import (
        backbone_alone,
        features_files,
        features_of_files,
        features_of_list,
        write_features,
    )
    from hitagu_lib.inference.predict import load_model, on_best_device

    features_files(out)  # before hours of work
    if checkpoint:
        model, trained, _ = load_model(checkpoint)
    if params:
        cfg = load_config(params, overrides)
    else:
        cfg = resolve(trained.to_mapping(), overrides, source=str(checkpoint))
    if not checkpoint:
        model = backbone_alone(cfg)
    on_best_device(model)
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
@click.option("--step", is_flag=True, help="Write a causal network's step, frame and state in, logits and state out.")
def export(checkpoint: Path, out: Path, num_frames: int | None, image_size: int | None, step: bool) -> int:
    """Write a trained network as ONNX or .pt2.

    The file runs without this library: ONNX, or torch.export's .pt2. It takes x (B, T, 3, H, W), normalised, and t (B, T); B is free, T and
    H = W are fixed. The export checks it against the network; it carries the class labels and the parameters.

    With --step it takes one frame (B, 3, H, W), elapsed (B,) in reference strides since the last frame, and the state, all zeros at first;
    it returns the logits and the next state.

    \b
    hitagu export --checkpoint outputs/mini/checkpoints/last.pt --out model.onnx
    """
    from hitagu_lib.inference.export import export_checkpoint

    if step and num_frames:
        raise click.UsageError("--num-frames is for clips: a step has one frame")
    cfg, difference = export_checkpoint(checkpoint, out, num_frames, image_size, step=step)
    T, S = cfg.data.num_frames, cfg.data.image_size
    if step:
        click.echo(
            f"{out}: frame (B, 3, {S}, {S}), elapsed (B,), state; its logits are within {difference:.0e} of the network's"
        )
        return 0
    click.echo(f"{out}: x (B, {T}, 3, {S}, {S}), t (B, {T}); its logits are within {difference:.0e} of the network's")
    return 0
