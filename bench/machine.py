"""The machine: what it is, what it can do at most, and how busy others keep it."""

import json
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))

# Which peak belongs to which target of salunc.
PEAK_OF_TARGET = {"avx512": "fma_512", "avx2": "fma_256", "fma128": "fma_128", "portable": "mul_add_128"}
NEEDED_FLAGS = {"avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl"), "avx2": ("avx2", "fma"), "fma128": ("fma",),
                "portable": ()}


def cpu_info():
    with open("/proc/cpuinfo") as source:
        return source.read()


def cpu_flags():
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpu_info(), re.M)
    return set(found.group(1).split()) if found else set()


def describe():
    """{"cpu", "threads", "memory_gib", "kernel"}."""
    model = re.search(r"^model name\s*:\s*(.*)$", cpu_info(), re.M)
    with open("/proc/meminfo") as source:
        kib = int(re.search(r"MemTotal:\s*(\d+)", source.read()).group(1))
    flags = cpu_flags()
    widest = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "128 bits"
    return {"cpu": model.group(1).strip() if model else os.uname().machine, "vectors": widest, "threads": len(os.sched_getaffinity(0)),
            "memory_gib": round(kib / 2**20), "kernel": os.uname().release}


def native_target():
    flags = cpu_flags()
    for target in ("avx512", "avx2", "fma128"):
        if all(flag in flags for flag in NEEDED_FLAGS[target]):
            return target
    return "fma128" if os.uname().machine == "aarch64" else "portable"


def measure_peaks(folder, thread_counts):
    """{threads: {name: {"unit", "best", "median"}}} from peak.c, compiled here."""
    program = os.path.join(folder, "peak")
    subprocess.run([os.environ.get("CC", "cc"), "-O3", "-march=native", "-pthread", "-o", program, os.path.join(HERE, "peak.c")],
                   check=True)
    peaks = {}
    for threads in thread_counts:
        lines = subprocess.run([program, str(threads)], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        rows = [json.loads(line) for line in lines]
        peaks[threads] = {row["name"]: {key: row[key] for key in ("unit", "best", "median")} for row in rows}
    return peaks


def peak_gflops(peaks, threads, target, int8=False):
    """The peak that a row's share is of; None when it was not measured."""
    name = "int8_512" if int8 else PEAK_OF_TARGET[target]
    row = peaks.get(threads, {}).get(name) or peaks.get(threads, {}).get(PEAK_OF_TARGET[target])
    return row["best"] if row else None


class OthersLoad:
    """Processors' worth of time that processes other than ours took: OthersLoad(pids) ... .share(pids)."""

    def __init__(self, pids):
        self.begin, self.wall = self._others(pids), self._uptime()

    @staticmethod
    def _uptime():
        with open("/proc/uptime") as source:
            return float(source.read().split()[0])

    @staticmethod
    def _others(pids):
        with open("/proc/stat") as source:
            fields = [int(f) for f in source.readline().split()[1:]]
        busy = fields[0] + fields[1] + fields[2] + fields[5] + fields[6] + fields[7]
        for pid in pids:
            try:
                with open(f"/proc/{pid}/stat") as source:
                    own = source.read().rsplit(")", 1)[1].split()
                busy -= int(own[11]) + int(own[12])
            except OSError:
                pass
        return busy / os.sysconf("SC_CLK_TCK")

    def share(self, pids):
        wall = self._uptime() - self.wall
        return round(max(0.0, self._others(pids) - self.begin) / wall, 3) if wall > 0 else 0.0
