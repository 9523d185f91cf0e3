"""A HiTAGU-Net whose right picture is known: it sees colours as they are, and its gates are set by hand.

The backbone is the mean colour of each 8 x 8 patch. SCA opens where the frame is bright. TSA reads the frame that is brightest.
Class k is the amount of colour k (red, green, blue).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hitagu_lib.config import resolve
from hitagu_lib.models import HiTAGUNet
from hitagu_lib.models.attention import SpatialChannelAttention, TemporalSelfAttention

PATCH = 8


class PatchColours(nn.Module):
    """The mean colour of each patch: the top map has 3 channels."""

    cut = "layer1"

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        return {self.cut: F.avg_pool2d(frames, PATCH)}


def colour_net() -> HiTAGUNet:
    sections = {"backbone": {"name": "resnet18", "cut": "layer1"}, "mde": {"enabled": False}, "stu": {"enabled": False}}
    cfg = resolve({"model": sections | {"attention": {"sca_kernel": 3, "tsa_width": 4, "tsa_heads": 2}}}).model
    net = HiTAGUNet(cfg, 3).eval()
    net.backbone, net.width = PatchColours(), 3
    net.sca, net.tsa = SpatialChannelAttention(cfg.attention, 3), TemporalSelfAttention(cfg.attention, 3)
    net.head.linear = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.sca.bottleneck[2].bias.fill_(10)  # two passes: the channel gates are open
        net.sca.conv.weight[0, 1, 1, 1] = 10  # the spatial gate opens where a channel is bright at this place
        net.head.linear.weight.copy_(torch.eye(3))
        # Query 1 for all; the key of each frame is its token's red: LayerNorm is replaced by the token itself.
        net.tsa.norm = nn.Identity()
        net.tsa.position = None
        net.tsa.qkv.bias[:4] = 1
        net.tsa.qkv.weight[4:8] = 200 * torch.eye(3)[0]
    return net.requires_grad_(False)


def lit_clip(frame: int, row: int, column: int, colour: int = 0, T: int = 4, side: int = 4) -> Tensor:
    """A dark clip (1, T, 3, H, W) in which one patch of one frame shines in one colour."""
    x = torch.zeros(1, T, 3, PATCH * side, PATCH * side)
    x[0, frame, colour, PATCH * row : PATCH * (row + 1), PATCH * column : PATCH * (column + 1)] = 1
    return x
