#!/usr/bin/python3
"""int8.py - --precision=int8 end to end: the same bits from every compiler, back end, target of the same width, number of threads
and capacity; close to the interpreter of the same graph and to the network in float32, whose error docs/internals.md states."""

import os

import numpy as np

from lib import QUICK, SALUNC, call, compile_net, defines, end, infer, interpret, require, run, test
from narrow_lib import TARGETS, Networks, model

NETWORKS = Networks("int8", images=6)
FOLDER, path, prepared = NETWORKS.folder, NETWORKS.path, NETWORKS.prepared


def check_bits(name, options, shape):
    NETWORKS.check_bits("int8", "--precision=int8", name, options, shape, ("avx512vnni",) if QUICK else TARGETS)


def check_error(name, options, shape, bound):
    """RMS difference to float32 over the RMS of float32, by bounds and by calibration, and between program and interpreter."""
    weights, x = prepared(name, options, shape)
    np.save(path("calibrate.npy"), x)
    exact = interpret(model(name), weights, x, FOLDER, *options)
    size = np.sqrt((exact ** 2).mean())

    def error(y, reference=exact):
        return float(np.sqrt(((y - reference) ** 2).mean()) / size)

    bytes_of = infer(compile_net(model(name), path("fast"), "--precision=int8", *options), weights, x, FOLDER)
    with test(f"int8 {name}: {error(bytes_of):.4f} from double, at most {bound}"):
        require(error(bytes_of) <= bound, "farther")
    with test(f"int8 {name}: bytes were multiplied"):
        require(error(bytes_of) > 1e-5, "as exact as float32")
    meant = interpret(model(name), weights, x, FOLDER, "--precision=int8", *options, double=False)
    with test(f"int8 {name}: {error(bytes_of, meant):.4f} from the interpreter of the same graph"):
        require(error(bytes_of, meant) <= bound / 2, "farther than roundings to other bytes explain")
    seen = infer(compile_net(model(name), path("seen"), "--precision=int8", "--calibrate", path("calibrate.npy"), "--weights", weights, *options),
                 weights, x, FOLDER)
    with test(f"int8 {name}: calibrated {error(seen):.4f} from double, at most {bound}"):
        require(error(seen) <= bound, "farther")


def check_unbounded():
    """Nothing bounds relu behind batchnorm: float32 to the last bit, and said once."""
    options = defines({"norm": "batchnorm", "act": "relu", "width": 8})
    weights, x = prepared("resnet18", options, (3, 32, 32))
    with test("int8: without bounds the network stays in float32"):
        code, _, said = call([SALUNC, model("resnet18"), "--precision=int8", "--math=strict", *options, "-o", path("open")])
        require(code == 0 and said.count("note:") == 1 and "nothing bounds its input" in said, said)
        plain = compile_net(model("resnet18"), path("plain"), "--math=strict", *options)
        require((infer(path("open"), weights, x, FOLDER) == infer(plain, weights, x, FOLDER)).all(), "other bits than in float32")
    check_error_calibrated(options, weights, x)


def check_error_calibrated(options, weights, x):
    np.save(path("calibrate.npy"), x)
    with test("int8: batchnorm and relu by calibration"):
        program = compile_net(model("resnet18"), path("seen"), "--precision=int8", "--calibrate", path("calibrate.npy"), "--weights", weights, *options)
        y, exact = infer(program, weights, x, FOLDER), interpret(model("resnet18"), weights, x, FOLDER, *options)
        error = float(np.sqrt(((y - exact) ** 2).mean() / (exact ** 2).mean()))
        require(1e-5 < error < 0.05, f"{error:.4f} from double")
        said = run([SALUNC, "explain", model("resnet18"), "--precision=int8", "--calibrate", path("calibrate.npy"), "--weights", weights, *options])
        require("int8: 19 of 21 convolutions" in said and "was seen in" in said, said[:400])


def check_mistakes():
    """Errors that name what is wrong, and nothing written."""
    weights = path("resnet18.safetensors")
    with open(path("broken.npy"), "wb") as broken:
        broken.write(b"\x93NUMPY\x01\x00 and then nothing")
    np.save(path("small.npy"), np.zeros((2, 3, 8, 8), np.float32))
    np.save(path("none.npy"), np.zeros((0, 3, 32, 32), np.float32))
    options = defines({"norm": "batchnorm", "act": "relu", "width": 8})
    cases = [("a broken file", ["--calibrate", path("broken.npy")], "broken.npy"), ("images of another size", ["--calibrate", path("small.npy")], "small.npy"),
             ("no images", ["--calibrate", path("none.npy")], "none.npy"), ("an empty folder", ["--calibrate", FOLDER], FOLDER),
             ("no such file", ["--calibrate", path("nowhere")], "nowhere"), ("weights of another network", ["--calibrate", path("small.npy"), "-D", "width=9"], "does not fit")]
    for name, given, word in cases:
        with test(f"int8: {name} is an error that names it"):
            code, _, said = call([SALUNC, model("resnet18"), "--precision=int8", "--weights", weights, *options, *given, "-o", path("never.c")])
            require(code == 2 and word in said and not os.path.exists(path("never.c")), f"exit code {code}: {said}")


NARROW = defines({"width": 8})
check_bits("resnet18", NARROW, (3, 32, 32))
check_error("resnet18", NARROW, (3, 32, 32), 0.06)
SHALLOW = defines({"depth": 2})
check_error("vit", SHALLOW, (3, 32, 32), 0.06)
if not QUICK:
    check_bits("vit", SHALLOW, (3, 32, 32))
    check_bits("smallnet", [], (1, 28, 28))
    check_error("smallnet", [], (1, 28, 28), 0.06)
    check_error("resnet50", defines({"width": 16, "size": 64}), (3, 64, 64), 0.06)
check_unbounded()
check_mistakes()
end()
