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
# # 10 Live: recognition while it happens
#
# **Result.** With `model.causal: true` no output depends on a later frame, so the network can stream: it reads one frame at a time, keeps a
# memory of fixed size, and gives the same answer as a run on the whole clip so far, up to rounding. On mini no cost shows at
# the end of a clip: 99.5 % against 98.9 % (+0.6 points, -0.2 to +1.4, five seeds). After half of it the causal network is right on 95.2 %, the one
# that is not causal on 71.0 % (+24.2 points, +12.3 to +36.1), but that one was not trained on so few frames. On ten spoken words the causal network is behind after half of a clip: 30.0
# against 35.7 % (-10.3 to -1.0 points over four folds, one seed). At the end the runs cannot tell: 63.8 against 68.1 % (-14.9 to +6.3).
#
# **You will be able to** ask what a network knows after half of a clip; say which modules look ahead and how each is made causal; stream a
# video frame by frame, save the stream and resume it.
#
# **Prerequisites**: [chapter 2c](02c_3stu.ipynb) and [chapter 2d](02d_attention.ipynb). **Time** on two CPU cores: about half a minute; not measured
# on a GPU. **Memory**: 1.5 GiB.

# %% [markdown]
# > **Given, and ours.** We were given the pipeline, which sees a whole clip. The causal form of each module, the prefix loss and the stream are
# > ours. Relatives: the online form of TSM (Lin et al. 2019), and memories with gates at each position (TRecViT, 2024).
#
# ## What do you know after half of the clip?
#
# A dot waits for four frames, then it moves to the left or to the right. Before the fifth frame nobody can know where to; after a few more,
# everybody can. A network that watches should say so: one half at first, then certain.

# %% tags=["hide-input"]
import os

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from hitagu_lib import build_model
from hitagu_lib.config import check_parameters, resolve
from hitagu_lib.data.frames import normalise
from hitagu_lib.files import project_root
from hitagu_lib.runs.provenance import source_of
from hitagu_lib.inference.streaming import Stream
from hitagu_lib.viz.figures import clip_rows
from hitagu_lib.viz.player import player
from hitagu_lib.viz.style import PALETTE, credit, new_figure

check_parameters(globals())  # this chapter takes none
os.chdir(project_root())
LABELS = ["moves left", "moves right"]
T, SIDE, WAIT = 12, 32, 4


# %%
def dots(clips, seed):
    """Return uint8 clips (B, T, 3, SIDE, SIDE) and labels (B,)."""
    random = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (clips,), generator=random)
    x0 = 12 + 8 * torch.rand(clips, generator=random)
    y0 = 6 + 20 * torch.rand(clips, generator=random)
    moved = 1.2 * (torch.arange(T) - WAIT + 1).clamp(min=0)  # (T,)
    x = x0[:, None] + (2 * label - 1)[:, None] * moved  # (B, T)
    grid = torch.arange(SIDE)
    away = (grid - x[..., None]).square()[:, :, None]
    away = away + (grid - y0[:, None]).square()[:, None, :, None]
    colour = 80 + 175 * torch.rand(clips, 1, 3, 1, 1, generator=random)
    pixels = colour * torch.exp(-away / 8)[:, :, None]
    return pixels.to(torch.uint8), label


shown, label = dots(2, seed=0)
print([LABELS[i] for i in label.tolist()])

# %% mystnb={"image": {"alt": "Two clips of twelve frames: a dot that stands still for four frames, then moves to one side."}} tags=["hide-input"]
figure = clip_rows(list(shown), [LABELS[i] for i in label.tolist()])

# %% [markdown]
# ## Who looks ahead?
#
# | module | as it was | with `model.causal: true` |
# |---|---|---|
# | backbone, SCA | sees one frame alone | the same |
# | MDE | compares a frame with the next and the previous one | with the previous one alone: no output is delayed |
# | 3STU | reads its own past | the same |
# | TSA | every frame sees every other | a frame sees itself and the `tsa_window` $-$ 1 before it; each head adds a learned slope times $\tau_i - \tau_j$ to the score, in place of (2d.5) |
# | head | reads the mean of all frames, or the last one | the mean of those so far, or the last one |
#
# In evaluation, BatchNorm normalises by stored statistics, so it does not mix frames either. TSM becomes its authors' online form: it shifts
# channels from the past alone.
#
# Do not believe the table: measure it. A gradient tells which frames an output depends on. Below, row $n$ shows which frames can change what
# the network holds of frame $n$.


# %%
def network(**changes):
    model = {
        "backbone": {"name": "resnet18", "cut": "layer1"},
        "mde": {"taps": ["stem"], "reduced": 8, "width": 16},
        "stu": {"width": 16},
        "attention": {
            "sca_kernel": 3,
            "tsa_width": 16,
            "tsa_heads": 2,
            "tsa_window": 6,
        },
        "dropout": 0.0,
    }
    torch.manual_seed(0)
    return build_model(resolve({"model": model | changes}).model, 2)


def depends(model, clip):
    """Return (T, T): whether frame embedding n depends on frame m."""
    for parameter in model.parameters():
        if not parameter.any():  # zero at first: would hide its module
            torch.nn.init.normal_(parameter, std=0.1)
    x = normalise(clip)[None].requires_grad_()
    _, maps = model.eval()(x, return_embeddings=True)
    rows = []
    for n in range(T):
        output = maps.frame_embeddings[0, n].square().sum()
        (g,) = torch.autograd.grad(output, x, retain_graph=True)
        rows.append(g[0].abs().amax((1, 2, 3)) > 0)
    return torch.stack(rows)


masks = {
    "not causal": depends(network(), shown[0]),
    "causal": depends(network(causal=True), shown[0]),
}
for name, mask in masks.items():
    ahead = int(mask.triu(1).sum())
    print(f"{name}: {ahead} of {T * (T - 1) // 2} later frames seen")

# %% mystnb={"image": {"alt": "Two squares of twelve by twelve cells. Not causal: all cells are filled. Causal: only the cells on and below the diagonal are filled."}} tags=["hide-input"]
figure, axes = new_figure(3.2, 1, 2)
for ax, (name, mask) in zip(axes, masks.items(), strict=True):
    ax.imshow(mask, cmap="Blues", vmin=0, vmax=1.5)
    ax.set(title=name, xlabel="frame that is changed")
    ax.set(ylabel="frame that feels it")
    ax.grid(visible=False)

# %% [markdown]
# ## Train on every prefix
#
# A network that is asked only at the end need not answer well earlier. `train.prefix_loss` adds the mean cross-entropy over all
# prefixes of a clip to the loss. Here is that term alone, in a plain loop: `every_prefix=True` gives the logits after each frame.

# %% tags=["nbval-ignore-output", "trained"]
model = network(causal=True, readout="last").train()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for step in range(150):
    clips, label = dots(16, seed=1000 + step)
    every = model(normalise(clips), every_prefix=True)  # (B, T, 2)
    labels = label[:, None].expand(-1, T)
    loss = F.cross_entropy(every.transpose(1, 2), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 49:
        print(f"step {step + 1}: loss {loss.item():.2f}", flush=True)

# %%
clips, label = dots(200, seed=0)
with torch.inference_mode():
    every = model.eval()(normalise(clips), every_prefix=True)
right = (every.argmax(2) == label[:, None]).float().mean(0)
print("at the end above 90 %:", bool(right[-1] > 0.9))
print("before it moves below 75 %:", bool((right[:WAIT] < 0.75).all()))

# %% mystnb={"image": {"alt": "Top-1 over the frames seen: about one half while the dot waits, then it rises."}} tags=["hide-input"]
figure, ax = new_figure(2.6)
ax.plot(range(1, T + 1), 100 * right, "o-")
ax.axvline(WAIT + 0.5, color="0.3", linestyle="--", linewidth=1)
ax.text(WAIT + 0.6, 12, "it moves")
_ = ax.set(xlabel="frames seen", ylabel="top-1 (%)", ylim=(0, 102))

# %% [markdown]
# ## The stream
#
# `Stream` holds what the network needs of the past. It takes a frame and the time at which the frame is shown, and returns the logits. Times
# are in reference strides (with `seconds_per_stride`, in seconds). They may be unevenly spaced: the 3STU's gates and TSA read the time that
# has passed. Give about one frame in each reference stride, as in training: `hitagu predict --stream` does so, and repeats its last answer in
# between.

# %%
stream = Stream(model)
t = (
    0.5 + torch.rand(T, generator=torch.Generator().manual_seed(2))
).cumsum(0)
clip = clips[0]
streamed = torch.stack([stream.step(clip[n], t[n]) for n in range(T)])
with torch.inference_mode():
    prefixes = [
        model(normalise(clip[:n])[None], t[None, :n])[0]
        for n in range(1, T + 1)
    ]
difference = (streamed - torch.stack(prefixes)).abs().max()
print("stream equals forward on the prefix:", bool(difference < 1e-5))

# %% [markdown]
# The memory has the same size after any number of frames. In this network most of it is the 3STU's three states at each position (with
# ResNet-50, just under half). The rest is mainly MDE's last frame and the keys and values of TSA's window.

# %%
before = stream.num_bytes
for n in range(200):
    stream.step(clip[n % T], 100.0 + n)
print(stream)
print("as many bytes as before:", stream.num_bytes == before)

# %% [markdown]
# The cost of a frame does not grow either. A network without a stream has to see a clip of $T$ frames again at each new frame; it can keep
# the frames' features, but its temporal half runs over all $T$ of them.

# %% [markdown]
# You can save a stream and resume it: `state_dict` holds tensors and plain values.

# %%
taken_up = Stream(model)
taken_up.load_state_dict(stream.state_dict())
again = taken_up.step(clip[0], 500.0)
print(
    "goes on as the other:", torch.equal(again, stream.step(clip[0], 500.0))
)

# %% [markdown]
# Several videos can share a batch, each of its own age: `stream.reset(torch.tensor([1]))` starts the second one anew.
#
# ## A label while it plays

# %% tags=["hide-input", "nbval-ignore-output", "player"]
stream = Stream(model)
pictures, captions = [], []
for n, frame in enumerate(clip):
    p = stream.step(frame, float(n)).softmax(0)
    picture, (left, ax) = plt.subplots(1, 2, figsize=(6, 2.4))
    left.imshow(frame.permute(1, 2, 0))
    left.set(xticks=[], yticks=[])
    ax.barh(LABELS, 100 * p, color=PALETTE[0])
    ax.set(xlim=(0, 100), xlabel="probability (%)")
    picture.tight_layout()
    pictures.append(picture)
    best = int(p.argmax())
    captions.append(f"frame {n + 1}: {LABELS[best]}, {p[best]:.0%}")
player(
    pictures,
    captions,
    label="frame",
    alt="A frame of the clip, and the two probabilities so far",
)

# %% [markdown]
# In a terminal, a trained causal network follows a file, a camera or a pipe, and labels a long video over time:
#
# ```bash
# hitagu train --overrides "run=outputs/causal model.causal=true train.prefix_loss=0.5"
# hitagu predict --stream new.mp4 --checkpoint outputs/causal/checkpoints/last.pt
# hitagu predict --stream /dev/video0 --checkpoint outputs/causal/checkpoints/last.pt
# hitagu timeline match.mp4 --stream --checkpoint outputs/causal/checkpoints/last.pt
# hitagu export --step --checkpoint outputs/causal/checkpoints/last.pt --out step.onnx
# ```
#
# ## What has been measured
#
# `python -m experiments.streaming` compares the causal network, with and without the prefix loss, with the network that is not causal, TSM's
# online form, a causal TSA with as many bytes in place of the 3STU, and TSN's running mean. All train for about the same time: on mini under five
# seeds, on hard under one, on the ten spoken words of [chapter 7](07_your_own_videos.ipynb) in four folds of speakers, one seed, and, four of
# them, on the memory set under one.

# %% mystnb={"image": {"alt": "Top-1 over the share of the clip seen, a line per method, on mini, hard and ten spoken words. On mini both causal networks and the causal TSA rise fastest, to above 95 percent at half of the clip. There the network that is not causal is at 71 percent, TSM at 72 and TSN at 37. On hard the prefix loss is ahead until four fifths of the clip are seen; all but TSM and TSN end at 99 percent or more. On the words all begin at 10 percent, and the causal network with the prefix loss is ahead up to half of the clip."}} tags=["hide-input"]
from pathlib import Path

from IPython.display import Markdown, display

from experiments.streaming import read_shares

published = Path("outputs/published/streaming")
sets = {"mini": "mini", "hard": "hard", "lips_words": "ten spoken words"}
figure, axes = new_figure(3.2, 1, 3, sharey=True)
for ax, (name, title) in zip(axes, sets.items()):
    found = read_shares(published / name)
    for (method, shares), mark in zip(found.items(), "osv^DP"):
        means = [sum(top1) / len(top1) for top1 in shares.values()]
        ax.plot(
            list(shares), means, marker=mark, markersize=4, label=method
        )
    ax.set(title=title, xlabel="share of the clip seen (%)", ylim=(0, 102))
axes[0].set_ylabel("top-1 (%)")
handles, methods = axes[0].get_legend_handles_labels()
_ = figure.legend(
    handles, methods, fontsize=7, ncols=6, loc="outside upper center"
)
_ = credit(figure, source_of(published))

# %% tags=["hide-input"]
for name, title in (sets | {"memory": "memory"}).items():
    table = (published / name / "shares.md").read_text()
    display(Markdown(f"**{title}**\n\n{table}"))

# %% [markdown]
# After half of a clip of mini, the causal network is right on 95.2 % of the clips, with the prefix loss 97.7 %; after an eighth, 36.8 and 65.2 %: training on
# prefixes pays where little has been seen. An eighth is one frame; there TSM's online form is ahead of the causal network without that loss,
# with 44.1 %, and TSN is near it with 34.5 %. Even one frame may give the class away if it is known to be the first: a thing at the
# left edge will probably go right. The network that is not causal is right on 71.0 % at half. It is run on fewer frames than
# it was trained on, which may cost as much as the frames that have not come; eight frames taken from the part seen were not tried. TSM's
# online form reaches 72.3 %, TSN 37.1 %. A causal TSA without the 3STU is as good, 95.8 %: mini's clips are short, and its window holds all of
# their frames.
#
# Clips of hard have 16 frames, and six of its 14 classes are two events with a pause between them: half of such a clip often shows one event
# alone. After half of it, the causal network is right on 61.2 %, with the prefix loss on 76.4 %, the network that is not causal on 51.4 %,
# a causal TSA on 60.7 %, TSM's online form on 33.8 % and TSN on 26.4 %. At its end the first four are right on 99.5, 99.5, 99.8
# and 99.0 %, TSM's online form on 41.4 % and TSN on 36.0 % (one seed).
#
# Of the words, every method knows little after half of the clip; with the prefix loss the causal network is right on 37.5 %, without it on 30.0 %,
# and TSM's online form on 33.9 %; the network that is not causal, run anew on each prefix, on 35.7 %. At the end the causal network is
# right on 63.8 %, the one that is not causal on 68.1 %, TSM's online form on 50.8 % and TSN on 39.2 %. Without the 3STU, with a causal
# TSA in its place, it ends at 53.2 %, 10.5 points lower (+5.8 to +15.2 by Student's t over the four folds, one seed), and after half no
# difference shows. (These clips fit into the TSA's window, so the bytes do not matter here.) In the form that sees the whole clip the 3STU is
# worth 0.4 points (-1.9 to +2.7, chapter 7).
#
# On the memory set the stream holds what it saw: the causal network is right on 100.0 % of all clips at their end, after 1, 2, 4 and 8 times the wait of training.
# A causal TSA with as many bytes is right on 50.0 % of the clips of *Lighting* (chapter 2c; chance is 50 %) at the wait of training and on 41.7 % at four times it, TSM's online form on 56.7 and 50.0 %.
# One seed is little.
#
# `python -m benchmarks.streaming` times a stream frame by frame on one core (`outputs/published/streaming`). With mini's network a frame takes
# 3.0 ms after 10 frames and 2.8 ms after 10,000, and the state stays at 53,380 bytes. That is 2.2 times the bare backbone, whose maps are
# small here. With ResNet-50 at 224 pixels, the case for which the modules are meant, a frame takes 80 ms, 1.13 times the bare backbone.

# %% [markdown]
# ## Summary
#
# - A causal network's output at a frame depends on no later frame; a gradient shows it.
# - On mini a causal network answers early; on the words it is 5.7 points behind the usual one after half of a clip. `train.prefix_loss` helps most where little has been seen.
# - A stream gives what `forward` gives on the prefix, at constant cost and with a memory of fixed size.
#
# ## Exercises
#
# **1.** Set `readout="mean"` in the training cell. How does the curve after the fourth frame change, and the probability of the right class?
# Why?
#
# <details><summary>Solution</summary>
#
# Top-1 hardly changes. The four frames that know nothing add nearly the same to both logits, so the first frame with motion decides, also in
# a mean. The network is only less sure there: about 0.95 in place of 1.00. A mean delays an answer where earlier frames spoke for
# *another* class.
#
# </details>
#
# **2.** Does the causal mask above still hold with `tsa_window` 1? What is left of TSA?
#
# <details><summary>Solution</summary>
#
# ```python
# attention = {"sca_kernel": 3, "tsa_width": 16, "tsa_heads": 2, "tsa_window": 1}
# depends(network(causal=True, attention=attention), shown[0])
# ```
# Yes: the 3STU still carries the past. TSA sees the frame itself alone, with weight 1: what is left of it is LayerNorm, linear layers and the residual.
#
# </details>
#
# ## Quiz
#
# **A causal network is right on 60 % of the clips after half of their frames. What is missing to call that good or bad?**
#
# <details><summary>a) Its training loss</summary>
#
# No: that says little about what half of a clip shows.
#
# </details>
#
# <details><summary>b) Its number of parameters</summary>
#
# No: what can be known does not depend on it.
#
# </details>
#
# <details><summary>c) What anybody could know by then</summary>
#
# Yes: before the dot moves, one half is all that can be known. Compare with peers at the same share.
#
# </details>
#
# **Why does MDE look back alone, though the next frame would tell more?**
#
# <details><summary>a) Waiting for the next frame would delay every answer by one frame</summary>
#
# Yes: it is a choice. One frame of delay would buy one frame of future.
#
# </details>
#
# <details><summary>b) The next frame costs too much to encode</summary>
#
# No: each frame is encoded once in either case.
#
# </details>
#
# <details><summary>c) A gradient cannot flow backwards in time</summary>
#
# It can: training uses it all the time.
#
# </details>
#
# **What grows with the number of frames that a stream has seen?**
#
# <details><summary>a) Its bytes</summary>
#
# No: they are fixed by the network and the size of a frame.
#
# </details>
#
# <details><summary>b) Its age, one number</summary>
#
# Yes, and the running mean divides by it: later frames move a mean ever less.
#
# </details>
#
# <details><summary>c) The time that a frame takes</summary>
#
# No: the network sees one frame, whatever came before.
#
# </details>
#
# ## Next
#
# [Chapter 6](06_ablations.ipynb) compares methods on whole clips. [Chapter 7](07_your_own_videos.ipynb) trains on your own videos, which
# `model.causal: true` then follows live.
#
# **References.** Lin et al., [*TSM: Temporal Shift Module for Efficient Video Understanding*](https://arxiv.org/abs/1811.08383), ICCV 2019.
# Pătrăucean et al., [*TRecViT: A Recurrent Video Transformer*](https://arxiv.org/abs/2412.14294), 2024. Press et al., [*Train Short, Test
# Long*](https://arxiv.org/abs/2108.12409) (ALiBi), ICLR 2022.
