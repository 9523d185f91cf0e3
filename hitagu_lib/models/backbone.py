"""The per-frame half: a torchvision ResNet, cut after a stage.

frames (N, 3, H, W) -> stem (/4) -> layer1 (/4) -> layer2 (/8) -> layer3 (/16) -> layer4 (/32)
                                     |              |              '-> any of them may be tapped
                                     '-> the last one kept is the top map
"""

from __future__ import annotations

import urllib.error
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from hitagu_lib.config import STAGES, BackboneConfig
from hitagu_lib.errors import WeightsError


class TruncatedResNet(nn.Module):
    """torchvision's ResNet (He et al. 2016) up to and including stage `cfg.cut`.

    forward: (N, 3, H, W) -> {stage: (N, channels[stage], H / stride, W / stride)} for every stage kept.
    """

    def __init__(self, cfg: BackboneConfig) -> None:
        super().__init__()
        resnet = _load_resnet(cfg.name, cfg.weights)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.stages = nn.ModuleDict({stage: getattr(resnet, stage) for stage in STAGES[: STAGES.index(cfg.cut) + 1]})
        self.channels = {stage: _out_channels(blocks) for stage, blocks in self.stages.items()}
        self.cut = cfg.cut
        self.frozen_bn = cfg.frozen_bn
        for part in [self.stem, *self.stages.values()][: cfg.frozen_stages]:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> TruncatedResNet:
        super().train(mode)
        if self.frozen_bn:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        x = self.stem(frames)
        maps = {}
        for stage, blocks in self.stages.items():
            x = blocks(x)
            maps[stage] = x
        return maps


def _out_channels(blocks: nn.Module) -> int:
    """Channels that a stage puts out: those of its last BatchNorm."""
    return [m.num_features for m in blocks.modules() if isinstance(m, nn.BatchNorm2d)][-1]


def _load_resnet(name: str, weights: str | None) -> torchvision.models.ResNet:
    """A torchvision ResNet, random (`weights` None) or with a named entry of torchvision's weights enum.

    Raises WeightsError where the name is unknown, or the file is neither cached nor downloadable.
    """
    enum = torchvision.models.get_model_weights(name)
    if weights is None:
        return torchvision.models.get_model(name, weights=None)
    if weights not in enum.__members__:
        raise WeightsError(
            f"model.backbone.weights: found {weights!r}; {name} has {', '.join(enum.__members__)}, or null"
        )
    entry = enum[weights]
    try:
        return torchvision.models.get_model(name, weights=entry)
    except (urllib.error.URLError, OSError) as error:
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
        raise WeightsError(
            f"model.backbone.weights: {enum.__name__}.{weights} could not be downloaded ({error}). On a machine with a "
            f"network, download {entry.url} and put it at {file}; or train from scratch with model.backbone.weights=null"
        ) from error
