#!/usr/bin/python3
"""accuracy.py DATA PROGRAM WEIGHTS [options of the program...] - accuracy of an inference program on the test images of DATA, a
folder of MNIST's IDX files (.gz too) or CIFAR-10's binary files. Prints `CORRECT of COUNT`; WEIGHTS `-`: embedded."""

import glob
import gzip
import os
import subprocess
import sys
import tempfile

import numpy as np


def read_idx(path, rank):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as source:
        blob = source.read()
    shape = [int.from_bytes(blob[4 + 4 * i:8 + 4 * i], "big") for i in range(rank)]
    return np.frombuffer(blob, np.uint8, offset=4 + 4 * rank).reshape(shape)


def test_images(folder):
    """uint8 [count, channels, height, width] and labels [count]."""
    idx = [sorted(glob.glob(os.path.join(folder, f"t10k-{what}*"))) for what in ("images", "labels")]
    if all(idx):
        return read_idx(idx[0][0], 3)[:, None], read_idx(idx[1][0], 1)
    with open(os.path.join(folder, "test_batch.bin"), "rb") as source:
        rows = np.frombuffer(source.read(), np.uint8).reshape(-1, 3073)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]


def main():
    folder, program, weights = sys.argv[1:4]
    images, labels = test_images(folder)
    with tempfile.TemporaryDirectory() as place:
        x, y = os.path.join(place, "x.npy"), os.path.join(place, "y.npy")
        np.save(x, np.ascontiguousarray(images))
        given = [] if weights == "-" else ["--weights", weights]
        subprocess.run([program, *given, "--input", x, "--output", y, *sys.argv[4:]], check=True)
        logits = np.load(y)
    print(f"{int((logits.argmax(1) == labels).sum())} of {len(labels)}")


if __name__ == "__main__":
    main()
