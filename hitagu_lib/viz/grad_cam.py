"""Grad-CAM (Selvaraju et al. 2017), by captum: a second opinion on where the evidence is, from gradients in place of the gates' values."""

from __future__ import annotations

import torch
from captum.attr import LayerGradCam
from torch import Tensor

from hitagu_lib.errors import ConfigError
from hitagu_lib.models import HiTAGUNet


def grad_cam(model: HiTAGUNet, x: Tensor, t: Tensor, classes: Tensor) -> Tensor:
    """Return where the evidence for `classes` (B,) is, at least 0: (B, T, h, w), for clips x (B, T, 3, H, W) at times t (B, T).

    The layer is the map that SCA is given: all paths to the classifier lead through it, MDE's and the 3STU's included. Each frame's
    channels are weighted by the mean of their own gradient. The model is in evaluation mode. Raises ConfigError without SCA.
    """
    if model.sca is None:
        raise ConfigError(
            "model.attention.sca: found false; expected a network with SCA, at whose input Grad-CAM looks"
        )
    with torch.enable_grad():
        cam = LayerGradCam(model, model.sca).attribute(
            x, target=classes, additional_forward_args=(t,), attribute_to_layer_input=True, relu_attributions=True
        )
    assert isinstance(cam, Tensor)
    return cam.detach()[:, 0].unflatten(0, tuple(t.shape))
