"""Contenders and how they are timed: each is a process that loads once, says `ready`, and runs when it is asked to. They take
turns, A B C A B C, so that what disturbs the machine disturbs all of them alike."""

import contextlib
import json
import os
import statistics
import subprocess
import time

import machine


class ContenderError(Exception):
    """A contender that did not start or died; the text says which and why."""


class Contender:
    def __init__(self, name, command, log, output=None, env=None, detail=""):
        """output: the file of its first run's logits or loss; detail: what the table says of it, a variant or a compiler."""
        self.name, self.command, self.output, self.detail = name, [str(c) for c in command], output, detail
        self.log, self.env, self.process, self.times, self.rss_mib, self.version = log, env or {}, None, [], None, ""

    def start(self, timeout=600):
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                                            start_new_session=True, env={**os.environ, **self.env})
        self.version = self._line()[len("ready"):].strip()

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            with open(self.log) as log:
                tail = " | ".join(log.read().strip().splitlines()[-3:])
            raise ContenderError(f"{self.name}: exit code {self.process.returncode}: {tail}")
        return line

    def run(self, seconds, least):
        self.process.stdin.write(f"run {seconds} {least}\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.rss_mib = peak_rss(self.process.pid)
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def summary(self):
        return {"name": self.name, "detail": self.detail, "version": self.version, "median_ms": statistics.median(self.times),
                "min_ms": min(self.times), "max_ms": max(self.times), "runs": len(self.times), "peak_rss_mib": self.rss_mib,
                "times_ms": [round(t, 4) for t in self.times[:2000]]}


def peak_rss(pid):
    """Peak resident memory in MiB."""
    try:
        with open(f"/proc/{pid}/status") as source:
            for line in source:
                if line.startswith("VmHWM:"):
                    return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    return None


def set_priority(pids, nice):
    """Of all threads of these processes; Linux may weigh whole sessions against each other first (autogroup)."""
    for pid in pids:
        group = f"/proc/{pid}/autogroup"
        if os.path.exists(group):
            with open(group, "w") as out:
                out.write(str(nice))
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), nice)


@contextlib.contextmanager
def priority(nice):
    """Of this process, and of what it starts meanwhile; None: as it is."""
    if nice is None:
        yield
        return
    set_priority([os.getpid()], nice)
    try:
        yield
    finally:
        set_priority([os.getpid()], 0)


def take_turns(contenders, rounds, seconds, least=1, nice=None):
    """Every contender runs once for warmth and then in each of `rounds` rounds for `seconds`; afterwards their .times hold the
    milliseconds of all runs. nice: their priority meanwhile, when not None. Returns how many processors other processes took meanwhile."""
    for contender in contenders:
        contender.times = []
        contender.run(min(seconds, 0.2), 1)
    pids = [c.process.pid for c in contenders] + [os.getpid()]
    if nice is not None:
        set_priority([c.process.pid for c in contenders], nice)
    load = machine.OthersLoad(pids)
    for turn in range(rounds):
        for contender in contenders:
            contender.times += contender.run(seconds, least)
            time.sleep(0.02)                 # its threads fall asleep before the next one begins
    return load.share(pids)


def compare(bench, name, contenders, start_all, tolerance):
    """All of them in turns, then ended. Returns the others' load; None when one failed or disagreed, which is reported."""
    try:
        if len(start_all(bench, contenders, tolerance)) < len(contenders):
            return None
        return take_turns(contenders, **bench.rounds())
    except ContenderError as error:
        bench.fail(f"{name}: {error}")
        return None
    finally:
        for contender in contenders:
            contender.stop()


def start_once(name, command, env):
    """Milliseconds from start to exit, and peak memory in MiB."""
    begin = time.perf_counter()
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    pid = os.posix_spawn(command[0], [str(c) for c in command], {**os.environ, **env}, file_actions=silent)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise ContenderError(f"{name}: exit status {status} from {' '.join(map(str, command))}")
    return 1e3 * (time.perf_counter() - begin), round(usage.ru_maxrss / 1024, 1)


def time_starts(commands, rounds, nice=None):
    """Process start to exit, in turns: {name: {"median_ms", "min_ms", "max_ms", "times_ms", "peak_rss_mib"}} of
    {name: (command, environment)}. The first round warms the page cache and is not counted."""
    times, memory = {name: [] for name in commands}, {}
    with priority(nice):
        for turn in range(rounds + 1):
            for name, (command, env) in commands.items():
                ms, memory[name] = start_once(name, command, env)
                if turn:
                    times[name].append(ms)
    return {name: {"median_ms": statistics.median(t), "min_ms": min(t), "max_ms": max(t), "times_ms": [round(x, 3) for x in t],
                   "peak_rss_mib": memory[name]} for name, t in times.items()}
