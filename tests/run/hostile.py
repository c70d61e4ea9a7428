#!/usr/bin/python3
"""hostile.py - broken weight files, arrays, pictures and data sets against compiled programs under AddressSanitizer and UBSan.

Every one must end with exit code 2 and one line that names the file and, where there is one, the tensor; what a file with
random bits turned over means is open (0 or 2), but nothing may be read or written out of bounds. SALUNC is the compiler
of a build with -DSALUN_SANITIZE=ON.
"""

import json
import os
import struct

from lib import DIGITS, QUICK, Failure, call, compile_net, end, golden_io, initial_weights, np, require, run, test, work

FOLDER = work("hostile")
SANITIZE = {"CC": "clang -fsanitize=address,undefined -fno-sanitize-recover=undefined -g"}
NET = """
network Net(image: f32[N, 3, 8, 8]; classes = 5) {
  preprocess image = normalize([0.5, 0.5, 0.5], [0.25, 0.25, 0.25])
  x = image |> conv(6, 3) as conv1 |> batchnorm as bn1 |> salu as act1
  return x |> global_avgpool |> linear(classes) as fc
}
train Net {
  data npy("images.npy", "labels.npy", batch = 4)
  loss cross_entropy()
  optimizer sgd(lr = 0.1)
  epochs 1
  seed 1
}
"""


def path(name):
    return os.path.join(FOLDER, name)


def write(name, data):
    with open(path(name), "wb") as out:
        out.write(data)
    return path(name)


def expect(label, command, *words, codes=(2,)):
    """The command ends with one of the codes and one line that holds the words, and no sanitizer says a thing."""
    with test(label):
        code, out, err = call(command, timeout=120)
        lines = [line for line in err.strip().splitlines() if not line.startswith("note: ") and ": note: " not in line]
        require("Sanitizer" not in err and "runtime error" not in err, "sanitizer: " + " | ".join(err.splitlines()[:6]))
        require(code in codes, f"exit code {code}, expected {codes}: {err[:300]}")
        if 0 not in codes:
            require(len(lines) == 1, f"{len(lines)} lines: {err[:300]}")
            for word in words:
                require(word in err, f"`{word}` is not in: {err[:300]}")


# ---- weights ----

def parts(blob):
    length = struct.unpack("<Q", blob[:8])[0]
    return json.loads(blob[8:8 + length]), blob[8 + length:]


def joined(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def wrong_weights(tensors, blob):
    """(label, bytes, words of the message)"""
    header, data = parts(blob)
    last = max(header, key=lambda name: header[name]["data_offsets"][1] if name != "__metadata__" else -1)

    def changed(name, **fields):
        return joined({**header, name: {**header[name], **fields}}, data)

    def without(name):
        golden_io.write_safetensors(path("t"), {k: v for k, v in tensors.items() if k != name})
        return open(path("t"), "rb").read()

    def having(**more):
        golden_io.write_safetensors(path("t"), {**tensors, **{k.replace("__", "."): v for k, v in more.items()}})
        return open(path("t"), "rb").read()

    begin, stop = header["fc.bias"]["data_offsets"]
    yield "empty", b"", []
    yield "7 bytes", blob[:7], []
    for at in (8, 20, len(blob) - len(data) - 1):
        yield f"cut in the header at {at}", blob[:at], ["cut off" if at < len(blob) - len(data) else ""]
    yield "cut in the data", blob[:-5], [last]
    yield "cut to half", blob[:len(blob) - len(data) // 2], ["tensor"]
    yield "bytes behind", blob + b"1234", ["4"]
    yield "header of 2^63 bytes", struct.pack("<Q", 1 << 63) + blob[8:], ["header"]
    yield "header longer than the file", struct.pack("<Q", len(blob)) + blob[8:], ["header"]
    yield "header of 2^64 - 1 bytes", struct.pack("<Q", (1 << 64) - 1) + blob[8:], ["header"]
    yield "no JSON", struct.pack("<Q", 8) + b"garbage!" + data, []
    yield "deep JSON", struct.pack("<Q", 100000) + b"[" * 100000, []
    yield "header is a list", struct.pack("<Q", 2) + b"[]", []
    yield "overlapping offsets", changed("fc.bias", data_offsets=[begin - 4, stop - 4]), ["fc.bias"]
    yield "offsets beyond the file", changed("fc.bias", data_offsets=[len(data), len(data) + 20]), ["fc.bias"]
    yield "offsets backwards", changed("fc.bias", data_offsets=[stop, begin]), ["fc.bias"]
    yield "offsets of 2^63", changed("fc.bias", data_offsets=[1 << 63, (1 << 63) + 20]), ["fc.bias"]
    yield "offsets negative", changed("fc.bias", data_offsets=[-20, 0]), ["fc.bias"]
    yield "offsets of another size", changed("fc.bias", shape=[4]), ["fc.bias"]
    yield "shape overflows", changed("fc.bias", shape=[1 << 62, 1 << 62]), ["fc.bias"]
    yield "shape negative", changed("fc.bias", shape=[-5]), ["fc.bias"]
    yield "shape of 100 dimensions", changed("fc.bias", shape=[1] * 99 + [5]), ["fc.bias"]
    yield "dtype unknown", changed("fc.bias", dtype="F33"), ["fc.bias"]
    yield "a tensor without a shape", joined({**header, "fc.bias": {"dtype": "F32"}}, data), ["fc.bias"]
    yield "wrong shape", having(fc__weight=tensors["fc.weight"].T.copy()), ["fc.weight", "[6,5]", "[5,6]"]
    yield "wrong rank", having(fc__bias=tensors["fc.bias"].reshape(1, 5)), ["fc.bias"]
    yield "wrong dtype", having(fc__bias=tensors["fc.bias"].astype(np.int64)), ["fc.bias", "I64"]
    yield "missing tensor", without("bn1.running_mean"), ["missing", "bn1.running_mean"]
    yield "extra tensor", having(fc2__bias=tensors["fc.bias"]), ["fc2.bias"]
    yield "constraint broken", having(act1__a=-tensors["act1.a"]), ["act1.a", "-1"]
    yield "constraint NaN", having(act1__a=tensors["act1.a"] * np.float32("nan")), ["act1.a"]
    twice = blob[8:len(blob) - len(data)].decode().rstrip().rstrip("}") + ', "fc.bias": ' + json.dumps(header["fc.bias"]) + "}"
    yield "a tensor twice", struct.pack("<Q", len(twice)) + twice.encode() + data, ["fc.bias"]
    yield "no tensors", joined({}, b""), ["missing"]


def accepted_weights(tensors):
    yield "F16", {k: v.astype(np.float16) for k, v in tensors.items()}
    yield "F64", {k: v.astype(np.float64) for k, v in tensors.items()}
    yield "scalars of shape []", {k: v.reshape([]) if v.size == 1 else v for k, v in tensors.items()}
    yield "num_batches_tracked", {**tensors, "bn1.num_batches_tracked": np.array(3, np.int64)}


def check_weights(programs, tensors):
    golden_io.write_safetensors(path("good.safetensors"), tensors)
    blob = open(path("good.safetensors"), "rb").read()
    x = path("x.npy")
    np.save(x, np.zeros((2, 3, 8, 8), np.float32))
    np.save(path("y.npy"), np.zeros(2, np.int64))
    for name, command in (("infer", [programs[0], "--input", x, "--output", path("o.npy")]),
                          ("train", [programs[1], "--data", f"npy:{x},{path('y.npy')}", "--steps", 1, "--save", path("s.safetensors")])):
        for label, data, words in wrong_weights(tensors, blob):
            bad = write("bad.safetensors", data)
            expect(f"{name}: weights {label}", [*command, "--weights", bad], *[w for w in words if w], "bad.safetensors")
        expect(f"{name}: weights not there", [*command, "--weights", path("nowhere")], "nowhere")
        expect(f"{name}: weights a folder", [*command, "--weights", FOLDER], FOLDER)
        for label, good in accepted_weights(tensors):
            golden_io.write_safetensors(path("odd.safetensors"), good)
            expect(f"{name}: weights {label}", [*command, "--weights", path("odd.safetensors")], codes=(0,))
    with test("infer: 300 weight files with bits turned over"):
        random = np.random.default_rng(4)
        head = len(blob) - len(parts(blob)[1])
        for turn in range(60 if QUICK else 300):
            bad = bytearray(blob)
            for _ in range(int(random.integers(1, 4))):
                bad[int(random.integers(head if turn % 3 else len(blob)))] ^= 1 << int(random.integers(8))
            write("bad.safetensors", bytes(bad))
            code, _, err = call([programs[0], "--input", x, "--output", path("o.npy"), "--weights", path("bad.safetensors")])
            require(code in (0, 2) and "Sanitizer" not in err and "runtime error" not in err, f"turn {turn}, exit code {code}: {err[:300]}")


# ---- arrays and pictures ----

def check_inputs(program):
    command = [program, "--weights", path("good.safetensors"), "--output", path("o.npy"), "--input"]
    np.save(path("n.npy"), np.zeros((2, 3, 8, 8), np.float32))
    blob = open(path("n.npy"), "rb").read()
    for label, data in (("empty", b""), ("cut header", blob[:30]), ("cut data", blob[:-9]), ("longer", blob + b"1"),
                        ("shape overflows", blob.replace(b"(2, 3, 8, 8)", b"(4611686018427387904, 4, 8, 8)")),
                        ("negative shape", blob.replace(b"(2,", b"(-2,")), ("type", blob.replace(b"<f4", b"<c8")),
                        ("no dictionary", blob.replace(b"{", b"[")), ("Fortran order", blob.replace(b"False", b"True "))):
        expect(f"infer: .npy {label}", [*command, write("bad.npy", data)], "bad.npy")
    for label, array in (("wrong shape", np.zeros((2, 3, 8, 9), np.float32)), ("wrong rank", np.zeros((3, 8), np.float32)),
                         ("float64", np.zeros((2, 3, 8, 8)))):
        np.save(path("bad.npy"), array)
        expect(f"infer: .npy {label}", [*command, path("bad.npy")], "bad.npy")
    with open(os.path.join(DIGITS, "pictures", sorted(os.listdir(os.path.join(DIGITS, "pictures")))[0]), "rb") as source:
        png = source.read()
    for label, data in (("cut PNG", png[:len(png) // 2]), ("PNG of nothing", png[:8]), ("no picture", b"hello"), ("empty", b""),
                        ("huge PPM", b"P6 1000000 1000000 255\n"), ("cut PPM", b"P6 8 8 255\nabc"), ("JPEG of nothing", b"\xff\xd8\xff")):
        expect(f"infer: picture {label}", [*command, write("bad.png", data)], "bad.png")


# ---- data sets ----

def idx(rank, sizes, data):
    return bytes([0, 0, 8, rank]) + b"".join(struct.pack(">I", size) for size in sizes) + data


def check_npy_data(program):
    def attempt(label, images, labels, *words):
        np.save(path("i.npy"), images)
        np.save(path("l.npy"), labels)
        expect(f"train: {label}", [program, "--data", f"npy:{path('i.npy')},{path('l.npy')}", "--save", path("s.safetensors")], *words)

    images, labels = np.zeros((6, 3, 8, 8), np.uint8), np.arange(6) % 5
    attempt("a label too large", images, labels + 1, "l.npy", "5")
    attempt("a negative label", images, labels - 1, "l.npy")
    attempt("fewer labels", images, labels[:5], "l.npy")
    attempt("no images", images[:0], labels[:0], "i.npy")
    attempt("float labels", images, labels.astype(np.float32), "l.npy")
    attempt("wrong channels", images[:, :2], labels, "i.npy")
    attempt("wrong size of float images", np.zeros((6, 3, 9, 8), np.float32), labels, "i.npy")
    np.save(path("i.npy"), images)
    np.save(path("l.npy"), labels)
    blob = open(path("i.npy"), "rb").read()
    write("i.npy", blob[:-100])
    expect("train: images cut off", [program, "--data", f"npy:{path('i.npy')},{path('l.npy')}", "--save", path("s.safetensors")], "i.npy")
    expect("train: no such data", [program, "--data", path("nowhere"), "--save", path("s.safetensors")], "nowhere")
    expect("train: an empty folder", [program, "--data", os.makedirs(path("void")) or path("void"), "--save", path("s.safetensors")], "void")


def check_files(program, folder, good, cases, kind):
    """Each case replaces one file of a good data set."""
    os.makedirs(path(folder))
    for label, name, data in cases:
        for file, content in good.items():
            write(os.path.join(folder, file), content)
        if data is None:
            os.remove(path(os.path.join(folder, name)))
        else:
            write(os.path.join(folder, name), data)
        expect(f"train: {kind} {label}", [program, "--data", path(folder), "--save", path("s.safetensors")], name.split(".")[0])


def check_idx_data(program):
    images, labels = idx(3, (10, 28, 28), bytes(7840)), idx(1, (10,), bytes(range(10)))
    good = {"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": labels, "t10k-images-idx3-ubyte": images,
            "t10k-labels-idx1-ubyte": labels}
    with open(os.path.join(DIGITS, "train-labels-idx1-ubyte.gz"), "rb") as source:
        zipped = source.read()
    cases = [("empty images", "train-images-idx3-ubyte", b""), ("cut header", "train-images-idx3-ubyte", images[:9]),
             ("cut images", "train-images-idx3-ubyte", images[:-1]), ("longer images", "train-images-idx3-ubyte", images + b"1"),
             ("labels as images", "train-images-idx3-ubyte", labels), ("images as labels", "train-labels-idx1-ubyte", images),
             ("lying header", "train-images-idx3-ubyte", idx(3, (1 << 31, 1 << 31, 1 << 31), b"")),
             ("a label of 10", "train-labels-idx1-ubyte", idx(1, (10,), bytes(range(1, 11)))),
             ("fewer labels", "train-labels-idx1-ubyte", idx(1, (9,), bytes(9))), ("no labels", "train-labels-idx1-ubyte", None),
             ("no images in it", "train-images-idx3-ubyte", idx(3, (0, 28, 28), b"")),
             ("cut test labels", "t10k-labels-idx1-ubyte", labels[:-1])]
    check_files(program, "idx", good, cases, "IDX")
    os.remove(path("idx/train-labels-idx1-ubyte"))
    write("idx/t10k-labels-idx1-ubyte", labels)
    for label, data in (("cut gzip", zipped[:-20]), ("gzip of nothing", zipped[:10]),
                        ("turned bits in gzip", zipped[:200] + bytes([zipped[200] ^ 4]) + zipped[201:])):
        write("idx/train-labels-idx1-ubyte.gz", data)
        expect(f"train: IDX {label}", [program, "--data", path("idx"), "--save", path("s.safetensors")], "train-labels")


def check_cifar_data(program):
    row = bytes([1]) + bytes(3072)
    good = {f"data_batch_{k}.bin": row * 4 for k in range(1, 6)} | {"test_batch.bin": row * 4}
    cases = [("empty", "data_batch_2.bin", b""), ("cut", "data_batch_2.bin", (row * 4)[:-1]), ("a file missing", "data_batch_3.bin", None),
             ("a label of 10", "data_batch_4.bin", row * 3 + bytes([10]) + bytes(3072)), ("cut test images", "test_batch.bin", row[:100])]
    check_files(program, "cifar", good, cases, "CIFAR")


def check_checkpoints(program):
    """A checkpoint with bits turned over, cut, or of another program is refused."""
    np.save(path("i.npy"), np.zeros((6, 3, 8, 8), np.uint8))
    np.save(path("l.npy"), np.arange(6) % 5)
    command = [program, "--data", f"npy:{path('i.npy')},{path('l.npy')}", "--epochs", 2, "--save", path("c.safetensors")]
    run([*command, "--steps", 1])
    checkpoint = path("c.checkpoint")
    blob = open(checkpoint, "rb").read()
    cases = [("empty", b""), ("cut", blob[:-3]), ("half", blob[:len(blob) // 2]), ("longer", blob + b"x")]
    random = np.random.default_rng(8)
    for turn in range(10 if QUICK else 40):
        bad = bytearray(blob)
        bad[int(random.integers(len(blob)))] ^= 1 << int(random.integers(8))
        cases.append((f"bit turned over {turn}", bytes(bad)))
    for label, data in cases:
        write("c.checkpoint", data)
        expect(f"train: checkpoint {label}", [*command, "--resume"], "c.checkpoint")


def main():
    net = write("net.snet", NET.encode())
    mnist = write("mnist.snet", NET.replace("f32[N, 3, 8, 8]; classes = 5", "f32[N, 1, 28, 28]; classes = 10").replace(
        "[0.5, 0.5, 0.5], [0.25, 0.25, 0.25]", "[0.5], [0.25]").encode())
    cifar = write("cifar.snet", NET.replace("f32[N, 3, 8, 8]; classes = 5", "f32[N, 3, 32, 32]; classes = 10").encode())
    programs = None
    with test("compiles under sanitizers"):
        programs = (compile_net(net, path("infer"), "--batch", 2, env=SANITIZE),
                    compile_net(net, path("train"), "--train", "--batch", 4, env=SANITIZE),
                    compile_net(mnist, path("mnist"), "--train", "--batch", 4, env=SANITIZE),
                    compile_net(cifar, path("cifar-train"), "--train", "--batch", 4, env=SANITIZE))
        require(b"__asan" in open(programs[0], "rb").read(), "the program is not sanitized")
    if programs:
        tensors = dict(initial_weights(net, path("init.safetensors")))
        check_weights(programs, tensors)
        check_inputs(programs[0])
        check_npy_data(programs[1])
        check_idx_data(programs[2])
        check_cifar_data(programs[3])
        check_checkpoints(programs[1])
    end()


if __name__ == "__main__":
    main()
