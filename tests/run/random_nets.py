#!/usr/bin/python3
"""random_nets.py [--seed S] [--count N] [--seconds T] [--keep] - random networks: compiled programs against the interpreter.

Draws networks as .snet text: odd channel counts, strides, groups, kernels, paddings, dilations, activations (users'
formulas too), residuals, sums of convolutions, parameters read twice, pools, normalizers, batches, recipes; every third
over tokens: linear layers, attention, parts of tensors put together. For each, `salunc eval --double` is compared with
the inference program at all targets, by all algorithms of convolutions and in pieces, the gradients of training
programs with the interpreter's, and those with differences of the interpreter's loss (where training computes what
inference does). Weights after some steps have the same bits whether step and update are one or apart. Without options: a fixed set of seeds, as long as the time allows.
A failing network is printed with its seed and kept.
"""

import argparse
import os
import shutil
import sys
import time

from lib import (QUICK, SALUNC, Failure, compile_net, draw_weights, end, golden_io, infer, initial_weights, interpret, not_ok,
                 note, np, ok, require, run, runnable_targets, work)

FOLDER = work("random")
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 20, 24, 32, 33, 48, 100)
BUILT_IN = ("salu", "swalu", "galu", "relu", "prelu", "dyt", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "softplus", "isru",
            "isrlu", "elu", "leaky_relu", "derf", "salu(a = 2, b = 0.5)", "salu(fixed a = 1.5)")
FORMULAS = (
    "p1(x; k > 0 = 0.7) = x * exp(-k*x^2) + x",
    "p2(x; p: channel = 0.1, q = 0.3) = x if x > p else q*x + (1 - q)*p",
    "p3(x; k in (0, 3) = 1) = tanh(k*x) * x / (1 + abs(x)) + 0.5",
    "p4(x; p = 0.4, k: channel > 0 = 1) = sin(x) + p*cos(k*x)",
    "p5(x; q: channel = 1) = log(1 + x^2) * q + softplus(x)/4",
    "p6(x; k >= 0.1 = 0.5) = sqrt(1 + k*x^2) - 2*rsqrt(1 + x^2)",
    "p7(x; p: channel = -0.2, q: channel = 0.9) = max(min(x, 3), p) * q + abs(x)/8",
    "p8(x; k = 0.8) = x/2 * (1 + erf(k*x)) + sigmoid(x)",
    "p9(x; k > 0.01 = 1, s: channel > 0 = 1) = s*x / sqrt(k + s*x^2) + exp(-abs(x))",
    "p10(x; a > 0 = 1, b > 0 = 1) = salu(x + 0.25, a, b) - swalu(x, b, a)/2",
)
ALGORITHMS = ("auto", "strassen", "winograd2", "winograd4")
GROUPS = ('group "*.weight" { lr_scale = 0.5 }', 'group "*.bias", "*.a" { weight_decay = 0 }', 'group "fc.*" { frozen = true }',
          'group "l*.weight" { lr_scale = 2; weight_decay = 0.01 }')
SAME_IN_TRAINING = ("layernorm", "rmsnorm", "instancenorm", "salu", "identity")


class Draw:
    """One random network: .snet text, capacity, images per run, and whether training computes what inference does."""

    def __init__(self, seed):
        self.r = np.random.default_rng(seed)
        self.lines, self.used, self.count = [], set(), 0
        self.same = True
        self.channels = self.pick((1, 2, 3, 3, 3, 4, 8, 17))
        self.height, self.width = int(self.r.integers(4, 18)), int(self.r.integers(4, 18))
        self.input = (self.channels, self.height, self.width)
        self.classes = self.pick((2, 3, 5, 10, 17))
        self.batch = self.pick((1, 2, 3, 8, 9, 16))
        self.n = int(self.r.integers(1, self.batch + 1))
        self.draw()
        self.close()
        self.update = self.recipe()
        self.algorithm, self.piece = self.pick(ALGORITHMS), int(self.r.integers(1, self.batch + 1))

    def draw(self):
        for _ in range(int(self.r.integers(3, 8))):
            self.pick((self.conv, self.conv, self.act, self.act, self.norm, self.residual, self.pool, self.arithmetic, self.branches,
                       self.shared))()

    def pick(self, options):
        return options[int(self.r.integers(len(options)))]

    def chance(self, p):
        return self.r.random() < p

    def label(self):
        self.count += 1
        return f"l{self.count}"

    def put(self, expression):
        self.lines.append(f"  x = {expression}")

    def activation(self):
        if self.chance(0.35):
            formula = self.pick(FORMULAS)
            self.used.add(formula)
            return formula.split("(")[0]
        return self.pick(BUILT_IN)

    def act(self):
        self.put(f"x |> {self.activation()} as {self.label()}")

    def normalizer(self):
        divisors = [g for g in (1, 2, 3, 4, 5, 8) if self.channels % g == 0]
        name = self.pick(("batchnorm", "center", "salu", "layernorm", "rmsnorm", "instancenorm", f"groupnorm({self.pick(divisors)})"))
        self.same = self.same and (name in SAME_IN_TRAINING or name.startswith("groupnorm"))
        return name

    def norm(self):
        if self.height * self.width > 1:
            self.put(f"x |> {self.normalizer()} as {self.label()}")

    def pair(self, value, other):
        return str(value) if value == other else f"({value}, {other})"

    def conv(self, channels=None, keep=False):
        """A convolution; keep: of the same height and width."""
        groups = self.pick([g for g in (1, 1, 1, 2, 3, 4, 5, self.channels) if self.channels % g == 0])
        wanted = channels or self.pick(CHANNELS)
        if channels and channels % groups:
            groups = 1
        out = max(groups, wanted // groups * groups)
        sizes = (self.height, self.width)
        kernel = [self.pick([k for k in (1, 1, 2, 3, 3, 3, 5, 7) if k <= s + 2 and (not keep or k % 2)]) for s in sizes]
        if self.chance(0.7) and kernel[0] <= self.width + 2:
            kernel[1] = kernel[0]
        dilation = 2 if self.chance(0.15) and all(2 * k - 1 <= s for k, s in zip(kernel, sizes)) else 1
        stride = 1 if keep else self.pick((1, 1, 1, 2, 3))
        reach = [dilation * (k - 1) + 1 for k in kernel]
        text = f"conv({out}, {self.pair(*kernel)}"
        text += f", stride = {stride}" if stride > 1 else ""
        text += f", groups = {groups}" if groups > 1 else ""
        text += f", dilation = {dilation}" if dilation > 1 else ""
        padding = [dilation * (k // 2) for k in kernel]
        if not keep and (self.chance(0.4) or any(k % 2 == 0 for k in kernel)):
            padding = [int(self.r.integers(0, k)) for k in kernel]
            padding = [max(p, (e - s + 1) // 2, 0) for p, e, s in zip(padding, reach, sizes)]
            text += f", padding = {self.pair(*padding)}"
        text += ", bias = true" if self.chance(0.4) else ""
        self.put(f"x |> {text}) as {self.label()}")
        self.height, self.width = ((s + 2 * p - e) // stride + 1 for s, p, e in zip(sizes, padding, reach))
        self.channels = out

    def residual(self):
        """act(norm(conv(x)) + shortcut), as residual networks have it."""
        kept, channels = self.label(), self.channels
        self.lines.append(f"  {kept} = x")
        if self.chance(0.5):
            self.conv(keep=True)
            self.act()
        self.conv(channels, keep=True)
        if self.chance(0.6):
            self.norm()
        shortcut = f"({kept} |> conv({channels}, 1) as {self.label()})" if self.chance(0.3) else kept
        if self.channels != channels:
            shortcut = f"({kept} |> conv({self.channels}, 1) as {self.label()})"
        self.put(f"x + {shortcut} |> {self.activation()} as {self.label()}")

    def branches(self):
        """Two convolutions of one value: the gradients of their weights are one."""
        self.channels, kernel = self.pick((16, 32, self.channels)), self.pick((1, 3))
        a, b = (f"(x |> conv({self.channels}, {kernel}) as {self.label()})" for _ in range(2))
        self.put(f"{a} {self.pick('+-')} {b}")

    def shared(self):
        """A parameter that is read twice, by a formula and as an activation's."""
        name = self.label()
        self.lines.append(f"  param {name}: f32[x.channels] = ones")
        formula = self.pick((f"salu(x * {name}, a = exp({name}/4), b = 0.5) + {name}", f"x * {name} * {name} + exp(-{name}^2)",
                             f"x * detach({name}) + {name}"))
        self.same = self.same and "detach" not in formula
        self.put(formula)

    def pool(self):
        if min(self.height, self.width) < 2:
            return
        size = self.pick([k for k in (2, 3) if k <= min(self.height, self.width)])
        stride, padding = self.pick((1, 2, size)), self.pick((0, size // 2))
        self.put(f"x |> {self.pick(('maxpool', 'avgpool'))}({size}, stride = {stride}, padding = {padding}) as {self.label()}")
        self.height, self.width = ((s + 2 * padding - size) // stride + 1 for s in (self.height, self.width))

    def arithmetic(self):
        self.put(self.pick(("0.5 * x + 0.25", "x * (0.5 - 0.125 * x)", "x / (1 + x^2)", "x - x |> sigmoid",
                            "x * (x |> silu)", "-x", "x^3 / (2 + x^2 + 0.5 * x^4)")))

    def close(self):
        features = self.pick(("global_avgpool", "flatten"))
        if self.channels * self.height * self.width > 3000:
            features = "global_avgpool"
        tail = f" |> linear({self.pick((3, 17, 32))}) as h |> {self.activation()} as ha" if self.chance(0.3) else ""
        self.lines.append(f"  return x |> {features}{tail} |> linear({self.classes}) as fc")

    def recipe(self):
        momentum = self.pick(("", ", momentum = 0.9", ", momentum = 0.9, nesterov = true"))
        lines = [f"optimizer sgd(lr = 0.02{momentum}{self.pick(('', ', weight_decay = 0.01'))})", self.pick(("", "", *GROUPS))]
        return "".join(f"  {line}\n" for line in lines if line)

    def text(self):
        sizes = ", ".join(map(str, self.input)) + ("] channel = last" if len(self.input) == 2 else "]")
        head = "".join(f"activation {formula}\n" for formula in sorted(self.used))
        return (f"{head}network Net(x: f32[N, {sizes}) {{\n" + "\n".join(self.lines) + "\n}\n"
                f"train Net {{\n  loss cross_entropy(smoothing = 0.1)\n{self.update}  epochs 1\n  seed 1\n}}\n")


class Tokens(Draw):
    """A network over tokens [N, tokens, channels]; channels stands for the last axis."""

    WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 17, 24, 32, 36, 48)

    def draw(self):
        if self.chance(0.3):
            self.tokens, self.channels = int(self.r.integers(1, 70)), self.pick(self.WIDTHS)
            self.input = (self.tokens, self.channels)
        else:
            self.patches()
        for _ in range(int(self.r.integers(3, 8))):
            self.pick((self.linear, self.attention, self.attention, self.across, self.act, self.norm, self.arithmetic, self.learned,
                       self.cut, self.gate, self.join, self.mix, self.center, self.mlp))()

    def patches(self):
        if self.chance(0.3):
            self.conv()
        size = self.pick([k for k in (1, 2, 3, 4) if k <= min(self.height, self.width)])
        out = self.pick(self.WIDTHS)
        self.put(f"x |> conv({out}, {size}, {size}, padding = 0, bias = true) as {self.label()} |> reshape([{out}, -1]) |> transpose([0, 2, 1])")
        self.tokens, self.channels = (self.height // size) * (self.width // size), out

    def heads(self, channels):
        return self.pick([h for h in (1, 2, 3, 4, 6, 8) if channels % h == 0])

    def linear(self):
        self.channels = self.pick(self.WIDTHS)
        self.put(f"x |> linear({self.channels}{self.pick(('', '', ', bias = false'))}) as {self.label()}")

    def attention(self):
        causal = self.pick(("", "", ", causal = true"))
        layer = f"attention({self.heads(self.channels)}{causal}) as {self.label()}"
        self.put(f"x + (x |> {self.pick(('layernorm', 'salu', 'rmsnorm'))} as {self.label()} |> {layer})" if self.chance(0.7) else f"x |> {layer}")

    def across(self):
        """Queries from some of the tokens, keys and values from others; all through one linear layer or three."""
        width, (q, k, v) = self.pick(self.WIDTHS), (self.label() for _ in "qkv")
        queries, causal = int(self.r.integers(1, self.tokens + 1)), self.pick(("", ", causal = true"))
        scale = self.pick(("", ", scale = 0.4"))
        if self.chance(0.5):
            self.lines.append(f"  {q}, {k}, {v} = x |> linear({3 * width}) as {self.label()} |> split(2, 3)")
        else:
            self.lines += [f"  {part} = x |> linear({width}) as {part}" for part in (q, k, v)]
        begin = int(self.r.integers(0, self.tokens - queries + 1))
        self.put(f"attend({q} |> slice(1, {begin}..{begin + queries}), {k}, {v}, heads = {self.heads(width)}{causal}{scale})")
        self.tokens, self.channels = queries, width

    def mlp(self):
        inner, width = self.pick(self.WIDTHS), self.channels
        self.put(f"x + (x |> linear({inner}) as {self.label()} |> {self.activation()} as {self.label()} |> linear({width}) as {self.label()})")

    def norm(self):
        name = self.pick(("batchnorm", "center", "salu", "layernorm", "rmsnorm", "instancenorm", "softmax", "softmax(axis = 1)"))
        self.same = self.same and name in SAME_IN_TRAINING + ("softmax", "softmax(axis = 1)")
        if self.tokens > 1 or name not in ("batchnorm", "instancenorm"):
            self.put(f"x |> {name} as {self.label()}")

    def learned(self):
        name, shape = self.label(), self.pick((f"1, {self.tokens}, {self.channels}", f"1, 1, {self.channels}", f"{self.channels}",
                                               f"{self.tokens}, 1"))
        self.lines.append(f"  param {name}: f32[{shape}] = normal(0.5)")
        self.put(f"x {self.pick('+*')} {name}")

    def cut(self):
        axis = self.pick((1, 1, 2))
        whole = self.tokens if axis == 1 else self.channels
        size = int(self.r.integers(max(1, whole // 2), whole + 1))
        begin = int(self.r.integers(0, whole - size + 1))
        self.put(f"x |> slice({axis}, {begin}..{begin + size})")
        if axis == 1:
            self.tokens = size
        else:
            self.channels = size

    def gate(self):
        """One half of the channels times a function of the other."""
        if self.channels % 2:
            self.channels += 1
            self.put(f"x |> pad(2, {self.pick(('0, 1', '1, 0'))})")
        a, b = self.label(), self.label()
        self.lines.append(f"  {a}, {b} = x |> split(2, 2)")
        self.put(f"{a} * ({b} |> {self.activation()} as {self.label()})")
        self.channels //= 2

    def join(self):
        """A class token in front, tokens behind tokens, channels beside channels."""
        name, kind = self.label(), int(self.r.integers(3))
        if kind == 0:
            self.lines.append(f"  param {name}: f32[1, 1, {self.channels}] = normal(0.5)")
            self.put(f"concat({name}, x, axis = 1)")
            self.tokens += 1
        elif kind == 1 and self.tokens < 80:
            self.put(f"concat(x, x |> {self.activation()} as {self.label()}, axis = 1)")
            self.tokens *= 2
        else:
            width = self.pick((1, 3, 16))
            self.put(f"[x |> linear({width}) as {name}, x] |> concat(2)")
            self.channels += width

    def mix(self):
        """A linear layer over the places of each channel."""
        if self.tokens > 80:
            return
        out, (t, c) = self.pick((1, 4, 16, 20)), (self.tokens, self.channels)
        self.put(f"x |> transpose([0, 2, 1]) |> reshape([{c}, {t}], channel = 2) |> linear({out}) as {self.label()} "
                 f"|> transpose([0, 2, 1]) |> reshape([{out}, {c}], channel = 2)")
        self.tokens = out

    def center(self):
        self.put(f"x - mean(x, axis = {self.pick((1, 2))}, keep = true)")

    def close(self):
        last = self.pick((f"slice(1, {int(self.r.integers(self.tokens))})", "mean(1)", "global_avgpool", "sum(1)", "flatten"))
        if last == "flatten" and self.channels * self.tokens > 3000:
            last = "slice(1, -1)"
        self.lines.append(f"  return x |> {last} |> linear({self.classes}) as fc")


def draw_network(seed):
    return Tokens(seed) if seed % 3 == 2 else Draw(seed)


# ---- inference ----

def check_inference(net, draw, weights, x, targets, math):
    exact = interpret(net, weights, x, FOLDER)
    plain = interpret(net, weights, x, FOLDER, double=False)
    scale = np.abs(exact).max() + 1e-3
    allowed = max(2e-5 * scale, 16 * np.abs(plain - exact).max())
    if math == "fast" and draw.algorithm != "auto":
        allowed *= 4                                   # where it does not pay it is not for its errors either
    require(np.isfinite(exact).all() and allowed < 0.05 * scale, f"the interpreter in float is {np.abs(plain - exact).max():.3g} off")
    for target in targets:
        program = compile_net(net, os.path.join(FOLDER, "infer"), "--batch", draw.batch, f"--target={target}", f"--math={math}",
                              f"--conv={draw.algorithm}", f"--piece={draw.piece}")
        for n in {draw.n, draw.batch, draw.batch + 1}:
            y = infer(program, weights, x[:n], FOLDER)
            error = np.abs(y - exact[:n]).max()
            require(y.shape == exact[:n].shape and error <= allowed,
                    f"{target} {math} {draw.algorithm}, batch {draw.batch} in pieces of {draw.piece}, n = {n}: logits {error:.3g} off, {allowed:.3g} allowed, largest {scale:.3g}")


# ---- gradients ----

def loss_of(logits, labels, smoothing):
    z = logits.astype(np.float64)
    p = z - z.max(1, keepdims=True)
    p = p - np.log(np.exp(p).sum(1, keepdims=True))
    return -((1 - smoothing) * p[np.arange(len(labels)), labels] + smoothing * p.mean(1)).mean()


def compile_training(net, draw, target, math):
    return compile_net(net, os.path.join(FOLDER, "train"), "--train", "--batch", draw.batch, f"--target={target}", f"--math={math}",
                       f"--conv={draw.algorithm}")


def train(program, weights, x, labels, *options):
    images, classes = (os.path.join(FOLDER, name) for name in ("i.npy", "l.npy"))
    np.save(images, x)
    np.save(classes, labels)
    run([program, "--data", f"npy:{images},{classes}", "--weights", weights, "--batch", len(x), "--no-augment", "--no-shuffle",
         "--label-smoothing", 0.1, *options])


def dump_gradients(program, weights, x, labels):
    dump = os.path.join(FOLDER, "g.safetensors")
    train(program, weights, x, labels, "--steps", 1, "--lr", 0, "--dump-gradients", dump)
    return golden_io.read_safetensors(dump)[0]


def check_update(program, weights, x, labels):
    """Where gradients are wanted, the step that gives them and its update are apart."""
    one, apart, dump = (os.path.join(FOLDER, name) for name in ("one.safetensors", "apart.safetensors", "g.safetensors"))
    train(program, weights, x, labels, "--steps", 2, "--overwrite", "--save", one)
    train(program, weights, x, labels, "--steps", 2, "--overwrite", "--save", apart, "--dump-gradients", dump)
    with open(one, "rb") as a, open(apart, "rb") as b:
        require(a.read() == b.read(), "step and update in one give other weights than apart")


def directional(net, tensors, name, direction, x, labels):
    """(L(w + e) - L(w - e)) / 2 along one tensor, and the step that was really taken."""
    losses, values = [], []
    path = os.path.join(FOLDER, "d.safetensors")
    for sign in (1, -1):
        value = (tensors[name].astype(np.float64) + sign * direction).astype(np.float32)
        golden_io.write_safetensors(path, {**tensors, name: value})
        losses.append(loss_of(interpret(net, path, x, FOLDER), labels, 0.1))
        values.append(value.astype(np.float64))
    return losses[0] - losses[1], values[0] - values[1]


def agrees(net, tensors, name, gradient, direction, x, labels, allowed):
    """Whether the gradient along a direction is what differences give, at one of three steps."""
    wanted = []
    for step in (1e-4, 1e-3, 3e-5):
        difference, taken = directional(net, tensors, name, step * direction, x, labels)
        got, want = float(np.sum(gradient.astype(np.float64) * taken)) / step, difference / step
        if abs(got - want) <= allowed:
            return True, ""
        wanted.append(f"{want:.6g}")
    return False, f"gradient of {name}: {got:.6g} along a direction, differences give {', '.join(wanted)}, {allowed:.3g} allowed"


def check_differences(net, tensors, gradients, x, labels, seed):
    """Kinks of relu and max within a step spoil a difference: a gradient is wrong when four directions say so."""
    random = np.random.default_rng(seed)
    most = max(np.linalg.norm(g) for g in gradients.values())
    for name, gradient in gradients.items():
        size = np.sqrt(np.mean(tensors[name].astype(np.float64) ** 2)) + 0.1
        allowed = size * (4e-3 * np.linalg.norm(gradient) + 2e-4 * most + 2e-7)
        for _ in range(4):
            good, why = agrees(net, tensors, name, gradient, size * random.normal(size=tensors[name].shape), x, labels, allowed)
            if good:
                break
        require(good, why)


def interpreter_gradients(net, draw, weights, x, labels, double):
    images, classes, dump = (os.path.join(FOLDER, name) for name in ("i.npy", "l.npy", "r.safetensors"))
    np.save(images, x)
    np.save(classes, labels)
    run([SALUNC, "eval", net, "--batch", draw.batch, "--weights", weights, "--input", images, "--labels", classes, "--gradients", dump]
        + (["--double"] if double else []))
    return golden_io.read_safetensors(dump)[0]


def check_alike(gradients, exact, plain, label):
    most = max(np.linalg.norm(g) for g in exact.values())
    require(gradients.keys() == exact.keys(), f"other gradients than the interpreter's: {set(gradients) ^ set(exact)}")
    for name, want in exact.items():
        error = np.linalg.norm(gradients[name].astype(np.float64) - want)
        allowed = 2e-4 * np.linalg.norm(want) + 16 * np.linalg.norm(plain[name].astype(np.float64) - want) + 1e-5 * most
        require(error <= allowed, f"{label}: gradient of {name} is {error:.3g} off, {allowed:.3g} allowed, norm {np.linalg.norm(want):.3g}")


def check_training(net, draw, weights, tensors, x, targets, seed, math):
    labels = np.random.default_rng(seed + 77).integers(0, draw.classes, draw.n)
    images = x[:draw.n]
    exact = interpreter_gradients(net, draw, weights, images, labels, True)
    plain = interpreter_gradients(net, draw, weights, images, labels, False)
    for turn in range(2):
        target = targets[(seed + turn) % len(targets)]
        program = compile_training(net, draw, target, math)
        check_update(program, weights, images, labels)
        gradients = dump_gradients(program, weights, images, labels)
        for name, gradient in gradients.items():
            require(np.isfinite(gradient).all(), f"{target} {math}: gradient of {name} is not finite")
        check_alike(gradients, exact, plain, f"{target} {math}, batch {draw.batch}, n = {draw.n}")
    if draw.same:
        trained = {name: gradient for name, gradient in exact.items() if not ("frozen" in draw.update and name.startswith("fc."))}
        check_differences(net, tensors, trained, images, labels, seed)


# ---- all ----

def check(seed, targets):
    draw = draw_network(seed)
    os.environ["CFLAGS"] = "" if seed % 4 == 0 else "-O1"     # most networks are compiled for many, a few as users do
    net, weights = os.path.join(FOLDER, "net.snet"), os.path.join(FOLDER, "w.safetensors")
    with open(net, "w") as out:
        out.write(draw.text())
    random = np.random.default_rng(seed + 1)
    try:
        tensors = draw_weights(initial_weights(net, weights, seed=seed), seed)
        golden_io.write_safetensors(weights, tensors)
        x = random.normal(size=(draw.batch + 1, *draw.input)).astype(np.float32)
        math = "strict" if seed % 3 == 0 else "fast"
        check_inference(net, draw, weights, x, targets, math)
        check_training(net, draw, weights, tensors, x, targets, seed, math)
    except (Failure, OSError, ValueError, KeyError) as failure:
        kept = os.path.join(FOLDER, f"failed-{seed}.snet")
        shutil.copy(net, kept)
        not_ok(f"random network {seed}", f"{failure} ({kept}, batch {draw.batch})")
        return False
    ok(f"random network {seed}")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seconds", type=float, help="begin no further network after this time")
    parser.add_argument("--print", action="store_true", help="print the networks, run nothing")
    parser.add_argument("--target", action="append", help="only these targets")
    arguments = parser.parse_args()
    count = arguments.count or (6 if QUICK else 40)
    limit = arguments.seconds or (float("inf") if arguments.count else 120 if QUICK else 420)
    seeds = range(arguments.seed, arguments.seed + count)
    if arguments.print:
        for seed in seeds:
            print(f"# seed {seed}, batch {draw_network(seed).batch}\n{draw_network(seed).text()}")
        return
    targets = arguments.target or runnable_targets()
    begin, done = time.monotonic(), 0
    for seed in seeds:
        if time.monotonic() - begin > limit and done >= 4:
            note(f"{done} of {count} networks: the time was up")
            break
        check(seed, targets)
        done += 1
    require(shutil.which(SALUNC) or os.path.exists(SALUNC), "no salunc")
    end()


if __name__ == "__main__":
    sys.exit(main())
