#!/usr/bin/python3
"""parity.py [CASE...] - compiled networks against PyTorch's numbers (tests/goldens).

Every case is compiled for inference and for training with a batch of 16, and run with 1, 3 and 16 images: logits of
the inference program, gradients, states and loss of the training program. Some cases are compiled with other batches,
targets and strict arithmetic as well, and some evaluated by the interpreter.
"""

import json
import os
import sys

from lib import GOLDENS, MODELS, QUICK, SALUNC, Failure, compile_net, end, note, require, run, runnable_targets, test, work

COMPARE = os.path.join(GOLDENS, "compare.py")
UNPACK = os.path.join(GOLDENS, "unpack.py")
FOLDER = work("parity")
INTERPRETED = ["vit-salu", "vit-layernorm"]
STILL = {"rescalenet": ["dropout=0", "channel_dropout=0"]}


def compare(what, got, expect):
    try:
        run([sys.executable, COMPARE, what, got, expect])
    except Failure as failure:
        raise Failure(str(failure).split(": ", 1)[-1]) from None


def check_inference(case, base, program, batches):
    for n in batches:
        with test(f"{case} logits n={n}"):
            out = f"{base}.y.npy"
            run([program, "--weights", f"{base}.weights.safetensors", "--input", f"{base}.n{n}.input.npy", "--output", out])
            compare("logits", out, f"{base}.n{n}.expect.safetensors")


def last_loss(log):
    with open(log) as lines:
        return float.fromhex(json.loads(lines.readlines()[-1])["loss_hex"])


def check_run(case, base, program, n, step):
    name = f"n{n}.step{step}"
    stem, expect = f"{base}.{name}", f"{base}.{name}.expect.safetensors"
    trained = False
    with test(f"{case} {name} trains"):
        for old in (f"{stem}.g.safetensors", f"{stem}.w.safetensors", f"{stem}.steps"):
            if os.path.exists(old):
                os.remove(old)
        run([program, "--data", f"npy:{stem}.images.npy,{stem}.labels.npy", "--weights", f"{base}.weights.safetensors",
             "--batch", n, "--steps", step + 1, "--no-augment", "--no-shuffle", "--lr", 0, "--label-smoothing", 0.1,
             "--dump-gradients", f"{stem}.g.safetensors", "--save", f"{stem}.w.safetensors", "--batch-log", f"{stem}.steps"])
        trained = True
    if not trained:
        return
    with test(f"{case} {name} loss"):
        compare("loss", last_loss(f"{stem}.steps"), expect)
    with test(f"{case} {name} gradients"):
        compare("gradients", f"{stem}.g.safetensors", expect)
    with test(f"{case} {name} states"):
        compare("states", f"{stem}.w.safetensors", expect)


def check_interpreter(case, net, given, n):
    base = os.path.join(FOLDER, case)
    evaluate = [SALUNC, "eval", net, *given, "--batch", n, "--weights", f"{base}.weights.safetensors"]
    with test(f"{case} interpreted logits n={n}"):
        run([*evaluate, "--input", f"{base}.n{n}.input.npy", "--output", f"{base}.y.npy"])
        compare("logits", f"{base}.y.npy", f"{base}.n{n}.expect.safetensors")
    with test(f"{case} interpreted gradients n={n}"):
        images = f"{base}.n{n}.step0"
        run([*evaluate, "--input", f"{images}.images.npy", "--labels", f"{images}.labels.npy", "--gradients", f"{base}.g.safetensors"])
        compare("gradients", f"{base}.g.safetensors", f"{images}.expect.safetensors")


def check_case(case, model, options, runs, batch, extra, label, batches):
    base = os.path.join(FOLDER, case)
    net = os.path.join(MODELS, model + ".snet")
    given = [part for option in [*options.split(), *STILL.get(model, [])] for part in ("-D", option)]
    arguments = [*given, *extra, "--batch", batch]
    program = None
    with test(f"{label} compiles"):
        program = compile_net(net, f"{base}.infer", *arguments)
    if program:
        check_inference(label, base, program, batches)
    program = None
    with test(f"{label} compiles for training"):
        program = compile_net(net, f"{base}.train", "--train", *arguments)
    if program:
        for n, step in runs:
            if n <= batch:
                check_run(label, base, program, n, step)


def variants(case):
    """What a case is compiled with besides the default: (label, batch, options)."""
    able = runnable_targets(("portable", "avx2"))
    return {"resnet18-salu": [("strict portable", 16, ["--math=strict", "--target=portable"]), ("batch 3", 3, [])],
            "rescale50-groups": [("avx2", 16, ["--target=avx2"])] if "avx2" in able else [],
            "vit-salu": [("strict portable", 16, ["--math=strict", "--target=portable"]), ("batch 3", 3, [])],
            "vit-layernorm": [("avx2", 16, ["--target=avx2"])] if "avx2" in able else [],
            "vgg19-none": [("openblas", 16, ["--blas=openblas"])]}.get(case, [])


def main():
    listed = [line.split("\t") for line in run([UNPACK, "--list"]).splitlines()]
    wanted = sys.argv[1:] or (["resnet18-salu"] if QUICK else [row[0] for row in listed])
    for case, model, options, _, batches, runs in listed:
        if case not in wanted:
            continue
        run([UNPACK, case, FOLDER])
        sizes = [int(n) for n in batches.split(",")]
        pairs = [tuple(map(int, pair.split(":"))) for pair in runs.split(",")]
        check_case(case, model, options, pairs, 16, [], case, sizes)
        if case in INTERPRETED and not QUICK:
            check_interpreter(case, os.path.join(MODELS, model + ".snet"), [part for option in options.split() for part in ("-D", option)], 3)
        for label, batch, extra in [] if QUICK else variants(case):
            some = [pair for pair in pairs if pair[0] <= batch][-2:]
            check_case(case, model, options, some, batch, extra, f"{case} {label}", sizes)
    missing = [case for case in wanted if case not in [row[0] for row in listed]]
    for case in missing:
        with test(case):
            require(False, "there is no such case")
    if QUICK:
        note("quick: one case of " + str(len(listed)))
    end()


if __name__ == "__main__":
    main()
