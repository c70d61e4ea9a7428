"""Tables of results: as text for the terminal, as markdown for docs/performance.md; raw results as JSON."""

import json
import os

import cases

BEGIN, END = "<!-- bench/run {}: begin -->", "<!-- bench/run {}: end -->"


def number(value, digits=3):
    """Three significant digits, never an exponent."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.{digits}g}" if value < 1000 else str(round(value))


def text_table(head, rows):
    width = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join("  ".join(str(cell).ljust(w) for cell, w in zip(row, width)).rstrip() for row in [head, *rows])


def markdown_table(head, rows):
    lines = ["| " + " | ".join(map(str, head)) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def ours_of(row):
    return next(c for c in row["contenders"] if c["name"] == "salun")


def best_peer(row):
    peers = [c for c in row["contenders"] if c["name"] != "salun" and not c.get("refused")]
    return min(peers, key=lambda c: c["median_ms"]) if peers else None


def verdict(ratio, must, aim):
    if ratio is None or must is None:
        return ""
    return "aim" if ratio >= aim else "must" if ratio >= must else "below"


NETWORK_HEAD = ["network", "threads", "math", "ms, median [min max]", "GFLOP/s", "of peak", "best peer, ms [min max]", "ratio (of minima)", "wanted",
                "reached", "MiB", "peer's MiB", "others' load"]


def network_row(row):
    ours, peer = ours_of(row), best_peer(row)
    ratio = peer["median_ms"] / ours["median_ms"] if peer else None
    share = f"{100 * ours['gflops'] / row['peak_gflops']:.0f} %" if row["peak_gflops"] else ""
    peer_text = ""
    if peer:
        label = f"{peer['name']} {peer['detail']}".strip()
        peer_text = f"{label}: {number(peer['median_ms'])} [{number(peer['min_ms'])} {number(peer['max_ms'])}]"
    wanted = f"{row['must']:g} / {row['aim']:g}" if row["must"] and peer else ""
    return [row["case"], row["threads"], row["math"],
            f"{number(ours['median_ms'])} [{number(ours['min_ms'])} {number(ours['max_ms'])}]", number(ours["gflops"]), share, peer_text,
            f"{ratio:.2f} ({peer['min_ms'] / ours['min_ms']:.2f})" if ratio else "", wanted, verdict(ratio, row["must"], row["aim"]), number(ours["peak_rss_mib"]),
            number(peer["peak_rss_mib"]) if peer else "", f"{row['others_load']:.2f}"]


def network_table(results):
    return NETWORK_HEAD, [network_row(row) for row in results["rows"]]


def peak_table(results):
    rows = []
    for threads, names in results["peaks"].items():
        for name, row in names.items():
            rows.append([name.replace("_", " "), threads, number(row["best"], 4), number(row["median"], 4), row["unit"]])
    return ["peak", "threads", "best", "median", "unit"], rows


def start_table(results):
    start, rows = results.get("start") or {}, []
    for row in start.get("rows", []):
        ours = row["times"]["salun"]["median_ms"]
        for name, times in row["times"].items():
            size = row["bytes"][name]
            rows.append([name, row["threads"], f"{number(times['median_ms'])} [{number(times['min_ms'])} {number(times['max_ms'])}]",
                         f"{times['median_ms'] / ours:.1f}" if not name.startswith("salun") else "", number(times["peak_rss_mib"]),
                         f"{size['code'] / 1e6:.2f}", f"{size['weights'] / 1e6:.0f}"])
    return [f"{start.get('case', '')}: process start to first logits", "threads", "ms, median [min max]", "ratio", "MiB", "MB of code",
            "MB of weights"], rows


def memory_table(results):
    rows = []
    for row in results["rows"]:
        ours, peer = ours_of(row), best_peer(row)
        if row["case"] == cases.MEMORY.name and peer and ours["peak_rss_mib"] and peer["peak_rss_mib"]:
            ratio = peer["peak_rss_mib"] / ours["peak_rss_mib"]
            rows.append([row["case"], row["threads"], number(ours["peak_rss_mib"]), f"{peer['name']}: {number(peer['peak_rss_mib'])}",
                         f"{ratio:.2f}", f"{cases.MEMORY_MUST:g} / {cases.MEMORY_AIM:g}",
                         verdict(ratio, cases.MEMORY_MUST, cases.MEMORY_AIM)])
    return ["training memory", "threads", "MiB", "best peer's MiB", "ratio", "wanted", "reached"], rows


def compile_table(results):
    rows = [[c["case"], c["math"], f"{c['salunc_s']:.2f}", number(c.get("cc_s")), f"{c.get('source_bytes', 0) / 1e3:.0f}",
             f"{c['object_bytes'] / 1e3:.0f}"] for c in results.get("compilations", [])]
    return ["compilation", "math", "salunc, s", "C compiler, s", "kB of C", "kB of object"], rows


def generic_table(results, name):
    table = results.get(name)
    return (table["head"], table["rows"]) if table else ([], [])


TABLES = {"networks": network_table, "start": start_table, "memory": memory_table, "compilation": compile_table, "peaks": peak_table,
          "backends": lambda r: generic_table(r, "backends"), "tuning": lambda r: generic_table(r, "tuning"), "sweep": lambda r: generic_table(r, "sweep"),
          "growth": lambda r: generic_table(r, "growth"), "targets": lambda r: generic_table(r, "targets")}


def as_text(results):
    parts = []
    for make in TABLES.values():
        head, rows = make(results)
        if rows:
            parts.append(text_table(head, rows))
    return "\n\n".join(parts) + "\n"


def caption(results):
    m = results["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items() if v)
    return (f"{results['date']}, `{results['command']}`; {m['cpu']}, {m['vectors']}, {m['threads']} threads, {m['memory_gib']} GiB; "
            f"{versions}" + (f"; missing: {'; '.join(results['missing'])}" if results["missing"] else ""))


def write_markdown(path, results):
    """Replaces, in a page with marked places, every table that these results have."""
    with open(path) as source:
        page = source.read()
    for name, make in TABLES.items():
        head, rows = make(results)
        begin, end = BEGIN.format(name), END.format(name)
        if rows and begin in page:
            before, rest = page.split(begin, 1)
            page = before + begin + "\n\n" + caption(results) + "\n\n" + markdown_table(head, rows) + "\n\n" + end + rest.split(end, 1)[1]
    with open(path + ".part", "w") as out:
        out.write(page)
    os.replace(path + ".part", path)


def write_json(path, results):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path + ".part", "w") as out:
        json.dump(results, out, indent=1)
        out.write("\n")
    os.replace(path + ".part", path)
