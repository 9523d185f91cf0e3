"""Export a network to one file that runs without this library: torch.export's .pt2, or ONNX.

    x (B, T, 3, H, W) float32, normalised;  t (B, T) float32, in reference strides  ->  logits (B, num_classes)

B is free. T, H and W are fixed at export: the graph is traced for one T, with loops over frames unrolled and each frame's place in the
clip a constant. For clips of another length, export again with that T.

The step of a causal network (`export_step`), for a video that plays; state parts by their names (hitagu_lib/models/clip_model.py), all
zeros before a stream's first frame:

    frame (B, 3, H, W), elapsed (B,) in reference strides since the last frame, state  ->  logits (B, num_classes), state, as "next.NAME"
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from hitagu_lib import __version__
from hitagu_lib.config import Config
from hitagu_lib.data.frames import MEAN, STD
from hitagu_lib.errors import ConfigError, ExportError
from hitagu_lib.files import replacing
from hitagu_lib.inference.predict import load_model
from hitagu_lib.inference.streaming import Stream, empty_state
from hitagu_lib.models import ClipModel
from hitagu_lib.models.clip_model import evaluating

TOLERANCE = 1e-4
"""How far a logit may be from the module's: absolute for logits up to 1, relative beyond."""


def export_checkpoint(
    checkpoint: str | Path,
    out: str | Path,
    num_frames: int | None = None,
    image_size: int | None = None,
    *,
    step: bool = False,
) -> tuple[Config, float]:
    """Export a checkpoint for its own T and image size, or for others; return the stored parameters and `export_model`'s difference.

    Raises WeightsError for a checkpoint that cannot be used, ConfigError for sizes out of range, and what `export_model` raises.
    """
    model, cfg, classes = load_model(checkpoint)
    sizes = {"num_frames": num_frames, "image_size": image_size}
    data = cfg.to_mapping()["data"] | {key: size for key, size in sizes.items() if size is not None}
    cfg = Config.from_mapping(cfg.to_mapping() | {"data": data}, str(checkpoint))
    return cfg, (export_step if step else export_model)(model, cfg, classes, out)


def export_model(model: ClipModel, cfg: Config, classes: Sequence[str], out: str | Path) -> float:
    """Write `model`, which is on the CPU, for clips of `cfg.data.num_frames` frames of `cfg.data.image_size`; the ending sets the format.

    The file carries strings, as ONNX's metadata_props or the .pt2's extra files: "classes" (a JSON list), "params" (`cfg` as YAML),
    "mean" and "std" (JSON lists that normalise x, for pixels in 0..1), "hitagu_lib" (the version). It is written to a temporary name, read
    back and run, and renamed only if it reproduces the module's logits. Returns the largest difference.
    Raises ExportError if `out` ends in neither .onnx nor .pt2, ONNX's packages are missing, or the logits differ.
    """
    out = Path(out)
    if out.suffix not in _FORMATS:
        raise ExportError(f"{out}: found the ending {out.suffix!r}; expected .onnx or .pt2")
    write, read = _FORMATS[out.suffix]
    metadata = _metadata(cfg, classes)
    shape = cfg.data.num_frames, cfg.data.image_size
    with evaluating(model), replacing(out) as aside:
        write(trace(model, *shape), aside, metadata)
        difference = _difference(model, read(aside), *shape)
        _check(out, difference)
    return difference


def _metadata(cfg: Config, classes: Sequence[str]) -> dict[str, str]:
    return {
        "hitagu_lib": __version__,
        "classes": json.dumps(list(classes), ensure_ascii=False),
        "params": cfg.to_yaml(),
        "mean": json.dumps(MEAN),
        "std": json.dumps(STD),
    }


class _Step(nn.Module):
    """`model.step` with the state's parts as tensors in the order of `names`."""

    def __init__(self, model: ClipModel, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, list(names)

    def forward(self, frame: Tensor, elapsed: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        logits, after = self.model.step(frame, elapsed, dict(zip(self.names, state, strict=True)))
        return logits, *(after[name] for name in self.names)


def export_step(model: ClipModel, cfg: Config, classes: Sequence[str], out: str | Path) -> float:
    """Write the step of a causal `model`, which is on the CPU, as ONNX, for frames of `cfg.data.image_size`; metadata as `export_model`.

    The file is run for several frames, each from the state that it returned before, and is renamed only if it reproduces the module's
    logits. Returns the largest difference. Raises ConfigError if the network is not causal, ExportError as `export_model` does.
    """
    out = Path(out)
    if out.suffix != ".onnx":
        raise ExportError(f"{out}: found the ending {out.suffix!r}; expected .onnx for a step")
    if not model.causal:
        raise ConfigError("model.causal: found false; expected true: only a causal network has a step")
    with evaluating(model), replacing(out) as aside:
        size = cfg.data.image_size
        empty = empty_state(model, (2, 3, size, size))
        step = _Step(model, list(empty)).eval()
        frames, t = _clips(2, 5, size)
        batch = torch.export.Dim("batch")
        arguments = (frames[:, 0], t[:, 0], *empty.values())
        with torch.no_grad():
            program = torch.export.export(
                step, arguments, dynamic_shapes=({0: batch}, {0: batch}, tuple({0: batch} for _ in empty))
            )
        _forget_places(program)
        inputs, outputs = ["frame", "elapsed", *empty], ["logits", *(f"next.{name}" for name in empty)]
        _save_onnx(program, aside, _metadata(cfg, classes), inputs, outputs)
        import onnxruntime

        session = onnxruntime.InferenceSession(aside, providers=["CPUExecutionProvider"])
        differences = []
        for streams in (1, 3):
            frames, t = _clips(streams, 5, size)
            state = {name: part.numpy() for name, part in empty_state(model, (streams, 3, size, size)).items()}
            stream = Stream(model)
            for n in range(frames.shape[1]):
                elapsed = t[:, n] - (t[:, n - 1] if n else 0)
                logits, *after = session.run(None, {"frame": frames[:, n].numpy(), "elapsed": elapsed.numpy(), **state})
                state = dict(zip(empty, after, strict=True))
                expected = stream.step(frames[:, n], t[:, n])
                apart = (torch.from_numpy(logits) - expected).abs() / expected.abs().clamp_min(1)
                differences.append(float(apart.max()))
        difference = max(differences)
        _check(out, difference)
    return difference


def _check(out: Path, difference: float) -> None:
    if not difference <= TOLERANCE:  # NaN is no agreement
        raise ExportError(
            f"{out}: not written: its logits differ from the module's by {difference:.1e}; expected {TOLERANCE:.0e} at most"
        )


def trace(model: ClipModel, num_frames: int, image_size: int) -> ExportedProgram:
    """Return torch.export's program of `model.forward(x, t)` with a free batch size."""
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        program = torch.export.export(
            model, _clips(2, num_frames, image_size), dynamic_shapes={"x": {0: batch}, "t": {0: batch}}
        )
    _forget_places(program)
    return program


def _forget_places(program: ExportedProgram) -> None:
    """Drop each node's source line: it has this machine's folders, which a file to be passed on should not hold."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


Run = Callable[[Tensor, Tensor], Tensor]


def _write_pt2(program: ExportedProgram, file: Path, metadata: dict[str, str]) -> None:
    torch.export.save(program, file, extra_files=metadata)


def _read_pt2(file: Path) -> Run:
    run: Run = torch.export.load(file).module()
    return run


def _write_onnx(program: ExportedProgram, file: Path, metadata: dict[str, str]) -> None:
    _save_onnx(program, file, metadata, ["x", "t"], ["logits"])


def _save_onnx(
    program: ExportedProgram, file: Path, metadata: dict[str, str], inputs: list[str], outputs: list[str]
) -> None:
    try:
        import onnxruntime  # noqa: F401  # checks the file
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"ONNX needs packages that are not installed ({error}): pip install 'hitagu-net[export]'"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch warns about itself
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=({0: "batch"}, *[None] * (len(inputs) - 1)),  # only a name for B, which all share
            verbose=False,
        )
    assert onnx_program is not None
    onnx_program.model.metadata_props.update(metadata)
    onnx_program.save(file, external_data=False)  # one file, weights included


def _read_onnx(file: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda x, t: torch.from_numpy(session.run(["logits"], {"x": x.numpy(), "t": t.numpy()})[0])


_FORMATS = {".pt2": (_write_pt2, _read_pt2), ".onnx": (_write_onnx, _read_onnx)}


@torch.inference_mode()
def _difference(model: ClipModel, run: Run, num_frames: int, image_size: int) -> float:
    """Return the largest |logit - the module's| / max(1, |the module's|) over batch sizes that were not traced."""
    differences = []
    for batch in (1, 3):
        x, t = _clips(batch, num_frames, image_size)
        expected = model(x, t)
        assert isinstance(expected, Tensor)
        differences.append(((run(x, t) - expected).abs() / expected.abs().clamp_min(1)).max())
    return float(torch.stack(differences).max())


def _clips(batch: int, num_frames: int, image_size: int) -> tuple[Tensor, Tensor]:
    """Return noise as normalised clips (B, T, 3, S, S), at unequal times (B, T)."""
    random = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, num_frames, 3, image_size, image_size, generator=random)
    return x, torch.cumsum(0.5 + torch.rand(batch, num_frames, generator=random), dim=1)
