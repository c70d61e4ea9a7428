#!/usr/bin/python3
"""activations.py - compiled SALU, SWALU and GALU against tests/oracle/activations.csv, whose README states the bounds.

Values come from inference programs, the activation alone (plain and with channels) and fused behind a 1x1 convolution of
weight 1. Derivatives come from training programs. The loss of two classes sees sum(s y) with known, tiny s, so that the
gradient of a parameter is a known factor times a derivative of one y: by x through a shift in front of the
activation (or the bias of the convolution), by a and b where these are one per channel, and for single a and b with one s
that is not zero.
"""

import csv
import os
import sys

from lib import (QUICK, ROOT, TARGETS, compile_net, end, golden_io, infer, note, np, require, run, runnable_targets, test,
                 work)

FOLDER = work("activations")
NAMES = ("salu", "swalu", "galu")
PER_CHANNEL = """
activation salu_c (x; a: channel > 0 = 1, b: channel > 0 = 1) = a*x / sqrt(1 + a*b*x^2)
activation swalu_c(x; a: channel > 0 = 1, b: channel > 0 = 1) = x/2 * (1 + salu_c(x, a, b))
activation galu_c (x; a: channel > 0 = 1, b: channel > 0 = 1) = x/2 * (1 + salu_c(sqrt(2/pi) * (x + 0.044715*x^3), a, b))
"""
FORMS = {
    "alone": ("[N, {k}]", "x |> {act} as act"),
    "channels": ("[N, {k}, 1, 1]", "x |> {act} as act |> flatten"),
    "fused": ("[N, {k}, 1, 1]", "x |> conv({k}, 1, bias = true) as c |> {act} as act |> flatten"),
}
TRAINED = {
    "shifted": "x |> shift as shift |> {act} as act |> flatten |> linear(2) as out",
    "fused": "x |> conv({k}, 1, bias = true) as c |> {act} as act |> flatten |> linear(2) as out",
}
SHIFT = "block shift(x) {\n  param p: f32[x.channels] = zeros\n  return x + p\n}\n"
TRAIN = "train Net {\n  loss cross_entropy\n  optimizer sgd(lr = 0)\n  epochs 1\n  seed 1\n}\n"
MIN_NORMAL = 2.0 ** -126


def oracle():
    """{(a, b): {column: float64 array}}"""
    groups = {}
    with open(os.path.join(ROOT, "tests", "oracle", "activations.csv")) as source:
        for row in csv.DictReader(source):
            groups.setdefault((float(row["a"]), float(row["b"])), []).append({k: float(v) for k, v in row.items()})
    return {pair: {key: np.array([row[key] for row in rows]) for key in rows[0]} for pair, rows in groups.items()}


def ulp(value):
    """Spacing of float32 numbers around |value|, for any double."""
    exponent = np.floor(np.log2(np.maximum(np.abs(value), MIN_NORMAL)))
    return np.maximum(2.0 ** (exponent - 23), 2.0 ** -149)


def worst(got, want, bound, x, what):
    """Requires abs(got - want) <= bound wherever want is finite, and nothing but numbers there."""
    finite = np.isfinite(want)
    wild = finite & ~np.isfinite(got)
    require(not wild.any(), f"{what}: {got[wild][:1]} at x = {x[wild][:1]}, expected {want[wild][:1]}")
    require(not np.isnan(got).any(), f"{what}: NaN at x = {x[np.isnan(got)][:1]}")
    ratio = np.where(finite, np.abs(got - np.where(finite, want, 0)) / bound, 0)
    at = int(ratio.argmax())
    require(ratio[at] <= 1, f"{what}: {got[at]:.9g} at x = {x[at]:.9g}, expected {want[at]:.9g} "
            f"({ratio[at]:.3g} of the bound; {int((ratio > 1).sum())} of {ratio.size} are outside)")


def value_bound(act, columns, a, b, strict):
    size = columns["salu"] if act == "salu" else magnitude(act, columns, a, b)
    bound = 4 * ulp(size)
    if not strict:                                            # estimates with a Newton step; denormals may be zero
        bound = 2 * bound + MIN_NORMAL * max(1, a)
    return bound


def write_net(name, shape, body, k, act, trained=False):
    path = os.path.join(FOLDER, name + ".snet")
    with open(path, "w") as out:
        out.write(PER_CHANNEL + SHIFT)
        out.write(f"network Net(x: f32{shape.format(k=k)}) {{\n  return {body.format(k=k, act=act)}\n}}\n")
        out.write(TRAIN if trained else "")
    return path


def identity(k):
    return {"c.weight": np.eye(k, dtype=np.float32).reshape(k, k, 1, 1), "c.bias": np.zeros(k, np.float32)}


def scalar(value):
    return np.array([value], np.float32)


# ---- values ----

def check_values(table, act, form, options, strict):
    shape, body = FORMS[form]
    k = len(next(iter(table.values()))["x"])
    name = f"{act}-{form}-{'-'.join(o.split('=')[1] for o in options)}"
    label = f"{act} {form} {' '.join(options)}"
    program = None
    with test(f"{label} compiles"):
        net = write_net(name, shape, body, k, act)
        program = compile_net(net, os.path.join(FOLDER, name), *options)
    if not program:
        return
    weights = os.path.join(FOLDER, "w.safetensors")
    with test(f"{label} values"):
        for (a, b), columns in table.items():
            tensors = {"act.a": scalar(a), "act.b": scalar(b), **(identity(k) if form == "fused" else {})}
            golden_io.write_safetensors(weights, tensors)
            x = columns["x"].astype(np.float32).reshape(1, k, *([1, 1] if form != "alone" else []))
            y = infer(program, weights, x, FOLDER).ravel().astype(np.float64)
            worst(y, columns[act], value_bound(act, columns, a, b, strict), columns["x"], f"a = {a:g}, b = {b:g}")


# ---- derivatives ----

def step_gradients(program, tensors, x):
    """Gradients of one training step on one image of class 0."""
    weights, images, labels, dump = (os.path.join(FOLDER, n) for n in ("w.safetensors", "i.npy", "l.npy", "g.safetensors"))
    golden_io.write_safetensors(weights, tensors)
    np.save(images, x)
    np.save(labels, np.zeros(1, np.int64))
    run([program, "--data", f"npy:{images},{labels}", "--weights", weights, "--steps", 1, "--lr", 0, "--no-augment",
         "--no-shuffle", "--label-smoothing", 0, "--dump-gradients", dump, "--threads", 1])
    return golden_io.read_safetensors(dump)[0]


def magnitude(act, columns, a, b):
    """What errors of an activation are measured by; y itself may be far smaller where its terms cancel."""
    s = np.sqrt(a / b)
    return np.full_like(columns["x"], s) if act == "salu" else np.abs(columns["x"]) * (1 + s) / 2


def training_size(act, columns, a, b):
    """The magnitude; infinite where y or a derivative may be, which would leave no loss or no step."""
    size = magnitude(act, columns, a, b)
    slopes = np.max([np.abs(columns[f"{act}_{key}"]) for key in ("dx", "da", "db")], axis=0)
    return np.where(slopes < 1e37, size, np.inf)


def shrink(size):
    """Powers of two s with s size below 1/256; 0 where size leaves float32."""
    usable = size < 1e38
    exponent = np.floor(np.log2(1 / 256 / np.maximum(np.where(usable, size, 1), 1)))
    return np.where(usable, 2.0 ** exponent, 0)


def image(columns, size):
    """All x as one image; 0 for those that cannot be trained with."""
    return np.where(size < 1e38, columns["x"], 0).astype(np.float32).reshape(1, -1, 1, 1)


def factor(s, y):
    """dL/dy / s: what the gradient of the first logit is, for label 0 and logits (sum(s y), 0)."""
    logit = float(np.sum(np.where(s > 0, s * np.where(s > 0, y, 0), 0)))
    return 1 / (1 + np.exp(-logit)) - 1


def parameter_bound(want, x, a):
    return np.maximum(1e-5 * np.maximum(1, np.abs(x)) * max(1, a), 1.3e-6 * np.abs(np.where(np.isfinite(want), want, 0)))


def trained_tensors(form, k, s, a, b):
    out = np.zeros((2, k), np.float32)
    out[0] = s
    tensors = {"act.a": a, "act.b": b, "out.weight": out, "out.bias": np.zeros(2, np.float32)}
    return {**tensors, **(identity(k) if form == "fused" else {"shift.p": np.zeros(k, np.float32)})}


def compile_trained(act, form, per_channel, options, k):
    name = f"{act}-train-{form}-{'c' if per_channel else 's'}-{'-'.join(o.split('=')[1] for o in options)}"
    net = write_net(name, "[N, {k}, 1, 1]", TRAINED[form], k, act + ("_c" if per_channel else ""), True)
    return compile_net(net, os.path.join(FOLDER, name), "--train", "--batch", 1, *options)


def check_derivatives(table, act, form, options):
    """By x, a and b, with a and b of every channel their own: all x of a pair at once."""
    k = len(next(iter(table.values()))["x"])
    label = f"{act} {form} {' '.join(options)}"
    program = None
    with test(f"{label} compiles for training"):
        program = compile_trained(act, form, True, options, k)
    if not program:
        return
    verdicts = {"dx": [], "da": [], "db": []}
    with test(f"{label} steps"):
        for (a, b), columns in table.items():
            size = training_size(act, columns, a, b)
            s = shrink(size)
            full = np.full(k, 1, np.float32)
            tensors = trained_tensors(form, k, s, full * np.float32(a), full * np.float32(b))
            g = step_gradients(program, tensors, image(columns, size))
            scale = factor(s, columns[act]) * np.where(s > 0, s, 1)
            for key, tensor in (("dx", "c.bias" if form == "fused" else "shift.p"), ("da", "act.a"), ("db", "act.b")):
                want = np.where(s > 0, columns[f"{act}_{key}"], np.inf)
                verdicts[key].append((a, b, columns["x"], g[tensor].astype(np.float64) / scale, want))
    for key, rows in verdicts.items():
        with test(f"{label} {key}"):
            require(rows, "no gradients")
            for a, b, x, got, want in rows:
                bound = np.full(k, 1e-5 * max(1, a)) if key == "dx" else parameter_bound(want, x, a)
                worst(np.where(np.isfinite(want), got, 0), want, bound, x, f"a = {a:g}, b = {b:g}")


def check_single(table, act, options):
    """By the single a and b of a placement: one x at a time counts."""
    k = len(next(iter(table.values()))["x"])
    label = f"{act} single {' '.join(options)}"
    program = None
    with test(f"{label} compiles for training"):
        program = compile_trained(act, "fused", False, options, k)
    if not program:
        return
    with test(f"{label} da, db"):
        for (a, b), columns in list(table.items())[:: 6 if QUICK else 2]:
            size = training_size(act, columns, a, b)
            for at in range(3, k, 60 if QUICK else 25):
                s = np.where(np.arange(k) == at, shrink(size), 0)
                if s[at] == 0:
                    continue
                g = step_gradients(program, trained_tensors("fused", k, s, scalar(a), scalar(b)), image(columns, size))
                scale = factor(s, columns[act]) * s[at]
                for key in ("a", "b"):
                    want = columns[f"{act}_d{key}"][at:at + 1]
                    worst(g[f"act.{key}"].astype(np.float64).ravel() / scale, want,
                          parameter_bound(want, columns["x"][at:at + 1], a), columns["x"][at:at + 1],
                          f"d{key}, a = {a:g}, b = {b:g}")


def main():
    table = oracle()
    acts = sys.argv[1:] or NAMES
    able = runnable_targets(("avx2",)) if QUICK else runnable_targets(("portable", "avx2", "avx512"))
    for act in acts:
        for form in FORMS:
            for target in able:
                check_values(table, act, form, ["--math=strict", f"--target={target}"], True)
            check_values(table, act, form, ["--math=fast", "--target=native"], False)
        for target in able[-1:] if QUICK else [able[0], able[-1]]:
            for form in TRAINED:
                check_derivatives(table, act, form, ["--math=strict", f"--target={target}"])
        check_single(table, act, ["--math=strict", f"--target={able[-1]}"])
    note(f"{len(table)} pairs (a, b), targets {', '.join(able)} of {', '.join(TARGETS)}")
    end()


if __name__ == "__main__":
    main()
