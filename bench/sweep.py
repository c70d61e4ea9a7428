"""bench/run --sweep: what nobody tuned beside its regular neighbour, how cost grows, and smaller targets.

Efficiency is GFLOP/s of the network as written, and so compares what one algorithm computes: where only one of a pair can have
Winograd's, or its transforms stand beside a third of the products, both are computed directly. For fewer than 127 channels the
lanes that fill up the last vector count as work, and for images smaller than two of Winograd's tiles what fills up the last tile.
Every row is timed in turns with its neighbour."""

import math as mathematics
import os
import re
import statistics

import cases
import compiling
import machine
import report
from compiling import say
from contend import ContenderError, take_turns

SEVENTY_FIVE = 0.75                          # within 25 % of the neighbour's efficiency
TENTH = 0.1                                  # not an order of magnitude behind
LANES_COUNT_BELOW = 127
TILE, TILES_COUNT_BELOW = 4, 8               # Winograd's F(4x4, 3x3)


class Shape:
    """A stack of equal layers, or a network of models/; `options` are given to it, `side` is that of its images where none says it."""

    def __init__(self, file="stack", batch=4, side=28, classes=10, **options):
        self.conv = options.pop("conv", "")
        self.file, self.batch, self.options, self.classes = file, batch, options, classes
        if file == "stack":
            self.dims = (3, options.get("height", 28), options.get("columns", 28))
        else:
            side = options.get("size", side)
            self.dims = (1 if file == "smallnet" else 3, side, side)

    def name(self):
        words = [f"{k} {v}" for k, v in self.options.items()] + [f"batch {self.batch}"] + [self.conv] * bool(self.conv)
        return ("" if self.file == "stack" else self.file + " ") + ", ".join(words)

    def net(self, mode, backend, math, target=""):
        options = [word for k, v in self.options.items() for word in ("-D", f"{k}={v}")] + [f"--conv={self.conv}"] * bool(self.conv)
        return compiling.Net(os.path.join(compiling.NETS, self.file + ".snet"), (*options, f"--math={math}"), self.batch, mode,
                             target, backend, "Plain")

    def padding(self, width):
        """How much more the filled-up lanes compute: of a stack, for both sides of its products."""
        channels = self.options.get("channels", self.options.get("width", 0))
        if not channels or channels >= LANES_COUNT_BELOW:
            return 1.0
        groups = self.options.get("groups", 1)
        grow = mathematics.ceil(channels / width) * width / channels
        return grow if groups == channels else grow * grow

    def tiles(self, math):
        """How much more the filled-up tiles compute, of a stack by Winograd's algorithm."""
        if self.file != "stack" or self.conv or math == "strict" or self.options.get("kernel", 3) != 3:
            return 1.0
        sides = [side for side in self.dims[1:] if side < TILES_COUNT_BELOW]
        return mathematics.prod(mathematics.ceil(side / TILE) * TILE / side for side in sides)


def stack(**options):
    return Shape(**options)


# name of the group, the odd one, its neighbour, least ratio of efficiencies
PAIRS = [
    ("prime channels", stack(channels=127), stack(channels=128), SEVENTY_FIVE),
    ("prime channels", stack(channels=131), stack(channels=128), SEVENTY_FIVE),
    ("prime channels", stack(channels=61), stack(channels=64), SEVENTY_FIVE),
    ("prime channels", stack(channels=67), stack(channels=64), SEVENTY_FIVE),
    ("prime channels", stack(channels=37), stack(channels=32), SEVENTY_FIVE),
    ("prime channels", stack(channels=13), stack(channels=16), SEVENTY_FIVE),
    ("prime channels, 1x1", stack(channels=251, kernel=1), stack(channels=256, kernel=1), SEVENTY_FIVE),
    ("prime channels, 1x1", stack(channels=97, kernel=1), stack(channels=96, kernel=1), SEVENTY_FIVE),
    ("odd images", stack(channels=32, height=97, columns=131, batch=1), stack(channels=32, height=96, columns=128, batch=1), SEVENTY_FIVE),
    ("odd images", stack(channels=64, height=13, columns=19), stack(channels=64, height=14, columns=14), SEVENTY_FIVE),
    ("odd images, 1x1", stack(channels=128, height=37, columns=23, kernel=1), stack(channels=128, height=28, columns=28, kernel=1),
     SEVENTY_FIVE),
    ("small images", stack(channels=256, height=5, columns=5), stack(channels=256, height=8, columns=8), SEVENTY_FIVE),
    ("small images", stack(channels=256, height=7, columns=7), stack(channels=256, height=8, columns=8), SEVENTY_FIVE),
    ("small images", stack(channels=256, height=5, columns=5, conv="direct"), stack(channels=256, height=8, columns=8, conv="direct"),
     SEVENTY_FIVE),
    ("odd batches", stack(channels=64, batch=7), stack(channels=64, batch=8), SEVENTY_FIVE),
    ("odd batches", stack(channels=64, batch=3), stack(channels=64, batch=4), SEVENTY_FIVE),
    ("odd kernels", stack(channels=64, kernel=5, conv="direct"), stack(channels=64, conv="direct"), SEVENTY_FIVE),
    ("groups", stack(channels=96, groups=3), stack(channels=128, groups=4), SEVENTY_FIVE),
    ("groups", stack(channels=96, groups=3, conv="direct"), stack(channels=96, conv="direct"), SEVENTY_FIVE),
    ("groups", stack(channels=111, groups=3), stack(channels=128, groups=4), SEVENTY_FIVE),
    ("groups", stack(channels=128, groups=32), stack(channels=128, conv="direct"), TENTH),
    ("depthwise", stack(channels=127, groups=127), stack(channels=128, groups=128), SEVENTY_FIVE),
    ("depthwise", stack(channels=128, groups=128), stack(channels=128), TENTH),
    ("networks", Shape("resnet18", 8, 32, width=61), Shape("resnet18", 8, 32, width=64), SEVENTY_FIVE),
    ("networks", Shape("resnet18", 7, 32), Shape("resnet18", 8, 32), SEVENTY_FIVE),
    ("networks", Shape("resnet50", 1, size=211, classes=1000), Shape("resnet50", 1, size=224, classes=1000), SEVENTY_FIVE),
    ("networks", Shape("smallnet", 7, 28), Shape("smallnet", 8, 28), SEVENTY_FIVE),
]
QUICK_PAIRS = slice(0, None, 4)

# what grows, small, large: the ratio of times is wanted as large as the ratio of work
GROWTH = [
    ("depth 4 to 16", stack(depth=4), stack(depth=16)),
    ("width 64 to 128", stack(channels=64), stack(channels=128)),
    ("width 128 to 256", stack(channels=128), stack(channels=256)),
    ("image 28 to 56", stack(), stack(height=56, columns=56)),
    ("image 56 to 112", stack(height=56, columns=56, batch=1), stack(height=112, columns=112, batch=1)),
    ("batch 4 to 16", stack(), stack(batch=16)),
    ("batch 16 to 64", stack(batch=16), stack(batch=64)),
]

HEAD = ["sweep", "", "kind", "threads", "GFLOP/s", "neighbour", "GFLOP/s", "efficiency (of minima)", "at least", "reached"]
GROWTH_HEAD = ["growth", "kind", "threads", "ms", "ms", "work", "time (of minima)", "time / work"]
TARGET_HEAD = ["ResNet-50 batch 1", "math", "threads", "ms, median [min]", "GFLOP/s", "its peak", "of peak (of minima)", "at least",
               "reached"]
TARGET_LIMIT = 0.8


def as_case(shape, mode):
    """A case for bench.ours: its own images."""
    case = cases.Case(f"{shape.file} {shape.name()} {mode}", shape.file, shape.batch, mode)
    case.dims, case.classes = shape.dims, shape.classes
    return case


def time_pair(bench, shapes, mode, math, threads):
    """[(median, minimum)] in ms of both, timed in turns; None when one failed."""
    contenders = [bench.ours(as_case(s, mode), s.net(mode, bench.options.backend, math), threads, name)
                  for s, name in zip(shapes, ("odd", "neighbour"))]
    try:
        for contender in contenders:
            contender.start()
        take_turns(contenders, **bench.rounds())
        return [(statistics.median(c.times), min(c.times)) for c in contenders]
    except ContenderError as error:
        bench.fail(str(error))
        return None
    finally:
        for contender in contenders:
            contender.stop()


def work_of(bench, shape, mode, width=0, math=""):
    """GFLOP of one run; with a vector width, filled-up lanes and tiles among them."""
    flops = bench.compiler.flops(shape.net("infer", "", "fast")) * shape.batch * (3 if mode == "step" else 1)
    return 1e-9 * flops * (shape.padding(width) * shape.tiles(math) if width else 1)


def sweep_row(bench, pair, mode, math, threads, width):
    group, odd, regular, least = pair
    times = time_pair(bench, (odd, regular), mode, math, threads)
    if not times:
        return
    work = [work_of(bench, s, mode, width, math) for s in (odd, regular)]
    rate = [1e3 * w / t[0] for w, t in zip(work, times)]
    ratio, of_minima = rate[0] / rate[1], (work[0] / times[0][1]) / (work[1] / times[1][1])
    cells = [group, odd.name(), mode, threads, report.number(rate[0]), regular.name(), report.number(rate[1]),
             f"{ratio:.2f} ({of_minima:.2f})", f"{least:g}", "PASS" if ratio >= least else "below"]
    bench.results["sweep"]["rows"].append(cells)
    say("  ".join(map(str, cells)))


def growth_row(bench, row, mode, math, threads):
    name, small, large = row
    times = time_pair(bench, (small, large), mode, math, threads)
    if not times:
        return
    work = work_of(bench, large, mode) / work_of(bench, small, mode)
    ratio, of_minima = times[1][0] / times[0][0], times[1][1] / times[0][1]
    cells = [name, mode, threads, report.number(times[0][0]), report.number(times[1][0]), f"{work:.2f}",
             f"{ratio:.2f} ({of_minima:.2f})", f"{ratio / work:.2f}"]
    bench.results["growth"]["rows"].append(cells)
    say("  ".join(map(str, cells)))


def target_row(bench, target, math):
    case = next(c for c in cases.TABLE if c.name == "ResNet-50 batch 1 inference")
    net = case.net(math, bench.options.backend).variant(target=target)
    contender = bench.ours(case, net, 1, f"resnet50 {target}")
    try:
        contender.start()
        take_turns([contender], **bench.rounds())
    except ContenderError as error:
        bench.fail(str(error))
        return
    finally:
        contender.stop()
    middle, least = statistics.median(contender.times), min(contender.times)
    rate, peak = 1e3 * bench.work(case, net) / middle, bench.peak(1, target)
    share = rate / peak
    cells = [target, math, 1, f"{report.number(middle)} [{report.number(least)}]", report.number(rate), report.number(peak),
             f"{share:.2f} ({share * middle / least:.2f})", f"{TARGET_LIMIT:g}", "PASS" if share >= TARGET_LIMIT else "below"]
    bench.results["targets"]["rows"].append(cells)
    say("  ".join(map(str, cells)))


def targets():
    flags = machine.cpu_flags()
    return [t for t, needed in machine.NEEDED_FLAGS.items() if all(f in flags for f in needed)]


def run(bench):
    """Fills bench.results["sweep"], ["growth"] and ["targets"]."""
    bench.results.update(sweep={"head": HEAD, "rows": []}, growth={"head": GROWTH_HEAD, "rows": []},
                         targets={"head": TARGET_HEAD, "rows": []})
    only = bench.options.only

    def wanted(*words):
        return not only or re.search(only, " ".join(words), re.I)

    pairs = [p for p in PAIRS if wanted(p[0], p[1].name(), p[1].file)]
    pairs = pairs[QUICK_PAIRS] if bench.options.quick else pairs
    growth = [g for g in GROWTH if wanted("growth", g[0])]
    smaller = [(t, m) for t in targets() for m in bench.options.math if wanted("target", t)]
    modes, backend = ("infer", "step"), bench.options.backend
    nets = [s.net(mode, backend, math) for p in pairs for s in p[1:3] for mode in modes for math in bench.options.math]
    nets += [s.net(mode, backend, math) for g in growth for s in g[1:] for mode in modes for math in bench.options.math]
    for why in bench.compiler.prepare(nets).values():
        raise compiling.Failed(why)
    width = {"avx512": 16, "avx2": 8}.get(bench.target, 4)
    for threads in bench.options.threads:
        for math in bench.options.math:
            for mode in modes:
                for pair in pairs:
                    sweep_row(bench, pair, mode, math, threads, width)
                for row in growth:
                    growth_row(bench, row, mode, math, threads)
    for target, math in smaller:
        target_row(bench, target, math)
