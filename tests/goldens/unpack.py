#!/usr/bin/python3
"""Turns goldens into plain files, named as README.md lists them.

usage: unpack.py CASE|all DIR      writes the files of one case, or of all, to DIR
       unpack.py --list            one line per case: name, model, options (as NAME=VALUE), image size, n of inference
                                   (comma-separated), training runs (n:step, comma-separated), separated by tabs

Needs numpy only.
"""

import os
import sys

import numpy as np

import golden_io

HERE = os.path.dirname(os.path.abspath(__file__))
BATCHES = (1, 3, 16)


def cases():
    return sorted(name[:-len(".golden")] for name in os.listdir(HERE) if name.endswith(".golden"))


def load(case):
    return golden_io.Golden(os.path.join(HERE, case + ".golden"))


def list_cases():
    for case in cases():
        info = load(case).info
        runs = ",".join(f"{n}:{step}" for n, step, _ in info["runs"])
        print(case, info["model"], info["options"], info["size"], ",".join(map(str, BATCHES)), runs, sep="\t")


def unpack(case, folder):
    golden = load(case)
    info, base = golden.info, os.path.join(folder, case)
    golden_io.write_safetensors(f"{base}.weights.safetensors", golden.weights)
    images = golden_io.images(info["seed"], max(BATCHES), info["size"])
    for n in BATCHES:
        np.save(f"{base}.n{n}.input.npy", images[:n])
        golden_io.write_safetensors(f"{base}.n{n}.expect.safetensors", {"logits": golden.logits[:n]})
    for n, step, seed in info["runs"]:
        run, count = f"n{n}.step{step}", n * (step + 1)
        np.save(f"{base}.{run}.images.npy", golden_io.images(seed, count, info["size"]))
        np.save(f"{base}.{run}.labels.npy", golden_io.labels(seed, count, info["classes"]))
        golden_io.write_safetensors(f"{base}.{run}.expect.safetensors", golden.run(run))


def main():
    arguments = sys.argv[1:]
    if arguments in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    if arguments == ["--list"]:
        list_cases()
        return 0
    if len(arguments) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    case, folder = arguments
    if case != "all" and case not in cases():
        print(f"unpack.py: no case {case}; there are {' '.join(cases())}", file=sys.stderr)
        return 2
    os.makedirs(folder, exist_ok=True)
    for name in cases() if case == "all" else [case]:
        unpack(name, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
