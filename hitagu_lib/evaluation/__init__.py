"""Evaluation, after training and apart from it.

    scores.py     what a score is; one clip a video, as training's validation has it; frames in another order
    views.py      several views a video, each distinct picture encoded once
    scoring.py    every video of a list by its views, in several processes, going on where it stopped (partial.py)
    evaluate.py   `hitagu evaluate`: the list, or one video, to the result folder (results.py) with its measures (metrics.py)
    paired.py     `hitagu report compare`: two result folders, video by video

Which frames and crops the views are: hitagu_lib/evaluation/protocols.py.
"""
