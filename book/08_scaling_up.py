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
# What ran on your laptop in minutes runs for many GPU-hours on half a million videos. The code is the same. What is new is the bill, and the ways
# in which a run can fail. This chapter computes the bill first, then starts several processes, and says what to watch and what breaks first.
#
# **You will be able to** compute disk, files, hours of extraction and GPU-hours for Kinetics-700 and Something-Something V2 from rates that
# you measure yourself; train on several GPUs and machines; adapt a recipe's learning rate when the number of GPUs changes; and find the
# bottleneck from a few curves.
#
# **Prerequisites**: chapter 3. **Time** to run: half a minute of processor time, most of it for starting two processes. **Memory**: three processes of about 1 GiB. The chapter downloads nothing; it draws the data of its live run.

# %% [markdown]
# > **Given, and ours.** We were given the two data sets, the two optional losses with their weights, and the network's pipeline. The recipes `params/k700.yaml` and `params/ssv2.yaml` are ours, after TSM's and others'; each value there has its reason or source. **Nobody has run them on either data set.** What was measured comes from `outputs/published/`; the text says where it only computes.
#
# ## The two data sets in numbers
#
# A video becomes a folder of JPEG frames, so the number of files is the number of frames:
#
# $$\text{files} = \text{videos} \times \text{seconds} \times \text{frames per second} \tag{8.1}$$
#
# Kinetics' numbers of videos are those of the release of 2019; copies in use have fewer, as videos vanish from the web. Kinetics' clips last 10 s, mostly at 25 to 30 frames per second; we take 25. Something-Something's last 4 s on average, at 12 frames per second: 48 frames.

# %% tags=["hide-input"]
import json
import os
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
    "Kinetics-700", "params/k700.yaml", 700, 545_317, 35_000, 10, 25
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
# The 27,157 test videos of Something-Something have no labels and are left out; they would add 1.3 million files.
#
# ## Disk and extraction
#
# Bytes and time follow from two rates, which `benchmarks/extraction.py` measures on real clips: what a frame takes on disk, in whole blocks, and how many frames per second one core decodes, scales and writes.
#
# $$\text{disk} = \text{files} \times \text{bytes per frame on disk}, \quad \text{core-hours} = \frac{\text{files}}{3600 \times \text{frames per second of a core}} \tag{8.2}$$

# %%
measured = json.loads(
    Path("outputs/published/extraction/cpu.json").read_text()
)
print("machine:", measured["where"]["device"])
print("short side of the frames:", measured["short_side"], "pixels at most")


def rates(clip: str, quality: int) -> dict:
    """Of a clip as it was extracted at ffmpeg's -q:v `quality`."""
    (r,) = (
        r
        for r in measured["results"]
        if (r["clip"], r["quality"]) == (clip, quality)
    )
    return {
        "video": r["video_bytes"] / r["seconds"],  # bytes per second
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
        core_hours = data.files / r["fps"] / 3600  # (8.2)
        rows.append(
            f"| {data.name}, {size}, `-q:v {quality}` "
            f"| {videos / 1e12:.2f} | {data.files * r['frame'] / 1e12:.2f} "
            f"| {r['fps']:.0f} | {core_hours:.0f} |"
        )
table(
    "| | videos (TB) | frames (TB) | frames/s of a core | core-hours |",
    *rows,
)

# %% [markdown]
# Each row rests on **one** clip: one of Kinetics-400 in the common 340 x 256 copy; the same clip scaled up to 720 lines, in place of the
# original, which we do not have; and one of Something-Something. In these rows frames weigh 1.6 to 9 times what the videos do, and large originals make extraction slow. Before you
# order disks, measure a hundred of your own videos:
#
# ```bash
# python -m benchmarks.extraction --clips videos/*.mp4 --out outputs/extraction
# ```
#
# ### Files before bytes
#
# Many file systems have a fixed number of *inodes*, one for each file; ext4 makes one for every 16 KiB of disk. Where files are smaller than that on average, the inodes run out first. The error is "No space left on device", with the disk half empty:

# %%
INODE = 16 * 1024  # bytes of disk for each, mke2fs's default
for data, clip, _ in STAND_INS[::2]:
    for quality in (2, 5):
        frame = rates(clip, quality)["frame"]
        disk = data.files * max(frame, INODE)
        first = "inodes" if frame < INODE else "bytes"
        print(
            f"{data.name}, -q:v {quality}: {frame / 1e3:.1f} kB per file,",
            f"{first} run out first: {disk / 1e12:.1f} TB",
        )

# %% [markdown]
# `df -i` shows what is left. `mkfs.ext4 -i 8192` makes twice as many; XFS makes them as needed. On a cluster's shared file system, ask for the quota of *files* first: a quota of one million holds 0.7 % of Kinetics-700.
#
# ### JPEG folders, or the videos themselves
#
# With `data.source: video` the loader reads its frames from the video files, through PyAV, which `requirements.txt` has. The lists are the same, frames have the same numbers, and the pictures differ by less than two grey levels on average, JPEG's loss.

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
# Videos save disk and cost cores, in every epoch: a JPEG is decoded alone, a video's frame only after all frames since the last key frame. Extract where there is room for the files, and where you train many times. Take the videos where files or disk are the limit. Equation (8.5) says how many cores each way needs.
#
# ## GPU-hours
#
# Each epoch sees each training video once:
#
# $$\text{GPU-hours} = \frac{\text{epochs} \times \text{training videos}}{3600 \times \text{clips per second of a GPU}} \tag{8.3}$$
#
# This holds for any number of GPUs that do not wait, for data or for each other. Without a card we can know the *work*: a clip's forward pass costs $G$ multiply-adds, two operations each, and the backward pass about twice the forward.
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
        f"{operations / 1e9:.0f} billion operations each,",
        f"{operations * clips:.2g} in all".replace("e+", " x 10^"),
    )

# %% [markdown]
# The clips per second have to be measured. One command does it, with everything else in this book that waits for a GPU. If it runs out of minutes, give it again: it does the rest.
#
# ```bash
# python -m benchmarks.on_gpu --minutes 8
# ```
#
# When it has run, its results give the hours of (8.3); it writes them beside the other published ones, to a folder `gpu`:

# %%
file = Path("outputs/published/gpu/steps.json")
steps = json.loads(file.read_text()) if file.exists() else {}
measured_rates = {
    f"{steps[job]['where']['device']}, {job.split()[0]}": steps[job][
        "kinds"
    ]["training step"]["HiTAGU-Net"]["clips_per_second"]
    for job in ("eager", "compiled training step")
    if job in steps
}


def hours(data: DataSet, rate: float) -> float:
    """GPU-hours at `rate` clips per second (8.3)."""
    return work(data)[1] / rate / 3600


for name, rate in measured_rates.items():
    print(f"{name}: {rate:.0f} clips per second;", end=" ")
    print(
        *(f"{d.name}: {hours(d, rate):.0f} GPU-hours" for d in (K700, SSV2))
    )
if not measured_rates:
    print("clips per second of a GPU: not measured")
    print("GPU-hours of either data set: not measured")

# %% [markdown]
# The next table is **arithmetic**: GPU-hours at rates that somebody might reach, and what each rate asks of a card by (8.4). No card sustains more than its data sheet's peak.

# %%
per_clip = work(K700)[0]
table(
    "| clips per second | 10^12 operations per second | Kinetics-700 (hours) | SSv2 (hours) |",
    *(
        f"| {rate} | {rate * per_clip / 1e12:.0f} "
        f"| {hours(K700, rate):.0f} | {hours(SSV2, rate):.0f} |"
        for rate in (25, 50, 100, 200, 400)
    ),
)

# %% [markdown]
# We measured the rate of a CPU core, for the network with an older and faster form of the 3STU (`outputs/published/model/`). It shows why nobody trains this on a laptop:

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
print(f"{cpu['where']['device']}: {rate:.2f} clips per second of a core;")
for data in (K700, SSV2):
    years = hours(data, rate) / 24 / 365
    print(f"  {data.name}: {years:.1f} core-years")

# %% [markdown]
# ## Can the loader keep up?
#
# A GPU that waits for clips costs as much as one that works. If a core prepares a clip in $c$ core-seconds (read $T$ frames, decode, crop), a GPU of $r$ clips per second needs
#
# $$\text{loader cores per GPU} = r\,c \tag{8.5}$$
#
# Set `data.workers` to about that, and see that the machine has them. `benchmarks/loader.py` measures $c$ on one core:

# %%
loader = json.loads(Path("outputs/published/loader/cpu.json").read_text())
print("machine:", loader["where"]["device"])
SEGMENT = {
    of["video"]: of["milliseconds"]["segment"] for of in loader["routes"]
}
costs = {
    f"{video}, {source}": statistics.median(ways[source]["CPU"]) / 1e3 / 8
    for video, ways in SEGMENT.items()
    for source in ("frames", "video")
}
table(
    "| a clip of 8 frames from | c | cores at 50 clips/s | at 200 |",
    *(
        f"| {name} | {c:.4f} | {50 * c:.1f} | {200 * c:.1f} |"
        for name, c in costs.items()
    ),
)

# %% [markdown]
# So little more than one core feeds 200 clips per second from frames; straight from Kinetics' videos it takes over fourteen. The whole report, `outputs/published/loader/cpu.md`, has dense clips, sizes and the usual way of loading beside ours.
#
# ## Several processes
#
# PyTorch trains on several GPUs with one process each, which average their gradients at every step. `torchrun` starts them; the rest of the command stays:
#
# ```bash
# torchrun --standalone --nproc_per_node 8 \
#     -m hitagu_lib train --params params/k700.yaml
# ```
#
# On one machine `train.processes: 8` in the params does the same, also in the notebook of chapter 3. If you start torchrun yourself, its `--nproc_per_node` counts.
#
# Without a GPU the processes share the CPU, which gains nothing but shows that it works. Here are two, on a small set drawn for the purpose. The parameters are those of `params/smoke.yaml`: `params/mini.yaml` with one epoch and without the TSN baseline.

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
# Two processes of 7 clips cut 42 clips into three steps of 14. One process writes the run's folder; each reads the lists and takes its own share.
#
# ### Which clips, in which order
#
# Seed and epoch determine the order of the clips, in *global* batches: one process of 4 clips, two of 2 and four of 1 see the same four clips in the same step. So a run can start on two GPUs and continue on one.

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
# BatchNorm does differ: each process takes its statistics over its own clips. Eight processes of 8 clips of 8 frames normalise over 64 frames each, one process of 64 clips over 512. `train.sync_bn` shares the statistics between GPUs; `model.backbone.frozen_bn` keeps the backbone's as loaded.
#
# ### The learning rate belongs to the global batch
#
# $$\text{clips per step} = \text{batch size} \times \text{accumulate} \times \text{processes} \tag{8.6}$$
#
# Each process adds up the gradients of `train.accumulate` batches before it takes a step. So one GPU with `train.accumulate: 8` takes the steps of eight GPUs, more slowly. With twice the clips per step, an epoch has half the steps, and the learning rate may be about twice as high (Goyal et al. 2017). So the recipes say for how many clips their rate is meant, `train.lr: 0.01` with `train.lr_batch: 64`, and the library scales it. Each run logs the result at its start:

# %%
from dataclasses import replace

from hitagu_lib.errors import ConfigError
from hitagu_lib.training.optim import check_global_batch, step_in_words

k700 = load_config(K700.params)
for gpus, accumulate in ((1, 1), (1, 8), (4, 2), (8, 1), (32, 1)):
    recipe = replace(k700.train, accumulate=accumulate)
    print(step_in_words(recipe, gpus).replace("; ", ";\n    "))

# %% [markdown]
# The second, third and fourth are one recipe on one, four and eight GPUs. A run must keep its clips per step: if you resume it on fewer GPUs, it stops and names the `train.accumulate` that makes up for them.

# %%
try:
    check_global_batch(k700, expected=64, processes=4)
except ConfigError as error:
    print(fill(str(error), 76))

# %% [markdown]
# For pictures, the rule held up to about 8,000 a step with a warm-up (Goyal et al. 2017; here `train.warmup_epochs`), and failed beyond. We have
# not tried large steps of clips.
#
# ## Several machines
#
# Give the same command on every machine, with an address at which they meet; `host0` is the first one's name:
#
# ```bash
# torchrun --nnodes 2 --nproc_per_node 8 \
#     --rdzv_id k700 --rdzv_backend c10d --rdzv_endpoint host0:29500 \
#     -m hitagu_lib train --params params/k700.yaml
# ```
#
# Under SLURM (**not run**: we had no cluster; names of partitions and GPU resources are your site's):
#
# ```bash
# sbatch --job-name k700 --nodes 2 --ntasks-per-node 1 \
#     --gpus-per-node 8 --cpus-per-task 96 \
#     --time 24:00:00 --signal TERM@120 --dependency singleton --wrap '
#   head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
#   srun --cpus-per-task "$SLURM_CPUS_PER_TASK" \
#       torchrun --nnodes "$SLURM_NNODES" --nproc_per_node 8 \
#       --rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d \
#       --rdzv_endpoint "$head:29500" \
#       -m hitagu_lib train --params params/k700.yaml'
# ```
#
# torchrun starts the eight processes of a machine, so SLURM starts one task there, with cores for all `data.workers`. `--signal` asks for a checkpoint two minutes before the time limit. `--dependency singleton` runs jobs of one name in turn: submit as many as the run may need.
#
# All machines must see the same frames, lists and run folder under the same paths. Compute nodes often have no network: put the ImageNet weights into torch's cache on each, or into a file that `model.backbone.weights` names.
#
# ## Interruptions
#
# A run of days will be interrupted. The same command resumes it from `checkpoints/last.pt`; a finished run is read, not repeated.
#
# - **Killed**, it loses what came after the last checkpoint: an epoch at most, or `train.checkpoint_every` steps. On a CPU the final weights equal those of an undisturbed run bit for bit. `previous.pt` keeps the checkpoint before.
# - **Asked to stop** by SIGTERM, SIGINT (Ctrl-C), SIGHUP (a closed terminal) or SIGUSR1, all processes finish their step, write a checkpoint and stop. If you start torchrun yourself, use SIGTERM: torchrun passes it on and waits 30 seconds, but SIGUSR1 kills it. With `train.processes` all four work. We tried this with two processes on one machine, not under SLURM.
# - **A second run in the same folder** is refused while the first one runs. With other parameters, the run stops and shows the difference. With another number of clips per step, it stops and says what to change.
# - **A full disk** stops it with the last good checkpoint intact, and the error says how much room it needs.
#
# ## Starting from weights that are there
#
# ```bash
# hitagu checkpoints fetch k700
# hitagu train --params params/mine.yaml --overrides \
#     "train.init=outputs/pretrained/k700_best.pt train.init_head=replace"
# ```
#
# `fetch` downloads what `params/checkpoints.yaml` names and checks it. No weights are published yet, so it says where to put your own. `train.init` starts from a checkpoint of the same network. If your classes are others, `train.init_head=replace` makes a new classifier.

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
# | `train/center`, `train/temporal` | each before its weight. Center is at most 2 in `k700.yaml` and `ssv2.yaml`, which set `train.center_normalised`; without that, as on mini (chapter 3), it begins higher | center near 1 for long: embeddings and their centres disagree |
# | `train/grad_norm` | steady, below `train.clip_norm` | at the limit in every step: the limit is now your learning rate |
# | `speed/clips_per_second` | steady, after the first minutes | sinks: something else reads the disks, or a card grows hot |
# | `speed/data_wait_share` | near zero | a third: a third of the bill is for waiting; (8.5) |
# | `val/top1` | follows that of training | falls while training rises: overfitting, or flips that should have swapped labels |
# | `mde/gate_abs`, `mde/gate_max` | leaves zero, where it starts (chapter 2b) | zero for good: motion is not used |
# | `stu/mix_1` to `mix_3` | all in use, not equal | one at 1: the others are ballast for these data; see the ablations of chapter 6 |
# | `stu/forget_k_q50` | begins near 0.5, 0.92 and 0.99, and moves (chapter 2c) | all three near 0: nothing is remembered |
# | `tsa/entropy` | falls from 1, where all frames weigh the same | at 1 for good: attention is a mean |
#
# A wrong horizontal flip is the classic silent killer: nothing stops, and the pairs *left* and *right* end at a coin toss. `data.hflip_swaps` in `params/ssv2.yaml` has the three pairs of labels that a mirror swaps; a test compares them with the official list, letter by letter.
#
# ## Where it breaks first
#
# First what the disks have to deliver:


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
        f"8 GPUs of {rate} clips per second: {clips * T:,} files per second,",
        f"{clips * as_frames / 1e6:.0f} MB/s; as videos",
        f"{clips * as_video / 1e6:.0f} MB/s",
    )

# %% [markdown]
# | what, when | sign | what to do |
# |---|---|---|
# | inodes, or a quota of files, during extraction | "No space left on device" with room in `df -h`, none in `df -i` | another file system, or `data.source: video`; coarser JPEGs do **not** help; then give the same command: it resumes |
# | listing folders, after extraction | `ls`, `rsync` and backups of millions of files take hours | move one archive for each folder of videos; exclude the frames from backups |
# | opening files over a network, first epoch | thousands of files per second in shuffled order, so no read-ahead helps; GPUs at a few percent | frames on local disks |
# | cores for decoding, first epoch | workers at 100 %, GPUs waiting | more workers while there are cores (8.5); fewer frames or smaller pictures; more cores per GPU |
# | memory of the GPU, first step | out of memory | smaller `train.batch_size`, more `train.accumulate` |
# | one slow process, always | all wait for the slowest at every step | the same hardware for all, and nothing else on it |
# | a clip that cannot be read, hours in | `ClipError` with the list's line | `hitagu index --check` before the run; `data.on_bad_clip=skip` counts and names instead of stopping |
#
# ## Summary
#
# - The bill has five parts: files (8.1), disk and core-hours of extraction (8.2), GPU-hours (8.3), loader cores (8.5). All but the first need a rate, and a command measures each rate in minutes. Measure before you order.
# - The recipe belongs to the global batch (8.6). When the number of GPUs changes, keep the clips per step with `train.accumulate`, or let the rate follow them, and write down which.
# - Count the files before you extract: inodes can run out first.
#
# ## Exercises
#
# **1.** Your cluster gives you 4 TB and ten million files. Which of the two data sets can you extract, and how do you train on the other one?
#
# <details><summary>Solution</summary>
#
# ```python
# for data in (K700, SSV2):
#     print(data.name, data.files / 1e6, data.files <= 10e6)
# share = 10e6 / K700.files
# print(f"{share:.1%} of Kinetics-700: {int(700 * share)} whole classes of 700")
# ```
# ```text
# Kinetics-700 145.07925 False
# Something-Something V2 9.29712 True
# 6.9% of Kinetics-700: 48 whole classes of 700
# ```
# Something-Something V2 fits: 9.3 million files, 0.25 TB at `-q:v 2`. The frames of Kinetics-700 do not, but its 0.6 million videos do (0.37 TB in the 340 x 256 copy, 1.05 TB at 720 lines). Both together are 9.9 million files, if the 0.2 million videos of Something-Something V2 are deleted after extraction. So extract Something-Something V2, and train on Kinetics straight from its videos. Extracting a part of Kinetics helps little: alone on the disk, 48 of its 700 classes would fit. A lower frame rate does not help either: at a quarter of it there are still 36 million files.
#
# </details>
#
# **2.** Measure the $c$ of (8.5) on your machine without a GPU, with the loader alone.
#
# <details><summary>Solution</summary>
#
# ```python
# from hitagu_lib.data.dataset import ClipDataset
# from hitagu_lib.data.source import open_lists
# from hitagu_lib.config import load_config
# import time
#
# cfg = load_config("params/mini.yaml")  # or your own file; for videos add "data.source=video data.root=videos"
# dataset = ClipDataset(open_lists(cfg.data)[0], cfg.data, train=True)
# started = time.process_time()
# for row in range(200):
#     dataset[0, row]
# print((time.process_time() - started) / 200, "core-seconds per clip")
# ```
# Processor time leaves out waiting for the disk. To see that too, time a first and a second pass with `time.perf_counter()`: the second time the files come from memory. With 50 clips per second of a GPU, 0.04 core-seconds per clip are two cores per GPU.
#
# </details>
#
# **3.** Train on the mini set with `params/smoke.yaml`, in two processes and with one, at the same global batch, and compare `train_cross_entropy` of the two runs epoch by epoch. Why do they differ at all?
#
# <details><summary>Solution</summary>
#
# ```bash
# torchrun --standalone --nproc_per_node 2 -m hitagu_lib train \
#     --params params/smoke.yaml --overrides "run=outputs/two train.batch_size=8 train.epochs=3"
# hitagu train \
#     --params params/smoke.yaml --overrides "run=outputs/one train.batch_size=16 train.epochs=3"
# ```
# Each step has the same clips, but BatchNorm's statistics are over 8 clips in one case and 16 in the other, and dropout draws other masks. `model.backbone.frozen_bn=true` removes one source of the difference; the BatchNorms of MDE and 3STU still learn theirs.
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
# <details><summary>b) The clips that are seen in an epoch</summary>
#
# No, except perhaps the few clips of an incomplete last step.
#
# </details>
#
# <details><summary>c) The recipe: half the clips per step, at half the rate, and twice the steps</summary>
#
# Yes. By the rule of proportion the two trainings come out about alike. About alike is not the same run, so write it down.
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
# <details><summary>b) Look at <code>df -i</code>: the inodes are gone; another file system, or train from the videos (<code>data.source: video</code>)</summary>
#
# Yes. Once there is room, the same command resumes the extraction.
#
# </details>
#
# <details><summary>c) Restart the machine</summary>
#
# No: the inodes stay in use.
#
# </details>
#
# **The GPUs are busy a third of the time. Which measurement first?**
#
# <details><summary>a) The training step without a loader, and the loader without a training step</summary>
#
# Yes: two numbers in clips per second, and the smaller one is the bottleneck. Then (8.5) says how many cores are missing.
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
# It changes what a step learns, not how long the step takes.
#
# </details>
#
# ## Next
#
# [Chapter 9](09_reproduction.ipynb) says what to report of such a run, beside whose numbers and with which deviations. There is no run to report yet.
#
# **References.** Lin et al., [*TSM: Temporal Shift Module for Efficient Video Understanding*](https://arxiv.org/abs/1811.08383), ICCV 2019.
# Wang et al., [*TDN: Temporal Difference Networks for Efficient Action Recognition*](https://arxiv.org/abs/2012.10071), CVPR 2021. Goyal et
# al., [*Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour*](https://arxiv.org/abs/1706.02677), 2017. Carreira et al., [*A Short
# Note on the Kinetics-700 Human Action Dataset*](https://arxiv.org/abs/1907.06987), 2019. Goyal et al., [*The "something something" video
# database*](https://arxiv.org/abs/1706.04261), ICCV 2017. Ioffe and Szegedy, [*Batch Normalization*](https://arxiv.org/abs/1502.03167),
# ICML 2015. Wen et al., [*A Discriminative Feature Learning Approach for Deep Face
# Recognition*](https://doi.org/10.1007/978-3-319-46478-7_31), ECCV 2016.
