"""Settings that a device cannot carry out are refused; BatchNorm over several processes."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hitagu_lib.config import Config, TrainConfig
from hitagu_lib.errors import ConfigError
from hitagu_lib.models import build_model
from hitagu_lib.training.distributed import check_device, share_statistics


def test_sync_bn_is_refused_on_cpus_unless_there_is_one_process() -> None:
    cfg, cpu = TrainConfig(sync_bn=True), torch.device("cpu")
    check_device(cfg, SimpleNamespace(device=cpu, num_processes=1, scaler=None))
    check_device(cfg, SimpleNamespace(device=torch.device("cuda"), num_processes=2, scaler=None))
    with pytest.raises(
        ConfigError, match=r"train\.sync_bn: found true, in 2 processes on the CPU; expected false, or GPUs"
    ):
        check_device(cfg, SimpleNamespace(device=cpu, num_processes=2, scaler=None))


def test_under_torchrun_its_number_of_processes_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert TrainConfig(processes=3).world_size == 3
    monkeypatch.setenv("WORLD_SIZE", "16")
    assert TrainConfig(processes=3).world_size == 16


def test_all_batch_norms_are_synchronised_except_a_frozen_backbones(tiny_cfg: Config) -> None:
    def kinds(model: nn.Module) -> set[type]:
        return {type(module) for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}

    model = build_model(tiny_cfg.model, 4)
    names = list(model.state_dict())
    share_statistics(model)
    assert kinds(model) == {nn.SyncBatchNorm} and list(model.state_dict()) == names
    frozen = dataclasses.replace(tiny_cfg.model, backbone=dataclasses.replace(tiny_cfg.model.backbone, frozen_bn=True))
    model = build_model(frozen, 4)
    share_statistics(model)
    assert kinds(model.backbone) == {nn.BatchNorm2d} and nn.SyncBatchNorm in kinds(model)
    assert not any(m.training for m in model.train().backbone.modules() if isinstance(m, nn.BatchNorm2d))
