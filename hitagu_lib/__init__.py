"""HiTAGU-Net: the small shared library of the book."""

__version__ = "0.1.0"

__all__ = ["Config", "__version__", "build_model", "load_config"]


def __getattr__(name: str) -> object:
    # Lazily, so that `hitagu --help` does not wait for torch.
    if name == "build_model":
        from hitagu_lib.models import build_model

        return build_model
    if name in ("Config", "load_config"):
        from hitagu_lib import config

        return getattr(config, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
