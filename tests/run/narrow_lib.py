"""narrow_lib.py - what the suites of narrower arithmetic share: networks with weights and images, and the same bits however a
program is made."""

import os
import shutil

import numpy as np

from lib import MODELS, SALUNC, call, compile_net, draw_weights, infer, initial_weights, require, runnable_targets, test, work
import golden_io

CLASSES = {"portable": "portable", "fma128": "fma128", "avx2": "avx2"}        # vectors of other targets are alike wide
TARGETS = ("portable", "fma128", "avx2", "avx512", "avx512vnni")


def model(name):
    return os.path.join(MODELS, f"{name}.snet")


def ways():
    """(name, options, compiler of C) of all that make programs here."""
    found = [("gcc", [], "gcc")]
    if shutil.which("clang"):
        found.append(("clang", [], "clang"))
    if "without LLVM" not in call([SALUNC, "--emit=llvm", os.devnull])[2]:
        found.append(("LLVM", ["--backend=llvm"], ""))
    return found


class Networks:
    """Programs, weights and images of one suite, in its folder."""

    def __init__(self, suite, images):
        self.folder, self.images = work(suite), images

    def path(self, name):
        return os.path.join(self.folder, name)

    def prepared(self, name, options, shape, seed=3):
        """Weights and images of a network: the network's own initial weights, as training leaves their sizes; others drawn."""
        weights = self.path(f"{name}.safetensors")
        tensors = initial_weights(model(name), weights, *options, seed=seed)
        golden_io.write_safetensors(weights, draw_weights(tensors, seed))
        return weights, np.random.default_rng(seed).normal(size=(self.images, *shape)).astype(np.float32)

    def check_bits(self, label, option, name, options, shape, targets):
        """Strict: every way of making the program gives the bits of the first, within one width of vectors."""
        weights, x = self.prepared(name, options, shape)
        first = {}
        for target in runnable_targets(targets):
            for way, backend, compiler in ways():
                with test(f"{label} {name}: {target} by {way}"):
                    env = {"CC": compiler} if compiler else {}
                    program = compile_net(model(name), self.path(f"{name}-{target}-{way}"), option, "--math=strict", f"--target={target}",
                                          "--batch=4", *backend, *options, env=env)
                    y = infer(program, weights, x, self.folder, "--threads", "2")
                    one = infer(program, weights, x[:1], self.folder, "--threads", "1")
                    require(np.isfinite(y).all(), "an output is not finite")
                    require((one == y[:1]).all(), "an image alone, on one thread, gives other bits")
                    require((y == first.setdefault(CLASSES.get(target, "avx512"), y)).all(), "not the bits of the first way")
