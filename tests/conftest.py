"""What several test files need: the real inputs, where they are, and a tiny mini data set made once a session."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from hitagu_lib.config import Config, resolve

for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    # A shell's background ignores Ctrl-C, nohup a hangup: processes that tests start and signal would not hear them either.
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def no_figure_left_open() -> Iterator[None]:
    """Tests that count open figures start from none."""
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips and annotation excerpts: $HITAGU_SHARED, or shared/data beside the repository."""
    folder = Path(os.environ.get("HITAGU_SHARED", ROOT.parent / "shared" / "data"))
    if not (folder / "clips").is_dir():
        pytest.skip(f"no real clips: {folder / 'clips'} is not there (set HITAGU_SHARED to a folder that holds clips/)")
    return folder


@pytest.fixture(params=["system", "imageio"])
def each_ffmpeg(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test twice: the library finds the system's ffmpeg on PATH, or none there, and takes imageio-ffmpeg's."""
    if request.param == "system" and shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg on PATH")
    if request.param == "imageio":
        folders = [f for f in os.environ["PATH"].split(os.pathsep) if shutil.which("ffmpeg", path=f) is None]
        monkeypatch.setenv("PATH", os.pathsep.join(folders))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mini data set of 3 training and 2 validation clips a class, its frames written without ffmpeg."""
    from hitagu_lib.prepare.synthetic.make import MiniSpec, prepare_mini

    out = tmp_path_factory.mktemp("data") / "tiny"
    prepare_mini(out, MiniSpec(train_per_class=3, val_per_class=2), use_ffmpeg=False, workers=1, progress=False)
    return out


@pytest.fixture
def tiny_cfg(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """params/mini.yaml on the tiny data, with a model of a few thousand parameters, two epochs, in a run folder of the test's own."""
    monkeypatch.chdir(ROOT)
    return resolve(
        {
            "base": "params/mini.yaml",
            "run": str(tmp_path / "run"),
            "data": {
                "root": str(tiny_data / "frames"),
                "train_list": str(tiny_data / "train.csv"),
                "val_list": str(tiny_data / "val.csv"),
                "num_frames": 3,
                "image_size": 32,
                "short_side": 36,
                "workers": 0,
            },
            "model": {
                "backbone": {"cut": "layer1"},
                "mde": {"taps": ["layer1"], "reduced": 4, "width": 8},
                "stu": {"width": 8},
            },
            "train": {"epochs": 2, "batch_size": 8, "eval_every": 1},
            "eval": {"tsn_baseline": False},
        }
    )


@pytest.fixture
def untrained(tiny_cfg: Config) -> Path:
    """A checkpoint of `tiny_cfg`'s run whose weights are drawn at random, those that start at zero too."""
    import torch

    from hitagu_lib import build_model
    from hitagu_lib.data.source import open_lists

    classes = list(open_lists(tiny_cfg.data)[0].classes)
    torch.manual_seed(0)
    model = build_model(tiny_cfg.model, len(classes))
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    file = Path(tiny_cfg.run) / "checkpoints" / "last.pt"
    file.parent.mkdir(parents=True)
    torch.save({"params": tiny_cfg.to_mapping(), "classes": classes, "model": model.state_dict()}, file)
    return file
