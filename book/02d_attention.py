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
# # 2d Attention: where, which channels, when
#
# After the 3STU, each frame is a map that holds what moved and what came before. To name the action, the network must reduce $T$ such maps to one
# vector. What should this reduction listen to? Which channels, which positions, and which frames?
#
# **You will be able to** write down both gates of Spatial Channel Attention (SCA) and the weights of Temporal Self-Attention (TSA), check each
# against the shipped module, say what the order of frames does with and without a position code, read an attention map, and say what it does
# not tell.
#
# **Prerequisites**: chapter 2a, basic PyTorch; softmax and matrix products. **Time** on two CPU cores: about half a minute, most of it
# small training runs; not measured on a GPU yet. **Memory**: 1 GiB. Everything shown is drawn here: no data set is needed.

# %% [markdown]
# ![The network from top to bottom: clip, ResNet-50, MDE, 3STU, SCA, TSA, classifier, each with the shape of its output; this chapter's part, SCA and TSA, is lit.](figures/network_attention.svg)

# %% [markdown]
# > **Given, and ours.** We were given the two names, Temporal Self-Attention and Spatial Channel Attention, and their place between the 3STU and
# > the classifier. Every equation of this chapter is our reconstruction: SCA has the form of CBAM (Woo et al. 2018), TSA that of the
# > Transformer's self-attention (Vaswani et al. 2017) with a position code computed from the frames' times. That SCA comes first and TSA reads
# > one token per frame is our choice as well. No result of the original work is claimed.

# %% tags=["hide-input"]
import os

import torch
import torch.nn.functional as F
from IPython.display import Markdown, display
from torch import nn

from hitagu_lib import build_model
from hitagu_lib.config import AttentionConfig, check_parameters, load_config
from hitagu_lib.models.attention import (
    SpatialChannelAttention,
    TemporalSelfAttention,
    sinusoids,
)
from hitagu_lib.models.cost import markdown_table, recipe_cost
from hitagu_lib.models.head import ClassifierHead
from hitagu_lib.files import project_root
from hitagu_lib.viz.modules import draw_attention, query_figure
from hitagu_lib.viz.style import PALETTE, new_figure
from hitagu_lib.viz.explore import explore

check_parameters(globals())  # this chapter takes none
os.chdir(project_root())  # the same from the root and from book/

# %% [markdown]
# ## A failure you can see
#
# The plainest reduction is the mean. Suppose that one number tells the class: `+3` or `-3`, at one position of one frame. Every value, this one too, has
# noise of standard deviation 1. Alone, the number has the right sign in 99.9 % of clips. How often does the *mean* have it, over all frames, over all
# positions of the frame, or over both?

# %%
generator = torch.Generator().manual_seed(0)
clips, signal = 4000, 3.0
cases = {
    "alone": 1,
    "1 of 8 frames": 8,
    "1 of 7 x 7 positions": 49,
    "1 of 8 x 7 x 7": 392,
}
right = []
for name, n in cases.items():
    truth = torch.randint(2, (clips,), generator=generator) * 2.0 - 1
    numbers = torch.randn(clips, n, generator=generator)
    numbers[:, 0] += signal * truth
    called = numbers.mean(1).sign()
    right.append(100 * (called == truth).float().mean().item())
    print(f"{name:>20}: {right[-1]:3.0f} % right")

# %% mystnb={"image": {"alt": "Percent of clips whose mean has the right sign, over the number of values averaged, for 1, 8, 49 and 392: dots fall along a curve from nearly 100 towards the dashed line at 50."}} tags=["hide-input"]
n = torch.logspace(0, 2.8, 60)
expected = 100 * torch.distributions.Normal(0.0, 1.0).cdf(signal / n.sqrt())
figure, ax = new_figure(2.4)
ax.plot(n, expected, color=PALETTE[7], label="normal law at 3 / √n")
ax.plot(list(cases.values()), right, "o", label="measured, 4000 clips")
for name, count, value in zip(cases, cases.values(), right):
    ax.annotate(name, (count, value), (6, 3), textcoords="offset points")
ax.axhline(50, color="0.4", linestyle="--", linewidth=1)
ax.set(xscale="log", xlabel="values averaged", ylabel="right sign (%)")
ax.set(ylim=(45, 106), xlim=(0.9, 1500))
_ = ax.legend(fontsize=7, loc="lower left")

# %% [markdown]
# The mean keeps $1/n$ of the signal but $1/\sqrt{n}$ of the noise, and nothing after it can undo that. A *weighted* mean could help, with weights
# that come from the clip itself. That is attention. We look first within a frame, then over frames.
#
# ## Spatial Channel Attention
#
# SCA multiplies one frame's map $y$, of shape $(C, h, w)$, by two gates. The **channel gate** asks *what* matters. It describes every channel by its
# mean and its maximum over the positions, and one small bottleneck $M$ reads both.
#
# $$g_c = \sigma\big(M(\operatorname{mean}_{ij} y)_c + M(\operatorname{max}_{ij} y)_c\big) \tag{2d.1}$$
#
# with $M(v) = W_2 \operatorname{relu}(W_1 v + b_1) + b_2$.
#
# The **spatial gate** asks *where*, on the map after the channel gate. It describes every position by its mean and its maximum over the
# channels, and one convolution $K$ (`model.attention.sca_kernel`: 7 x 7, in the recipes for small pictures 3 x 3) reads the neighbourhood.
#
# $$s_{ij} = \sigma\big(K * [\operatorname{mean}_c (g_c\, y_c)\,;\ \operatorname{max}_c (g_c\, y_c)]\big)_{ij} \tag{2d.2}$$
#
# Both multiply:
#
# $$y'_{cij} = s_{ij}\, g_c\, y_{cij} \tag{2d.3}$$
#
# In code, step by step, and compared with the shipped module:


# %%
def sca_by_hand(sca, y):
    """y (N, C, h, w) -> gated map, channel gate, spatial gate."""
    M = sca.bottleneck
    g = torch.sigmoid(M(y.mean((2, 3))) + M(y.amax((2, 3))))  # (2d.1)
    weighed = y * g[:, :, None, None]
    both = torch.stack([weighed.mean(1), weighed.amax(1)], dim=1)
    s = torch.sigmoid(sca.conv(both))[:, 0]  # (2d.2)
    return weighed * s[:, None], g, s  # (2d.3)


torch.manual_seed(0)
cfg = AttentionConfig(sca_reduction=2, sca_kernel=3)
sca = SpatialChannelAttention(cfg, channels=8)
y = torch.randn(5, 8, 7, 7).relu()
with torch.no_grad():
    for mine, shipped in zip(sca_by_hand(sca, y), sca(y)):
        torch.testing.assert_close(mine, shipped)
print("by hand and shipped agree")

# %% [markdown]
# ### How open is a fresh gate?
#
# With weights at random, as PyTorch starts them, one may expect gates of one half, which is $\sigma(0)$. But the backbone's values are large,
# and so random weights give random gates. CBAM, whose form this is, has such a channel gate; its published code starts the spatial gate at one
# half, by a BatchNorm that starts at zero and that our SCA does not have. (The channel gate goes back to Squeeze-and-Excitation, Hu et al. 2018.) Our recipes change two things. A gate is $2\sigma$, from 0 to 2
# (`model.attention.sca_identity`), and $W_2$, $b_2$ and $K$ start at zero (`model.attention.sca_zero_start`). Then both gates start at 1, and a fresh SCA passes
# the map unchanged. Here is the network of `params/hard.yaml` before training, on noise:


# %%
def fresh_gates(overrides):
    """The fresh gates of hard's network on two clips of noise: (gates,) each."""
    hard = load_config("params/hard.yaml", overrides)
    torch.manual_seed(0)
    network = build_model(hard.model, num_classes=14)
    size = hard.data.image_size
    noise = torch.randn(2, hard.data.num_frames, 3, size, size)
    with torch.no_grad():
        _, maps = network(noise, return_maps=True)
    return maps.channel_gate.flatten(), maps.spatial_map.flatten()


ends = torch.tensor([0.01, 0.99])
random = "model.attention.sca_identity=false model.attention.sca_zero_start=false"
for start, overrides in {"at random": random, "the recipes": ""}.items():
    gates = fresh_gates(overrides)
    for name, gate in zip(("channel", "spatial"), gates):
        low, high = gate.quantile(ends).tolist()
        print(f"{start:11}  {name} gate: {low:.1f} to {high:.1f}")

# %% [markdown]
# The random start masks channels at random. Is ours better? On mini (two epochs, five seeds, [chapter 6](06_ablations.ipynb)) the answer is
# mixed. Against ours, the network with this random start is 2.3 points lower, which decides nothing (-5.1 to +0.5). With our gates up to 2 but a
# random start it is 3.0 points higher (+0.6 to +5.3), with gates up to 1 that start half open 3.4 points lower (-5.5 to -1.2). On hard the runs
# cannot tell. The examples of this chapter have gates from 0 to 1 that start at random.

# %% [markdown]
# ### A bright spot, with weights set by hand
#
# To see the mechanism alone, we **set the weights by hand**; this cell trains nothing. The map has four channels. Channel 1 holds one bright spot,
# channel 2 clutter everywhere, channels 0 and 3 faint noise. The bottleneck passes a channel whose *maximum* is above 2. The convolution responds to
# a position that is brighter than its neighbours.

# %%
generator = torch.Generator().manual_seed(1)
spot = 0.1 * torch.rand(1, 4, 7, 7, generator=generator)
spot[0, 2] = 0.7 + 0.6 * torch.rand(7, 7, generator=generator)
spot[0, 1, 2, 5] = 4.0

by_hand = SpatialChannelAttention(AttentionConfig(sca_kernel=3), 4)
with torch.no_grad():
    first, _, second = by_hand.bottleneck
    first.weight.copy_(torch.eye(4))
    first.bias.fill_(-2.0)  # what is below 2 is cut off
    second.weight.copy_(4 * torch.eye(4))
    second.bias.fill_(-2.0)
    by_hand.conv.weight.zero_()
    by_hand.conv.weight[0, 1] = -0.5  # the maximum: a dark ring
    by_hand.conv.weight[0, 1, 1, 1] = 2.0  # and a bright centre
    gated, g, s = by_hand(spot)
    weighed = spot * g[:, :, None, None]

print("channel gate:", [round(v, 2) for v in g[0].tolist()])
print(
    f"spatial gate: {s[0, 2, 5]:.2f} at the spot, {s[0, 5, 1]:.2f} far away"
)
for name, values in (
    ("the map", spot),
    ("after the channel gate", weighed),
    ("after both gates", gated),
):
    share = values[0, 1, 2, 5] / values.sum()
    print(f"{name}: the spot is {100 * share:.0f} % of all that is there")

# %% mystnb={"image": {"alt": "Top: the four channels of the map, a bright cell in channel 1 and clutter all over channel 2. Bottom: bars of the channel gate, near 1 for channel 1 alone; the spatial gate, bright at the spot with a dark ring, one half elsewhere; channels 1 and 2 after both gates, of which only the spot is left."}} tags=["hide-input"]
figure, axes = new_figure(3.9, 2, 4)
for c in range(4):
    axes[0, c].imshow(spot[0, c], vmin=0, vmax=4, cmap="magma")
    axes[0, c].set_title(f"channel {c}", fontsize=8)
axes[1, 0].bar(range(4), g[0], color=PALETTE[0])
axes[1, 0].set(xlabel="channel", ylim=(0, 1), xticks=range(4))
axes[1, 0].set_title("channel gate", fontsize=8)
axes[1, 1].imshow(s[0], vmin=0, vmax=1, cmap="viridis")
axes[1, 1].set_title("spatial gate, 0 to 1", fontsize=8)
for ax, c in ((axes[1, 2], 1), (axes[1, 3], 2)):
    ax.imshow(gated[0, c], vmin=0, vmax=4, cmap="magma")
    ax.set_title(f"channel {c}, after both", fontsize=8)
for ax in [*axes[0], *axes[1, 1:]]:
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)

# %% [markdown]
# Three things to remember:
#
# - The order matters. If the spatial gate came first, its maximum would include the clutter.
# - The convolution has no bias, as in CBAM's equation (CBAM's published code has a BatchNorm there). So a position with nothing around it gets
#   $\sigma(0) = 1/2$, not 0. Gates do not sum to 1: each is a volume control of its own.
# - Both gates are computed from the map of one frame. They compare no frames: of other frames they know only what MDE and the 3STU have put into
#   this map.
#
# ## Temporal Self-Attention
#
# Next, the gated maps are averaged over positions. Because of the gates this is a weighted mean, though its weights need not sum to 1. Each
# frame becomes one **token** of $C$ numbers:
#
# $$\bar y_t = \frac{1}{hw} \sum_{ij} y'_{t,ij} \tag{2d.4}$$
#
# (Non-local networks, Wang et al. 2018, attend among all positions of all frames in place of this: a table of $(T h w)^2$ weights, not $T^2$.)
#
# ### When: a position code of real-valued time
#
# Attention by itself treats the tokens as a set. A **position code** tells it *when* each frame was taken: it codes a position in time, not
# on the map. It is made of sines and cosines of the frame's time $\tau$, less that of the clip's first frame. Its unit is the *reference stride*,
# `data.ref_stride` frames ([chapter 1](01_data.ipynb)). There are $d/2$
# wavelengths $\lambda_m$ from 4 to 400 strides, evenly spaced in their logarithm ($d$ is `tsa_width`).
#
# $$p(\tau) = \big[\sin(2\pi (\tau - \tau_1)/\lambda_m)\,;\ \cos(2\pi (\tau - \tau_1)/\lambda_m)\big]_{m = 1 \ldots d/2} \tag{2d.5}$$
#
# There is no table of positions, so nothing fixes $T$. Times may be unequal or fractions, and there may be more of them than in training.

# %%
equal = torch.arange(8.0)[None]
unequal = torch.tensor([[0, 0.5, 1, 4, 4.5, 8, 9, 15]])
twice = torch.arange(16.0)[None] / 2
code = sinusoids(equal, 32)[0]
print(
    "T = 8:",
    tuple(code.shape),
    " T = 16:",
    tuple(sinusoids(twice, 32)[0].shape),
)
torch.testing.assert_close(sinusoids(twice, 32)[0, ::2], code)
torch.testing.assert_close(sinusoids(equal + 50, 32)[0], code)
print("the same time has the same code, whatever T and the start")

# %% mystnb={"image": {"alt": "Left and middle: the position code as a picture, one row per frame and one column a sine or cosine, for equal times, whose rows change evenly, and unequal ones, whose rows change little where times are close. Right: similarity of two codes falls from 1 with the time between them, along one curve for both sets of times."}} tags=["hide-input"]
figure, axes = new_figure(2.8, 1, 3, width_ratios=[1, 1, 1.1])
for ax, t, title in (
    (axes[0], equal, "equal times"),
    (axes[1], unequal, "unequal times"),
):
    picture = ax.imshow(
        sinusoids(t, 32)[0], cmap="RdBu", vmin=-1, vmax=1, aspect="auto"
    )
    ax.set_yticks(range(8), [f"{v:g}" for v in t[0].tolist()])
    ax.set(xlabel="16 sines, 16 cosines", ylabel="t (strides)", title=title)
    ax.grid(visible=False)
for t, marker, label in ((equal, "o", "equal"), (unequal, "x", "unequal")):
    p = sinusoids(t, 32)[0]
    apart = (t[0][:, None] - t[0]).abs().flatten()
    axes[2].plot(apart, (p @ p.T / 16).flatten(), marker, label=label)
axes[2].set(xlabel="time between frames (strides)", ylabel="similarity")
_ = axes[2].legend(fontsize=7)

# %% [markdown]
# The inner product of two codes depends only on the time between them, so the dots of both clips lie on one curve. So a frame can ask for
# "one stride before me" as well as for "at $t = 5$". (With `model.attention.tsa_relative` there is no code: each head adds to the score the time
# between the two frames times a learned slope, one slope for earlier frames and one for later ones.)
#
# ### Queries, keys, values
#
# How can one frame look something up in the others? Think of a library. The **query** is what a frame is looking for: say, "the moment when a hand
# arrives". The **key** is the label under which a frame can be found. The **value** is what it hands over when it is read. The **score** says how well
# a query fits a key; softmax turns a frame's scores into weights that sum to 1; and the frame reads the mean of all values with these weights. A frame
# may look for something that it does not itself contain, so query, key and value are three different vectors.
#
# Each token is normalised, and each frame makes its query, key and value from its token and its time ($W$, $b$ and $P$ are learned):
#
# $$[q_t\,; k_t\,; v_t] = W \operatorname{LN}(\bar y_t) + b + P\, p(\tau_t) \tag{2d.6}$$
#
# The score is an inner product, taken separately in each *head*, a group of $d_h$ channels that has its own weights. Why divide it by the root of
# $d_h$? Suppose that the components of $q$ and $k$ are independent, with mean 0 and variance 1. Then $q \cdot k$ is a sum of $d_h$ terms of variance 1, so
# its standard deviation is $\sqrt{d_h}$. Undivided, the scores of a wide head would be far apart: softmax would give nearly all weight to one frame, and
# its gradient would nearly vanish. Divided, their spread is 1 for every width. Row $i$ of the weights says what frame $i$ reads, and sums to 1:
#
# $$A_{ij} = \operatorname{softmax}_j\big(q_i \cdot k_j / \sqrt{d_h}\big) \tag{2d.7}$$
#
# The frame adds what it reads to what it was. The results $z_i$, one for each frame, are the **frame embeddings**; the classifier's head takes their mean:
#
# $$z_i = \bar y_i + W_o \big[\textstyle\sum_j A_{ij} v_j\big]_{\text{heads}} + b_o \tag{2d.8}$$


# %%
def tsa_by_hand(tsa, x, t):
    """x (B, T, C), t (B, T) -> embeddings (B, T, C), weights."""
    p = sinusoids(t, tsa.position.in_features)  # (2d.5)
    qkv = tsa.qkv(tsa.norm(x)) + tsa.position(p)  # (2d.6)
    q, k, v = (
        part.unflatten(2, (tsa.heads, -1)).transpose(1, 2)
        for part in qkv.chunk(3, dim=2)
    )  # (B, heads, T, d_h) each
    score = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
    A = score.softmax(-1)  # (2d.7)
    read = (A @ v).transpose(1, 2).flatten(2)  # heads side by side
    return x + tsa.out(read), A  # (2d.8)


torch.manual_seed(0)
tsa = TemporalSelfAttention(AttentionConfig(tsa_width=16, tsa_heads=2), 8)
x = torch.randn(3, 8, 8)
times = unequal.expand(3, -1)
with torch.no_grad():
    print("identity at the start:", torch.equal(tsa(x, times), x))
    nn.init.normal_(tsa.out.weight)  # as if it had been trained
    z, A = tsa_by_hand(tsa, x, times)
    torch.testing.assert_close(tsa(x, times), z)
    torch.testing.assert_close(tsa.weights(x, times), A)
    print("the fast path equals the explicit weights")
    print("rows sum to 1:", torch.allclose(A.sum(-1), torch.ones(3, 2, 8)))

# %% [markdown]
# `forward` never forms $A$: it hands $q, k, v$ to PyTorch's `scaled_dot_product_attention`, which may use a fused kernel. `weights` computes (2d.7)
# explicitly, and runs only when someone asks for maps. $W_o$ and $b_o$ start at zero, so TSA starts as the identity.
#
# ### What the order of frames does
#
# Without the position code (`model.attention.tsa_position: false`), permuting the frames permutes the embeddings and leaves their mean as it was: this TSA is
# as blind to order as the mean. With the code, order matters. (If frames *and* times are permuted together, little changes, because a clip is a set of
# frames with their times. Only the time that counts as the start moves.)

# %%
order = torch.tensor([0, 5, 2, 7, 1, 4, 6, 3])  # the first stays the first
t = equal.expand(3, -1)
for position in (False, True):
    torch.manual_seed(0)
    made = AttentionConfig(tsa_width=16, tsa_heads=2, tsa_position=position)
    module = TemporalSelfAttention(made, 8)
    nn.init.normal_(module.out.weight)
    with torch.no_grad():
        z, shuffled = module(x, t), module(x[:, order], t)
        both = module(x[:, order], t[:, order])

    def close(a, b):
        return torch.allclose(a, b, atol=1e-5)

    print("with" if position else "without", "position code")
    print("  shuffled frames: embeddings only", end=" ")
    print("permuted:", close(shuffled, z[:, order]), end=", ")
    print("same mean:", close(shuffled.mean(1), z.mean(1)))
    print(
        "  frames and times together: permuted:", close(both, z[:, order])
    )

# %% [markdown]
# ## A clip whose event is in one known frame
#
# Now the whole stage, **trained** on clips that we draw. Every frame shows one of four lines at a random place. In one frame of the eight, the *event*,
# the line is lit brightest; the class of the clip is that line. How bright "brightest" is differs by a factor of up to four from clip to clip, so no
# fixed threshold on one frame finds it: a frame must be compared with the others.

# %%
LINES = torch.zeros(4, 5, 5)  # -, |, \ and /
LINES[0, 2] = LINES[1, :, 2] = 1
LINES[2], LINES[3] = torch.eye(5), torch.eye(5).flip(1)


def draw_clips(n, T, generator):
    """Clips (n, T, 12, 12), their classes (n,), their event frames (n,)."""
    line = torch.randint(4, (n, T), generator=generator)
    event = torch.randint(T, (n,), generator=generator)
    light = 0.4 + 0.3 * torch.rand(n, T, generator=generator)
    light[torch.arange(n), event] = 1
    light *= torch.exp(-1.4 * torch.rand(n, 1, generator=generator))
    top, left = torch.randint(8, (2, n * T, 1, 1), generator=generator)
    cells = torch.arange(5)
    canvas = torch.zeros(n * T, 12, 12)
    frame = torch.arange(n * T)[:, None, None]
    canvas[frame, top + cells[:, None], left + cells] = LINES[
        line.flatten()
    ]
    clips = canvas.unflatten(0, (n, T)) * light[..., None, None]
    noise = 0.02 * torch.randn(clips.shape, generator=generator)
    return clips + noise, line[torch.arange(n), event], event


# %% [markdown]
# The network has two convolutions on each frame, then the library's SCA, TSA and head. We compare it with the same network without TSA. Both are
# trained by one recipe, 400 steps of 32 clips.


# %%
class Stage(nn.Module):
    """Frames (B, T, 12, 12), times (B, T) -> logits (B, 4)."""

    def __init__(self, use_tsa):
        super().__init__()
        cfg = AttentionConfig(
            sca_reduction=2, sca_kernel=3, tsa_width=16, tsa_heads=2
        )
        self.frame = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
        )
        self.sca = SpatialChannelAttention(cfg, 16)
        self.tsa = TemporalSelfAttention(cfg, 16) if use_tsa else None
        self.head = ClassifierHead(16, 4, dropout=0.0)

    def tokens(self, clips):
        y, _, s = self.sca(self.frame(clips.flatten(0, 1)[:, None]))
        shape = clips.shape[:2]
        return y.mean((2, 3)).unflatten(0, shape), s.unflatten(0, shape)

    def forward(self, clips, t):
        x, _ = self.tokens(clips)
        return self.head(self.tsa(x, t) if self.tsa else x)[0]


def train_stage(use_tsa, seed=0, steps=400):
    generator = torch.Generator().manual_seed(seed)
    clips, classes, _ = draw_clips(4000, 8, generator)
    torch.manual_seed(seed)
    net = Stage(use_tsa)
    adam = torch.optim.AdamW(net.parameters(), lr=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, 1e-2, steps)
    for _ in range(steps):
        batch = torch.randint(4000, (32,), generator=generator)
        logits = net(clips[batch], torch.arange(8.0).expand(32, -1))
        loss = F.cross_entropy(logits, classes[batch])
        adam.zero_grad()
        loss.backward()
        adam.step()
        rate.step()
    return net.eval()


without, net = train_stage(use_tsa=False), train_stage(use_tsa=True)

# %% [markdown]
# On 1,000 new clips, and on 1,000 of *sixteen* frames, which the network has never seen, at half the stride:


# %% tags=["nbval-ignore-output", "trained"]
@torch.no_grad()
def accuracy(net, clips, t, classes):
    t = t.expand(len(clips), -1)
    return (net(clips, t).argmax(1) == classes).float().mean().item()


@torch.no_grad()
def attention(net, clips, t):
    """Mean over heads: (n, T, T)."""
    return net.tsa.weights(
        net.tokens(clips)[0], t.expand(len(clips), -1)
    ).mean(1)


generator = torch.Generator().manual_seed(99)
t8, t16 = torch.arange(8.0), torch.arange(16.0) / 2
clips, classes, event = draw_clips(1000, 8, generator)
clips16, classes16, event16 = draw_clips(1000, 16, generator)
A8, A16 = attention(net, clips, t8), attention(net, clips16, t16)
found = {
    "without TSA": accuracy(without, clips, t8, classes),
    "with TSA": accuracy(net, clips, t8, classes),
    "with TSA, T = 16": accuracy(net, clips16, t16, classes16),
    "weight on the event": A8.mean(1)[torch.arange(1000), event]
    .mean()
    .item(),
    "the same, T = 16": A16.mean(1)[torch.arange(1000), event16]
    .mean()
    .item(),
}
for name, value in found.items():
    print(f"{name:>20}: {100 * value:5.1f} %")

# %%
print("with TSA, above 97 %:", found["with TSA"] > 0.97)
print("and 16 frames as well:", found["with TSA, T = 16"] > 0.95)
print("without TSA, below 90 %:", found["without TSA"] < 0.90)
print("event weight at least 4 x 1/8:", found["weight on the event"] > 0.5)

# %% [markdown]
# The attention finds the frame, and the accuracy follows. It does so under two more seeds. In fairness, the network without TSA goes on
# learning, if it may train six times as long:


# %% tags=["nbval-ignore-output", "trained"]
def reached(use_tsa, **options):
    return accuracy(train_stage(use_tsa, **options), clips, t8, classes)


alone = [reached(False, seed=seed) for seed in (1, 2)]
attending = [reached(True, seed=seed) for seed in (1, 2)]
longer = reached(False, steps=2500)
for seed in (1, 2):
    print(
        f"seed {seed}: {100 * alone[seed - 1]:.1f} % without TSA", end=", "
    )
    print(f"{100 * attending[seed - 1]:.1f} % with it")
print(f"seed 0: {100 * longer:.1f} % without TSA after 2,500 steps")

# %%
print("with TSA, above 97 %:", min(attending) > 0.97)
print("without TSA, below 90 %:", max(alone) < 0.90)
print("and after 2,500 steps above:", longer > 0.90)

# %% [markdown]
# So the mean over frames makes this task hard, not impossible.
#
# The figure shows the weights for three clips, averaged over heads. Then come the frames of the middle clip with their spatial gates.

# %% mystnb={"image": {"alt": "Attention over time for three clips, as three 8 by 8 pictures: nearly all weight of every row lies in one column, the event frame's, at t = 1, 4 and 6."}} tags=["hide-input"]
# for each of three event frames, its most brightly lit clip
light = clips.amax((1, 2, 3))
chosen = [int((light * (event == e)).argmax()) for e in (1, 4, 6)]
figure, axes = new_figure(3.2, 1, 3)
for ax, clip in zip(axes, chosen):
    draw_attention(ax, A8[clip], t8, f"event at t = {int(event[clip])}")

# %% mystnb={"image": {"alt": "Eight frames of one clip with a line each; the event frame's line is the brightest. Below each the spatial gate: about one half on the black ground, beside a line brighter on one side and darker on the other, most at the event's."}} tags=["hide-input"]
clip = chosen[1]
with torch.no_grad():
    _, gate = net.tokens(clips[clip : clip + 1])
figure, axes = new_figure(2.6, 2, 8)
for j in range(8):
    axes[0, j].imshow(clips[clip, j], cmap="gray", vmin=0, vmax=1)
    axes[0, j].set_title("event" if j == event[clip] else "", fontsize=8)
    axes[1, j].imshow(gate[0, j], cmap="viridis", vmin=0, vmax=1)
    axes[1, j].set_xlabel(f"t = {j}", fontsize=7)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
axes[0, 0].set_ylabel("frame", fontsize=8)
_ = axes[1, 0].set_ylabel("spatial gate", fontsize=8)

# %% [markdown]
# The trained spatial gate (dark is 0, bright is 1) stays near one half on empty ground. By a line it turns bright on one side and dark on
# the other, most at the event. It is no outline of the line.
#
# **What such a map does not tell.** A weight says that a frame was read, not that it was decisive: the residual in (2d.8) carries every frame past the
# attention, and the values may cancel. A gate may also point by *darkening*: in exercise 3, a trained spatial gate silences the one position that matters,
# and the classifier reads what is missing. Treat a map as a question, and answer it by changing the frame.
#
# ### When the time decides, not the look
#
# Now the opposite task, on toy tokens. Every frame shows one of four things, and the class is what is seen **at $t = 5$**. No frame looks special; only its
# time is.


# %%
def toy_tokens(n, T, at, generator):
    seen = torch.randint(4, (n, T), generator=generator)
    noise = 0.3 * torch.randn(n, T, 8, generator=generator)
    return 2.0 * F.one_hot(seen, 8) + noise, seen[:, at]


def train_on_time(position, seed=0, steps=300):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    cfg = AttentionConfig(tsa_width=16, tsa_heads=1, tsa_position=position)
    tsa = TemporalSelfAttention(cfg, 8)
    head = ClassifierHead(8, 4, dropout=0.0)
    both = nn.ModuleList([tsa, head])
    adam = torch.optim.AdamW(both.parameters(), lr=1e-2)
    for _ in range(steps):
        x, classes = toy_tokens(64, 8, 5, generator)
        loss = F.cross_entropy(head(tsa(x, t8.expand(64, -1)))[0], classes)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return tsa, head


# %% tags=["nbval-ignore-output", "trained"]
shown = {}
for position in (False, True):
    tsa, head = train_on_time(position)
    generator = torch.Generator().manual_seed(98)
    for T, t, at in ((8, t8, 5), (16, t16, 10)):
        x, classes = toy_tokens(1000, T, at, generator)
        t = t.expand(1000, -1)
        with torch.no_grad():
            right = (head(tsa(x, t))[0].argmax(1) == classes).float().mean()
            weight = tsa.weights(x, t).mean((0, 1, 2))
        shown[position, T] = right.item(), weight
        word = "with" if position else "without"
        print(
            f"{word} position code, T = {T}: {100 * right:.0f} % right",
            end="",
        )
        print(f", weight at t = 5: {weight[at]:.2f}")

# %% mystnb={"image": {"alt": "Mean attention weight over time. Left, 8 frames: without position code flat at one eighth, with it all at t = 5. Right, 16 frames at half the stride: with position code a peak at t = 5 and smaller weights at 4.5 and 5.5."}} tags=["hide-input"]
figure, axes = new_figure(2.4, 1, 2, sharey=True)
for ax, T, t in ((axes[0], 8, t8), (axes[1], 16, t16)):
    for position, name in ((False, "without"), (True, "with")):
        label = f"{name} position code"
        ax.plot(t, shown[position, T][1], "o-", markersize=4, label=label)
    ax.set(xlabel="t of the frame read (strides)", title=f"T = {T}")
axes[0].set(ylabel="mean weight", ylim=(0, 1.05))
_ = axes[0].legend(fontsize=7)

# %%
print("with code, above 95 %:", shown[True, 8][0] > 0.95)
print("without code, below 60 %:", shown[False, 8][0] < 0.60)
print("T = 16 reads t = 5:", int(shown[True, 16][1].argmax()) == 10)

# %% [markdown]
# Without the code, every frame gets an eighth, and the best guess is what is seen most often. With it, the weight is at $t = 5$. Given sixteen frames at
# half the stride, the same module still looks at $t = 5$, not at the sixth frame. It is less sharp there, because frames at 4.5 and 5.5 are nearer than
# any in training, and accuracy falls. $T$ may change, but a network that will see other strides should see some of them in training.
#
# ## Maps cost nothing in accuracy
#
# Asking for the maps changes no bit of the logits: the weights are computed beside the fast path, not in place of it.

# %%
mini = load_config("params/mini.yaml")
torch.manual_seed(0)
model = build_model(mini.model, 14).eval()
nn.init.normal_(model.tsa.out.weight, std=0.1)  # so that TSA does something
x = torch.randn(2, 8, 3, 48, 48)
with torch.inference_mode():
    plain = model(x)
    logits, maps = model(x, return_maps=True)
print("the same bits:", torch.equal(plain, logits))

# %% [markdown]
# ## Shape walk
#
# The small network above, two clips of eight frames of 48 x 48 pixels:

# %%
for name in (
    "channel_gate",
    "spatial_map",
    "temporal_attention",
    "frame_embeddings",
    "clip_embedding",
):
    print(f"{name:>20}: {tuple(getattr(maps, name).shape)}")

# %% [markdown]
# | step | shape | at `params/ssv2.yaml`, one clip |
# |---|---|---|
# | map from the 3STU, $y$ | (B T, C, h, w) | (8, 2048, 7, 7) |
# | mean and maximum over positions | (B T, C) twice | (8, 2048) twice |
# | channel gate $g$ (2d.1) | (B T, C) | (8, 2048), through 64 |
# | mean and maximum over channels | (B T, 2, h, w) | (8, 2, 7, 7) |
# | spatial gate $s$ (2d.2) | (B T, h, w) | (8, 7, 7) |
# | tokens $\bar y$ (2d.4), `x` in the code | (B, T, C) | (1, 8, 2048) |
# | position code $p$ (2d.5) | (B, T, d) | (1, 8, 128) |
# | $q, k, v$ (2d.6) | (B, heads, T, d / heads) | (1, 4, 8, 32) each |
# | weights $A$ (2d.7) | (B, heads, T, T) | (1, 4, 8, 8) |
# | frame embeddings $z$ (2d.8) | (B, T, C) | (1, 8, 2048) |
#
# ## What it costs
#
# Multiply-adds and parameters for one clip of Something-Something V2's recipe, ResNet-50 at 8 x 224 x 224, beside the backbone:

# %%
costs = recipe_cost(load_config("params/ssv2.yaml"), 174)
parts = {name: costs[name] for name in ("backbone", "sca", "tsa")}
display(Markdown(markdown_table(parts)))

# %% [markdown]
# The arithmetic is next to nothing. The count leaves out SCA's real cost: it reads or writes the whole map several times (four pools, two products), 3.2 MB
# each time for this clip in float32, and memory traffic takes time. TSA works on only $T$ tokens, so its parameters cost little arithmetic. $A$ has $T^2$ entries per
# head, which is small for 8 to 64 frames.
#
# ## Which frame asks?
#
# Slide over the frame that asks. The bars are its row of $A$: what it reads. In these clips nearly every frame reads the same one. In
# JupyterLab you can also choose the clip, or the network before training, which reads all frames about alike.


# %% tags=["nbval-ignore-output", "player"]
torch.manual_seed(0)
untrained = attention(Stage(use_tsa=True), clips, t8)


def draw_query(query, clip, network):
    which = chosen[int(clip) - 1]
    weights = A8 if network == "trained" else untrained
    return query_figure(
        clips[which].clamp(0, 1),
        weights[which],
        t8,
        query,
        f"frame at t = {query} asks; the event is at t = {event[which]}",
    )


explore(
    draw_query,
    controls={
        "query": list(range(8)),
        "clip": ["1", "2", "3"],
        "network": ["trained", "untrained"],
    },
    slide="query",
    alt="Eight frames of a clip, the asking one in a box, and a bar below "
    "each for the weight with which it is read.",
    start={"query": 2, "clip": "2"},
)

# %% [markdown]
# ## Summary
#
# - A mean keeps $1/n$ of what one position in one frame knows. Attention is a weighted mean whose weights are computed from the clip.
# - SCA multiplies each frame's map by a channel gate, then by a spatial gate. Gates do not sum to 1. They lie between 0 and 1, in our recipes
#   between 0 and 2.
# - TSA lets each frame read from the others; its rows sum to 1. Without the position code it is blind to order; with it, $T$ and the times are free.
# - On clips whose event is known, the trained weights are on the event's frame. Weights and gates are evidence to be tested, not explanations.
# - Attention is not needed on mini: after two epochs the network is 3.8 points higher without both (+0.9 to +6.6; five seeds, chapter 6).
# - TSA starts as the identity, and in our recipes SCA does too. Together they cost under a thousandth of the backbone's multiply-adds.
#
# ## Exercises
#
# **1.** In the hand-set example, raise one cell of channel 0 to 3. What happens to channel 0's gate, and why does its mean not matter?
#
# <details><summary>Solution</summary>
#
# ```python
# other = spot.clone()
# other[0, 0, 6, 0] = 3.0
# with torch.no_grad():
#     print(by_hand(other)[1])
# ```
# Its gate rises from 0.02 to one half. The maximum is 1 above the cut at 2 and gives $4 \cdot 1 - 2$. The mean, about 0.1, is below the cut and
# gives $-2$. The sum is 0, and $\sigma(0) = 1/2$. For the mean to count, it would have to exceed 2 over the whole channel.
#
# </details>
#
# **2.** Give the trained `net` a clip in which two frames are lit equally bright. Where do the weights go, and what is the clip called?
#
# <details><summary>Solution</summary>
#
# ```python
# clip = chosen[0]
# double = clips[clip : clip + 1].clone()
# double[0, 7] = clips[chosen[1], event[chosen[1]]]
# double[0, 7] *= double[0, event[clip]].max() / double[0, 7].max()
# print(attention(net, double, t8)[0].mean(0))
# print(net(double, t8[None]).softmax(1))
# ```
# The two frames share all of the weight: 0.60 and 0.40 in one run of ours, 0.34 and 0.66 with another number of threads. The probabilities
# need not split as evenly: 54 and 46 % in the first run, 4 and 96 % in the second.
#
# </details>
#
# **3.** *A gate that points by darkening.* Each map has four spots, one in each of four class channels, at four positions; a marker in channel 6 lies on one of them, and the
# class is that spot's channel. The mean alone is at chance. Train SCA with a linear layer. Where is the spatial gate at the marked position:
# above or below the rest?
#
# <details><summary>Solution</summary>
#
# ```python
# def marked(n, generator):
#     classes = torch.randint(4, (n,), generator=generator)
#     maps = 0.3 * torch.randn(n, 8, 49, generator=generator)
#     cells = torch.rand(n, 49, generator=generator).argsort(1)[:, :4]
#     for k in range(4):
#         maps[torch.arange(n), k, cells[:, k]] += 3
#     place = cells[torch.arange(n), classes]
#     maps[torch.arange(n), 6, place] += 6
#     return maps.relu().unflatten(2, (7, 7)), classes, place
#
# for seed in range(3):
#     generator = torch.Generator().manual_seed(seed)
#     torch.manual_seed(seed)
#     sca = SpatialChannelAttention(AttentionConfig(sca_reduction=1, sca_kernel=3), 8)
#     linear = nn.Linear(8, 4)
#     both = nn.ModuleList([sca, linear])
#     adam = torch.optim.Adam(both.parameters(), lr=1e-2)
#     for _ in range(800):
#         y, classes, _ = marked(64, generator)
#         loss = F.cross_entropy(linear(10 * sca(y)[0].mean((2, 3))), classes)
#         adam.zero_grad(); loss.backward(); adam.step()
#     y, classes, place = marked(2000, generator)
#     with torch.no_grad():
#         out, _, s = sca(y)
#         right = (linear(10 * out.mean((2, 3))).argmax(1) == classes).float().mean()
#     s = s.flatten(1)
#     print(seed, right, s[torch.arange(2000), place].mean() / s.mean())
# ```
# With seeds 0, 1 and 2 the gate at the marked position was 0.04, 1.9 and 0.06 times its mean over positions: dark, bright, dark. All three
# were right in 74 to 79 % of clips. A gate that is dark at the marked position solves the task as well as one that is bright there: the
# class's channel then has less in its mean than the others, and a linear layer reads that just as easily.
#
# </details>
#
# ## Quiz
#
# **All eight frames of a clip are shuffled, and their times stay 0 to 7. Without the position code, what changes in TSA's output?**
#
# <details><summary>a) The embeddings are permuted as the frames were; the clip embedding stays</summary>
#
# Yes: self-attention without positions is permutation equivariant, and the mean after it makes the whole invariant.
#
# </details>
#
# <details><summary>b) Nothing at all</summary>
#
# Not quite: each embedding moves with its frame. Their mean, and so the logits, stay the same.
#
# </details>
#
# <details><summary>c) The weights no longer sum to 1</summary>
#
# No: a softmax row sums to 1 whatever it is given.
#
# </details>
#
# **A spatial gate with values from 0 to 1, as in (2d.2), is 0.5 over the whole frame, except for a dark hole at the hand. What follows?**
#
# <details><summary>a) The network ignores the hand</summary>
#
# It may, or it may read the class off what the hole takes away. The map alone cannot decide; cover the hand and see.
#
# </details>
#
# <details><summary>b) Half of the attention is spent on the background</summary>
#
# No: gates are not shares of anything. Only the rows of $A$ sum to 1.
#
# </details>
#
# <details><summary>c) The convolution answers to the hand; whether the hand matters takes another test</summary>
#
# Yes. One half is what an empty neighbourhood gets, since there is no bias; the hole shows a strong negative answer. (In our recipes, whose
# gates go to 2, an empty neighbourhood gets 1.)
#
# </details>
#
# **Why can a module trained at T = 8 be run at T = 16?**
#
# <details><summary>a) It was trained on random T</summary>
#
# No: the networks above saw eight frames only.
#
# </details>
#
# <details><summary>b) Its position code is computed from the times, and no weight has T in its shape</summary>
#
# Yes. That it *runs* does not promise that it is as good: times closer than any in training blurred the weights above.
#
# </details>
#
# <details><summary>c) The sixteen frames are averaged to eight first</summary>
#
# No: sixteen tokens attend to sixteen tokens.
#
# </details>
#
# ## Next
#
# Chapter 2e takes the mean of the frame embeddings, names the class, and asks what else the loss should reward.
#
# **References.** Vaswani et al., [*Attention Is All You Need*](https://arxiv.org/abs/1706.03762), NeurIPS 2017. Woo et al., [*CBAM:
# Convolutional Block Attention Module*](https://arxiv.org/abs/1807.06521), ECCV 2018. Hu et al., [*Squeeze-and-Excitation
# Networks*](https://arxiv.org/abs/1709.01507), CVPR 2018. Wang et al., [*Non-local Neural Networks*](https://arxiv.org/abs/1711.07971),
# CVPR 2018. Jain and Wallace, [*Attention is not Explanation*](https://arxiv.org/abs/1902.10186), NAACL 2019.
