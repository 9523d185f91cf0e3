"""The per-frame half: a torchvision ResNet, cut after a stage.

frames (N, 3, H, W) -> stem (/4) -> layer1 (/4) -> layer2 (/8) -> layer3 (/16) -> layer4 (/32)
                                     |              |              '-> any of them may be tapped
                                     '-> the last one kept is the top map
"""

from __future__ import annotations

from dataclasses import dataclass

import torchvision
from torch import Tensor, nn

from hitagu_lib.config import STAGES, BackboneConfig


@dataclass(frozen=True)
class LoadedWeights:
    """The result of loading weights, by part of the network: stem, layer1 to layer4; other parts of the source keep their own names."""

    source: str  # such as ResNet50_Weights.IMAGENET1K_V2, or a file
    loaded: tuple[str, ...]
    unused: tuple[str, ...]  # in the source, not in the backbone
    random: tuple[str, ...]  # in the backbone, not in the source

    def __str__(self) -> str:
        parts = {"loaded": self.loaded, "not used": self.unused, "left random": self.random}
        return f"backbone weights from {self.source}: " + "; ".join(
            f"{what} {', '.join(names) or 'nothing'}" for what, names in parts.items()
        )


class TruncatedResNet(nn.Module):
    """torchvision's ResNet (He et al. 2016) up to and including stage `cfg.cut`.

    forward: (N, 3, H, W) -> {name: (N, channels[name], H / stride, W / stride)} for "stem" and every stage kept.

    Weights start at random; `hitagu_lib.models.weights.load_pretrained` loads those that `cfg.weights` names and records them in `loaded`.
    """

    def __init__(self, cfg: BackboneConfig) -> None:
        super().__init__()
        resnet = torchvision.models.get_model(cfg.name, weights=None)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.stages = nn.ModuleDict({stage: getattr(resnet, stage) for stage in STAGES[: STAGES.index(cfg.cut) + 1]})
        parts = {"stem": self.stem, **self.stages}
        self.channels = {name: _out_channels(part) for name, part in parts.items()}
        self.cut = cfg.cut
        self.frozen_bn = cfg.frozen_bn
        for part in [self.stem, *self.stages.values()][: cfg.frozen_stages]:
            part.requires_grad_(False)
        self.loaded: LoadedWeights | None = None

    def train(self, mode: bool = True) -> TruncatedResNet:
        super().train(mode)
        if self.frozen_bn:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        x = self.stem(frames)
        maps = {"stem": x}
        for stage, blocks in self.stages.items():
            x = blocks(x)
            maps[stage] = x
        return maps


def _out_channels(blocks: nn.Module) -> int:
    """Return the number of channels that a stage puts out: those of its last BatchNorm."""
    return [m.num_features for m in blocks.modules() if isinstance(m, nn.BatchNorm2d)][-1]
