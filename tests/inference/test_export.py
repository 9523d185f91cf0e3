"""An exported file reproduces the module's logits; torch.compile captures each model in one graph."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import onnx
import pytest
import torch
import yaml
from torch._dynamo.testing import CompileCounter

from hitagu_lib import build_model
from hitagu_lib.cli.main import main
from hitagu_lib.config import Config, resolve
from hitagu_lib.data.frames import normalise
from hitagu_lib.errors import ConfigError, ExportError
from hitagu_lib.inference import export
from hitagu_lib.inference.export import export_checkpoint, export_model, export_step, trace
from hitagu_lib.inference.predict import load_model, read_source
from hitagu_lib.inference.streaming import empty_state
from hitagu_lib.models import ClipModel
from hitagu_lib.training import trainer as training

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["opening, slowly", "schließen", "other"]
SMALL = {
    "backbone": {"name": "resnet18", "cut": "layer2"},
    "mde": {"taps": ["layer1"], "reduced": 8, "width": 16, "shift_radius": 1},
    "stu": {"width": 24},
    "attention": {"sca_kernel": 3, "tsa_width": 16, "tsa_heads": 2},
}
SHAPE = {"num_frames": 3, "image_size": 32, "short_side": 32}


def small(temporal: str = "hitagu", **data: object) -> Config:
    return resolve({"data": SHAPE | data, "model": SMALL | {"temporal": temporal}})


def woken(cfg: Config, seed: int = 0) -> ClipModel:
    """A model in evaluation mode with its zero-initialised layers drawn at random, so that every module contributes."""
    torch.manual_seed(seed)
    model = build_model(cfg.model, len(CLASSES)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return model


def clips(batch: int, cfg: Config) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(11)
    T, S = cfg.data.num_frames, cfg.data.image_size
    x = torch.randn(batch, T, 3, S, S, generator=random)
    return x, torch.cumsum(0.2 + 2 * torch.rand(batch, T, generator=random), dim=1)


def run(file: Path, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The file's logits, from the runtime that reads such a file elsewhere."""
    if file.suffix == ".pt2":
        return torch.export.load(file).module()(x, t)
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy(), "t": t.numpy()})[0])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The file of `woken(small(temporal))`, alone in its folder, written once for all tests: (temporal, ending) -> file."""

    @cache
    def write(temporal: str, ending: str) -> Path:
        cfg, file = small(temporal), tmp_path_factory.mktemp("exported") / f"model.{ending}"
        export_model(woken(cfg), cfg, CLASSES, file)
        return file

    return write


@pytest.mark.slow
@pytest.mark.parametrize(
    ("temporal", "ending"),
    [("hitagu", "pt2"), ("hitagu", "onnx"), ("tsn", "pt2"), ("tsm", "pt2"), ("gru", "pt2"), ("gru", "onnx")],
)
def test_a_file_gives_the_modules_logits_for_any_batch(
    temporal: str, ending: str, exported: Callable[[str, str], Path]
) -> None:
    cfg, file = small(temporal), exported(temporal, ending)
    model = woken(cfg)
    for batch in (1, 2, 5):
        x, t = clips(batch, cfg)
        with torch.inference_mode():
            torch.testing.assert_close(run(file, x, t), model(x, t), atol=1e-4, rtol=1e-4)
    assert list(file.parent.iterdir()) == [file]
    assert str(ROOT).encode() not in file.read_bytes(), "no folders of this machine"


@pytest.mark.slow
def test_the_whole_network_of_the_recipes_can_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet-50 on small frames, with one tap instead of three, whose graphs are alike and slow to write. One trace makes both files."""
    model_params = yaml.safe_load((ROOT / "params" / "ssv2.yaml").read_text())["model"]
    model_params["backbone"]["weights"] = None
    model_params["mde"] |= {"taps": ["layer4"], "shift_radius": 1}
    cfg = resolve({"data": SHAPE | {"num_frames": 2, "image_size": 64, "short_side": 64}, "model": model_params})
    model = woken(cfg)
    program = trace(model, 2, 64)
    monkeypatch.setattr(export, "trace", lambda model, T, S: program)
    x, t = clips(2, cfg)
    for file in (tmp_path / "model.pt2", tmp_path / "model.onnx"):
        assert export_model(model, cfg, CLASSES, file) <= 1e-4
        with torch.inference_mode():
            torch.testing.assert_close(run(file, x, t), model(x, t), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_the_file_carries_labels_and_parameters(exported: Callable[[str, str], Path]) -> None:
    cfg = small("tsn")
    stored = dict.fromkeys(("classes", "params", "mean", "std", "hitagu_lib"), "")
    torch.export.load(exported("tsn", "pt2"), extra_files=stored)
    proto = onnx.load(exported("tsn", "onnx"))
    assert stored == {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(stored["classes"]) == CLASSES
    assert Config.from_mapping(yaml.safe_load(stored["params"])) == cfg
    x = torch.randint(256, (3, 4, 4), dtype=torch.uint8)
    mean, std = (torch.tensor(json.loads(stored[name]))[:, None, None] for name in ("mean", "std"))
    torch.testing.assert_close((x / 255 - mean) / std, normalise(x))
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*proto.graph.input, *proto.graph.output]
    }
    assert shapes == {"x": ["batch", 3, 3, 32, 32], "t": ["batch", 3], "logits": ["batch", 3]}


@pytest.mark.slow
def test_a_pt2_runs_without_this_library(exported: Callable[[str, str], Path], tmp_path: Path) -> None:
    cfg = small()
    model = woken(cfg)
    x, t = clips(2, cfg)
    torch.save({"x": x, "t": t}, tmp_path / "clips.pt")
    code = (
        "import sys, torch; sys.modules['hitagu_lib'] = None\n"
        "clips = torch.load('clips.pt')\n"
        "torch.save(torch.export.load(sys.argv[1]).module()(clips['x'], clips['t']).detach(), 'logits.pt')"
    )
    command = [sys.executable, "-c", code, str(exported("hitagu", "pt2"))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with torch.inference_mode():
        torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), model(x, t), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_file_that_gives_other_logits_never_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, file = small("tsn"), tmp_path / "model.pt2"
    file.write_bytes(b"the one from before")
    other = woken(cfg, seed=1)
    monkeypatch.setattr(export, "trace", lambda model, T, S: trace(other, T, S))
    with pytest.raises(ExportError, match=r"model\.pt2: not written: its logits differ .* expected 1e-04 at most"):
        export_model(woken(cfg), cfg, CLASSES, file)
    assert file.read_bytes() == b"the one from before"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.slow
def test_exporting_leaves_the_model_in_its_mode(tmp_path: Path) -> None:
    cfg = small("tsn")
    model = woken(cfg).train()
    export_model(model, cfg, CLASSES, tmp_path / "model.pt2")
    assert model.training
    x, t = clips(1, cfg)
    with torch.inference_mode():
        torch.testing.assert_close(run(tmp_path / "model.pt2", x, t), model.eval()(x, t), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = small("tsn")
    model = woken(cfg)
    with pytest.raises(ExportError, match=r"model\.pb: found the ending '\.pb'; expected \.onnx or \.pt2"):
        export_model(model, cfg, CLASSES, tmp_path / "model.pb")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"pip install 'hitagu-net\[export\]'"):
        export_model(model, cfg, CLASSES, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_hitagu_export(tiny_cfg: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line on a trained checkpoint: for clips as in training, and for longer ones."""
    training.fit(dataclasses.replace(tiny_cfg, train=dataclasses.replace(tiny_cfg.train, epochs=1)))
    checkpoint = Path(tiny_cfg.run, "checkpoints", "last.pt")
    model, _, classes = load_model(checkpoint)
    clip = next(Path(tiny_cfg.data.root, "val").glob("*/*"))
    for T, options in ((3, []), (5, ["--num-frames", "5"])):
        file = tmp_path / "exported" / f"{T}.pt2"
        capsys.readouterr()
        assert main(["export", "--checkpoint", str(checkpoint), "--out", str(file), *options]) == 0
        assert capsys.readouterr().out.startswith(f"{file}: x (B, {T}, 3, 32, 32), t (B, {T}); its logits are within ")
        stored = {"classes": ""}
        network = torch.export.load(file, extra_files=stored).module()
        assert json.loads(stored["classes"]) == classes
        frames, t = read_source(clip, dataclasses.replace(tiny_cfg.data, num_frames=T))
        x = normalise(frames)[None]
        with torch.inference_mode():
            torch.testing.assert_close(network(x, t[None]), model(x, t[None]), atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigError, match=r"data\.image_size: found 64; expected at most data\.short_side = 36"):
        export_checkpoint(checkpoint, tmp_path / "large.pt2", image_size=64)
    assert main(["export", "--checkpoint", str(tmp_path / "none.pt"), "--out", str(tmp_path / "x.pt2")]) == 2
    assert "no such checkpoint" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [{}, {"whole_frame": True, "bands": True, "broadcast": "none"}], ids=["free", "banded"]
)
def test_a_step_in_onnx_gives_the_streams_logits(unit: dict, tmp_path: Path) -> None:
    """Frame after frame, each from the state that the file returned before."""
    import onnxruntime

    cfg = resolve({"data": SHAPE, "model": SMALL | {"causal": True, "readout": "both", "stu": {"width": 24} | unit}})
    model, file = woken(cfg), tmp_path / "step.onnx"
    assert export_step(model, cfg, CLASSES, file) <= 1e-4
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    frames, t = clips(2, dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, num_frames=40)))
    with torch.inference_mode():
        expected = model(frames, t, every_prefix=True)
    state = {name: part.numpy() for name, part in empty_state(model, (2, 3, 32, 32)).items()}
    assert [value.name for value in session.get_outputs()] == ["logits", *(f"next.{name}" for name in state)]
    for n in range(40):
        elapsed = t[:, n] - (t[:, n - 1] if n else 0)
        logits, *after = session.run(None, {"frame": frames[:, n].numpy(), "elapsed": elapsed.numpy(), **state})
        state = dict(zip(state, after, strict=True))
        torch.testing.assert_close(torch.from_numpy(logits), expected[:, n], atol=1e-4, rtol=1e-4)
    assert {"classes", "params"} <= {entry.key for entry in onnx.load(file).metadata_props}
    assert str(ROOT).encode() not in file.read_bytes(), "no folders of this machine"


@pytest.mark.slow
def test_exporting_a_step_leaves_the_model_in_its_mode_with_its_statistics(tmp_path: Path) -> None:
    cfg = resolve({"data": SHAPE, "model": SMALL | {"causal": True, "temporal": "tsn"}})
    model = woken(cfg).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    export_step(model, cfg, CLASSES, tmp_path / "step.onnx")
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.named_buffers())


@pytest.mark.slow
def test_steps_that_cannot_be_exported(tmp_path: Path) -> None:
    cfg = small("tsn")
    with pytest.raises(ConfigError, match=r"model\.causal: found false; expected true"):
        export_step(woken(cfg), cfg, CLASSES, tmp_path / "step.onnx")
    with pytest.raises(ExportError, match=r"step\.pt2: found the ending '\.pt2'; expected \.onnx for a step"):
        export_step(woken(cfg), cfg, CLASSES, tmp_path / "step.pt2")
    assert not list(tmp_path.iterdir())


# torch.compile


@pytest.fixture(params=["hitagu", "tsn", "tsm", "gru"])
def compiled(request: pytest.FixtureRequest):
    """(model, its compiled form, the counter of graphs). `fullgraph` makes a graph break an error."""
    torch._dynamo.reset()
    counter = CompileCounter()
    model = woken(small(request.param))
    # Dynamo captures nn.GRU only on request; otherwise the graph breaks around that call.
    with torch._dynamo.config.patch(allow_rnn=request.param == "gru"):
        yield model, torch.compile(model, fullgraph=True, dynamic=False, backend=counter), counter
    torch._dynamo.reset()


@pytest.mark.slow
@torch.inference_mode()
def test_a_model_compiles_to_one_graph(compiled) -> None:
    model, fast, counter = compiled
    cfg = small()
    x, t = clips(2, cfg)
    torch.testing.assert_close(fast(x, t), model(x, t))
    x, t = x.flip(0), t + 1
    torch.testing.assert_close(fast(x, t), model(x, t))
    assert counter.frame_count == 1, "other clips of the same shape need no other graph"
    x, t = clips(4, small(num_frames=5))
    torch.testing.assert_close(fast(x, t), model(x, t))


@pytest.mark.slow
@torch.inference_mode()
def test_a_model_compiles_to_one_graph_with_its_maps(compiled) -> None:
    model, fast, counter = compiled
    x, t = clips(2, small())
    logits, maps = fast(x, t, return_maps=True)
    expected_logits, expected = model(x, t, return_maps=True)
    torch.testing.assert_close(logits, expected_logits)
    torch.testing.assert_close(dataclasses.asdict(maps), dataclasses.asdict(expected))
    assert counter.frame_count == 1


@pytest.mark.slow
def test_a_training_step_compiles_whole(compiled) -> None:
    """Forward in training mode, with clips played backwards, and the gradients through the graph."""
    model, fast, _ = compiled
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    x, t = clips(3, small())
    again = torch.tensor([0, 2])
    gradients = []
    for network in (model, fast):
        model.zero_grad()
        network(x, t, also_backwards=again).logsumexp(1).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-4)
