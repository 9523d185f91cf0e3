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
# # 4 Evaluation: one view, or many
#
# **Result.** One trained network names 99.8 % of 420 videos by one view, 98.3 % by TSM's six views, and 96.4 % by five windows of 16 frames.
# The weights are the same; only the protocol differs.
#
# A network sees eight frames of one square of a video. The video has forty frames, or three hundred, and is wider than high. So a reported accuracy
# depends on the *protocol*: which frames, which crops, how many of each, and how their scores are combined. Two published numbers are comparable only
# where all of that is the same.
#
# **You will be able to** write down what a protocol looks at, frame by frame; evaluate a checkpoint by any of them; say what more views bring and what they
# cost; read a calibration curve and an interval; and say whether one network is better than another.
#
# **Prerequisites**: the summaries of chapters [2b](02b_mde.ipynb) to [2d](02d_attention.ipynb), and [chapter 3](03_train.ipynb), whose mini run
# this chapter reads. If there is none yet, it is trained first, with its
# baseline, three to twelve minutes on two CPU cores; the rest takes a minute and a half; not measured on a GPU yet. **Memory**: 2 GiB.

# %% [markdown]
# > **Given, and ours.** Given: training uses single clips; evaluation uses one clip and one crop, or many of both. Where
# > clips and crops lie was not given. Where published code agrees, we follow it; the table below, "How others do it", shows where it differs. No result of the original work is claimed.

# %% tags=["hide-input"]
import dataclasses
import math
import os
import time

import numpy as np
import torch
from IPython.display import Markdown, display

from hitagu_lib.training import trainer as training
from hitagu_lib.config import check_parameters, load_config
from hitagu_lib.data.source import open_lists
from hitagu_lib.data.sampling import segment_indices
from hitagu_lib.evaluation.protocols import (
    crop_corners,
    protocol,
    read_views,
)
from hitagu_lib.data.sampling import dense_clips, segment_clips
from hitagu_lib.evaluation.evaluate import evaluate
from hitagu_lib.evaluation.mcnemar import (
    compare_results,
    comparison_text,
    mcnemar,
)
from hitagu_lib.evaluation.results import read_results
from hitagu_lib.evaluation.multi_view import (
    average_views,
    score_views,
    score_views_plainly,
)
from hitagu_lib.inference.predict import load_model
from hitagu_lib.files import project_root
from hitagu_lib.runs.provenance import source_of
from hitagu_lib.viz.live import LiveCurves, watched
from hitagu_lib.viz.style import PALETTE, credit, new_figure
from hitagu_lib.viz.views import draw_crops, frames_seen, views_figure
from hitagu_lib.viz.explore import explore

check_parameters(globals())  # this chapter takes none
os.chdir(project_root())  # the same from the root and from book/

# %% tags=["nbval-ignore-output", "trained"]
cfg = load_config("params/mini.yaml")
summary = training.train(
    cfg, on_epoch=LiveCurves(cfg.train.epochs), progress=watched()
)
checkpoint = f"{cfg.run}/checkpoints/last.pt"
print(f"{checkpoint}: {summary['val_top1']:.1%} in chapter 3")

# %% [markdown]
# ## Clips: which frames
#
# Which frames make a clip? Frames are counted from 0. A video has $N$ of them, a clip takes $T$, and clip $c$ of $C$ takes frame $f_{c,i}$ in place $i$; $c$, $i$
# and $m$ below also count from 0. Nothing is random: the same video gives the same views on every machine.
#
# **`single`** takes the centre of each of $T$ equal segments. With `data.sampling: segment`, validation during training sees the same frames.
# With `dense`, validation sees the middle window, and `single` still takes segments.
#
# $$f_i = \Big\lfloor \big(i + \tfrac12\big) \frac{N}{T} \Big\rfloor \tag{4.1}$$
#
# This is (1.1) with $u_i = 1/2$, where chapter 1 writes $n_i$.
#
# **`multi` over segments** (Something-Something) slides all $T$ frames together: the first clip takes the first frame of each segment, the last clip the last
# one, so that it ends with the video:
#
# $$f_{c,i} = \Big\lfloor i \frac{N}{T} + \frac{c}{C-1} \max\Big(0, \frac{N}{T} - 1\Big) \Big\rfloor \tag{4.2}$$
#
# **`multi` over windows** (Kinetics, `data.sampling: dense`) slides a window of $L$ frames (`data.dense_span`) and takes every $L/T$-th frame of it:
#
# $$f_{c,i} = \min\Big(\Big\lfloor \frac{c}{C-1} R \Big\rfloor + \Big\lfloor i \frac{L}{T} \Big\rfloor,\ N-1\Big) \tag{4.3}$$
#
# Here $R$ is the room in which a window can start: $R = \max\big(0,\ N - 1 - \lfloor (T-1) \frac{L}{T} \rfloor\big)$.
#
# The last window ends with the video. A video shorter than a window repeats its last frame. (4.2) and (4.3) are for $C \ge 2$. A single clip
# is the middle one: over segments (4.1), over windows the window that starts at $\lfloor \max(0, N - L) / 2 \rfloor$.
#
# **`tsm_twice`** has the clips and crops of TSM's protocol on Something-Something: the centres (4.1) and the first frames. TSM averages logits;
# for that, add `eval.average=logits`.
#
# $$f_{0,i} = \Big\lfloor \big(i + \tfrac12\big) \frac{N}{T} \Big\rfloor, \qquad f_{1,i} = \Big\lfloor i \frac{N}{T} \Big\rfloor \tag{4.4}$$
#
# In code, compared with the library:

# %%
N, T, C, L = 40, 8, 3, 64
by_hand = [
    [int(i * N / T + c / (C - 1) * (N / T - 1)) for i in range(T)]
    for c in range(C)
]
assert by_hand == segment_clips(N, T, C).tolist()
R = max(0, 300 - 1 - (T - 1) * L // T)
by_hand = [
    [c * R // (C - 1) + i * L // T for i in range(T)] for c in range(C)
]
assert by_hand == dense_clips(300, T, L, C).tolist()
print("equal")

# %% [markdown]
# Here is a video of 40 frames, a little shorter than most of Something-Something's (about 48). Ten clips see every frame of it, and ask for
# each up to three times, twice on average:

# %% mystnb={"image": {"alt": "Which frames of a video of 40 each clip takes. Single: 8 frames, one in 5. Two clips of tsm_twice: 8 frames each, offset by 2. Multi with 2 clips: the first and the last frame of each segment. Multi with 10 clips: all 40 frames, each one to three times."}} tags=["hide-input"]
twice = protocol(
    cfg.data, dataclasses.replace(cfg.eval, protocol="tsm_twice")
)
figure = frames_seen(
    {
        "single": segment_indices(N, T)[None],
        "tsm_twice": twice.clip_indices(N),
        "multi, 2 clips": segment_clips(N, T, 2),
        "multi, 10 clips": segment_clips(N, T, 10),
    },
    N,
)

# %% [markdown]
# And here is one as long as those of Kinetics, 300 frames, with windows of 64. A single window sees a fifth of the video. If the action is elsewhere, the
# network cannot know:

# %% mystnb={"image": {"alt": "Which frames of a video of 300 each window takes. One window: frames 118 to 174. Ten windows: overlapping, evenly spread from the first frame to the last."}}
figure = frames_seen(
    {
        "multi, 1 window": dense_clips(300, T, L, 1),
        "multi, 10 windows": dense_clips(300, T, L, 10),
    },
    300,
)

# %% [markdown]
# ## Crops: which squares
#
# Which part of the frame does it see? The short side is resized to `data.short_side`. $M$ squares of side $S$ then stand at $p_m$ along the longer side (here
# $W$), in the middle of the shorter one. A single crop stands in the middle of both.
#
# $$p_m = \Big\lfloor \frac{m}{M-1} (W - S) \Big\rfloor, \qquad M = 1:\ p_0 = \Big\lfloor \frac{W - S}{2} \Big\rfloor \tag{4.5}$$
#
# A single crop has the size that the network was trained on, `data.image_size`. Several are as high as the frame, unless `eval.crop_size` says otherwise.
# The network is convolutional, so it accepts a larger square.

# %% mystnb={"image": {"alt": "Three grey frames with their crops as coloured squares. A wide one with one central square that leaves a margin; the wide one with three squares of its full height, left, middle and right; an upright one with three, top, middle and bottom."}} tags=["hide-input"]
cases = {
    "one crop of 224": (256, 341, 224, 1),
    "three crops": (256, 341, 256, 3),
    "upright": (341, 256, 256, 3),
}
figure, axes = new_figure(2.6, 1, 3, width_ratios=[341, 341, 256])
for ax, (name, (H, W, S, M)) in zip(axes, cases.items()):
    grey = torch.full((3, H, W), 225, dtype=torch.uint8)
    draw_crops(ax, grey, crop_corners(H, W, S, M), S)
    ax.set_title(f"{name}, {W} x {H}", fontsize=9)

# %% [markdown]
# ## One score from many views
#
# How do many views become one answer? $V = C M$ views give $V$ rows of logits $z_v$. They are averaged as probabilities or as logits; papers do either, and
# seldom say which.
#
# $$s_k = \frac1V \sum_v \operatorname{softmax}(z_v)_k \qquad\text{or}\qquad s_k = \frac1V \sum_v z_{v,k} \tag{4.6}$$
#
# `eval.average` chooses, and the report repeats it. The two can disagree: in a mean of logits, one view with large logits can outvote several
# others; in a mean of probabilities, no view has more than one vote.

# %%
z = torch.tensor([[9.0, 0.0], [-1.0, 1.0], [-1.0, 1.0]])  # three views
for how in ("probabilities", "logits"):
    print(f"{how:>13}: class {int(average_views(z, how).argmax())}")

# %% [markdown]
# ## Each frame is computed once
#
# Ten clips of a video of 40 frames ask for 80 frames with $T = 8$, for 160 with $T = 16$. But the video has only 40. HiTAGU-Net computes everything up to MDE's reduced maps
# frame by frame (`encode_frames`); what mixes frames comes after (`temporal_head`). So each distinct picture, a crop of a frame, goes through the
# backbone once, and every view that needs it gets its features. (TSM shifts channels between frames *inside* the backbone, so its views are computed
# one after another.)
#
# The logits equal those of the plain loop over views, up to rounding:

# %%
train_clips, val_clips = open_lists(cfg.data)
classes = train_clips.classes
network, _, _ = load_model(checkpoint)
ten = protocol(
    cfg.data,
    dataclasses.replace(cfg.eval, protocol="multi", clips=10, crops=1),
)
rows = range(0, len(val_clips), max(1, len(val_clips) // 12))
videos = [
    read_views(
        val_clips.frames_dir(row), int(val_clips.num_frames[row]), ten
    )
    for row in rows
]

# %% tags=["nbval-ignore-output", "timed"]
took = {}
for name, way in (("plain", score_views_plainly), ("shared", score_views)):
    way(network, videos[:2])  # warms up
    started = time.perf_counter()
    logits = torch.stack(way(network, videos))
    took[name] = time.perf_counter() - started, logits
asked = sum(v.index.size for v in videos)
distinct = sum(len(np.unique(v.index)) for v in videos)
ratio = took["plain"][0] / took["shared"][0]
print(
    f"{asked} pictures asked for, {distinct} distinct: {ratio:.1f} x faster"
)

# %%
difference = (took["plain"][1] - took["shared"][1]).abs().max().item()
print("largest difference below 1e-4:", difference < 1e-4)

# %% [markdown]
# (The mini videos are square, so three crops of full height are one, and are computed once.) `outputs/published/views/` has measurements of what sharing saves
# at the sizes of Something-Something and Kinetics.

# %% [markdown]
# ## One network, many protocols
#
# We evaluate the checkpoint of chapter 3 by several protocols. Each writes a folder: `report.json`, every video's scores (`predictions.csv`, and in `scores.npz`
# the logits of every view, so that nothing below needs a second pass), `classes.csv` and `confusion.csv`.

# %% tags=["nbval-ignore-output", "trained"]
protocols = {
    "single": "eval.order_tests=true",
    "tsm_twice": "eval.protocol=tsm_twice",
    "multi": "eval.protocol=multi",
    "five clips": "eval.protocol=multi eval.clips=5 eval.crops=1",
    "windows": "eval.protocol=multi eval.clips=5 eval.crops=1 "
    "data.sampling=dense data.dense_span=16",
}
folders = {
    name: f"{cfg.run}/evaluate-{name.replace(' ', '-')}"
    for name in protocols
}
reports = {
    name: evaluate(
        load_config(
            "params/mini.yaml", f"eval.order_tests=false {overrides}"
        ),
        checkpoint,
        folders[name],
        progress=watched(),
    )
    for name, overrides in protocols.items()
}

# %% tags=["nbval-ignore-output", "trained"]
rows = []
for name, report in reports.items():
    low, high = report["intervals"]["top1"]
    views = report["views"]
    C, M = views["clips"], views["crops"]
    cells = [
        name,
        f"{C} x {M} of {views['crop_size']}",
        f"{len(val_clips) * C * M * views['num_frames']:,}",
        f"{report['frames_encoded']:,}",
        f"{report['top1']:.1%}",
        f"{low:.1%} to {high:.1%}",
    ]
    rows.append(f"| {' | '.join(cells)} |")
head = """| protocol | clips x crops | asked for | computed | top-1 | interval |
|---|---|---:|---:|---:|---|"""
display(Markdown("\n".join([head, *rows])))

# %% [markdown]
# Three things to see. **More views cost less than their number suggests**, because only distinct pictures are computed. **They need not help**: here
# one clip of segments spans the whole video, and a second one sees the same event in neighbouring frames. Crops of full height, 54 pixels
# where training had 48, score lower. But `multi` loses only six videos that `single` gets right and wins one; `tsm_twice`
# loses seven and wins one. That may be chance. **They help where one view may
# miss the event**: a window of 16 frames sees half a video. *What more clips buy* measures that.
#
# The *interval* is a bootstrap: draw 420 videos from the 420, with replacement, compute the accuracy, and repeat this 2,000 times. The middle
# 95 % of these accuracies are the interval.
#
# ### What more clips buy
#
# One pass stores the logits of all five clips, so we can also score 1, 2, ... of them. For each number we
# score five evenly spread choices of the clips (all five can be chosen in one way only). The line is the mean of their accuracies, and the band reaches from the lowest to the highest.

# %% mystnb={"image": {"alt": "Top-1 over the number of clips, with bands. Clips of segments: a flat line near the top. Windows of 16 frames: lower."}} tags=["hide-input"]
figure, ax = new_figure(2.8)
curves = {
    "five clips": "clips of segments",
    "windows": "windows of 16 frames",
}
for (name, label), colour in zip(curves.items(), PALETTE):
    by = read_results(folders[name]).by_views()
    count = [line["clips"] for line in by]
    ax.plot(
        count,
        [100 * line["top1"] for line in by],
        "o-",
        color=colour,
        label=label,
    )
    band = [
        [100 * line[end] for line in by] for end in ("lowest", "highest")
    ]
    ax.fill_between(count, *band, color=colour, alpha=0.2, linewidth=0)
ax.set(xlabel="clips a video", ylabel="top-1 (%)", xticks=range(1, 6))
_ = ax.legend(fontsize=8, loc="center right")
_ = credit(figure, source_of(cfg.run))

# %% [markdown]
# Clips of segments are all alike here, so more of them change next to nothing. Windows differ. At one clip, the band's upper edge is the
# middle window, which sees the event (96.2 %); its lower edge is the first or the last, which often miss a part of it. All five together (96.4 %)
# are well above one window at a random place (87.0 %), and no better than the middle one alone, because the windows that missed the event vote
# too. Only the curve can tell what more clips buy on a data set.
#
# ## How many are called the partner?
#
# Partners are the same event forwards and backwards. The confusion matrix in [chapter 3](03_train.ipynb) puts them side by side, so that an error about
# the direction of time stands beside the diagonal. The report counts those errors: of the videos of classes with a partner, how many are called
# the partner?

# %%
single = read_results(folders["single"])

# %% tags=["nbval-ignore-output", "trained"]
pairs = reports["single"]["reversed_pairs"]
wrong = 1 - reports["single"]["top1"]
print(
    f"wrong: {wrong:.1%}; called the partner: {pairs['called_partner']:.1%}"
)

# %% [markdown]
# ## Is it the order?
#
# We score the same views with their frames changed: **shuffled** (in random order, drawn from the seed and the row), **reversed** (played
# backwards) and **frozen** (the middle frame in the place of every frame, while the times stay). The frames' features exist already, so only the temporal
# half runs again. A network that reads order falls to one half when frames are shuffled, names the partner when they are reversed, and has
# only the looks of a single frame when they are frozen.

# %% tags=["nbval-ignore-output", "trained"]
orders = {"in order": reports["single"]} | reports["single"]["orders"]
rows = [
    f"| {name} | {found['top1']:.1%} | {found['reversed_pairs']['called_partner']:.1%} |"
    for name, found in orders.items()
]
head = "| frames | top-1 | called the partner |\n|---|---:|---:|"
display(Markdown("\n".join([head, *rows])))

# %% [markdown]
# Reversed clips get their partner's name. Shuffled ones mostly keep the pair, since what moves can still be seen, but which of the two is a
# guess. Frozen clips fall below even TSN's 36.4 % (chapter 3), which sees eight different frames.
#
# ## Can you trust its probabilities?
#
# A network is *calibrated* if its confidence is its accuracy: of the videos that it is 80 % sure of, 80 % are right. Sort the videos by confidence, the probability of the predicted class,
# into $B$ bins. The expected calibration error is the distance between accuracy and confidence in each bin, weighted by its share of the videos (Guo et
# al. 2017):
#
# $$\mathrm{ECE} = \sum_b \frac{n_b}{n} \,\Big| \frac{1}{n_b} \sum_{j \in b} [\hat y_j = y_j] - \frac{1}{n_b} \sum_{j \in b} \max_k s_{j,k} \Big| \tag{4.7}$$
#
# Here $n_b$ of the $n$ videos are in bin $b$. Video $j$ has the label $y_j$, the predicted class $\hat y_j$ and the scores $s_{j,k}$ of (4.6);
# $[\cdot]$ is 1 if the statement holds, else 0. The figure has $B = 15$ bins. (In its code, the field
# `logits` holds the scores of (4.6), which are probabilities here.)

# %% mystnb={"image": {"alt": "Accuracy over confidence in bins: dots, larger for more videos, beside the dashed diagonal of a calibrated network."}} tags=["hide-input"]
confidence, called = single.scores.logits.max(1)
right = (called == single.scores.labels).float()
bins = torch.bucketize(confidence, torch.linspace(0, 1, 16)[1:-1])
figure, ax = new_figure(2.8)
ece = 0.0
for b in bins.unique():
    inside = bins == b
    share = float(inside.float().mean())
    x, y = float(confidence[inside].mean()), float(right[inside].mean())
    ece += share * abs(y - x)
    ax.scatter(x, 100 * y, s=20 + 300 * share, color=PALETTE[0], alpha=0.7)
ax.plot([0, 1], [0, 100], "--", color="0.4", linewidth=1)
_ = ax.set(
    xlabel="confidence", ylabel="right (%)", xlim=(0, 1), ylim=(-3, 106)
)
_ = credit(figure, source_of(cfg.run))

# %% tags=["nbval-ignore-output", "trained"]
calibrated = reports["single"]["calibration"]
assert math.isclose(
    ece, calibrated["expected_calibration_error"], abs_tol=1e-5
)
print(f"expected calibration error {ece:.1%}")
print(f"mean confidence {calibrated['mean_confidence']:.1%},", end=" ")
print(f"right {reports['single']['top1']:.1%}")

# %% [markdown]
# With labels smoothed by 0.1, training asks for a probability of 0.907 of the right class, and the mean confidence is near it. As nearly all
# videos are right, the dots lie above the diagonal: this network is *underconfident*.
#
# ## Is one better than the other?
#
# Two evaluations of the same videos are *paired*, and comparing their intervals throws that away. Call them A and B: two networks, or, as in
# the cell below, one network under two protocols. Most videos are easy for both or hard for both; only those on which A and B differ can show
# which is better. McNemar's test looks at these alone. Of the $n$ videos that exactly one gets right (another $n$ than in (4.7)), A gets $b$. If the two were equally good, each
# of these videos would be a coin toss, and a split at least as uneven would have the probability
#
# $$p = \min\Big(1,\ 2 \sum_{j=0}^{\min(b,\,n-b)} \binom{n}{j} 2^{-n}\Big) \tag{4.8}$$

# %% tags=["nbval-ignore-output", "trained"]
found = compare_results(folders["single"], folders["windows"])
print(comparison_text(found))

# %%
only = (30, 10)  # by hand: 30 videos are A's alone, 10 are B's
n, b = sum(only), only[0]
tail = sum(math.comb(n, j) for j in range(min(b, n - b) + 1))
p = min(1, 2 * tail / 2**n)
assert math.isclose(p, mcnemar(*only))
print(f"p = {p:.4f}")

# %% [markdown]
# On the command line this is `hitagu report compare A B`. It says whether other *videos* could have given another result by chance, not whether another
# training *seed* would: for that, train several ([chapter 6](06_ablations.ipynb)).
#
# ## Other lengths, other strides
#
# The network was trained on clips of $T = 8$, but none of its weights depends on $T$: the 3STU runs for as long as there are frames and is told the time between
# them, and TSA's position code is computed from the frames' times. So it can be evaluated unchanged on other $T$ and strides:

# %% tags=["nbval-ignore-output", "trained"]
lengths = [4, 8, 16]
top1 = []
for T in lengths:
    report = reports["single"]
    if cfg.data.num_frames != T:
        report = evaluate(
            load_config("params/mini.yaml", f"data.num_frames={T}"),
            checkpoint,
            f"{cfg.run}/evaluate-T{T}",
            progress=watched(),
        )
    top1.append(100 * report["top1"])
    print(f"T = {T:>2}: {top1[-1]:.1f} %")

# %% mystnb={"image": {"alt": "Top-1 over the number of frames per clip, 4, 8 and 16: highest at 8, which the network was trained on, and lower to both sides."}} tags=["hide-input"]
figure, ax = new_figure(2.4)
ax.plot(lengths, top1, "o-")
_ = ax.set(xlabel="frames a clip, T", ylabel="top-1 (%)", xticks=lengths)
_ = credit(figure, source_of(cfg.run))

# %% [markdown]
# Accuracy falls, but the network does not break. It was not trained for this: MDE's differences are between neighbouring frames, which are twice as far apart at
# $T = 4$ as at $T = 8$, and half as far at $T = 16$.

# %% [markdown]
# ## The explorer
#
# Choose a video and a protocol, and see what every view sees and says. A bar is the mean over a clip's crops, each tick a crop; the last row is the average, the
# video's score. Several crops are 48 pixels wide here: those of full height would all be alike on square videos. (The built page slides over
# the protocols of one video.)

# %% tags=["nbval-ignore-output", "player"]
plans = {
    "single": {},
    "tsm_twice": {"protocol": "tsm_twice", "crop_size": 48},
    "multi, 2 x 3": {"protocol": "multi", "crop_size": 48},
    "multi, 5 x 1": {"protocol": "multi", "clips": 5, "crops": 1},
}
shown = {
    f"{classes[int(val_clips.labels[row])]} (row {row})": row
    for row in range(7, len(val_clips), len(val_clips) // 12)
}


def look(video: str, views: str):
    plan = protocol(cfg.data, dataclasses.replace(cfg.eval, **plans[views]))
    row = shown[video]
    pictures = read_views(
        val_clips.frames_dir(row), int(val_clips.num_frames[row]), plan
    )
    (logits,) = score_views(network, [pictures])
    return views_figure(
        pictures,
        plan,
        torch.softmax(logits, -1),
        average_views(logits, "probabilities"),
        classes,
        video,
    )


explore(
    look,
    controls={"video": list(shown), "views": list(plans)},
    slide="views",
    alt="The frames that each clip of a video takes with their crops, and the probabilities that the network gives to three classes for each.",
)

# %% [markdown]
# ## How others do it
#
# This is from the published code of each, as it stood when this was written. `int` rounds down; A video has N frames, a clip T; there are C clips.
#
# | | clips | where they start, or which frames | crops | average of |
# |---|---|---|---|---|
# | TSN, TSM (`ops/dataset.py`) | 1 | centres, `int(N/2T + i N/T)`: our `single` | middle 224 of 256 | |
# | TSM, `--twice_sample` | 2 | also `int(i N/T)`: our `tsm_twice` | 3 of 256 | logits |
# | TSM, dense | 10 | `c room / (C-1)`, room = N - 64: the last frame seen is N - 8 | 3 of 256 | logits |
# | SlowFast (`get_start_end_idx`) | 10 | `c room / C`, so the last window ends `room / C` before the video does; with `use_offset`, `c int(room / (C-1))`. Frames `linspace(start, start + span - 1, T)`, rounded down: a step of 9 for 64 / 8, where the others take 8 | 3 of 256, the middle one rounded up | probabilities |
# | MMAction2 (`SampleFrames`) | 10 | `c room / (C-1)`, room = N - 1 - (T-1) stride, rounded: the last clip ends with the video | 3, a pixel early where the room is odd | probabilities |
# | TDN, Kinetics | 10 | a random frame of each segment | 3 of 256 | logits |
# | TDN, Something-Something | 1 | centres, with N - 4 in place of N | the middle | |
# | here, `multi` over windows | 10 | as MMAction2, rounded down | 3 of `short_side` | `eval.average` |
# | here, `multi` over segments | 2 | (4.2), ours | 3 of `short_side` | `eval.average` |
#
# In a video shorter than a window, TSM and MMAction2 continue with its first frame; SlowFast and we repeat its last. No two rows are the same.
# That is why a report must name its protocol.
#
# ## From the command line
#
# ```bash
# hitagu evaluate --checkpoint outputs/mini/checkpoints/last.pt --protocol multi --clips 10 --crops 3 --out outputs/mini/evaluate-10x3
# hitagu evaluate --checkpoint outputs/mini/checkpoints/last.pt --video "data/mini/frames/val/Moving something down/05_00000"
# hitagu report compare outputs/mini/evaluate-single outputs/mini/evaluate-multi
# ```

# %% [markdown]
# ## Summary
#
# - A protocol says which frames, which crops and which average. Accuracies by different protocols are different numbers.
# - Views share frames. Computing each distinct picture once gives the same logits for less.
# - More views are a vote. It helps where one view may miss the event; here one well-placed view is as good. Measure the curve before you pay
#   for thirty.
# - Besides accuracy: reversed pairs and the order tests say where it comes from, calibration says whether the probabilities can be used, and the interval and
#   the paired test say whether a difference is real.
#
# ## Exercises
#
# **1.** A video has 300 frames, a clip takes $T = 16$ from a window of 64. Which is the first frame of the seventh of ten clips, and which
# the last?
#
# <details><summary>Solution</summary>
#
# $R = 300 - 1 - \lfloor 15 \cdot 64 / 16 \rfloor = 239$; clip $c = 6$ starts at $\lfloor 6 \cdot 239 / 9 \rfloor = 159$ and ends at $159 +
# 60 = 219$:
# ```python
# print(dense_clips(300, 16, 64, 10)[6][[0, -1]])
# ```
# ```text
# [159 219]
# ```
#
# </details>
#
# **2.** For which lengths $N$ do the two clips of `tsm_twice` take the same frames?
#
# <details><summary>Solution</summary>
#
# ```python
# print([N for N in range(1, 100) if len(set(map(tuple, twice.clip_indices(N)))) == 1])
# ```
# ```text
# [1, 2, 4, 8]
# ```
# Every other length gives two different clips. The divisors of $T$ are the lengths at which $iN/T$ leaves no room for a half step: with $g =
# \gcd(N, T)$, its largest fractional part is $1 - g/T$, and adding $N/(2T)$ must not reach the next whole number, so $N < 2g$. As $g$ divides
# $N$, that means $N = g$.
#
# </details>
#
# **3.** Do logits or probabilities give the better average of the five windows? Is the difference real?
#
# <details><summary>Solution</summary>
#
# ```bash
# hitagu evaluate --checkpoint outputs/mini/checkpoints/last.pt --protocol multi --clips 5 --crops 1 --average logits \
#     --overrides "data.sampling=dense data.dense_span=16" --out outputs/mini/evaluate-logits
# hitagu report compare outputs/mini/evaluate-windows outputs/mini/evaluate-logits
# ```
# Two videos are right by probabilities alone, none by logits alone. By (4.8) $p = 0.5$: this may be chance.
#
# </details>
#
# **4.** Is HiTAGU-Net better than the TSN that was trained beside it? Test it by (4.8), and say what the answer leaves open.
#
# <details><summary>Solution</summary>
#
# ```bash
# hitagu evaluate --checkpoint outputs/mini/tsn/checkpoints/last.pt --protocol single --out outputs/mini/tsn/evaluate-single
# hitagu report compare outputs/mini/evaluate-single outputs/mini/tsn/evaluate-single
# ```
# Of the videos that exactly one names, nearly all are HiTAGU-Net's, so $p$ is far below 0.001: other videos would hardly turn this
# around. The test leaves open what other *seeds* would give, as each network is one run, and what TSN would reach with more training: at most
# one half, by chapter 2a.
#
# </details>
#
# ## Quiz
#
# **`multi` over segments: ten clips and three crops of a wide video of 40 frames, $T = 8$. How many pictures go through the backbone?**
#
# <details><summary>a) 240</summary>
#
# That many are asked for: 30 views of 8 frames.
#
# </details>
#
# <details><summary>b) 120</summary>
#
# Yes: ten clips see all 40 frames, each under three crops. (For TSM it is 240.)
#
# </details>
#
# <details><summary>c) 40</summary>
#
# Only if the video is square, so that three crops of its full height are one.
#
# </details>
#
# **A paper reports 2 points more than another, with 30 views where the other has one. Which network is better?**
#
# <details><summary>a) The first</summary>
#
# It may be. Nothing here says so.
#
# </details>
#
# <details><summary>b) The second, since it needs fewer views</summary>
#
# It is cheaper. What it would reach with 30 views is not known.
#
# </details>
#
# <details><summary>c) It cannot be said</summary>
#
# Yes: views alone can make that difference. Evaluate both by one protocol, on the same videos, and compare in pairs.
#
# </details>
#
# **The intervals of two networks on the same videos overlap. Are they equally good?**
#
# <details><summary>a) They may well differ: the test must be paired</summary>
#
# Yes. If one is right wherever the other is, and on twenty videos more, the intervals may overlap although the difference is beyond doubt.
#
# </details>
#
# <details><summary>b) Yes, that is what an interval is for</summary>
#
# No: each interval holds the luck of the draw of videos, which both networks share.
#
# </details>
#
# <details><summary>c) Only if both were trained on the same seed</summary>
#
# The seed is another source of chance, which neither the interval nor the paired test knows of.
#
# </details>
#
# ## Next
#
# [Chapter 5](05_attention_maps.ipynb) asks what the network looks at; [chapter 6](06_ablations.ipynb) compares networks over several seeds
# by the `single` protocol; [chapter 7](07_your_own_videos.ipynb) evaluates on your own videos.
#
# **References.** Wang et al., [*Temporal Segment Networks*](https://arxiv.org/abs/1608.00859), ECCV 2016. Wang et al., [*Non-local Neural
# Networks*](https://arxiv.org/abs/1711.07971), CVPR 2018. Feichtenhofer et al., [*SlowFast Networks*](https://arxiv.org/abs/1812.03982),
# ICCV 2019. Lin et al., [*TSM*](https://arxiv.org/abs/1811.08383), ICCV 2019. Wang et al., [*TDN*](https://arxiv.org/abs/2012.10071), CVPR
# 2021. MMAction2 Contributors, [*OpenMMLab's next generation video understanding toolbox*](https://github.com/open-mmlab/mmaction2), 2020.
# Guo et al., [*On calibration of modern neural networks*](https://arxiv.org/abs/1706.04599), ICML 2017. McNemar, [*Note on the sampling
# error of the difference between correlated proportions*](https://doi.org/10.1007/BF02295996), Psychometrika 1947. Efron, [*Bootstrap
# methods*](https://doi.org/10.1214/aos/1176344552), Annals of Statistics 1979.
