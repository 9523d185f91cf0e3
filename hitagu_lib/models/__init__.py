"""The network, one module of the pipeline a file, and its baselines."""

from hitagu_lib.config import ModelConfig
from hitagu_lib.models.baselines import GRU, TSM, TSN
from hitagu_lib.models.clip_model import ClipMaps, ClipModel, FrameFeatures
from hitagu_lib.models.hitagu import HiTAGUNet

__all__ = ["GRU", "TSM", "TSN", "ClipMaps", "ClipModel", "FrameFeatures", "HiTAGUNet", "build_model"]


def build_model(cfg: ModelConfig, num_classes: int) -> ClipModel:
    """The model that `cfg.temporal` names, on the backbone that `cfg.backbone` describes."""
    models = {"hitagu": HiTAGUNet, "tsn": TSN, "tsm": TSM, "gru": GRU}
    return models[cfg.temporal](cfg, num_classes)
