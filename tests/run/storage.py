#!/usr/bin/python3
"""storage.py - --storage=bf16|f16 end to end: the same bits from every compiler, back end, number of threads and capacity, and
within one width from every target; close to the network in float32, as docs/internals.md states; half the prepared memory."""

import numpy as np

from lib import QUICK, SALUNC, compile_net, defines, end, infer, interpret, require, run, test
from narrow_lib import TARGETS, Networks, model

NETWORKS = Networks("storage", images=5)
FOLDER, path, prepared = NETWORKS.folder, NETWORKS.path, NETWORKS.prepared
BOUND = {"bf16": 0.03, "f16": 0.004}


def check_bits(name, options, shape, storage):
    NETWORKS.check_bits(f"storage {storage}", f"--storage={storage}", name, options, shape, ("avx2",) if QUICK else TARGETS)


def check_error(name, options, shape):
    """RMS difference to the interpreter in double over the RMS of its outputs, with fast arithmetic."""
    weights, x = prepared(name, options, shape)
    exact = interpret(model(name), weights, x, FOLDER, *options)
    size = np.sqrt((exact ** 2).mean())
    whole = infer(compile_net(model(name), path("whole"), *options), weights, x, FOLDER)
    for storage, bound in BOUND.items():
        y = infer(compile_net(model(name), path("fast"), f"--storage={storage}", *options), weights, x, FOLDER)
        error = float(np.sqrt(((y - exact) ** 2).mean()) / size)
        with test(f"storage {storage} {name}: {error:.5f} from double, at most {bound}"):
            require(error <= bound, "farther")
        with test(f"storage {storage} {name}: weights were rounded"):
            require(error > (2e-6 if storage == "bf16" else 2e-7), "as exact as float32")
            require((y != whole).any(), "the bits of float32")


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
