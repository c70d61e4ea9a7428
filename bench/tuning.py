"""bench/run --tune: programs whose algorithms were chosen by price and by `salunc --tune`, in turns. Where the tuned one is faster,
either the price is wrong or its machine is another than this."""

import os
import re
import statistics

import cases
import report
from compiling import call, say
from contend import compare, priority

ROWS = [cases.Case(f"{title} batch {batch} {kind}", file, batch, mode, peer=peer)
        for title, file, peer, mode, kind, batches in (
            ("SaluNet-C-18", "resnet18", cases.SALUNET_18, "infer", "inference", (1, 128)),
            ("SaluNet-C-50", "resnet50", cases.SALUNET_50, "infer", "inference", (1, 16)),
            ("SaluNet-C-18", "resnet18", cases.SALUNET_18, "step", "training step", (1, 128)))
        for batch in batches]
HEAD = ["network", "threads", "priced, ms [min]", "tuned, ms [min]", "priced / tuned (of minima)", "convolutions", "chosen otherwise",
        "of them over 3 %"]


def priced_choices(text):
    """The algorithms chosen by price, in order of `salunc explain`."""
    return [match.group(1) for match in re.finditer(r"; (\w+) at [\d.e+]+ Mcycles", text)]


def explain(bench, net, *more):
    return call([bench.compiler.salunc, "explain", *net.arguments(), *more])


def tune(bench, net, threads):
    """The tuned net, and [problems, those decided otherwise than by price, those of them that were over 3 % faster]."""
    path = f"{bench.folder}/objects/{bench.compiler.key(*net.arguments(), threads)}.tune"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with priority(bench.options.nice):
        call([bench.compiler.salunc, *net.arguments(), f"--tune={path}", "--tune-threads", threads, "--emit=plan"])
    with open(path) as source:
        problems = source.read().count(" = ")
    other = gain = 0
    priced, tuned = explain(bench, net), explain(bench, net, f"--tune={path}")
    seen = set()
    for before, after in zip(priced_choices(priced), re.finditer(r"; (\w+) as tuned: ([^\n]*)", tuned)):
        times = {after.group(1): float(after.group(2).split()[0])}
        times.update({name: float(t) for name, t in re.findall(r"(\w+\d?) ([\d.e+]+)(?:,|$)", after.group(2))})
        if after.group(0) in seen or before == after.group(1):
            continue
        seen.add(after.group(0))
        other += 1
        gain += times.get(before, 0) > 1.03 * times[after.group(1)]      # no candidate, no time
    return net.variant(options=(*net.options, f"--tune={path}")), [problems, other, gain]


def run_row(bench, case, math, threads, start_all):
    net = case.net(math, bench.options.backend)
    tuned, counts = tune(bench, net, threads)
    contenders = [bench.ours(case, net, threads, "priced"), bench.ours(case, tuned, threads, "tuned")]
    load = compare(bench, case.name, contenders, start_all, case.tolerance)
    if load is None:
        return
    middle, least = ([f(c.times) for c in contenders] for f in (statistics.median, min))
    cells = [case.name, threads, *(f"{report.number(m)} [{report.number(s)}]" for m, s in zip(middle, least)),
             f"{middle[0] / middle[1]:.3f} ({least[0] / least[1]:.3f})", *counts]
    bench.results["tuning"]["rows"].append(cells)
    bench.results["tuning"]["raw"].append({"case": case.name, "threads": threads, "math": math, "others_load": load,
                                           "contenders": [c.summary() for c in contenders]})
    say("  ".join(map(str, cells)) + f"  others {load:.2f}")


def run(bench, start_all):
    """Fills bench.results["tuning"]."""
    bench.results["tuning"] = {"head": HEAD, "rows": [], "raw": []}
    for case in ROWS:
        for threads in bench.options.threads if not bench.options.only or re.search(bench.options.only, case.name, re.I) else ():
            run_row(bench, case, "fast", threads, start_all)
            report.write_json(bench.options.json, bench.results)
