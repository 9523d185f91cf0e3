"""`hitagu prepare | extract | index | split`: from videos to lists of clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitagu_lib.cli.options import PATH, Command, Group, failed, workers_option
from hitagu_lib.errors import first_of

if TYPE_CHECKING:
    from hitagu_lib.prepare.annotations import AnnotationReport

short_side_option = click.option(
    "--short-side", type=int, default=256, metavar="PIXELS",
    help="Scale the shorter side down to this, never up; 0 keeps the size.",
)  # fmt: skip
source_option = click.option(
    "--source", type=click.Choice(["frames", "video"]), default="frames",
    help="List folders of frames, or video files (for data.source: video).",
)  # fmt: skip
relative_to_option = click.option(
    "--relative-to", type=PATH, metavar="DIR", help="The folder that the paths start from.  [default: FRAMES]"
)


@click.command
@click.argument("dataset", type=click.Choice(["mini", "hard", "memory"]))
@click.option("--out", type=PATH, metavar="DIR", help="The folder to write.  [default: data/<dataset>]")
@click.option("--seed", type=int, default=0, metavar="N", help="The same seed gives the same videos.")
@click.option(
    "--train-per-class",
    type=int,
    metavar="N",
    help="Training clips.  [default: mini 120, hard 40, memory 800, fewer in some classes]",
)
@click.option("--val-per-class", type=int, metavar="N", help="Validation clips.  [default: 30]")
@click.option("--no-ffmpeg", is_flag=True, help="Write the frames directly, without videos.")
@workers_option("Processes")
def prepare(
    dataset: str, out: Path | None, seed: int, train_per_class: int | None, val_per_class: int | None,
    no_ffmpeg: bool, workers: int | None,
) -> int:  # fmt: skip
    """Make a data set of short synthetic videos.

    In `hard`, things are smaller, events are shorter, and some classes differ only in the order of two distant events. In `memory`,
    only what happened long before tells two classes apart; it has validation lists with waits of 1, 2, 4 and 8 times training's.

    \b
    hitagu prepare mini
    """
    from hitagu_lib.data.clip_list import read_list
    from hitagu_lib.prepare.synthetic.make import MiniSpec, prepare_mini

    counts = {"train_per_class": train_per_class, "val_per_class": val_per_class}
    given = {name: count for name, count in counts.items() if count is not None}
    spec, out = MiniSpec.of(dataset, seed=seed, **given), out or Path("data") / dataset
    prepare_mini(out, spec, use_ffmpeg=not no_ffmpeg, workers=workers, progress=True)
    train, val = (read_list(out / f"{split}.csv", out / "frames") for split in ("train", "val"))
    click.echo(f"{out}: {len(train)} training and {len(val)} validation clips of {len(train.classes)} classes")
    return 0


@click.command
@click.argument("video", type=PATH, required=False)
@click.argument("folder", type=PATH, required=False, metavar="[OUT]")
@click.option("--root", type=PATH, metavar="VIDEOS", help="A folder with videos in it, at any depth.")
@click.option("--out", type=PATH, metavar="FRAMES", help="The folder for their folders of frames.")
@short_side_option
@click.option("--fps", type=float, metavar="RATE", help="Frames per second.  [default: each frame of the video once]")
@click.option("--quality", type=int, default=2, metavar="Q", help="JPEG quality, from 2 (best) to 31 (smallest).")
@click.option("--overwrite", is_flag=True, help="Replace frames that were made with other settings.")
@workers_option("Videos to extract at a time")
def extract(
    video: Path | None, folder: Path | None, root: Path | None, out: Path | None,
    short_side: int, fps: float | None, quality: int, overwrite: bool, workers: int | None,
) -> int:  # fmt: skip
    """Extract videos to folders of JPEG frames.

    Give one VIDEO and the folder OUT for its frames, or --root and --out: then each video below VIDEOS goes to the same place below FRAMES,
    VIDEOS/a/vid.mp4 to FRAMES/a/vid/000001.jpg and so on. Run the same command again to resume. FRAMES/failed.csv lists the videos that
    failed; if there are any, the exit code is 1.

    \b
    hitagu extract new.mp4 frames/new --fps 12
    hitagu extract --root videos --out frames
    """
    from hitagu_lib.prepare.extract import extract_tree, extract_video
    from hitagu_lib.prepare.videos import MANIFEST, SKIPPED, left_out

    short = short_side or None
    if video and folder and not root and not out:
        frames = extract_video(video, folder, short_side=short, fps=fps, quality=quality, overwrite=overwrite)
        click.echo(f"{folder}: {frames} frames")
        return 0
    if video or folder or not root or not out:
        raise click.UsageError("expected either VIDEO OUT, or --root VIDEOS --out FRAMES")
    report = extract_tree(
        root, out, short_side=short, fps=fps, quality=quality, overwrite=overwrite, workers=workers
    )  # fmt: skip
    kept = f" and {report.kept} kept from before" if report.kept else ""
    click.echo(
        f"{out}: {report.extracted} video{'s' * (report.extracted != 1)} extracted{kept}, {report.frames} frames"
    )
    if report.skipped:
        click.echo(left_out(report.skipped, out / SKIPPED), err=True)
    total = len(report.failed) + report.extracted + report.kept
    return failed(
        [f"{root / name}: {reason}" for name, reason in report.failed],
        f"{len(report.failed)} of {total} videos failed, see {out / MANIFEST}",
    )


@click.group(cls=Group, invoke_without_command=True, subcommand_metavar="[kinetics700|ssv2 ...]")
@click.option("--root", type=PATH, metavar="DIR", help="FRAMES; with --check, the folder that the paths start from.")
@click.option("--out", type=PATH, metavar="LIST", help="The CSV to write.")
@click.option("--check", type=PATH, metavar="LIST", help="The CSV to check.")
@relative_to_option
@click.option(
    "--classes", type=PATH, metavar="FILE", help="For a validation list: the classes.txt of the training list."
)
@source_option
@click.option("--no-decode", is_flag=True, help="With --check: look for the frames, but do not decode them.")
@click.option(
    "--allow-unlabelled", is_flag=True, help="With --check: accept clips without a label, as in a test split."
)
@workers_option("With --check: threads")
@click.pass_context
def index(
    ctx: click.Context, root: Path | None, out: Path | None, check: Path | None, relative_to: Path | None,
    classes: Path | None, source: str, no_decode: bool, allow_unlabelled: bool, workers: int | None,
) -> int:  # fmt: skip
    """List the clips of a folder, or check a list.

    With --out, write one line path,label_index,num_frames for each FRAMES/class/video/000001.jpg, and the labels to classes.txt beside the
    list. With --check, report each clip whose frames are missing or cannot be decoded; if there are any, the exit code is 1. The commands
    kinetics700 and ssv2 list the clips of an official annotation file instead.

    \b
    hitagu index --root frames/train --relative-to frames --out train.csv
    hitagu index --root frames/val --relative-to frames --out val.csv --classes classes.txt
    hitagu index --check val.csv --root frames
    """
    if ctx.invoked_subcommand:
        if any(ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE for name in ctx.params):
            raise click.UsageError(f"options go after {ctx.invoked_subcommand}")
        return 0
    from hitagu_lib.data.clip_list import read_list
    from hitagu_lib.prepare.check import check_list
    from hitagu_lib.prepare.index import index_frames
    from hitagu_lib.prepare.videos import left_out

    if root is None:  # required here, but not before kinetics700 and ssv2
        raise click.UsageError("Missing option '--root'.")
    if (out is None) == (check is None):
        raise click.UsageError("expected one of --out and --check")
    if check and relative_to:
        raise click.UsageError("--relative-to is for --out; with --check, --root is what the paths start from")
    if out and (no_decode or workers):
        raise click.UsageError("--no-decode and --workers are for --check")
    if out and allow_unlabelled:
        raise click.UsageError("--allow-unlabelled is for --check")
    if out:
        report = index_frames(root, out, relative_to=relative_to, classes=classes, source=source, progress=True)
        click.echo(f"{out}: {report.clips} clips; labels in {out.with_name('classes.txt')}")
        if report.skipped:
            click.echo(left_out(report.skipped, report.manifest), err=True)
        return 0
    assert check is not None
    clips = read_list(check, root, classes, allow_unlabelled=allow_unlabelled)
    problems = check_list(clips, source=source, decode=not no_decode, workers=workers)
    for problem in problems:
        click.echo(f"{check}:{problem.line}: {root / problem.path}: {problem.what}")
    if not problems:
        found = "their frames are there" if no_decode else "all frames can be decoded"
        click.echo(f"{check}: {len(clips)} clips, {found}")
        return 0
    bad = len({problem.line for problem in problems})
    click.echo(f"hitagu: {bad} of {len(clips)} clips are not as {check} says", err=True)
    return 1


def annotation_options(file: str) -> Callable[[Command], Command]:
    """The options that kinetics700 and ssv2 share; `file` is the official annotation file of the training split."""
    options = [
        click.option("--annotations", type=PATH, required=True, metavar="FILE", help=f"The official {file}, or another split's."),
        click.option("--frames", type=PATH, required=True, metavar="FRAMES", help="The folder that holds all clips' folders."),
        source_option,
        click.option("--out", type=PATH, required=True, metavar="LIST", help="The CSV to write."),
        relative_to_option,
        click.option("--allow-unlabelled", is_flag=True, help="List clips without a label (as -1): a test split, to predict."),
    ]  # fmt: skip

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@index.command
@annotation_options("train.csv")
@click.option(
    "--classes", type=PATH, metavar="FILE", help="For another split's list: the classes.txt of the training list."
)
def kinetics700(
    annotations: Path, frames: Path, source: str, out: Path, relative_to: Path | None, allow_unlabelled: bool,
    classes: Path | None,
) -> int:  # fmt: skip
    """List the clips of a Kinetics-700 annotation file.

    Clips whose frames are missing or wrong go to a manifest beside the list, LIST's name with .missing.csv: line,key,reason. If there are
    any, the exit code is 1.

    \b
    hitagu index kinetics700 --annotations kinetics700_train.csv --frames data/k700/frames/train \\
        --relative-to data/k700/frames --out data/k700/train.csv
    """
    from hitagu_lib.prepare.annotations import index_kinetics700

    report = index_kinetics700(
        annotations, frames, out,
        classes=classes, relative_to=relative_to, allow_unlabelled=allow_unlabelled, source=source, progress=True,
    )  # fmt: skip
    return _annotations_report(report, annotations, out)


@index.command
@annotation_options("train.json")
@click.option("--labels", type=PATH, required=True, metavar="FILE", help="The official labels.json.")
def ssv2(
    annotations: Path, frames: Path, source: str, out: Path, relative_to: Path | None, allow_unlabelled: bool,
    labels: Path,
) -> int:  # fmt: skip
    """List the clips of a Something-Something V2 annotation file.

    Clips whose frames are missing or wrong go to a manifest beside the list, LIST's name with .missing.csv: line,key,reason. If there are
    any, the exit code is 1.

    \b
    hitagu index ssv2 --annotations train.json --labels labels.json --frames data/ssv2/frames --out data/ssv2/train.csv
    """
    from hitagu_lib.prepare.annotations import index_ssv2

    report = index_ssv2(
        annotations, labels, frames, out,
        relative_to=relative_to, allow_unlabelled=allow_unlabelled, source=source, progress=True,
    )  # fmt: skip
    return _annotations_report(report, annotations, out)


def _annotations_report(report: AnnotationReport, annotations: Path, out: Path) -> int:
    from collections import Counter

    click.echo(f"{out}: {report.listed} clips; labels in {out.with_name('classes.txt')}")
    kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(clip.kind for clip in report.unlisted).most_common())
    total = report.listed + len(report.unlisted)
    return failed(
        [f"{annotations}:{clip.line}: {clip.key}: {clip.kind}: {clip.what}" for clip in report.unlisted],
        f"{len(report.unlisted)} of {total} clips not listed ({kinds}), see {report.manifest}",
    )


@click.command
@click.option("--videos", type=PATH, required=True, metavar="VIDEOS", help="A folder with one subfolder per class.")
@click.option("--out", type=PATH, required=True, metavar="OUT", help="The folder to write, such as data/own.")
@click.option(
    "--val-share", type=float, default=0.25, metavar="SHARE", help="Share of each class's clips to validate on."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="The same seed gives the same lists.")
@click.option(
    "--group", metavar="REGEX",
    help="The first group is a clip's source, in its name without the ending: such as '(.*)_c[0-9]+'. With '(.*)' each file is a source.",
)  # fmt: skip
@click.option(
    "--groups", type=PATH, metavar="CSV",
    help="Or a file that gives each clip's source, with the columns video and source, as in OUT/sources.csv.",
)  # fmt: skip
@click.option(
    "--folds", type=click.IntRange(min=2), metavar="N",
    help="Write N folds for cross-validation, OUT/fold0/train.csv and so on, in place of one division.",
)  # fmt: skip
@click.option(
    "--table", type=PATH, metavar="CSV",
    help="A table that you have, a line per video: its columns class, source, split (train, val, test) and fold are taken as they are.",
)  # fmt: skip
@click.option(
    "--columns", default="", show_default=False, metavar="KEY=COLUMN,...",
    help="What the table calls its columns, such as video=clip,source=subject.",
)  # fmt: skip
@short_side_option
@workers_option("Videos to extract at a time")
def split(
    videos: Path, out: Path, val_share: float, seed: int, group: str | None, groups: Path | None, folds: int | None,
    table: Path | None, columns: str, short_side: int, workers: int | None,
) -> int:  # fmt: skip
    """Turn a folder of your own videos into frames and two lists.

    Extracts the videos VIDEOS/class/name.mp4 to OUT/frames and divides them into OUT/train.csv and OUT/val.csv, with the labels in
    OUT/classes.txt. Clips cut from one source stay in one list. A clip's source is its name without the numbers at its end (kitchen_001,
    kitchen_12_22 and kitchen-2 come from kitchen); OUT/sources.csv records it. Run the same command again to resume; another seed, share
    or grouping remakes only the lists.

    With --folds, train once per fold with data.train_list=OUT/fold0/train.csv and data.val_list=OUT/fold0/val.csv, then `hitagu report
    folds`.

    \b
    hitagu split --videos videos --out data/own
    hitagu split --videos videos --out data/own --table split.csv --columns video=clip,source=subject --folds 5
    """
    from statistics import median

    from hitagu_lib.prepare.split import split_videos
    from hitagu_lib.prepare.table import parse_columns
    from hitagu_lib.prepare.videos import MANIFEST, SKIPPED, left_out

    if group is not None and groups is not None:
        raise click.UsageError("expected at most one of --group and --groups")
    if columns and table is None:
        raise click.UsageError("--columns is for --table")
    report = split_videos(
        videos, out,
        val_share=val_share, seed=seed, folds=folds, group=group, groups=groups, table=table, columns=parse_columns(columns),
        short_side=short_side or None, workers=workers,
    )  # fmt: skip
    click.echo("\n".join(report.table()))
    middle = median(report.frames.values())
    fewest, most = min(report.frames.values()), max(report.frames.values())
    click.echo(
        f"A clip has {fewest} to {most} frames, half of them {middle:g} or more: for 8 frames of a clip (data.num_frames) take "
        f"data.ref_stride={middle / 8:.2g}"
    )
    if "train" in report.lists:
        sides = f"{len(report.train)} training and {len(report.val)} validation clips"
    else:
        sides = f"{len(report.lists) // 2} folds of {len(report.frames)} clips"
    click.echo(
        f"{out}: {sides} of {len(report.classes)} classes; {out / 'sources.csv'} says what was taken for one source"
    )
    if shared := report.shared_sources():
        click.echo(
            f"hitagu: the table has sources on both sides, so validation flatters: {first_of(shared, 3)}", err=True
        )
    if report.skipped:
        click.echo(left_out(report.skipped, out / "frames" / SKIPPED), err=True)
    return failed(
        [f"{videos / video}: {reason}" for video, reason in report.failed],
        f"{len(report.failed)} videos failed and are in neither list, see {out / 'frames' / MANIFEST}",
    )
