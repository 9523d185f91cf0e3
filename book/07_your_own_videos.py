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
# # 7 Your own videos
#
# A folder of videos goes in, one subfolder a class; a classifier comes out, and what it says of a new video, drawn into the video. Where you
# have no such folder the chapter makes a small one.
#
# **You will be able to** divide your own videos into training and validation without fooling yourself, train on them, say how far the
# accuracy that comes out can be trusted, and see on one file what the network looks at and when it makes up its mind.
#
# **Prerequisites**: chapter 3. **Time** with the made videos on two CPU cores: about 75 seconds of processor time, most of it training; not
# measured on a GPU. **Memory**: 1.5 GiB. Nothing is downloaded.

# %% [markdown]
# > **Given, and ours.** Given are the network's pipeline and the data format, folders of JPEG frames and lists of
# > `path,label_index,num_frames`. How videos are divided, the recipe for small data sets and the overlay are ours.
#
# ## Parameters
#
# Name your folder in the cell below, or from outside:
#
# ```bash
# mkdir -p outputs/own
# papermill book/07_your_own_videos.ipynb outputs/own/07_your_own_videos.ipynb -p videos path/to/videos
# ```

# %% tags=["parameters"]
videos = None  # a folder of videos, one subfolder a class; None: made here
out = None  # for frames and lists; None: data/own, or data/chapter7
group = None  # what of a name is the source, a regular expression
overrides = ""  # single values, as in chapter 3

# %%
import os
from math import sqrt
from pathlib import Path

from IPython.display import Video

from hitagu_lib.training import trainer as training
from hitagu_lib.config import check_parameters, resolve
from hitagu_lib.media.ffmpeg import ffmpeg_path
from hitagu_lib.prepare.split import (
    choose_validation,
    read_videos,
    sources,
    split_videos,
)
from hitagu_lib.prepare.synthetic.make import (
    CLASSES,
    render_clip,
    write_videos,
)
from hitagu_lib.errors import HitaguError
from hitagu_lib.inference.predict import load_model, predict
from hitagu_lib.files import project_root
from hitagu_lib.viz.live import LiveCurves, watched
from hitagu_lib.viz.overlay import overlay_video
from hitagu_lib.viz.style import new_figure

videos = Path(videos).absolute() if videos else None
check_parameters(globals(), "videos", "out", "group", "overrides")
os.chdir(project_root())  # the same place from JupyterLab and nbval

# %% [markdown]
# ## A folder of videos
#
# What is wanted is `videos/<class>/<name>.mp4`, or `.webm`, `.avi`, `.mkv` and so on: whatever ffmpeg reads. A clip should show one action
# from its beginning to its end, in some seconds. A long recording is cut first:
#
# ```bash
# ffmpeg -ss 12 -to 22 -i kitchen.mp4 videos/pouring/kitchen_12_22.mp4
# ```
#
# The name `kitchen_12_22` says which recording the clip is from, and that matters below.
#
# The made folder has four classes from chapter 3's generator, two pairs that are each other played backwards. There are sixteen *takes* of
# each, every take a scene of its own: its colours, its background, its shaking hand. And from each take two clips are cut, its first two
# thirds and its last two thirds, as one cuts several clips from one recording.

# %%
ACTIONS = [
    "Moving something down",
    "Moving something up",
    "Pushing something from left to right",
    "Pushing something from right to left",
]
TAKES = 16  # of each


def cut(take, action):
    """Two clips of one take: file name -> frames."""
    frames = render_clip(CLASSES.index(action), seed=(7, take))
    first, last = 2 * len(frames) // 3, len(frames) // 3
    return {
        f"take{take:02d}_00_{first:02d}.mp4": frames[:first],
        f"take{take:02d}_{last:02d}_{len(frames)}.mp4": frames[last:],
    }


made = videos is None
if made:
    videos = Path("data/chapter7/videos")
    for i, action in enumerate(ACTIONS):
        folder = videos / action
        folder.mkdir(parents=True, exist_ok=True)
        clips = {}
        for take in range(i * TAKES + 1, (i + 1) * TAKES + 1):
            clips |= cut(take, action)
        missing = {
            folder / name: frames
            for name, frames in clips.items()
            if not (folder / name).exists()
        }
        if missing:
            write_videos(missing, ffmpeg_path())

for folder in sorted(p for p in videos.iterdir() if p.is_dir()):
    names = sorted(p.name for p in folder.iterdir())
    print(f"{folder.name}: {len(names)} videos, such as {names[0]}")

# %% [markdown]
# ## Two lists, and what must not be divided
#
# One call makes frames of the videos and divides them, a quarter for validation:

# %% tags=["nbval-ignore-output"]
out = Path(out or ("data/chapter7" if made else "data/own"))
report = split_videos(videos, out, group=group, progress=watched())

# %%
print(*report.table(), sep="\n")

# %% [markdown]
# The same on the command line is `hitagu split --videos videos --out data/own`. You can stop it; the same command resumes it. A video that
# fails is named with ffmpeg's reason and is in neither list.
#
# The numbers in brackets are *sources*. Two clips of one take share everything but the moment: a network may know the second by the wallpaper
# of the first. With one of them in training and the other in validation, it would be rewarded for that, and the accuracy would say
# nothing about a room it has never seen. So what is divided is sources, and all clips of a source stay on one side. Each class is on both
# sides, and gives about the same share.
#
# What a source is comes from the names: `kitchen_001`, `kitchen-2` and `kitchen_12_22` are all of `kitchen`. What was taken for what stands
# in `sources.csv`, and it is worth a look:

# %%
print(*(out / "sources.csv").read_text().splitlines()[:6], sep="\n")

# %% [markdown]
# Where names are made otherwise, `--group` takes a regular expression whose first group is the source (for UCF101's `v_Archery_g08_c01.avi`,
# `--group '(g[0-9]+)_c'`), and `--groups` takes a corrected `sources.csv`. A class whose clips are all of one source cannot be on both sides:
# that is an error, as is the same file under two names.
#
# How bad would it have been to divide clips as they come?

# %%
singly = read_videos(videos, out, group="(.*)")  # each file its own source
held_out = choose_validation(singly, 0.25, seed=0)
source = sources([v.path for v in singly], group)
val = [v for v in singly if v.source in held_out]
known = {source[v.path] for v in singly if v.source not in held_out}
seen = sum(source[v.path] in known for v in val)
print(
    f"{seen} of {len(val)} validation clips would be of a source in training"
)
assert not {v.source for v in report.train} & {v.source for v in report.val}

# %% [markdown]
# ## Training
#
# For a folder of real videos there is `params/own.yaml`: ResNet-18 from ImageNet at 112 pixels, its first stages frozen, some minutes on a
# laptop for some hundred clips. (It has been tested, not tuned: no real data set of that kind comes with this book.) It needs the weights
# once, 45 MB; without a network, `train.init` starts from any run of this book instead, such as chapter 3's.
#
# The made videos are 72 pixels high, so they are learned from nothing by the network of `params/mini.yaml`. What the recipe has to be told
# about *these* classes is what a mirror and a film played backwards do to their names. It is the one thing in a recipe that nobody can guess
# for you:
#
# - `data.hflip_swaps`: in a mirror, left to right becomes right to left. With `data.hflip: true` and this left out, half of these clips would
#   be trained under the opposite label.
# - `data.reverse_swaps` with `train.both_directions`: each clip is also a clip of the partner class, backwards. That doubles what is learned
#   from, and shows the network the one difference that counts.

# %%
lists = {
    "prepare": None,
    "root": str(out / "frames"),
    "train_list": str(out / "train.csv"),
    "val_list": str(out / "val.csv"),
}
if made:
    recipe = {
        "base": "params/mini.yaml",
        "run": "outputs/chapter7",
        "data": {
            **lists,
            "hflip_swaps": [ACTIONS[2:]],
            "reverse_swaps": [ACTIONS[:2], ACTIONS[2:]],
        },
        "train": {"epochs": 12, "eval_every": 2},
        "eval": {"tsn_baseline": False},
    }
else:
    recipe = {"base": "params/own.yaml", "data": lists}
cfg = resolve(recipe, overrides)

# %% tags=["nbval-ignore-output"]
summary = training.train(
    cfg, on_epoch=LiveCurves(cfg.train.epochs), progress=watched()
)

# %% [markdown]
# ## How good is it, and how sure is that?
#
# A small data set has a small validation set, and a share of few clips is a rough measure. Wilson's interval says how rough: the accuracies
# under which a count like this one would not be a surprise. It is still too narrow, because two clips of one take are not two independent
# tries; counted by sources it would be wider. (Chapter 4's intervals draw the videos again and again: where all are right they find nothing else,
# which is no certainty.)


# %% tags=["nbval-ignore-output"]
def wilson(right, n, z=1.96):
    """The 95 % interval of a share (Wilson 1927)."""
    p, scale = right / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / scale
    half = z / scale * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return middle - half, middle + half


n = summary["val_clips"]
right = round(summary["val_top1"] * n)
low, high = wilson(right, n)
print(f"{right} of {n} validation clips right: {right / n:.0%}")
print(f"95 % interval: {low:.0%} to {high:.0%}")
print(f"with their frames shuffled: {summary['val_top1_shuffled']:.0%}")
print(f"chance: {1 / summary['num_classes']:.0%}")

# %% [markdown]
# In the run that is stored here all 32 are right, and with the frames of each clip in random order 15 of 32: about the half that is left where
# partners differ in nothing but order. The interval still begins at 89 %, and on another machine the
# run will not be the same to the bit.
#
# These are drawn shapes before drawn backgrounds, in classes that differ in nothing but motion. Of real videos, expect less, and first of all
# expect the shuffled score to be close to the ordered one: in everyday clips, the place and the things in it often give the class away.
#
# Two commands give a better answer for a small set. `hitagu split --folds 5` divides its sources into five folds. Train and evaluate once with
# each of them, so that every video validates once. Then `hitagu report folds` puts the five evaluations together: it draws whole sources, not
# clips, for its intervals, and shows the mean class accuracy beside top-1. [Commands and runs](appendix/commands.md) has the
# commands.
#
# ## One file
#
# `predict` takes a video file or a folder of frames, and ranks the classes. On the command line:
#
# ```bash
# hitagu predict new.mp4 other.webm --checkpoint outputs/own/checkpoints/last.pt
# ```

# %% tags=["nbval-ignore-output"]
model, trained, classes = load_model(f"{cfg.run}/checkpoints/last.pt")
for name in classes[:6]:
    video = next(v for v in report.val if v.label == name)
    prediction = predict(videos / video.path, model, trained.data, classes)
    print(video.path)
    for label, p in zip(prediction.labels[:2], prediction.probabilities):
        print(f"  {p:6.1%}  {label}")

# %% [markdown]
# What is not a video is told in a sentence, and the files after it are still predicted. A frequent one is a download that was an error page:

# %%
page = Path(cfg.run) / "holiday.mp4"
page.write_text("<html><body>404 Not Found</body></html>")
try:
    predict(page, model, trained.data, classes)
except HitaguError as error:
    print(str(error).replace(str(Path.cwd()) + "/", ""))

# %% [markdown]
# ## When it makes up its mind
#
# `hitagu predict new.mp4 --checkpoint ... --overlay seen.mp4` also writes the video again, with three things drawn in:
#
# - **the labels**, the three most probable *now*. At each frame the network is given what has been shown so far and no more: a clip whose
#   last frame is the one on the screen. So you see at which moment the label turns up, and whether that is the moment at which you would
#   know.
# - **where it looks**, in orange: the gate of Spatial Channel Attention (chapter 2d) in that very frame, inside the square that the network
#   sees. Its scale is the video's own, and is written below.
# - **which frames it reads**, as strokes along the video's length: the frames of the clip, as high as the weight with which the frame on the
#   screen reads them in Temporal Self-Attention. A clip longer than 1024 frames is followed through a window of that length.
#
# Each frame goes through the backbone once; only the temporal half runs for every moment again.

# %% tags=["nbval-ignore-output"]
chosen = report.val[-1]
overlay = Path(cfg.run) / f"{Path(chosen.path).stem}.overlay.mp4"
running = overlay_video(
    videos / chosen.path,
    overlay,
    model,
    trained.data,
    classes,
    progress=watched(),
)
print(f"{chosen.path}: {len(running.probabilities)} frames")
Video(
    str(overlay),
    embed=True,
    width=400,
    html_attributes='controls loop muted aria-label="A validation video with '
    "the network's spatial gate in orange and its three most probable "
    'labels at each moment below."',
)

# %% [markdown]
# The same as a curve: the probability of each class over the video, each point from the frames up to there.

# %% mystnb={"image": {"alt": "Probability of each class over the frames of one validation video, each point predicted from the frames so far."}} tags=["nbval-ignore-output"]
figure, ax = new_figure(2.6)
for label, probability in zip(classes, running.probabilities.T):
    ax.plot(100 * probability, label=label)
ax.set(
    xlabel="frame (the last that was shown)",
    ylabel="probability (%)",
    ylim=(0, 100),
)
legend = ax.legend(fontsize=7)

# %% [markdown]
# At the first frames a clip is one picture several times over, such as the network has never been trained on: what it says there means
# nothing, however sure it sounds. What it has taken from the motion can only show later.
#
# ## Summary
#
# - A folder with a subfolder a class is all that is needed: `hitagu split` makes frames, lists and a division in which no source is on both
#   sides.
# - What a mirror and playing backwards do to your labels belongs into the recipe.
# - A small validation set gives a rough accuracy: report the interval, and count sources.
# - `hitagu predict --overlay` shows when a label turns up and what was looked at; it is a demonstration on one video, not a measurement.
#
# ## Exercises
#
# **1.** Take the reversed clips away from the recipe. What remains of the accuracy, and what of the shuffled one?
#
# <details><summary>Solution</summary>
#
# ```bash
# mkdir -p outputs/chapter7-one-way
# papermill book/07_your_own_videos.ipynb outputs/chapter7-one-way/07_your_own_videos.ipynb \
#     -p overrides "run=outputs/chapter7-one-way train.both_directions=false"
# ```
#
# In our run 18 of 32 instead of all 32, with shuffled frames 9: the pairs are still mixed up after as many epochs, in which only half as many
# clips were seen.
#
# </details>
#
# **2.** Divide the clips singly (`-p group "(.*)"`, and another run's folder) and train again. Is the accuracy higher, and would you have
# noticed?
#
# <details><summary>Solution</summary>
#
# ```bash
# mkdir -p outputs/chapter7-leak
# papermill book/07_your_own_videos.ipynb outputs/chapter7-leak/07_your_own_videos.ipynb \
#     -p out data/chapter7-leak -p group "(.*)" -p overrides "run=outputs/chapter7-leak"
# ```
#
# In our run it is not: all of 32 once more. A leak shows where a network can win by knowing a scene
# again. Here it can hardly: classes and scenes have nothing to do with each other. In recordings of one person in one room, they do.
# Nothing in the score itself tells you: only the names, or your eyes.
#
# </details>
#
# **3.** Start from chapter 3's network instead of from nothing. Are four epochs enough, and does the learning rate matter?
#
# <details><summary>Solution</summary>
#
# ```bash
# make train
# mkdir -p outputs/chapter7-init
# papermill book/07_your_own_videos.ipynb outputs/chapter7-init/07_your_own_videos.ipynb -p overrides \
#     "run=outputs/chapter7-init train.init=outputs/mini/checkpoints/last.pt train.init_head=replace train.lr=0.002 train.epochs=4"
# ```
#
# They are: all of 32. With a learning rate of 0.0005 it was 26 of 32 after four epochs, since the new classifier has far to go. That network has
# seen these four classes, among ten others; of your own videos it knows nothing, and ImageNet's weights are the likelier start.
#
# </details>
#
# ## Quiz
#
# **Ten recordings, cut into a thousand clips, divided singly: 97 % on the validation clips. What do you know?**
#
# <details><summary>a) That new recordings will be recognised at about 97 %</summary>
#
# No: nearly every validation clip has a sibling in training, and no new recording was tried.
#
# </details>
#
# <details><summary>b) Next to nothing about new recordings</summary>
#
# Yes. Divide the ten recordings, not the clips; and then say that it was ten.
#
# </details>
#
# <details><summary>c) That a thousand clips make a narrow interval, so at least the 97 % are exact</summary>
#
# It is an exact answer to another question: whether clips of known recordings are recognised.
#
# </details>
#
# **Your classes are "turning the key left" and "turning the key right". What do you set?**
#
# <details><summary>a) `hflip: true`, since more data are better</summary>
#
# Half of the clips would be shown under the wrong label: the network learns to split its bet.
#
# </details>
#
# <details><summary>b) `hflip: true`, and the pair in `hflip_swaps`</summary>
#
# Yes: a mirrored left turn is a right turn. `hflip: false` is safe as well, and gives away half of the data.
#
# </details>
#
# <details><summary>c) Only `reverse_swaps`</summary>
#
# A left turn backwards does look like a right turn, so that is true too; but it says nothing about mirrors, and `hflip` has to stay off.
#
# </details>
#
# **In twenty new videos out of twenty the overlay shows the right label at the second frame already. What does that suggest?**
#
# <details><summary>a) The network is quick</summary>
#
# Two frames of a slow motion hardly differ. Something else must have told.
#
# </details>
#
# <details><summary>b) Something in a single picture gives the class away</summary>
#
# Yes: a place, a thing, a person. Whether that is welcome depends on what you want; the shuffled score says how much of it there is.
#
# </details>
#
# <details><summary>c) The overlay has looked ahead</summary>
#
# It has not: at each frame the clip ends there.
#
# </details>
#
# ## Next
#
# Chapter 3 tells what is in a run's folder and how to go on with one; chapter 6 compares methods over seeds, which a claim about your own data
# needs as well.
#
# **References.** Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 1927. Soomro et al., *UCF101*, 2012,
# whose official splits keep groups together. Kaufman et al., *Leakage in data mining*, TKDD 2012. Woo et al., *CBAM*, ECCV 2018. Vaswani et
# al., *Attention is all you need*, NeurIPS 2017.
