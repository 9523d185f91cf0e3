"""Evaluation, separate from training.

protocols.py    which frames and crops of a video are its views
scores.py       what a score is; one clip per video, as in validation during training; frames in another order
multi_view.py   several views per video, each distinct picture encoded once
score_list.py   every video of a list by its views, in several processes; resume.py continues an evaluation that was stopped
evaluate.py     `hitagu evaluate`: a list, or one video, to a result folder (results.py) with its measures (metrics.py)
mcnemar.py      `hitagu report compare`: two result folders, video by video
folds.py        `hitagu report folds`: several folds together, with intervals over groups
reproduction.py `hitagu report reproduction`: runs beside published numbers
faithfulness.py deletion curves: can an attention map be trusted?
linear_probe.py what a linear classifier reads off features
seeds.py        published runs of several methods and seeds, and tables of them
"""
