"""The peers: where they are, and how each is made a contender for a case, tuned as well as we know how.

ONNX Runtime comes from the npm package onnxruntime-node below $NODE_PATH, or $ORT_LIB names its library. Its model is written by
PyTorch with the same weights, SALU in the fewest operators, batchnorm folded. PyTorch is that of $BENCH_PYTHON (default
/usr/bin/python3). OpenBLAS before 0.3.22 takes new processors for old ones, and PyTorch 1.13 alone stops at AVX2: both are told
what the processor has. With several threads the two pools in PyTorch spin against each other unless they give way soon."""

import glob
import json
import os
import subprocess

import compiling
import machine
from contend import Contender

WORKER = os.path.join(compiling.HERE, "peers", "torch_worker.py")
PYTHON = os.environ.get("BENCH_PYTHON", "/usr/bin/python3")


def find_ort():
    given = os.environ.get("ORT_LIB")
    if given and os.path.exists(given):
        return given
    arch = {"x86_64": "x64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    for folder in os.environ.get("NODE_PATH", "").split(":"):
        found = glob.glob(os.path.join(folder, "onnxruntime-node", "bin", "napi-v*", "linux", arch, "libonnxruntime.so.1"))
        if folder and found:
            return found[0]
    return None


def has_torch():
    try:
        return subprocess.run([PYTHON, "-c", "import torch, numpy"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def torch_environment(threads):
    env = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    if "avx512f" in machine.cpu_flags():
        env.update(OPENBLAS_CORETYPE="SKYLAKEX", ATEN_CPU_CAPABILITY="avx512")
    if threads > 1:
        env.update(GOMP_SPINCOUNT="2000", OPENBLAS_THREAD_TIMEOUT="10")
    return {key: os.environ.get(key, value) for key, value in env.items()}


class Peers:
    def __init__(self, folder, quick):
        self.folder, self.quick = folder, quick
        self.torch, self.ort = has_torch(), find_ort()
        self.missing = []
        if not self.torch:
            self.missing.append(f"PyTorch ({PYTHON} -c 'import torch' fails; Debian: python3-torch)")
        if not self.ort:
            self.missing.append("ONNX Runtime (npm install --ignore-scripts onnxruntime-node; NODE_PATH is its node_modules)")
        elif not self.torch:
            self.missing.append("ONNX Runtime is there, but PyTorch has to write its models")
            self.ort = None
        if self.ort:
            self.ort_worker = os.path.join(folder, "ort")
            compiling.call(["cc", "-O2", "-o", self.ort_worker, os.path.join(compiling.HERE, "peers", "ort.c"), "-ldl"])

    def _job(self, name, **job):
        path = os.path.join(self.folder, "jobs", name.replace(" ", "-") + ".json")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as out:
            json.dump(job, out)
        return path

    def _torch(self, job, threads):
        return compiling.call([PYTHON, WORKER, job], torch_environment(threads))

    def onnx(self, case, weights):
        """The model's file, written once for these weights."""
        path = os.path.join(self.folder, "objects", f"{os.path.basename(weights)}-{case.batch}.onnx")
        if not os.path.exists(path):
            job = self._job(f"export {case.name}", mode="export", network=case.peer, weights=weights, n=case.batch, threads=1,
                            output=path + ".part")
            self._torch(job, 1)
            os.replace(path + ".part", path)
        return path

    def _variant(self, case, threads, common):
        if self.quick or len(case.variants) == 1:
            return case.variants[0]
        job = self._job(f"pick {case.name} {threads}", mode="pick", of=case.mode, variants=case.variants, **common)
        return self._torch(job, threads).strip().splitlines()[-1]

    def contenders(self, case, weights, images, threads):
        """Those of the peers that are there and can do this case; not started yet."""
        found = []
        stem = os.path.join(self.folder, "jobs", f"{case.name} {threads}".replace(" ", "-"))
        if self.torch:
            common = dict(network=case.peer, weights=weights, images=images, n=case.batch, threads=threads, output=stem + ".torch")
            variant = self._variant(case, threads, common)
            job = self._job(f"{case.name} {threads} torch", mode=case.mode, variant=variant, **common)
            found.append(Contender("PyTorch", [PYTHON, WORKER, job], stem + ".torch.log", stem + ".torch", torch_environment(threads),
                                   variant))
        if self.ort and case.mode == "infer":
            found.append(Contender("ONNX Runtime", self.ort_command(case, weights, images, stem + ".ort", threads), stem + ".ort.log",
                                   stem + ".ort"))
        return found

    def ort_command(self, case, weights, images, output, threads):
        return [self.ort_worker, self.ort, self.onnx(case, weights), images, output, case.batch, 3, case.dims[1], case.classes, threads]

    # ---- start-up ----

    def starts(self, case, weights, images, threads):
        """{name: (command, environment, file of the network with its weights, main library)} of programs that load the network and
        compute the first logits. ONNX Runtime also with the model as it is after all its optimizations for this machine."""
        found, stem = {}, os.path.join(self.folder, "jobs", "start")
        if self.ort:
            model, optimized = self.onnx(case, weights), stem + ".optimized.onnx"
            command = self.ort_command(case, weights, images, stem + ".ort", threads)
            compiling.call([*command, "--optimize", optimized])
            again = [optimized if part == model else part for part in command]
            found["ONNX Runtime, optimized"] = ([*again, "--once", "--optimized"], {}, optimized, self.ort)
            found["ONNX Runtime"] = ([*command, "--once"], {}, model, self.ort)
        if self.torch:
            job = self._job("save", mode="save", network=case.peer, weights=weights, n=case.batch, threads=1, output=stem + ".pt")
            self._torch(job, 1)
            job = self._job(f"first {threads}", mode="first", network=case.peer, module=stem + ".pt", images=images, n=case.batch,
                            threads=threads, output=stem + ".torch")
            found["PyTorch"] = ([PYTHON, WORKER, job], torch_environment(threads), stem + ".pt", self._torch_library())
        return found

    def _torch_library(self):
        code = "import torch; print([l.split()[-1] for l in open('/proc/self/maps') if 'libtorch_cpu' in l][0])"
        return os.path.realpath(compiling.call([PYTHON, "-c", code]).strip())
