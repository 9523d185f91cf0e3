# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,mystnb,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 Training
#
# **Result.** After four epochs on the mini data, HiTAGU-Net names 99.8 % of the validation clips (one seed, stored below). Three other runs,
# each on one thread, reach 99.2 ± 0.4 % ([chapter 6](06_ablations.ipynb)). It uses the order of the frames: with frames shuffled, it falls below
# one half. TSN, which cannot see order, reaches 36.4 % in four epochs and 44.1 ± 3.0 % in eight.
#
# This notebook is also the entry point for training on every dataset, from mini on a laptop to Kinetics-700 on GPUs:
# ```bash
# mkdir -p outputs/mini outputs/k700 outputs/quick  # papermill makes no folders
# papermill book/03_train.ipynb outputs/mini/03_train.ipynb                        # mini, the default
# papermill book/03_train.ipynb outputs/k700/03_train.ipynb -f params/k700.yaml    # Kinetics-700
# papermill book/03_train.ipynb outputs/quick/03_train.ipynb -p overrides "run=outputs/quick train.epochs=2"
# ```
# **You will be able to** write a training loop and say what `fit()` adds to it; train from a params file and change single values; read a
# run's folder; resume after an interruption; and measure how much of a model's accuracy depends on the *order* of the frames.
#
# **Prerequisites**: basic PyTorch. **Time** with the mini data on two CPU cores: three to twelve minutes, a third of them for the baseline; not
# measured on a GPU yet. **Memory**: 2 GiB.

# %% [markdown]
# > **Given, and ours.** We were given the pipeline (truncated ResNet-50, MDE, 3STU, Temporal Self-Attention with Spatial Channel Attention,
# > classifier), the two optional losses with their weights, and training on single clips. The equations are our reconstruction; the schedule
# > and the mini data are ours. No result of the original work is claimed.
#
# ## Parameters
#
# papermill inserts your values in a cell after the next one. There are three ways, and most readers need the first two:
#
# - `-p overrides "train.epochs=2"` changes single values, on top of everything else.
# - `-f params/k700.yaml` takes a params file. Its keys replace those of the file that it names as `base`. Without a `base` they replace those
#   of `params`; with `base: null` they stand alone.
# - `-p params FILE` names another file to start from.

# %% tags=["parameters"]
params = "params/mini.yaml"  # the params file
# Single values on top of it, such as "train.epochs=2 train.lr=0.01":
overrides = ""
# The keys of a params file, which papermill's -f sets:
base = None
run = None
data = None
model = None
train = None
eval = None

# %% [markdown]
# The next cell checks every key before any training: an unknown key, a wrong type, a value out of range or a missing path stops the notebook.

# %% tags=["hide-input"]
import os
from collections import Counter

from accelerate import Accelerator
from IPython.display import Markdown, display

from hitagu_lib import build_model
from hitagu_lib.training import trainer as training
from hitagu_lib.config import notebook_config
from hitagu_lib.data.dataset import ClipDataset, swap_table
from hitagu_lib.prepare.synthetic.make import prepare_data
from hitagu_lib.data.loader import make_loader
from hitagu_lib.data.source import check_paths, open_lists
from hitagu_lib.evaluation.scores import score_clips
from hitagu_lib.models.cost import model_cost
from hitagu_lib.inference.predict import load_model
from hitagu_lib.runs.provenance import source_of
from hitagu_lib.runs.run_dir import read_metrics
from hitagu_lib.files import project_root
from hitagu_lib.viz.style import credit
from hitagu_lib.viz.figures import (
    clip_rows,
    confusion,
    order_bars,
    result_figure,
    training_curves,
)
from hitagu_lib.viz.live import LiveCurves, watched

# so that relative paths mean the same from JupyterLab, papermill and nbval
os.chdir(project_root())
cfg = notebook_config(globals())
check_paths(cfg.data)

# %% tags=["hide-input"]
display(
    Markdown(
        "<details><summary>The resolved parameters, as written to the "
        f"run's folder</summary>\n\n```yaml\n{cfg.to_yaml()}```\n\n</details>"
    )
)

# %% [markdown]
# ## Data
#
# With `data.prepare: mini`, the next cell makes the mini data if it is missing: short synthetic videos, encoded to MP4, then extracted to JPEG
# frames. Each class has a partner that is the same event backwards, so no unordered set of frames can tell the two apart.

# %% tags=["nbval-ignore-output", "progress"]
prepare_data(cfg.data, progress=watched())

# %%
train_clips, val_clips = open_lists(cfg.data)
classes = train_clips.classes
for name, clips in (("training", train_clips), ("validation", val_clips)):
    labels, lengths = set(clips.labels.tolist()), clips.num_frames
    print(f"{name}: {len(clips)} clips of {len(labels)} classes,", end=" ")
    print(f"{lengths.min()} to {lengths.max()} frames")

# %% [markdown]
# Four training clips as the network sees them: cropped, perhaps mirrored, one frame from each of T equal segments. Below each frame is its time
# t in reference strides.

# %% mystnb={"image": {"alt": "Four training clips, one per row, eight frames each from left to right, with the time of each frame in reference strides below it."}} tags=["hide-input"]
dataset = ClipDataset(
    train_clips, cfg.data, train=True, seed=cfg.train.seed
)
shown = [
    dataset[0, row]
    for row in range(0, len(dataset), max(1, len(dataset) // 4))
][:4]
figure = clip_rows(
    [frames for frames, *_ in shown],
    [classes[label] for _, _, label, _ in shown],
    [t for _, t, *_ in shown],
)

# %% [markdown]
# ## A training loop
#
# Predict, measure the loss, follow its gradient downhill, repeat. One epoch takes every clip once, in random order.

# %%
import torch
import torch.nn.functional as F

from hitagu_lib.data.frames import normalise

device = "cuda" if torch.cuda.is_available() else "cpu"


def one_epoch(model, loader, optimizer):
    """Train on every clip once; return the loss of each step."""
    losses = []
    model.train()
    for batch in loader:
        # uint8 -> float (B, T, 3, S, S)
        frames = normalise(batch["frames"].to(device))
        logits = model(frames, batch["t"].to(device))  # (B, classes)
        loss = F.cross_entropy(logits, batch["label"].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if len(losses) % 15 == 0:
            mean = sum(losses[-15:]) / 15
            print(f"step {len(losses)}: loss {mean:.2f}", flush=True)
    return losses


# %% [markdown]
# Here it trains the recipe's network for one epoch. Only mini shows this; other recipes skip it.

# %% tags=["nbval-ignore-output", "trained"]
losses = []
if cfg.data.prepare == "mini":
    torch.manual_seed(cfg.train.seed)
    plain = build_model(cfg.model, len(classes)).to(device)
    losses = one_epoch(
        plain,
        make_loader(dataset, cfg.train.batch_size, shuffle=True),
        # below the recipe's rate, which needs its warm-up
        torch.optim.AdamW(plain.parameters(), lr=2e-3),
    )

# %% mystnb={"image": {"alt": "Training loss over the steps of one epoch: it starts at the dashed line of guessing, ln 14, and ends well below it."}} tags=["hide-input"]
import math

import pandas as pd

from hitagu_lib.viz.style import new_figure

if losses:
    guessing = math.log(len(classes))
    steps = pd.Series(losses, range(1, len(losses) + 1))
    mean = steps.rolling(15, min_periods=1).mean()
    figure, ax = new_figure(2.6)
    ax.plot(steps, color="0.75", label="one batch")
    ax.plot(mean, label="mean of the last 15")
    ax.axhline(guessing, color="0.3", linestyle="--", linewidth=1)
    label = f"guessing: ln {len(classes)}"
    ax.text(len(losses), guessing, label, ha="right", va="bottom")
    ax.set(xlabel="step", ylabel="training loss", ylim=(0, None))
    ax.legend(loc="lower left")
    ended = "below" if mean.iloc[-1] < guessing else "NOT below"
    print(f"The epoch ends {ended} the loss of guessing.")

# %% [markdown]
# ## What `fit()` adds
#
# `fit()` is the same loop with what a long run needs. Each name is followed by a link to its code.

# %% tags=["hide-input", "nbval-ignore-output", "text"]
import inspect
from pathlib import Path

from hitagu_lib.models.losses import TotalLoss
from hitagu_lib.training.learner import Learner


def source_link(thing):
    """Name an object of the library, with a link to its first line."""
    file = Path(os.path.relpath(inspect.getsourcefile(thing)))
    line = inspect.getsourcelines(thing)[1]
    link = f"[{file.as_posix()}:{line}](../{file.as_posix()}#L{line})"
    return f"`{thing.__qualname__}`, {link}"


rows = {
    ("`for batch in loader`", make_loader): (
        "the same clips in each step, however many workers and "
        "processes read them; unreadable clips named or skipped"
    ),
    ("`F.cross_entropy`", TotalLoss): (
        "label smoothing; optionally center loss and temporal consistency"
    ),
    ("`zero_grad()` to `step()`", Learner.step): (
        "clips backwards too; mixed precision; accumulation; several "
        "processes; gradient clipping; learning-rate schedule; averaged "
        "weights; an error for a loss that is not a number"
    ),
    ("`one_epoch`", training.fit): (
        "all epochs, validation, logs, checkpoints to resume from"
    ),
    ("", training.train): (
        "makes the data, starts the processes, runs `fit`, then trains "
        "the baseline"
    ),
}
display(
    Markdown(
        "| in the loop | in the library | adds |\n|---|---|---|\n"
        + "\n".join(
            f"| {line} | {source_link(thing)} | {adds} |"
            for (line, thing), adds in rows.items()
        )
    )
)

# %% [markdown]
# ### The optimiser and its rate
#
# The recipes for small data use AdamW. It divides each weight's step by a running estimate of how large its gradients are, so one learning rate serves all weights.
# Its weight decay (`train.weight_decay`) also pulls matrices and kernels towards zero, but not biases and norms. The rate starts low, as the
# first estimates are rough and fresh modules give large gradients; it ends at zero, so that the last steps no longer throw the weights
# about. With $w$ steps of warm-up, $S$ steps in all and the peak $\eta$ (`train.lr`), step $s = 0, 1, \dots$ has the rate
#
# $$\eta_s = \eta\, \frac{s + 1}{w + 1}, \qquad s < w \tag{3.1}$$
#
# $$\eta_s = \frac{\eta}{2} \Big(1 + \cos \pi \frac{s - w}{S - w}\Big), \qquad s \ge w \tag{3.2}$$
#
# The fall (3.2) is half a cosine, from SGDR (Loshchilov and Hutter 2017), without its restarts. If all gradients together are longer than `train.clip_norm`, they
# are shortened to it, so one odd batch cannot do much harm. On request `train.ema` also keeps a running average of the weights, and scores with it.
#
# ### Three lists
#
# *Training* clips fit the weights. *Validation* clips choose what training does not fit: rate, epochs, a module. Whoever chooses by them makes their
# score too high, the more so the more choices there are. So a third list, *test*, is read once, at the very end. `hitagu split --table` makes
# all three of your own videos ([chapter 7](07_your_own_videos.ipynb)). In this book the lists that choose are also the ones that we report,
# as papers on Kinetics and Something-Something do, so our own network's numbers lean upwards. One set was drawn anew to see by how much
# ([chapter 6](06_ablations.ipynb), *Is the memory needed?*).
#
# ## Model
#
# Parameters and multiply-adds for one clip, by module:

# %% tags=["hide-input"]
costs = model_cost(
    build_model(cfg.model, len(classes)),
    cfg.data.num_frames,
    cfg.data.image_size,
)
rows = [
    f"| {name} | {cost.params_millions:.3f} | {cost.gflops:.3f} |"
    for name, cost in costs.items()
]
display(
    Markdown(
        "\n".join(
            [
                "| module | parameters (M) | GFLOPs (multiply-adds) |",
                "|---|---:|---:|",
                *rows,
            ]
        )
    )
)

# %% [markdown]
# ## The run
#
# One call trains the model, then the baseline, which takes half as long. After an interruption, run the cell again: a stopped run continues at
# its next step, a killed one from its last checkpoint, and a finished one is only read. JupyterLab shows a growing curve; elsewhere each epoch
# prints a line.
#
# The mini recipe uses each clip twice: forwards, and backwards under its partner's label (`train.both_directions`). The second use costs little:
# the backbone's features of the frames are there, and only the temporal half, MDE to classifier, runs again.
#
# With four GPUs, `-p overrides train.processes=4` starts torchrun and shows its epochs here. A step then has four times the clips
# ([chapter 8](08_scaling_up.ipynb)).

# %% tags=["nbval-ignore-output", "trained"]
summary = training.train(
    cfg, on_epoch=LiveCurves(cfg.train.epochs), progress=watched()
)

# %% [markdown]
# ## Results

# %% tags=["nbval-ignore-output", "trained"]
for key, value in summary.items():
    print(f"{key:>26}: {value}")

# %% mystnb={"image": {"alt": "Two panels over epochs: the training loss falls; top-1 rises on training and on validation clips."}}
source = source_of(cfg.run)
figure = training_curves(read_metrics(cfg.run), cfg.train.epochs)
figure = credit(figure, source)

# %% [markdown]
# The loss cannot reach 0: training smooths the labels by 0.1 over 14 classes ([chapter 2e](02e_head_and_losses.ipynb)), so no network gets
# below 0.55. The plain loop above does not smooth; do not compare its losses with these.
#
# ### Does it use the order?
#
# The bars show the same validation clips with frames in order, reversed, and shuffled. Reversed, a model that uses order should name the
# *partner* class. Shuffled, no model can expect more than one half. The last bar is TSN, trained by the same recipe: it averages the logits of
# single frames, so a clip and its reverse look the same to it, and one half is the most it can expect.

# %% mystnb={"image": {"alt": "Bars, in percent of validation clips: top-1 with frames in order; reversed clips called the partner; top-1 with frames shuffled; TSN in order. A dashed line marks 50 percent."}}
figure = credit(order_bars(summary), source)

# %%
expected = {
    "val_top1": ("at least", 0.90),
    "val_top1_shuffled": ("at most", 0.60),
    "val_partner_rate_reversed": ("at least", 0.90),
    "tsn_val_top1": ("at most", 0.55),
}
if cfg.run == "outputs/mini":  # other runs are not held to it
    for key, (side, bound) in expected.items():
        margin = summary[key] - bound
        reached = margin >= 0 if side == "at least" else margin <= 0
        print(
            f"{key} {side} {bound:.0%}: {'reached' if reached else 'MISSED'}"
        )

# %% [markdown]
# ### Which classes are confused?
#
# Partners are side by side: an error inside a two-by-two block on the diagonal confuses the direction of time.

# %% mystnb={"image": {"alt": "Confusion matrix in percent of the true class, partner classes side by side."}} tags=["hide-input"]
network, _, _ = load_model(f"{cfg.run}/checkpoints/last.pt")
accelerator = Accelerator()
val_loader = make_loader(
    ClipDataset(val_clips, cfg.data, train=False),
    cfg.eval.batch_size,
    shuffle=False,
)
scores = score_clips(
    network.to(accelerator.device), val_loader, accelerator
)
partner = swap_table(classes, cfg.data.reverse_swaps, "data.reverse_swaps")
by_pair = sorted(range(len(classes)), key=lambda i: (min(i, partner[i]), i))
if len(classes) <= 40:
    figure = confusion(scores.labels, scores.predicted, classes, by_pair)
    figure = credit(figure, source)

# %% tags=["hide-input", "nbval-ignore-output", "trained"]
wrong = Counter(
    (classes[a], classes[b])
    for a, b in zip(scores.labels.tolist(), scores.predicted.tolist())
    if a != b
)
for (label, called), count in wrong.most_common(5):
    print(f"{count} x {label!r} called {called!r}")

# %% [markdown]
# ## The run's folder
#
# | file | content |
# |---|---|
# | `params.yaml` | the resolved parameters; different ones in the same folder stop with an error that shows the difference |
# | `provenance.json` | commit, versions, device, data fingerprint, seed, command |
# | `metrics.jsonl` | one line per epoch |
# | `summary.json` | the numbers above; written last, so it marks a finished run |
# | `checkpoints/last.pt`, `previous.pt`, `best.pt` | weights and all the state needed to resume; plain data, no code |
# | `logs/` | TensorBoard: `tensorboard --logdir outputs` |
# | `tsn/` | the baseline's run, with the same files |

# %% mystnb={"image": {"alt": "The run in one picture: training loss, top-1 over epochs, and the order tests as bars."}} tags=["nbval-ignore-output", "trained"]
figure = credit(result_figure(cfg.run, summary), source)
figure.savefig(f"{cfg.run}/result.png", dpi=110)

# %% [markdown]
# ## Summary
#
# - A training loop is under twenty lines; `fit()` adds what makes a run fast, repeatable and safe to interrupt.
# - One notebook trains on every dataset: only params change.
# - Accuracy alone does not show that a model uses motion. The order tests do: where order decides the class, a model that uses it falls to one
#   half or less when frames are shuffled, and names the partner when they are reversed.
#
# ## Exercises
#
# **1.** Train without the Motion Difference Embedding, in its own folder. Which pairs of classes suffer?
#
# <details><summary>Solution</summary>
#
# ```bash
# mkdir -p outputs/no_mde
# papermill book/03_train.ipynb outputs/no_mde/03_train.ipynb -p overrides "run=outputs/no_mde model.mde.enabled=false eval.tsn_baseline=false"
# ```
# Compare the two-by-two blocks on the diagonals of the two confusion matrices. In our ablation (five seeds of two epochs, chapter 6), turns of
# the camera fall from 100 % to about half, spinning from 69 to 40 %, pushing from 100 to 73 %; each other class changes by less than four points.
#
# </details>
#
# **2.** Switch on both optional losses. What do their curves do in TensorBoard, and does the validation accuracy change by more than chance
# over seeds explains?
#
# <details><summary>Solution</summary>
#
# ```bash
# mkdir -p outputs/losses
# papermill book/03_train.ipynb outputs/losses/03_train.ipynb \
#     -p overrides "run=outputs/losses train.center_loss=true train.temporal_loss=true"
# ```
# `train/center` and `train/temporal` show each term before its weight. In our ablation (two epochs, five seeds) `train/center` is 3.2 to 3.6 in
# epoch 1 and 0.8 to 0.9 in epoch 2; `train/temporal` is 0.04 to 0.06, then 0.05 to 0.08. Top-1 changes by -1.3 points (-3.0 to +0.3). The
# interval (6.1) of the five paired differences holds zero, so these seeds show no change. One pair of runs, yours, shows less.
#
# </details>
#
# **3.** Set `overrides = "run=outputs/stop"`. Stop the training cell after two epochs with the stop button, and run the notebook again. Then
# set `run=outputs/kill`, and do the same with `kill -9` on the kernel. Which steps does each repeat?
#
# <details><summary>Solution</summary>
#
# The stop button repeats none: training saves a checkpoint before it stops. `kill -9` repeats the steps of the unfinished epoch, or with
# `train.checkpoint_every=20` at most twenty. The final weights equal those of an uninterrupted run.
#
# </details>
#
# ## Quiz
#
# **A model scores 96 % in order and 95 % shuffled. What has it learned?**
#
# <details><summary>a) To recognise actions from their motion</summary>
#
# No: shuffling destroys the motion, and the score stays.
#
# </details>
#
# <details><summary>b) To recognise actions from single frames, or from their set</summary>
#
# Yes. That may be enough for a dataset, but it says nothing about a temporal module.
#
# </details>
#
# <details><summary>c) Nothing; it is at chance</summary>
#
# No: chance is one over the number of classes.
#
# </details>
#
# **Why can TSN not be expected to exceed 50 % here?**
#
# <details><summary>a) A clip and its reverse give it the same logits</summary>
#
# Yes: of two clips with the same frames and different labels, it can get at most one right.
#
# </details>
#
# <details><summary>b) It has too few parameters</summary>
#
# No: no parameter restores the order that the mean over frames has removed.
#
# </details>
#
# <details><summary>c) Its training was stopped too early</summary>
#
# No: more training does not change its symmetry.
#
# </details>
#
# **Why does the summary report the last epoch's accuracy and not the best one's?**
#
# <details><summary>a) The last epoch is always the best</summary>
#
# No, though with a learning rate that falls to zero it is rarely far from it.
#
# </details>
#
# <details><summary>b) `best.pt` cannot be loaded</summary>
#
# It can: it has the same format as `last.pt`.
#
# </details>
#
# <details><summary>c) The best epoch was chosen by looking at the validation clips</summary>
#
# Yes: the highest of several noisy measurements is biased upwards, as these clips are no test list then. The summary lists it separately, as `best_val_top1`.
#
# </details>
#
# ## Next
#
# [Chapter 4](04_evaluate.ipynb) evaluates this run with many clips and crops, and asks how certain its numbers are.
# [Chapter 6](06_ablations.ipynb) compares methods over several seeds.
#
# **References.** Wang et al., [*Temporal Segment Networks*](https://arxiv.org/abs/1608.00859), ECCV 2016. Wen et al., [*A Discriminative Feature Learning Approach for Deep Face
# Recognition*](https://doi.org/10.1007/978-3-319-46478-7_31) (center loss), ECCV 2016. Loshchilov and Hutter,
# [*SGDR*](https://arxiv.org/abs/1608.03983), ICLR 2017. Goyal et al., [*The "something something" video
# database*](https://arxiv.org/abs/1706.04261), ICCV 2017.
