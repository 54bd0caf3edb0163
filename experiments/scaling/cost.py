#!/usr/bin/env python3
"""What COCO and Conceptual Captions may cost: prints the tables of README.md. Every assumption is a name here.

No GPU was at hand: speeds of GPUs and networks are their makers' with a share that is assumed to be reached.
"""

# Data
COCO_CAPTIONS, COCO_PICTURES = 566_747, 113_287  # Karpathy's training split
CC3M_PICTURES = 3_300_000  # a caption each
CAPTION_TOKENS, PREFIX = 12, 10
EPOCHS = {"COCO": 10, "CC3M": 10}  # ClipCap's
# Models
GPT2, MAPPER = 124.4e6, 31.5e6  # weights of GPT-2 small and of the MLP from 768 to 10 vectors of 768
VIT_L14_OPERATIONS = 2 * 81e9  # a picture of 224x224
DIMENSION = 768
# One GPU: an H100
TRAINING_SPEED = 495e12 * 0.25  # TF32, a quarter reached
PRECOMPUTE_SPEED = 989e12 * 0.4  # f16, two fifths reached
LAUNCH_SECONDS = 0.005  # of a step's kernels, whatever the batch
CORES_PER_GPU, DECODE_SECONDS = 16, 0.0021  # a picture of 500x375: `capsmith bench precompute`, README
# Between GPUs: bytes a second that a ring reaches, within a machine of 8 and beyond
NVLINK, NETWORK = 300e9, 40e9
# What was measured here
SENT_OVER_LEAST = 1.002  # tests/clusters/namespaces.sh


def all_reduce(gpus):
    if gpus == 1:
        return 0.0
    speed = NVLINK if gpus <= 8 else NETWORK
    return SENT_OVER_LEAST * 2 * (gpus - 1) / gpus * 4 * (GPT2 + MAPPER) / speed


def step(captions, gpus):
    """Seconds to compute a GPU's share, and in all: sending is hidden behind the backward pass, two thirds of the computing."""
    operations = 6 * GPT2 * (CAPTION_TOKENS + PREFIX) * captions / gpus
    compute = operations / TRAINING_SPEED + LAUNCH_SECONDS
    return compute, compute + max(0.0, all_reduce(gpus) - compute * 2 / 3)


def shown(seconds):
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


print("| training, 10 epochs | 1 GPU | 8 GPUs | 64 GPUs |\n| --- | --- | --- | --- |")
for name, captions in (("COCO", COCO_CAPTIONS), ("CC3M", CC3M_PICTURES)):
    for label, batch in (("batches of 40 in all", lambda gpus: 40), ("40 captions a GPU", lambda gpus: 40 * gpus)):
        cells = []
        for gpus in (1, 8, 64):
            if batch(gpus) < gpus:
                cells.append("more GPUs than captions in a batch")
                continue
            steps = captions * EPOCHS[name] / batch(gpus)
            cells.append(shown(steps * step(batch(gpus), gpus)[1]))
        print(f"| {name}, {label} | {' | '.join(cells)} |")
print("\n| a step of 40 captions a GPU | 1 GPU | 8 GPUs | 64 GPUs |\n| --- | --- | --- | --- |")
print("| computing | " + " | ".join(f"{step(40 * g, g)[0] * 1e3:.1f} ms" for g in (1, 8, 64)) + " |")
print("| summing gradients, if nothing hid it | " + " | ".join(f"{all_reduce(g) * 1e3:.1f} ms" for g in (1, 8, 64)) + " |")
print("| in all | " + " | ".join(f"{step(40 * g, g)[1] * 1e3:.1f} ms" for g in (1, 8, 64)) + " |")
print("\n| embeddings by ViT-L/14 | 1 GPU | 8 GPUs | 64 GPUs | file |\n| --- | --- | --- | --- | --- |")
for name, pictures in (("COCO", COCO_PICTURES), ("CC3M", CC3M_PICTURES)):
    gpu = pictures * VIT_L14_OPERATIONS / PRECOMPUTE_SPEED
    cores = pictures * DECODE_SECONDS / CORES_PER_GPU
    cells = [shown(max(gpu, cores) / gpus) for gpus in (1, 8, 64)]
    print(f"| {name}, {pictures:,} pictures | {' | '.join(cells)} | {pictures * DIMENSION * 4 / 1e9:.1f} GB |")
print(f"\nDecoding takes {DECODE_SECONDS / CORES_PER_GPU / (VIT_L14_OPERATIONS / PRECOMPUTE_SPEED) * 100:.0f} % of the tower's time with {CORES_PER_GPU} cores a GPU, so the tower bounds.")
