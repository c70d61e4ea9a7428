#!/usr/bin/python3
"""PyTorch as a contender; it speaks as worker.c does.

usage: torch_worker.py JOB.json
A job has `network` (see build), `weights`, `images`, `output`, `n`, `threads`, `mode` (infer, step, export, pick or save) and
`variant`: for inference eager or jit, for both the memory format, def or cl (channels last): "jit-def", "eager-cl"; "cl".
`export` writes the ONNX file `output` with the weights inside; `pick` times each of `variants` and prints the fastest;
`save` writes a frozen TorchScript module for `first`, which loads it and runs once.
"""

import json
import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "tests", "goldens")]

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

LEARNING_RATE = 1e-4


# ---- networks ----

def build(spec):
    """{"class": ResNet of tests/goldens/networks.py or ViT of transformer.py, "arguments": {...}}, with fast layers in it."""
    import fast
    import networks
    import transformer
    layers = {"salu": fast.Salu, "swalu": fast.Swalu, "galu": fast.Galu, "relu": lambda channels: nn.ReLU(inplace=True),
              "layernorm": lambda channels: nn.LayerNorm(channels, eps=1e-5), "gelu": lambda channels: nn.GELU()}
    networks.LAYERS.update(layers)
    arguments = dict(spec["arguments"])
    if spec["class"] == "ViT":
        return transformer.ViT(**{name: layers[kind] for name, kind in arguments.items()})
    return networks.ResNet(**{**arguments, "block": getattr(networks, arguments["block"])})


def load(net, path):
    import golden_io
    tensors, _ = golden_io.read_safetensors(path)
    own = {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    if set(own) != set(tensors):
        raise SystemExit(f"torch_worker.py: {path} has other tensors: {sorted(set(own) ^ set(tensors))[:6]}")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(torch.from_numpy(tensors[name].copy()).reshape(value.shape))
    return net


def fix(net, form):
    for module in net.modules():
        if hasattr(module, "fix"):
            module.fix(form)
    return net


def fold_batchnorm(net):
    """conv1 with bn1 and so on, and downsample.0 with .1, become one convolution each."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval
    for module in net.modules():
        for k in ("1", "2", "3"):
            conv, norm = getattr(module, "conv" + k, None), getattr(module, "bn" + k, None)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, "conv" + k, fuse_conv_bn_eval(conv, norm))
                setattr(module, "bn" + k, nn.Identity())
        side = getattr(module, "downsample", None)
        if isinstance(side, nn.Sequential) and len(side) == 2 and isinstance(side[1], nn.BatchNorm2d):
            module.downsample = fuse_conv_bn_eval(side[0], side[1])
    return net


def images_of(job):
    spec = job["network"]
    shape = (job["n"], 3, spec["size"], spec["size"])
    return torch.from_numpy(np.fromfile(job["images"], np.float32).reshape(shape))


# ---- inference and training as functions without arguments ----

def infer_runner(job, variant):
    mode, layout = variant.split("-")
    net = fix(fold_batchnorm(load(build(job["network"]), job["weights"]).eval()), "infer")
    x = images_of(job)
    if layout == "cl":
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if mode == "jit":
        with torch.no_grad():
            net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, x)))

    def run():
        with torch.inference_mode():
            return net(x)
    return run


def step_runner(job, variant):
    net = load(build(job["network"]), job["weights"]).train()
    x, labels = images_of(job), torch.from_numpy(np.fromfile(job["images"] + ".labels", np.int32).astype(np.int64))
    if variant == "cl":
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=0.9)

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()
    return run


def runner(job, variant):
    return (infer_runner if job["mode"] == "infer" or job.get("of") == "infer" else step_runner)(job, variant)


# ---- jobs ----

def timed(run):
    begin = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - begin)


def serve(run, output):
    run().numpy().astype(np.float32).tofile(output)
    print("ready", torch.__version__, flush=True)
    for line in sys.stdin:
        _, seconds, least = line.split()
        end, times = time.perf_counter() + float(seconds), []
        while len(times) < int(least) or time.perf_counter() < end:
            times.append(round(timed(run), 5))
        print(json.dumps(times), flush=True)


def pick(job):
    best = None
    for variant in job["variants"]:
        run = runner(job, variant)
        run()
        first = timed(run)
        middle = sorted(timed(run) for _ in range(int(max(2, min(30, 500 / first)))))
        if best is None or middle[len(middle) // 2] < best[0]:
            best = middle[len(middle) // 2], variant
    print(best[1])


def export(job):
    net = fix(fold_batchnorm(load(build(job["network"]), job["weights"]).eval()), "export")
    size = job["network"]["size"]
    with torch.no_grad():
        torch.onnx.export(net, torch.randn(job["n"], 3, size, size), job["output"], opset_version=13, input_names=["x"],
                          output_names=["y"], do_constant_folding=True)


def save(job):
    net = fix(fold_batchnorm(load(build(job["network"]), job["weights"]).eval()), "infer")
    size = job["network"]["size"]
    with torch.no_grad():
        torch.jit.freeze(torch.jit.trace(net, torch.randn(job["n"], 3, size, size))).save(job["output"])


def first(job):
    with torch.inference_mode():
        torch.jit.load(job["module"])(images_of(job)).numpy().tofile(job["output"])


def main():
    with open(sys.argv[1]) as source:
        job = json.load(source)
    torch.set_num_threads(job["threads"])
    modes = {"pick": pick, "export": export, "save": save, "first": first}
    if job["mode"] in modes:
        modes[job["mode"]](job)
    else:
        serve(runner(job, job["variant"]), job["output"])


if __name__ == "__main__":
    main()
