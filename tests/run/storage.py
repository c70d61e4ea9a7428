#!/usr/bin/python3
"""storage.py - --storage=bf16|f16 end to end: the same bits from every compiler, back end, number of threads and capacity, and
within one width from every target; close to the network in float32, as docs/internals.md states; half the prepared memory."""

import os
import shutil

import numpy as np

from lib import (MODELS, QUICK, SALUNC, call, compile_net, defines, draw_weights, end, infer, initial_weights, interpret, require, run,
                 runnable_targets, test, work)
import golden_io

FOLDER = work("storage")
IMAGES = 5
BOUND = {"bf16": 0.03, "f16": 0.004}
CLASSES = {"portable": "portable", "fma128": "fma128", "avx2": "avx2"}


def path(name):
    return os.path.join(FOLDER, name)


def model(name):
    return os.path.join(MODELS, f"{name}.snet")


def prepared(name, options, shape, seed=3):
    """Weights drawn, and images."""
    weights = path(f"{name}.safetensors")
    tensors = initial_weights(model(name), weights, *options, seed=seed)
    golden_io.write_safetensors(weights, draw_weights(tensors, seed))
    return weights, np.random.default_rng(seed).normal(size=(IMAGES, *shape)).astype(np.float32)


def has_llvm():
    return "without LLVM" not in call([SALUNC, "--emit=llvm", os.devnull])[2]


def check_bits(name, options, shape, storage):
    """Strict: every way of making the program gives the bits of the first, within one width of vectors."""
    weights, x = prepared(name, options, shape)
    ways = [("gcc", [], "gcc")] + ([("clang", [], "clang")] if shutil.which("clang") else []) + ([("LLVM", ["--backend=llvm"], "")] if has_llvm() else [])
    first = {}
    for target in runnable_targets(("avx2",) if QUICK else ("portable", "fma128", "avx2", "avx512", "avx512vnni")):
        for way, backend, compiler in ways:
            with test(f"storage {storage} {name}: {target} by {way}"):
                env = {"CC": compiler} if compiler else {}
                program = compile_net(model(name), path(f"{name}-{target}-{way}"), f"--storage={storage}", "--math=strict", f"--target={target}",
                                      "--batch=4", *backend, *options, env=env)
                y = infer(program, weights, x, FOLDER, "--threads", "2")
                one = infer(program, weights, x[:1], FOLDER, "--threads", "1")
                require(np.isfinite(y).all(), "an output is not finite")
                require((one == y[:1]).all(), "an image alone, on one thread, gives other bits")
                require((y == first.setdefault(CLASSES.get(target, "avx512"), y)).all(), "not the bits of the first way")


def check_error(name, options, shape):
    """RMS difference to the interpreter in double over the RMS of its outputs, with fast arithmetic."""
    weights, x = prepared(name, options, shape)
    exact = interpret(model(name), weights, x, FOLDER, *options)
    size = np.sqrt((exact ** 2).mean())
    for storage, bound in BOUND.items():
        y = infer(compile_net(model(name), path("fast"), f"--storage={storage}", *options), weights, x, FOLDER)
        error = float(np.sqrt(((y - exact) ** 2).mean()) / size)
        with test(f"storage {storage} {name}: {error:.5f} from double, at most {bound}"):
            require(error <= bound, "farther")
        with test(f"storage {storage} {name}: weights were rounded"):
            require(error > (2e-6 if storage == "bf16" else 2e-7), "as exact as float32")


def prepared_bytes(*options):
    plan = run([SALUNC, model("resnet18"), "--conv=direct", "--emit=plan", *options])
    return sum(int(line.split()[3]) for line in plan.splitlines() if line.endswith("packed weights"))


def check_memory():
    with test("storage: packed weights take half the memory"):
        whole, half = prepared_bytes(), prepared_bytes("--storage=f16")
        require(whole > 4e7 and whole == 2 * half, f"{whole} and {half} bytes")


NARROW = defines({"width": 8})
for kind in BOUND:
    check_bits("resnet18", NARROW, (3, 32, 32), kind)
    if not QUICK:
        check_bits("smallnet", [], (1, 28, 28), kind)
check_error("resnet18", NARROW, (3, 32, 32))
if not QUICK:
    check_error("smallnet", [], (1, 28, 28))
    check_error("resnet50", defines({"width": 16, "size": 64}), (3, 64, 64))
    check_error("vit", [], (3, 32, 32))
check_memory()
end()
