"""Clips from lists are the same with any number of workers; labels follow the mirror; no clip is silently replaced."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from hitagu_lib.config import Config
from hitagu_lib.data.dataset import ClipDataset, swap_table
from hitagu_lib.data.loader import Batch, EpochSampler, collate, make_loader
from hitagu_lib.data.source import check_paths, open_lists
from hitagu_lib.errors import ClipError, ConfigError, ListError
from hitagu_lib.evaluation.metrics import accuracies
from hitagu_lib.evaluation.scores import Scores
from hitagu_lib.training.trainer import fit


def with_data(cfg: Config, **changes: object) -> Config:
    return dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, **changes))


def epoch_of(cfg: Config, epoch: int = 0) -> list[Batch]:
    dataset = ClipDataset(open_lists(cfg.data)[0], cfg.data, train=True, seed=5)
    loader = make_loader(dataset, 8, shuffle=True)
    loader.sampler.set_epoch(epoch)
    return list(loader)


def rows_of(batches: Sequence[Batch]) -> list[int]:
    return [row for batch in batches for row in batch["row"].tolist()]


@pytest.mark.slow
def test_batches_have_the_stated_shapes_and_types(tiny_cfg: Config) -> None:
    batch = epoch_of(tiny_cfg)[0]
    assert batch["frames"].shape == (8, 3, 3, 32, 32) and batch["frames"].dtype == torch.uint8
    assert batch["t"].shape == (8, 3) and batch["t"].dtype == torch.float32
    assert (batch["t"].diff(dim=1) >= 0).all()
    assert batch["label"].dtype == torch.int64 and batch["bad"] == []


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_clips(tiny_cfg: Config) -> None:
    alone, three = epoch_of(tiny_cfg), epoch_of(with_data(tiny_cfg, workers=3))
    for a, b in zip(alone, three, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in ("frames", "t", "label", "row"))


def test_epochs_differ_in_order_and_in_crops(tiny_cfg: Config) -> None:
    first, second = epoch_of(tiny_cfg, 0), epoch_of(tiny_cfg, 1)
    assert rows_of(first) != rows_of(second)
    dataset = ClipDataset(open_lists(tiny_cfg.data)[0], tiny_cfg.data, train=True)
    assert not torch.equal(dataset[0, 0][0], dataset[1, 0][0])
    assert torch.equal(dataset[0, 0][0], dataset[0, 0][0])


def test_validation_reads_the_whole_list_in_order_and_never_changes(tiny_cfg: Config) -> None:
    clips = open_lists(tiny_cfg.data)[1]
    dataset = ClipDataset(clips, tiny_cfg.data, train=False)
    batches = list(make_loader(dataset, 5, shuffle=False))
    assert rows_of(batches) == list(range(len(clips)))
    assert torch.equal(dataset[0, 3][0], dataset[7, 3][0])
    assert [int(y) for b in batches for y in b["label"]] == clips.labels.tolist()


def test_a_mirrored_clip_takes_the_mirrored_label(tiny_cfg: Config) -> None:
    """Half the clips of a class with a left and a right get the other label: exactly the mirrored ones."""
    clips = open_lists(tiny_cfg.data)[0]
    flipped = ClipDataset(clips, tiny_cfg.data, train=True)
    plain = ClipDataset(clips, dataclasses.replace(tiny_cfg.data, hflip=False), train=True)
    left = clips.classes.index("Pushing something from left to right")
    right = clips.classes.index("Pushing something from right to left")
    row = clips.labels.tolist().index(left)
    seen = set()
    for epoch in range(40):
        (frames, _, label, _), (unflipped, _, same, _) = flipped[epoch, row], plain[epoch, row]
        assert same == left
        assert torch.equal(frames, unflipped.flip(-1) if label == right else unflipped)
        seen.add(label)
    assert seen == {left, right}


def test_half_of_the_clips_are_upside_down_and_keep_their_label(tiny_cfg: Config) -> None:
    clips = open_lists(tiny_cfg.data)[0]
    still = dataclasses.replace(tiny_cfg.data, hflip=False)
    turned, plain = (ClipDataset(clips, dataclasses.replace(still, vflip=vflip), train=True) for vflip in (True, False))
    kept = []
    for epoch in range(30):
        (frames, _, label, _), (upright, _, same, _) = turned[epoch, 0], plain[epoch, 0]
        kept.append(torch.equal(frames, upright))
        assert label == same and (kept[-1] or torch.equal(frames, upright.flip(-2)))
    assert 8 < sum(kept) < 22
    seen = ClipDataset(clips, dataclasses.replace(still, vflip=True), train=False)
    assert torch.equal(seen[0, 0][0], ClipDataset(clips, still, train=False)[0, 0][0]), "validation turns none"


def test_stretched_times_are_the_same_clips_further_apart(tiny_cfg: Config) -> None:
    clips = open_lists(tiny_cfg.data)[0]
    plain, stretched = (
        ClipDataset(clips, dataclasses.replace(tiny_cfg.data, time_stretch=stretch), train=True)
        for stretch in (1.0, 4.0)
    )
    factors = []
    for epoch in range(40):
        (frames, t, label, _), (same, later, as_before, _) = plain[epoch, 0], stretched[epoch, 0]
        assert torch.equal(frames, same) and label == as_before and later.dtype == torch.float32
        factor = float(later[-1] / t[-1])
        torch.testing.assert_close(later, factor * t)
        factors.append(factor)
    # Drawn evenly on a logarithmic scale: as many below 2 as above.
    assert 1 <= min(factors) < 1.3 and 3 < max(factors) <= 4 and 12 < sum(factor < 2 for factor in factors) < 28
    valid = ClipDataset(clips, dataclasses.replace(tiny_cfg.data, time_stretch=4.0), train=False)
    assert torch.equal(valid[0, 0][1], ClipDataset(clips, tiny_cfg.data, train=False)[0, 0][1])


def test_classes_without_a_left_and_a_right_keep_their_label(tiny_cfg: Config) -> None:
    clips = open_lists(tiny_cfg.data)[0]
    dataset = ClipDataset(clips, tiny_cfg.data, train=True)
    row = clips.labels.tolist().index(clips.classes.index("Moving something up"))
    assert {dataset[epoch, row][2] for epoch in range(20)} == {int(clips.labels[row])}


def test_params_and_generator_agree_on_mirrors_and_reverses(tiny_cfg: Config) -> None:
    from hitagu_lib.prepare.synthetic.make import CLASSES, HFLIP, PARTNER

    assert open_lists(tiny_cfg.data)[0].classes == CLASSES
    assert swap_table(CLASSES, tiny_cfg.data.hflip_swaps, "data.hflip_swaps").tolist() == list(HFLIP)
    assert swap_table(CLASSES, tiny_cfg.data.reverse_swaps, "data.reverse_swaps").tolist() == list(PARTNER)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("a", "x")], "found 'x'; expected one of the 3 labels"),
        ([("y", "b")], "found 'y'; expected"),
        ([("a", "b"), ("c", "a")], "found 'a' in two pairs"),
    ],
)
def test_impossible_pairs_of_labels_are_refused(pairs: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(ConfigError, match=f"some.key: {message}"):
        swap_table(("a", "b", "c"), pairs, "some.key")


@pytest.fixture
def damaged(tiny_cfg: Config, tmp_path: Path) -> Config:
    """The tiny data, with the frames of one training clip emptied."""
    root = tmp_path / "frames"
    shutil.copytree(tiny_cfg.data.root, root)
    cfg = with_data(tiny_cfg, root=str(root))
    for frame in open_lists(cfg.data)[0].frames_dir(4).glob("*.jpg"):
        frame.write_bytes(b"")
    return cfg


# After an error torch waits five seconds for each loader process to end.
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_clip_that_cannot_be_read_stops_with_its_line(damaged: Config, workers: int) -> None:
    with pytest.raises(ClipError, match=r"train\.csv:5: .*\.jpg: found 0 bytes.*data\.on_bad_clip=skip"):
        epoch_of(with_data(damaged, workers=workers))


@pytest.mark.slow
def test_a_clip_that_cannot_be_read_is_skipped_and_named(damaged: Config) -> None:
    batches = epoch_of(with_data(damaged, on_bad_clip="skip"))
    assert 4 not in rows_of(batches)
    (message,) = [bad for batch in batches for bad in batch["bad"]]
    assert "train.csv:5:" in message and "found 0 bytes" in message
    assert len(rows_of(batches)) == 8 * len(batches) - 1


def test_a_batch_of_nothing_but_bad_clips_is_empty_and_names_them() -> None:
    batch = collate(["list.csv:1: gone", "list.csv:2: gone"])
    assert batch["bad"] == ["list.csv:1: gone", "list.csv:2: gone"]
    assert [len(batch[key]) for key in ("frames", "t", "label", "row")] == [0, 0, 0, 0]


def test_missing_paths_are_answered_with_the_nearest_name(tiny_cfg: Config) -> None:
    cfg = with_data(tiny_cfg, prepare=None)
    check_paths(cfg.data)
    wrong = str(Path(cfg.data.train_list).with_name("trian.csv"))
    with pytest.raises(
        ConfigError, match=r"data\.train_list: .*trian\.csv: no such file .*; did you mean .*train\.csv\?"
    ):
        check_paths(with_data(cfg, train_list=wrong).data)
    with pytest.raises(ConfigError, match=r"data\.root: .*: no such folder"):
        check_paths(with_data(cfg, root="no/such/place").data)


def test_one_class_alone_is_refused_before_training_begins(tiny_cfg: Config, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("waving\n")
    (tmp_path / "train.csv").write_text("a,0,9\n")
    lists = {"train_list": str(tmp_path / "train.csv"), "val_list": str(tmp_path / "train.csv"), "prepare": None}
    cfg = with_data(tiny_cfg, classes=None, **lists)
    message = (
        r"classes\.txt: found one class, 'waving'; expected at least two to tell apart: add clips of another class"
    )
    with pytest.raises(ListError, match=message):
        open_lists(cfg.data)
    with pytest.raises(ListError, match=message):
        fit(cfg, progress=False)
    assert not list((Path(cfg.run) / "checkpoints").glob("*"))


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_top_5_of_fewer_than_5_classes_is_everything(classes: int) -> None:
    labels = torch.arange(12) % classes
    scores = Scores(torch.arange(12), labels, torch.randn(12, classes, generator=torch.Generator().manual_seed(0)))
    found = accuracies(scores, np.arange(classes), resamples=20)
    assert found["top5"] == 1.0 and found["intervals"]["top5"] == [1.0, 1.0] and found["top1"] < 1


def keys_of(
    num_clips: int, batch_size: int, processes: int, shuffle: bool, accumulate: int = 1
) -> list[list[tuple[int, int]]]:
    share = {"shuffle": shuffle, "seed": 1, "processes": processes, "accumulate": accumulate}
    samplers = [EpochSampler(num_clips, batch_size, process=p, **share) for p in range(processes)]
    assert {s.steps for s in samplers} == {max(1, num_clips // (batch_size * processes * accumulate))}
    for sampler in samplers:
        sampler.set_epoch(3)
    assert all(len(list(s)) == len(s) for s in samplers)
    return [list(sampler) for sampler in samplers]


def test_training_visits_each_clip_once_per_epoch_except_for_the_last_smaller_batch() -> None:
    (keys,) = keys_of(22, 4, 1, shuffle=True)
    assert {epoch for epoch, _ in keys} == {3}
    rows = [row for _, row in keys]
    assert len(rows) == len(set(rows)) == 20


def test_a_list_smaller_than_a_batch_is_still_trained_on() -> None:
    assert sorted(row for _, row in keys_of(3, 8, 1, shuffle=True)[0]) == [0, 1, 2]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_list_smaller_than_a_step_is_dealt_out_whole_and_a_process_may_get_none(processes: int) -> None:
    shares = keys_of(3, 8, processes, shuffle=True, accumulate=2)
    assert sorted(row for share in shares for _, row in share) == [0, 1, 2]
    assert [] in shares or processes < 4


def test_an_epoch_goes_on_after_the_steps_that_were_taken() -> None:
    sampler = EpochSampler(48, 4, shuffle=True, seed=1, accumulate=3)
    sampler.set_epoch(2)
    whole = list(sampler)
    for steps in (1, 2):
        sampler.set_epoch(2, start=steps)
        assert list(sampler) == whole[steps * 12 :]


@pytest.mark.parametrize(("processes", "accumulate"), [(2, 1), (4, 1), (1, 4), (2, 2), (2, 4)])
def test_the_same_batches_in_the_same_order_however_a_step_is_split(processes: int, accumulate: int) -> None:
    (alone,) = keys_of(50, 8, 1, shuffle=True)
    size = 8 // (processes * accumulate)
    shares = keys_of(50, size, processes, shuffle=True, accumulate=accumulate)
    turns = range(0, len(shares[0]), size)
    assert [key for turn in turns for share in shares for key in share[turn : turn + size]] == alone


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_evaluation_visits_every_clip_exactly_once_with_uneven_shares(processes: int) -> None:
    rows = [row for share in keys_of(20, 4, processes, shuffle=False) for _, row in share]
    assert sorted(rows) == list(range(20))


class _Gone(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 1

    def __getitem__(self, row: int) -> None:
        raise ClipError("list.csv:3: clips/a: missing\nexpected 000001.jpg in it")


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_loader_process_s_error_reads_as_in_one_process(workers: int) -> None:
    with pytest.raises(ClipError) as caught:
        next(iter(torch.utils.data.DataLoader(_Gone(), num_workers=workers)))
    assert str(caught.value) == "list.csv:3: clips/a: missing\nexpected 000001.jpg in it"
