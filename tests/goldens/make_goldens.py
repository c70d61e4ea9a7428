#!/usr/bin/python3
"""Makes the goldens: runs every case in PyTorch in float64 and writes CASE.golden beside this file.

usage: make_goldens.py [--out DIR] [--self-test] [CASE ...]

--self-test writes nothing: it checks gradients by finite differences and against SALU's closed formulas, that the
committed files agree with a new computation, and that PyTorch in float32 is within the tolerances of compare.py.
Needs PyTorch 1.13 and numpy (Debian: python3-torch python3-numpy, run by /usr/bin/python3).
"""

import argparse
import json
import math
import os
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import compare
import golden_io
import networks
from networks import MARGINS, TERMS, Center, RescaleNet, ResNet, Salu, Vgg19, Vit

SMOOTHING = 0.1
BATCHES = (1, 3, 16)
SEEDS = 100
HERE = os.path.dirname(os.path.abspath(__file__))


class Case:
    """A network at small width. options: as on salunc's command line; runs: (n, step) of the training runs.

    The seed draws the weights. For vgg19 one is taken that leaves no patch of an image without a living channel, where
    a max pool would choose between equals, for vit one whose gradients fit 16 bits (golden_io.quantize)."""

    def __init__(self, seed, model, options, size, classes, build, runs=None, gain=1.0):
        self.seed, self.model, self.options, self.size, self.classes, self.build = (
            seed, model, options, size, classes, build)
        self.runs = runs or [(n, 0) for n in BATCHES]
        self.gain = gain


def resnet18(seed, norm, act):
    return Case(seed, "resnet18", f"width=4 norm={norm} act={act}", 32, 10,
                lambda: ResNet(networks.Basic, (2, 2, 2, 2), False, 4, 10, norm, act))


def resnet50(seed, norm, act):
    return Case(seed, "resnet50", f"width=3 size=64 classes=7 norm={norm} act={act}", 64, 7,
                lambda: ResNet(networks.Bottleneck, (3, 4, 6, 3), True, 3, 7, norm, act))


def vgg19(seed, norm, runs=None):
    return Case(seed, "vgg19", f"width=2 size=64 hidden=24 classes=7 norm={norm}", 64, 7,
                lambda: Vgg19(2, 7, 64, 24, norm), runs, gain=math.sqrt(2))


def vit(seed, dim, heads, norm, act):
    return Case(seed, "vit", f"dim={dim} depth=2 heads={heads} norm={norm} act={act}", 32, 10,
                lambda: Vit(32, 4, dim, 2, heads, 2, 10, norm, act))


EARLY_AND_LATE = [(3, 0), (16, 3), (1, 9), (3, 9), (16, 9)]
CASES = {
    "resnet18-salu": resnet18(100, "salu", "swalu"),
    "resnet18-batchnorm": resnet18(101, "batchnorm", "relu"),
    "resnet50-salu": resnet50(102, "salu", "swalu"),
    "resnet50-batchnorm": resnet50(103, "batchnorm", "relu"),
    "rescale50": Case(104, "rescalenet", "width=2 size=64 classes=7", 64, 7, lambda: RescaleNet((3, 4, 6, 3), 2, 7),
                      [(3, 0), (1, 3), (3, 3), (16, 3), (1, 9), (3, 9), (16, 9)]),
    "rescale50-groups": Case(105, "rescalenet", "width=2 groups=2 base_width=32 size=64 classes=7", 64, 7,
                             lambda: RescaleNet((3, 4, 6, 3), 2, 7, 2, 32), EARLY_AND_LATE),
    "vgg19-none": vgg19(236, "none"),
    "vgg19-batchnorm": vgg19(107, "batchnorm"),
    "vgg19-center": vgg19(250, "center", EARLY_AND_LATE),
    "vit-salu": vit(117, 36, 3, "salu", "galu"),
    "vit-layernorm": vit(122, 48, 3, "layernorm", "gelu"),
}


def draw_weights(model, case):
    """Random parameters and states, all exact in half precision; signals stay of the order of one."""
    random = np.random.RandomState(case.seed)
    owner = {f"{path}.{name}".lstrip("."): module for path, module in model.named_modules()
             for name in list(module._parameters) + list(module._buffers)}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            module, kind, shape = owner[name], name.rsplit(".", 1)[-1], tuple(tensor.shape)
            if kind == "num_batches_tracked":
                continue
            if isinstance(module, (nn.Conv2d, nn.Linear)) and kind == "weight":
                std = case.gain / math.sqrt(np.prod(shape[1:]))
                value = random.uniform(-1, 1, shape) * math.sqrt(3) * std
            elif isinstance(module, (Salu, nn.LayerNorm)) and kind != "bias" or kind in ("scale", "running_var"):
                value = random.uniform(0.5, 2, shape)
            elif isinstance(module, nn.BatchNorm2d) and kind == "weight":
                value = random.uniform(0.3, 0.8, shape)
            elif isinstance(module, nn.BatchNorm2d) and kind == "bias":
                value = random.uniform(0.3, 1.0, shape) * np.where(random.uniform(0, 1, shape) < 0.3, -1, 1)
            else:
                value = random.uniform(-0.3, 0.3, shape)
            tensor.copy_(torch.from_numpy(np.asarray(value, np.float16).astype(np.float64)))
        for block in model.modules():
            if isinstance(block, networks.RescaleBlock):
                for layer in block.conv1, block.conv2, block.conv3:
                    layer.weight.copy_((layer.weight * math.sqrt(2) * block.spread).half().double())


def new_model(case):
    model = case.build().double()
    draw_weights(model, case)
    return model


def tensors_of(model):
    """[(name, kind, shape)] of what a weights file holds, in the order of the network."""
    parameters = dict(model.named_parameters())
    return [(name, "parameter" if name in parameters else "state", list(tensor.shape))
            for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")]


def data(case, seed, count, dtype):
    pictures = torch.from_numpy(golden_io.images(seed, count, case.size)).to(dtype)
    return pictures, torch.from_numpy(golden_io.labels(seed, count, case.classes))


def loss_of(model, pictures, labels):
    return F.cross_entropy(model(pictures), labels, label_smoothing=SMOOTHING)


def infer(model, case, n):
    model.eval()
    with torch.no_grad():
        pictures, _ = data(case, case.seed, n, next(model.parameters()).dtype)
        return model(pictures).numpy()


def set_step(model, step):
    model.train()
    for module in model.modules():
        if isinstance(module, Center):
            module.step = step


def forward(model, case, n, step, seed):
    """Steps 0 .. step of a training run with a learning rate of 0: the loss of the last."""
    pictures, labels = data(case, seed, (step + 1) * n, next(model.parameters()).dtype)
    for s in range(step + 1):
        set_step(model, s)
        TERMS.tensors.clear()
        if MARGINS.smallest is not None:
            MARGINS.smallest = math.inf
        loss = loss_of(model, pictures[s * n:(s + 1) * n], labels[s * n:(s + 1) * n])
    return loss


def steady_seed(case, n, step):
    """The seed, of SEEDS, of the images whose last step stays farthest away from the kinks of relu and max pool."""
    model, best = new_model(case), (-1.0, 0)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for seed in range(SEEDS):
            model.load_state_dict(start)
            MARGINS.smallest = math.inf
            forward(model, case, n, step, 1000 * case.seed + seed)
            best = max(best, (MARGINS.smallest, 1000 * case.seed + seed))
            if best[0] == math.inf:
                break
    MARGINS.smallest = None
    return best


def train(model, case, n, step, seed):
    """What the last step of a training run gives: loss, grad.*, scale.*, state.*."""
    loss = forward(model, case, n, step, seed)
    model.zero_grad()
    loss.backward()
    result = {"loss": loss.detach().numpy()}
    for name, parameter in model.named_parameters():
        result["grad." + name] = parameter.grad.numpy()
        if parameter in TERMS.tensors:
            result["scale." + name] = TERMS.tensors[parameter].grad.norm().numpy()
    state = model.state_dict()
    for name, kind, _ in tensors_of(model):
        if kind == "state":
            result["state." + name] = state[name].numpy().copy()
    return result


def run_name(n, step):
    return f"n{n}.step{step}"


def flat(arrays, dtype):
    return np.concatenate([np.asarray(array, dtype).ravel() for array in arrays] or [np.zeros(0, dtype)])


def make(name, case, out):
    model = new_model(case)
    table, weights = tensors_of(model), model.state_dict()
    parameters = [tensor for tensor, kind, _ in table if kind == "parameter"]
    states = [tensor for tensor, kind, _ in table if kind == "state"]
    tensors = {"weights": flat([weights[tensor] for tensor, _, _ in table], np.float16),
               "logits": infer(model, case, max(BATCHES)).astype(np.float32)}
    runs = []
    for n, step in case.runs:
        margin, seed = steady_seed(case, n, step)
        result, run = train(new_model(case), case, n, step, seed), run_name(n, step)
        runs.append([n, step, seed])
        print(f"{name} {run}: seed {seed}, margin {margin:.1e}")
        numbers, units = golden_io.quantize([result["grad." + tensor] for tensor in parameters])
        tensors[run + ".loss"] = result["loss"].astype(np.float32)
        tensors[run + ".gradient"], tensors[run + ".unit"] = numbers, units
        tensors[run + ".scale"] = flat([result.get("scale." + tensor, 0) for tensor in parameters], np.float32)
        tensors[run + ".state"] = flat([result["state." + tensor] for tensor in states], np.float32)
    info = {"model": case.model, "options": case.options, "size": case.size, "classes": case.classes,
            "seed": case.seed, "runs": runs, "tensors": table}
    path = os.path.join(out, name + ".golden")
    golden_io.write_safetensors(path, tensors, {"golden": json.dumps(info, separators=(",", ":"))})
    print(f"{path}: {os.path.getsize(path)} bytes, logits up to {np.abs(tensors['logits']).max():.3g}")


def check_differences(case, runs, failures):
    """Central differences at one place of five tensors of each kind, in a first and a late run."""
    random = np.random.RandomState(1)
    for n, step, seed in runs[0], runs[-2]:
        model = new_model(case)
        exact = train(model, case, n, step, seed)
        pictures, labels = (part[step * n:] for part in data(case, seed, (step + 1) * n, torch.float64))
        for module in model.modules():
            module.hold = True
        kinds = {}
        for name, tensor in model.named_parameters():
            kinds.setdefault((name.rsplit(".", 1)[-1], tensor.dim()), []).append((name, tensor.data.view(-1)))
        for candidates in kinds.values():
            for pick in random.choice(len(candidates), min(5, len(candidates)), replace=False):
                name, numbers = candidates[pick]
                place = random.randint(len(numbers))
                got = exact["grad." + name].ravel()[place]
                scale = float(exact.get("scale." + name, np.linalg.norm(exact["grad." + name])))
                want = difference(model, numbers, place, pictures, labels)
                if abs(got - want) > 1e-5 * scale + 1e-8:
                    failures.append(f"{name}[{place}] at n {n}, step {step}: {got}, but differences say {want}")


def difference(model, numbers, place, pictures, labels, h=1e-6):
    """The loss's central difference by numbers[place]."""
    value, losses = numbers[place].item(), []
    for moved in value + h, value - h:
        numbers[place] = moved
        with torch.no_grad():
            losses.append(loss_of(model, pictures, labels).item())
    numbers[place] = value
    return (losses[0] - losses[1]) / (2 * h)


def check_salu(failures):
    """SALU's gradients against its closed formulas, which need the output alone."""
    x = torch.linspace(-5, 5, 1001, dtype=torch.float64, requires_grad=True)
    layer = Salu().double()
    for a, b in (0.5, 2.0), (1.7, 0.6), (1.0, 1.0):
        layer.a.data.fill_(a)
        layer.b.data.fill_(b)
        TERMS.tensors.clear()
        x.grad = None
        y = layer(x)
        y.sum().backward()
        y = y.detach()
        u = 1 - b / a * y * y
        for what, got, want in (("x", x.grad, a * u ** 1.5),
                                ("a", TERMS.tensors[layer.a].grad, y * (1 + u) / (2 * a)),
                                ("b", TERMS.tensors[layer.b].grad, -y ** 3 / (2 * a))):
            if (got - want).abs().max() > 1e-13:
                failures.append(f"salu, derivative by {what} at a = {a}, b = {b}")


def check_float32(name, case, golden, failures):
    """The committed file against PyTorch in float32, which must pass with room to spare."""
    for tensor, value in new_model(case).state_dict().items():
        if tensor in golden.weights and not np.array_equal(golden.weights[tensor], value.numpy()):
            failures.append(f"{tensor} is not what the file holds")
    worst = []
    for n in BATCHES:
        worst.append(compare.compare_logits(infer(new_model(case).float(), case, n), golden.logits[:n]))
    for n, step, seed in golden.info["runs"]:
        expect = golden.run(run_name(n, step))
        got = train(new_model(case).float(), case, n, step, seed)
        worst.append(compare.compare_named(got, expect, "grad.", 1e-3, "grad."))
        worst.append(compare.compare_named(got, expect, "state.", 1e-4, "state."))
    worst = [w for w in worst if w]
    print(f"{name}: float32 reaches {max(w[0] for w in worst):.3f} of the tolerance, at {max(worst)[1]}")
    if max(w[0] for w in worst) > 0.5:
        failures.append("float32 comes too close to the tolerance")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=HERE, help="folder to write to")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=" ".join(CASES))
    arguments = parser.parse_args()
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {unknown[0]}; there are {' '.join(CASES)}")
    torch.set_num_threads(1)
    failed = 0
    for name in arguments.cases or CASES:
        if not arguments.self_test:
            make(name, CASES[name], arguments.out)
            continue
        failures = []
        check_salu(failures)
        golden = golden_io.Golden(os.path.join(HERE, name + ".golden"))
        check_differences(CASES[name], golden.info["runs"], failures)
        check_float32(name, CASES[name], golden, failures)
        for failure in failures:
            print(f"{name}: {failure}", file=sys.stderr)
        failed += bool(failures)
    if arguments.self_test:
        print("self-test:", "FAIL" if failed else "PASS")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
