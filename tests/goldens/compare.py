#!/usr/bin/python3
"""Compares a result with a golden and prints the worst tensor and PASS or FAIL (exit code 0 or 1; 2: unusable files).

usage: compare.py logits    GOT.npy          EXPECT.safetensors
       compare.py gradients GOT.safetensors  EXPECT.safetensors
       compare.py states    GOT.safetensors  EXPECT.safetensors
       compare.py loss      NUMBER           EXPECT.safetensors

The tolerances are in README.md. Needs numpy only.
"""

import sys

import numpy as np

import golden_io

LOGITS, GRADIENTS, STATES, LOSS = 1e-4, 1e-3, 1e-4, 1e-5


class Mismatch(Exception):
    """The result cannot be compared: something is missing, superfluous, misshapen or not finite."""


def check(name, got, want):
    scalar = got.size == 1 and want.size == 1
    if got.shape != want.shape and not scalar:
        raise Mismatch(f"{name} has shape {list(got.shape)}, expected {list(want.shape)}")
    if not np.isfinite(got).all():
        raise Mismatch(f"{name} has {np.count_nonzero(~np.isfinite(got))} numbers that are not finite")
    return got.astype(np.float64).ravel(), want.astype(np.float64).ravel()


def compare_logits(got, want):
    """(error as a part of the tolerance, name) of the worst image."""
    flat, flat_want = check("logits", got, want)
    flat, flat_want = flat.reshape(want.shape), flat_want.reshape(want.shape)
    ratios = np.abs(flat - flat_want).max(1) / (LOGITS * np.abs(flat_want).max(1))
    return ratios.max(), f"image {ratios.argmax()}"


def compare_named(got, expect, prefix, tolerance, got_prefix=""):
    """(error as a part of the tolerance, name) of the worst tensor; None where there is nothing to compare."""
    worst = None
    for key, want in expect.items():
        if not key.startswith(prefix):
            continue
        name = key[len(prefix):]
        if got_prefix + name not in got:
            raise Mismatch(f"{name} is missing")
        value, want = check(name, got[got_prefix + name], want)
        scale = float(expect.get("scale." + name, 0)) or np.linalg.norm(want)
        error = np.linalg.norm(value - want)
        ratio = error / (tolerance * scale) if scale > 0 else (0.0 if error == 0 else np.inf)
        worst = max(worst or (ratio, name), (ratio, name))
    return worst


def compare_loss(text, expect):
    want = float(expect["loss"])
    return abs(float(text) - want) / (LOSS * abs(want)), "loss"


def run(what, got, expect):
    expect, _ = golden_io.read_safetensors(expect)
    if what == "logits":
        return compare_logits(np.load(got), expect["logits"])
    if what == "loss":
        return compare_loss(got, expect)
    tensors, _ = golden_io.read_safetensors(got)
    if what == "states":
        return compare_named(tensors, expect, "state.", STATES)
    extra = [name for name in tensors if "grad." + name not in expect]
    if extra:
        raise Mismatch(f"{extra[0]} is no parameter of the golden ({len(extra)} such)")
    return compare_named(tensors, expect, "grad.", GRADIENTS)


def main():
    if len(sys.argv) == 2 and sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        return 0
    if len(sys.argv) != 4 or sys.argv[1] not in ("logits", "gradients", "states", "loss"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        worst = run(*sys.argv[1:])
    except Mismatch as mismatch:
        print(f"FAIL {sys.argv[1]}: {mismatch}")
        return 1
    except (OSError, ValueError, KeyError) as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 2
    if worst is None:
        print(f"PASS {sys.argv[1]}: nothing to compare")
        return 0
    verdict = "PASS" if worst[0] <= 1 else "FAIL"
    print(f"{verdict} {sys.argv[1]}: worst {worst[1]}, {worst[0]:.3g} of the tolerance")
    return 0 if verdict == "PASS" else 1


if __name__ == "__main__":
    sys.exit(main())
