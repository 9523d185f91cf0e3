"""Measurements, each beside its peers: `python -m benchmarks.model` and so on, from the repository's root.

model        networks: forward and training step
stu          the three forms of the 3STU, beside nn.GRU
views        scoring many views of a video, with shared and with repeated frames
streaming    a stream, frame by frame: time and memory of 10,000 frames
extraction   videos to frames: speed and size
loader       loading clips from frames and from videos
lists        opening long lists: time and memory
threads      two trainings at once on the same cores
on_gpu       all that waits for a GPU, in one command and in pieces of minutes
"""
