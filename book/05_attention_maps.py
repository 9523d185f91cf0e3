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
# # 5 Attention maps: what the trained network looks at
#
# **Result.** On mini, not every map of the trained network can be trusted. We test a map by deletion: we paint over the *cells* (places in a
# frame) that it ranks highest, and watch the probability of the predicted class fall. A *control* paints over as many cells elsewhere: those
# of the same map *moved*, those of *another clip's* map, or, for whole frames, some *at random*. If the map is right, the probability falls
# faster than under the control. It does for the motion gate and for Grad-CAM. **For the spatial gate it falls more slowly**: that gate is
# dark where things move.
#
# The table has the *gain* over each control: the area under the control's falling curve minus the area under the map's (84 validation clips,
# one run, commit d00a4e11c). The intervals are under *Can the maps be trusted?*.
#
# | deleted by | moved | another clip's | at random |
# |---|---|---|---|
# | motion gate | better, +0.31 | better, +0.15 |  |
# | spatial gate | worse, -0.12 | worse, -0.03 |  |
# | Grad-CAM | better, +0.21 | better, +0.14 |  |
# | temporal attention |  | better, +0.05 | better, +0.03 |
#
# We repeated the test on five other networks, with four ways to paint. Under three of the four, all five networks agree: the motion gate and
# Grad-CAM are better than both controls; the spatial gate is worse than the same gate moved, and never better than another clip's. Under the
# fourth, which deletes little, most comparisons are open. For temporal attention the networks differ.
#
# **You will be able to** draw each gate, state and attention weight of a trained network over the frames of a clip; hold them against Grad-CAM,
# which weighs a map by the gradient of a class and draws no gate; and measure whether a map can be trusted.
#
# **Prerequisites**: chapters [2b](02b_mde.ipynb) to [2d](02d_attention.ipynb) for the modules, [chapter 3](03_train.ipynb), whose mini run
# this chapter reads. If the run is missing, it is trained first, with its baseline, three to twelve minutes on two CPU cores. **Time** for the
# rest: half a minute to two minutes; not measured on a GPU yet. **Memory**: 2 GiB.

# %% [markdown]
# > **Given, and ours.** We were given the modules' names. The gates, the states and the attention that are drawn here are our reconstruction. The
# > measure of trust is the deletion curve of RISE (Petsiuk et al. 2018); Grad-CAM is Selvaraju et al.'s (2017), as captum computes it.
#
# ## Runs
#
# The chapter reads finished runs: one on mini, and, where they exist, one on the memory set and one on clips of your own. A run that is absent is
# skipped, and the cell says why.

# %% tags=["parameters"]
run = "outputs/mini"  # a run on mini; trained if it is missing
memory_run = "outputs/memory"  # a run on the memory set
own_run = "outputs/own"  # a run on real clips, as chapter 7 makes one

# %% tags=["hide-input"]
import json
import os
import textwrap
from pathlib import Path
from types import SimpleNamespace

import torch
from IPython.display import Markdown, display
from matplotlib_inline.backend_inline import set_matplotlib_formats

from hitagu_lib.config import check_parameters, load_config
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.source import open_lists
from hitagu_lib.evaluation.faithfulness import (
    against_random,
    areas,
    cell_curve,
    frame_curve,
    moved,
    of_another_clip,
    random_like,
)
from hitagu_lib.files import project_root
from hitagu_lib.inference.predict import load_model
from hitagu_lib.runs.provenance import source_of
from hitagu_lib.training import trainer as training
from hitagu_lib.viz.explore import explore
from hitagu_lib.viz.grad_cam import grad_cam
from hitagu_lib.viz.live import LiveCurves, watched
from hitagu_lib.viz.maps import (
    attention_figure,
    channels_figure,
    deletion_figure,
    draw_spotlights,
    frame_figure,
    kept,
    kept_figure,
    spotlight_rows,
    states_figure,
)
from hitagu_lib.viz.modules import STATES
from hitagu_lib.viz.style import credit, new_figure

check_parameters(globals(), "run", "memory_run", "own_run")
os.chdir(project_root())  # the same from the root and from book/
set_matplotlib_formats("jpeg")  # rows of frames: a quarter of a PNG's bytes

# %% tags=["nbval-ignore-output", "trained"]
if not Path(run, "summary.json").exists():
    cfg = load_config("params/mini.yaml", f'run="{run}"')
    training.train(
        cfg, on_epoch=LiveCurves(cfg.train.epochs), progress=watched()
    )
print(source_of(run))


# %% [markdown]
# `look` sends clips of a run's validation list through its network and returns everything that can be drawn.


# %%
def open_run(folder):
    """Return a run's network and its validation clips."""
    model, cfg, classes = load_model(f"{folder}/checkpoints/last.pt")
    val = ClipDataset(open_lists(cfg.data)[1], cfg.data, train=False)
    source = source_of(folder)
    return SimpleNamespace(
        model=model, clips=val, classes=classes, source=source
    )


def look(opened, rows):
    """Return the clips `rows` with what the network makes of them."""
    clips = [opened.clips[0, row] for row in rows]
    frames = torch.stack([clip[0] for clip in clips])
    x, t = normalise(frames), torch.stack([clip[1] for clip in clips])
    with torch.no_grad():
        logits, maps = opened.model(x, t, return_maps=True)
    called = logits.argmax(1)
    return SimpleNamespace(
        rows=list(rows),
        frames=frames,  # uint8 (B, T, 3, S, S)
        x=x,
        t=t,  # (B, T)
        labels=torch.tensor([clip[2] for clip in clips]),
        called=called,
        sure=logits.softmax(1).amax(1),
        maps=maps,
        cam=grad_cam(opened.model, x, t, called),
        states=opened.model.states(x, t)[1],
    )


def where(seen, i):
    """Return the maps over places of clip i, each (T, h, w)."""
    return {
        "motion gate": seen.maps.motion_gate[i],
        "spatial gate": seen.maps.spatial_map[i],
        "Grad-CAM": seen.cam[i],
    }


def title(opened, seen, i):
    label, called = (
        opened.classes[k] for k in (seen.labels[i], seen.called[i])
    )
    verdict = "right" if label == called else f"WRONG: called {called}"
    return f"{label} ({verdict}, {seen.sure[i]:.0%} sure)"


mini = open_run(run)
# every fifth clip of 420: six of each class
step = max(1, len(mini.clips) // 84)
seen = look(mini, range(0, len(mini.clips), step))
for name, value in vars(seen.maps).items():
    if value is not None:
        print(f"{name:>20}: {tuple(value.shape)}")
print(f"{'states':>20}: {tuple(seen.states.shape)}")

# %% [markdown]
# ## Where: motion gate, spatial gate, Grad-CAM
#
# A frame is bright where its map is high, so these pictures read the same in grey. The **motion gate** is $|a|$ of MDE (chapter 2b), averaged
# over channels: a position is bright if MDE changes its features much, up or down. The **spatial gate** is SCA's (2d.2). **Grad-CAM** is a
# second opinion: it weighs the map that SCA receives by the gradient of the predicted class. The gates influence it, but it draws none of them.

# %% mystnb={"image": {"alt": "Eight frames of a clip from left to right. Below them the same frames lit by the motion gate, by the spatial gate and by Grad-CAM: bright where the map is high, dark elsewhere."}} tags=["hide-input"]
pushed, spun = (
    next(
        i
        for i, label in enumerate(seen.labels)
        if mini.classes[label].startswith(word)
    )
    for word in ("Pushing", "Spinning")
)


def draw_where(opened, seen, i):
    figure = spotlight_rows(
        seen.frames[i], where(seen, i), seen.t[i], title(opened, seen, i)
    )
    return credit(figure, opened.source)


figure = draw_where(mini, seen, pushed)
figure.savefig(f"{run}/maps.png", dpi=110)

# %% mystnb={"image": {"alt": "The same for a clip in which a thing spins: frames, motion gate, spatial gate, Grad-CAM."}} tags=["hide-input"]
figure = draw_where(mini, seen, spun)

# %% [markdown]
# The motion gate follows the thing. The spatial gate is darkest where the thing moves. So a gate may mark what matters with its *low* values.
#
# How much of each map lies on what moves? The mini videos come without a mask of what moves, so we take the tenth of the cells whose pixels change most
# from frame to frame. A map that knows nothing puts a tenth of its highest cells there.


# %%
def top_cells(maps, share=0.1):
    """Mark the highest `share` of each clip's cells, (B, N)."""
    flat = maps.flatten(1)
    count = round(share * flat.shape[1])
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    return chosen.scatter_(1, flat.topk(count, dim=1).indices, True)


change = torch.diff(seen.x, dim=1).abs().mean(2)
change = torch.cat([change[:, :1], change], dim=1)  # (B, T, S, S)
grid = seen.maps.spatial_map.shape[-2:]
change = torch.nn.functional.adaptive_avg_pool2d(change, grid)
places = {
    "motion gate": seen.maps.motion_gate,
    "spatial gate": seen.maps.spatial_map,
    "Grad-CAM": seen.cam,
}

# %% tags=["nbval-ignore-output", "trained"]
moves = top_cells(change)
for name, maps in places.items():
    hit = top_cells(maps)[moves].float().mean()
    print(f"{name:>12}: {hit:.0%} of the cells that change most")

# %% [markdown]
# ## Which channels
#
# SCA's channel gate (2d.1) has one value for each channel of each frame. A column of one colour is a channel whose gate stays the same in all
# frames. Where the colour changes down a column, the gate depends on the frame.

# %% mystnb={"image": {"alt": "Channel gates of one clip: a column for each channel, sorted from open to closed, a row for each frame."}} tags=["hide-input"]
figure = channels_figure(
    seen.maps.channel_gate[pushed],
    seen.t[pushed],
    title(mini, seen, pushed),
)
figure = credit(figure, mini.source)

# %% tags=["nbval-ignore-output", "trained"]
gate = seen.maps.channel_gate
print(f"spread over channels:       {gate.mean((0, 1)).std():.3f}")
print(f"within a clip, over frames: {gate.std(1).mean():.3f}")

# %% [markdown]
# Both numbers are standard deviations. From frame to frame of a clip, a channel's gate varies about as much as the channels differ from one
# another: the gate answers the frame, it is not a fixed weight for each channel.
#
# ## Who remembers what, where, when
#
# The 3STU has three states (chapter 2c). `model.states(x, t)` returns each of them after every frame, at every position. Below: their size,
# $|h|$, over places and frames.

# %% mystnb={"image": {"alt": "Eight frames of a clip, and below them the size of the short, mid and long state at each place after each frame, on one scale."}} tags=["hide-input"]
i = pushed
figure = states_figure(
    seen.frames[i], seen.states[i], seen.t[i], title(mini, seen, i)
)
figure = credit(figure, mini.source)

# %% [markdown]
# *When*: how alike is a state at two times? Where the cosine stays near 1 off the diagonal, the state hardly changed: it kept what it held, or
# its input stayed alike. Which of the two, only a probe can tell (below).

# %% mystnb={"image": {"alt": "Three squares, short, mid and long: the cosine between a state at two times, time by time. The brighter beside the diagonal, the less the state changes between the two times."}} tags=["hide-input"]
figure = kept_figure(seen.states[i], seen.t[i], title(mini, seen, i))
figure = credit(figure, mini.source)

# %% tags=["nbval-ignore-output", "trained"]
alike = torch.stack([kept(states) for states in seen.states]).mean(0)
for k, name in enumerate(STATES):
    first, last = alike[k].diagonal(1).mean(), alike[k, 0, -1]
    print(f"{name:>6}: next frame {first:.2f}, first to last {last:.2f}")

# %% [markdown]
# ### On the memory set
#
# Mini's events fill the clip, so little has to be remembered. The memory set asks for more (chapter 2c). In *Lighting*, one of its tasks, four
# lamps flash in two colours, then all are dark. The last frame marks one lamp, and the class is the colour that this lamp showed last. No
# frame after the flashes shows it: the network must have kept it.

# %% mystnb={"image": {"alt": "Where a run on the memory set exists: the eight frames of a clip with four lamps, and the three states' size below them."}} tags=["hide-input", "nbval-ignore-output", "machine"]
if Path(memory_run, "checkpoints/last.pt").exists():
    memory = open_run(memory_run)
    row = next(
        row
        for row in range(len(memory.clips))
        if memory.classes[memory.clips.clips.labels[row]].startswith(
            "Light"
        )
    )
    lamp = look(memory, [row])
    figure = states_figure(
        lamp.frames[0],
        lamp.states[0],
        lamp.t[0],
        title(memory, lamp, 0),
    )
    figure = credit(figure, memory.source)
else:
    memory = None
    print(f"skipped: there is no run in {memory_run}. To make one:")
    print("hitagu train --params params/memory.yaml")

# %% [markdown]
# The same clip under the other maps:

# %% mystnb={"image": {"alt": "Where a run on the memory set exists: the same eight frames lit by the motion gate, by the spatial gate and by Grad-CAM."}} tags=["hide-input", "nbval-ignore-output", "machine"]
if memory:
    figure = draw_where(memory, lamp, 0)

# %% mystnb={"image": {"alt": "Where a run on the memory set exists: channel gates of the clip, a column for each channel, a row for each frame."}} tags=["hide-input", "nbval-ignore-output", "machine"]
if memory:
    figure = channels_figure(
        lamp.maps.channel_gate[0], lamp.t[0], title(memory, lamp, 0)
    )
    figure = credit(figure, memory.source)

# %% mystnb={"image": {"alt": "Where a run on the memory set exists: the heads of temporal attention for the clip, the frame that asks on the left, the frame that is read above."}} tags=["hide-input", "nbval-ignore-output", "machine"]
if memory:
    figure = attention_figure(
        lamp.frames[0],
        lamp.maps.temporal_attention[0],
        lamp.t[0],
        title(memory, lamp, 0),
    )
    figure = credit(figure, memory.source)

# %% [markdown]
# In the last frame, Grad-CAM lights the marked lamp and nothing else: the frame shows the question, not the answer. Do the states hold the
# answer? A *linear probe* is a linear classifier that is trained on a network's features: if it finds the colour, the features contain it. We
# train one on the states at a lamp's position, in the last frame before the mark. As a control we train one on the 3STU's input in the same
# frame, where all lamps look alike. A third one gets the mean of the states over all positions. (For a run of yours: `python -m experiments.lamp_probe --run outputs/memory --out
# outputs/lamp_probe`.)

# %% mystnb={"image": {"alt": "Where the probe was measured: the share of lamps whose colour a linear probe reads, over the frames waited, for the input and each state, beside the dashed line of chance at 50 percent."}} tags=["hide-input"]
probed = Path("outputs/published/lamp_probe/probe.json")
if probed.exists():
    found = json.loads(probed.read_text())
    lists = found["lists"].values()
    figure, ax = new_figure(2.8)
    styles = ["o-", "s--", "^-.", "D:", "v-", "x--"]
    for name, style in zip(next(iter(lists))["features"], styles):
        ax.plot(
            [one["wait_frames"] for one in lists],
            [100 * one["features"][name]["right"] for one in lists],
            style,
            label=name,
        )
    ax.axhline(50, color="0.3", linestyle="--", linewidth=1)
    ax.set(xlabel="frames waited", ylabel="lamps read (%)", ylim=(30, 102))
    ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure = credit(figure, found["run"])
else:
    print(f"skipped: not measured yet, {probed} is not there")

# %% [markdown]
# The probe was measured on one run of the recipe (`outputs/published/lamp_probe`). On all three states it reads the colours of 100 % of the
# lamps after waits of 12 and 24 frames, of 95 % after 48 and of 85 % after 96. On the input of the same frame it is right in 44 to 54 %,
# which is chance: the colour is in the states alone. On the mean over positions the probe must fail: the four lamps of a
# clip then share one vector, and two of them have each colour, so any probe is right in 50 %.
#
# The probes are fitted to training clips, which wait 12 frames. After 96 frames the long state alone still gives 96 %, the mid one 85 % and
# the short one 76 %; the probe on all three does worse than that on the long one alone, because it also uses the other two.

# %% [markdown]
# ## Which frames
#
# Temporal attention, head by head: the row is the frame that asks, the column the frame that it reads. The frames that ask stand on the left,
# those that are read above.

# %% mystnb={"image": {"alt": "Four squares, one for each head of temporal attention. The clip's frames stand on the left, where they ask, and above, where they are read; a cell is bright where the weight is large."}} tags=["hide-input"]
figure = attention_figure(
    seen.frames[i],
    seen.maps.temporal_attention[i],
    seen.t[i],
    title(mini, seen, i),
)
figure = credit(figure, mini.source)

# %% [markdown]
# A bright column is a frame that is read whoever asks. Where rows differ, it matters who asks.
#
# ## Right and wrong side by side
#
# On the left is the clip that the network gets right but is least sure of. On the right is one that it gets wrong, or the second least sure
# if it gets none wrong. Every other frame is shown.

# %% tags=["hide-input", "nbval-ignore-output", "trained"]
sure, wrong = [], []
for begin in range(0, len(mini.clips), 84):
    rows = range(begin, min(begin + 84, len(mini.clips)))
    frames, t, labels, _ = zip(*(mini.clips[0, row] for row in rows))
    with torch.no_grad():
        logits = mini.model(normalise(torch.stack(frames)), torch.stack(t))
    sure.append(logits.softmax(1).amax(1))
    wrong.append(logits.argmax(1) != torch.tensor(labels))
sure, wrong = torch.cat(sure), torch.cat(wrong)
by_doubt = sure.argsort().tolist()
right_ones = [row for row in by_doubt if not wrong[row]]
wrong_ones = [row for row in by_doubt if wrong[row]]
print(f"{len(wrong_ones)} of {len(wrong)} validation clips are wrong")

# %% mystnb={"image": {"alt": "Two clips side by side, four frames each, with motion gate, spatial gate and Grad-CAM below: on the left one that the network gets right, on the right one that it gets wrong or is least sure of."}} tags=["hide-input"]
pair = look(mini, [right_ones[0], (wrong_ones + right_ones[1:])[0]])
figure, placeholder = new_figure(4.8)
placeholder.remove()
for j, half in enumerate(figure.subfigures(1, 2)):
    maps = {name: m[::2] for name, m in where(pair, j).items()}
    said = textwrap.fill(title(mini, pair, j), 54)
    draw_spotlights(half, pair.frames[j, ::2], maps, pair.t[j, ::2], said)
figure = credit(figure, mini.source)

# %% [markdown]
# ## Can the maps be trusted?
#
# A map is a claim: *this is what decides*. Test it. Take the cells that it ranks highest, paint them over with the clip's mean colour, and
# see how the probability of the predicted class falls. The controls delete as many cells: the same map **moved** to a random place and time,
# so with the same shapes; and **another clip's** map, which knows where things usually are, but not where they are here. The gain is the
# area under the control's curve minus the area under the map's, with an interval from a bootstrap over clips. The map is *better* than the
# control if the interval lies above zero, *worse* if it lies below, and *open* if it holds zero.

# %% tags=["hide-input"]
SHARES = [0, 0.05, 0.1, 0.2, 0.4]
generator = torch.Generator().manual_seed(0)
curves, controls = {}, {}


def fall(maps):
    return cell_curve(mini.model, seen.x, seen.t, seen.called, maps, SHARES)


for name, maps in places.items():
    curves[name] = fall(maps)
    controls[name] = {
        "moved": fall(moved(maps, generator)),
        "another clip's": fall(of_another_clip(maps)),
    }
curves["moved (mean of the three)"] = torch.stack(
    [control["moved"] for control in controls.values()]
).mean(0)
curves["another clip's (mean)"] = torch.stack(
    [control["another clip's"] for control in controls.values()]
).mean(0)

# %% mystnb={"image": {"alt": "Left: probability of the class over the share of cells deleted, mean over clips with the middle half as a band, for motion gate, spatial gate, Grad-CAM and the two controls. Right: the areas under the curves, by clip, as boxes."}} tags=["hide-input"]
figure = deletion_figure(curves, SHARES, "cells")
figure = credit(figure, f"{mini.source}; {len(seen.rows)} clips")

# %% tags=["hide-input", "nbval-ignore-output", "trained"]
HEAD = """| deleted by | area | control | its area | difference | interval | verdict |
|---|---:|---|---:|---:|---|---|"""


def compared(name, curve, kind, control, shares):
    found = against_random(areas(curve, shares), areas(control, shares))
    low, high = found["interval"]
    return (
        f"| {name} | {found['area']:.3f} | {kind} | {found['random']:.3f} "
        f"| {found['difference']:+.3f} | {low:+.3f} to {high:+.3f} "
        f"| {found['verdict']} |"
    )


lines = [
    compared(name, curves[name], kind, control, SHARES)
    for name in places
    for kind, control in controls[name].items()
]
cam = curves["Grad-CAM"]
lines += [
    compared("motion gate", curves["motion gate"], "Grad-CAM", cam, SHARES)
]
display(Markdown("\n".join([HEAD, *lines])))

# %% [markdown]
# The same for **frames**. Take out the frame that temporal attention reads most, then the next, and so on; the rest keep their times, so the network
# is told of the gap. The controls take out as many at random, and those that another clip's attention reads most.

# %% tags=["hide-input"]
reads = seen.maps.temporal_attention.mean((1, 2))  # (B, T)


def fall_frames(weights):
    return frame_curve(mini.model, seen.x, seen.t, seen.called, weights)


T = reads.shape[1]
frame_shares = [count / T for count in range(T)]
by_frames = {
    "most read first": fall_frames(reads),
    "least read first": fall_frames(-reads),
    "another clip's": fall_frames(of_another_clip(reads)),
    "at random": torch.stack(
        [fall_frames(random_like(reads, generator)) for _ in range(12)]
    ).mean(0),
}

# %% mystnb={"image": {"alt": "Left: probability of the class over the share of frames deleted: the most read frames first, the least read first, another clip's most read, and at random. Right: the areas under the curves, by clip."}} tags=["hide-input"]
figure = deletion_figure(by_frames, frame_shares, "frames")
figure = credit(figure, f"{mini.source}; {len(seen.rows)} clips")

# %% tags=["hide-input", "nbval-ignore-output", "trained"]
lines = [
    compared(
        "temporal attention",
        by_frames["most read first"],
        control,
        by_frames[control],
        frame_shares,
    )
    for control in ("another clip's", "at random")
]
display(Markdown("\n".join([HEAD, *lines])))

# %% [markdown]
# The control matters: over the moved gate the motion gate gains 0.31, over another clip's only 0.15. So half of the gain comes from knowing
# where things usually are. The motion gate and Grad-CAM cannot be told apart (areas 0.41 and 0.44). The spatial gate marks by low values: delete each map's *lowest* cells, and the
# probability falls most for the spatial gate (exercise 1, and exercise 3 of [chapter 2d](02d_attention.ipynb)).
#
# Do the verdicts hold for other networks, and for other ways to paint? We tested five other networks, each trained for two epochs with a seed
# of its own, and four ways to paint a cell: in the clip's mean colour; *blurred*; *still*, with each pixel's median over the clip, which shows
# the scene without what moves; and as in the *frame before*. Each entry of the table has the mean gain, then for how many networks the verdict
# is better, open and worse.

# %% tags=["hide-input"]
display(
    Markdown(Path("outputs/published/faithfulness/gains.md").read_text())
)

# %% [markdown]
# **With three of the four paints, all five networks say the same**: the motion gate and Grad-CAM are better than both controls, and the spatial
# gate is worse than the same gate moved, and never better than a control. With the frame before, 26 of 30 comparisons are open: that paint
# mostly still shows the thing, so little is deleted. Temporal attention is better than frames at random in four of the five networks, and
# better than another clip's attention in two.
#
# Two tests are not made here: whether the maps change when the weights are made random (Adebayo et al. 2018), and whether other attention
# weights would give the same answers (Jain and Wallace 2019).

# %% [markdown]
# ## The explorer
#
# Step through the frames: the frame, the same under a map, and what it reads of the other frames. In JupyterLab choose the clip, the module and the
# head of temporal attention too; in the built page use the slider or the arrow keys on it.

# %% tags=["hide-input", "nbval-ignore-output", "player"]
choices = {}
for j, label in enumerate(seen.labels.tolist()):
    choices.setdefault(mini.classes[label], j)


def draw_frame(frame, clip, module, head):
    j = choices[clip]
    modules = where(seen, j) | {
        f"{name} state": seen.states[j, :, k].abs().mean(1)
        for k, name in enumerate(STATES)
    }
    return credit(
        frame_figure(
            seen.frames[j],
            modules[module],
            seen.maps.temporal_attention[j, head - 1],
            seen.t[j],
            frame - 1,
            module,
            title(mini, seen, j),
        ),
        mini.source,
    )


explore(
    draw_frame,
    controls={
        "frame": list(range(1, T + 1)),
        "clip": list(choices),
        "module": [*where(seen, 0), *(f"{name} state" for name in STATES)],
        "head": list(range(1, seen.maps.temporal_attention.shape[1] + 1)),
    },
    slide="frame",
    alt="One frame of a clip, the same frame lit by a module's map, and "
    "bars for the weights with which it reads the clip's frames.",
    start={"module": "spatial gate", "clip": mini.classes[seen.labels[i]]},
)

# %% [markdown]
# ## Real clips
#
# The same on a run of your own ([chapter 7](07_your_own_videos.ipynb) makes one): `papermill book/05_attention_maps.ipynb out.ipynb -p own_run
# outputs/own`. The stored page has none: no frame of a real video is part of this book.

# %% mystnb={"image": {"alt": "Where a run on real clips exists, for three of its clips: motion gate, spatial gate and Grad-CAM, channel gates, states, temporal attention."}} tags=["hide-input", "nbval-ignore-output", "machine"]
if Path(own_run, "checkpoints/last.pt").exists():
    own = open_run(own_run)
    real = look(own, range(0, len(own.clips), max(1, len(own.clips) // 3)))
    for j in range(len(real.rows)):
        named, t = title(own, real, j), real.t[j]
        figure = draw_where(own, real, j)
        for figure in (
            channels_figure(real.maps.channel_gate[j], t, named),
            states_figure(real.frames[j], real.states[j], t, named),
            attention_figure(
                real.frames[j], real.maps.temporal_attention[j], t, named
            ),
        ):
            _ = credit(figure, own.source)
else:
    print(f"skipped: there is no run in {own_run}")

# %% [markdown]
# ## Summary
#
# - A map is drawn from the network's own numbers, which says what was *computed*, not what *mattered*. Grad-CAM asks the gradient; deletion asks the
#   network.
# - The controls decide: a curve that falls means nothing until the same number of cells, elsewhere, makes it fall less.
# - The three states are read by `model.states(x, t)`; which one holds something is a question for a probe, with a control.
#
# ## Exercises
#
# **1.** Delete the cells that each map ranks *lowest* first. What should the curve of a faithful map do, and what does it do here?
#
# <details><summary>Solution</summary>
#
# ```python
# least = {name: fall(-maps) for name, maps in places.items()}
# deletion_figure(least, SHARES, "cells, least first")
# ```
# It should stay high until little is left. On this page's run the probability starts at 0.89. After 40 % of the cells it is 0.80 with the
# motion gate, 0.46 with Grad-CAM and 0.21 with the spatial gate.
#
# </details>
#
# **2.** The mean colour leaves edges that no video has. Paint the cells otherwise. Does the ranking of the maps change?
#
# <details><summary>Solution</summary>
#
# ```python
# clips = seen.x, seen.t, seen.called
# for paint in ("blurred", "still", "frame before"):
#     for name, maps in places.items():
#         curve = cell_curve(mini.model, *clips, maps, SHARES, paint)
#         print(f"{paint}, {name}: {areas(curve, SHARES).mean():.2f}")
# ```
# On this page's run the areas are
#
# | | mean colour | blurred | still | frame before |
# |---|---:|---:|---:|---:|
# | motion gate | 0.41 | 0.50 | 0.55 | 0.86 |
# | spatial gate | 0.87 | 0.87 | 0.88 | 0.89 |
# | Grad-CAM | 0.44 | 0.52 | 0.60 | 0.86 |
#
# The spatial gate stays last. The curves start at 0.89, so under the frame before they hardly fall: it mostly still shows the thing, and
# little is deleted.
#
# </details>
#
# **3.** Is Grad-CAM for the *partner* class elsewhere than for the named one?
#
# <details><summary>Solution</summary>
#
# ```python
# from hitagu_lib.data.dataset import swap_table
# pairs = load_config("params/mini.yaml").data.reverse_swaps
# partner = torch.from_numpy(swap_table(mini.classes, pairs, "pairs"))[seen.called]
# other = grad_cam(mini.model, seen.x, seen.t, partner)
# print((top_cells(other) & top_cells(seen.cam)).sum() / top_cells(other).sum())
# ```
# On this page's run the share is 0.25; chance is 0.1. So some places are shared, more than by accident: both classes are told by the same event.
# Most places differ.
#
# </details>
#
# ## Quiz
#
# **A map lights the hand in every clip, wherever the hand is. What follows?**
#
# <details><summary>a) The network decides by the hand</summary>
#
# Not yet: delete the hand, and as much elsewhere, and compare.
#
# </details>
#
# <details><summary>b) The same map would fit any other clip as well</summary>
#
# No: it follows the hand. A map that shows where things usually are would fit any clip.
#
# </details>
#
# <details><summary>c) Something in the network answers to the hand</summary>
#
# Yes. Whether the answer matters takes a deletion.
#
# </details>
#
# **Why is a moved map a better control than cells drawn one by one?**
#
# <details><summary>a) It deletes fewer cells</summary>
#
# No: it deletes exactly as many.
#
# </details>
#
# <details><summary>b) It deletes patches of the same shapes</summary>
#
# Yes: scattered cells leave more edges, and edges hurt the network by themselves.
#
# </details>
#
# <details><summary>c) It lies on the same places in every clip</summary>
#
# No: it lies elsewhere in each, as far as the map was moved.
#
# </details>
#
# **A probe reads the colour from the states and from the input alike. What has the memory shown?**
#
# <details><summary>a) Nothing</summary>
#
# Yes: only what the input no longer shows can prove a memory.
#
# </details>
#
# <details><summary>b) That it remembers</summary>
#
# No: the colour is still to be seen in the frame.
#
# </details>
#
# <details><summary>c) That it is not needed</summary>
#
# No: that takes a network without it.
#
# </details>
#
# ## Next
#
# [Chapter 6](06_ablations.ipynb) takes modules out and trains again: does the network miss them?
#
# **References.** Selvaraju et al., [*Grad-CAM*](https://arxiv.org/abs/1610.02391), ICCV 2017. Petsiuk et al., [*RISE: Randomized Input
# Sampling for Explanation*](https://arxiv.org/abs/1806.07421), BMVC 2018. Adebayo et al., [*Sanity Checks for Saliency
# Maps*](https://arxiv.org/abs/1810.03292), NeurIPS 2018. Jain and Wallace, [*Attention is not
# Explanation*](https://arxiv.org/abs/1902.10186), NAACL 2019. Alain and Bengio, [*Understanding intermediate layers using linear classifier
# probes*](https://arxiv.org/abs/1610.01644), 2016. Kokhlikyan et al., [*Captum*](https://arxiv.org/abs/2009.07896), 2020.
