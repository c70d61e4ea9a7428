#!/usr/bin/python3
"""names.py - nothing about salu, swalu and galu is special: redefined by a user under other names they compile to the
same kernels, byte for byte once the names are put back. Output is stable: compiling twice gives the same bytes."""

import os
import re

from lib import MODELS, QUICK, SALUNC, end, require, run, test, work

FOLDER = work("names")
OWN = {"salu": "bendy", "swalu": "gatey", "galu": "tiltz"}
DEFINITIONS = """
activation bendy(x; a > 0 = 1, b > 0 = 1) = a*x / sqrt(1 + a*b*x^2)
activation gatey(x; a > 0 = 1, b > 0 = 1) = x/2 * (1 + bendy(x, a, b))
activation tiltz(x; a > 0 = 1, b > 0 = 1) = x/2 * (1 + bendy(sqrt(2/pi) * (x + 0.044715*x^3), a, b))
"""
SMALL = """
network Net(image: f32[N, 3, 16, 16]; norm = salu, act = swalu) {
  x = image |> conv(17, 3) as conv1 |> norm as bn1 |> galu as act1 |> conv(20, 1) as conv2 |> act as act2
  return x + x |> norm as bn2 |> global_avgpool |> linear(5) as fc
}
train Net {
  loss cross_entropy
  optimizer sgd(lr = 0.1)
  epochs 1
  seed 1
}
"""


def renamed(text):
    for name, own in OWN.items():
        text = re.sub(rf"\b{name}\b", own, text)
    return text


def kernels(path):
    """The kernels of a C file: the names put back, and without comments and what tells the sources apart (hashes)."""
    with open(path) as source:
        text = source.read()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    for name, own in OWN.items():
        text = text.replace(own, name)
    text = re.sub(r"\b(hash\s*=\s*)?(UINT64_C\()?0x[0-9a-f]{16}(ULL|ull|u|\))?", "HASH", text)
    return re.sub(r"[ \t]+\n", "\n", text)


def first_difference(a, b):
    for number, (x, y) in enumerate(zip(a.splitlines(), b.splitlines()), 1):
        if x != y:
            return f"line {number}: {x.strip()[:120]} <> {y.strip()[:120]}"
    return "one is longer"


def compare(name, text, *options):
    """The same file name in two folders, so that only the activations' names can differ."""
    with test(f"identical kernels: {name}"):
        made = []
        for folder, source in (("built-in", text), ("own", renamed(text) + DEFINITIONS)):
            place = os.path.join(FOLDER, name, folder)
            os.makedirs(place)
            with open(os.path.join(place, "net.snet"), "w") as out:
                out.write(source)
            run([SALUNC, *options, "net.snet", "-o", "net.c"], cwd=place)
            made.append(kernels(os.path.join(place, "net.c")))
        require(made[0] == made[1], first_difference(*made) if made[0] != made[1] else "")
        require(len(made[0]) > 1000, "the C file is nearly empty")


def stable(name, net, *options):
    with test(f"stable output: {name}"):
        texts = []
        for turn in ("1", "2"):
            place = os.path.join(FOLDER, "stable", turn)
            os.makedirs(place, exist_ok=True)
            run([SALUNC, *options, net, "-o", "net.c"], cwd=place, env={"MALLOC_PERTURB_": str(37 * int(turn))})
            with open(os.path.join(place, "net.c"), "rb") as c, open(os.path.join(place, "net.h"), "rb") as h:
                texts.append((c.read(), h.read()))
        require(texts[0] == texts[1], "two runs of salunc wrote different bytes")


def model(name):
    with open(os.path.join(MODELS, name)) as source:
        return source.read()


def main():
    compare("small", SMALL)
    compare("small-train", SMALL, "--train", "--batch", "8")
    compare("small-strict", SMALL, "--math=strict", "--target=portable")
    compare("small-train-strict", SMALL, "--train", "--batch", "8", "--math=strict", "--target=portable")
    if not QUICK:
        compare("resnet18", model("resnet18.snet"), "-D", "width=4")
        compare("resnet18-train", model("resnet18.snet"), "--train", "--batch", "8", "-D", "width=4")
    for name in ["smallnet.snet"] if QUICK else sorted(os.listdir(MODELS)):
        if name.endswith(".snet"):
            stable(name, os.path.join(MODELS, name))
            stable(name + " --train", os.path.join(MODELS, name), "--train", "--batch", "8")
    end()


if __name__ == "__main__":
    main()
