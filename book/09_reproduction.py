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
# # 9 Reproduction
#
# **Result.** On mini, a rerun of seed 0 lies where other seeds are expected, given the three published ones. It does not repeat the
# published seed 0: that run used one thread, another commit and no loader processes. Threads alone round sums differently, and training
# amplifies such differences. So compare with the range over seeds, never seed with seed. On Kinetics-700 and
# Something-Something V2 nothing is reproduced, because nothing was run: that needs the data and GPUs. This chapter shows the peers' published
# numbers, what a run would cost, and the commands. Whoever runs them fills HiTAGU-Net's rows; nobody types a number into those.
#
# **You will be able to** put your own runs beside published numbers, read what a verdict rests on, and check this book's claims.
#
# **Prerequisites**: chapters [3](03_train.ipynb) and [4](04_evaluate.ipynb). **Time**: a quarter of a minute on two CPU cores; the claims
# take less than five more. **Memory**: 1 GiB.

# %% [markdown]
# > **Given, and ours.** We were given the data sets and the two ways to evaluate. No result of HiTAGU-Net is public, so there is no number of its
# > own to reproduce: compare a result with the peers below that have the same ResNet-50, frames and views.
#
# ## Which runs
#
# The table is made from run folders. These pages show the stored runs that follow a recipe to its end. For yours, run the chapter on your folders:
#
# ```bash
# papermill book/09_reproduction.ipynb outputs/reproduction.ipynb -p runs outputs
# hitagu report reproduction outputs/*      # the same as text; --json for programs
# ```
# This book's own runs, in `outputs/published`, count only if you name a folder inside it.

# %% tags=["parameters"]
# Folders, with commas between them: every run in them counts.
runs = "outputs/published/mini"

# %% tags=["hide-input"]
import os

from IPython.display import Markdown, display

from hitagu_lib.config import check_parameters
from hitagu_lib.evaluation.reproduction import (
    reproduction,
    reproduction_table,
    run_commands,
)
from hitagu_lib.files import project_root

check_parameters(globals(), "runs")
os.chdir(project_root())
found = reproduction(runs.split(","))
for result in found.results:
    print(f"{result.data}, {result.method}: {result.verdict}")

# %% [markdown]
# ## Something-Something V2
#
# Here the order of frames often decides the label: TSN, which is blind to it, stays far behind. GFLOPs are billions of multiply-adds of one
# view. "As quoted" marks a number that we know from later papers and did not read in the project's own table.


# %% tags=["hide-input"]
def show(data):
    """Show a data set's table, and the commands for what was not run."""
    display(Markdown(reproduction_table(found, data)))
    if not found.of(data):
        lines = "\n".join(run_commands(data, found.data[data]))
        display(Markdown(f"```bash\n{lines}\n```"))


show("ssv2")

# %% [markdown]
# ## Kinetics-700
#
# Large pretrained networks lead here, so compare only rows with the same backbone and pretraining. Videos disappear
# from the web every month, so two copies of Kinetics-700 are seldom the same; the report names how many of its clips a run had.

# %% tags=["hide-input"]
show("k700")

# %% [markdown]
# ## Mini and hard
#
# No peer has published anything on the data that this book makes. A run of yours is compared with the book's own, several seeds of each method.

# %% tags=["hide-input"]
show("mini")
show("hard")

# %% [markdown]
# ## What a verdict rests on
#
# - **One result** is all runs that differ in their seed alone. Every other difference makes another row.
# - **Deviations** are the parameters in which a run differs from its recipe, a step with another number of clips, missing or unreadable clips,
#   and code that was not committed. Places, workers and the seed do not count. A result with deviations says so in its verdict.
#   A baseline's recipe has the epochs of the book's own runs of it, which trained for HiTAGU-Net's time: TSN has 8 on mini. The one that chapter 3
#   trains has 4, so its line says "not reproduced", and its deviations name the epochs.
# - **Beside a peer**, a verdict needs at least three seeds. "Above" and "below" mean by more than two standard deviations over the seeds. Three
#   seeds know that deviation only roughly, and the peer's number is one run: take a lead below one point as open. The reference has the same number of views, since views change the accuracy ([chapter 4](04_evaluate.ipynb)).
# - **Beside our own runs**, "reproduced" means that the mean lies where 95 % of reruns with other seeds are expected. With $n$ runs of ours of
#   standard deviation $s$ and $k$ of yours that is within $t\, s \sqrt{1/n + 1/k}$ of our mean, where $t$ is Student's for $n - 1$ degrees of
#   freedom. Three seeds of ours make that range wide: on mini one run may lie 1.8 points away.
# - **Training** is its hours, times the number of processes.
#
# The deviations of the results above:

# %% tags=["hide-input"]
for result in found.results:
    print(f"{', '.join(result.runs)}, commit {', '.join(result.commits)}:")
    for deviation in result.deviations or ["none"]:
        print(f"  {deviation}")
for line in found.left_out:
    print(f"left out: {line}")

# %% [markdown]
# ## For the reviewer
#
# Each line is a claim that the text makes, the command that checks it, the file that it stands on, and the tolerance. `make claims` runs those
# that take less than five minutes together and says which hold. A claim that only averages stored files shows that text and files agree, not that
# a new run would. The claims that train have wide tolerances, since seeds differ. Tests hold the numbers of the other chapters to their files.

# %% tags=["hide-input"]
from experiments.claims import claims_table, read_claims

display(Markdown(claims_table(read_claims())))

# %% [markdown]
# ## Summary
#
# - A reproduction is a table that programs fill from run folders: numbers, seeds, spread, cost, deviations, verdict.
# - A verdict needs a rule that was written down before the run.
# - Nothing on Kinetics-700 or Something-Something V2 has been run; the commands are above.
#
# ## Exercises
#
# **1.** A run of yours has 76.0 % on mini. What does the report say, and what would you look at first?
#
# <details><summary>Solution</summary>
#
# "Not reproduced", with the difference in points. The deviations come first: a changed parameter or a list of another length explains more
# than chance does. If there are none, compare `provenance.json` of both runs: commit, versions, device, fingerprint of the data.
#
# </details>
#
# **2.** Which peers of Something-Something V2 have GFLOPs in the table, and how do those of HiTAGU-Net compare?
#
# <details><summary>Solution</summary>
#
# ```python
# from hitagu_lib.config import load_config
# from hitagu_lib.evaluation.reproduction import read_peers
# from hitagu_lib.models.cost import recipe_cost
#
# recipe = load_config("params/ssv2.yaml")
# budget = recipe_cost(recipe, 174)["total"].gflops  # of one view
# for peer in read_peers()["ssv2"].peers:
#     if peer.gflops is not None:
#         print(f"{peer.name}: {budget / peer.gflops:.2f} of its cost")
# ```
# ```text
# TSM: 1.03 of its cost
# TSM: 0.52 of its cost
# MViTv2-S: 0.53 of its cost
# ```
# TSM has two rows, with 8 frames and with 16.
#
# </details>
#
# ## Quiz
#
# **Three seeds give 60.1, 61.9 and 63.0 %; the reference has 60.2 %. What is the verdict?**
#
# <details><summary>a) Level</summary>
#
# Yes: the difference is smaller than two standard deviations. It does not show that both are equal, only that three seeds cannot tell.
#
# </details>
#
# <details><summary>b) Above: the mean is higher by 1.5 points</summary>
#
# No: two standard deviations over these seeds are 2.9 points.
#
# </details>
#
# <details><summary>c) None: three seeds are too few</summary>
#
# No: the rule asks for three, the least that gives a usable spread. More seeds would make it sharper.
#
# </details>
#
# **Your copy of Kinetics-700 lacks 8 % of the videos. What happens to the verdict?**
#
# <details><summary>a) It is refused</summary>
#
# No: then nobody could report anything on Kinetics.
#
# </details>
#
# <details><summary>b) Nothing</summary>
#
# No: a reader must be able to see that the training and validation sets are not the peer's.
#
# </details>
#
# <details><summary>c) It stands, and says that the run deviates</summary>
#
# Yes: the numbers of clips are among the deviations.
#
# </details>
#
# **Why is a run with 2 x 3 views compared with another reference than a run with one view?**
#
# <details><summary>a) Six views need another network</summary>
#
# No: the weights are the same.
#
# </details>
#
# <details><summary>b) Views change the accuracy</summary>
#
# Yes: six views against one would credit the network with what the protocol gives.
#
# </details>
#
# <details><summary>c) The tables happen to be made so</summary>
#
# No: some tables mix protocols, and are misleading where they do.
#
# </details>
#
# **Next**: [the notation](appendix/notation.md) and the other appendices: a glossary, measured times, how to add a module.
#
# **References.** Lin et al., [*TSM*](https://arxiv.org/abs/1811.08383), ICCV 2019. Wang et al., [*TDN*](https://arxiv.org/abs/2012.10071),
# CVPR 2021. Feichtenhofer et al., [*SlowFast*](https://arxiv.org/abs/1812.03982), ICCV 2019. Bouthillier et al., [*Accounting for Variance
# in Machine Learning Benchmarks*](https://arxiv.org/abs/2103.03098), MLSys 2021.
