#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Run the benchmarks: interleaved repeats in random order, medians with ranges, one table.

A program BUILDDIR/bench/bench_<room> lists its cases with --list and runs one of them
with --run INDEX, printing one number; peer_python.py does the same. Cases with the same
case, size, procs and figure form a group: mproc, its peers, and what the machine can do
(the peer "limit"). Ratios are taken within each repeat, whose runs lie close together in
time, and are the medians of those.
"""

import argparse
import json
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
OURS = "mproc"
LIMIT = "limit"
TIMEOUT = 60
GROUPS = {  # names for several rooms, as far as they are there
    "data": ("attach", "data", "dict", "list", "manager"),
    "locks": ("lock", "rmutex", "semaphore", "rwlock", "condition", "event", "barrier", "latch"),
}
NEAR_NS = 150  # a cache line that takes longer there and back has CPUs far apart


class Case:
    """One thing to measure, and what came of it."""

    def __init__(self, command, index, description):
        self.command = command
        self.index = index
        self.goal = description.pop("goal", None)
        self.about = description
        self.figures = []  # one for each repeat; None: failed
        self.error = None

    @property
    def peer(self):
        return self.about["peer"]

    @property
    def group(self):
        return tuple(self.about[key] for key in ("case", "size", "procs", "figure"))

    @property
    def more_is_better(self):
        return self.about["unit"].endswith("/s") or self.about["unit"] == "ratio"

    @property
    def known(self):
        return [f for f in self.figures if f is not None]

    @property
    def median(self):
        return statistics.median(self.known) if self.known else None

    def name(self):
        parts = [self.about["case"], self.about["figure"]]
        parts += ["%d B" % self.about["size"]] if self.about["size"] else []
        parts += ["%d procs" % self.about["procs"], self.peer]
        parts += [self.about["mode"]] if self.about["mode"] else []
        return ", ".join(parts)

    def measure(self):
        out, error = call(self.command + ["--run", str(self.index)])
        figure = None
        if not error:
            try:
                figure = float(out)
            except ValueError:
                error = "printed no number: %r" % out[:80]
        if error:
            self.error = error
            say("%s: %s" % (self.name(), error))
        self.figures.append(figure)

    def ratio(self, other):
        """How many times as good as the other: the median over the repeats."""
        ratios = []
        for mine, theirs in zip(self.figures, other.figures):
            if mine and theirs:
                ratios.append(mine / theirs if self.more_is_better else theirs / mine)
        return statistics.median(ratios) if ratios else None

    def meets(self, goal, group):
        """Is a goal met? None if nobody can tell."""
        sign, bound, peer = re.fullmatch(r"(<=|>=) ([0-9.e+]+)(?:x (.+))?", goal).groups()
        figure = self.median
        if peer:
            ratios = [self.ratio(c) for c in group if c.peer == peer]
            figure = min((r for r in ratios if r), default=None)
        if figure is None:
            return None
        return figure <= float(bound) if sign == "<=" else figure >= float(bound)


def say(text):
    print("bench: " + text, file=sys.stderr)


def call(command):
    """Run a program, for a while at most, with all that it starts.

    Returns what it printed, or None and the reason.
    """
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        out, err = child.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return None, "took longer than %d s" % TIMEOUT
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
    if child.returncode:
        last = err.strip().splitlines()[-1:] or ["no message"]
        return None, "ended with status %d: %s" % (child.returncode, last[0])
    return out, None


def list_cases(command):
    out, error = call(command + ["--list"])
    if error:
        sys.exit("bench: %s: %s" % (command[-1], error))
    return [Case(command, i, json.loads(line)) for i, line in enumerate(out.splitlines())]


def all_rooms(build):
    folder = os.path.join(build, "bench")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(n[len("bench_"):] for n in names
                  if n.startswith("bench_") and os.access(os.path.join(folder, n), os.X_OK)
                  and os.path.isfile(os.path.join(folder, n)))


def find_cases(build, rooms, peers):
    cases = []
    for room in rooms:
        cases += list_cases([os.path.join(build, "bench", "bench_" + room)])
    if not peers:
        return [c for c in cases if c.peer in (OURS, LIMIT)]
    groups = {c.group for c in cases}
    python = list_cases([sys.executable, os.path.join(HERE, "peer_python.py")])
    return cases + [c for c in python if c.group in groups]


def machine_state(build):
    """What says near or far, or None if this build or machine has it not."""
    program = os.path.join(build, "bench", "bench_machine")
    if os.access(program, os.X_OK):
        for case in list_cases([program]):
            if case.about["case"] == "cache line":
                return case
    return None


def run_all(cases, state, repeats):
    start = time.monotonic()
    terminal = sys.stderr.isatty()
    for repeat in range(repeats):
        if state:
            state.measure()
        for i, case in enumerate(random.sample(cases, len(cases))):
            if terminal:
                print("\r\033[Kbench: repeat %d of %d, case %d of %d: %s" %
                      (repeat + 1, repeats, i + 1, len(cases), case.name()[:60]),
                      end="", file=sys.stderr, flush=True)
            case.measure()
    if terminal:
        print("\r\033[K", end="", file=sys.stderr)
    say("%d cases, %d repeats, %.0f s" % (len(cases), repeats, time.monotonic() - start))


def number(x):
    """Three digits that count, and no exponent: 47.1M."""
    if x is None:
        return "-"
    for bound, divisor, suffix in (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"):
        if abs(x) >= bound:
            return number(x / divisor) + suffix
    return "%.0f" % x if abs(x) >= 99.95 else "%.1f" % x if abs(x) >= 9.995 else "%.3g" % x


def ratio_text(ratio):
    return "-" if ratio is None else number(ratio) + "x"


def goal_text(case, group):
    words = {True: "met", False: "missed", None: "-"}
    texts = []
    for goal in case.goal.split("; ") if case.goal else []:
        sign, bound = goal.split(" ", 1)
        if "x " not in bound and float(bound) >= 1e6:
            bound = "%gM" % (float(bound) / 1e6)
        texts.append("%s %s: %s" % (sign, bound, words[case.meets(goal, group)]))
    return "; ".join(texts)


def row(case, group):
    """The cells of one line of the table."""
    about = case.about
    best_text = limit_text = ""
    if case.peer == OURS:
        others = [c for c in group if c.peer not in (OURS, LIMIT) and c.known]
        limits = [c for c in group if c.peer == LIMIT and c.known]
        if others and case.known:
            # The best peer is the one that leaves us the smallest ratio.
            ratio, best = min((case.ratio(c) or 0, i) for i, c in enumerate(others))
            best_text = "%s %s" % (ratio_text(ratio), others[best].peer)
        if limits and case.known:
            limit_text = ratio_text(min(case.ratio(c) or 0 for c in limits))
    what = [about["case"], about["figure"]]
    what += ["%s B" % format(about["size"], ",")] if about["size"] else []
    who = case.peer + (" (%s)" % about["mode"] if about["mode"] else "")
    median, spread = "failed", ""
    if case.known:
        median = "%s %s" % (number(case.median), about["unit"])
        spread = "%s..%s" % (number(min(case.known)), number(max(case.known)))
    return [", ".join(what), str(about["procs"]), who, median, spread,
            best_text, limit_text, goal_text(case, group)]


def in_groups(cases):
    groups = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)

    def rank(case):
        """Ours first, the limit last, the better peers before the others."""
        worth = case.median or 0
        return ((case.peer != OURS) + 2 * (case.peer == LIMIT),
                -worth if case.more_is_better else worth)

    return [sorted(group, key=rank) for group in groups.values()]


def cpu_model():
    try:
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def print_heading(state, repeats):
    print("%d CPUs usable of %d (%s), Linux %s, %d repeats; medians, ranges min..max." %
          (len(os.sched_getaffinity(0)), os.cpu_count(), cpu_model(), platform.release(), repeats))
    if state and state.known:
        near = sum(f < NEAR_NS for f in state.known)
        print("Raw cache line there and back: %s ns (%s..%s); CPUs near (< %d ns) in %d of %d "
              "repeats." % (number(state.median), number(min(state.known)),
                            number(max(state.known)), NEAR_NS, near, len(state.known)))
    print("Ratios above 1 are in favour of mproc; the limit is what the machine can do.\n")


def print_table(cases):
    head = ["case", "procs", "who", "median", "range", "to best peer", "to limit", "goal"]
    rows = [row(case, group) for group in in_groups(cases) for case in group]
    widths = [max(len(r[i]) for r in [head] + rows) for i in range(len(head))]
    rule = ["-" * w for w in widths]
    for cells in [head, rule] + rows:
        print("| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths)) + " |")


def write_json(path, cases):
    objects = []
    for case in cases:
        if case.known:
            objects.append(dict(case.about, median=case.median, min=min(case.known),
                                max=max(case.known), repeats=len(case.known)))
    with open(path, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(o) for o in objects) + "\n]\n")


def positive(text):
    n = int(text)
    if n < 1:
        raise ValueError
    return n


def main():
    parser = argparse.ArgumentParser(
        prog="./dev bench",
        description="Measure rooms of mproc (default: all), side by side with their peers "
                    "and with what the machine can do, and print a Markdown table.")
    # Where the programs were built, which ./dev knows.
    parser.add_argument("--build", metavar="DIR", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--peers", action="store_true",
                        help="measure the peers as well: pthread, pipe(2), Python and others")
    parser.add_argument("--repeats", metavar="N", type=positive, default=5,
                        help="of each case, in random order; default 5")
    parser.add_argument("--json", metavar="FILE",
                        help="write a list of objects with the keys case peer mode size procs "
                             "figure unit median min max repeats")
    parser.add_argument("rooms", metavar="ROOM", nargs="*", help="lock, pool, queue, ..., or locks: all of those that wait")
    args = parser.parse_args()

    there = all_rooms(args.build)
    if not there:
        parser.error("no bench programs in %s/bench" % args.build)
    rooms = []
    for room in args.rooms:
        if room not in there and room not in GROUPS:
            parser.error("no room %s; there are: %s" % (room, " ".join(there + sorted(GROUPS))))
        rooms += [r for r in GROUPS.get(room, (room,)) if r in there and r not in rooms]
    cases = find_cases(args.build, rooms or there, args.peers)
    state = machine_state(args.build)
    run_all(cases, state, args.repeats)
    print_heading(state, args.repeats)
    print_table(cases)
    if args.json:
        write_json(args.json, cases)
    return 1 if any(case.error for case in cases) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
