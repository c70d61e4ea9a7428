#!/usr/bin/python3
"""llvm.py - the LLVM back end against the C back end: in strict arithmetic the same bits from gcc, clang and LLVM, of
logits and of weights after 20 training steps, for models and random networks; every kind of file does what the program
does; objects of both are interchangeable; `salunc run` and `salunc train` give what programs give; debug lines, the
processor check and the text's stability."""

import os
import re
import shutil
import subprocess
import sys

from lib import (DIGITS, MODELS, QUICK, ROOT, RUN, SALUNC, Failure, call, compile_net, defines, end, note, np, require, run,
                 runnable_targets, test, work)

FOLDER = work("llvm")
STEPS = 20
PREFIX = os.environ.get("SALUN_PREFIX") or os.path.dirname(os.path.dirname(os.path.abspath(shutil.which(SALUNC) or SALUNC)))
# options, batch, picture
NETS = {
    "smallnet": ({}, 32, (1, 28, 28)),
    "resnet18": ({"width": 4}, 16, (3, 32, 32)),
    "rescalenet": ({"width": 2, "size": 64, "classes": 7, "groups": 2, "base_width": 32}, 8, (3, 64, 64)),
}


def path(name):
    return os.path.join(FOLDER, name)


def model(name):
    return os.path.join(MODELS, f"{name}.snet")


def read(name):
    with open(name, "rb") as source:
        return source.read()


def by(maker):
    """(options, environment) of a compiler: gcc, clang or llvm, with a level or not."""
    name, _, level = maker.partition("-O")
    options = ["--backend=llvm" if name == "llvm" else "--backend=c", *([f"-O{level}"] if level else [])]
    return options, {} if name == "llvm" else {"CC": name, "CFLAGS": "-O1" if QUICK else ""}


def build(net, maker, tag, *options):
    extra, env = by(maker)
    return compile_net(net, path(f"{tag}-{maker}"), *extra, *options, env=env)


def train(program, data, tag, *options, steps=STEPS):
    """Weights after so many steps, and the log of the steps."""
    stem = path(tag)
    run([*program, "--data", data, "--steps", steps, "--seed", 3, "--threads", 2, "--save", f"{stem}.safetensors", "--batch-log",
         f"{stem}.steps", "--checkpoint", f"{stem}.checkpoint", "--overwrite", *options])
    return read(f"{stem}.safetensors"), read(f"{stem}.steps")


def infer(program, weights, x, tag):
    np.save(path(f"{tag}.x.npy"), x)
    run([*program, "--weights", weights, "--input", path(f"{tag}.x.npy"), "--output", path(f"{tag}.y.npy")])
    return read(path(f"{tag}.y.npy"))


def same(first, second, what):
    require(first == second, f"{what} differ")


def data_of(tag, picture, classes, images=100):
    random = np.random.default_rng(5)
    np.save(path(f"{tag}.images.npy"), random.integers(0, 256, (images, *picture)).astype(np.uint8))
    np.save(path(f"{tag}.labels.npy"), random.integers(0, classes, images))
    return f"npy:{path(tag)}.images.npy,{path(tag)}.labels.npy"


# ---- the same bits ----

def check_model(name, target, makers):
    options, batch, picture = NETS[name]
    data = DIGITS if name == "smallnet" else data_of(name, picture, options.get("classes", 10))
    settings = [f"--target={target}", "--math=strict", *defines(options)]
    x = np.random.default_rng(6).normal(size=(7, *picture)).astype(np.float32)
    weights = {}
    for maker in makers:
        tag = f"{name}-{target}-{maker}"
        with test(f"{name} {target} strict: {STEPS} steps by {maker}"):
            weights[maker] = train([build(model(name), maker, f"{name}-{target}-train", "--train", "--batch", batch, *settings)], data, tag)
            same(weights[maker][1], weights[makers[0]][1], f"losses of {maker} and {makers[0]}")
            same(weights[maker][0], weights[makers[0]][0], f"weights of {maker} and {makers[0]}")
    if makers[0] not in weights:
        return
    trained = path(f"{name}-{target}-{makers[0]}.safetensors")
    with test(f"{name} {target} strict: logits by {', '.join(makers)}"):
        logits = [infer([build(model(name), maker, f"{name}-{target}-infer", "--batch", 4, *settings)], trained, x, f"{name}-{target}")
                  for maker in makers]
        for maker, got in zip(makers, logits):
            same(got, logits[0], f"logits of {maker} and {makers[0]}")


def draw(seed):
    """A random network of random_nets.py: file, batch, an image's dimensions, classes."""
    text = run([sys.executable, os.path.join(RUN, "random_nets.py"), "--print", "--seed", seed, "--count", 1], env={"SALUN_WORK": path("draw")})
    net = path(f"random-{seed}.snet")
    with open(net, "w") as out:
        out.write(text)
    batch = int(re.search(r"batch (\d+)", text).group(1))
    picture = [int(n) for n in re.search(r"f32\[N, ([\d, ]+)\]", text).group(1).split(",")]
    header = path(f"random-{seed}.h")
    run([SALUNC, net, "-o", header])
    classes = int(re.search(r"_DIMS \{(\d+)\}\n", read(header).decode()).group(1))
    return net, batch, picture, classes


def check_random(seed, target):
    math = "strict" if seed % 4 else "fast"            # both ask for the same operations; fast has no promise across processors
    with test(f"random network {seed} {target} {math}: C and LLVM"):
        net, batch, picture, classes = draw(seed)
        settings = [f"--target={target}", f"--math={math}"]
        x = np.random.default_rng(seed).normal(size=(batch + 1, *picture)).astype(np.float32)
        np.save(path("r.images.npy"), np.random.default_rng(seed + 1).normal(size=(3 * batch, *picture)).astype(np.float32))
        np.save(path("r.labels.npy"), np.random.default_rng(seed + 2).integers(0, classes, 3 * batch))
        data = f"npy:{path('r')}.images.npy,{path('r')}.labels.npy"
        makers = ("clang" if seed % 2 else "gcc", "llvm")
        programs = [build(net, maker, "random-train", "--train", "--batch", batch, *settings) for maker in makers]
        results = [train([program], data, "random", "--no-augment", steps=4) for program in programs]    # more may diverge
        same(results[0], results[1], "losses or weights after training")
        programs = [build(net, maker, "random-infer", "--batch", batch, *settings) for maker in makers]
        same(*(infer([program], path("random.safetensors"), x, "random") for program in programs), "logits")


# ---- files ----

USER = """
#include <stdio.h>
#include "smallnet.h"
int main(int argc, char **argv) {
    static float x[SMALLNET_IMAGE_SIZE], y[SMALLNET_OUTPUT_SIZE];
    SalunError error;
    smallnet *net = argc > 1 ? smallnet_create(argv[1], 2, &error) : smallnet_create_embedded(2, &error);
    for (int i = 0; i < SMALLNET_IMAGE_SIZE; i++)
        x[i] = (float)(i % 17) / 8 - 1;
    if (!net || smallnet_infer(net, x, 1, y, &error))
        return fprintf(stderr, "%s\\n", error.text), 1;
    for (int i = 0; i < SMALLNET_OUTPUT_SIZE; i++)
        printf("%a\\n", y[i]);
    smallnet_destroy(net);
    return smallnet_create("/nowhere", 1, NULL) ? 1 : !smallnet_error()[0];
}
"""


def tool(*names):
    """The first of these programs; those of LLVM lie in folders of their own."""
    for name in names:
        for folder in [None] + [f"/usr/lib/llvm-{version}/bin" for version in range(25, 14, -1)]:
            found = shutil.which(name, path=folder)
            if found:
                return found
    return None


def flags(*words):
    prefix = next(os.path.join(folder, "pkgconfig") for folder, _, names in os.walk(PREFIX) if os.path.basename(folder) != "pkgconfig"
                  and os.path.exists(os.path.join(folder, "pkgconfig", "salun.pc")))
    return run(["pkg-config", *words, "salun"], env={"PKG_CONFIG_PATH": prefix}).split()


def check_user(label, weights, want, files, folder, libraries):
    """The user's program with these files of the network prints what is wanted; returns what it prints."""
    with test(label):
        source, program = path("user.c"), path("user")
        with open(source, "w") as out:
            out.write(USER)
        run(["gcc", "-Wall", "-Wextra", "-Werror", *flags("--cflags"), f"-I{folder}", source, *files, *libraries, f"-Wl,-rpath,{folder}", "-o", program])
        got = run([program, *weights])
        require(want is None or got == want, "its answers differ")
        return got


def check_files(weights):
    settings = ["--math=strict", "--target=native"]
    libraries, objects = flags("--libs"), {}
    want = None
    for maker in ("c", "llvm"):
        folder = path(f"files-{maker}")
        os.makedirs(folder, exist_ok=True)
        for ending in ("o", "a", "so", "s"):
            with test(f"smallnet.{ending} by {maker}"):
                objects[maker, ending] = compile_net(model("smallnet"), os.path.join(folder, f"smallnet.{ending}"), f"--backend={maker}", *settings)
            got = check_user(f"smallnet.{ending} by {maker} in a program", [weights], want, [objects[maker, ending]], folder,
                             [] if ending == "so" else libraries)
            want = want or got
    with test("the header is the same for both"):
        same(read(path("files-c/smallnet.h")), read(path("files-llvm/smallnet.h")), "headers")
    check_user("an object of LLVM with the header of C", [weights], want, [objects["llvm", "o"]], path("files-c"), libraries)
    folder = path("files-embedded")
    os.makedirs(folder, exist_ok=True)
    embedded = compile_net(model("smallnet"), os.path.join(folder, "smallnet.o"), "--backend=llvm", "--embed-weights", weights, *settings)
    check_user("weights in an object of LLVM", [], want, [embedded], folder, libraries)
    for ending, name in (("ll", "clang"), ("bc", "clang")):
        clang = tool("clang-19", name)
        with test(f"smallnet.{ending}, by {os.path.basename(clang)}, in a program"):
            made = compile_net(model("smallnet"), os.path.join(path("files-llvm"), f"smallnet.{ending}"), *settings)
            run([clang, "-O2", "-fPIC", "-Wno-override-module", "-c", made, "-o", path("again.o")])
        check_user(f"what clang makes of smallnet.{ending}", [weights], want, [path("again.o")], path("files-llvm"), libraries)


# ---- in memory ----

def check_memory(weights):
    x = np.random.default_rng(8).normal(size=(5, 1, 28, 28)).astype(np.float32)
    want = infer([build(model("smallnet"), "gcc", "memory", "--math=strict", "--batch", 2)], weights, x, "memory")
    program = build(model("smallnet"), "gcc", "memory-train", "--train", "--math=strict", "--batch", 32)
    steps = train([program], DIGITS, "memory-program")
    for backend in ("llvm", "c"):
        with test(f"salunc run by {backend} gives what the program gives"):
            command = [SALUNC, "run", "--math=strict", f"--backend={backend}", model("smallnet"), "--batch", "2"]
            same(infer(command, weights, x, "memory"), want, "logits")
        with test(f"salunc train by {backend} gives what the program gives"):
            command = [SALUNC, "train", "--math=strict", model("smallnet"), f"--backend={backend}", "--batch=32"]
            same(train(command, DIGITS, f"memory-{backend}"), steps, "losses or weights")
    with test("salunc run: the options of the program"):
        require("--bench" in run([SALUNC, "run", model("smallnet"), "--help"]), "--help does not list --bench")
        code, _, err = call([SALUNC, "run", model("smallnet"), "--wieghts", weights])
        require(code == 2 and "--wieghts" in err, f"exit code {code}: {err}")
        code, _, err = call([SALUNC, "run", model("smallnet"), "--weights", path("nowhere"), "--bench", "0.1"])
        require(code == 2 and "nowhere" in err, f"exit code {code}: {err}")
    with test("salunc train: --blas=openblas"):
        train([SALUNC, "train", "--blas=openblas", model("smallnet"), "--batch", "32"], DIGITS, "memory-blas")


# ---- debuggers and profilers ----

def layer_lines():
    return {n for n, line in enumerate(read(model("smallnet")).decode().splitlines(), 1) if "conv(" in line}


def check_gdb(weights):
    with test("gdb stops at a line of the network in memory"):
        line = min(layer_lines())
        script = path("stop.gdb")
        with open(script, "w") as out:
            out.write(f"set breakpoint pending on\nset pagination off\nset debuginfod enabled off\nbreak smallnet.snet:{line}\n"
                      f"run run {model('smallnet')} --weights {weights} --bench 0.01\nbacktrace 1\nkill\n")
        said = run(["gdb", "-q", "-batch", "-nx", "-x", script, SALUNC])
        require(re.search(rf"hit Breakpoint .*kernel_\w+ \(.*\) at \S*smallnet\.snet:{line}", said), said[-600:])


def check_perf():
    with test("--perf=map: addresses and names of kernels"):
        command = [SALUNC, "run", "--perf=map", model("smallnet"), "--bench", "0.01"]
        child = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        child.communicate()
        name = f"/tmp/perf-{child.pid}.map"
        rows = [line.split() for line in read(name).decode().splitlines()]
        os.unlink(name)
        require(child.returncode == 0 and len(rows) > 5, f"exit code {child.returncode}, {len(rows)} rows")
        require(all(int(row[0], 16) and int(row[1], 16) and row[2].startswith("kernel_") for row in rows), f"rows {rows[:3]}")
        spans = sorted((int(row[0], 16), int(row[1], 16)) for row in rows)
        require(all(a + size <= b for (a, size), (b, _) in zip(spans, spans[1:])), "kernels overlap")
    with test("--perf=dump: a file for perf inject"):
        folder = path("jitdump")
        code, _, err = call([SALUNC, "run", "--perf=dump", model("smallnet"), "--bench", "0.01"], env={"JITDUMPDIR": folder})
        if "built without" in err:
            note(f"--perf=dump: {err.strip()}")
        else:
            found = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(".dump")]
            require(code == 0 and found, f"exit code {code}, files {found}: {err}")
            text = read(found[0])
            require(text[:4] in (b"JiTD", b"DTiJ") and b"kernel_" in text and b"smallnet.snet" in text, "no kernels or no lines in it")
        shutil.rmtree(folder, ignore_errors=True)


def check_time():
    with test("--time: stages of compiling and of training"):
        code, _, err = call([SALUNC, "train", "--time", model("smallnet"), "--batch=8", "--data", DIGITS, "--steps", "1", "--save",
                             path("time.safetensors")])
        stages = {line.split("  ")[0].strip() for line in err.splitlines() if line.endswith(" ms")}
        wanted = {"parse", "lower", "load", "kernels", "ir", "optimize", "code", "link", "data", "weights", "checkpoint", "first step"}
        missing = {stage for stage in wanted if not re.search(rf"^ *{stage} +[0-9.]+ ms$", err, re.M)}
        require(code == 0 and not missing, f"exit code {code}, without {missing}, {stages}")


# ---- text, lines, processors ----

def check_text():
    with test("--emit=llvm: the same text twice"):
        texts = [run([SALUNC, "--train", "--batch", 8, "--emit=llvm", model("resnet18"), "-D", "width=4"]) for _ in range(2)]
        same(*texts, "texts")
    with test("objects: the same bytes twice"):
        same(*(read(compile_net(model("smallnet"), path(f"twice-{i}.o"), "--backend=llvm")) for i in range(2)), "objects")
    with test("lines of the network in an object"):
        made = compile_net(model("smallnet"), path("lines.o"), "--backend=llvm")
        text = run(["objdump", "--dwarf=decodedline", made])
        numbers = {int(n) for n in re.findall(r"^\S*smallnet\.snet\s+(\d+)\s", text, re.M)}
        lines = read(model("smallnet")).decode().splitlines()
        numbers.discard(0)                         # what stands for several lines
        require(len(numbers) > 3 and all("|>" in lines[n - 1] for n in numbers), f"lines {sorted(numbers)}")
    with test("levels 0 to 3"):
        for level in range(4):
            compile_net(model("smallnet"), path(f"level-{level}.o"), "--backend=llvm", f"-O{level}")


def check_instructions():
    with test("functions before the processor's check hold no instruction of the target"):
        made = compile_net(model("smallnet"), path("wide"), "--backend=llvm", "--target=avx512")
        text = run(["objdump", "-d", "--no-show-raw-insn", made])
        functions = re.findall(r"^[0-9a-f]+ <([^>]+)>:\n((?:.+\n)*)", text, re.M)
        wide = {name for name, body in functions if re.search(r"%[yz]mm|%k[1-7]|\bv[a-z0-9]+ps\b", body)}
        require(any(name.startswith("kernel_") for name in wide), "no kernel holds any")
        asking = {"normals_avx2", "normals_avx512"}          # of the runtime, called by who asked the processor (normal.c)
        others = sorted(name for name in wide - asking if not name.startswith("kernel_"))
        require(not others, f"{', '.join(others[:5])} hold some")


def main():
    code, _, err = call([SALUNC, "--emit=llvm", os.devnull])
    if "without LLVM" in err:
        raise SystemExit(f"not ok llvm: {err.strip()}")
    targets = runnable_targets()
    for name in ("smallnet",) if QUICK else NETS:
        check_model(name, targets[-1], ("gcc", "clang", "llvm", "llvm-O1") if name == "smallnet" else ("gcc", "clang", "llvm"))
    check_model("smallnet", targets[-1], ("gcc-O0", "llvm-O0"))
    for target in targets[:1] if QUICK else targets[:-1]:
        check_model("smallnet", target, ("gcc", "llvm"))
    weights = path("w.safetensors")
    run([SALUNC, "init", model("smallnet"), "-o", weights, "--seed", 3])
    check_files(weights)
    check_memory(weights)
    check_gdb(weights)
    check_perf()
    check_time()
    check_text()
    check_instructions()
    for seed in range(1, 4 if QUICK else 25):
        check_random(seed, targets[seed % len(targets)])
    end()


if __name__ == "__main__":
    main()
