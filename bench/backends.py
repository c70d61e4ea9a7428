"""bench/run --backends: C by gcc, C by clang and LLVM in turns on the same networks. LLVM may take at most LIMIT times as long as
the better of the two compilers of C (medians)."""

import re
import statistics

import cases
import compiling
import report
from compiling import say
from contend import compare

LIMIT = 1.03
BACKENDS = ("gcc", "clang", "llvm")
ROWS = [cases.Case(f"{title} batch {batch} {kind}", file, batch, mode, peer=peer)
        for title, file, peer, batches in (("SaluNet-C-18", "resnet18", cases.SALUNET_18, (1, 64)),
                                           ("SaluNet-C-50", "resnet50", cases.SALUNET_50, (1, 8)))
        for batch in batches for mode, kind in (("infer", "inference"), ("step", "training step"))]
HEAD = ["network", "threads", "math", *(f"{b}, ms [min]" for b in BACKENDS), "LLVM / better C (of minima)", "at most", "reached"]


def run_row(bench, case, math, threads, start_all):
    contenders = [bench.ours(case, case.net(math, backend), threads, backend) for backend in BACKENDS]
    load = compare(bench, case.name, contenders, start_all, 1e-5)
    if load is None:
        return
    middle = {c.name: statistics.median(c.times) for c in contenders}
    least = {c.name: min(c.times) for c in contenders}
    ratio = middle["llvm"] / min(middle["gcc"], middle["clang"])
    of_minima = least["llvm"] / min(least["gcc"], least["clang"])
    cells = [case.name, threads, math, *(f"{report.number(middle[b])} [{report.number(least[b])}]" for b in BACKENDS),
             f"{ratio:.3f} ({of_minima:.3f})", f"{LIMIT:g}", "PASS" if ratio <= LIMIT else "over"]
    if ratio > LIMIT:
        bench.failures += 1
    bench.results["backends"]["rows"].append(cells)
    bench.results["backends"]["raw"].append({"case": case.name, "threads": threads, "math": math, "others_load": load,
                                             "contenders": [c.summary() for c in contenders]})
    say("  ".join(map(str, cells)) + f"  others {load:.2f}")


def run(bench, start_all):
    """Fills bench.results["backends"]."""
    bench.results["backends"] = {"head": HEAD, "rows": [], "raw": []}
    if not bench.compiler.can("LLVM"):
        raise compiling.Failed("salunc was built without LLVM")
    rows = [case for case in ROWS if not bench.options.only or re.search(bench.options.only, case.name, re.I)]
    nets = [case.net(math, backend) for case in rows for math in bench.options.math for backend in BACKENDS]
    failed = bench.compiler.prepare(nets)
    for why in failed.values():
        raise compiling.Failed(why)
    for case in rows:
        for math in bench.options.math:
            for threads in bench.options.threads:
                run_row(bench, case, math, threads, start_all)
                report.write_json(bench.options.json, bench.results)
