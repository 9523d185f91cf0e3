"""Parameters: every key known, typed and ranged; layers merge key by key; bad files name file and line."""

import re
from pathlib import Path

import pytest
import yaml

from hitagu_lib.config import Config, load_config, read_params, resolve
from hitagu_lib.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
PARAMS = sorted(
    set(ROOT.glob("params/**/*.yaml")) - {ROOT / "params" / "checkpoints.yaml"}
)  # names of weights, no recipe


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("file", PARAMS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_params_file_resolves_and_survives_the_round_trip(file: Path) -> None:
    cfg = load_config(file)
    assert Config.from_mapping(yaml.safe_load(cfg.to_yaml())) == cfg


def test_layers_merge_key_by_key(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text("train: {epochs: 3, lr: 0.5}\nmodel: {mde: {reduced: 8}}\n")
    cfg = resolve({"base": str(base), "train": {"lr": 0.25}}, "model.mde.width=12 train.seed=7")
    assert (cfg.train.epochs, cfg.train.lr, cfg.train.seed) == (3, 0.25, 7)
    assert (cfg.model.mde.reduced, cfg.model.mde.width) == (8, 12)


def test_a_base_may_have_a_base_itself_the_nearer_file_on_top(tmp_path: Path) -> None:
    far, middle, near = (tmp_path / f"{name}.yaml" for name in ("far", "middle", "near"))
    far.write_text("base: null\ntrain: {epochs: 1, batch_size: 1, lr: 0.1, warmup_epochs: 1}\n")
    middle.write_text(f"base: {far}\ntrain: {{epochs: 2, batch_size: 2, lr: 0.2}}\n")
    near.write_text(f"base: {middle}\ntrain: {{epochs: 3, batch_size: 3}}\n")
    train = resolve({"base": str(near), "train": {"epochs": 4}}).train
    assert (train.epochs, train.batch_size, train.lr, train.warmup_epochs) == (4, 3, 0.2, 1)
    assert load_config(near, "train.epochs=5").train.epochs == 5


@pytest.mark.parametrize(
    ("bases", "message"),
    [
        ({"a": "a"}, "a: base is a, which rests on this file: a -> a; expected an end"),
        ({"a": "b", "b": "c", "c": "b"}, "c: base is b, which rests on this file: b -> c -> b; expected an end"),
        ({"a": "b", "b": "c", "c": "a"}, "a: base is b, which rests on this file: b -> c -> a -> b; expected an end"),
        ({"a": "b", "b": "[c]"}, "b: base is ['c']; expected the path of a params file, or null"),
        ({"a": "b", "b": "c"}, "c: no such params file"),
    ],
    ids=str,
)
def test_bases_that_go_round_or_lead_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bases: dict[str, str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, base in bases.items():
        (tmp_path / name).write_text(f"base: {base}\n")
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        load_config("a")


def test_overrides_read_lists_numbers_and_booleans() -> None:
    cfg = resolve({}, "train.lr=1e-3 train.center_loss=true 'model.mde.taps=[layer1, layer3]' data.classes=null")
    assert (cfg.train.lr, cfg.train.center_loss, cfg.model.mde.taps, cfg.data.classes) == (
        0.001,
        True,
        ("layer1", "layer3"),
        None,
    )


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"train": {"epoch": 3}}, r"train\.epoch: unknown key; did you mean epochs\?"),
        ({"trian": {}}, r"trian: unknown key; did you mean train\?"),
        ({"train": {"epochs": "many"}}, r"train\.epochs: found 'many' \(str\); expected int"),
        ({"train": {"epochs": 2.5}}, r"train\.epochs: found 2\.5 \(float\); expected int"),
        ({"train": {"epochs": True}}, r"train\.epochs: found True \(bool\); expected int"),
        ({"train": {"epochs": 0}}, r"train\.epochs: found 0; expected at least 1"),
        ({"train": {"lr": float("nan")}}, r"train\.lr: found nan; expected at least 0"),
        ({"train": {"center_loss": 1}}, r"train\.center_loss: found 1 \(int\); expected bool"),
        ({"train": 3}, r"train: found 3; expected a mapping"),
        ({"model": {"dropout": 1.5}}, r"model\.dropout: found 1\.5; expected from 0\.0 to 0\.99"),
        (
            {"model": {"temporal": "hitag"}},
            r"model\.temporal: found 'hitag'; expected one of hitagu, tsn, tsm, gru; did you mean hitagu\?",
        ),
        ({"model": {"mde": {"taps": ["layer5"]}}}, r"model\.mde\.taps: found 'layer5'; expected one of"),
        ({"model": {"mde": {"taps": "layer1"}}}, r"model\.mde\.taps: found 'layer1'; expected a list"),
        ({"model": {"backbone": {"cut": "layer2"}}}, r"model\.mde\.taps: found layer3, beyond model\.backbone\.cut"),
        ({"model": {"attention": {"tsa_width": 36}}}, r"tsa_width: found 36; expected a multiple of 2 x tsa_heads = 8"),
        ({"data": {"image_size": 300}}, r"data\.image_size: found 300; expected at most data\.short_side = 256"),
        ({"data": {"hflip_swaps": [["a"]]}}, r"data\.hflip_swaps\[0\]: found \['a'\]; expected a list of 2"),
    ],
)
def test_a_bad_key_or_value_is_named_with_what_was_expected(mapping: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(mapping)


@pytest.mark.parametrize("overrides", ["train.epochs", "=3", "train.epochs=[1"])
def test_bad_overrides(overrides: str) -> None:
    with pytest.raises(ConfigError, match="overrides: "):
        resolve({}, overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  lr: !!python/object/apply:os.system ['true']\n", r"p\.yaml:2: could not determine a constructor"),
        ("train: {epochs: 1}\ntrain: {epochs: 2}\n", r"p\.yaml:2: key 'train' is given twice"),
        ("train: [\n", r"p\.yaml:2: "),
        ("- a\n- b\n", r"p\.yaml: found list; expected the sections data, model, train, eval"),
        ("", r"p\.yaml: found NoneType"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_params(file)


def test_a_missing_file_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(
        ConfigError, match=r"params/minni\.yaml: no such params file .*; did you mean params/mini\.yaml\?"
    ):
        load_config("params/minni.yaml")


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_params(tmp_path / "p.yaml")
