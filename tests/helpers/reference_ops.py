"""Reference operations as plain loops, and comparisons of a module with its equations.

No torch.nn here: loops over a kernel's cells, and elementary operations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from hitagu_lib.models.backbone import TruncatedResNet


def wake(module: nn.Module, seed: int = 1) -> nn.Module:
    """Return the module in float64 and evaluation mode, its parameters and running statistics away from their initial values."""
    torch.manual_seed(seed)
    for parameter in module.double().parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif parameter.ndim:
            nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            nn.init.constant_(parameter, 3.0)  # ShiftMatch's kappa
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return module.eval()


def conv(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """x (N, C, h, w), weight (O, C, k, k), k odd, zeros beyond the edge -> (N, O, ceil(h / stride), ceil(w / stride))."""
    out: Tensor | float = 0.0
    for i, j, cells in _cells(x, weight.shape[-1], stride):
        out = out + torch.einsum("oc,nchw->nohw", weight[:, :, i, j], cells)
    return out


def depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """x (N, C, h, w), weight (C, k, k): each channel on its own."""
    return sum(cells * weight[:, i, j][:, None, None] for i, j, cells in _cells(x, weight.shape[-1], 1))


def max_pool(x: Tensor) -> Tensor:
    """3x3 max pooling with stride 2; x is not negative, so the zeros beyond the edge never win."""
    out = torch.zeros_like(x[:, :, ::2, ::2])
    for _, _, cells in _cells(x, 3, 2):
        out = torch.maximum(out, cells)
    return out


def _cells(x: Tensor, k: int, stride: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yield, for each cell (i, j) of a k x k kernel, the values of x under it at every position of the kernel."""
    N, C, h, w = x.shape
    padded = x.new_zeros(N, C, h + k - 1, w + k - 1)
    padded[:, :, k // 2 : k // 2 + h, k // 2 : k // 2 + w] = x
    for i in range(k):
        for j in range(k):
            yield i, j, padded[:, :, i : i + h : stride, j : j + w : stride]


def batch_norm(x: Tensor, bn: nn.BatchNorm2d) -> Tensor:
    """Normalise x (N, C, h, w) by the batch's own statistics in training, else by the running ones."""
    mean, var = bn.running_mean, bn.running_var
    if bn.training:
        mean = x.mean((0, 2, 3))
        var = (x - mean[:, None, None]).square().mean((0, 2, 3))
    scale = bn.weight / (var + bn.eps).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def resnet(backbone: TruncatedResNet, frames: Tensor, shift: Callable[[Tensor], Tensor] = lambda x: x) -> list[Tensor]:
    """Return the maps of ResNet-18's stem and stages (He et al. 2016); `shift` acts on the input of each residual branch."""

    def weight(part: nn.Module) -> Tensor:
        (only,) = part.parameters()  # a convolution, alone or behind a TemporalShift
        return only

    conv1, bn1, _, _ = backbone.stem
    x = max_pool(relu(batch_norm(conv(frames, weight(conv1), 2), bn1)))
    maps = [x]
    for stage in backbone.stages.values():
        for block in stage:
            y = relu(batch_norm(conv(shift(x), weight(block.conv1), block.stride), block.bn1))
            y = batch_norm(conv(y, weight(block.conv2)), block.bn2)
            if block.downsample is not None:
                x = batch_norm(conv(x, weight(block.downsample[0]), block.stride), block.downsample[1])
            x = relu(x + y)
        maps.append(x)
    return maps


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def softmax(scores: Sequence[Tensor]) -> list[Tensor]:
    total = sum(torch.exp(s) for s in scores)
    return [torch.exp(s) / total for s in scores]


def assert_same(shipped: Sequence[Tensor], written_out: Sequence[Tensor], variables: Sequence[Tensor]) -> None:
    """Assert equal values, and equal gradients of a random combination of all outputs by each of `variables`."""
    for a, b in zip(shipped, written_out, strict=True):
        torch.testing.assert_close(a, b)
    generator = torch.Generator().manual_seed(7)
    directions = [torch.randn(y.shape, dtype=y.dtype, generator=generator) for y in written_out]
    for a, b in zip(*(gradients(ys, directions, variables) for ys in (shipped, written_out)), strict=True):
        torch.testing.assert_close(a, b)


def gradients(ys: Sequence[Tensor], directions: Sequence[Tensor], variables: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the gradients of sum(y * direction) by each variable; zeros if nothing depends on it."""
    total = sum((y * d).sum() for y, d in zip(ys, directions, strict=True))
    total = total + sum(0 * v.sum() for v in variables)  # gives a graph even if every output is constant
    return torch.autograd.grad(total, variables, retain_graph=True)


def bf16_errors(
    module: nn.Module, call: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]
) -> tuple[float, float, float]:
    """Return how far bf16 autocast is from float64: |difference| / |float64| of outputs, gradients by inputs, gradients by parameters.

    `call(module, *inputs)` gives the outputs. Euclid's norm, over all numbers of a kind together.
    """
    results = []
    for dtype in (torch.float64, torch.float32):
        own = copy.deepcopy(module).to(dtype)
        leaves = [x.detach().to(dtype).requires_grad_() for x in inputs]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.float32):
            ys = call(own, *leaves)
        generator = torch.Generator().manual_seed(7)
        directions = [torch.randn(y.shape, dtype=torch.float64, generator=generator) for y in ys]
        parameters = list(own.parameters())
        both = gradients(ys, directions, leaves + parameters)
        results.append([_flat(ys), _flat(both[: len(leaves)]), _flat(both[len(leaves) :])])
    return tuple(((b - a).norm() / a.norm()).item() for a, b in zip(*results, strict=True))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([x.detach().double().flatten() for x in tensors])
