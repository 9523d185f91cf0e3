"""Start from another run's checkpoint: load everything for the same classes, all but the classifier for others, or say why not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from hitagu_lib.config import Config
from hitagu_lib.data.source import open_lists
from hitagu_lib.errors import WeightsError
from hitagu_lib.files import file_sha256
from hitagu_lib.inference.accelerator import make_accelerator
from hitagu_lib.runs.checkpoint import load_checkpoint
from hitagu_lib.training import trainer as training
from hitagu_lib.training.learner import Learner


@pytest.fixture
def cfg(tiny_cfg: Config) -> Config:
    return with_train(tiny_cfg, epochs=1, center_loss=True)


@pytest.fixture
def trained(cfg: Config) -> Path:
    """A checkpoint of another run, with centres."""
    other = dataclasses.replace(with_train(cfg, seed=7), run=str(Path(cfg.run).with_name("other")))
    training.fit(other)
    return Path(other.run) / "checkpoints" / "last.pt"


def with_train(cfg: Config, **changes: object) -> Config:
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, **changes))


def with_classes(cfg: Config, labels: list[str], folder: Path) -> Config:
    """Return the same clips under other labels, with as many classes as there are labels."""
    folder.mkdir()
    rows = {}
    for name in ("train_list", "val_list"):
        lines = Path(getattr(cfg.data, name)).read_text().splitlines()
        kept = [line for line in lines if int(line.split(",")[-2]) < len(labels)]
        (folder / f"{name}.csv").write_text("\n".join(kept) + "\n")
        rows[name] = str(folder / f"{name}.csv")
    (folder / "classes.txt").write_text("\n".join(labels) + "\n")
    data = dataclasses.replace(cfg.data, **rows, classes=str(folder / "classes.txt"), hflip_swaps=(), reverse_swaps=())
    return dataclasses.replace(
        with_train(cfg, both_directions=False), data=data, eval=dataclasses.replace(cfg.eval, order_tests=False)
    )


def a_learner(cfg: Config) -> Learner:
    return Learner(cfg, open_lists(cfg.data)[0].classes, 5, make_accelerator(cfg.train))


def started(cfg: Config, file: Path, head: str = "keep") -> Learner:
    cfg = with_train(cfg, init=str(file), init_head=head)
    learner = a_learner(cfg)
    learner.start_from(cfg.train.init)
    return learner


@pytest.mark.slow
def test_for_the_same_classes_everything_is_loaded(cfg: Config, trained: Path) -> None:
    learner, state = started(cfg, trained), load_checkpoint(trained)
    own = learner.model.state_dict()
    assert own.keys() == state["model"].keys() and all(torch.equal(own[key], state["model"][key]) for key in own)
    assert torch.equal(learner.criterion.center.centers, state["criterion"]["center.centers"])
    assert learner.started_from == {
        "source": str(trained),
        "sha256": file_sha256(trained),
        "epoch": 1,
        "classes": 14,
        "head": "keep",
        "loaded": ("backbone", "mde", "stu", "sca", "tsa", "head", "centres"),
        "unused": (),
        "random": (),
    }
    assert (learner.epoch, learner.steps) == (0, 0), "its weights, not its progress"


@pytest.mark.slow
def test_for_other_classes_the_error_names_the_difference(cfg: Config, trained: Path, tmp_path: Path) -> None:
    labels = list(load_checkpoint(trained)["classes"])
    fewer = with_classes(cfg, [*labels[:4], "Something new"], tmp_path / "fewer")
    with pytest.raises(
        WeightsError,
        match=r"(?s)train\.init: .*last\.pt: its classes differ: 14 there, 5 here; only there '.*', '.*', '.*' and 7 more; "
        r"only here 'Something new'; train\.init_head=replace starts the classifier at random and loads everything else",
    ):
        started(fewer, trained)
    swapped = with_classes(cfg, [labels[1], labels[0], *labels[2:]], tmp_path / "swapped")
    with pytest.raises(WeightsError, match=r"the same 14 labels in another order \(label 0 is '.*' there, '.*' here\)"):
        started(swapped, trained)


@pytest.mark.slow
def test_replacing_the_head_loads_everything_else_and_records_what_was_not_used(
    cfg: Config, trained: Path, tmp_path: Path
) -> None:
    cfg = with_classes(cfg, ["a", "b", "c"], tmp_path / "abc")
    torch.manual_seed(0)
    fresh = a_learner(cfg).model.state_dict()
    torch.manual_seed(0)
    learner, state = started(cfg, trained, "replace"), load_checkpoint(trained)
    own = learner.model.state_dict()
    for key, value in own.items():
        assert torch.equal(value, (fresh if key.startswith("head.") else state["model"])[key]), key
    assert own["head.linear.weight"].shape[0] == 3
    assert not learner.criterion.center.centers.any()
    assert learner.started_from["loaded"] == ("backbone", "mde", "stu", "sca", "tsa")
    assert learner.started_from["unused"] == learner.started_from["random"] == ("head", "centres")
    assert (learner.started_from["classes"], learner.started_from["head"]) == (14, "replace")


@pytest.mark.slow
def test_centres_of_embeddings_of_another_length_are_not_used(cfg: Config, trained: Path) -> None:
    learner = started(with_train(cfg, center_normalised=True), trained)
    assert not learner.criterion.center.centers.any()
    assert "centres" in learner.started_from["unused"] and "centres" in learner.started_from["random"]


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_refused_and_nothing_is_loaded(
    cfg: Config, trained: Path, tmp_path: Path
) -> None:
    state = load_checkpoint(trained)
    state["model"]["head.linear.weight"][0, 0] = torch.nan
    torch.save(state, tmp_path / "nan.pt")
    learner = a_learner(with_train(cfg, init=str(tmp_path / "nan.pt")))
    before = {key: value.clone() for key, value in learner.model.state_dict().items()}
    with pytest.raises(WeightsError, match=r"train\.init: .*nan\.pt: head\.linear\.weight: found nan or infinity"):
        learner.start_from(str(tmp_path / "nan.pt"))
    assert all(torch.equal(value, before[key]) for key, value in learner.model.state_dict().items())


@pytest.mark.slow
def test_another_network_is_refused_and_nothing_is_loaded(cfg: Config, trained: Path) -> None:
    wider = dataclasses.replace(
        cfg, model=dataclasses.replace(cfg.model, stu=dataclasses.replace(cfg.model.stu, width=16))
    )
    without = dataclasses.replace(
        cfg, model=dataclasses.replace(cfg.model, mde=dataclasses.replace(cfg.model.mde, enabled=False))
    )
    for other, says in (
        (wider, r"of another shape stu\.\S+ \(there \(.*\), here \(.*\)\)"),
        (without, r"only there mde\.\S+, mde\.\S+, mde\.\S+ and \d+ more; compare its params"),
    ):
        learner = a_learner(with_train(other, init=str(trained)))
        before = {key: value.clone() for key, value in learner.model.state_dict().items()}
        with pytest.raises(WeightsError, match=rf"train\.init: .*last\.pt: its network differs: .*{says}"):
            learner.start_from(str(trained))
        assert all(torch.equal(value, before[key]) for key, value in learner.model.state_dict().items())
        assert learner.started_from is None


def test_a_file_that_is_not_a_checkpoint_is_named(cfg: Config, tmp_path: Path) -> None:
    (tmp_path / "no.pt").write_bytes(b"PK")
    with pytest.raises(WeightsError, match=r"train\.init: .*no\.pt: cannot be read as a checkpoint"):
        training.fit(with_train(cfg, init=str(tmp_path / "no.pt")))
    with pytest.raises(WeightsError, match=r"train\.init: .*none\.pt: no such checkpoint"):
        training.fit(with_train(cfg, init=str(tmp_path / "none.pt")))


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_run_loads_the_checkpoint_once_and_keeps_the_record(
    cfg: Config, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No backbone weights are loaded besides it; a resumed run does not need the file; TSN starts from its backbone."""
    backbone = dataclasses.replace(cfg.model.backbone, weights="IMAGENET1K_V1")
    cfg = dataclasses.replace(
        with_train(cfg, epochs=2, init=str(trained)), model=dataclasses.replace(cfg.model, backbone=backbone)
    )
    cfg = dataclasses.replace(cfg, eval=dataclasses.replace(cfg.eval, tsn_baseline=True))

    def kill(metrics: list[dict]) -> None:
        raise Killed

    with pytest.raises(Killed):
        training.train(cfg, on_epoch=kill)
    record = json.loads((Path(cfg.run) / "provenance.json").read_text())["started_from"]
    assert record["source"] == str(trained) and record["sha256"] == file_sha256(trained)
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "start_from", lambda *_: pytest.fail("loaded again"))
        training.fit(cfg)
    assert json.loads((Path(cfg.run) / "provenance.json").read_text())["started_from"] == record
    assert "tsn_val_top1" in training.train(cfg)
    theirs = json.loads((Path(cfg.run) / "tsn" / "provenance.json").read_text())
    assert theirs["started_from"] is None and theirs["backbone_weights"]["source"] == str(trained)
