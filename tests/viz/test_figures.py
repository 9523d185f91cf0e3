"""Figures and live displays show the numbers they were given."""

import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")

from hitagu_lib.viz import figures, live

METRICS = [
    {
        "epoch": 0,
        "train_loss": 2.0,
        "train_cross_entropy": 1.5,
        "train_center": 5.0,
        "train_top1": 0.25,
        "clips_per_second": 40.0,
        "seconds": 9.0,
    },
    {
        "epoch": 1,
        "train_loss": 1.0,
        "train_cross_entropy": 0.5,
        "train_center": 5.0,
        "train_top1": 0.5,
        "val_top1": 0.75,
    }
    | {"clips_per_second": 41.0, "seconds": 18.4},
]


def test_training_curves_show_each_term_and_both_accuracies() -> None:
    left, right = figures.training_curves(METRICS, 4).axes
    shown = {line.get_label(): list(line.get_ydata()) for line in left.lines}
    assert shown == {"cross-entropy": [1.5, 0.5], "center": [5.0, 5.0], "their weighted sum": [2.0, 1.0]}
    of_prefixes = [line | {"train_prefix": 0.7} for line in METRICS]
    labels = [line.get_label() for line in figures.training_curves(of_prefixes, 4).axes[0].lines]
    assert labels == ["cross-entropy", "center", "prefix", "their weighted sum"]
    training, validation = right.lines
    assert list(training.get_ydata()) == [25, 50]
    assert (list(validation.get_xdata()), list(validation.get_ydata())) == ([2], [75])
    assert right.get_xlim()[1] == pytest.approx(4.5), "the axis shows how far there is to go"
    assert all(tick == int(tick) for tick in right.get_xticks())


def test_order_bars_show_what_the_summary_holds_and_nothing_else() -> None:
    (ax,) = figures.order_bars({"val_top1": 0.97, "val_top1_shuffled": 0.4}).axes
    assert [round(bar.get_width()) for bar in ax.patches] == [97, 40]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["in order", "shuffled"]


def test_confusion_is_in_percent_of_the_true_class_in_the_order_asked_for() -> None:
    labels, predicted = torch.tensor([0, 0, 0, 0, 1, 2]), torch.tensor([0, 0, 0, 2, 1, 2])
    (ax,) = figures.confusion(labels, predicted, ["a", "b", "c"], [0, 2, 1]).axes
    assert [t.get_text() for t in ax.texts] == ["75", "25", "", "", "100", "", "", "", "100"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a  1", "c  2", "b  3"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "3"]


def test_confusion_keeps_long_labels_apart() -> None:
    pair = [f"Moving something and something {end}" for end in ("closer to each other", "away from each other")]
    (ax,) = figures.confusion(torch.tensor([0, 1]), torch.tensor([0, 1]), pair).axes
    shown = [" ".join(t.get_text().split()) for t in ax.get_yticklabels()]
    assert shown == [f"{pair[0]} 1", f"{pair[1]} 2"]


def test_clip_rows_show_every_frame_and_its_time() -> None:
    clips = [torch.zeros(3, 3, 8, 8, dtype=torch.uint8), torch.full((3, 3, 8, 8), 255, dtype=torch.uint8)]
    figure = figures.clip_rows(clips, ["first", "second"], [torch.tensor([0.0, 1.5, 2]), torch.tensor([0.0, 1, 2])])
    assert len(figure.axes) == 6
    assert [ax.get_xlabel() for ax in figure.axes[:3]] == ["t = 0.0", "t = 1.5", "t = 2.0"]
    assert [row.get_suptitle() for row in figure.subfigs] == ["first", "second"]
    assert float(figure.axes[4].images[0].get_array().min()) == 255


def test_unwatched_training_prints_a_line_an_epoch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.delenv("VSCODE_PID", raising=False)
    curves = live.LiveCurves(total_epochs=4)
    curves(METRICS[:1])
    curves(METRICS)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/4: loss 2.000, top-1 25.0%, 40 clips/s, 9 s",
        "epoch 2/4: loss 1.000, top-1 50.0%, validation 75.0%, 41 clips/s, 18 s",
    ]


def test_a_resumed_run_also_shows_its_earlier_epochs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.delenv("VSCODE_PID", raising=False)
    live.LiveCurves(total_epochs=4)(METRICS)
    assert [line[:9] for line in capsys.readouterr().out.splitlines()] == ["epoch 1/4", "epoch 2/4"]


def test_a_finished_run_whose_metrics_are_gone_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "watched")
    live.LiveCurves(total_epochs=4)([])


def test_watched_training_redraws_one_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "book/03_train.ipynb")
    shown = []

    class Handle:
        def update(self, figure: object) -> None:
            shown.append(("update", figure))

    def display(figure: object, display_id: bool) -> Handle:
        shown.append(("display", figure))
        return Handle()

    monkeypatch.setattr(live, "display", display)
    curves = live.LiveCurves(total_epochs=4)
    for _ in range(3):
        curves(METRICS)
    assert [what for what, _ in shown] == ["display", "update", "update"]
