#!/usr/bin/python3
"""bits.py - the same bits: weights after 20 training steps with 1, 2 and 8 threads, with gcc and clang (strict), twice over;
logits too, whatever the number of images of a call, and in strict arithmetic whatever the batch compiled in."""

import os

from lib import DIGITS, MODELS, QUICK, compile_net, defines, end, infer, np, require, run, runnable_targets, test, work

FOLDER = work("bits")
STEPS = 20
NETS = {
    "smallnet": ({}, 32, 1),
    "resnet18": ({"width": 4}, 16, 3),
    "plain": ({"width": 4}, 16, 3),
    "vit": ({"dim": 36, "depth": 2, "heads": 3}, 16, 3),
    "rescalenet": ({"width": 2, "size": 64, "classes": 7, "groups": 2, "base_width": 32}, 8, 3),
}


# ResNet18 without clipping: its weights are updated where their gradients are made.
PLAIN = f"""use "{os.path.join(MODELS, "resnet18.snet")}"

variant Plain of ResNet18 {{ }}

train Plain {{
  loss      cross_entropy
  optimizer sgd(lr = 0.05, momentum = 0.9, nesterov = true, weight_decay = 5e-4)
  epochs    1
}}
"""


def source_of(name):
    if name != "plain":
        return os.path.join(MODELS, f"{name}.snet"), ()
    path = os.path.join(FOLDER, "plain.snet")
    with open(path, "w") as file:
        file.write(PLAIN)
    return path, ("--network", "Plain")


def read(path):
    with open(path, "rb") as source:
        return source.read()


def data_of(name):
    """digits for smallnet, augmented by its recipe; else random pictures."""
    if name == "smallnet":
        return DIGITS
    random = np.random.default_rng(5)
    size, classes = (64, 7) if name == "rescalenet" else (32, 10)
    images, labels = os.path.join(FOLDER, f"{name}.images.npy"), os.path.join(FOLDER, f"{name}.labels.npy")
    np.save(images, random.integers(0, 256, (100, 3, size, size)).astype(np.uint8))
    np.save(labels, random.integers(0, classes, 100))
    return f"npy:{images},{labels}"


def train(name, program, tag, threads):
    """Weights, as bytes, and the log of steps after STEPS steps (of 100 images: one short batch among them)."""
    stem = os.path.join(FOLDER, f"{name}-{tag}-{threads}")
    run([program, "--data", data_of(name), "--steps", STEPS, "--seed", 3, "--threads", threads, "--save", f"{stem}.safetensors",
         "--batch-log", f"{stem}.steps", "--checkpoint", f"{stem}.checkpoint"])
    return read(f"{stem}.safetensors"), read(f"{stem}.steps")


def check_same(label, first, second):
    with test(label):
        require(first is not None and second is not None, "one of the two did not run")
        require(first[1] == second[1], "the losses differ: " + next((f"{a} <> {b}" for a, b in zip(
            first[1].decode().splitlines(), second[1].decode().splitlines()) if a != b), "in number"))
        require(first[0] == second[0], "the weights differ")


def check_training(name, math, compilers):
    options, batch, _ = NETS[name]
    results = {}
    for compiler in compilers:
        with test(f"{name} {math} {compiler} trains"):
            source, network = source_of(name)
            program = compile_net(source, os.path.join(FOLDER, f"{name}-{math}-{compiler}"), "--train", *network, "--batch", batch,
                                  f"--math={math}", *defines(options), env={"CC": compiler})
            for threads in (1, 2, 8):
                results[compiler, threads] = train(name, program, f"{math}-{compiler}", threads)
            results[compiler, "again"] = train(name, program, f"{math}-{compiler}-again", 2)
    for compiler in compilers:
        for threads in (2, 8):
            check_same(f"{name} {math} {compiler}: {threads} threads as 1", results.get((compiler, 1)), results.get((compiler, threads)))
        check_same(f"{name} {math} {compiler}: run after run", results.get((compiler, 2)), results.get((compiler, "again")))
    if math == "strict" and len(compilers) > 1:
        check_same(f"{name} strict: {compilers[0]} as {compilers[1]}", *(results.get((compiler, 1)) for compiler in compilers))
    return results.get((compilers[0], 1))


def check_logits(name, trained, target):
    options, batch, channels = NETS[name]
    weights = os.path.join(FOLDER, f"{name}-trained.safetensors")
    with open(weights, "wb") as out:
        out.write(trained[0])
    size = {"smallnet": 28, "rescalenet": 64}.get(name, 32)
    x = np.random.default_rng(6).normal(size=(7, channels, size, size)).astype(np.float32)

    def logits(compiler, capacity, threads, images, math="strict", piece=0):
        tag = f"{name}-infer-{math}-{compiler}-{capacity}-{piece}-{target}"
        program = os.path.join(FOLDER, tag)
        if not os.path.exists(program):
            source, network = source_of(name)
            compile_net(source, program, *network, "--batch", capacity, f"--math={math}", f"--target={target}", *defines(options),
                        *(["--piece", piece] if piece else []), env={"CC": compiler})
        return infer(program, weights, images, FOLDER, "--threads", threads)

    with test(f"{name} logits {target} strict: threads, compilers, batch"):
        want = logits("gcc", 7, 1, x)
        for compiler, capacity, threads in (("gcc", 7, 2), ("gcc", 7, 8), ("clang", 7, 2), ("gcc", 1, 2), ("clang", 16, 1)):
            got = logits(compiler, capacity, threads, x)
            require(got.tobytes() == want.tobytes(), f"{compiler}, batch {capacity}, {threads} threads differ by {np.abs(got - want).max():.3g}")
        for compiler, piece in (("gcc", 3), ("clang", 7)):
            require(logits(compiler, 7, 2, x, piece=piece).tobytes() == want.tobytes(), f"{compiler}, {piece} images at a time: others")
    with test(f"{name} logits {target} fast: threads, images of a call"):
        want = logits("gcc", 7, 1, x, "fast")
        require(logits("gcc", 7, 8, x, "fast").tobytes() == want.tobytes(), "8 threads differ")
        require(logits("gcc", 7, 2, x[:3], "fast").tobytes() == want[:3].tobytes(), "3 images of a call differ")


def main():
    names = ["smallnet"] if QUICK else list(NETS)
    for name in names:
        trained = check_training(name, "strict", ("gcc", "clang"))
        check_training(name, "fast", ("gcc",) if name != "smallnet" else ("gcc", "clang"))
        if trained:
            for target in runnable_targets(("avx2",) if QUICK or name == "rescalenet" else ("portable", "avx512")):
                check_logits(name, trained, target)
    end()


if __name__ == "__main__":
    main()
