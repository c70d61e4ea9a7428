"""What the end-to-end suites written in Python share: compiling and running networks, weights files, verdicts.

Every test prints one line, `ok NAME` or `not ok NAME: reason`; tests/run.sh counts them. The environment says what is
tested: SALUNC (the compiler, installed), SALUN_BACKEND (which back end makes programs; the compiler's choice when it is not
set), SALUN_QUICK (fewer cases), SALUN_WORK (a folder to work in).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

RUN = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(RUN))
MODELS = os.path.join(ROOT, "models")
GOLDENS = os.path.join(ROOT, "tests", "goldens")
DIGITS = os.path.join(ROOT, "examples", "data", "digits")
sys.path.insert(0, GOLDENS)
sys.path.insert(0, RUN)

import numpy as np

import golden_io

SALUNC = os.environ.get("SALUNC") or shutil.which("salunc") or "salunc"
BACKEND = os.environ.get("SALUN_BACKEND", "")
QUICK = os.environ.get("SALUN_QUICK", "") not in ("", "0")
TARGETS = {"portable": (), "fma128": ("fma",), "avx2": ("avx2", "fma"),
           "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl"),
           "avx512vnni": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni")}

passed, failed = 0, 0


class Failure(Exception):
    """A test that did not hold; the text says why."""


# ---- verdicts ----

def ok(name):
    global passed
    passed += 1
    print(f"ok {name}", flush=True)


def not_ok(name, why):
    global failed
    failed += 1
    print(f"not ok {name}: {' | '.join(str(why).strip().splitlines())}", flush=True)


def note(text):
    print(f"note {text}", flush=True)


class test:
    """with test(NAME): passes when the block ends, fails with the reason when it raises."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            ok(self.name)
        elif issubclass(kind, (Failure, OSError, ValueError, KeyError, subprocess.SubprocessError)):
            not_ok(self.name, value if issubclass(kind, Failure) else f"{kind.__name__}: {value}")
        else:
            return False
        return True


def require(condition, why):
    if not condition:
        raise Failure(why)


def end():
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed or not passed else 0)


# ---- processes ----

def work(name):
    """A fresh folder for this suite; removed at the end unless SALUN_WORK says where to keep it."""
    base = os.environ.get("SALUN_WORK")
    if base:
        folder = os.path.join(base, f"{name}-{BACKEND}" if BACKEND else name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        return folder
    folder = tempfile.mkdtemp(prefix=f"salun-{name}-")
    import atexit
    atexit.register(shutil.rmtree, folder, True)
    return folder


def call(command, timeout=600, env=None, cwd=None):
    """(exit code, standard output, standard error); a signal's code is negative. A process that hangs is a Failure."""
    try:
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                              env={**os.environ, **(env or {})}, cwd=cwd)
    except subprocess.TimeoutExpired:
        raise Failure(f"still running after {timeout} s: {' '.join(map(str, command))}") from None
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def run(command, timeout=600, env=None, cwd=None):
    """Standard output of a command that must succeed."""
    code, out, err = call(command, timeout, env, cwd)
    if code:
        tail = (err or out).strip().splitlines()
        raise Failure(f"exit code {code} from {' '.join(map(str, command))}: {' | '.join(tail[:4] + ['...'] * (len(tail) > 4))}")
    return out


def compile_net(net, out, *options, env=None, timeout=900):
    """salunc NET OPTIONS -o OUT; returns OUT."""
    backend = [f"--backend={BACKEND}"] if BACKEND and not str(out).endswith((".c", ".h")) else []
    run([SALUNC, *backend, *options, net, "-o", out], timeout, env)
    require(os.path.exists(out), f"salunc wrote no {out}")
    return out


def defines(options):
    """{"width": 4} as -D options."""
    return [part for name, value in options.items() for part in ("-D", f"{name}={value}")]


def infer(program, weights, x, folder, *options, env=None):
    """Output of an inference program for the array x."""
    source, result = os.path.join(folder, "x.npy"), os.path.join(folder, "y.npy")
    np.save(source, x)
    run([program, "--weights", weights, "--input", source, "--output", result, *options], env=env)
    return np.load(result)


def interpret(net, weights, x, folder, *options, double=True):
    """The interpreter's output for the array x."""
    source, result = os.path.join(folder, "xi.npy"), os.path.join(folder, "yi.npy")
    np.save(source, x)
    run([SALUNC, "eval", net, *options, "--weights", weights, "--input", source, "--output", result]
        + (["--double"] if double else []))
    return np.load(result)


# ---- processors ----

def processor_flags():
    try:
        with open("/proc/cpuinfo") as info:
            found = re.search(r"^(?:flags|Features)\s*:(.*)$", info.read(), re.M)
    except OSError:
        return set()
    return set(found.group(1).split()) if found else set()


def runnable_targets(wanted=tuple(TARGETS)):
    """Those of the targets that this processor can run; the others are named in the output."""
    flags = processor_flags()
    able = [target for target in wanted if all(flag in flags for flag in TARGETS[target])]
    for target in wanted:
        if target not in able:
            note(f"target {target}: compiled, not run: this processor lacks {', '.join(TARGETS[target])}")
    return able


# ---- weights ----

def initial_weights(net, path, *options, seed=1):
    run([SALUNC, "init", net, *options, "-o", path, "--seed", str(seed)])
    return golden_io.read_safetensors(path)[0]


def draw_weights(tensors, seed):
    """Weights around initial ones: what is constant (zeros, ones) varies too, positive parameters stay in [0.5, 2]."""
    random = np.random.default_rng(seed)
    drawn = {}
    for name, value in tensors.items():
        flat = value.size == 0 or value.min() == value.max()
        if name.endswith("running_var") or (flat and value.size and value.min() > 0):
            new = random.uniform(0.5, 2, value.shape)
        elif flat:
            new = random.normal(0, 0.2, value.shape)
        else:
            new = value
        drawn[name] = np.asarray(new, np.float32).reshape(value.shape)
    return drawn
