"""Parameters: every key is known, typed and ranged; layers merge key by key; errors name the file, the line and the key."""

import copy
import dataclasses
import logging
import pickle
import re
import typing
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from hitagu_lib.config import (
    Config,
    DataConfig,
    MDEConfig,
    TrainConfig,
    check_parameters,
    load_config,
    notebook_config,
    read_params,
    resolve,
)
from hitagu_lib.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
# checkpoints.yaml names weights; it is no recipe.
PARAMS = sorted(set(ROOT.glob("params/**/*.yaml")) - {ROOT / "params" / "checkpoints.yaml"})
PUBLISHED = sorted(ROOT.glob("outputs/published/**/params.yaml"))
CHAPTERS = sorted(ROOT.glob("book/*.ipynb"))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


# Files


@pytest.mark.parametrize("file", PARAMS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_params_file_resolves_and_survives_the_round_trip(file: Path) -> None:
    cfg = load_config(file)
    assert Config.from_mapping(yaml.safe_load(cfg.to_yaml())) == cfg
    # YAML 1.1, which papermill reads, and the library's stricter YAML mean the same.
    assert read_params(file) == yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_params_of_published_runs_still_load() -> None:
    assert len(PUBLISHED) > 40
    for file in PUBLISHED:
        cfg = load_config(file)
        written = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert Config.from_mapping(written) == cfg
        assert all(cfg.to_mapping()["train"][key] == value for key, value in written["train"].items())


def test_layers_merge_key_by_key(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text("train: {epochs: 3, lr: 0.5}\nmodel: {mde: {reduced: 8}}\n")
    cfg = resolve({"base": str(base), "train": {"lr": 0.25}}, "model.mde.width=12 train.seed=7")
    assert (cfg.train.epochs, cfg.train.lr, cfg.train.seed) == (3, 0.25, 7)
    assert (cfg.model.mde.reduced, cfg.model.mde.width) == (8, 12)


def test_a_base_may_have_its_own_base_and_the_nearer_file_wins(tmp_path: Path) -> None:
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
        ({"a": "a"}, "a:1: base: found a, whose bases lead back to it: a -> a"),
        ({"a": "b", "b": "c", "c": "b"}, "c:1: base: found b, whose bases lead back to it: b -> c -> b"),
        ({"a": "b", "b": "c", "c": "a"}, "a:1: base: found b, whose bases lead back to it: b -> c -> a -> b"),
        ({"a": "b", "b": "[c]"}, "b:1: base: found ['c']; expected the path of a params file, or null"),
        ({"a": "b", "b": "c"}, "c: no such params file"),
    ],
    ids=str,
)
def test_bases_in_a_circle_or_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bases: dict[str, str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, base in bases.items():
        (tmp_path / name).write_text(f"base: {base}\n")
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        load_config("a")


def test_a_wrong_key_or_value_is_named_with_its_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line per problem, each with the layer that the value came from: file, base file or overrides."""
    monkeypatch.chdir(tmp_path)
    Path("near.yaml").write_text(
        "base: far.yaml\n"
        "train:\n"
        "  epoch: 3\n"
        "  batch_size: 0\n"
        "  seed: 1.5\n"
        "data:\n"
        "  hflip_swaps:\n"
        "    - [left, right]\n"
        "    - [up]\n"
        "model: {mde: {taps: [layer1, layer9]}}\n"
    )
    Path("far.yaml").write_text("run: 3\ntrain:\n  batch_size: x\n  lr_batch: 1_000\n  seed: x\neval: 5\n")
    with pytest.raises(ConfigError) as error:
        load_config("near.yaml", "train.seed=-1 eval.clips=2.5 train.ema=0.5")
    assert set(str(error.value).splitlines()) == {
        "near.yaml:3: train.epoch: unknown key; did you mean epochs?",
        "near.yaml:4: train.batch_size: found 0; expected at least 1",
        "near.yaml:9: data.hflip_swaps[1]: found ['up']; expected a list of 2",
        "near.yaml:10: model.mde.taps[1]: found 'layer9'; expected one of stem, layer1, layer2, layer3, layer4; "
        "did you mean layer4?",
        "far.yaml:1: run: found 3 (int); expected str, so put it in quotes",
        "far.yaml:4: train.lr_batch: found '1_000' (str); expected int or null",
        "overrides: train.seed: found -1; expected from 0 to 4294967295",
        "overrides: eval.clips: found 2.5 (float); expected int or null",
    }


@pytest.mark.parametrize(
    ("near", "far", "overrides", "message"),
    [
        ("data:\n  image_size: 300\n", "", "", "near.yaml:3: data.image_size: found 300; expected at most data.short_s"),
        ("", "data:\n  short_side: 64\n", "", "far.yaml:2: data.image_size: found 224; expected at most data.short_side"),
        ("", "model:\n  backbone:\n    cut: layer1\n", "", "far.yaml:3: model.mde.taps: found layer2, beyond model.backb"),
        ("", "", "model.stu.form=scan model.stu.gates_see_state=true", "overrides: model.stu.form: found scan; expected"),
        ("train: 3\n", "train: {epochs: 2}\n", "", "near.yaml:2: train: found 3; expected a mapping of keys"),
        ("eval: &e {clips: 2}\ntrain:\n  <<: *e\n", "", "", "near.yaml:2: train.clips: unknown key; did you mean eval.clips?"),
        ("train:\n  <<: {lr: 1, epochs: 1}\n  lr: x\n", "", "", "near.yaml:4: train.lr: found 'x' (str); expected float"),
    ],
)  # fmt: skip
def test_values_that_do_not_go_together_are_named_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near: str, far: str, overrides: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("near.yaml").write_text(f"base: far.yaml\n{near}")
    Path("far.yaml").write_text(far or "base: null\n")
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        load_config("near.yaml", overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  lr: !!python/object/apply:os.system ['true']\n", r"p\.yaml:2: could not determine a constructor"),
        ("train: {epochs: 1}\ntrain: {epochs: 2}\n", r"p\.yaml:2: key 'train' is given twice"),
        ("train: [\n", r"p\.yaml:2: "),
        ("- a\n- b\n", r"p\.yaml: found list; expected the sections data, model, train, eval"),
        ("", r"p\.yaml: found NoneType"),
        ("\0\0\0", r"p\.yaml: not YAML"),
        ("run: x\n? [a]\n: 1\n", r"p\.yaml:2: found unhashable key"),
        ("train:\n  seed: !!int 010\n", r"p\.yaml:2: '010' is no plain int"),
        ("train:\n  lr: !!float '1:30'\n", r"p\.yaml:2: '1:30' is no plain float"),
        (f"train:\n  seed: {'1' * 5000}\n", r"p\.yaml:2: '111.*' is no plain int"),
        ("data: !!set {a, b}\n", r"p\.yaml:1: could not determine a constructor"),
    ],
)  # fmt: skip
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


# Values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("-7", -7), ("+7", 7), ("0", 0), ("1e-3", 0.001), ("1E5", 1e5), ("1.", 1.0), (".5", 0.5), ("-1.5e+3", -1500.0),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("[a, 1]", ["a", 1]), ("{a: 1}", {"a": 1}),
        *((text, text) for text in ("010", "-010", "1_000", "0x10", "0o7", "0b1", "1:30", "1:30.5", "00.5", "1_0.5", "1__0")),
        *((text, text) for text in ("yes", "No", "on", "OFF", "y", "2024-01-01", "2024-01-01 10:00:00", ".inf", ".nan", "nan")),
        ("'7'", "7"), ('"true"', "true"), ("'null'", "null"), ("1e400", float("inf")),
    ],
)  # fmt: skip
def test_a_plain_value_is_what_yaml_1_2_says_and_no_text_is_taken_for_a_number(
    tmp_path: Path, text: str, value: object
) -> None:
    (tmp_path / "p.yaml").write_text(f"value: {text}\n")
    found = read_params(tmp_path / "p.yaml")["value"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("run", [
    "1e5", "1.5e3", "010", "7", "1_000", "0x10", "1:30", "on", "no", "true", "null", "~", "2024-01-01", "<<", "=", ".inf", ".nan", "é",
    "a: b", "a #b", " a ", "'", '"', "-", "- a", "[", "C:\\runs\\new", "\udcff",
])  # fmt: skip
def test_any_text_survives_to_yaml_whatever_it_looks_like(tmp_path: Path, run: str) -> None:
    cfg = Config(run=run)
    (tmp_path / "params.yaml").write_text(cfg.to_yaml(), encoding="utf-8")
    assert load_config(tmp_path / "params.yaml") == cfg
    assert yaml.safe_load(cfg.to_yaml())["run"] == run


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"train": {"epoch": 3}}, r"train\.epoch: unknown key; did you mean epochs\?"),
        ({"trian": {}}, r"trian: unknown key; did you mean train\?"),
        ({"epochs": 3}, r"epochs: unknown key; did you mean train\.epochs\?"),
        ({"model": {"width": 3}}, r"model\.width: unknown key; did you mean model\.mde\.width or model\.stu\.width\?"),
        ({"train": {"zzz": 3}}, r"train\.zzz: unknown key; known here: init, init_head, epochs"),
        ({"train": {3: 3}}, r"train\.3: unknown key; known here"),
        ({"train": {"epochs": "many"}}, r"train\.epochs: found 'many' \(str\); expected int"),
        ({"train": {"epochs": "2"}}, r"train\.epochs: found '2' \(str\); expected int"),
        ({"train": {"epochs": 2.5}}, r"train\.epochs: found 2\.5 \(float\); expected int"),
        ({"train": {"epochs": 2.0}}, r"train\.epochs: found 2\.0 \(float\); expected int"),
        ({"train": {"epochs": True}}, r"train\.epochs: found True \(bool\); expected int"),
        ({"train": {"epochs": None}}, r"train\.epochs: found None \(NoneType\); expected int$"),
        ({"train": {"epochs": 0}}, r"train\.epochs: found 0; expected at least 1"),
        ({"train": {"lr": float("nan")}}, r"train\.lr: found nan; expected at least 0"),
        ({"train": {"lr": float("inf")}}, r"train\.lr: found inf; expected at least 0"),
        ({"train": {"lr": True}}, r"train\.lr: found True \(bool\); expected float"),
        ({"train": {"lr": "nan"}}, r"train\.lr: found 'nan' \(str\); expected float"),
        ({"train": {"lr": "1_0"}}, r"train\.lr: found '1_0' \(str\); expected float"),
        ({"train": {"lr": "010"}}, r"train\.lr: found '010' \(str\); expected float"),
        ({"train": {"lr_batch": 0}}, r"train\.lr_batch: found 0; expected at least 1"),
        ({"train": {"center_loss": 1}}, r"train\.center_loss: found 1 \(int\); expected bool, true or false"),
        ({"train": {"center_loss": "yes"}}, r"train\.center_loss: found 'yes' \(str\); expected bool, true or false"),
        ({"train": 3}, r"train: found 3; expected a mapping"),
        ({"train": None}, r"train: found None; expected a mapping"),
        ({"run": True}, r"run: found True \(bool\); expected str, so put it in quotes"),
        ({"model": {"dropout": 1.5}}, r"model\.dropout: found 1\.5; expected from 0\.0 to 0\.99"),
        (
            {"model": {"temporal": "hitag"}},
            r"model\.temporal: found 'hitag'; expected one of hitagu, tsn, tsm, gru; did you mean hitagu\?",
        ),
        ({"model": {"mde": {"difference_kernel": True}}}, r"difference_kernel: found True; expected one of 1, 3"),
        ({"model": {"attention": {"sca_kernel": 3.0}}}, r"sca_kernel: found 3\.0; expected one of 3, 5, 7"),
        ({"model": {"mde": {"taps": ["layer5"]}}}, r"model\.mde\.taps\[0\]: found 'layer5'; expected one of"),
        ({"model": {"mde": {"taps": "layer1"}}}, r"model\.mde\.taps: found 'layer1'; expected a list"),
        ({"model": {"backbone": {"cut": "layer2"}}}, r"model\.mde\.taps: found layer3, beyond model\.backbone\.cut"),
        ({"model": {"attention": {"tsa_width": 36}}}, r"tsa_width: found 36; expected a multiple of 2 x tsa_heads = 8"),
        ({"data": {"image_size": 300}}, r"data\.image_size: found 300; expected at most data\.short_side = 256"),
        ({"data": {"hflip_swaps": [["a"]]}}, r"data\.hflip_swaps\[0\]: found \['a'\]; expected a list of 2"),
        ({"data": {"hflip_swaps": [["a", "b", "c"]]}}, r"data\.hflip_swaps\[0\]: found .*; expected a list of 2"),
        ({"data": {"hflip_swaps": [["a", 3]]}}, r"data\.hflip_swaps\[0\]\[1\]: found 3 \(int\); expected str"),
    ],
)  # fmt: skip
def test_a_bad_key_or_value_is_named_with_what_was_expected(mapping: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(mapping)
    with pytest.raises(ConfigError, match=f"^a checkpoint: .*{message}"):
        Config.from_mapping(mapping, "a checkpoint")


def test_numbers_and_lists_become_what_the_field_holds() -> None:
    cfg = Config.from_mapping({"train": {"lr": "1e-3", "warmup_epochs": 5}, "data": {"hflip_swaps": [["a", "b"]]}})
    assert (cfg.train.lr, cfg.data.hflip_swaps) == (0.001, (("a", "b"),))
    assert "warmup_epochs: 5.0\n" in cfg.to_yaml()


def test_constructors_and_replace_are_checked_as_files_are() -> None:
    cfg = Config()
    with pytest.raises(ConfigError, match=r"^TrainConfig: epochs: found 0; expected at least 1$"):
        dataclasses.replace(cfg.train, epochs=0)
    with pytest.raises(
        ConfigError, match=r"^DataConfig: image_size: found 300; expected at most data\.short_side = 256"
    ):
        DataConfig(image_size=300)
    with pytest.raises(ConfigError, match=r"^MDEConfig: tap: unknown key; did you mean taps\?"):
        MDEConfig(tap=("layer1",))  # type: ignore[call-arg]
    with pytest.raises(
        ConfigError, match=r"^ModelConfig: mde\.taps: found layer2, beyond model\.backbone\.cut = layer1"
    ):
        dataclasses.replace(cfg.model, backbone=dataclasses.replace(cfg.model.backbone, cut="layer1"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.run = "other"  # type: ignore[misc]
    changed = dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, epochs=3))
    assert changed.train.epochs == 3 and changed.data is cfg.data
    assert dataclasses.asdict(changed)["train"]["epochs"] == 3 and changed != cfg
    assert pickle.loads(pickle.dumps(changed)) == copy.deepcopy(changed) == changed and hash(changed) != hash(cfg)


def test_type_checkers_see_the_fields() -> None:
    hints = typing.get_type_hints(TrainConfig)
    assert (hints["epochs"], hints["lr"], hints["lr_batch"]) == (int, float, int | None)


# Overrides


def test_overrides_read_lists_numbers_and_booleans() -> None:
    cfg = resolve({}, "train.lr=1e-3 train.center_loss=true 'model.mde.taps=[layer1, layer3]' data.classes=null")
    assert (cfg.train.lr, cfg.train.center_loss, cfg.model.mde.taps, cfg.data.classes) == (
        0.001,
        True,
        ("layer1", "layer3"),
        None,
    )


@pytest.mark.parametrize(
    ("overrides", "run"),
    [
        (r"run=runs\bs", r"runs\bs"),
        (r'run="C:\my runs\new\" train.seed=1', "C:\\my runs\\new\\"),
        ("run=outputs/it's", "outputs/it's"),
        ("train.seed=1 run=it's train.epochs=2 data.root=that's", "it's"),
        ('run="outputs/it\'s mine"', "outputs/it's mine"),
        ("'run=outputs/my run'", "outputs/my run"),
        ("run='outputs/my run'   train.seed=1", "outputs/my run"),
        ('run=a"b', 'a"b'),
        ("run=a=b", "a=b"),
        ("run=a:b#c", "a:b#c"),
        ('run="a: b #c"', "a: b #c"),
        ("run=[new]", "[new]"),
        *((f"run={text}", text) for text in ("010", "7", "1e5", "0x10", "1:30", "on", "true", "2024-01-01", "1_000", "é", "a,b", "*x")),
        *((f"run='{text}'", text) for text in ("010", "2024-01-01")),
        ("run=first run=second", "second"),
        (" \n run=a\n", "a"),
    ],
)  # fmt: skip
def test_text_in_overrides_is_kept_as_it_is(overrides: str, run: str) -> None:
    assert resolve({}, overrides).run == run


def test_overrides_with_spaces_in_lists_need_no_quotes() -> None:
    cfg = resolve(
        {}, 'data.hflip_swaps=[["turn left", "it\'s right"], [a, b]] model.mde.taps=[layer1, layer2] train.seed=3'
    )
    assert cfg.data.hflip_swaps == (("turn left", "it's right"), ("a", "b"))
    assert cfg.model.mde.taps == ("layer1", "layer2") and cfg.train.seed == 3
    assert resolve({}, """data.hflip_swaps='[["a b", "c"]]'""").data.hflip_swaps == (("a b", "c"),)


@pytest.mark.parametrize("text", ["", "null", "~"])
def test_overrides_can_take_a_value_away(text: str) -> None:
    mapping = {"data": {"classes": "a.txt"}, "train": {"lr_batch": 8}}
    cfg = resolve(mapping, f"data.classes={text} train.lr_batch={text}")
    assert cfg.data.classes is None and cfg.train.lr_batch is None
    with pytest.raises(ConfigError, match=r"overrides: run: found None \(NoneType\); expected str"):
        resolve({}, f"run={text}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("train.epochs", "found 'train.epochs'; expected key=value, such as train.epochs=2"),
        ("=3", "found '=3'; expected key=value"),
        ("train.epochs=[1", "train.epochs: found '[1'; expected a YAML value"),
        ("run=my run", "found 'run'; expected key=value, such as train.epochs=2, or with spaces run=\"outputs/my run\""),
        ('run="my run', "found 'run=\"my run'; expected key=value"),
        ("train.epochs = 2", "found 'train.epochs = 2'; expected key=value"),
        ("train.seed=010", "train.seed: found '010' (str); expected int"),
        ("train.seed=1_000", "train.seed: found '1_000' (str); expected int"),
        ("train.seed=0x10", "train.seed: found '0x10' (str); expected int"),
        ("train.seed=1:30", "train.seed: found '1:30' (str); expected int"),
        ("train.seed=2024-01-01", "train.seed: found '2024-01-01' (str); expected int"),
        ("train.lr=1_0.5", "train.lr: found '1_0.5' (str); expected float"),
        ("train.hflip=on", "train.hflip: unknown key; did you mean data.hflip?"),
        ("data.hflip=on", "data.hflip: found 'on' (str); expected bool, true or false"),
        ("train.epochs.x=3", "train.epochs: found {'x': 3} (dict); expected int"),
        ("train=3", "train: found 3; expected a mapping of keys"),
        ("base=params/k700.yaml", "base: unknown key; known here: run, data, model, train, eval"),
        ("train.seed=!!int 010", "train.seed: found '!!int'; expected a YAML value"),
        ("train.seed='!!int 010'", "train.seed: found '!!int 010'; expected a YAML value"),
    ],
)  # fmt: skip
def test_bad_overrides(overrides: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape('overrides: ' + message)}"):
        resolve({}, overrides)


# Parameters that papermill sets


def notebook(*cells: str) -> nbformat.NotebookNode:
    """A notebook whose first cell is the one that papermill's parameters come after."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell, metadata={"tags": []}) for cell in cells])
    nb.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nb.metadata.papermill = {}
    nb.cells[0].metadata.tags = ["parameters"]
    return nb


def run_to_first_cell(nb: nbformat.NotebookNode, parameters: dict[str, object]) -> dict[str, typing.Any]:
    """Execute a notebook, with papermill's parameters in it, up to the first cell that is not about these; return its globals."""
    namespace: dict[str, typing.Any] = {"In": [""]}
    for cell in parameterize_notebook(nb, parameters).cells:
        if cell.cell_type == "code":
            namespace["In"].append(cell.source)
            exec(cell.source, namespace)
            if not {"parameters", "injected-parameters"} & set(cell.metadata.tags):
                break
    return namespace


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", ["trian", "override", "epochs", "T"])
def test_every_chapter_stops_in_its_first_cell_at_a_parameter_it_does_not_know(chapter: Path, name: str) -> None:
    nb = load_notebook_node(str(chapter))
    takes = {
        "00_start_here": "checkpoint",
        "01_data": "shared",
        "03_train": "params, overrides, base",
        "05_attention_maps": "run, memory_run, own_run",
        "06_ablations": "live",
        "07_your_own_videos": "videos, out, group, overrides",
        "09_reproduction": "runs",
    }
    nearest = {
        ("03_train", "trian"): "did you mean train?",
        ("03_train", "override"): "did you mean overrides?",
        ("07_your_own_videos", "override"): "did you mean overrides?",
    }
    if "overrides" in takes.get(chapter.stem, ""):
        nearest[chapter.stem, "epochs"] = 'did you mean -p overrides "train.epochs=..."?'
    hint = nearest.get((chapter.stem, name), f"this chapter takes {takes.get(chapter.stem, 'none')}")
    message = f"papermill's -p or -f: {name}: unknown parameter; {hint}"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        run_to_first_cell(nb, {name: {"lr": 1}})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"overrides": "train.epoch=2"}, r"train\.epoch: unknown key; did you mean epochs\?"),
        ({"train": {"lr": "fast"}}, r"train\.lr: found 'fast' \(str\); expected float"),
        ({"base": "params/k700.yaml"}, r"data\.root: data/k700/frames: no such folder"),
        ({"base": "params/nini.yaml"}, r"no such params file .*did you mean params/mini\.yaml\?"),
    ],
    ids=["unknown key", "wrong type", "missing path", "missing file"],
)
def test_bad_parameters_stop_chapter_3_in_its_first_cell(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_to_first_cell(load_notebook_node(str(ROOT / "book" / "03_train.ipynb")), parameters)


@pytest.mark.parametrize(
    ("chapter", "parameters"),
    [
        ("03_train", {"params": "x.yaml", "overrides": "x=1"} | dict.fromkeys(["base", "run", "data", "model", "train", "eval"])),
        ("07_your_own_videos", dict.fromkeys(["videos", "out", "group", "overrides"], "x")),
    ],
)  # fmt: skip
def test_papermill_knows_the_parameters_of_a_chapter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, chapter: str, parameters: dict[str, object]
) -> None:
    """It would call them unknown where a comment of the parameters' cell holds an equals sign."""
    file = ROOT / "book" / f"{chapter}.ipynb"
    with caplog.at_level(logging.WARNING):
        papermill.execute_notebook(file, tmp_path / "out.ipynb", {**parameters, "other": 1}, prepare_only=True)
    assert [record.getMessage() for record in caplog.records] == ["Passed unknown parameter: other"]


CELLS = (
    'params, overrides = "params/smoke.yaml", ""\nbase = run = data = model = train = eval = None',
    "from hitagu_lib.config import notebook_config\ncfg = notebook_config(globals())\nprint(cfg.to_yaml())",
)


@pytest.mark.slow
def test_papermill_itself_stops_at_a_mistyped_parameter_and_passes_the_right_ones_on(tmp_path: Path) -> None:
    nbformat.write(notebook(*CELLS, "print('reached')"), tmp_path / "chapter.ipynb")

    def run(**parameters: object) -> str:
        papermill.execute_notebook(
            tmp_path / "chapter.ipynb", tmp_path / "out.ipynb", parameters, cwd=str(ROOT), progress_bar=False
        )
        cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
        return "".join(output.get("text", "") for cell in cells for output in cell.outputs)

    with pytest.raises(papermill.PapermillExecutionError, match=r"trian: unknown parameter; did you mean train\?"):
        run(trian={"lr": 1}, overrides="train.epochs=2")
    text = run(train={"lr": "1e-3"}, overrides=r"run=runs\bs train.epochs=2")
    cfg = resolve({"base": "params/smoke.yaml", "train": {"lr": 1e-3, "epochs": 2}, "run": r"runs\bs"})
    assert text == f"{cfg.to_yaml()}\nreached\n"


@pytest.mark.parametrize(
    ("parameters", "same"),
    [
        ({}, "params/smoke.yaml"),
        ({"params": "params/own.yaml"}, "params/own.yaml"),
        *((yaml.safe_load((ROOT / file).read_text(encoding="utf-8")), file) for file in ("params/k700.yaml", "params/hard.yaml")),
    ],
    ids=["default", "params", "a file that stands alone", "a file with a base"],
)  # fmt: skip
def test_a_chapters_config_is_that_of_its_params_file_or_of_the_file_given_by_f(
    parameters: dict[str, object], same: str
) -> None:
    namespace = run_to_first_cell(notebook(*CELLS), {**parameters, "overrides": "train.seed=3"})
    assert namespace["cfg"] == load_config(same, "train.seed=3")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"params": "params/mini.yaml", "base": None}, "papermill: found both params and base; expected one"),
        ({"overrides": 3}, r"overrides: found 3 \(int\); expected text of key=value"),
        ({"overrides": "train.epoch=3"}, r"overrides: train\.epoch: unknown key; did you mean epochs\?"),
        ({"params": "params/mimi.yaml"}, r"params/mimi\.yaml: no such params file .*did you mean params/mini\.yaml\?"),
        ({"params": 3}, r"params: found 3 \(int\); expected the path of a params file"),
        ({"train": {"epoch": 3}}, r"the notebook: train\.epoch: unknown key; did you mean epochs\?"),
        ({"eval": None}, "the notebook: eval: found None; expected a mapping of keys"),
    ],
    ids=str,
)  # fmt: skip
def test_parameters_that_are_known_but_wrong(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        run_to_first_cell(notebook(*CELLS), parameters)


def test_names_that_cells_define_are_not_taken_for_papermills() -> None:
    """In JupyterLab the first cell runs again after later ones, and people write into the parameters' cell."""
    injected = "# Parameters\nvideos = 'a'\nPAPERMILL_OUTPUT_PATH = 'out.ipynb'\n"
    later = [
        "",
        "videos = None\nout = None",
        "other = 3",
        "# Parameters of the drawing\nwidth = 3",
        "def f(x):\n    y = x\n",
    ]
    namespace = {"In": later, "other": 3, "f": len}
    assert check_parameters(namespace, "videos", "out") == []
    namespace["In"] = [*later, injected, *later]
    assert check_parameters(namespace, "videos", "out") == ["videos"]
    with pytest.raises(ConfigError, match="videos: unknown parameter; this chapter takes out"):
        check_parameters(namespace, "out")
    assert check_parameters({}, "videos") == [], "outside Jupyter there are no cells"
    assert notebook_config({"params": "params/mini.yaml", "overrides": ""}) == load_config("params/mini.yaml")
