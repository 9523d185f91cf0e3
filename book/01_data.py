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
# # 1 From a video file to a batch
#
# **Result.** A batch of the mini data is a tensor of shape (16, 8, 3, 48, 48): sixteen clips, eight frames each, 48 pixels wide and high. Beside
# it stands the time of every frame. This chapter makes one, step by step: a drawn video, an MP4 file, a folder of JPEG frames, a line of a
# list, eight chosen frames, a crop. The route for Kinetics-700 and Something-Something V2 is the same from the second step on.
#
# **You will be able to** turn videos into frames and lists, choose a sampling strategy and say what it can miss, find the classes
# whose label changes when a clip is mirrored or played backwards, read a batch, and list an official data set without guessing.
#
# **Prerequisites**: basic PyTorch. **Time** to run: about half a minute of processor time with one thread; not measured on a GPU, which
# this chapter does not use. **Memory**: 1.0 GiB. Nothing is downloaded.

# %% [markdown]
# > **Given, and ours.** We were given the data format: folders of JPEG frames and lists of `path,label_index,num_frames`. The two sampling
# > strategies are those of TSN and Non-local networks. The drawn videos, the times $\tau$ and the label swaps are ours. No result of the original
# > work is claimed.
#
# ## Parameters
#
# The last section reads one real clip and the official annotation files, if you have them.

# %% tags=["parameters"]
shared = (
    None  # a folder that holds clips/ and annotations/; None: see below
)

# %% tags=["hide-input"]
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hitagu_lib.config import check_parameters, load_config
from hitagu_lib.data.clip_list import read_list
from hitagu_lib.data.dataset import ClipDataset, read_clip, swap_table
from hitagu_lib.data.frames import normalise, read_frames
from hitagu_lib.data.loader import make_loader
from hitagu_lib.data.sampling import clip_indices, clip_times
from hitagu_lib.data.transforms import mirror
from hitagu_lib.files import project_root
from hitagu_lib.media.ffmpeg import ffmpeg_path
from hitagu_lib.prepare.annotations import (
    index_kinetics700,
    read_kinetics700,
    read_ssv2,
    read_ssv2_labels,
)
from hitagu_lib.prepare.check import check_list
from hitagu_lib.prepare.extract import extract_video
from hitagu_lib.prepare.synthetic.make import (
    CLASSES,
    MiniSpec,
    prepare_mini,
    render_clip,
    write_videos,
)
from hitagu_lib.viz.explore import explore
from hitagu_lib.viz.figures import clip_rows
from hitagu_lib.viz.live import watched
from hitagu_lib.viz.style import PALETTE, new_figure

check_parameters(globals(), "shared")
os.chdir(project_root())  # the same from the root and from book/
work = Path("data/chapter1")
work.mkdir(parents=True, exist_ok=True)
mini = load_config("params/mini.yaml")

# %% [markdown]
# ## A video, and its file
#
# Where do the clips of this book come from? A generator draws them: a background, a few things, a hand or a camera that moves. The same seed
# gives the same pixels on every machine. Here are eight of one video's frames.

# %% mystnb={"image": {"alt": "Eight frames of a drawn video from left to right, in which a thing is pushed to the right over a textured ground."}}
PUSH = "Pushing something from left to right"
pixels = render_clip(CLASSES.index(PUSH), [7])  # (N, 72, 72, 3) uint8
N = len(pixels)
video = torch.from_numpy(pixels).permute(0, 3, 1, 2)
some = np.linspace(0, N - 1, 8).round().astype(int)
figure = clip_rows([video[some]], [f"{PUSH}: 8 of {N} frames"])

# %% [markdown]
# A real video comes as a compressed file, so the drawn one becomes a file too. ffmpeg encodes it as H.264, and then writes its frames as JPEG
# pictures, numbered from `000001.jpg`. Neither step keeps the pixels exactly. How much do they change?

# %%
file, folder = work / "push.mp4", work / "push"
write_videos({file: pixels}, ffmpeg_path())
count = extract_video(file, folder, short_side=72, overwrite=True)
back = read_frames(folder, range(count))  # (N, 3, 72, 72) uint8
change = (back.float() - video.float()).abs().mean()
print(f"{N} frames drawn, {count} frames in {folder}")
print(f"mean change below 6 of 255: {bool(change < 6)}")

# %% tags=["nbval-ignore-output", "machine"]
jpeg = sum(f.stat().st_size for f in folder.glob("*.jpg"))
print(f"mean change of a value: {change:.1f} of 255")
print(
    f"pixels {pixels.nbytes:,} bytes; MP4 {file.stat().st_size:,};", end=""
)
print(f" JPEG {jpeg:,}")

# %% [markdown]
# Frames take more room than the video, but training on eight of them opens eight small files and decodes nothing else. With
# `data.source: video` the library reads the video files themselves: less disk, 4 to 15 times the processor time for each clip.
#
# ## A data set: folders and lists
#
# `hitagu prepare mini` makes a whole data set of this kind: 2,100 clips of 14 classes. Here is the same set with four training and two validation clips for each class. To
# save time its frames are written directly, without a video in between (`--no-ffmpeg`).

# %% tags=["nbval-ignore-output", "progress"]
prepare_mini(
    work / "mini",
    MiniSpec(train_per_class=4, val_per_class=2),
    use_ffmpeg=False,
    workers=1,
    progress=watched(),
)

# %%
print("classes.txt, first lines:")
print(*(work / "mini/classes.txt").read_text().splitlines()[:3], sep="\n")
print("\ntrain.csv, first lines:")
print(*(work / "mini/train.csv").read_text().splitlines()[:3], sep="\n")

# %% [markdown]
# A line of the list says where a clip's frames are, which line of `classes.txt` names its class (counted from 0), and how many frames it has.
# The number matters: which frames to read is decided before any file is opened. So a list must tell the truth. `hitagu index --check val.csv
# --root frames` opens everything that the list names. We remove one frame of a copy and see what the same check says, called from Python:

# %%
frames = work / "mini/frames"
clips = read_list(work / "mini/val.csv", frames)
broken = work / "broken"
shutil.rmtree(broken, ignore_errors=True)
shutil.copytree(frames / "val", broken / "val")
(broken / clips.path(0) / "000005.jpg").unlink()
copied = read_list(work / "mini/val.csv", broken)
for problem in check_list(copied, progress=False):
    print(f"val.csv:{problem.line}: {problem.what}")
print("the whole set:", check_list(clips, progress=False) or "no problem")

# %% [markdown]
# ## Which frames?
#
# A network sees eight frames, and a video has thirty, or three hundred. Which eight? There are two common answers:
#
# - **segment** (TSN): cut the video into eight equal parts and take one frame of each. The clip covers the whole video, however long that is.
#   In training the frame is drawn at random within its part; in validation it is the middle one.
# - **dense** (Non-local networks): take a window of fixed length and spread the frames evenly over it. The distance between frames is the same
#   in every video, but the rest of the video is not seen. In training the place of the window is drawn at random.

# %% mystnb={"image": {"alt": "Two panels over the 90 frames of a video. Segment: five rows of eight dots, spread over the whole video, a little different in each row. Dense: five rows of eight evenly spaced dots within a window of 32 frames, at another place in each row."}} tags=["hide-input"]
figure, axes = new_figure(2.6, 1, 2, sharey=True)
for ax, name, colour in zip(axes, ("segment", "dense"), PALETTE):
    for row in range(5):
        rng = np.random.default_rng(row) if row else None
        seen = clip_indices(90, 8, name, 32, rng)
        ax.plot(seen, np.full(8, row), "o", color=colour, markersize=5)
    ax.set(title=name, xlabel="frame of the video", xlim=(-2, 91))
    ax.set_yticks(
        range(5), ["validation", *(f"training {i}" for i in range(1, 5))]
    )
_ = axes[0].invert_yaxis()

# %% [markdown]
# With frames from 0 to $N - 1$, $T$ frames to choose, a window of $L$ frames (`data.dense_span`) and a random $u$ or $u_i$ in $[0, 1)$,
# segment sampling takes
#
# $$n_i = \Big\lfloor \frac{(i + u_i)\, N}{T} \Big\rfloor, \qquad i = 0, \dots, T - 1 \tag{1.1}$$
#
# and dense sampling, where the window fits into the video,
#
# $$n_i = \lfloor u\,(N - L + 1) \rfloor + \Big\lfloor \frac{i L}{T} \Big\rfloor \tag{1.2}$$
#
# Without randomness $u_i = 1/2$, and the window starts at $\lfloor (N - L)/2 \rfloor$, so it stands in the middle. A video shorter than the
# window repeats its last frame; one of fewer than $T$ frames repeats some in segment sampling too. We check both against the library. It
# draws the start of the window in (1.2) directly, as a whole number from 0 to $N - L$, and so does the check:

# %%
T, L = 8, 32
for length in (5, 30, 90, 301):
    u = np.random.default_rng(1).random(T)
    by_hand = [int((i + u[i]) * length / T) for i in range(T)]  # (1.1)
    drawn = clip_indices(length, T, "segment", L, np.random.default_rng(1))
    assert drawn.tolist() == by_hand
for length in (90, 301):
    start = int(np.random.default_rng(1).integers(length - L + 1))
    by_hand = [start + i * L // T for i in range(T)]  # (1.2)
    drawn = clip_indices(length, T, "dense", L, np.random.default_rng(1))
    assert drawn.tolist() == by_hand
    middle = [(length - L) // 2 + i * L // T for i in range(T)]
    assert clip_indices(length, T, "dense", L).tolist() == middle
print("segment and dense as in (1.1) and (1.2)")
print("a video of 5 frames, T = 8:", clip_indices(5, 8, "segment", 32))

# %% [markdown]
# ### Explore
#
# Choose a strategy, the number of frames, and a draw: draw 0 is validation's, the others are what an epoch of training may see. (In
# JupyterLab you can change all three; the built page has a slider for the draw alone.) The dense window here has 12 frames: look for draws that miss the push.


# %% tags=["hide-input"]
def draw(strategy: str, frames_in_a_clip: int, draw: int):
    rng = np.random.default_rng(draw) if draw else None
    seen = clip_indices(N, frames_in_a_clip, strategy, 12, rng)
    figure, axes = new_figure(2.1, 2, frames_in_a_clip, squeeze=False)
    for ax, n in zip(axes[0], seen):
        ax.imshow(back[n].permute(1, 2, 0))
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{n}", fontsize=8)
    grid = axes[1, 0].get_gridspec()
    for ax in axes[1]:
        ax.remove()
    line = figure.add_subplot(grid[1, :])
    line.plot(range(N), np.zeros(N), "|", color="0.7", markersize=12)
    line.plot(seen, np.zeros(len(seen)), "o", color=PALETTE[1])
    line.set(yticks=[], xlim=(-1, N), xlabel="frame of the video")
    line.grid(visible=False)
    return figure


# %% tags=["nbval-ignore-output", "player"]
explore(
    draw,
    controls={
        "strategy": ["segment", "dense"],
        "frames_in_a_clip": [4, 8],
        "draw": list(range(7)),
    },
    slide="draw",
    start={"strategy": "dense", "frames_in_a_clip": 8},
    alt="The frames of one clip, and their places along the video's length.",
)

# %% [markdown]
# ## When is a frame?
#
# Segment sampling makes the distance between frames depend on the video's length and on chance. HiTAGU-Net's memory and attention have to
# know that distance. So each frame comes with its time $\tau$ (`t` in the code), its position in the video in *reference strides*,
#
# $$\tau_i = n_i / r, \tag{1.3}$$
#
# where $r$ is `data.ref_stride`, a typical distance in frames. So neighbouring frames of a typical clip are about 1 apart.

# %%
stride = mini.data.ref_stride
for length in (24, 36):
    seen = clip_indices(length, 8, "segment", 32)
    t = clip_times(seen, stride)
    print(f"{length} frames: {seen.tolist()}")
    print(f"{'t':>9}: {t.round(2).tolist()}")

# %% [markdown]
# In training, `data.time_stretch` can multiply a clip's times by a random factor, as if its frames lay further apart. Only the recipe
# `params/memory.yaml` does so; [chapter 2c](02c_3stu.ipynb) says why.
#
# ## Crops, mirrors, and names that change
#
# Training shows each clip a little differently every time. It cuts out a random square, whose side is `data.min_scale` (0.85) to 1 times the
# frame's shorter side, and resizes it to `data.image_size` (48 pixels). The square is the same in each frame: if it jumped, everything would
# seem to move. Validation resizes the shorter side to `data.short_side` (54) and takes the square in the middle.
#
# Half of the training clips are mirrored. A mirrored push from left to right is a push from right to left, so its *label* must change too. The
# same holds for a clip played backwards; that is up to the training loop (`train.both_directions`, [chapter 3](03_train.ipynb)).

# %% mystnb={"image": {"alt": "Three clips of eight frames: a push from left to right; the same clip mirrored, now a push from right to left; the same clip backwards, also a push from right to left."}} tags=["hide-input"]
clip, t = read_clip(folder, count, mini.data)  # (8, 3, 48, 48), (8,)
classes = read_list(work / "mini/train.csv", frames).classes
hflip = swap_table(classes, mini.data.hflip_swaps, "data.hflip_swaps")
swaps = mini.data.reverse_swaps
backwards = swap_table(classes, swaps, "data.reverse_swaps")
label = classes.index(PUSH)
figure = clip_rows(
    [clip, mirror(clip), clip.flip(0)],
    [
        f"as it is: {PUSH}",
        f"mirrored: {classes[hflip[label]]}",
        f"backwards: {classes[backwards[label]]}",
    ],
)

# %% [markdown]
# Which labels change is the one thing in a recipe that no program can find out. `data.hflip_swaps` names the pairs for mirrors and
# `data.reverse_swaps` those for clips played backwards. What if you forget them?

# %%
changed = sum(hflip != np.arange(len(classes)))
share = 0.5 * changed / len(classes)
print(f"a mirror renames {changed} of {len(classes)} classes;", end=" ")
print(f"forgotten, {share:.0%} of the training labels are wrong")
print(f"within those {changed} classes: half, which is a coin toss")

# %% [markdown]
# Kinetics has no class that depends on left and right, so `params/k700.yaml` mirrors clips and swaps no labels. Something-Something V2 has three
# pairs that do; `params/ssv2.yaml` names them. A third switch, `data.vflip`, turns half of the clips upside down and renames nothing: use it
# only where no class tells up from down.
#
# ## A batch
#
# The loader reads clips in random order and stacks them. Pixels stay whole numbers from 0 to 255 until they are on the device: they are four times
# smaller that way.

# %%
data = replace(
    mini.data,
    root=str(frames),
    train_list=str(work / "mini/train.csv"),
    val_list=str(work / "mini/val.csv"),
    prepare=None,
    workers=0,
)
train = ClipDataset(
    read_list(Path(data.train_list), frames), data, train=True, seed=0
)
loader = make_loader(train, mini.train.batch_size, shuffle=True)
batch = next(iter(loader))
for name in ("frames", "t", "label", "row"):
    value = batch[name]
    print(f"{name:>7} {value.dtype!s:>12} {tuple(value.shape)}")
x = normalise(batch["frames"])
print(f"{'input':>7} {x.dtype!s:>12} {tuple(x.shape)}, mean 0 or so")

# %% [markdown]
# `row` is the clip's place in the list, so that its scores can be stored with it. A clip that cannot be read stops the run and names its line; with
# `data.on_bad_clip: skip` it is left out, counted and named.
#
# All of a clip's randomness comes from (seed, epoch, row). So the same epoch has the same clips, however many worker processes read them, and
# an interrupted run continues as if nothing had happened:

# %%
# train[epoch, row]
first, again, later = train[0, 3], train[0, 3], train[1, 3]
print("epoch 0 twice: equal", torch.equal(first[0], again[0]))
print("epoch 0 and 1: equal", torch.equal(first[0], later[0]))

# %% [markdown]
# ## Kinetics-700 and Something-Something V2
#
# You have to get the videos yourself; then two commands lead from them to lists. For Kinetics-700, with the official `kinetics700_train.csv`:
#
# ```bash
# hitagu extract --root videos --out data/k700/frames     # videos/train and videos/val
# hitagu index kinetics700 --annotations kinetics700_train.csv --frames data/k700/frames/train \
#     --relative-to data/k700/frames --out data/k700/train.csv
# hitagu index kinetics700 --annotations kinetics700_validate.csv --frames data/k700/frames/val \
#     --relative-to data/k700/frames --out data/k700/val.csv --classes data/k700/classes.txt
# ```
#
# For Something-Something V2, with its `labels.json`, whose 174 indices are kept:
#
# ```bash
# hitagu extract --root 20bn-something-something-v2 --out data/ssv2/frames --short-side 240
# hitagu index ssv2 --annotations train.json --labels labels.json --frames data/ssv2/frames --out data/ssv2/train.csv
# hitagu index ssv2 --annotations validation.json --labels labels.json --frames data/ssv2/frames --out data/ssv2/val.csv
# ```
#
# `extract` can be stopped and started again; `failed.csv` lists videos that ffmpeg could not read, with the reason. `index` finds the usual
# folder layouts. Videos vanish from the web, so every copy of Kinetics lacks some. A clip without frames is named in `train.missing.csv`,
# never guessed. [Chapter 8](08_scaling_up.ipynb) computes the disk space and the hours.
#
# Here is that route in miniature: an invented annotation file in the official format, four clips and two folders of frames.

# %%
kinetics = work / "kinetics"
shutil.rmtree(kinetics, ignore_errors=True)
for name in ("pouring/AAAAAAAAAAA_000010_000020", "waving/BBBBBBBBBBB"):
    shutil.copytree(folder, kinetics / "frames" / name)
(kinetics / "train.csv").write_text(
    "label,youtube_id,time_start,time_end,split\n"
    "pouring,AAAAAAAAAAA,10,20,train\n"
    "waving,BBBBBBBBBBB,0,10,train\n"  # two clips of one video, but
    "waving,BBBBBBBBBBB,40,50,train\n"  # the folder's name has no times
    "pouring,CCCCCCCCCCC,5,15,train\n"  # no frames
)
report = index_kinetics700(
    kinetics / "train.csv", kinetics / "frames", kinetics / "list.csv"
)
print((kinetics / "list.csv").read_text())
print((kinetics / "list.missing.csv").read_text())

# %% [markdown]
# One clip is listed, one has no frames, and two are ambiguous: they are clips of one video, and the folder is named by the video alone. Its frames could
# belong to either, so the list has neither.
#
# ### The official files, and one real clip
#
# If a folder with the official files and a real clip is there (`$HITAGU_SHARED`, or `shared/data` beside the repository), the next cell reads
# them. Only numbers are stored in this page: the sets' licences do not let a book pass on their frames. In JupyterLab you see the frames of
# your own copy.

# %% tags=["nbval-ignore-output", "machine"]
beside = project_root().parent / "shared" / "data"
shared = Path(shared or os.environ.get("HITAGU_SHARED", beside))
official = shared / "annotations"
if official.is_dir():
    part = read_kinetics700(official / "kinetics700_validate_excerpt.csv")
    lengths = [end - start for start, end in (c.span for c in part)]
    print(f"Kinetics-700, an excerpt: {len(part)} clips of", end=" ")
    print(f"{len({c.video for c in part})} videos,", end=" ")
    print(f"{sum(n != 10 for n in lengths)} of them not 10 s long")
    names = read_ssv2_labels(
        official / "something-something-v2-labels.json"
    )
    part = read_ssv2(
        official / "something-something-v2-validation_excerpt.json"
    )
    print(f"Something-Something V2: {len(names)} labels,", end=" ")
    print(f"an excerpt of {len(part)} clips")
else:
    print(f"No official files here: {official} is not there.")

# %% tags=["nbval-ignore-output", "machine"]
real = shared / "clips" / "poking_166766.mp4"
if real.is_file():
    n = extract_video(real, work / "real", short_side=120, overwrite=True)
    ssv2 = load_config("params/ssv2.yaml").data
    small = replace(ssv2, short_side=120, image_size=112)
    clip, t = read_clip(work / "real", n, small)
    print(f"a Something-Something V2 clip: {n} frames")
    print(
        f"clip {tuple(clip.shape)}, t {[round(v, 1) for v in t.tolist()]}"
    )
    if watched():  # on your machine; never stored in a page
        clip_rows([clip], ["one real clip"], [t])
    shutil.rmtree(work / "real")
else:
    print(f"No real clip here: {real} is not there.")

# %% [markdown]
# ## Summary
#
# - A video becomes a folder of JPEG frames, and a line of a list: path, label, number of frames.
# - Segment sampling covers the video, dense sampling keeps the distance between frames. Both come with times $\tau$.
# - A mirror and playing backwards can change the label. The recipe must say which labels.
# - A batch holds whole numbers, times, labels and rows, and depends on nothing but seed, epoch and row.
# - Official files become lists by one command. What is missing or ambiguous is named.
#
# ## Exercises
#
# **1.** A video has 300 frames and its event lasts from frame 100 to 109. How often does a clip of eight frames contain a frame of the event,
# with segment sampling and with a dense window of 64 frames?
#
# <details><summary>Solution</summary>
#
# ```python
# rng = np.random.default_rng(0)
# for strategy in ("segment", "dense"):
#     hits = 0
#     for _ in range(2000):
#         seen = clip_indices(300, 8, strategy, 64, rng)
#         hits += any((seen >= 100) & (seen < 110))
#     print(strategy, hits / 2000)
# ```
# ```text
# segment 0.2545
# dense 0.2745
# ```
# Segments are 37.5 frames long, and the event covers ten frames, all within one segment: the chance is about 10 / 37.5. A dense window has
# frames only eight apart, so it catches the event whenever this falls among them: at 66 of its 237 positions. Neither is safe. Evaluating
# many clips is safer ([chapter 4](04_evaluate.ipynb)).
#
# </details>
#
# **2.** Write a list by hand for two clips of the small set, with a label that `classes.txt` does not have. What happens?
#
# <details><summary>Solution</summary>
#
# ```python
# from hitagu_lib.errors import ListError
#
# mine = work / "mini" / "mine.csv"
# lines = (work / "mini/val.csv").read_text().splitlines()
# mine.write_text(lines[0] + "\n" + lines[1].rsplit(",", 2)[0] + ",14,30\n")
# try:
#     read_list(mine, frames)
# except ListError as error:
#     print(error)
# ```
# Labels count from 0, so 14 classes end at 13. The error names the line, what it found and what it expected.
#
# </details>
#
# **3.** One camera films 25 frames per second, another 12. What does (1.3) say about the same movement in both, and how would you make their times
# comparable?
#
# <details><summary>Solution</summary>
#
# ```python
# seconds = 3
# for rate in (25, 12):
#     seen = clip_indices(rate * seconds, 8, "segment", 32)
#     print(rate, clip_times(seen, 4.0).round(1), clip_times(seen, rate / 3))
# ```
# ```text
# 25 [ 1.   3.5  5.8  8.  10.5 12.8 15.  17.5] [0.48 1.68 2.76 3.84 5.04 6.12 7.2  8.4 ]
# 12 [0.5 1.5 2.8 3.8 5.  6.  7.2 8.2] [0.5  1.5  2.75 3.75 5.   6.   7.25 8.25]
# ```
# In frames, the same three seconds are twice as long for the faster camera. Either extract both at one rate (`hitagu extract --fps 12`), or use a
# `ref_stride` in proportion to the rate, as in the last column.
#
# </details>
#
# ## Quiz
#
# **Why is the crop the same in all frames of a clip?**
#
# <details><summary>a) A crop that jumps from frame to frame would look like motion</summary>
#
# Yes: the whole scene would seem to move, in every class.
#
# </details>
#
# <details><summary>b) It is faster</summary>
#
# Hardly: cutting costs next to nothing.
#
# </details>
#
# <details><summary>c) The label depends on the crop</summary>
#
# No: a crop leaves the direction as it is. A mirror or playing backwards can change it.
#
# </details>
#
# **A class is called "Turning the camera left". You mirror half of the clips and forget the swap. What can the network reach on this class and its
# partner?**
#
# <details><summary>a) 100 %, it only takes longer</summary>
#
# No. Clips that look the same carry either name equally often.
#
# </details>
#
# <details><summary>b) 0 %</summary>
#
# No. That would take labels that are always wrong.
#
# </details>
#
# <details><summary>c) About one half</summary>
#
# Yes: which of the two names a clip carries is a coin toss.
#
# </details>
#
# **`hitagu index kinetics700` lists 520,000 of 545,317 clips. What about the rest?**
#
# <details><summary>a) Their frames were replaced by those of other clips</summary>
#
# Never: nothing is replaced silently.
#
# </details>
#
# <details><summary>b) They are named with a reason in a file beside the list</summary>
#
# Yes. Report how many there were beside any accuracy: copies of Kinetics differ.
#
# </details>
#
# <details><summary>c) Training will fail on them</summary>
#
# No: they are not in the list, so training never asks for them.
#
# </details>
#
# ## Next
#
# [Chapter 2a](02a_backbone.ipynb) puts a batch into the first half of the network. [Chapter 7](07_your_own_videos.ipynb) goes this way with your
# own videos.
#
# **References.** Wang et al., [*Temporal Segment Networks*](https://arxiv.org/abs/1608.00859), ECCV 2016. Wang et al., [*Non-local Neural
# Networks*](https://arxiv.org/abs/1711.07971), CVPR 2018. Carreira et al., [*A Short Note on the Kinetics-700 Human Action
# Dataset*](https://arxiv.org/abs/1907.06987), 2019. Goyal et al., [*The "something something" video
# database*](https://arxiv.org/abs/1706.04261), ICCV 2017.
