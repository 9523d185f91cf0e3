"""Where the backbone's weights come from, which of them are used, and the errors if they are missing or do not fit."""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18, resnet34, resnet50

from hitagu_lib import build_model
from hitagu_lib.config import BackboneConfig, Config, resolve
from hitagu_lib.errors import WeightsError
from hitagu_lib.models.backbone import TruncatedResNet
from hitagu_lib.models.weights import LoadedWeights, load_backbone, load_pretrained
from hitagu_lib.training import trainer as training

FRAMES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def backbone(weights: object = None, name: str = "resnet18", cut: str = "layer2", **options: object) -> TruncatedResNet:
    cfg = BackboneConfig(name=name, cut=cut, weights=weights and str(weights), **options)
    model = TruncatedResNet(cfg).eval()
    load_pretrained(model, cfg)
    return model


def trained_resnet18() -> torch.nn.Module:
    """A ResNet-18 that differs from a fresh one in its BatchNorm statistics too."""
    torch.manual_seed(7)
    resnet = resnet18().train()
    resnet(torch.rand(4, 3, 64, 64))
    return resnet.eval()


@pytest.fixture(scope="module")
def trained() -> torch.nn.Module:
    return trained_resnet18()


@pytest.fixture
def file(trained: torch.nn.Module, tmp_path: Path) -> Path:
    torch.save(trained.state_dict(), tmp_path / "r18.pt")
    return tmp_path / "r18.pt"


def same_weights(part: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(part.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# Weights by stage


@pytest.mark.parametrize("cut", ["layer1", "layer2", "layer3", "layer4"])
def test_a_whole_resnet_loads_into_a_cut_one(cut: str, file: Path, trained: torch.nn.Module) -> None:
    """The cut backbone computes what torchvision's network computes up to that stage."""
    model = backbone(file, cut=cut)
    with torch.inference_mode():
        x = trained.maxpool(trained.relu(trained.bn1(trained.conv1(FRAMES))))
        for stage in model.stages:
            x = getattr(trained, stage)(x)
        assert torch.equal(model(FRAMES)[cut], x)
    kept = int(cut[-1])
    layers = ("layer1", "layer2", "layer3", "layer4")
    assert model.loaded == LoadedWeights(str(file), ("stem", *layers[:kept]), (*layers[kept:], "fc"), ())


def test_a_network_cut_earlier_initialises_what_is_there(tmp_path: Path, trained: torch.nn.Module) -> None:
    state = {k: v for k, v in trained.state_dict().items() if not k.startswith(("layer3", "layer4", "fc"))}
    torch.save(state, tmp_path / "cut.pth")
    torch.manual_seed(1)
    fresh = backbone(cut="layer4")
    torch.manual_seed(1)
    model = backbone(tmp_path / "cut.pth", cut="layer4")
    assert model.loaded == LoadedWeights(
        str(tmp_path / "cut.pth"), ("stem", "layer1", "layer2"), (), ("layer3", "layer4")
    )
    assert same_weights(model.stages["layer2"], trained.layer2)
    assert same_weights(model.stages["layer3"], fresh.stages["layer3"]), (
        "a stage that is not in the file stays as initialised"
    )


@pytest.mark.slow
def test_a_resnet50_of_random_weights_loads_into_a_cut_one(tmp_path: Path) -> None:
    whole = resnet50()
    torch.save(whole.state_dict(), tmp_path / "r50.pt")
    model = backbone(tmp_path / "r50.pt", "resnet50", "layer1")
    assert same_weights(model.stages["layer1"], whole.layer1)


def test_half_precision_and_files_without_batch_counts_load(tmp_path: Path, trained: torch.nn.Module) -> None:
    """torchvision's oldest files lack num_batches_tracked."""
    state = {k: v.half() for k, v in trained.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pt")
    model = backbone(tmp_path / "old.pt")
    assert torch.equal(model.stem[0].weight, trained.conv1.weight.half().float())


def test_frozen_stages_are_loaded_too_and_stay_frozen(file: Path, trained: torch.nn.Module) -> None:
    model = backbone(file, frozen_stages=2)
    assert same_weights(model.stages["layer1"], trained.layer1)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen and all(name.startswith(("stem.", "stages.layer1.")) for name in frozen)


def test_frozen_parts_stay_as_they_are_in_training() -> None:
    model = backbone(frozen_stages=2, frozen_bn=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(FRAMES)["layer2"].sum().backward()
    assert all(p.grad is None for p in [*model.stem.parameters(), *model.stages["layer1"].parameters()])
    assert all(p.grad is not None for p in model.stages["layer2"].parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_loaded_weights_are_logged_and_parts_left_random_raise_a_warning(
    file: Path,
    tmp_path: Path,
    trained: torch.nn.Module,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    backbone(file)
    state = {k: v for k, v in trained.state_dict().items() if not k.startswith(("layer2", "layer3", "layer4", "fc"))}
    torch.save(state, tmp_path / "early.pt")
    backbone(tmp_path / "early.pt")
    whole, early = caplog.records
    assert (whole.levelno, whole.getMessage()) == (
        logging.INFO,
        f"backbone weights from {file}: loaded stem, layer1, layer2; not used layer3, layer4, fc; left random nothing",
    )
    assert (early.levelno, early.getMessage()) == (
        logging.WARNING,
        f"backbone weights from {tmp_path / 'early.pt'}: loaded stem, layer1; not used nothing; left random layer2",
    )
    assert capsys.readouterr() == ("", ""), "constructors print nothing"


# Checkpoints of this library


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["hitagu", "tsm"])
def test_a_checkpoint_of_a_run_initialises_a_deeper_one(
    temporal: str, tiny_cfg: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """Train, then start another run from the checkpoint; the provenance records what was loaded."""
    first = dataclasses.replace(
        tiny_cfg,
        model=dataclasses.replace(tiny_cfg.model, temporal=temporal),
        train=dataclasses.replace(tiny_cfg.train, epochs=1),
    )
    training.fit(first)
    assert json.loads(Path(first.run, "provenance.json").read_text())["backbone_weights"] is None
    checkpoint = Path(first.run, "checkpoints", "last.pt")
    trained = torch.load(checkpoint, weights_only=True)["model"]
    model = backbone(checkpoint)
    assert model.loaded.loaded == ("stem", "layer1") and model.loaded.random == ("layer2",)
    assert set(model.loaded.unused) == {"head"} | ({"mde", "stu", "sca", "tsa"} if temporal == "hitagu" else set())
    conv1 = "backbone.stages.layer1.0.conv1" + (".1" if temporal == "tsm" else "")
    assert torch.equal(model.stages["layer1"][0].conv1.weight, trained[f"{conv1}.weight"])
    assert torch.equal(model.stem[1].running_var, trained["backbone.stem.1.running_var"])

    second = dataclasses.replace(
        first,
        run=f"{first.run}-2",
        model=dataclasses.replace(
            first.model, backbone=dataclasses.replace(first.model.backbone, weights=str(checkpoint), cut="layer2")
        ),
    )
    training.fit(second)
    said = json.loads(Path(second.run, "provenance.json").read_text())["backbone_weights"]
    assert said == json.loads(json.dumps(dataclasses.asdict(model.loaded)))


def test_tsm_takes_torchvisions_weights(file: Path, trained: torch.nn.Module) -> None:
    model = build_model(
        resolve(
            {
                "model": {
                    "temporal": "tsm",
                    "mde": {"taps": ["layer2"]},
                    "backbone": {"name": "resnet18", "cut": "layer2", "weights": str(file)},
                }
            }
        ).model,
        5,
    )
    assert torch.equal(model.backbone.stages["layer2"][0].conv1[1].weight, trained.layer2[0].conv1.weight)


# What does not fit


@pytest.mark.slow
def test_weights_of_another_resnet_name_the_first_keys_that_differ(file: Path) -> None:
    with pytest.raises(
        WeightsError,
        match=r"r18\.pt: .*layer1\.0\.conv1\.weight \(there \(64, 64, 3, 3\), here \(64, 64, 1, 1\)\).*another ResNet",
    ):
        backbone(file, "resnet50")


@pytest.mark.slow
def test_more_or_fewer_blocks_than_the_stage_has(file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"r18\.pt: only here layer1\.2\.conv1\.weight"):
        backbone(file, "resnet34")
    torch.save(resnet34().state_dict(), tmp_path / "r34.pt")
    with pytest.raises(WeightsError, match=r"r34\.pt: only there layer1\.2\.conv1\.weight"):
        backbone(tmp_path / "r34.pt")


def test_weights_that_do_not_fit_leave_the_backbone_as_it_was(trained: torch.nn.Module) -> None:
    model = backbone()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = trained.state_dict()
    state["layer2.1.bn2.bias"] = torch.zeros(3)
    with pytest.raises(
        WeightsError, match=r"here: of another shape layer2\.1\.bn2\.bias \(there \(3,\), here \(128,\)\)"
    ):
        load_backbone(model, state, "here")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no such file \(looked from "),
        (b"", "cannot be read as weights: it is empty"),
        (b"<html>404</html>", "cannot be read as weights: it is a web page"),
        ([1, 2], "found list; expected a ResNet's state dict"),
        ({"state_dict": {}}, "found a mapping of state_dict; expected a ResNet's state dict"),
        (
            {"encoder.conv1.weight": torch.zeros(1)},
            r"found encoder\.conv1\.weight, \.\.\.; expected the names of a torchvision",
        ),
        (
            {"module.conv1.weight": torch.zeros(1)},
            r".*of another shape conv1\.weight \(there \(1,\), here \(64, 3, 7, 7\)\)",
        ),
        ({}, r"found no key, \.\.\.; expected the names of a torchvision"),
    ],
    ids=str,
)
def test_files_that_hold_no_weights(content: object, message: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(WeightsError, match=rf"model\.backbone\.weights: .*weights\.pt: {message}"):
        backbone(file)


def test_a_truncated_file(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(WeightsError, match=r"r18\.pt: cannot be read as weights: .*zip archive cut short"):
        backbone(file)


def test_a_file_that_carries_a_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "hacked",)

    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=r"evil\.pt: cannot be read as weights"):
        backbone(tmp_path / "evil.pt")
    assert not (tmp_path / "hacked").exists()


# torchvision's weights: cached or downloaded


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: torch.nn.Module) -> Path:
    """An empty cache, and the file in it where torchvision looks for ResNet-18's weights; their published digest is set to `trained`'s."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    torch.save(trained.state_dict(), tmp_path / "published.pth")
    digest = hashlib.sha256((tmp_path / "published.pth").read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", f"https://models.invalid/resnet18-{digest}.pth")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints" / f"resnet18-{digest}.pth"


def test_a_cached_file_is_used_without_a_network(cache: Path, tmp_path: Path, trained: torch.nn.Module) -> None:
    cache.write_bytes((tmp_path / "published.pth").read_bytes())
    model = backbone("IMAGENET1K_V1")
    assert same_weights(model.stages["layer2"], trained.layer2)
    assert model.loaded.source == "ResNet18_Weights.IMAGENET1K_V1"
    assert model.loaded.unused == ("layer3", "layer4", "fc")


def test_downloaded_weights_are_cached(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: torch.nn.Module
) -> None:
    published = tmp_path / "published.pth"
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", f"{tmp_path.as_uri()}/{cache.name}")
    published.rename(tmp_path / cache.name)
    assert same_weights(backbone("IMAGENET1K_V1").stages["layer2"], trained.layer2)
    assert cache.exists()


@pytest.mark.parametrize("damage", ["truncated", "one byte", "empty"])
def test_a_damaged_cached_file_is_named(damage: str, cache: Path, tmp_path: Path) -> None:
    content = bytearray((tmp_path / "published.pth").read_bytes())
    if damage == "one byte":  # torch.load does not notice
        content[len(content) // 2] ^= 0xFF
    cache.write_bytes(content[: {"truncated": 1000, "one byte": len(content), "empty": 0}[damage]])
    with pytest.raises(
        WeightsError,
        match=rf"ResNet18_Weights\.IMAGENET1K_V1: {cache} is damaged: found \d+ bytes.*remove it.*download https.*put it at {cache}",
    ):
        backbone("IMAGENET1K_V1")


def test_without_network_and_file_the_error_says_what_to_download_and_where_to_put_it(cache: Path) -> None:
    with pytest.raises(
        WeightsError,
        match=r"ResNet18_Weights\.IMAGENET1K_V1 could not be downloaded.*"
        rf"download https://models\.invalid/{cache.name} and put it at {cache}; or train from scratch",
    ):
        backbone("IMAGENET1K_V1")
    assert not cache.exists()


def test_unknown_weights_are_refused_with_the_known_names() -> None:
    with pytest.raises(
        WeightsError,
        match=r"found 'IMAGENET21K'; resnet18 has IMAGENET1K_V1, DEFAULT; else expected the path of a \.pt",
    ):
        backbone("IMAGENET21K")
