"""What is timed: one row per network, batch and kind of run, with the ratio to the best peer that is wanted at least (`must`)
and in the end (`aim`)."""

import os

import compiling

CLASSICAL = ("-D", "norm=batchnorm", "-D", "act=relu")
LAYERNORM = ("-D", "norm=layernorm", "-D", "act=gelu")


def resnet(block, depths, size, classes, norm, act):
    return {"class": "ResNet", "size": size, "classes": classes,
            "arguments": {"block": block, "depths": depths, "imagenet": size > 64, "width": 64, "classes": classes, "norm": norm,
                          "act": act}}


def transformer(norm, act):
    return {"class": "ViT", "size": 32, "classes": 10, "arguments": {"norm": norm, "act": act}}


SALUNET_50 = resnet("Bottleneck", (3, 4, 6, 3), 224, 1000, "salu", "swalu")
RESNET_50 = resnet("Bottleneck", (3, 4, 6, 3), 224, 1000, "batchnorm", "relu")
SALUNET_18 = resnet("Basic", (2, 2, 2, 2), 32, 10, "salu", "swalu")
SALUNET_T = transformer("salu", "galu")


class Case:
    """`name` is what --only matches and tables show; `file` a file of bench/nets; `peer` the network as peers build it (None: no
    peers); `variants` the forms of PyTorch worth trying, the likely best first; `quick`: part of --quick."""

    def __init__(self, name, file, batch, mode="infer", options=(), peer=None, variants=(), must=None, aim=None, quick=False,
                 tolerance=1e-3, dims=(3, 32, 32)):
        self.name, self.file, self.batch, self.mode, self.options = name, file, batch, mode, tuple(options)
        self.peer, self.variants, self.must, self.aim = peer, variants, must, aim
        self.quick, self.tolerance = quick, tolerance
        self.dims = (3, peer["size"], peer["size"]) if peer else dims
        self.classes = peer["classes"] if peer else 10

    def path(self):
        return os.path.join(compiling.NETS, self.file + ".snet")

    def net(self, math, backend):
        return compiling.Net(self.path(), (*self.options, f"--math={math}"), self.batch, self.mode, backend=backend, network="Plain")

    def lacks(self, compiler):
        """Why this case cannot be run, or ''."""
        model = os.path.join(compiling.ROOT, "models", self.file + ".snet")
        if not os.path.exists(model):
            return f"models/{self.file}.snet does not exist"
        if any(o.startswith("--precision") for o in self.options) and not compiler.can("--precision"):
            return "salunc has no --precision"
        return ""


LARGE = ("eager-cl", "jit-def", "eager-def")
SMALL = ("jit-def", "eager-cl", "eager-def")

TABLE = (
    Case("SaluNet-C-50 batch 1 inference", "resnet50", 1, peer=SALUNET_50, variants=SMALL, must=2.0, aim=2.6, quick=True),
    Case("SaluNet-C-50 batch 16 inference", "resnet50", 16, peer=SALUNET_50, variants=LARGE, must=2.3, aim=3.5),
    Case("SaluNet-C-18 batch 1 inference", "resnet18", 1, peer=SALUNET_18, variants=SMALL, must=1.8, aim=2.5, quick=True),
    Case("SaluNet-C-18 batch 128 inference", "resnet18", 128, peer=SALUNET_18, variants=LARGE, must=2.2, aim=3.3, quick=True),
    Case("SaluNet-T batch 1 inference", "vit", 1, peer=SALUNET_T, variants=SMALL, must=1.6, aim=2.2, quick=True),
    Case("SaluNet-T batch 64 inference", "vit", 64, peer=SALUNET_T, variants=("jit-def", "eager-def"), must=1.6, aim=2.2, quick=True),
    Case("ResNet-50 batch 1 inference", "resnet50", 1, options=CLASSICAL, peer=RESNET_50, variants=SMALL, must=1.1, aim=1.4,
         quick=True),
    Case("SaluNet-C-18 batch 128 training step", "resnet18", 128, "step", peer=SALUNET_18, variants=("cl", "def"), must=2.0, aim=3.2,
         quick=True),
    Case("SaluNet-C-18 batch 1 training step", "resnet18", 1, "step", peer=SALUNET_18, variants=("cl", "def"), must=3.0, aim=4.5,
         quick=True),
    Case("SaluNet-C-50 batch 8 training step", "resnet50", 8, "step", peer=SALUNET_50, variants=("cl", "def"), must=1.9, aim=2.5),
    Case("SaluNet-T batch 64 training step", "vit", 64, "step", peer=SALUNET_T, variants=("def",), must=1.6, aim=2.4, quick=True),
    Case("SaluNet-C-50 batch 1 inference int8", "resnet50", 1, options=("--precision=int8",), peer=SALUNET_50, variants=SMALL, must=4.0,
         aim=8.0, tolerance=0.2),
    Case("smallnet batch 4 inference", "smallnet", 4, dims=(1, 28, 28)),
    Case("smallnet batch 4 training step", "smallnet", 4, "step", dims=(1, 28, 28)),
)

# Process start to first logits, and how large what is needed for it is: ratio wanted.
START_MUST, START_AIM = 10.0, 20.0
START = TABLE[0]
MEMORY = TABLE[7]                            # training memory: at most half, in the end a quarter
MEMORY_MUST, MEMORY_AIM = 2.0, 4.0


def chosen(pattern, quick):
    """The rows whose name matches the pattern (a regular expression, or None); without one, those of the table with peers."""
    import re
    rows = [c for c in TABLE if re.search(pattern, c.name, re.I)] if pattern else [c for c in TABLE if c.peer]
    return [c for c in rows if c.quick] if quick and not pattern else rows
