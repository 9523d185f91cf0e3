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
# # 2b MDE: Motion Difference Embedding
#
# **Result.** An average over frames cannot tell a clip from its reverse; differences between neighbouring frames can. MDE computes them,
# and which way things moved.
#
# **You will be able to** compute MDE's differences, shift weights, gate and embedding by hand; say what a difference can tell and what it
# cannot; and say why convolutions follow.
#
# **Prerequisites**: [chapter 2a](02a_backbone.ipynb), basic PyTorch. **Time** on two CPU cores: about 20 seconds (processor time); not measured on a
# GPU yet. **Memory**: 1 GiB.

# %% [markdown]
# ![The network from top to bottom: clip, ResNet-50, MDE, 3STU, SCA, TSA, classifier, each with the shape of its output; this chapter's part, MDE, is lit.](figures/network_mde.svg)

# %% [markdown]
# > **Given, and ours.** We were given the name and the place: after the truncated ResNet-50, before the 3STU. Every equation is our
# > reconstruction. The differences and the centred gate come from TEA (Li et al. 2020; ACTION-Net and TDN are relatives), the shift weights
# > from MotionSqueeze and the cost volumes of optical flow. The gate's mask is ours. We claim no result of the original work.

# %% tags=["hide-input"]
import os

import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display
from torch import nn

from hitagu_lib.config import MDEConfig, check_parameters, load_config
from hitagu_lib.models.cost import shape_model
from hitagu_lib.models.mde import (
    MDE,
    FrameReducer,
    MotionDifference,
    MotionTrunk,
    ShiftMatch,
    motion_energy,
)
from hitagu_lib.files import project_root
from hitagu_lib.viz.figures import clip_rows
from hitagu_lib.viz.modules import (
    draw_shifts,
    draw_signed,
    signed_rows,
    winning_shift,
)
from hitagu_lib.viz.style import new_figure
from hitagu_lib.viz.explore import explore

check_parameters(globals())  # this chapter takes none
os.chdir(project_root())
torch.manual_seed(0)
# The cells that need gradients switch them on.
_ = torch.set_grad_enabled(False)

# %% [markdown]
# ## A failure you can see
#
# Which way does the dot go? It moves by `(down, right)` grid cells a frame and stands in the centre in the middle frame.


# %%
def moving_dot(down, right, T=5, size=17, sigma=1.2):
    """A clip (T, size, size) of values in [0, 1]."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    t = (np.arange(T) - (T - 1) / 2)[:, None, None]
    distance2 = (y - down * t) ** 2 + (x - right * t) ** 2
    dots = np.exp(-distance2 / (2 * sigma**2))
    return torch.tensor(np.round(255 * dots) / 255)


def as_pixels(clip):
    return (255 * clip).byte()[:, None].expand(-1, 3, -1, -1)


# %% mystnb={"image": {"alt": "Two rows of five frames. Above, a white dot on black moves from left to right; below, from right to left. The middle frames are the same."}}
right, left = moving_dot(0, 1), moving_dot(0, -1)
figure = clip_rows(
    [as_pixels(right), as_pixels(left)],
    ["moving right", "moving left"],
    [torch.arange(5.0)] * 2,
)

# %% [markdown]
# Both clips have the same five frames, so whatever is computed frame by frame and then averaged is the same ([chapter
# 2a](02a_backbone.ipynb)):

# %%
same_frames = torch.equal(right, left.flip(0))
same_mean = torch.allclose(right.mean(0), left.mean(0))
print("the same frames, in opposite order:", same_frames)
print("the same mean over frames:", same_mean)

# %% [markdown]
# They differ only in which frame follows which. So we compare neighbours.

# %% [markdown]
# ## The reduced map
#
# MDE compares the maps $F^s_t$ of the stem ($s = 0$) or of one or several stages $s$, the *taps*. To keep the rest cheap, a 1x1 convolution $W_r$
# and BatchNorm first reduce their $C_s$ channels to $R$ (32, or 16 for the mini data):
#
# $$ r_t = \mathrm{BN}(W_r F^s_t) \tag{2b.1} $$
#
# It sees one frame alone, so `encode_frames` computes it and it can be cached. By hand:

# %%
stage_map = torch.randn(5, 64, 12, 12)  # (T, C, h, w)
reducer = FrameReducer(channels=64, reduced=16).eval()
r = reducer(stage_map)

W_r, bn = reducer.W_r.weight[:, :, 0, 0], reducer.bn
z = torch.einsum("rc,tchw->trhw", W_r, stage_map)
column = (1, -1, 1, 1)
mean, var = bn.running_mean.view(column), bn.running_var.view(column)
gain, bias = bn.weight.view(column), bn.bias.view(column)
by_hand = gain * (z - mean) / torch.sqrt(var + bn.eps) + bias

print("r:", tuple(r.shape))
print("equation 2b.1:", torch.allclose(r, by_hand, atol=1e-5))
alone = reducer(stage_map[2:3])
print("frame 3 alone:", torch.allclose(r[2:3], alone, atol=1e-5))

# %% [markdown]
# A random $W_r$ would hide what we want to see. **From here on $r$ is the picture itself**, with one channel.

# %% [markdown]
# ## Two differences
#
# What will the next frame change, and what has changed since the previous one? With $K$ a depthwise 3x3 convolution (one kernel per channel,
# as in TEA) and frames $t = 1, \dots, T$:
#
# $$ d^+_t = K r_{t+1} - r_t, \qquad d^+_T = 0 \tag{2b.2} $$
#
# $$ d^-_t = r_t - K r_{t-1}, \qquad d^-_1 = 0 \tag{2b.3} $$
#
# The first frame has no past and the last no future, so these are zero. $K$ starts as the identity.

# %%
difference = MotionDifference(channels=1).double()


def differences(clip, module=difference):
    """d+ and d-, each (T, h, w), of a clip (T, h, w)."""
    plus, minus = module(clip[None, :, None])  # (B, T, R, h, w)
    return plus[0, :, 0], minus[0, :, 0]


any_K = MotionDifference(1).double()  # the equations with a random K
any_K.K.weight.normal_()
Kr = F.conv2d(right[:, None], any_K.K.weight, padding=1)[:, 0]
plus, minus = differences(right, any_K)
print("equation 2b.2:", torch.allclose(plus[:-1], Kr[1:] - right[:-1]))
print("equation 2b.3:", torch.allclose(minus[1:], right[1:] - Kr[:-1]))
print("zero at the ends:", not (plus[-1].any() or minus[0].any()))

d_plus, d_minus = differences(right)  # K as it starts: the identity
print("d- is d+ a frame later:", torch.equal(d_minus[1:], d_plus[:-1]))

# %% mystnb={"image": {"alt": "Three rows of five maps for the dot moving right. r: the dot. d plus: red in front of the dot, blue behind it, empty in the last frame. d minus: the same pattern one frame later, empty in the first."}} tags=["hide-input"]
figure = signed_rows(
    {"$r_t$": right, "$d^+_t$": d_plus, "$d^-_t$": d_minus}
)

# %% [markdown]
# Red is where brightness arrives, blue where it leaves: the dot goes from blue to red. Frame $t$ has both differences, so whatever reads
# them sees three frames at once.
#
# ### Played backwards
#
# Put a reversed clip, $r'_t = r_{T+1-t}$, into the equations. For *any* $K$
#
# $$ d'^+_t = -\,d^-_{T+1-t}, \qquad d'^-_t = -\,d^+_{T+1-t}. $$
#
# The differences swap places, run backwards, and change their sign. So their means over frames now differ:

# %%
for module in (difference, any_K):
    plus, minus = differences(right, module)
    plus_, minus_ = differences(right.flip(0), module)
    swapped = torch.allclose(plus_, -minus.flip(0))
    print("swapped and negated:", swapped, end=", ")
    print(torch.allclose(minus_, -plus.flip(0)))

a, b = differences(right)[0].mean(0), differences(left)[0].mean(0)
print("mean of d+ over frames, the same for both:", torch.allclose(a, b))
print("one is minus the other:", torch.allclose(a, -b))

# %% [markdown]
# ### What K can cancel
#
# When a camera pans, everything differs. A kernel that reads a neighbouring cell undoes a pan of one cell a frame; two cells are beyond its
# reach. One kernel serves the whole map, so it cancels one direction, and another channel may cancel another. A kernel that cancels a
# motion to the right in $d^+$ cancels the motion to the *left* in $d^-$ (exercise 1).

# %% [markdown]
# ## What a difference at one position cannot say
#
# Something came, something left: which way did it go? Collect the triple $(r_t, d^+_t, d^-_t)$ at each position and forget where it stood.
# While $K$ is the identity, the collections of the two clips are equal in every frame, because one clip mirrors the other:


# %%
def collection(clip, t):
    """All triples (r, d+, d-) of frame t, without their positions."""
    triples = torch.stack([clip, *differences(clip)])[:, t].flatten(1).T
    return sorted(map(tuple, (triples.round(decimals=9) + 0.0).tolist()))


print([collection(right, t) == collection(left, t) for t in range(5)])

# %% [markdown]
# So nothing that reads one position at a time and then pools can tell these clips apart. MDE has two ways out: an input that states the
# direction, and convolutions that read neighbourhoods.

# %% [markdown]
# ## Which way did it go? The shift weights
#
# Take what stands at position $p$ and look for it in the next frame, up to $\rho$ grid steps away ($\rho = 2$: 25 shifts $\delta$). The
# more alike, the more weight. We compare $q_t(p) = r_t(p) - \mathrm{mean}_{p'}\, r_t(p')$: a large part that all positions share would make
# everything look alike.
#
# $$ w^\delta_t(p) = (2\rho + 1)\ \mathrm{softmax}_\delta\big(\kappa \cos(q_t(p),\ q_{t+1}(p + \delta))\big), \qquad q_{T+1} := q_T \tag{2b.4} $$
#
# $\kappa$ is learned and starts at 10. Beyond the map's edge the cosine counts as 0. The factor $2\rho + 1$ makes the root mean square of
# $w$ 1 where one shift wins.
#
# A cosine of single numbers compares only signs. So here **$r$ is the 3x3 cells around each position, minus their mean**: nine channels,
# zero on even ground.

# %%
match = ShiftMatch(radius=2).double()


def neighbourhoods(clip):
    """(T, h, w) -> (T, 9, h, w)."""
    padded = F.pad(clip[:, None], [1] * 4, mode="replicate")
    around = F.unfold(padded, 3).unflatten(2, clip.shape[1:])
    return around - around.mean(1, keepdim=True)


def shift_weights(clip, module=match):
    """w of a clip: (T, 25, h, w)."""
    return module(neighbourhoods(clip)[None])[0]


r = neighbourhoods(right)
q = r - r.mean((2, 3), keepdim=True)
w = shift_weights(right)

t, y, x = 2, 8, 8  # the middle frame, where the dot is at the centre
cosines = torch.stack(
    [
        F.cosine_similarity(q[t, :, y, x], q[t + 1, :, y + dy, x + dx], 0)
        for dy in range(-2, 3)
        for dx in range(-2, 3)
    ]
)
by_hand = 5 * torch.softmax(match.kappa * cosines, 0)
print("equation 2b.4:", torch.allclose(w[t, :, y, x], by_hand))
print("the dot's 25 weights, as a 5x5 map:")
print(w[t, :, y, x].view(5, 5).numpy().round(2))
print("the winner (down, right):", winning_shift(w[t, :, y, x]))

# %% [markdown]
# The true shift wins. Always? The table shows the winner at the dot, its weight (of 5), and the winner of all positions' votes,
# $\sum_p (w_t(p) - \frac15)$. None means that the two largest weights are nearly equal.


# %%
def votes(clip, t=2):
    """Sum over positions, less what even ground gives: (25,)."""
    return (shift_weights(clip)[t] - 1 / 5).sum((1, 2))


print("moves (down, right)   at the dot   weight   all positions")
for motion in [(0, 0), (0, 1), (1, 1), (-2, 2), (0, 0.5), (0, 3), (0, 4)]:
    clip = moving_dot(*motion)
    here = shift_weights(clip)[2, :, 8, 8]
    print(
        f"{motion!s:19}   {winning_shift(here)!s:10}   {here.max():6.2f}"
        f"   {winning_shift(votes(clip))}"
    )

# %% [markdown]
# At half a cell two shifts share the weight. **Beyond the radius, $w$ can be wrong without showing it.** At three cells it names the nearest
# thing that looks alike, here the dot's flank. At four, the weights at the dot have no winner, but the votes still name a shift, half of the
# true one. At `layer1`, two steps are 8 pixels a frame.
#
# Where do the weights tell the motion? A square moves one cell down and one to the right:

# %% mystnb={"image": {"alt": "Five maps of 5 by 5 shift weights for a square that moves one down and one right. On even ground all are equal. On the vertical edge a column of equal weights one right. On the horizontal edge a row one down. At a corner one winner, one down and one right. The sum over positions has the same winner."}} tags=["hide-input"]
square = torch.zeros(3, 17, 17, dtype=torch.float64)
for t in range(3):  # 8 x 8 cells, moving by (1, 1)
    square[t, 4 + t : 12 + t, 4 + t : 12 + t] = 1
w = shift_weights(square)[0]
panels = {
    "even ground": w[:, 8, 8],
    "vertical edge": w[:, 8, 11],
    "horizontal edge": w[:, 11, 8],
    "corner": w[:, 11, 11],
    "sum over positions": (w - 1 / 5).sum((1, 2)),
}
figure, axes = new_figure(2.2, 1, 5)
for ax, (name, weights) in zip(axes, panels.items()):
    _ = draw_shifts(ax, weights, 5 if ax is not axes[-1] else None)
    ax.set_title(name, fontsize=8)
    if ax is not axes[0]:
        ax.set(ylabel="", yticklabels=[])
    winner = winning_shift(weights)
    print(f"{name:18}: winner {winner}")

# %% [markdown]
# On even ground all weights are equal, whether it moves or not. An edge tells how far it moved across itself, but not along itself: the
# *aperture problem* of all local methods. A corner has one winner, and so has the sum, where the two edges' answers cross.

# %% [markdown]
# ## Why convolutions behind it: the trunk
#
# Which way does a wheel turn? At every position something arrives and something leaves, either way. Two equal spots on a turning rod:


# %%
def turning(phase, turn, T=4, size=12, radius=3.5, sigma=1.2):
    """Clips (B, T, size, size); start and turn a frame in radians (B,)."""
    steps = torch.arange(T, dtype=phase.dtype)
    angle = (phase[:, None] + turn[:, None] * steps)[..., None, None]
    axis = torch.arange(size, dtype=phase.dtype) - (size - 1) / 2
    clip = 0.0
    for end in (radius, -radius):
        dy = axis[:, None] - end * torch.sin(angle)
        dx = axis - end * torch.cos(angle)
        clip = clip + torch.exp(-(dy**2 + dx**2) / (2 * sigma**2))
    return clip


start, half = torch.zeros(1).double(), torch.full((1,), 0.5).double()
clockwise = turning(start, half)[0]  # rows run down: + is clockwise
counter = turning(start, -half)[0]

# %% mystnb={"image": {"alt": "Four rows of four maps: two spots turning clockwise and their forward differences, two spots turning counter-clockwise and theirs. One is the other upside down."}} tags=["hide-input"]
figure = signed_rows(
    {
        "clockwise": clockwise,
        "$d^+$": differences(clockwise)[0],
        "counter-cl.": counter,
        "$d^+$ ": differences(counter)[0],
    }
)

# %%
print("the same clip:", torch.allclose(clockwise, counter))
print("upside down it is:", torch.allclose(clockwise, counter.flip(1)))
equal = [
    collection(clockwise, t) == collection(counter, t) for t in range(4)
]
print("the same triples (r, d+, d-), frame by frame:", equal)

# %% [markdown]
# With $K$ the identity, every clockwise clip has a counter-clockwise one with the same triples, so no reader of single triples can expect
# to be right on more than half. A convolution sees which triple stands *beside* which. So each tap has a short trunk of residual blocks
# that strides down to the top map's grid (one block for each halving, at least two). The taps are summed:
#
# $$ m_t = \sum_{\text{taps}} \mathrm{trunk}\big([r_t;\ d^+_t;\ d^-_t;\ w_t]\big) \tag{2b.5} $$
#
# We train three readers on clips with random start and turn. Each is a `MotionTrunk` with its own switches, a mean over positions and
# frames, and a linear layer.


# %%
def draw_batch(n, seed):
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (n,), generator=g)
    turn = (0.3 + 0.4 * torch.rand(n, generator=g)) * (2 * label - 1)
    phase = 2 * torch.pi * torch.rand(n, generator=g)
    return turning(phase, turn), label


READERS = {
    "bare projection of [r; d+; d-]": MDEConfig(
        reduced=1,
        width=16,
        shift_radius=0,
        trunk_blocks=0,
        difference_kernel=1,
    ),
    "bare projection of w": MDEConfig(
        reduced=9, width=16, reads=(), trunk_blocks=0
    ),
    "trunk on [r; d+; d-]": MDEConfig(
        reduced=1, width=16, shift_radius=0, difference_kernel=1
    ),
}


class Reader(nn.Module):
    """Clips (B, T, h, w) -> logits (B, 2): clockwise or not."""

    def __init__(self, cfg):
        super().__init__()
        self.trunk = MotionTrunk(cfg, halvings=1)
        self.features = neighbourhoods if cfg.reduced == 9 else single
        self.head = nn.Linear(cfg.width, 2)

    def forward(self, clips):
        B, T = clips.shape[:2]
        m = self.trunk(self.features(clips.flatten(0, 1)), T)
        return self.head(m.mean((2, 3)).unflatten(0, (B, T)).mean(1))


def single(clip):
    return clip[:, None]  # (N, 1, h, w)


@torch.enable_grad()
def accuracy_after_training(cfg, steps=80):
    torch.manual_seed(0)
    net = Reader(cfg)
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.01, total_steps=steps
    )
    for step in range(steps):
        clips, label = draw_batch(32, seed=step)
        loss = F.cross_entropy(net(clips), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    clips, label = draw_batch(500, seed=10**6)  # never trained on
    called = net.eval()(clips).argmax(1)
    return float((called == label).float().mean())


# %% tags=["nbval-ignore-output", "trained"]
reached = {
    name: accuracy_after_training(cfg) for name, cfg in READERS.items()
}
for name, accuracy in reached.items():
    print(f"{name:30}: {accuracy:6.1%} of 500 new clips")

# %%
blind, shifts, trunk = reached.values()
print("bare projection of differences at chance:", 0.4 < blind < 0.6)
print("bare projection of shift weights above it:", shifts > 0.6)
print("trunk on differences solves it:", trunk > 0.95)

# %% [markdown]
# The shift weights are in between: they have compared 25 positions already (exercise 3). MDE gives its trunk the differences and the
# shift weights. On clean input, either is enough.
# In the network on mini (two epochs, five seeds, [chapter 6](06_ablations.ipynb)), taking out the shift weights costs 8.0 points (6.2 to
# 9.8); taking out the differences costs nothing that these seeds can show (-0.1, -2.3 to +2.1). Such ranges are 95 % intervals over the
# seeds, by (6.1).

# %% [markdown]
# ## Gate and embedding
#
# The trunk's finding changes the top map $F_t$ in two ways: a gate $a$ strengthens or weakens what is there, an embedding $e$ adds what is
# not. The gate should open only where something moves, but the trunk reads $r$ as well and could open it anywhere. So a mask $g$ multiplies
# it. The mask has no weights of its own: a fixed formula makes it from how much $r$ changes, the *motion energy* $E$. For one tap:
#
# $$ E_t(p) = \max_{p'\ \text{at and beside}\ p} \frac1R \Big( |r_{t+1}(p') - r_t(p')|^2 + |r_t(p') - r_{t-1}(p')|^2 \Big) \tag{2b.6} $$
#
# $|\cdot|^2$ sums over the $R$ channels, the maximum is over 3x3 positions, and the first and the last frame have one term each. $E$ is
# averaged down to the top map's grid and summed over taps. Then
#
# $$ a_t = g_t \odot \big( 2\,\sigma(W_a m_t) - 1 \big), \qquad g_t = \frac{E_t}{E_t + 0.1} \tag{2b.7} $$
#
# $$ e_t = W_e m_t \tag{2b.8} $$
#
# $$ F'_t = F_t + a_t \odot F_t + e_t \tag{2b.9} $$
#
# The gate $2\sigma - 1$ is TEA's equation (its published code has $\sigma - 0.5$): it can shut a channel fully or double it. $W_a$ and
# $W_e$ are 1x1 convolutions that start at zero, so MDE starts as the identity. (BatchNorm gives $r$ a variance of 1 at the start, so 0.1 is
# little.) Below, the dot's nine channels are both the tapped and the top map:

# %%
cfg = MDEConfig(taps=("layer1",), reduced=9, width=16)
mde = MDE(cfg, {"layer1": 9}, "layer1").double().eval()
top = neighbourhoods(right)  # (T, C, h, w)
z, bn = mde.reducers[0].W_r(top), mde.reducers[0].bn
bn.running_mean.copy_(z.mean((0, 2, 3)))  # as if trained on this clip
bn.running_var.copy_(z.var((0, 2, 3)))
reduced = mde.reduce({"layer1": top})
out, gate = mde(top, reduced, num_frames=5)
print("starts as the identity:", torch.equal(out, top))
print("with its gate at zero:", not gate.any())


# %%
def mask(r):
    """g of one tap on the top map's own grid: r (T, R, h, w)."""
    change = (r[1:] - r[:-1]).square().mean(1)  # (T - 1, h, w)
    after = F.pad(change, [0, 0, 0, 0, 0, 1])  # none after the last frame
    before = F.pad(change, [0, 0, 0, 0, 1, 0])
    E = F.max_pool2d((after + before)[:, None], 3, stride=1, padding=1)
    return E / (E + 0.1)


mde.W_a.weight.normal_()
mde.W_e.weight.normal_()
out, gate = mde(top, reduced, num_frames=5)
m = mde.trunks[0](reduced[0], 5)  # one tap: the sum has one term
a = mask(reduced[0]) * (2 * torch.sigmoid(mde.W_a(m)) - 1)  # 2b.7
e = mde.W_e(m)  # 2b.8
print("equation 2b.7:", torch.allclose(gate, a))
print("equations 2b.8, 2b.9:", torch.allclose(out, top + a * top + e))

# %% [markdown]
# (The library writes $\tanh(x/2) = 2\sigma(x) - 1$.) Zero at the start does not mean stuck: as $m$ is not zero, $W_e$ learns in the first
# step, $W_a$ too where something moves, and the trunk from the second step on:

# %%
with torch.enable_grad():
    fresh = MDE(cfg, {"layer1": 9}, "layer1").double()
    out, _ = fresh(top, fresh.reduce({"layer1": top}), 5)
    out.square().sum().backward()
print("W_e learns:", bool(fresh.W_e.weight.grad.any()))
print("W_a learns:", bool(fresh.W_a.weight.grad.any()))
first = fresh.trunks[0].blocks[0].conv1.weight.grad
print("so does the trunk, in the first step:", bool(first.any()))

# %% [markdown]
# ### What the mask promises
#
# Where nothing changes, the gate is exactly zero, whatever the weights. We draw $W_a$ ten times, for a still clip and for two dots of which
# only the upper one moves. In how many draws is the gate open anywhere?


# %%
def gates(clip):
    """(a without its mask, g, a), of a clip (T, h, w)."""
    tapped = neighbourhoods(clip)
    reduced = mde.reduce({"layer1": tapped})
    _, gate = mde(tapped, reduced, len(clip))
    m = mde.trunks[0](reduced[0], len(clip))
    return torch.tanh(mde.W_a(m) / 2), mask(reduced[0]), gate


still = right[2:3].expand(5, -1, -1)
# in row 4 a dot that moves, in row 12 one at rest
two_dots = right.roll(-4, 1) + moving_dot(0, 0).roll(4, 1)
looked_at = {
    "still clip": (still, slice(0, 17)),
    "dot at rest": (two_dots, slice(11, 17)),
    "dot that moves": (two_dots, slice(0, 9)),
}
for name, (clip, rows) in looked_at.items():
    opened = torch.zeros(2, dtype=torch.int64)
    for seed in range(10):
        seeded = torch.Generator().manual_seed(seed)
        mde.W_a.weight.normal_(generator=seeded)
        without, _, gate = gates(clip)
        both = torch.stack([without, gate])[:, :, :, rows]
        opened += both.flatten(1).any(1)
    print(f"{name:14}: open in {opened[0]} of 10 draws without the", end="")
    print(f" mask, in {opened[1]} with it")

# %% mystnb={"image": {"alt": "Four maps of the third frame. The frame: a dot above and a dot below. Gate without the mask: above zero everywhere, highest around both dots. Mask g: near 1 around the upper dot, zero elsewhere. Gate a: above zero around the upper dot alone."}} tags=["hide-input"]
panels = {
    "$r_3$, the upper moves": two_dots[2],
    "$|a_3|$ without mask": gates(two_dots)[0][2].abs().mean(0),
    "mask $g_3$": gates(two_dots)[1][2, 0],
    "$|a_3|$": gates(two_dots)[2][2].abs().mean(0),
}
figure, axes = new_figure(2.3, 1, 4)
for ax, (name, values) in zip(axes, panels.items()):
    values = np.ma.masked_equal(values, 0)
    image = ax.imshow(values, cmap="viridis", vmin=0, vmax=1)
    ax.set_title(name, fontsize=8)
    ax.set(xticks=[], yticks=[])
_ = figure.colorbar(image, ax=axes, label="value (blank: exactly 0)")

# %% [markdown]
# The mask opens where $r$ changes and one position beside; the trunk decides how strong the gate is. What the mask does for accuracy is not
# measured. It does not cover the embedding: a still clip's $F'$ is $F + e$. A moving camera opens it wherever there is texture, and so does
# noise.

# %% [markdown]
# ### Two traps in the relatives
#
# **A sigmoid off its centre.** ACTION-Net's $F + \sigma(x) F$ is $1.5\,F$ where $x = 0$, so a pretrained network does not get what it
# expects.
#
# **Pooling before gating.** TEA averages the difference over space before it gates. Of our dot nothing remains, as much brightness arrives
# as leaves. In a network something does, but it says *that* something moved, not where.

# %% [markdown]
# ## Which stage is tapped
#
# Deeper stages have coarser grids. A dot moves 4 pixels a frame: how many grid steps is that on each, and how large is $d^+$ beside $r$?
# (Means over cells stand in for a backbone.)

# %% mystnb={"image": {"alt": "Four maps of the forward difference of the same moving dot on grids of 24, 12, 6 and 3 cells: clear, fine pairs of blue and red on the finest, a faint wide pair on the coarsest."}} tags=["hide-input"]
pixels = moving_dot(0, 4, T=9, size=96, sigma=4)
figure, axes = new_figure(2.2, 1, 4)
for i, ax in enumerate(axes):
    stride = 4 * 2**i
    grid = F.avg_pool2d(pixels[:, None], stride)[:, 0]
    change = grid[1:] - grid[:-1]
    share = change.norm() / grid[:-1].norm()
    _ = draw_signed(ax, change[1], float(grid[1].max()))
    ax.set_title(f"layer{i + 1}: 1/{stride}", fontsize=8)
    print(f"layer{i + 1}: {4 / stride:5.3f} steps, |d+|/|r| {share:.2f}")

# %% [markdown]
# On the finest grid $w$ can name the motion, but a finer grid costs more, and deeper stages know more of *what* moves. MDE can tap several.
# The synthetic sets' recipes tap the stem: on `layer1`'s grid, but each cell sees 11 pixels instead of 43. With the top
# map in place of the stem, mini's network loses 13.1 points (9.2 to 17.1; [chapter 6](06_ablations.ipynb)).

# %% [markdown]
# ## Shapes
#
# The networks of two params files on PyTorch's `meta` device, which computes shapes but no values:


# %%
def network(file, overrides=""):
    cfg = load_config(file, overrides)
    return cfg, shape_model(cfg.model, num_classes=174).eval()


def shape_walk(file):
    cfg, net = network(file)
    T, side = cfg.data.num_frames, cfg.data.image_size
    frames = torch.zeros(T, 3, side, side, device="meta")
    maps = net.backbone(frames)
    reduced = net.mde.reduce(maps)
    rows = [("frames", frames)]
    parts = zip(net.mde.taps, reduced, net.mde.trunks, net.mde.halvings)
    for stage, r, trunk, halvings in parts:
        rows += [(f"`{stage}` map $F$", maps[stage]), ("$r$ (2b.1)", r)]
        clip = r.unflatten(0, (1, T))
        plus, _ = trunk.difference(clip)
        rows += [("$d^+$, $d^-$ (2b.2, 2b.3), each", plus[0])]
        rows += [
            ("$w$ (2b.4)", trunk.match(clip)[0]),
            ("its trunk's $m$ (2b.5)", trunk(r, T)),
            ("its energy $E$ (2b.6)", motion_energy(clip, halvings)),
        ]
    top = maps[net.backbone.cut]
    out, gate = net.mde(top, reduced, T)
    rows += [("gate $a$ (2b.7)", gate), ("$F'$ (2b.9)", out)]
    lines = [f"| {name} | {tuple(x.shape)} |" for name, x in rows]
    head = [
        f"**{file}**",
        "",
        "| tensor | shape (N = T frames) |",
        "|---|---|",
    ]
    display(Markdown("\n".join(head + lines)))


shape_walk("params/mini.yaml")

# %%
shape_walk("params/ssv2.yaml")

# %% [markdown]
# [Chapter 2a](02a_backbone.ipynb) counts what MDE costs. The count includes the cosines that the code computes for $w$ and does not keep,
# but no operations on single values.
#
# The switches: `model.mde.taps`, `reads` ($r$, $d^+$, $d^-$), `difference_kernel` (1: no $K$), `shift_radius` (0: no $w$), `trunk_blocks`
# (0: a bare projection), `gate` and `embedding`.

# %% [markdown]
# ## Explore
#
# Choose a dot's motion. At which speed does the winner stop telling the truth? (The built page slides over the speed, to the right.)

# %% tags=["hide-input", "nbval-ignore-output", "player"]
DIRECTIONS = {
    "right": (0, 1),
    "left": (0, -1),
    "down": (1, 0),
    "down and right": (1, 1),
}


def draw(speed, direction):
    down, right = (speed * step for step in DIRECTIONS[direction])
    clip = moving_dot(down, right)
    plus, minus = differences(clip)
    figure, axes = new_figure(2.7, 1, 4)
    panels = {"$r_t$": clip, "$d^-_t$": minus, "$d^+_t$": plus}
    for ax, (name, maps) in zip(axes, panels.items()):
        _ = draw_signed(ax, maps[2], 1.0)
        ax.set_title(name)
    _ = draw_shifts(axes[3], votes(clip))
    axes[3].set_title(
        f"votes, winner: {winning_shift(votes(clip))}", fontsize=8
    )
    return figure


explore(
    draw,
    controls={
        "speed": [0, 0.5, 1, 1.5, 2, 2.5, 3, 4],
        "direction": list(DIRECTIONS),
    },
    slide="speed",
    start={"speed": 1, "direction": "right"},
    alt="A dot's map, its backward and forward difference, and the votes for 25 shifts, for speeds from 0 to 4 cells a frame.",
)

# %% [markdown]
# ## Summary
#
# - A set of frames cannot tell a motion from its reverse. Differences of neighbours can: reversed, they swap and change sign.
# - A learned 3x3 kernel cancels a steady motion of up to one cell, in one direction per channel.
# - One difference does not say which way. The shift weights do, up to $\rho$ grid steps, where there is texture; a trunk reads it from a
#   neighbourhood.
# - MDE starts as the identity. Its gate is exactly zero where nothing changes; its embedding is not masked.
#
# ## Exercises
#
# **1.** Set $K$ by hand so that a dot moving *right* by one cell leaves no trace in $d^-$. What does the same kernel do to $d^+$?
#
# <details><summary>Solution</summary>
#
# ```python
# K = MotionDifference(1).double()
# K.K.weight.zero_()
# K.K.weight[0, 0, 1, 0] = 1  # the value of the cell to the left
# plus, minus = differences(right, K)
# for d in (minus[1:], plus[:-1]):
#     print(f"{d.abs().max():.2f}")
# ```
# ```text
# 0.00
# 0.75
# ```
# $d^-_t(p) = r_t(p) - r_{t-1}(p - (0, 1))$ is zero: the dot was one cell further left. In $d^+$ the kernel pushes the next frame's dot further to the
# right still, two cells from where the dot is now: nothing cancels, and it is the dot that moves *left* that vanishes there.
#
# </details>
#
# **2.** Three cells a frame are beyond radius 2. Is radius 3 enough, what does it cost, and what does $\kappa = 0$ do?
#
# <details><summary>Solution</summary>
#
# ```python
# wide = ShiftMatch(radius=3).double()
# w3 = shift_weights(moving_dot(0, 3), wide)
# print(tuple(w3.shape), winning_shift(w3[2, :, 8, 8]))
# wide.kappa.fill_(0)
# flat = shift_weights(moving_dot(0, 3), wide)
# print(f"{flat.min():.4f} {flat.max():.4f}")
# ```
# ```text
# (5, 49, 17, 17) (0, 3)
# 0.1429 0.1429
# ```
# Yes: the winner is (0, 3). Each row is multiplied with 7 rows of the next frame instead of 5, of which 49 cosines are kept instead of 25, and the
# trunk's first convolutions read 24 more channels.
# With $\kappa = 0$ all shifts weigh the same, $7 / 49 = 1/7$: nothing is said.
#
# </details>
#
# **3.** The bare projection of $w$ was above chance, but had not solved the turn in 80 steps. Does it with four times as many?
#
# <details><summary>Solution</summary>
#
# ```python
# print(accuracy_after_training(READERS["bare projection of w"], steps=320))
# ```
# Yes: all 500 new clips when this page was made. The turn is in $w$, it only takes longer to find than with the trunk.
#
# </details>
#
# **4.** What does MDE cost if it also taps `layer1`? And if it taps `layer4` alone?
#
# <details><summary>Solution</summary>
#
# ```python
# from hitagu_lib.models.cost import model_cost
#
# for taps in ("[layer1,layer2,layer3,layer4]", "[layer2,layer3,layer4]", "[layer4]"):
#     cfg, net = network("params/ssv2.yaml", f"model.mde.taps={taps}")
#     mde = model_cost(net, 8, 224)["mde"]
#     print(taps, f"{mde.gflops:.2f} GFLOPs, {mde.params_millions:.2f} M")
# ```
# ```text
# [layer1,layer2,layer3,layer4] 2.00 GFLOPs, 1.23 M
# [layer2,layer3,layer4] 0.68 GFLOPs, 0.95 M
# [layer4] 0.20 GFLOPs, 0.52 M
# ```
# The finer the tap, the more positions its trunk runs over. Parameters grow because each tap has a reducer and a trunk of
# its own; `layer1`'s trunk also has a third block, as it halves the grid three times.
#
# </details>
#
# ## Quiz
#
# **A dot moves right on black ground. What is the mean over positions of $d^+_t$, with $K$ the identity and the dot well inside the map?**
#
# <details><summary>a) Positive, since it moves to the right</summary>
#
# No: the sign of a difference tells brightness coming or going. Direction is in *where* the signs stand.
#
# </details>
#
# <details><summary>b) It grows with speed</summary>
#
# No: the mean of $|d^+_t|$ does, until the two places of the dot no longer overlap. The signed mean stays zero.
#
# </details>
#
# <details><summary>c) Zero</summary>
#
# Yes: as much arrives as leaves. Whoever pools the difference over space before looking at it throws the motion away.
#
# </details>
#
# **At some position all 25 shift weights are 0.2. What do you know?**
#
# <details><summary>a) Nothing moves there</summary>
#
# No: on ground without texture they are equal whether it moves or not. Where something with texture stands still the middle shift wins.
#
# </details>
#
# <details><summary>b) All places in reach look alike to it</summary>
#
# Yes: even ground is the common case. The weights then carry no information about motion.
#
# </details>
#
# <details><summary>c) The motion is faster than the radius</summary>
#
# No: beyond the radius the weight goes to whatever looks most alike. It may have a clear winner or none.
#
# </details>
#
# **Why do $W_a$ and $W_e$ start at zero, while the trunk before them does not?**
#
# <details><summary>a) So that MDE starts as the identity and still receives a gradient</summary>
#
# Yes: the output does not depend on the trunk at first, but $W_a$ and $W_e$ see its $m$, learn in the first step, and let gradients through from
# the second on.
#
# </details>
#
# <details><summary>b) So that MDE is never used unless it is needed</summary>
#
# No: nothing holds them at zero. It is a start, not a penalty.
#
# </details>
#
# <details><summary>c) Zeros everywhere would do as well</summary>
#
# No: with the trunk at zero too, $m$ would be zero, no gradient would reach $W_a$ and $W_e$, and none would ever reach the trunk.
#
# </details>
#
# ## Next
#
# MDE compares neighbours. [Chapter 2c](02c_3stu.ipynb), on the 3STU, remembers what came long before.
#
# **References.** Li et al., [*TEA: Temporal Excitation and Aggregation for Action Recognition*](https://arxiv.org/abs/2004.01398), CVPR
# 2020. Wang, She and Smolic, [*ACTION-Net: Multipath Excitation for Action Recognition*](https://arxiv.org/abs/2103.07372), CVPR 2021. Wang
# et al., [*TDN: Temporal Difference Networks for Efficient Action Recognition*](https://arxiv.org/abs/2012.10071), CVPR 2021. Kwon et al.,
# [*MotionSqueeze: Neural Motion Feature Learning for Video Understanding*](https://arxiv.org/abs/2007.09933), ECCV 2020. Sun et al.,
# [*PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume*](https://arxiv.org/abs/1709.02371), CVPR 2018. He et al., [*Deep
# Residual Learning for Image Recognition*](https://arxiv.org/abs/1512.03385), CVPR 2016.
