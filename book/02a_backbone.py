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
# # 2a The backbone
#
# **Result.** A network that looks at frames one by one and averages cannot tell a clip from its reverse, whatever its weights. In sixteen
# steps of training, HiTAGU-Net on the same backbone learns to tell sixteen clips from their reverses.
#
# The network reads a clip in two halves. This chapter is about the first: a ResNet looks at each frame alone and turns it into maps of features. It
# is cut where its maps are still fine enough. Frames meet only in the second half, chapters 2b to 2e.
#
# **You will be able to** say what a network that sees frames one by one cannot know, cut a ResNet and read off stride, channels, map size
# and receptive field at the cut, use the two halves of a model apart, freeze stages and BatchNorm statistics, and name what each module
# adds to the cost.
#
# **Prerequisites**: basic PyTorch; what a convolution and a residual block are. **Time** to run: 20 seconds of processor time in all, on CPU
# with one thread; not measured on a GPU yet. **Memory**: 1.0 GiB. Nothing is downloaded and no data set is needed: the clips are drawn here.

# %% [markdown]
# ![The network from top to bottom: clip, ResNet-50, MDE, 3STU, SCA, TSA, classifier, each with the shape of its output; this chapter's part, the backbone, is lit.](figures/network_backbone.svg)

# %% [markdown]
# > **Given, and ours.** We were given that a truncated ResNet-50 comes first. Ours are the cut (a switch, after `layer4` for 224-pixel clips), the
# > split of the network into a per-frame and a temporal half, and the numbered equations below. The ResNet is torchvision's, TSN and TSM
# > follow their papers. No result of the original work is claimed.
#
# ## A failure to see
#
# In one clip something moves down. The other has the same frames in opposite order, so that it moves up. The clips are drawn here and prepared as in
# validation: one frame from each of eight equal segments, and the centre cropped to 48 pixels.

# %% tags=["hide-input"]
import os
from dataclasses import replace

import numpy as np
import torch
from IPython.display import Markdown, display
from torch import nn

from hitagu_lib import build_model
from hitagu_lib.config import (
    STAGES,
    BackboneConfig,
    check_parameters,
    load_config,
)
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.sampling import segment_indices
from hitagu_lib.prepare.synthetic.make import CLASSES, render_clip
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.errors import WeightsError
from hitagu_lib.models import FrameFeatures
from hitagu_lib.models.backbone import TruncatedResNet
from hitagu_lib.models.weights import load_backbone, load_pretrained
from hitagu_lib.models.cost import (
    budget,
    markdown_table,
    model_cost,
    shape_model,
)
from hitagu_lib.files import project_root
from hitagu_lib.viz.figures import clip_rows
from hitagu_lib.viz.style import new_figure
from hitagu_lib.viz.explore import explore

check_parameters(globals())  # this chapter takes none
os.chdir(project_root())  # the same from the root and from book/
mini = load_config("params/mini.yaml")
T = mini.data.num_frames

# %% mystnb={"image": {"alt": "Two clips of eight frames. In the upper row an object moves down over a textured ground; the lower row shows the same frames from last to first, so it moves up."}}
down = CLASSES.index("Moving something down")
video = torch.from_numpy(render_clip(down, [7])).permute(0, 3, 1, 2)
# one clip: (T, 3, H, W)
frames = video[segment_indices(len(video), T)]
frames = centre_crop(frames, mini.data.image_size, mini.data.short_side)
figure = clip_rows(
    [frames, frames.flip(0)],
    ["Moving something down", "the same frames, last to first"],
)

# %% [markdown]
# TSN (Wang et al. 2016) applies a network for single pictures to each frame and averages its answers. For many data sets that is a strong method.
# Can it tell the two clips apart? We ask three networks with the same small backbone, with random weights from one seed: TSN; TSM, which moves
# some channels to the neighbouring frames inside the backbone; and HiTAGU-Net.

# %%
x = normalise(frames)[None]  # (1, T, 3, H, W)


def make(temporal: str, num_classes: int, **changes) -> nn.Module:
    torch.manual_seed(0)
    model = replace(mini.model, temporal=temporal, **changes)
    return build_model(model, num_classes)


networks = {
    name: make(name, len(CLASSES)).eval()
    for name in ("tsn", "tsm", "hitagu")
}
with torch.inference_mode():
    for name, network in networks.items():
        apart = (network(x) - network(x.flip(1))).abs().max()
        same = "the same" if apart < 1e-5 else "different"
        print(f"{name:>6}: a clip and its reverse get {same} logits")

# %% [markdown]
# TSN cannot tell them apart. Nor can HiTAGU-Net, yet: its four modules start as the identity, with zeros as their last weights, so it begins
# as a TSN. Training changes this. We train TSN and HiTAGU-Net for sixteen steps on sixteen such clips, each shown forwards as "down" and
# backwards as "up".

# %%
LENGTH, SIDE, STEPS = 16, 32, 16


def small_clip(seed: int) -> torch.Tensor:
    video = torch.from_numpy(render_clip(down, [seed]))
    video = video.permute(0, 3, 1, 2)[segment_indices(len(video), T)]
    return normalise(centre_crop(video, SIDE, SIDE + 4))


clips = torch.stack([small_clip(100 + i) for i in range(LENGTH)])
truth = torch.tensor([0] * 8 + [1] * 8)  # 0: down, 1: up
losses = {}
for name in ("tsn", "hitagu"):
    network = make(name, 2, dropout=0.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses[name] = []
    for _ in range(STEPS):
        batch = clips[torch.randperm(LENGTH)[:8]]
        # 8 clips, and the same 8 once more, played backwards
        logits = network(batch, also_backwards=torch.arange(8))
        loss = nn.functional.cross_entropy(logits, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[name].append(loss.item())

# %% mystnb={"image": {"alt": "Left: logits of fourteen classes from TSN; the rings of the reversed clip lie on the dots of the clip. Right: training loss over sixteen steps; TSN stays on or above a dashed line at ln 2, HiTAGU-Net falls to nearly 0."}} tags=["hide-input"]
figure, (left, right) = new_figure(2.8, 1, 2)
with torch.inference_mode():
    both = networks["tsn"](torch.cat([x, x.flip(1)]))
left.plot(both[0], "o", markersize=4, label="clip")
left.plot(both[1], "o", markersize=9, fillstyle="none", label="reversed")
left.set(title="TSN, random weights", xlabel="class", ylabel="logit")
left.set_xticks(range(0, len(CLASSES), 2))
for name, title in (("tsn", "TSN"), ("hitagu", "HiTAGU-Net")):
    right.plot(range(1, STEPS + 1), losses[name], "o-", ms=3, label=title)
right.axhline(np.log(2), color="0.3", linestyle="--", linewidth=1)
right.text(1, np.log(2) - 0.03, "ln 2", va="top", fontsize=8)
right.set(title="training", xlabel="step", ylabel="cross-entropy (nats)")
right.set_xticks(range(2, STEPS + 1, 2))
left.legend(fontsize=7)
_ = right.legend(fontsize=7)

# %%
assert min(losses["tsn"]) > np.log(2) - 1e-4
late = np.mean(losses["hitagu"][-4:])
print(
    f"TSN never below ln 2; HiTAGU-Net's last steps below 0.3: {late < 0.3}"
)

# %% [markdown]
# Every ring lies on its dot, and TSN's loss never falls below $\ln 2$, that of a coin toss. It cannot: a clip and its reverse get the same logits, so
# what one gains the other loses, and $-\frac12 (\ln p + \ln (1 - p)) \ge \ln 2$ for every probability $p$. More training does not help. The equations show why.
#
# ## The equations
#
# A clip is $x_1, \dots, x_T$, each frame of shape $(3, H, W)$. The backbone is a stem and stages $1, \dots, S$. Its maps of frame $t$ depend on
# frame $t$ alone:
#
# $$F^s_t = \mathrm{stage}_s(\cdots \mathrm{stage}_1(\mathrm{stem}(x_t))), \qquad s = 1, \dots, S \tag{2a.1}$$
#
# The stem's own map is $F^0_t$.
#
# TSN takes the top map's mean over positions, $z_t = \frac{1}{hw} \sum_p F^S_t(p)$, gives each frame its logits by a linear head with weights
# $A$ and bias $b$, and averages them. As the head is linear, the mean of the logits is the head of the mean:
#
# $$\ell = \frac1T \sum_{t=1}^T (A z_t + b) = A \Big( \frac1T \sum_{t=1}^T z_t \Big) + b \tag{2a.2}$$
#
# A sum does not depend on the order of its terms. By (2a.1), $z_t$ does not depend on where frame $t$ stands either. So $\ell$ is the same for every
# order of the frames, also for the reverse. To tell orders apart, a network must let frames meet before it sums, and must not treat them alike.
#
# The next cell computes the stages by hand and compares them with the network's own.

# %%
tsn = networks["tsn"]
backbone = tsn.backbone
with torch.inference_mode():
    by_hand = []
    for x_t in x[0]:  # one frame at a time: (3, H, W)
        F_t = backbone.stem(x_t[None])
        for stage in backbone.stages.values():
            F_t = stage(F_t)  # (2a.1)
        by_hand.append(F_t[0])
    F = torch.stack(by_hand)  # (T, C, h, w)
    z = F.mean((2, 3))  # (T, C)
    mean_of_logits = tsn.head.linear(z).mean(0)  # (2a.2), left
    head_of_mean = tsn.head.linear(z.mean(0))  # (2a.2), right
    torch.testing.assert_close(F, tsn.encode_frames(x[0]).top)
    torch.testing.assert_close(mean_of_logits, head_of_mean)
    torch.testing.assert_close(head_of_mean, tsn(x)[0])
print("by hand", tuple(F.shape), "as the network has it")

# %% [markdown]
# ## How others let frames meet
#
# Networks for video differ most in where frames meet. *Optical flow* is where each pixel goes from one frame to the next.
#
# | frames meet | for example | at what cost |
# |---|---|---|
# | not at all: answers are averaged | TSN (2016) | one picture network per frame |
# | in optical flow, a second input that is computed beforehand | two-stream networks (2014) | the flow, often dearer than the network |
# | in 3D convolutions, which see some frames in each layer | C3D (2015), I3D (2017), SlowFast (2019) | more weights and operations than a picture network of the same depth |
# | in shifts or differences of features, inside a picture network | TSM (2019), TEA (2020), TDN (2021) | little |
# | in attention among patches of all frames | TimeSformer, ViViT (2021), MViTv2 (2022) | grows with the square of the number of patches; needs much data, or weights that were trained on much |
# | in a linear recurrence over patches or frames | VideoMamba, TRecViT (2024) | grows with the number of frames |
#
# All but the first can know the order. HiTAGU-Net compares neighbours (MDE), keeps a recurrence at each position (3STU) and attends among whole
# frames, not patches (TSA), behind a picture network. [Chapter 9](09_reproduction.ipynb) quotes what several of these reach.
#
# ## Where to cut
#
# Where should the backbone end? A ResNet halves its grid twice in the stem, and once more at each stage after `layer1`. Higher maps say more about
# *what* is seen and less about *where*. The *receptive field* is the square of pixels that one position can depend on. We go through the layers in order
# and keep two numbers, the field $r$ and the stride $j$ so far, both 1 at first. A layer with kernel $k$ and stride $s$ makes $r + (k-1)\,j$ of
# $r$, then $s\,j$ of $j$.


# %%
def stage_rows(name: str) -> list[dict]:
    """Stride, channels and receptive field of each stage."""
    backbone = TruncatedResNet(BackboneConfig(name=name)).eval()
    rows, stride, field = [], 1, 1
    for part in (backbone.stem, *backbone.stages.values()):
        for layer_name, layer in part.named_modules():
            if "downsample" in layer_name:
                continue  # the shortcut: never the wider path
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                kernel, step = (
                    size[0] if isinstance(size, tuple) else size
                    for size in (layer.kernel_size, layer.stride)
                )
                field += (kernel - 1) * stride
                stride *= step
        rows.append({"stride": stride, "receptive field": field})
    for row, stage in zip(rows[1:], STAGES):
        row |= {"stage": stage, "channels": backbone.channels[stage]}
    return rows[1:]


# %%
with torch.device("meta"):  # shapes only: no memory, no arithmetic
    stages = {name: stage_rows(name) for name in ("resnet18", "resnet50")}
table = [
    "| | `layer1` | `layer2` | `layer3` | `layer4` |",
    "|---|" + "---:|" * 4,
]


def add(title: str, values: list) -> None:
    table.append(f"| {title} | {' | '.join(map(str, values))} |")


strides = [row["stride"] for row in stages["resnet18"]]
add("stride (pixels)", strides)
for size in (224, mini.data.image_size):
    maps = [-(-size // stride) for stride in strides]
    add(f"map at {size} x {size} pixels", [f"{m} x {m}" for m in maps])
for name, rows in stages.items():
    add(f"channels, {name}", [row["channels"] for row in rows])
    fields = [row["receptive field"] for row in rows]
    add(f"receptive field, {name} (pixels)", fields)
display(Markdown("\n".join(table)))

# %% [markdown]
# A field can be wider than the picture. Its position still says *where*: the pixels in the middle of a field count most.
#
# At 224 pixels, a cut after `layer4` leaves 7 x 7 positions, enough to say roughly where something moves. At the mini data's 48 pixels it
# would leave 2 x 2, so `params/mini.yaml` cuts after `layer2`, where 6 x 6 remain. Motion is finer: something that moves by four pixels
# between frames crosses half a cell of `layer2` and an eighth of a cell of `layer4`. So MDE ([chapter 2b](02b_mde.ipynb)) also reads finer
# maps, the *taps* that `model.mde.taps` names: any stage up to the cut, or the stem, whose grid is `layer1`'s. The maps themselves cost
# nothing, since every map up to the cut is computed anyway; MDE's own work grows with the grid.
#
# The cut also sets the price. Eight frames of 224 x 224 through ResNet-50, cut after each stage:

# %%
full = load_config("params/ssv2.yaml")
lines = [
    "| cut after | GFLOPs (multiply-adds) | parameters (M) |",
    "|---|---:|---:|",
]
for cut in STAGES:
    model = replace(
        full.model,
        temporal="tsn",
        backbone=BackboneConfig(name="resnet50", cut=cut),
    )
    cost = model_cost(shape_model(model, 174), 8, 224)["backbone"]
    lines.append(
        f"| `{cut}` | {cost.gflops:.1f} | {cost.params_millions:.1f} |"
    )
display(Markdown("\n".join(lines)))

# %% [markdown]
# ## Shape walk
#
# `encode_frames` is the first half, for any number of frames: the $N = B\,T$ of a batch, or all frames of a video. It returns `FrameFeatures`: the
# top map and, for each tap, a map reduced to a few channels. That reduction, (2b.1), sees one frame alone as well. The last line of each walk
# says how many numbers a cache of features keeps for a frame.


# %%
def walk(network: nn.Module, size: int) -> None:
    device = next(network.parameters()).device
    some = torch.zeros(T, 3, size, size, device=device)
    with torch.inference_mode():
        maps = network.backbone(some)
        features = network.encode_frames(some)
    print(f"{'frames':>14}", tuple(some.shape))
    for stage, feature_map in maps.items():
        print(f"{stage:>14}", tuple(feature_map.shape))
    print(f"{'top':>14}", tuple(features.top.shape))
    for tap, reduced in zip(network.mde.taps, features.reduced):
        print(f"{'reduced ' + tap:>14}", tuple(reduced.shape))
    kept = features.top.numel() + sum(r.numel() for r in features.reduced)
    print(f"  numbers kept of a frame: {kept // T};", end=" ")
    print(f"its pixels: {3 * size**2}\n")


print("params/mini.yaml")
walk(networks["hitagu"], mini.data.image_size)
print("params/ssv2.yaml, as shapes without values")
walk(shape_model(full.model, 174).eval(), full.data.image_size)

# %% [markdown]
# ## Why you can call each half alone
#
# A frame's features do not depend on the clip, so they need to be computed only once. Evaluation with many clips of one video profits: ten clips of
# eight frames ask for eighty frames, but a video this short has only about thirty.

# %%
network = networks["hitagu"]
crop = (mini.data.image_size, mini.data.short_side)
whole = normalise(centre_crop(video, *crop))  # (N, 3, H, W)

rng = np.random.default_rng(0)
views = torch.stack(
    [
        torch.from_numpy(segment_indices(len(whole), T, rng))
        for _ in range(10)
    ]
)  # (10, T)
t = views / mini.data.ref_stride
with torch.inference_mode():
    direct = network(whole[views], t)
    cached = network.encode_frames(whole)
    rows = views.flatten()
    features = FrameFeatures(
        cached.top[rows], tuple(r[rows] for r in cached.reduced)
    )
    gathered, _ = network.temporal_head(features, t)
torch.testing.assert_close(direct, gathered)
print(f"{views.numel()} frames to encode, clip by clip;", end=" ")
print(f"{len(views.unique())} of them differ. The logits agree.")

# %% [markdown]
# TSM cannot be split like this. Its shifts are inside the residual blocks, so a frame's maps depend on its neighbours in the clip, and another clip
# must compute them again. Asked for single frames, it says so:

# %%
try:
    networks["tsm"].encode_frames(x[0])
except RuntimeError as error:
    print(error)

# %% [markdown]
# ## Which frames does a map depend on?
#
# We paint one frame grey (ImageNet's mean colour) and look at which frames' maps change, stage by stage. Under the plain ResNet only that frame's maps
# do: this is (2a.1). Under TSM, each residual block carries the change one frame further both ways, and there are two blocks in a stage. A grey dot
# marks a frame whose maps change at all.


# %%
def stage_maps(temporal: str, x: torch.Tensor) -> dict:
    """The maps of all four stages of a ResNet-18, for (N, T, 3, H, W)."""
    backbone = BackboneConfig(name="resnet18", cut="layer4")
    cfg = replace(mini.model, temporal=temporal, backbone=backbone)
    torch.manual_seed(0)
    network = build_model(cfg, len(CLASSES)).eval()
    with torch.inference_mode():
        network(x)  # tells TSM's shifts how long the clips are
        maps = network.backbone(x.flatten(0, 1))
    return {stage: maps[stage] for stage in STAGES}  # without the stem


def change(temporal: str, x: torch.Tensor) -> dict:
    """{stage: (blanked frame, frame, h, w)}, relative to the map's size."""
    grey = x.repeat(T, 1, 1, 1, 1)  # clip j has frame j blanked
    grey[torch.arange(T), torch.arange(T)] = 0  # the mean colour
    changes = {}
    for stage, maps in stage_maps(temporal, torch.cat([x, grey])).items():
        maps = maps.unflatten(0, (T + 1, T))
        moved = (maps[1:] - maps[0]).abs().mean(2)  # over channels
        changes[stage] = moved / maps[0].abs().mean()
    return changes


changes = {name: change(name, x) for name in ("tsn", "tsm")}

# %% mystnb={"image": {"alt": "Eight small matrices of blanked frame against changed frame. For the plain ResNet each is a diagonal. For TSM the band around the diagonal is two frames wide each way at layer1, four at layer2, six at layer3, and at layer4 all is filled."}} tags=["hide-input"]
figure, axes = new_figure(4.6, 2, 4, sharex=True, sharey=True)
for row, (name, title) in zip(axes, (("tsn", "ResNet"), ("tsm", "TSM"))):
    for ax, (stage, moved) in zip(row, changes[name].items()):
        share = 100 * moved.mean((2, 3))  # (blanked frame, frame)
        image = ax.imshow(share, cmap="Blues", vmin=0, vmax=60)
        ax.set(title=f"{title}, {stage}", xticks=range(T), yticks=range(T))
        ax.grid(visible=False)
        for j, t_out in share.nonzero().tolist():
            ax.plot(t_out, j, ".", color="0.5", markersize=2)
for ax in axes[1]:
    ax.set_xlabel("frame of the map")
for ax in axes[:, 0]:
    ax.set_ylabel("blanked frame")
_ = figure.colorbar(image, ax=axes, label="change of the map (%)")

# %%
alone = torch.eye(T, dtype=torch.bool)
for stage, moved in changes["tsn"].items():
    touched = moved.amax((2, 3)) > 0
    assert torch.equal(touched, alone), stage
for stage, moved in changes["tsm"].items():
    touched = moved.amax((2, 3)) > 0
    reach = max(abs(i - j) for i, j in touched.nonzero().tolist())
    print(f"TSM, {stage}: a change reaches {reach} frames")

# %% [markdown]
# ### Explore
#
# Choose the frame that is blanked, and the stage. (The built page slides over the frame, at `layer1`.) The first row is the clip; the other two show
# where its maps change, under the plain ResNet and under TSM.


# %% tags=["hide-input"]
def draw(blanked_frame: int, stage: str):
    figure, axes = new_figure(3.1, 3, T)
    shown = frames.clone()
    grey = torch.tensor([124, 116, 104], dtype=torch.uint8)
    shown[blanked_frame] = grey[:, None, None]
    for t_out in range(T):
        axes[0, t_out].imshow(shown[t_out].permute(1, 2, 0))
        axes[0, t_out].set_title(f"frame {t_out}", fontsize=8)
        for ax, name in zip(axes[1:, t_out], ("tsn", "tsm")):
            moved = changes[name][stage][blanked_frame, t_out]
            ax.imshow(moved, cmap="Blues", vmin=0, vmax=0.8)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    for ax, title in zip(axes[:, 0], ("clip", "ResNet", "TSM")):
        ax.set_ylabel(title, fontsize=8)
    return figure


# %% tags=["nbval-ignore-output", "player"]
explore(
    draw,
    controls={"blanked_frame": list(range(T)), "stage": list(STAGES)},
    slide="blanked_frame",
    start={"blanked_frame": 3, "stage": "layer1"},
    alt="A clip with one frame blanked, and below each frame where "
    "its map changes: under the plain ResNet only at the blanked "
    "frame, under TSM also at its neighbours.",
)

# %% [markdown]
# ## Frozen stages, frozen statistics
#
# Weights from ImageNet already know edges and textures, and a small data set can make them worse. Two switches protect them:
# `model.backbone.frozen_stages` excludes the first parts from training (1: the stem, 2: also `layer1`, ...), and `model.backbone.frozen_bn` keeps
# BatchNorm's mean and variance as loaded.


# %%
def trainable(frozen: int) -> float:
    with torch.device("meta"):
        network = TruncatedResNet(BackboneConfig(frozen_stages=frozen))
    learned = (p for p in network.parameters() if p.requires_grad)
    return sum(p.numel() for p in learned) / 1e6


counts = [f"{trainable(n):.1f}" for n in range(6)]
print("ResNet-50, millions that learn, with 0 to 5 parts frozen:")
print(", ".join(counts))

# %% [markdown]
# The second switch matters for (2a.1). In training, BatchNorm normalises by the statistics of the batch, so a frame's map depends a little on the
# other frames. In evaluation, and with `frozen_bn`, it does not. What this chapter says of single frames is about evaluation.

# %%
for frozen_bn in (False, True):
    torch.manual_seed(0)
    cfg = BackboneConfig("resnet18", "layer1", frozen_bn=frozen_bn)
    network = TruncatedResNet(cfg).train()
    with torch.no_grad():
        with_frames = network(x[0])["layer1"][0]
        with_copies = network(x[0][:1].expand(T, -1, -1, -1))["layer1"][0]
    same = torch.allclose(with_frames, with_copies, atol=1e-5)
    print(f"training, frozen_bn={frozen_bn}: the map of frame 0", end=" ")
    print("is its own" if same else "depends on the batch")

# %% [markdown]
# ## Weights
#
# `model.backbone.weights` is `null` for random weights, as for the mini data, or the name of an entry of torchvision's weights enum, such as
# `IMAGENET1K_V2` in `params/k700.yaml` and `params/ssv2.yaml`. torchvision downloads the file once and keeps it in its cache. Without a network and
# without the cached file, an error says which file to fetch and where to put it. The path of a `.pt` or `.pth` file also works, and so does a
# checkpoint of this library. An unknown name stops with an error that lists the known ones:

# %%
cfg = BackboneConfig(weights="IMAGENET1K_V3")
try:
    load_pretrained(TruncatedResNet(cfg), cfg)
except WeightsError as error:
    print(error)

# %% [markdown]
# Weights of a network that was cut elsewhere load stage by stage, and a report says what was not used. Here the (random) weights of a longer network
# go into a shorter one:

# %%
longer = TruncatedResNet(BackboneConfig("resnet18", "layer4"))
shorter = TruncatedResNet(BackboneConfig("resnet18", "layer2"))
print(load_backbone(shorter, longer.state_dict(), "a longer one"))

# %% [markdown]
# ## What it costs
#
# One clip of 8 x 224 x 224 and 174 classes, ResNet-50 cut after `layer4`, as in `params/ssv2.yaml`. First come HiTAGU-Net's modules, then the totals of
# it and the baselines. The count includes convolutions, linear layers and matrix products, and leaves out operations on single values, such as
# BatchNorm's. `hitagu report model --params params/ssv2.yaml` prints HiTAGU-Net's rows; `--overrides model.temporal=tsm` a baseline's.

# %%
costs = budget(full, 174)
display(Markdown(markdown_table(costs)))

# %%
total, bare = costs["HiTAGU-Net"], costs["TSN"]
assert total.gflops <= 34.5 and total.params_millions <= 28
share = total.gflops / bare.gflops - 1
print(
    f"HiTAGU-Net: {100 * share:.0f} % more multiply-adds than TSN,", end=""
)
print(" within our budget of 34.5 GFLOPs and 28 M parameters")

# %% [markdown]
# Most of the cost is the backbone's, which all methods share: 96 % of HiTAGU-Net's multiply-adds, 84 % of its parameters. TSM's shift multiplies nothing, though it moves memory. The GRU has few
# multiply-adds, because it sees only pooled features, and more parameters than the backbone, because it is as wide as those features.
#
# ## Summary
#
# - The first half of the network sees each frame alone (2a.1). Averaged over frames, it cannot know their order (2a.2): a clip and its reverse get
#   the same logits, whatever the weights.
# - A ResNet can be cut after any stage. The cut trades *what* for *where*, and sets most of the network's cost.
# - You can call the two halves alone, `encode_frames` and `temporal_head`: a frame's features are computed once, for every clip that contains
#   the frame. TSM mixes frames inside the backbone and cannot do that.
# - In training, BatchNorm looks at the whole batch, unless its statistics are frozen.
#
# ## Exercises
#
# **1.** Is TSN blind to the reverse only, or to every order? Try a hundred random permutations, and then a clip in which one frame is repeated
# in another's place.
#
# <details><summary>Solution</summary>
#
# ```python
# with torch.inference_mode():
#     straight = tsn(x)
#     shuffled = [tsn(x[:, torch.randperm(T)]) for _ in range(100)]
#     repeated = tsn(x[:, [0, 0, 2, 3, 4, 5, 6, 7]])
# print(max((straight - s).abs().max() for s in shuffled))  # rounding only
# print((straight - repeated).abs().max())  # another set of frames: not zero
# ```
# Equation (2a.2) is a sum over the set of frames, so every order of the same frames gives the same logits up to rounding. Another set of
# frames does not.
#
# </details>
#
# **2.** The ring lies on the dot because all terms of (2a.2) weigh the same. Weigh frame $t$ by $t / T$ in the mean. Does the network still give
# a clip and its reverse the same logits? What can it still not see?
#
# <details><summary>Solution</summary>
#
# ```python
# with torch.inference_mode():
#     z = tsn.encode_frames(x[0]).top.mean((2, 3))  # (T, C)
#     weight = torch.arange(1, T + 1)[:, None] / T
#     forwards = tsn.head.linear((weight * z).mean(0))
#     backwards = tsn.head.linear((weight * z.flip(0)).mean(0))
# print((forwards - backwards).abs().max())
# ```
# The logits differ now: order is seen. Still, each frame enters by its mean over positions alone: little of *where* something changed is left
# when the frames meet. Chapter 2b lets the maps meet instead.
#
# </details>
#
# **3.** Cut the mini network's backbone after `layer3` and tap `layer1` and `layer2`. What do the map, the parameters and the cost become?
#
# <details><summary>Solution</summary>
#
# ```python
# cfg = load_config(
#     "params/mini.yaml",
#     "model.backbone.cut=layer3 model.mde.taps=[layer1,layer2]",
# )
# walk(build_model(cfg.model, 14).eval(), cfg.data.image_size)
# for model in (mini.model, cfg.model):
#     print(model_cost(shape_model(model, 14), T, 48)["total"])
# ```
# The map shrinks to 3 x 3. Parameters grow from 0.98 to 3.34 M, multiply-adds from 0.43 to 0.57 GFLOPs: `layer3` is most of both. Train it, if
# you like, with
# `-p overrides "run=outputs/cut3 model.backbone.cut=layer3 model.mde.taps=[layer1,layer2]"` as in chapter 3.
#
# </details>
#
# ## Quiz
#
# **A TSN is trained for ten times as long on pairs of classes that are each other's reverse. What happens to its accuracy?**
#
# <details><summary>a) It passes 50 %, since it has seen more clips</summary>
#
# No: by (2a.2) a clip and its reverse get the same logits under any weights, however they were found.
#
# </details>
#
# <details><summary>b) It cannot be expected to pass 50 % on such pairs</summary>
#
# Yes: of a clip and its reverse, it is right about one at most.
#
# </details>
#
# <details><summary>c) It falls to one over the number of classes</summary>
#
# No: which *pair* a clip belongs to can be seen in its frames, without their order.
#
# </details>
#
# **Why does `params/mini.yaml` cut after `layer2`?**
#
# <details><summary>a) At 48 pixels the later maps have 3 x 3 and 2 x 2 positions, too few to say where something moved</summary>
#
# Yes; and it is cheaper as well.
#
# </details>
#
# <details><summary>b) `layer3` and `layer4` need ImageNet weights</summary>
#
# No: any stage can start from random weights.
#
# </details>
#
# <details><summary>c) A ResNet-18 has no more stages</summary>
#
# It has four, like ResNet-50; its stages have fewer blocks and channels.
#
# </details>
#
# **Why can TSM's frames not be cached between clips?**
#
# <details><summary>a) Its maps are too large</summary>
#
# No: they are as large as TSN's.
#
# </details>
#
# <details><summary>b) It has no backbone</summary>
#
# It has the same one, with a shift before the first convolution of each residual branch.
#
# </details>
#
# <details><summary>c) A frame's maps contain channels of its neighbours, which differ from clip to clip</summary>
#
# Yes: the band in the figure above. The same frame with other neighbours has other maps.
#
# </details>
#
# ## Next
#
# In [chapter 2b](02b_mde.ipynb) frames meet for the first time: MDE takes the differences between neighbours.
#
# **References.** He et al., [*Deep Residual Learning for Image Recognition*](https://arxiv.org/abs/1512.03385), CVPR 2016. Wang et al.,
# [*Temporal Segment Networks*](https://arxiv.org/abs/1608.00859), ECCV 2016. Lin et al., [*TSM: Temporal Shift Module for Efficient Video
# Understanding*](https://arxiv.org/abs/1811.08383), ICCV 2019. Ioffe and Szegedy, [*Batch
# Normalization*](https://arxiv.org/abs/1502.03167), ICML 2015. Simonyan and Zisserman, [*Two-Stream Convolutional Networks for Action
# Recognition in Videos*](https://arxiv.org/abs/1406.2199), NeurIPS 2014. Tran et al., [*Learning Spatiotemporal Features with 3D
# Convolutional Networks*](https://arxiv.org/abs/1412.0767) (C3D), ICCV 2015. Carreira and Zisserman, [*Quo Vadis, Action
# Recognition?*](https://arxiv.org/abs/1705.07750) (I3D), CVPR 2017. Feichtenhofer et al., [*SlowFast
# Networks*](https://arxiv.org/abs/1812.03982), ICCV 2019. Li et al., [*TEA*](https://arxiv.org/abs/2004.01398), CVPR 2020. Wang et al.,
# [*TDN*](https://arxiv.org/abs/2012.10071), CVPR 2021. Bertasius et al., [*Is Space-Time Attention All You Need for Video
# Understanding?*](https://arxiv.org/abs/2102.05095) (TimeSformer), ICML 2021. Arnab et al., [*ViViT*](https://arxiv.org/abs/2103.15691), ICCV
# 2021. Li et al., [*MViTv2*](https://arxiv.org/abs/2112.01526), CVPR 2022. Li et al., [*VideoMamba*](https://arxiv.org/abs/2403.06977), ECCV
# 2024. Pătrăucean et al., [*TRecViT*](https://arxiv.org/abs/2412.14294), 2024.
