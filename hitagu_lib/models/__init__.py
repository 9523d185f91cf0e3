"""The network, one file per module of the pipeline, and its baselines."""

from collections.abc import Callable

from hitagu_lib.config import ModelConfig
from hitagu_lib.models.baselines import GRU, TSM, TSN
from hitagu_lib.models.clip_model import ClipMaps, ClipModel, FrameFeatures
from hitagu_lib.models.hitagu import HiTAGUNet
from hitagu_lib.models.weights import load_pretrained

__all__ = ["GRU", "TSM", "TSN", "ClipMaps", "ClipModel", "FrameFeatures", "HiTAGUNet", "build_model"]


def build_model(cfg: ModelConfig, num_classes: int, *, pretrained: bool = True) -> ClipModel:
    """Build the model that `cfg.temporal` names, on the backbone that `cfg.backbone` describes.

    pretrained: load the weights that `cfg.backbone.weights` names; False: leave them random, for a model that a checkpoint fills.
    Raises WeightsError if those weights are missing, unreadable or do not fit.
    """
    models: dict[str, Callable[[ModelConfig, int], ClipModel]] = {
        "hitagu": HiTAGUNet,
        "tsn": TSN,
        "tsm": TSM,
        "gru": GRU,
    }
    model = models[cfg.temporal](cfg, num_classes)
    if pretrained:
        load_pretrained(model.backbone, cfg.backbone)
    return model
