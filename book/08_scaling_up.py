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
# # 8 Scaling up
#
# What ran on your laptop in minutes runs for many GPU-hours on half a million videos. The code is the same; what changes is what can go wrong, and
# what a mistake costs. This chapter computes the bill before it is run up, starts several processes, and says what to watch and where it breaks
# first.
#
# **You will be able to** compute disk, files, hours of extraction and GPU-hours for Kinetics-700 and Something-Something V2 from rates that you have
# measured yourself, start a training on several GPUs and machines, keep a recipe's learning rate honest when the number of GPUs changes, and find the
# bottleneck from a handful of curves.
#
# **Prerequisites**: chapter 3. **Time** to run: half a minute of processor time, most of it two processes that start; not measured on a GPU yet.
# **Memory**: three processes of about 1 GiB. Nothing is downloaded; the data of the live run are drawn here.

# %% [markdown]
# > **Given, and ours.** Given are the two data sets, the two optional losses with their weights, and the network's pipeline. The recipes
# > `params/k700.yaml` and `params/ssv2.yaml` are ours, after TSM's and others': each value stands there with its reason or source. **No run on either
# > data set stands behind this chapter.** What was measured is said so and comes from `outputs/published/`; what is arithmetic over an assumption is
# > said so, too.
#
# ## The two data sets in numbers
#
# A video becomes a folder of JPEG frames (`000001.jpg` and on), so the number of files is the number of frames:
#
# $$\text{files} = \text{videos} \times \text{seconds} \times \text{frames a second} \tag{8.1}$$
#
# The numbers of videos are those of copies in use; they vary a little, as videos vanish from the web. Kinetics' clips are 10 s long, at whatever rate
# they were uploaded, mostly 25 to 30 a second; we compute with 25. Something-Something's are short, 12 frames a second and about 48 frames in all.

# %%
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from IPython.display import Markdown, display

from hitagu_lib.config import check_parameters, load_config
from hitagu_lib.models.cost import model_report
from hitagu_lib.runs.run_dir import read_metrics
from hitagu_lib.files import project_root

check_parameters(globals())  # this chapter takes none
os.chdir(project_root())  # the same from the root and from book/


def table(*rows: str) -> None:
    """The first row is the head."""
    line = "|---" + "|---:" * (rows[0].count("|") - 2) + "|"
    display(Markdown("\n".join([rows[0], line, *rows[1:]])))


# %%
@dataclass(frozen=True)
class DataSet:
    name: str
    params: str
    classes: int
    train: int  # videos
    val: int
    seconds: float  # of a video
    fps: float

    @property
    def files(self) -> float:  # (8.1)
        return (self.train + self.val) * self.seconds * self.fps


K700 = DataSet(
    "Kinetics-700", "params/k700.yaml", 700, 542_357, 34_824, 10, 25
)
SSV2 = DataSet(
    "Something-Something V2",
    "params/ssv2.yaml",
    174,
    168_913,
    24_777,
    4,
    12,
)
table(
    "| | training videos | validation videos | files (millions) |",
    *(
        f"| {d.name} | {d.train:,} | {d.val:,} | {d.files / 1e6:.1f} |"
        for d in (K700, SSV2)
    ),
)

# %% [markdown]
# Something-Something's 27,157 test videos have no labels and are left out here; they would add 1.3 million files.
#
# ## Disk and extraction
#
# Bytes and time follow from two rates, measured on real clips by `benchmarks/extraction.py`: what a frame weighs on disk, rounded up to whole blocks
# as a file system stores it, and how many frames a second one core decodes, scales and writes.
#
# $$\text{disk} = \text{files} \times \text{bytes a frame on disk}, \quad \text{core-hours} = \frac{\text{files}}{3600 \times \text{frames a second of a core}} \tag{8.2}$$

# %%
measured = json.loads(
    Path("outputs/published/extraction/cpu.json").read_text()
)
print("machine:", measured["where"]["device"])
print("short side:", measured["short_side"], "pixels, never enlarged")


def rates(clip: str, quality: int) -> dict:
    """Of a clip as it was extracted at ffmpeg's -q:v `quality`."""
    (r,) = (
        r
        for r in measured["results"]
        if (r["clip"], r["quality"]) == (clip, quality)
    )
    return {
        "video": r["video_bytes"] / r["seconds"],  # bytes a second
        "frame": r["disk_bytes"] / r["frames"],  # bytes, on disk
        "fps": r["frames"] / statistics.median(r["cpu_seconds"]),
    }


# %%
STAND_INS = [
    (K700, "arm_wrestling.mp4", "340 x 256"),
    (K700, "arm_wrestling, 720 high", "956 x 720"),
    (SSV2, "poking_166766.mp4", "427 x 240"),
]
rows = []
for data, clip, size in STAND_INS:
    for quality in (2, 5):
        r = rates(clip, quality)
        videos = (data.train + data.val) * data.seconds * r["video"]
        hours = data.files / r["fps"] / 3600  # (8.2)
        rows.append(
            f"| {data.name}, videos of {size}, `-q:v {quality}` "
            f"| {videos / 1e12:.2f} | {data.files * r['frame'] / 1e12:.2f} "
            f"| {r['fps']:.0f} | {hours:.0f} | {hours / 16:.1f} |"
        )
table(
    "| | videos (TB) | frames (TB) | frames a second of a core "
    "| core-hours | hours on 16 cores |",
    *rows,
)

# %% [markdown]
# Each row rests on **one** clip: a Kinetics-400 clip in the 340 x 256 copy that is widely passed around, the same clip enlarged to 720 lines as the
# web has it, and one of Something-Something's videos. One clip is no data set. What carries over is the shape of the bill: frames weigh several times
# what the videos do, and where the originals are large, decoding them is what extraction costs. Before you order disks, run it over a hundred of your
# own videos:
#
# ```bash
# python -m benchmarks.extraction --clips videos/*.mp4 --out outputs/extraction
# ```
#
# ### Files before bytes
#
# Many file systems have a fixed number of *inodes*, one a file, set when they are made; ext4's default is one for every 16 KiB of the disk. Where
# files are smaller than that on average, the inodes run out first, with the disk half empty and the error "No space left on device":

# %%
INODE = 16 * 1024  # bytes of disk for each, mke2fs's default
for data, clip, _ in STAND_INS[::2]:
    for quality in (2, 5):
        frame = rates(clip, quality)["frame"]
        disk = data.files * max(frame, INODE)
        first = "inodes" if frame < INODE else "bytes"
        print(
            f"{data.name}, -q:v {quality}: {frame / 1e3:.1f} kB a file,",
            f"{first} run out first: {disk / 1e12:.1f} TB",
        )

# %% [markdown]
# `df -i` shows what is left. `mkfs.ext4 -i 8192` makes twice as many; XFS makes them as they are needed. On a file system that a cluster shares, ask
# for the quota of *files* before you start: a million of them holds 0.7 % of Kinetics-700.
#
# ### JPEG folders, or the videos themselves
#
# With `data.source: video` the loader reads its frames from the video files, through PyAV, which `requirements.txt` has (by itself: `pip install
# "av>=18,<19"`). The lists are the same: frame $k$ is the $k$-th that decoding the whole file gives, as `hitagu extract` numbers them, and the
# pictures are the same but for JPEG's loss, which is under two grey levels on average.

# %%
for data, clip, size in STAND_INS:
    videos, r = data.train + data.val, rates(clip, 2)
    of_videos = videos * data.seconds * r["video"] / 1e12
    of_frames = data.files * r["frame"] / 1e12
    print(f"{data.name}, {size}:")
    print(f"  frames {data.files / 1e6:6.1f} million files", end="")
    print(f" {of_frames:5.2f} TB")
    print(f"  videos {videos / 1e6:6.1f} million files {of_videos:5.2f} TB")

# %% [markdown]
# What is saved on disk is paid in cores, in every epoch: a JPEG frame is decoded alone, a video's frame only after those since the last key frame. So
# extract where there is room for the files and cores are what you are short of, and where you train many times; take the videos where files or disk
# are the limit, or for a first epoch before the disks are there. How many cores each way asks for is what (8.5) is about.
#
# ## GPU-hours
#
# A training sees every training video once an epoch:
#
# $$\text{GPU-hours} = \frac{\text{epochs} \times \text{training videos}}{3600 \times \text{clips a second of a GPU}} \tag{8.3}$$
#
# whatever the number of GPUs, as long as they do not wait, for data or for each other. The clips a second are for you to measure: **no GPU has been
# at hand for this book yet**, and a number from a data sheet is no measurement. On your card, the same command as for the table of chapter 2a:
#
# ```bash
# python -m benchmarks.model --params params/k700.yaml \
#     --device cuda --dtype bf16 --batch 8
# ```
#
# It prints the milliseconds of a training step; 8 clips over the seconds of a step is the rate of (8.3). What can be known without a card is the
# *work*. A clip's forward pass costs $G$ multiply-adds, two operations each, and the backward pass about twice the forward:
#
# $$\text{operations of a training} \approx 6\,G \times \text{epochs} \times \text{training videos} \tag{8.4}$$


# %%
def work(data: DataSet) -> tuple[float, int]:
    """Operations of a clip's training step (8.4); clips of a run."""
    cfg = load_config(data.params)
    gflops = model_report(cfg, data.classes)["gflops"]
    return 6e9 * gflops, cfg.train.epochs * data.train


for data in (K700, SSV2):
    operations, clips = work(data)
    print(
        f"{data.name}: {clips / 1e6:.1f} million clips,",
        f"{operations / 1e9:.0f} GFLOP each,",
        f"{operations * clips:.2g} in all".replace("e+", " x 10^"),
    )

# %% [markdown]
# The table is **arithmetic, not a measurement**: hours for rates that somebody might reach. Its second column says what a rate asks of a card by
# (8.4), to be held against the card's data sheet: what asks for more than its peak cannot be reached.

# %%
per_clip = work(K700)[0]
table(
    "| if a GPU did so many clips a second | it would sustain (TFLOP/s) "
    "| Kinetics-700 (GPU-hours) | hours on 8 GPUs "
    "| Something-Something V2 (GPU-hours) | hours on 8 GPUs |",
    *(
        f"| {rate} | {rate * per_clip / 1e12:.0f} "
        + "".join(
            f"| {hours:.0f} | {hours / 8:.1f} "
            for hours in (work(d)[1] / rate / 3600 for d in (K700, SSV2))
        )
        + "|"
        for rate in (25, 50, 100, 200, 400)
    ),
)

# %% [markdown]
# The one rate that was measured is a CPU core's, from `outputs/published/model/`: it is why nobody trains this on a laptop.

# %%
cpu = json.loads(
    Path(
        "outputs/published/model/cpu/fp32-channels-last-batch1.json"
    ).read_text()
)
step = statistics.median(
    cpu["milliseconds"]["training step"]["HiTAGU-Net"]["CPU"]
)
rate = 1e3 / step
print(f"{cpu['where']['device']}: {rate:.2f} clips a second of a core;")
for data in (K700, SSV2):
    years = work(data)[1] / rate / 3600 / 24 / 365
    print(f"  {data.name}: {years:.1f} core-years")

# %% [markdown]
# ## Can the loader keep up?
#
# A GPU that waits for clips costs as much as one that works. If one core prepares a clip in $c$ core-seconds (read $T$ frames, decode, crop), a GPU
# of $r$ clips a second needs
#
# $$\text{loader cores a GPU} = r\,c \tag{8.5}$$
#
# `data.workers` processes should be about that many, and the machine has to have them. Arithmetic again, cores a GPU:

# %%
costs = (0.005, 0.02, 0.07)
table(
    "| clips a second of a GPU | "
    + " | ".join(f"c = {c} core-seconds a clip" for c in costs)
    + " |",
    *(
        f"| {rate} | " + " | ".join(f"{rate * c:.1f}" for c in costs) + " |"
        for rate in (25, 50, 100, 200, 400)
    ),
)

# %% [markdown]
# What $c$ is, for frames and for videos, `benchmarks/loader.py` measures; its reports stand here where they have been published.

# %% tags=["nbval-ignore-output"]
loader = Path("outputs/published/loader")
reports = sorted(loader.rglob("*.json")) if loader.is_dir() else []
for file in reports:
    report = file.with_suffix(".md").read_text("utf-8")
    display(Markdown(re.sub(r"(?m)^#+ (.*)", r"**\1**", report)))
if not reports:
    print(f"{loader}: nothing yet; run benchmarks/loader.py")

# %% [markdown]
# Measured there, on a busy machine: about 180 clips a second of a core from frames, so $c$ is near the first column's; from videos 14 for Kinetics'
# clip, near the last column's, and 26 for Something-Something's. A GPU of 200 clips a second is fed from frames by little more than one core, and
# straight from Kinetics' videos by fourteen.
#
# ## Several processes
#
# PyTorch trains on several GPUs with one process each, which average their gradients at every step. `torchrun` starts them; nothing else about the
# command changes:
#
# ```bash
# torchrun --standalone --nproc_per_node 8 \
#     -m hitagu_lib train --params params/k700.yaml
# ```
#
# On one machine `train.processes: 8` in the params does the same: `hitagu train` and the notebook of chapter 3 then start torchrun themselves, follow
# its epochs and end with it. Under a torchrun of your own, its number counts.
#
# Without a GPU the processes share the CPU, which is of no use but to see that it works. Here are two, on a small set drawn for the purpose:

# %%
from hitagu_lib.data.loader import EpochSampler
from hitagu_lib.prepare.synthetic.make import MiniSpec, prepare_mini
from hitagu_lib.runs.checkpoint import load_checkpoint

scratch = Path(tempfile.mkdtemp())
prepare_mini(
    scratch / "data",
    MiniSpec(train_per_class=3, val_per_class=2),
    use_ffmpeg=False,
    workers=1,
    progress=False,
)
overrides = " ".join(
    [
        f"run={scratch / 'run'} data.root={scratch / 'data' / 'frames'}",
        f"data.train_list={scratch / 'data' / 'train.csv'}",
        f"data.val_list={scratch / 'data' / 'val.csv'}",
        "data.workers=0 train.batch_size=7 train.precision=fp32",
        "eval.order_tests=false",
    ]
)
torchrun = "torch.distributed.run --standalone --nproc_per_node 2"
train = "-m hitagu_lib train --params params/smoke.yaml --overrides"
command = [sys.executable, "-m", *torchrun.split(), *train.split()]
done = subprocess.run(
    [*command, overrides],
    env=os.environ | {"OMP_NUM_THREADS": "1"},
    capture_output=True,
    text=True,
)
assert done.returncode == 0, done.stderr[-2000:]

# %%
summary = json.loads((scratch / "run" / "summary.json").read_text())
state = load_checkpoint(scratch / "run" / "checkpoints" / "last.pt")
print(summary["train_clips"], "training clips,", state["steps"], "steps")
print(summary["val_clips"], "validation clips, each scored once")
print(len(read_metrics(scratch / "run")), "epoch in metrics.jsonl")

# %% [markdown]
# 42 clips and two processes of 7 make three steps of 14. One process writes the run's folder; both read the lists, and each takes its own part.
#
# ### Which clips, in which order
#
# The order of the clips is drawn from the seed and the epoch, and belongs to the *global* batch: one process of 4 clips, two of 2 and four of 1 see
# the same four clips in the same step. So a run that began on two GPUs goes on with one, with the same clips in each step.

# %%
CLIPS, GLOBAL = 12, 4
for processes in (1, 2, 4):
    shares = [
        list(
            EpochSampler(
                CLIPS,
                GLOBAL // processes,
                shuffle=True,
                process=p,
                processes=processes,
            )
        )
        for p in range(processes)
    ]
    each = GLOBAL // processes
    first = [[row for _, row in share[:each]] for share in shares]
    print(f"{processes} processes, first step: rows", *first)

# %% [markdown]
# What does differ is BatchNorm: it takes its statistics over the clips of *its* process, at a time. Eight processes of 8 clips, 64 frames each,
# normalise over 64 frames, one process of 64 clips over 512. `train.sync_bn` shares the statistics between GPUs; `model.backbone.frozen_bn` keeps the
# backbone's as they were loaded.
#
# ### The learning rate belongs to the global batch
#
# A step is of
#
# $$\text{clips a step} = \text{batch size} \times \text{accumulate} \times \text{processes} \tag{8.6}$$
#
# where `train.accumulate` batches are added up by a process before it steps: it stands in for GPUs that you do not have. Twice the clips a step make
# half the steps an epoch, and each may be about twice as long (Goyal et al. 2017). So the recipes say which number of clips their rate is for,
# `train.lr: 0.01` and `train.lr_batch: 64`, and the rate is scaled to the step that there is. Each run logs it at its start:

# %%
from dataclasses import replace

from hitagu_lib.errors import ConfigError
from hitagu_lib.training.optim import check_global_batch, step_in_words

k700 = load_config(K700.params)
for gpus, accumulate in ((1, 1), (1, 8), (4, 2), (8, 1), (32, 1)):
    recipe = replace(k700.train, accumulate=accumulate)
    print(step_in_words(recipe, gpus).replace("; ", ";\n    "))

# %% [markdown]
# The second, third and fourth are the same recipe on one, four and eight GPUs. A run that is going keeps its step: started again on fewer GPUs it
# says what makes up for them.

# %%
try:
    check_global_batch(k700, expected=64, processes=4)
except ConfigError as error:
    print(fill(str(error), 76))

# %% [markdown]
# The rule ends somewhere: at thousands of clips a step other things limit the length of a step, and the warm-up (`train.warmup_epochs`) is what makes
# its upper end bearable. It has not been tried here.
#
# ## Several machines
#
# The same command on every machine, with an address at which they meet; `host0` is the first one's name:
#
# ```bash
# torchrun --nnodes 2 --nproc_per_node 8 \
#     --rdzv_id k700 --rdzv_backend c10d --rdzv_endpoint host0:29500 \
#     -m hitagu_lib train --params params/k700.yaml
# ```
#
# Under SLURM (**not run here**: there was no cluster to try it on; names of partitions and of GPU resources are your site's):
#
# ```bash
# sbatch --job-name k700 --nodes 2 --ntasks-per-node 1 \
#     --gpus-per-node 8 --cpus-per-task 96 \
#     --time 24:00:00 --signal TERM@120 --dependency singleton --wrap '
#   head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
#   srun torchrun --nnodes "$SLURM_NNODES" --nproc_per_node 8 \
#       --rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d \
#       --rdzv_endpoint "$head:29500" \
#       -m hitagu_lib train --params params/k700.yaml'
# ```
#
# One task a machine, because torchrun starts the eight; cores for eight processes and their `data.workers`, and some. `--signal` asks for SIGTERM two
# minutes before the time limit, which the training answers with a checkpoint (below), and with `--dependency singleton` jobs of one name run one
# after the other: submit it as often as the run will need, what is left over reads the finished run.
#
# All machines must see the same frames, lists and run folder under the same paths, and the ImageNet weights must be in torch's cache on each, or in a
# file that `model.backbone.weights` names: compute nodes often have no network. Lists are read once a process, so keep them on the shared file system
# and the frames, if you can, on disks of the machine's own.
#
# ## Interruptions
#
# A run of days will be interrupted. The same command goes on from `checkpoints/last.pt`; a finished run is read, not repeated.
#
# - **Killed** at any moment, it loses what came after the last checkpoint: an epoch at most, or with `train.checkpoint_every: 500` five hundred
#   steps. On CPU the final weights are the same bits as those of a run that was never interrupted. Checkpoints are written aside and renamed, and the
#   one before stays as `previous.pt`.
# - **Asked to stop**, by SIGTERM, SIGINT (Ctrl-C), SIGHUP (a closed terminal) or SIGUSR1, all processes end the step they are in, write a checkpoint and
#   stop. If you started torchrun yourself, send it SIGTERM: torchrun passes that on and waits 30 seconds before it kills, but it dies of SIGUSR1. With
#   `train.processes` any of the four will do. This was tried with two processes on one machine, not under SLURM.
# - **Two of the same** cannot write to one folder: a lock stops the second. Other parameters in the same folder stop with the difference, other clips
#   a step with what to change.
# - **A full disk** stops it with the last good checkpoint intact, and says how much room it wants.
#
# ## Starting from weights that are there
#
# ```bash
# hitagu checkpoints list
# hitagu checkpoints fetch k700
# hitagu train --params params/mine.yaml --overrides \
#     "train.init=outputs/pretrained/k700_best.pt train.init_head=replace"
# ```
#
# `fetch` downloads what `params/checkpoints.yaml` names, checks its SHA-256 and that it is a checkpoint, which is data and never a program, and only
# then gives it its name. No weights are published yet, so it says where to put your own. `train.init` starts a training from a checkpoint of the same
# network; other classes stop with the difference, unless the classifier is to be replaced.

# %% [markdown]
# ## What to watch
#
# `tensorboard --logdir outputs` shows every run. The two processes above have written theirs, too:

# %%
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

events = EventAccumulator(str(scratch / "run" / "logs")).Reload()
print(*sorted(events.Tags()["scalars"]), sep="\n")

# %% [markdown]
# | curve | healthy | else |
# |---|---|---|
# | `train/cross_entropy` | begins near $\ln K$ of $K$ classes (6.6 for 700, 5.2 for 174), falls within the warm-up | flat: the rate, or labels that do not belong to the clips; look at the clips (chapter 3) |
# | `train/center`, `train/temporal` (where the recipe has them) | each before its weight; the weighted term below the cross-entropy once the centres have moved | a term that goes on outweighing the cross-entropy trains something else: lower its lambda |
# | `train/grad_norm` | steady, below `train.clip_norm` | at the limit in every step: the limit is now your learning rate |
# | `train/lr` | the warm-up, then half a cosine | |
# | `speed/clips_per_second` | steady, after the first minutes | sinks: something else reads the disks, or a card grows hot |
# | `speed/data_wait_share` | near zero: the loop seldom waits for the loader | a third: a third of the bill is for waiting; (8.5) |
# | `val/top1` | follows the training's, some points below | falls while training rises: overfitting, or flips that should have swapped labels |
# | `mde/gate_abs`, `mde/gate_max` | leaves zero, where it starts (chapter 2b) | zero for good: motion is not used |
# | `stu/mix_1` to `mix_3` | all in use, not equal | one at 1: the others are ballast for these data; see the ablations of chapter 6 |
# | `stu/forget_k_q50` | apart, each in its band (chapter 2c) | at a band's edge: the band is in the way |
# | `tsa/entropy` | falls from 1, where all frames weigh the same | at 1 for good: attention is a mean |
#
# Look at `train/center` first. The centres begin at zero, so that the first thing the center loss asks for is small embeddings: with random weights,
# in the two steps that a test takes under `params/ssv2.yaml`, the center loss times its weight was twice the cross-entropy, and the gradient's norm
# far above the limit. What ImageNet's weights make of it has not been measured.
#
# A wrong horizontal flip is the classic silent killer: nothing stops, and the pairs *left* and *right* end at a coin toss. `data.hflip_swaps` in
# `params/ssv2.yaml` has the three pairs of labels that a mirror turns into each other, and a test holds them to the official list, letter by letter.
#
# ## Where it breaks first
#
# Roughly in the order in which one meets it, with the numbers of this chapter:


# %%
def bytes_a_clip(data: DataSet, clip: str) -> tuple[float, float]:
    """Read for one clip of T frames: as JPEG files, as a whole video."""
    T = load_config(data.params).data.num_frames
    r = rates(clip, 2)
    return T * r["frame"], data.seconds * r["video"]


T = load_config(K700.params).data.num_frames
as_frames, as_video = bytes_a_clip(K700, "arm_wrestling.mp4")
print(f"a clip: {as_frames / 1e3:.0f} kB in {T} files,", end=" ")
print(f"or one video of {as_video / 1e3:.0f} kB")
for rate in (50, 200):
    clips = 8 * rate
    print(
        f"8 GPUs of {rate} clips a second: {clips * T:,} files a second,",
        f"{clips * as_frames / 1e6:.0f} MB/s; as videos",
        f"{clips * as_video / 1e6:.0f} MB/s",
    )

# %% [markdown]
# | what | when | sign | what to do |
# |---|---|---|---|
# | inodes, or a quota of files | during extraction | "No space left on device" with room in `df -h`, none in `df -i` | another file system, or `data.source: video`; coarser JPEGs do **not** help; extraction goes on where it stopped |
# | listing folders | after extraction | `ls`, `rsync` and backups of millions of small files take hours | one archive a folder of videos for moving; exclude the frames from backups |
# | opening files over a network | first epoch | thousands of files a second, a round trip or more each, in shuffled order, so that no read-ahead helps; GPUs at a few percent | frames on local disks |
# | cores for decoding | first epoch | workers at 100 %, GPUs waiting | more workers while there are cores (8.5); fewer frames or smaller pictures; more cores a GPU |
# | memory of the GPU | first step | out of memory | smaller `train.batch_size` |
# | one slow process | always | all wait for the slowest at every step | the same hardware in all; nothing else on the machines |
# | a clip that cannot be read | hours in | `ClipError` with the list's line | `hitagu index --check` before the run; `data.on_bad_clip=skip` counts and names instead of stopping |
# | the clock of the queue | at the job's time limit | the job ends | the same command again |
#
# ## Summary
#
# - The bill is four products: files (8.1), disk and core-hours of extraction (8.2), GPU-hours (8.3), loader cores (8.5). Each needs one rate, and
#   each rate is a command that takes minutes. Measure before you order.
# - Work is known without a card (8.4); what a card makes of it is not.
# - The recipe belongs to the global batch (8.6). When the number of GPUs changes, keep the clips a step with `train.accumulate`, or let the rate
#   follow them, and write down which.
# - Small files are the first thing that breaks, and no profiler shows it.
#
# ## Exercises
#
# **1.** Your cluster gives you 4 TB and ten million files. Which of the two data sets can you extract, and what of the other?
#
# <details><summary>Solution</summary>
#
# ```python
# for data in (K700, SSV2):
#     print(data.name, data.files / 1e6, data.files <= 10e6)
# share = 10e6 / K700.files
# print(f"{share:.1%} of Kinetics-700: {700 * share:.0f} classes of 700")
# ```
# Something-Something V2 fits in number and size. Of Kinetics-700 the files, not the bytes, are the limit: train from its videos, which both limits
# admit, take a subset of its classes, or extract at a lower rate of frames (`hitagu extract --fps`), which a dense window with a stride of 8 hardly
# notices at a quarter of the rate, if `data.dense_span` and `data.ref_stride` are divided by four too.
#
# </details>
#
# **2.** Measure the $c$ of (8.5) on your machine without a GPU, with the loader alone.
#
# <details><summary>Solution</summary>
#
# ```python
# from hitagu_lib.data.dataset import ClipDataset, open_lists
# from hitagu_lib.config import load_config
# import time
#
# cfg = load_config("params/mine.yaml")  # or with "data.source=video data.root=videos"
# dataset = ClipDataset(open_lists(cfg.data)[0], cfg.data, train=True)
# started = time.process_time()
# for row in range(200):
#     dataset[0, row]
# print((time.process_time() - started) / 200, "core-seconds a clip")
# ```
# Run it twice: the second time the files come from memory, and the difference is the disk. With 50 clips a second of a GPU, 0.04 core-seconds a clip
# are two cores a GPU.
#
# </details>
#
# **3.** Train the mini set with two processes and with one, at the same global batch, and compare `train_cross_entropy` of the two runs epoch by epoch. Why do they differ at all?
#
# <details><summary>Solution</summary>
#
# ```bash
# torchrun --standalone --nproc_per_node 2 -m hitagu_lib train \
#     --params params/smoke.yaml --overrides "run=outputs/two train.batch_size=8"
# hitagu train \
#     --params params/smoke.yaml --overrides "run=outputs/one train.batch_size=16"
# ```
# The clips of each step are the same; BatchNorm's statistics are over 8 clips in one case and 16 in the other. With `model.backbone.frozen_bn=true`
# one source of the difference is gone; the BatchNorms of MDE and 3STU still learn theirs.
#
# </details>
#
# ## Quiz
#
# **You start `params/k700.yaml` anew on 4 GPUs instead of 8, and change nothing else. What have you changed?**
#
# <details><summary>a) Only the time it takes</summary>
#
# No: a step now has half the clips. `train.accumulate=2` would leave the recipe as it is.
#
# </details>
#
# <details><summary>b) The recipe: half the clips a step, at half the rate, and twice the steps</summary>
#
# Yes, and over a training the two come out about alike: that is what the rule of proportion says. About alike is not the same run, so write it down.
#
# </details>
#
# <details><summary>c) The clips that are seen in an epoch</summary>
#
# No, but for those of a last step that is not full.
#
# </details>
#
# **Extraction stops with "No space left on device", and `df -h` shows 40 % free. What now?**
#
# <details><summary>a) Extract at a coarser JPEG quality</summary>
#
# No: that makes smaller files, and as many. It is the number that ran out.
#
# </details>
#
# <details><summary>b) Look at <code>df -i</code>: the inodes are gone; another file system, or fewer frames</summary>
#
# Yes. The run goes on where it stopped once there is room.
#
# </details>
#
# <details><summary>c) Restart the machine</summary>
#
# The inodes stay where they are.
#
# </details>
#
# **The GPUs are busy a third of the time. Which measurement first?**
#
# <details><summary>a) The training step without a loader, and the loader without a training step</summary>
#
# Yes: two numbers in clips a second, and the smaller one is the bottleneck. Then (8.5) says how many cores are missing.
#
# </details>
#
# <details><summary>b) A profile of the network's layers</summary>
#
# It shows what the busy third does.
#
# </details>
#
# <details><summary>c) The learning rate</summary>
#
# It changes what is learned in a step, not how long the step takes.
#
# </details>
#
# ## Next
#
# What would be reported of such a run, beside whose numbers and with which deviations, is for a chapter on reproduction; there is no run to report
# yet.
#
# **References.** Lin et al., *TSM: Temporal Shift Module for Efficient Video Understanding*, ICCV 2019. Wang et al., *TDN: Temporal Difference
# Networks for Efficient Action Recognition*, CVPR 2021. Goyal et al., *Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour*, 2017. Carreira et
# al., *A Short Note on the Kinetics-700 Human Action Dataset*, 2019. Goyal et al., *The "something something" video database*, ICCV 2017. Ioffe and
# Szegedy, *Batch Normalization*, ICML 2015. Wen et al., *A Discriminative Feature Learning Approach for Deep Face Recognition*, ECCV 2016.
