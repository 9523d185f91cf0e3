"""Every setting of a run, and the only code that reads `params/`.

    params/*.yaml  --load_config-->  Config  --Config.to_yaml-->  outputs/<run>/params.yaml

tree.py has the settings, layers.py puts files and overrides on top of each other, plain_yaml.py reads YAML, explain.py words the errors,
notebook.py checks what papermill sets in a chapter.
"""

from hitagu_lib.config.layers import SECTIONS, flat
from hitagu_lib.config.notebook import check_parameters, notebook_config
from hitagu_lib.config.tree import (
    GRIDS,
    STAGES,
    AttentionConfig,
    BackboneConfig,
    Config,
    DataConfig,
    EvalConfig,
    MDEConfig,
    ModelConfig,
    STUConfig,
    Temporal,
    TrainConfig,
    conflict,
    load_config,
    read_params,
    resolve,
    section,
)

__all__ = [
    "GRIDS", "SECTIONS", "STAGES", "AttentionConfig", "BackboneConfig", "Config", "DataConfig", "EvalConfig", "MDEConfig", "ModelConfig",
    "STUConfig", "Temporal", "TrainConfig", "check_parameters", "conflict", "flat", "load_config", "notebook_config", "read_params",
    "resolve", "section",
]  # fmt: skip
