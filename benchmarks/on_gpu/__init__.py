"""Everything that waits for a GPU, in one command, in jobs of a few minutes, the most valuable first:

    python -m benchmarks.on_gpu [--minutes 8] [--out outputs/published/gpu]
    python -m benchmarks.on_gpu --toy            # the same jobs at toy size on the CPU: do they all run?

    checks       does CUDA compute what the CPU computes? fp32, bf16, fp16, the 3STU's forms, compiled, resume, scaler, SyncBatchNorm
    steps        R50, 8 x 224 x 224: forward and training step of HiTAGU-Net beside the backbone, TSN, TSM and GRU, eager and compiled
    stu          the forms of the 3STU, as it is and banded, beside nn.GRU, at T = 8, 16 and 64
    batches      batch size against memory and clips per second
    loader       clips per second of the loader, by the number of its processes
    train-hard, train-memory, train-mini
                 the methods on that set, five seeds each
    ablations    the first ablations of mini at 112 pixels, five seeds

A job that no longer fits into --minutes is left for the next call with the same --out, which keeps what is there: jobs run in processes
of their own, and each writes its result to <out>/<piece>.json and <piece>.md as soon as it has one. A job that fails is tried again.
No network, no ffmpeg and no data are needed: what is trained on is drawn here. Of the library's dependencies the pieces need, besides
torch and torchvision, what `PIECES` in runner.py lists; what is missing is named, and the other pieces run.
"""
