"""Grad-CAM on a network whose right picture is known, and against its own equation."""

import pytest
import torch
from known_picture import colour_net, lit_clip

from hitagu_lib import build_model
from hitagu_lib.config import resolve
from hitagu_lib.errors import ConfigError
from hitagu_lib.viz.grad_cam import grad_cam

T4 = torch.arange(4.0)[None]


@pytest.mark.parametrize(("frame", "row", "column"), [(0, 0, 0), (2, 1, 3)])
def test_the_evidence_for_red_is_where_it_is_red(frame: int, row: int, column: int) -> None:
    x = lit_clip(frame, row, column, colour=0) + lit_clip(3, 3, 0, colour=1)
    red = grad_cam(colour_net(), x, T4, torch.tensor([0]))
    assert red.shape == (1, 4, 4, 4) and (red >= 0).all()
    assert divmod(int(red[0, frame].argmax()), 4) == (row, column)
    assert int(red[0].flatten(1).amax(1).argmax()) == frame
    green = grad_cam(colour_net(), x, T4, torch.tensor([1]))
    assert divmod(int(green[0].argmax()), 16)[0] == 3 and int(green[0, 3].argmax()) == 12
    blue = grad_cam(colour_net(), x, T4, torch.tensor([2]))
    assert not blue.any(), "nothing is blue"


def test_it_is_the_equation_of_the_paper_for_each_frame() -> None:
    cfg = resolve(
        {
            "model": {
                "backbone": {"name": "resnet18", "cut": "layer1"},
                "mde": {"taps": ["layer1"], "reduced": 4, "width": 8},
                "stu": {"width": 8},
                "attention": {"sca_kernel": 3, "tsa_width": 8, "tsa_heads": 2},
            }
        }
    ).model
    torch.manual_seed(0)
    model = build_model(cfg, 5).eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    x, t, classes = torch.randn(2, 3, 3, 32, 32), torch.arange(3.0).expand(2, 3), torch.tensor([1, 4])
    seen = []
    model.sca.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    logits = model(x, t)
    (gradient,) = torch.autograd.grad(logits[torch.arange(2), classes].sum(), seen[0])
    expected = (gradient.mean((2, 3), keepdim=True) * seen[0]).sum(1).relu().unflatten(0, (2, 3))
    with torch.no_grad():
        torch.testing.assert_close(grad_cam(model, x, t, classes), expected)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_network_without_sca_is_refused() -> None:
    net = colour_net()
    net.sca = None
    with pytest.raises(ConfigError, match=r"model\.attention\.sca: found false"):
        grad_cam(net, lit_clip(0, 0, 0), T4, torch.tensor([0]))
