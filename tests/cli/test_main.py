"""The command line: options, reports, exit codes, help and completion."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
from media_fixtures import ffmpeg

from hitagu_lib import __version__
from hitagu_lib.cli.evaluate import _json
from hitagu_lib.cli.main import cli, main
from hitagu_lib.inference import timeline
from hitagu_lib.inference.predict import Prediction, predict
from hitagu_lib.media.ffmpeg import frame_rate
from hitagu_lib.runs.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]


def make_video(file: Path, frames: int = 3) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=12", "-frames:v", str(frames), "-c:v", "mpeg4"]
    ffmpeg(*source, file)
    return file


def test_help_answers_without_the_heavy_modules() -> None:
    code = (
        "import sys; from hitagu_lib.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'numpy', 'PIL', 'tqdm'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("prepare", "extract", "index", "report"))


def test_help_lists_the_commands_in_the_order_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == [
        "prepare", "extract", "index", "split", "train", "checkpoints", "evaluate", "predict", "timeline", "features", "export", "report"
    ]  # fmt: skip


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


@pytest.mark.parametrize(("words", "command"), [pytest.param(*it, id=" ".join(it[0])) for it in commands(cli)])
def test_every_command_explains_itself(
    words: tuple[str, ...], command: click.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "-h"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: hitagu {' '.join(words)} [OPTIONS]")
    assert not command.get_short_help_str(60).endswith("..."), "its line in the list of commands is not cut short"
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.opts[0] in shown


def test_tab_completes_commands_and_options() -> None:
    def complete(**variables: str) -> str:
        command, env = [sys.executable, "-m", "hitagu_lib"], os.environ | variables
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout

    assert "complete -o nosort -F _hitagu_completion hitagu" in complete(_HITAGU_COMPLETE="bash_source")
    words = complete(_HITAGU_COMPLETE="bash_complete", COMP_WORDS="hitagu ex", COMP_CWORD="1")
    assert words.split() == ["plain,extract", "plain,export"]
    words = complete(_HITAGU_COMPLETE="bash_complete", COMP_WORDS="hitagu evaluate --prot", COMP_CWORD="2")
    assert words.split() == ["plain,--protocol"]


def test_ctrl_c_is_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*args: object, **options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("hitagu_lib.prepare.extract.extract_video", interrupted)
    assert main(["extract", "v.mp4", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "hitagu: stopped; the same command resumes what can be resumed\n"


def test_a_name_that_standard_output_cannot_encode_is_escaped(tmp_path: Path) -> None:
    video, out = make_video(tmp_path / "v.mp4"), tmp_path / os.fsdecode(b"out\xff")
    command = [sys.executable, "-m", "hitagu_lib", "extract", str(video), str(out)]
    env = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out\\udcff: 3 frames\n"), done.stderr


@pytest.mark.slow
def test_predict_continues_after_a_file_without_permission(
    untrained: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, hidden = list((tiny_data / "frames" / "val").glob("*/*"))[:2]

    def denied_once(source: Path, *args: Any) -> Prediction:
        if source == hidden:
            raise PermissionError(13, "Permission denied", str(source))
        return predict(source, *args)

    monkeypatch.setattr("hitagu_lib.inference.predict.predict", denied_once)
    assert main(["predict", str(hidden), str(good), "--checkpoint", str(untrained)]) == 1
    said = capsys.readouterr()
    assert said.err == f"hitagu: {hidden}: Permission denied\n"
    assert said.out.splitlines()[0] == str(good)


def test_the_module_runs_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "hitagu_lib", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"hitagu-net {__version__}\n")


@pytest.mark.slow
def test_from_videos_to_a_checked_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        for label in ("opening, slowly", "closing"):
            make_video(tmp_path / "videos" / split / label / "v1.mp4")
    frames = tmp_path / "frames"
    assert main(["extract", "--root", str(tmp_path / "videos"), "--out", str(frames), "--workers", "2"]) == 0
    assert capsys.readouterr().out == f"{frames}: 4 videos extracted, 12 frames\n"
    train, val, classes = (tmp_path / name for name in ("train.csv", "val.csv", "classes.txt"))
    assert main(["index", "--root", str(frames / "train"), "--out", str(train), "--relative-to", str(frames)]) == 0
    index_val = ["index", "--root", str(frames / "val"), "--out", str(val), "--relative-to", str(frames)]
    assert main([*index_val, "--classes", str(classes)]) == 0
    assert train.read_text() == 'train/closing/v1,0,3\n"train/opening, slowly/v1",1,3\n'
    assert capsys.readouterr().out.splitlines()[0] == f"{train}: 2 clips; labels in {classes}"

    check = ["index", "--check", str(val), "--root", str(frames)]
    assert main(check) == 0
    assert capsys.readouterr().out == f"{val}: 2 clips, all frames can be decoded\n"
    cut = frames / "val" / "opening, slowly" / "v1" / "000002.jpg"
    cut.write_bytes(cut.read_bytes()[:-99])
    assert main([*check, "--no-decode"]) == 0
    capsys.readouterr()
    assert main(check) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"{val}:2: {cut.parent}: 000002.jpg: cannot be decoded: ")
    assert said.err == f"hitagu: 1 of 2 clips are not as {val} says\n"


def test_one_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = make_video(tmp_path / "v.mp4", frames=6)
    options = ["--short-side", "24", "--fps", "6", "--quality", "9"]
    assert main(["extract", str(video), str(tmp_path / "out"), *options]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 3 frames\n"
    assert main(["extract", str(video), str(tmp_path / "out"), "--short-side", "0"]) == 2
    assert "short_side 24, fps 6.0, quality 9; asked for is short_side None" in capsys.readouterr().err
    assert main(["extract", str(video), str(tmp_path / "out"), "--short-side", "0", "--overwrite"]) == 0
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 6


def test_failed_videos_are_named_and_give_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(tmp_path / "videos" / "good.mp4")
    (tmp_path / "videos" / "zero.mp4").write_bytes(b"")
    frames = tmp_path / "frames"
    assert main(["extract", "--root", str(tmp_path / "videos"), "--out", str(frames)]) == 1
    said = capsys.readouterr()
    assert said.out == f"{frames}: 1 video extracted, 3 frames\n"
    assert f"{tmp_path / 'videos' / 'zero.mp4'}: " in said.err
    assert f"hitagu: 1 of 2 videos failed, see {frames / 'failed.csv'}" in said.err
    assert (frames / "failed.csv").read_text().startswith("video,reason\nzero.mp4,")


def test_an_error_of_the_user_gives_one_message_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "classes.txt").write_text("a\n")
    (tmp_path / "train.csv").write_text("a/v1,0,3\n../v2,0,3\n")
    assert main(["index", "--check", str(tmp_path / "train.csv"), "--root", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"hitagu: {tmp_path / 'train.csv'}:2: found path '../v2', which climbs out")
    assert main(["extract", str(tmp_path / "none.mp4"), str(tmp_path / "out")]) == 2
    assert "cannot read this video: No such file" in capsys.readouterr().err
    (tmp_path / "frames" / "a" / "v1").mkdir(parents=True)
    (tmp_path / "frames" / "a" / "v1" / "000001.jpg").write_bytes(b"")
    nowhere = tmp_path / "train.csv" / "list.csv"  # below a file
    assert main(["index", "--root", str(tmp_path / "frames"), "--out", str(nowhere)]) == 2
    assert f"hitagu: {tmp_path / 'train.csv'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["extract"], "expected either VIDEO OUT, or --root VIDEOS --out FRAMES"),
        (["extract", "v.mp4"], "expected either VIDEO OUT"),
        (["extract", "v.mp4", "out", "--root", "videos"], "expected either VIDEO OUT"),
        (["extract", "--root", "videos"], "expected either VIDEO OUT"),
        (["extract", "--root", "v", "--out", "f", "--workers", "0"], "'--workers': 0 is not in the range x>=1"),
        (["index", "--root", "frames"], "expected one of --out and --check"),
        (["index", "--root", "f", "--out", "o.csv", "--check", "c.csv"], "expected one of --out and --check"),
        (["index", "--root", "f", "--out", "o.csv", "--no-decode"], "--no-decode and --workers are for --check"),
        (["index", "--root", "f", "--check", "o.csv", "--relative-to", "f"], "--relative-to is for --out"),
        (["prepare", "maxi"], "'maxi' is not one of 'mini', 'hard'"),
        (["evaluate"], "Missing option '--checkpoint'"),
        (
            ["evaluate", "--checkpoint", "c.pt", "--protocol", "all"],
            "'all' is not one of 'single', 'multi', 'tsm_twice'",
        ),
        (["evaluate", "--checkpoint", "c.pt", "--clips", "0"], "'--clips': 0 is not in the range x>=1"),
        (["report"], "Usage: hitagu report [OPTIONS] COMMAND"),
        (["report", "model", "--classes", "0"], "'--classes': 0 is not in the range x>=1"),
        ([], "Usage: hitagu [OPTIONS] COMMAND"),
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["index", "ssv"], "No such command 'ssv'. Did you mean 'ssv2'?"),
        (["index", "--root", "f", "ssv2"], "options go after ssv2"),
        (["train", "--override", "a=1"], "No such option '--override'. Did you mean '--overrides'?"),
        (
            ["split", "--videos", "v", "--out", "o", "--group", "g", "--groups", "g"],
            "at most one of --group and --groups",
        ),
        (["split", "--videos", "v", "--out", "o", "--seed", "-1"], "'--seed': -1 is not in the range x>=0"),
    ],
)
def test_usage_errors(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_prepare_mini(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mini"
    options = ["--train-per-class", "2", "--val-per-class", "1", "--seed", "3", "--no-ffmpeg", "--workers", "1"]
    assert main(["prepare", "mini", "--out", str(out), *options]) == 0
    classes = len((out / "classes.txt").read_text().splitlines())
    assert (
        capsys.readouterr().out
        == f"{out}: {2 * classes} training and {classes} validation clips of {classes} classes\n"
    )
    assert not (out / "videos").exists()
    assert main(["index", "--check", str(out / "train.csv"), "--root", str(out / "frames")]) == 0
    assert main(["prepare", "mini", "--out", str(out), "--seed", "4", "--no-ffmpeg"]) == 2
    assert "seed" in capsys.readouterr().err


def test_report_model_needs_neither_data_nor_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    command = ["report", "model", "--params", str(ROOT / "params" / "ssv2.yaml")]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert 33 < report["gflops"] <= 34.5 and 24 < report["params_millions"] <= 28
    assert list(report["modules"]) == ["backbone", "mde", "stu", "sca", "tsa", "head"]
    assert all(cost.keys() == {"gflops", "params_millions"} for cost in report["modules"].values())
    assert report["num_classes"] == 174 and "assumed" in report["num_classes_from"]
    assert list(tmp_path.iterdir()) == [], "nothing is downloaded"

    assert main([*command, "--json", "--overrides", "data.classes=übung.txt"]) == 0
    assert "übung.txt is not there" in capsys.readouterr().out, "letters, not their escapes"
    assert main([*command, "--overrides", "model.temporal=tsn", "--classes", "700"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "tsn on resnet50 up to layer4",
        "one view of 8 frames, 224 x 224 pixels",
        "700 classes (as given)",
    ]
    assert [line.split()[0] for line in lines[5:8]] == ["backbone", "head", "total"]
    assert main([*command, "--overrides", "model.temporal=tns"]) == 2
    assert "did you mean tsn?" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_a_list(untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--checkpoint", str(untrained), "--protocol", "multi", "--clips", "3", "--average", "logits"]
    assert main(command) == 0
    folder = untrained.parents[1] / "evaluate-multi"
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"{folder}: 28 videos, multi, 3 x 3 views, mean of logits"
    report = json.loads((folder / "report.json").read_text())
    low, high = report["intervals"]["top1"]
    assert shown[1] == f"  {report['top1']:6.1%}  top1 (95 % interval {low:.1%} to {high:.1%})"
    orders = [line.partition("with frames ")[2].partition(",")[0] for line in shown[6:]]
    assert orders == ["shuffled", "reversed", "frozen"]
    assert (report["views"]["clips"], report["views"]["crops"], report["average"]) == (3, 3, "logits")
    assert report["checkpoint"] == str(untrained)

    assert main(["evaluate", "--checkpoint", str(untrained), "--crops", "3"]) == 2
    assert "eval.crops: found 3; expected 1" in capsys.readouterr().err
    params = tmp_path / "other.yaml"
    listed = Path(report["list"]).read_text().splitlines()[:2]
    (tmp_path / "val.csv").write_text("\n".join([*listed, "gone/v1,0,30", ""]))
    params.write_text(
        f"base: {untrained.parents[1] / 'params.yaml'}\ndata: {{val_list: {tmp_path / 'val.csv'}, on_bad_clip: skip}}\n"
    )
    (untrained.parents[1] / "params.yaml").write_text(json.dumps(load_checkpoint(untrained)["params"]))
    skipping = ["evaluate", "--checkpoint", str(untrained), "--params", str(params), "--out", str(tmp_path / "out")]
    skipping.append("--no-order-tests")
    assert main(skipping) == 1, "some videos failed"
    said = capsys.readouterr()
    assert "with frames" not in said.out
    assert said.out.startswith(f"{tmp_path / 'out'}: 2 videos, single, 1 x 1 views, mean of probabilities")
    assert f"{tmp_path / 'val.csv'}:3: " in said.err and "1 of 3 videos could not be read and are left out" in said.err


def test_evaluate_one_video(
    untrained: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = next((tiny_data / "frames" / "val").glob("*/*"))
    command = ["evaluate", "--checkpoint", str(untrained), "--video", str(folder)]
    assert main([*command, "--protocol", "tsm_twice"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"{folder}: tsm_twice, 2 x 3 views, mean of probabilities" and len(shown) == 6
    assert not list(untrained.parents[1].glob("evaluate-*")), "without --out, nothing is written"
    video = make_video(tmp_path / "v.mp4", frames=6)
    assert main([*command[:-1], str(video), "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["num_frames"] == 6
    assert main([*command[:-1], str(tmp_path / "none.mp4")]) == 2
    assert "none.mp4" in capsys.readouterr().err


@pytest.mark.slow
def test_real_videos(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = tmp_path / "videos"
    for name, label in (
        ("arm_wrestling.mp4", "arm wrestling"),
        ("poking_166766.mp4", "poking"),
        ("test_mpeg4.avi", "other"),
    ):
        (videos / label).mkdir(parents=True)
        os.symlink(shared_data / "clips" / name, videos / label / name)
    frames, train = tmp_path / "frames", tmp_path / "train.csv"
    assert main(["extract", "--root", str(videos), "--out", str(frames)]) == 0
    assert main(["index", "--root", str(frames), "--out", str(train)]) == 0
    assert train.read_text() == "arm wrestling/arm_wrestling,0,280\nother/test_mpeg4,1,164\npoking/poking_166766,2,49\n"
    assert main(["index", "--check", str(train), "--root", str(frames)]) == 0


@pytest.mark.slow
def test_a_closed_pipe_is_no_error() -> None:
    command = [sys.executable, "-u", "-m", "hitagu_lib", "report", "model", "--params", "params/mini.yaml"]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stderr is not None
    run.stdout.close()
    assert "Traceback" not in run.stderr.read()
    assert run.wait() == 141


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "é 😀"), ("latin-1", r"\u00e9 \ud83d\ude00")])
def test_json_is_json_whatever_standard_output_can_encode(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it cannot encode would be written as Python writes it, \\U0001f600."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert _json({"label": "é 😀"}) == f'{{"label": "{shown}"}}'


@pytest.mark.parametrize("redirected", ["2>&-", ">&-", ">&- 2>&-"])
def test_closed_output_is_no_error(redirected: str, tmp_path: Path) -> None:
    video = make_video(tmp_path / "videos" / "a" / "v.mp4")
    command = f"{sys.executable} -m hitagu_lib extract --root {video.parent.parent} --out {tmp_path / 'frames'}"
    done = subprocess.run(["bash", "-c", f"{command} {redirected}"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done
    assert (tmp_path / "frames" / "a" / "v" / "000003.jpg").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("option", ["--version", "--help"])
def test_a_full_disk_has_no_room_for_the_help(option: str) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "hitagu_lib", option]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "hitagu: No space left on device\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, which is a disk that is full, on this system")
def test_a_full_disk_is_named() -> None:
    command = [sys.executable, "-m", "hitagu_lib", "report", "model", "--params", "params/mini.yaml"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        silent = subprocess.run(command, cwd=ROOT, stdout=full, stderr=full, check=False)
    assert (done.returncode, done.stderr) == (2, "hitagu: No space left on device\n")
    assert silent.returncode == 2


@pytest.fixture(scope="module")
def causal_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal network that was never trained."""
    import torch
    from networks import SMALLEST_CAUSAL, woken

    from hitagu_lib.config import resolve

    data = {"num_frames": 4, "ref_stride": 4, "short_side": 36, "image_size": 32}
    cfg = resolve({"model": SMALLEST_CAUSAL, "data": data})
    file = tmp_path_factory.mktemp("causal") / "last.pt"
    state = {"model": woken(cfg.model, 3).state_dict(), "params": cfg.to_mapping(), "classes": ["a", "b", "c"]}
    torch.save(state, file)
    return file


def as_json(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def test_a_stream_prints_a_line_a_second(
    causal_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make_video(tmp_path / "long.mp4", frames=30)  # 12 frames a second
    seen = tmp_path / "seen.mp4"
    options = ["--stream", "--checkpoint", str(causal_checkpoint), "--top", "2"]
    assert main(["predict", str(video), *options, "--overlay", str(seen)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0.9", "1.9", "2.4"] and all(line.count("%") == 2 for line in lines)
    assert seen.stat().st_size > 0
    assert main(["predict", str(video), *options, "--json"]) == 0
    told = as_json(capsys.readouterr().out)
    assert [line["seconds"] for line in told] == [0.917, 1.917, 2.417]
    assert all(line["source"] == str(video) and len(line["predictions"]) == 2 for line in told)


@pytest.mark.slow
def test_a_pipe_that_plays_the_camera_gives_what_the_file_gives(causal_checkpoint: Path, tmp_path: Path) -> None:
    """A named pipe, which like a camera has no length and cannot be read twice; and raw frames from standard input."""
    video, pipe = tmp_path / "clip.mkv", tmp_path / "camera"
    make_video(video, frames=30)
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "hitagu_lib", "predict", "--stream", "--json"]

    def told(*arguments: str, stdin: bytes = b"") -> list[dict[str, Any]]:
        whole = [*command, "--checkpoint", str(causal_checkpoint), *arguments]
        done = subprocess.run(whole, cwd=ROOT, input=stdin, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return as_json(done.stdout.decode())

    of_file = told(str(video))
    with subprocess.Popen(["sh", "-c", 'cat "$1" > "$2"', "sh", str(video), str(pipe)]) as playing:
        try:
            of_pipe = told(str(pipe))
        except BaseException:
            playing.kill()  # nobody reads: it would wait for ever
            raise
        assert playing.wait() == 0
    assert len(of_file) == 3
    assert [line["predictions"] for line in of_pipe] == [line["predictions"] for line in of_file]
    raw = tmp_path / "raw.rgb"
    ffmpeg("-i", video, "-f", "rawvideo", "-pix_fmt", "rgb24", raw)
    of_raw = told("-", "--raw", "64x48@12", stdin=raw.read_bytes())
    assert [line["seconds"] for line in of_raw] == [line["seconds"] for line in of_file]
    for ours, theirs in zip(of_raw, of_file, strict=True):
        assert [p["label"] for p in ours["predictions"]] == [p["label"] for p in theirs["predictions"]]


def test_what_a_stream_cannot_follow(
    causal_checkpoint: Path, untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make_video(tmp_path / "a.mp4")
    assert main(["predict", "--stream", str(video), "--checkpoint", str(untrained)]) == 2
    assert "model.causal: found false; expected true" in capsys.readouterr().err
    assert main(["predict", "--stream", str(tmp_path / "none"), "--checkpoint", str(causal_checkpoint)]) == 2
    assert "none: cannot be read" in capsys.readouterr().err
    for wrong, message in (
        (["--stream", str(video), str(video)], "--stream follows one FILE"),
        ([str(video), "--raw", "4x4@5"], "--raw is for --stream -"),
        (["--stream", str(video), "--raw", "4x4@5"], "--raw is for --stream -"),
        (["--stream", "-", "--raw", "4x4"], "expected width x height @ frames per second"),
        (["--stream", str(video), "--overlay", str(tmp_path)], "that ends in .mp4"),
    ):
        with pytest.raises(SystemExit):
            main(["predict", *wrong, "--checkpoint", str(causal_checkpoint)])
        assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("options", [[], ["--stream"], ["--window", "1", "--hop", "0.5"]])
def test_a_timeline_covers_the_video(
    causal_checkpoint: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    video, out = make_video(tmp_path / "long.mp4", frames=60), tmp_path / "told"
    command = ["timeline", str(video), "--checkpoint", str(causal_checkpoint), "--out", str(out), *options]
    assert main(command) == 0
    assert "timeline.csv, timeline.json, timeline.png" in capsys.readouterr().out
    told = json.loads((out / "timeline.json").read_text())
    spans = told["intervals"]
    assert told["source"] == str(video) and spans[0]["start"] == 0 and spans[-1]["end"] > 4.5
    assert all(a["end"] == b["start"] and a["label"] != b["label"] for a, b in itertools.pairwise(spans))
    assert all(each["label"] in "abc" and 1 / 3 <= each["score"] <= 1 for each in spans)
    rows = (out / "timeline.csv").read_text().splitlines()
    assert rows[0] == "start,end,label,score" and len(rows) == len(spans) + 1
    assert (out / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_a_window_is_as_long_as_a_clip_of_the_training(
    causal_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, float, float]] = []
    real = timeline.windows

    def windows(frames: Any, model: Any, cfg: Any, fps: float, length: float, hop: float) -> Any:
        asked.append((cfg.num_frames * cfg.ref_stride / fps, length, hop))
        return real(frames, model, cfg, fps, length, hop)

    monkeypatch.setattr(timeline, "windows", windows)
    video = make_video(tmp_path / "long.mp4", frames=60)
    assert main(["timeline", str(video), "--checkpoint", str(causal_checkpoint), "--out", str(tmp_path / "t")]) == 0
    ((spans, length, hop),) = asked
    assert length == pytest.approx(spans) and hop == pytest.approx(spans / 2)


def test_a_timeline_does_not_replace_that_of_another_video(
    causal_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two cameras may name their videos alike; the same video may be labelled again, from wherever it is named."""
    monkeypatch.chdir(tmp_path)
    for folder in ("left", "right"):
        make_video(tmp_path / folder / "0001.mp4", frames=30)
    command = ["--checkpoint", str(causal_checkpoint)]
    assert main(["timeline", "left/0001.mp4", *command]) == 0
    assert main(["timeline", str(tmp_path / "left" / "0001.mp4"), *command]) == 0
    capsys.readouterr()
    written = (tmp_path / "0001.timeline" / "timeline.json").read_text()
    assert main(["timeline", "right/0001.mp4", *command]) == 2
    assert "0001.timeline: found the timeline of" in (said := capsys.readouterr().err) and "with --out" in said
    assert (tmp_path / "0001.timeline" / "timeline.json").read_text() == written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--window", "nan"], "expected seconds, above 0"),
        (["--hop", "inf"], "expected seconds, above 0"),
        (["--hop", "1e-300"], "expected at least a frame"),
        (["--window", "0.01"], "expected at least a frame"),
    ],
)
def test_windows_that_no_video_has(
    causal_checkpoint: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make_video(tmp_path / "long.mp4", frames=30)
    with pytest.raises(SystemExit):
        main(
            ["timeline", str(video), "--checkpoint", str(causal_checkpoint), "--out", str(tmp_path / "told"), *options]
        )
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_list_is_not_named_as_its_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(tmp_path / "frames/a/v1.mp4")
    assert main(["index", "--root", str(tmp_path / "frames"), "--out", str(tmp_path / "classes.txt")]) == 2
    assert "the labels are written to classes.txt beside it" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("end", ["Ctrl-C", "a frame cut short"])
def test_an_overlay_is_kept_however_a_stream_ends(causal_checkpoint: Path, tmp_path: Path, end: str) -> None:
    seen = tmp_path / "seen.mp4"
    command = [
        sys.executable,
        "-m",
        "hitagu_lib",
        "predict",
        "--checkpoint",
        str(causal_checkpoint),
        "--stream",
        "-",
        "--raw",
        "64x48@12",
    ]
    process = subprocess.Popen(
        [*command, "--overlay", str(seen)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin and process.stdout
    process.stdin.write(bytes(18 * 64 * 48 * 3))
    process.stdin.flush()
    assert process.stdout.readline()  # the first second is over
    if end == "Ctrl-C":
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
    else:
        out, err = process.communicate(bytes(100), timeout=60)
        assert process.returncode == 2 and b"frame 19: found 100 bytes" in err
    assert 1.0 <= float(out.decode().split()[0]) <= 1.4 and frame_rate(seen) == 12


@pytest.mark.slow
def test_a_stream_needs_no_standard_input_and_a_reader_may_leave(causal_checkpoint: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "long.mp4", frames=90)
    command = [sys.executable, "-m", "hitagu_lib", "predict", "--checkpoint", str(causal_checkpoint), "--stream"]
    shell = f"{' '.join(command)} {video} <&-"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    shell = f"{' '.join(command)} - --raw 4x4@5 <&-"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "-: standard input is closed" in done.stderr

    second = bytes(12 * 64 * 48 * 3)
    process = subprocess.Popen(
        [*command, "-", "--raw", "64x48@12"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write(2 * second)
    process.stdin.flush()
    assert process.stdout.readline()
    process.stdout.close()
    for write in (lambda: process.stdin.write(2 * second), process.stdin.close):
        with suppress(BrokenPipeError):
            write()
    assert (process.wait(60), process.stderr.read()) == (141, b"")
    process.stderr.close()
