"""The compiler and what it makes: builds salunc where none is given, compiles networks to objects and programs, and keeps them
under a name that says from what they were made."""

import concurrent.futures
import glob
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
NETS = os.path.join(HERE, "nets")


def say(text):
    print(text, file=sys.stderr, flush=True)


class Failed(Exception):
    """A command of the build or a compilation that failed; the text says which and why."""


def call(command, env=None, cwd=None):
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
                          env={**os.environ, **(env or {})})
    if done.returncode:
        tail = (done.stderr or done.stdout).strip().splitlines()[-4:]
        raise Failed(f"exit code {done.returncode} from {' '.join(map(str, command))}: {' | '.join(tail)}")
    return done.stdout


def seconds(command):
    begin = time.perf_counter()
    call(command)
    return round(time.perf_counter() - begin, 3)


class Net:
    """What is compiled: a file of bench/nets or models, options of salunc, the batch, inference (`infer`) or training (`step`)."""

    def __init__(self, path, options=(), batch=1, mode="infer", target="", backend="gcc", network=""):
        self.path, self.options, self.batch, self.mode = path, tuple(options), batch, mode
        self.target, self.backend, self.network = target, backend, network

    def arguments(self):
        words = ["--train"] if self.mode == "step" else []
        words += ["--batch", str(self.batch), *self.options]
        words += ["--target", self.target] if self.target else []
        words += ["--network", self.network] if self.network else []
        return [*words, self.path]

    def variant(self, **changes):
        fields = dict(path=self.path, options=self.options, batch=self.batch, mode=self.mode, target=self.target,
                      backend=self.backend, network=self.network)
        return Net(**{**fields, **changes})


class Compiler:
    """salunc and the runtime: $SALUNC with its installation around it, or a build of this tree in FOLDER."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        given = os.environ.get("SALUNC")
        prefix = os.path.dirname(os.path.dirname(os.path.realpath(given))) if given else self._build()
        self.prefix = os.environ.get("SALUN_PREFIX", prefix)
        self.salunc = given or os.path.join(prefix, "bin", "salunc")
        self.flags = re.search(r"Cflags: (.*)", self._pc()).group(1).replace("${includedir}", self.prefix + "/include").split()
        self.stamp = hashlib.sha256()
        libraries = sorted(glob.glob(os.path.join(self.prefix, "lib", "libsalun*.a")))
        for path in (self.salunc, *libraries, os.path.join(HERE, "worker.c"), os.path.join(HERE, "turns.h")):
            with open(path, "rb") as source:
                self.stamp.update(source.read())
        self.help = call([self.salunc, "--help"])

    def _pc(self):
        with open(os.path.join(self.prefix, "lib", "pkgconfig", "salun.pc")) as source:
            return source.read()

    def _build(self):
        build, prefix = os.path.join(self.folder, "salunc"), os.path.join(self.folder, "prefix")
        say("building salunc")
        call(["cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_INSTALL_PREFIX={prefix}"])
        call(["ninja", "-C", build, "salunc", "salun", "salun-app", "salun-picture", "salun-train"])
        call(["cmake", "--install", build])
        return prefix

    def can(self, text):
        """Whether salunc's help names this option."""
        return text in self.help

    def commit(self):
        try:
            return call(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]).strip()
        except (Failed, OSError):
            return ""

    # ---- objects and programs ----

    def key(self, *parts):
        digest = self.stamp.copy()
        digest.update("\0".join(map(str, parts)).encode())
        for part in parts:
            if str(part).endswith(".snet") and os.path.exists(part):
                with open(part, "rb") as source:
                    text = source.read()
                digest.update(text)
                for used in re.findall(rb'^use "([^"]+)"', text, re.M):
                    with open(os.path.join(os.path.dirname(part), used.decode()), "rb") as source:
                        digest.update(source.read())
        return digest.hexdigest()[:20]

    def worker(self, net):
        """Path of the contender's program for a Net and the facts of its compilation: {"salunc_s", "cc_s", "source_bytes",
        "object_bytes"}; made once."""
        stem = os.path.join(self.folder, "objects", self.key(*net.arguments(), net.backend))
        os.makedirs(os.path.dirname(stem), exist_ok=True)
        facts = {}
        if not os.path.exists(stem):
            name, facts = self._object(net, stem)
            call(["cc", *self.flags, f"-DPROGRAM={name}_program", os.path.join(HERE, "worker.c"), stem + ".o", "-o", stem + ".part",
                  f"-L{self.prefix}/lib", "-lsalun", "-lm", "-pthread"])
            with open(stem + ".facts", "w") as out:
                json.dump(facts, out)
            os.replace(stem + ".part", stem)
        with open(stem + ".facts") as source:
            return stem, json.load(source)

    def _object(self, net, stem):
        facts = {}
        if net.backend == "llvm":
            facts["salunc_s"] = seconds([self.salunc, *net.arguments(), "--backend=llvm", "-o", stem + ".o"])
        else:
            # the better of two: the first one of a session reads salunc and its libraries from the disk
            facts["salunc_s"] = min(seconds([self.salunc, *net.arguments(), "-o", stem + ".c"]) for _ in range(2))
            facts["source_bytes"] = os.path.getsize(stem + ".c")
            facts["cc_s"] = seconds([net.backend, *self.flags, "-c", stem + ".c", "-o", stem + ".o"])
        facts["object_bytes"] = int(call(["size", stem + ".o"]).splitlines()[1].split()[3])
        with open(stem + ".h") as header:
            name = re.search(r"extern const SalunProgram (\w+)_program;", header.read()).group(1)
        return name, facts

    def program(self, net):
        """The executable that users get, without symbols."""
        path = os.path.join(self.folder, "objects", self.key(*net.arguments(), net.backend, "program"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path):
            backend = ["--backend=llvm"] if net.backend == "llvm" else []
            call([self.salunc, *net.arguments(), *backend, "-o", path + ".part"], {} if backend else {"CC": net.backend})
            call(["strip", path + ".part"])
            os.replace(path + ".part", path)
        return path

    def prepare(self, nets, programs=()):
        """Compiles what will be needed, several at once and each once. Returns {net: why not} of those that failed."""
        jobs = {}
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for make, wanted in ((self.worker, nets), (self.program, programs)):
                for net in wanted:
                    name = (make.__name__, net.backend, *net.arguments())
                    if name not in jobs:
                        jobs[name] = pool.submit(make, net)
            say(f"compiling {len(jobs)} programs")
        found = {net: jobs["worker", net.backend, *net.arguments()].exception() for net in nets}
        return {net: str(why) for net, why in found.items() if why}

    # ---- weights and work ----

    def weights(self, net):
        """A weight file of random values around the initial ones."""
        infer = net.variant(mode="infer", batch=1, target="", backend="", options=float_options(net.options))
        path = os.path.join(self.folder, "objects", self.key(*infer.arguments()) + ".safetensors")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path):
            call([self.salunc, "init", *infer.options, *(["--network", net.network] if net.network else []), net.path, "-o", path,
                  "--seed", "1"])
            draw_weights(path)
        return path

    def flops(self, net):
        """Nominal floating-point operations of one image's forward pass: two for each multiplication of convolutions, linear
        layers and attention, counting the padding."""
        text = call([self.salunc, *net.variant(mode="infer", batch=1, options=float_options(net.options)).arguments(), "--emit=graph"])
        return graph_flops(text)


def float_options(options):
    """The options without what changes arithmetic but not the network."""
    return tuple(o for o in options if not o.startswith(("--math", "--precision", "--calibrate", "--tune", "--conv")))


def draw_weights(path):
    """What is constant (ones, zeros) varies, so that nothing of a network can be optimized away."""
    sys.path.insert(0, os.path.join(ROOT, "tests", "goldens"))
    import golden_io
    import numpy as np
    tensors, metadata = golden_io.read_safetensors(path)
    random = np.random.default_rng(1)
    drawn = {}
    for name, value in tensors.items():
        value = np.asarray(value, np.float32)
        if value.size and value.min() == value.max() and value.min() > 0:
            value = value * random.uniform(0.8, 1.2, value.shape)
        elif value.size and value.min() == value.max():
            value = random.uniform(-0.1, 0.1, value.shape)
        drawn[name] = np.asarray(value, np.float32)
    golden_io.write_safetensors(path, drawn, {k: str(v) for k, v in metadata.items()})


def graph_flops(text):
    """Of the form --emit=graph prints."""
    shapes, total = {}, 0
    for line in text.splitlines():
        node = re.match(r"\s*(%\d+) = ([\w.]+) (.*) : \w+\[([^\]]*)\]", line)
        if not node:
            continue
        name, op, operands, dims = node.groups()
        shape = [1 if d.strip() == "N" else int(d) for d in dims.split(",") if d.strip()]
        shapes[name] = shape
        inputs = re.findall(r"%\d+", operands)
        if op == "conv":
            total += 2 * math.prod(shape) * math.prod(shapes[inputs[1]][1:])
        elif op == "attention":
            total += 4 * math.prod(shape) * shapes[inputs[1]][1]
    return total
