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
# # 0 Start here
#
# **Result.** This page trains a network on clips of four motions, in less than a minute. The slider near the end plays a video that the network
# has never seen. Below each frame stands what the network would say *now*, and orange shows where it finds motion. Played backwards, the
# same video gets the opposite name.
#
# **You will be able to** say what this book builds, choose your way through it, check that your computer has what the chapters need, and use a
# trained network on a video file.
#
# **Prerequisites**: basic PyTorch. **Time** to run: about 15 seconds on two CPU cores, three times as long on slow ones; not measured on
# a GPU. **Memory**: 1.4 GiB. Nothing is downloaded, and the videos are drawn here.

# %% [markdown]
# > **Given, and ours.** We were given the pipeline, the modules' names, two optional losses with their weights, two ways to evaluate,
# > and the data format. No paper text, equations or weights of HiTAGU-Net are public, so the definitions in this book are our reconstruction. No result of the original work is claimed.
#
# ## Parameters
#
# The chapter trains a small network of its own. To see one of yours instead, such as the one that `make train` leaves, name its checkpoint:
#
# ```bash
# mkdir -p outputs/start
# papermill book/00_start_here.ipynb outputs/start/00_start_here.ipynb -p checkpoint outputs/mini/checkpoints/last.pt
# ```

# %% tags=["parameters"]
checkpoint = None  # a checkpoint's file; None: train a small network here

# %% tags=["hide-input"]
import math
import os
import re
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from hitagu_lib import build_model, load_config, predict
from hitagu_lib.config import check_parameters
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.sampling import segment_indices
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.files import project_root
from hitagu_lib.inference.predict import frame_folder, load_model
from hitagu_lib.inference.streaming import predict_along
from hitagu_lib.media.ffmpeg import ffmpeg_path
from hitagu_lib.prepare.synthetic.make import (
    CLASSES,
    render_clip,
    write_videos,
)
from hitagu_lib.runs.environment import check_environment, environment_text
from hitagu_lib.viz.figures import clip_rows
from hitagu_lib.viz.overlay import Overlay
from hitagu_lib.viz.player import player
from hitagu_lib.viz.style import PALETTE, new_figure

check_parameters(globals(), "checkpoint")
if checkpoint:
    checkpoint = Path(checkpoint).absolute()
os.chdir(project_root())  # the same from the root and from book/

# %% [markdown]
# ## Is everything here?
#
# The next cell looks for what the chapters need. Where something is missing, it says what to do. In a terminal, `hitagu report environment`
# prints the same.

# %% tags=["nbval-ignore-output", "machine"]
checks = check_environment(Path())
print(environment_text(checks))

# %% [markdown]
# A missing GPU is no fault: every chapter is made for two CPU cores. With one core, everything takes up to twice as long.
#
# ## What is built
#
# A single frame often cannot tell what happens. A door that opens and a door that closes show the same pictures, in opposite order. HiTAGU-Net
# (*Hierarchical Temporal-Aware Gated Units*) reads a clip of a few frames and has two halves. The first, the *backbone*, looks at each frame
# alone. The second, the *temporal half*, is the only place where frames meet:

# %% mystnb={"image": {"alt": "Five boxes from left to right, joined by arrows: ResNet, each frame alone; MDE, what moved; 3STU, a memory; TSA and SCA, which frames and where; classifier, the label. A bracket below the first says one frame, a bracket below the others says frames meet."}} tags=["hide-input"]
boxes = [
    ("ResNet", "what is in\neach frame", "2a"),
    ("MDE", "what moved\nsince the last", "2b"),
    ("3STU", "a short, a mid,\na long memory", "2c"),
    ("TSA + SCA", "which frames,\nand where", "2d"),
    ("classifier", "the name of\nthe action", "2e"),
]
figure, ax = new_figure(1.9)
for i, (name, does, chapter) in enumerate(boxes):
    colour = PALETTE[0] if i == 0 else PALETTE[1]
    ax.add_patch(
        FancyBboxPatch(
            (i, 0.3),
            0.72,
            0.62,
            boxstyle="round,pad=0.02",
            fc="none",
            ec=colour,
            lw=2,
        )
    )
    ax.text(i + 0.36, 0.77, name, ha="center", weight="bold", fontsize=10)
    ax.text(i + 0.36, 0.52, does, ha="center", va="center", fontsize=8)
    ax.text(i + 0.36, 0.33, f"chapter {chapter}", ha="center", fontsize=7)
    if i:
        ax.annotate(
            "",
            (i - 0.03, 0.6),
            (i - 0.25, 0.6),
            arrowprops={"arrowstyle": "->", "color": "0.3"},
        )
ax.plot([0, 0.72], [0.17, 0.17], color=PALETTE[0], lw=2)
ax.plot([1, 4.72], [0.17, 0.17], color=PALETTE[1], lw=2)
ax.text(0.36, 0.03, "one frame alone", ha="center", fontsize=8)
ax.text(2.86, 0.03, "frames meet", ha="center", fontsize=8)
ax.set(xlim=(-0.05, 4.8), ylim=(-0.02, 1))
_ = ax.axis("off")

# %% [markdown]
# ## How to read
#
# You are probably one of four readers. The times are for reading at 200 words a minute, code not counted. Running a chapter's cells takes a
# few minutes more, and each chapter says how many. A word that you do not know may be in the [glossary](appendix/glossary.md).

# %% tags=["hide-input", "nbval-ignore-output", "text"]
titles, words = {}, {}
for file in sorted(Path("book").glob("*.py")):
    number = file.stem.split("_")[0].lstrip("0") or "0"
    text = re.findall(r"^# (?!%%)(.*)$", file.read_text("utf-8"), re.M)
    prose = re.sub(r"```.*?```", "", "\n".join(text), flags=re.S)
    words[number] = len(re.findall(r"\w[\w’'-]*", prose))
    titles[number] = f"[{number}]({file.stem}.ipynb)"
readers = {
    "a **student**, who wants to understand each part": "0 1 2a 2b 2c 2d 2e 3 4 5 6",
    "a **reviewer**, who re-runs and checks": "0 3 4 6 8 9",
    "an **instructor**, who assigns chapters": "0 1 2a 2b 2c 2d 2e 3 4 5 6 9",
    "a **researcher**, who changes a module": "0 2a 2b 2c 2d 2e 3 6",
}
rows = ["| you are | read | minutes |", "|---|---|---:|"]
for reader, path in readers.items():
    there = [number for number in path.split() if number in titles]
    minutes = sum(words[number] for number in there) / 200
    links = ", ".join(titles[number] for number in there)
    rows.append(f"| {reader} | {links} | {5 * round(minutes / 5)} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# - As a **student**, do the exercises that tempt you. Each has a solution, folded away.
# - As a **reviewer**, start with the tests, which compare each numbered equation of chapters 1 to 7 with a plain reference. `make test` runs everything.
# - As an **instructor**, start with [the plan of eight meetings](appendix/teaching.md). Each chapter's code runs alone, and the quizzes explain every answer.
# - As a **researcher**, read the chapter of the module that you will change, then chapter 6: it compares over several seeds, which is what a
#   small change needs.
#
# With your own videos and little time, go to [chapter 7](07_your_own_videos.ipynb). With Kinetics-700 or Something-Something V2, read
# [chapter 1](01_data.ipynb) and [chapter 8](08_scaling_up.ipynb).
#
# ## Four motions, two pairs
#
# Now the network. Its task is small enough for a minute and cannot be solved from single frames: something moves down or up, something is
# pushed from left to right or from right to left. Each row below is one clip of eight frames. The second and the fourth row show the frames
# of the row above them from last to first.

# %%
LABELS = [
    "Moving something down",
    "Moving something up",
    "Pushing something from left to right",
    "Pushing something from right to left",
]
mini = load_config("params/mini.yaml")
T = mini.data.num_frames  # 8


def drawn_clip(label: str, seed: int, rng=None) -> torch.Tensor:
    """One clip as the network sees it: uint8 (T, 3, 48, 48)."""
    video = torch.from_numpy(render_clip(CLASSES.index(label), [seed]))
    video = video.permute(0, 3, 1, 2)  # (N, 3, 72, 72)
    clip = video[segment_indices(len(video), T, rng)]
    return centre_crop(clip, mini.data.image_size, mini.data.short_side)


# %% mystnb={"image": {"alt": "Four clips of eight frames, one per row: a thing moves down; the same frames backwards, it moves up; a hand pushes a thing to the right; the same frames backwards, to the left."}}
down, right = drawn_clip(LABELS[0], 1), drawn_clip(LABELS[2], 2)
figure = clip_rows([down, down.flip(0), right, right.flip(0)], LABELS)

# %% [markdown]
# ## A short training run
#
# The training clips are 48 drawn scenes of each pair. Each is used twice: forwards, and backwards under the other name. The network is that of
# `params/mini.yaml`, with random weights and four classes. [Chapter 3](03_train.ipynb) trains it on all fourteen classes, and says what a
# serious loop has that this one lacks.

# %% tags=["nbval-ignore-output", "trained"]
EPOCHS, BATCH, SCENES = 4, 8, 48


def train_small():
    """Train on drawn clips; return the network in evaluation mode."""
    rng = np.random.default_rng(0)  # chooses the frames of each video
    scenes = [(a, 100 + i) for a in LABELS[::2] for i in range(SCENES)]
    clips = torch.stack([drawn_clip(*scene, rng) for scene in scenes])
    labels = torch.tensor([0, 2]).repeat_interleave(SCENES)
    torch.manual_seed(0)
    model = build_model(mini.model, len(LABELS))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = EPOCHS * math.ceil(len(clips) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.15
    )
    for epoch in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(len(clips)).split(BATCH):
            # also_backwards: which clips to score backwards too, here all;
            # their logits come after the others. LABELS names each class
            # just before what it is backwards.
            both = torch.arange(len(rows))
            logits = model(normalise(clips[rows]), also_backwards=both)
            truth = torch.cat([labels[rows], labels[rows] + 1])
            loss = F.cross_entropy(logits, truth)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        print(
            f"epoch {epoch + 1}: loss {total / len(clips):.2f}", flush=True
        )
    return model.eval()


began = time.process_time()
if checkpoint:
    model, cfg, classes = load_model(checkpoint)
    data = cfg.data
else:
    model, data, classes = train_small(), mini.data, LABELS
print(f"{time.process_time() - began:.0f} s of processor time")

# %% [markdown]
# How good is it? We draw scenes that were not in training, and ask for their names, once in order and once with the frames of each clip in
# random order.

# %%
torch.manual_seed(1)
new = [(label, seed) for label in LABELS for seed in range(9000, 9020)]
clips = normalise(torch.stack([drawn_clip(*scene) for scene in new]))
truth = torch.tensor([classes.index(label) for label, _ in new])
shuffled = torch.stack([clip[torch.randperm(T)] for clip in clips])
with torch.inference_mode():
    in_order = (model(clips).argmax(1) == truth).float().mean()
    in_no_order = (model(shuffled).argmax(1) == truth).float().mean()
print(f"in order, at least 90 % right: {bool(in_order >= 0.9)}")
print(f"shuffled, at most 75 % right: {bool(in_no_order <= 0.75)}")

# %% tags=["nbval-ignore-output", "trained"]
print(f"{in_order:.0%} of {len(new)} new clips in order")
print(f"{in_no_order:.0%} with their frames in random order")

# %% [markdown]
# ```{warning}
# This network knows four motions of drawn shapes, from 96 scenes and a few seconds of training. It has never seen a real video and must call whatever you
# show it by one of its four names. It shows how the parts work together. [Chapter 6](06_ablations.ipynb) measures what they are worth.
# ```
#
# ## A video file
#
# So far the clips existed only in memory. In practice a video is a file. We draw one more scene and encode it as MP4. `predict` decodes it
# with ffmpeg, takes one frame from each eighth of it, crops, and ranks the labels:

# %% tags=["nbval-ignore-output", "trained"]
label = LABELS[2]
pixels = render_clip(CLASSES.index(label), [7])  # (N, 72, 72, 3)
folder = Path("data/chapter0")
folder.mkdir(parents=True, exist_ok=True)
forwards, backwards = folder / "forwards.mp4", folder / "backwards.mp4"
write_videos({forwards: pixels, backwards: pixels[::-1]}, ffmpeg_path())
for video in (forwards, backwards):
    result = predict(video, model, data, classes)
    print(f"{video.name}, of {len(pixels)} frames:")
    for name, p in list(zip(result.labels, result.probabilities))[:2]:
        print(f"  {p:6.1%}  {name}")

# %%
for video in (forwards, backwards):
    print(f"{video.name}: {predict(video, model, data, classes).labels[0]}")

# %% [markdown]
# ## Watch it decide
#
# Move the slider. At each frame the network gets what has been shown so far and no more. The bars are its three most probable labels at that
# moment. Orange shows where its motion gate ([chapter 2b](02b_mde.ipynb)) is high. Each stroke below the picture is a frame that the
# network reads; the taller it is, the more weight the frame has in Temporal Self-Attention ([chapter 2d](02d_attention.ipynb)).

# %% tags=["nbval-ignore-output", "hide-input", "player"]
with frame_folder(forwards, 72) as (frames, n):
    running = predict_along(frames, n, model, data)
    pictures = [Image.open(f).copy() for f in sorted(frames.glob("*.jpg"))]
overlay = Overlay(running, data, classes, pictures[0].size)
shown = list(range(1, n, 2))
best = running.probabilities.argmax(1).tolist()
display(
    player(
        [overlay.draw(i, pictures[i]) for i in shown],
        [f"frame {i + 1} of {n}: {classes[best[i]]}" for i in shown],
        label="frame",
        alt="A thing is pushed from left to right, in orange where the "
        "network finds motion. Below, its three most probable labels.",
        start=len(shown) // 2,
    )
)

# %% [markdown]
# In the first pictures hardly anything has moved, so the network cannot know the direction: whatever it says there is a guess. The right name
# comes with the motion. A right name need not be a sure one: after so little training its probability stays near 60 %. Orange shows a gate's value. It does not explain the answer: [chapter 5](05_attention_maps.ipynb) tests how far to
# trust it.
#
# ## Summary
#
# - `hitagu report environment` says what is missing here, and what to do.
# - The network looks at each frame alone, then at how they follow each other. A film and its reverse get different names.
# - A few seconds of training are enough for four drawn motions. It says nothing about real video.
#
# ## Exercises
#
# **1.** Play a clip in which nothing moves: one frame of `pixels`, repeated. What does the network say, and how sure is it?
#
# <details><summary>Solution</summary>
#
# ```python
# still = pixels[len(pixels) // 2][None].repeat(24, axis=0)
# write_videos({folder / "still.mp4": still}, ffmpeg_path())
# result = predict(folder / "still.mp4", model, data, classes)
# print(result.labels[0], f"{result.probabilities[0]:.0%}")
# ```
# It must choose one of its four names, and may be sure of it: no class says "none of these". A probability is a share among the classes
# that the network knows.
#
# </details>
#
# **2.** How many clips does it take? Train with 6 scenes of each pair in place of 48, for eight times as many epochs.
#
# <details><summary>Solution</summary>
#
# ```python
# EPOCHS, SCENES = 32, 6
# few = train_small()
# with torch.inference_mode():
#     right = (few(clips).argmax(1) == truth).float().mean()
# print(f"{right:.0%}")
# ```
# The network sees as many clips. The training loss falls as far or further, but fewer of the new clips are right: the network has learned
# twelve scenes, and less of what they share.
#
# </details>
#
# **3.** Which module costs most? `model_cost` counts the multiply-adds of one clip.
#
# <details><summary>Solution</summary>
#
# ```python
# from hitagu_lib.models.cost import model_cost
#
# for name, cost in model_cost(model, T, mini.data.image_size).items():
#     print(f"{name:>12} {cost.gflops:.3f} GFLOPs {cost.params_millions:.3f} M")
# ```
# The backbone: it works on every frame at the finest grids. [Chapter 2a](02a_backbone.ipynb) has the numbers for full-size clips.
#
# </details>
#
# ## Quiz
#
# **Why does the task use pairs in which each class is the other played backwards?**
#
# <details><summary>a) To have twice as many clips</summary>
#
# It does double them, but that is not why the classes were chosen.
#
# </details>
#
# <details><summary>b) Because real data sets have only such pairs</summary>
#
# No. Most classes of Kinetics can be told from one frame; some of Something-Something cannot.
#
# </details>
#
# <details><summary>c) Both members show the same frames, so only their order can tell them apart</summary>
#
# Yes. A network that averages over frames cannot expect more than one half of such clips.
#
# </details>
#
# **`predict` says 97 % for a holiday video. What does that mean?**
#
# <details><summary>a) The label is right in 97 of 100 such videos</summary>
#
# Only if such videos were in the validation set and the probabilities were calibrated there. Holiday videos were not.
#
# </details>
#
# <details><summary>b) Of the four labels that it knows, it prefers this one by far</summary>
#
# Yes. That is all a softmax says.
#
# </details>
#
# <details><summary>c) 97 % of the frames show the action</summary>
#
# No. The probability belongs to the clip.
#
# </details>
#
# **A network names 100 % of new clips in order, and 40 % with their frames in random order. What follows?**
#
# <details><summary>a) It uses the order of the frames</summary>
#
# Yes. The same frames in another order get other names.
#
# </details>
#
# <details><summary>b) It recognises the objects</summary>
#
# No. The objects are still there when the frames are shuffled, and most of the accuracy is gone.
#
# </details>
#
# <details><summary>c) It would name real videos as well</summary>
#
# No. It has seen drawn shapes alone.
#
# </details>
#
# ## Next
#
# [Chapter 1](01_data.ipynb) follows a video from its file to a batch. [Chapter 2a](02a_backbone.ipynb) starts to take the network apart.
#
# **References.** Wang et al., [*Temporal Segment Networks*](https://arxiv.org/abs/1608.00859), ECCV 2016. Goyal et al., [*The "something
# something" video database*](https://arxiv.org/abs/1706.04261), ICCV 2017. Kay et al., [*The Kinetics Human Action Video
# Dataset*](https://arxiv.org/abs/1705.06950), 2017.
