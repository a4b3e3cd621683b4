#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bench "pause": how long a guest stands still for a snapshot of memory and two disks, by vmsnap and
by libvirt itself, alternating on the same guest. docs/benchmarks.md says what the figures mean.

Inside a lab: tests/lab/enter DIR tests/bench/pause.py [OPTION…]; JSON lines on standard output.
"""
import argparse
import gc
import os
import shutil
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
from figures import Figures, median, percentile  # noqa: E402
from snapshots import BenchError, Libvirts, Ours, Stops, TookTooLong  # noqa: E402
from lab import Lab, LabError  # noqa: E402

LOADS = {"idle": 0, "20": 20, "heavy": 400}  # MiB of memory written a second
PAUSE_GOAL, LIVE_GOAL, SIZE_GOAL = 40, 0.1, 1.3
SETTLE = 1.0      # seconds before each snapshot
PATIENCE = 60     # seconds for one of libvirt's
LEAST_ROUNDS = 3  # however slow the machine
LARGE_ROUNDS = 3  # of libvirt's, of other guests than the first: they take long and have no goal


def say(text):
    print(f"pause: {text}", file=sys.stderr, flush=True)


class Series:
    """Some snapshots of one kind of a guest under one load. Times are milliseconds."""

    def __init__(self):
        self.pauses = []   # widest gap between two beats, until the first beat after the resume
        self.widest = []   # the same until the command was done
        self.stopped = []  # as QEMU says
        self.taken = []    # how long the command took
        self.stalls = []   # all gaps from the end of the pause until memory was written
        self.huge = []     # all gaps from then until the command was done
        self.records = []
        self.unfinished = 0

    def add(self, record, begin, end, stops, beats):
        resumed = stops[-1][1]
        written = end
        timing = record.get("timing") or {}
        if timing.get("write_us"):
            written = min(end, resumed + timing["write_us"] / 1e6)
        times = [beat.time for beat in beats]
        gaps = [(a, b) for a, b in zip(times, times[1:]) if b > begin and a < end]
        if not gaps or times[-1] <= end:
            raise BenchError("the heartbeat was not heard during a snapshot")
        self.pauses.append(max(b - a for a, b in gaps if a <= resumed) * 1000)
        self.widest.append(max(b - a for a, b in gaps) * 1000)
        self.stopped.append(sum(b - a for a, b in stops) * 1000)
        self.taken.append((end - begin) * 1000)
        self.stalls += [(b - a) * 1000 for a, b in gaps if resumed < a < written]
        self.huge += [(b - a) * 1000 for a, b in gaps if a >= written]
        self.records.append(record)

    def last(self):
        """Where the last pause went, for whoever looks for the one that took long."""
        if not self.records:
            return "none yet"
        parts = self.records[-1].get("timing") or {}
        return ", ".join([f"stopped {self.stopped[-1]:.1f}"] +
                         [f"{key.removesuffix('_us')} {us / 1000:.1f}" for key, us in parts.items()])

    def timing(self):
        """{member: median of what the snapshots' records say}, µs."""
        members = {key for record in self.records for key in record.get("timing") or {}}
        return {key: median([record["timing"][key] for record in self.records])
                for key in sorted(members)}


class Bench:
    def __init__(self, lab, options):
        self.lab, self.options = lab, options
        self.figures = Figures("pause")
        self.stops = Stops()
        self.folder = lab.images / "bench"
        self.end = time.monotonic() + options.minutes * 60
        self.loads_left = len(options.sizes) * len(options.loads)

    def run(self):
        self.folder.mkdir()
        self.folder.chmod(0o711)
        try:
            for number, size in enumerate(self.options.sizes):
                self.one_size(size, "" if number == 0 else f"{label(size)}_")
            if len(self.options.sizes) > 1:
                self.compare_sizes()
        finally:
            shutil.rmtree(self.folder)

    def one_size(self, size, prefix):
        """Half of the memory is written once, with what the load writes to; the rest never."""
        area = min(192, size * 3 // 8)
        guest = self.lab.create_domain("pause", memory=size, dirty_size=area,
                                       touch=max(size // 2 - area, 0), disk_size=1 << 30)
        try:
            self.fill(guest, area)
            self.stops.watch(guest.name)
            for load in self.options.loads:
                self.one_load(guest, prefix, load, f"{label(size)} {load}")
        finally:
            self.stops.forget()
            guest.destroy()

    @staticmethod
    def fill(guest, area):
        """Until all that will ever be written has been written once."""
        limit = time.monotonic() + 180
        guest.dirty(400)
        while guest.beat().dirtied < area * 256:
            if time.monotonic() > limit:
                raise BenchError("the guest does not get its memory written")
            time.sleep(0.1)

    def one_load(self, guest, prefix, load, name):
        share = time.monotonic() + (self.end - time.monotonic()) / self.loads_left
        self.loads_left -= 1
        guest.dirty(LOADS[load])
        series = {"ours": Series(), "live": Series()}
        ways = {"ours": Ours(guest, self.folder, self.options.engine),
                "live": Libvirts(guest, self.folder, PATIENCE)}
        with guest.heartbeat() as heart:
            heart.next()
            time.sleep(SETTLE)
            quiet = time.monotonic()
            time.sleep(self.options.baseline)
            beats = [beat for beat in heart.beats if beat.time >= quiet]
            baseline = [(b.time - a.time) * 1000 for a, b in zip(beats, beats[1:])]
            rate = achieved(beats)
            for number in range(self.options.rounds):
                if number >= LEAST_ROUNDS and time.monotonic() > share:
                    say(f"{name}: no time for more than {number} rounds")
                    break
                order = ["ours", "live"] if number % 2 == 0 else ["live", "ours"]
                if prefix and number >= LARGE_ROUNDS:
                    order.remove("live")
                for which in order:
                    self.snapshot(ways[which], series[which], heart)
                say(f"{name}: round {number + 1} of {self.options.rounds}: " + ", ".join(
                    f"{which} {s.pauses[-1]:.1f} ms" for which, s in series.items() if s.pauses) +
                    f" ({series['ours'].last()})")
            last = heart.next()
        if last.errors or last.bad_pages or last.nonce != beats[0].nonce:
            raise BenchError(f"the guest was harmed: {last}")
        self.report(f"{prefix}{load}", series, baseline, rate)

    def snapshot(self, way, series, heart):
        os.sync()
        time.sleep(SETTLE)
        first = len(heart.beats) - 1
        begin = time.monotonic()
        try:
            record = way.take()
        except TookTooLong as error:
            say(str(error))
            series.unfinished += 1
            return
        end = time.monotonic()
        heart.next()
        series.add(record, begin, end, self.stops.between(begin, end), heart.beats[first:])
        way.undo()

    def report(self, load, series, baseline, rate):
        add, ours, live = self.figures.add, series["ours"], series["live"]
        heavy = load == "heavy"
        add(f"pause_ms_{load}", median(ours.pauses), "ms", PAUSE_GOAL)
        add(f"pause_max_ms_{load}", max(ours.pauses), "ms")
        add(f"live_pause_ms_{load}", median(live.pauses), "ms")
        add(f"live_pause_max_ms_{load}", max(live.pauses, default=None), "ms")
        self.figures.ratio(f"pause_ratio_live_{load}", f"pause_ms_{load}", f"live_pause_ms_{load}",
                           LIVE_GOAL if heavy else None)
        add(f"rounds_{load}", len(ours.pauses), "snapshots", better="higher")
        add(f"live_rounds_{load}", len(live.pauses), "snapshots", better="higher")
        add(f"live_unfinished_{load}", live.unfinished, "snapshots")
        add(f"gap_idle_max_ms_{load}", max(baseline), "ms")
        add(f"gap_idle_p99_ms_{load}", percentile(baseline, 99), "ms")
        add(f"dirty_rate_{load}", rate, "MiB/s", better="higher")
        add(f"stopped_ms_{load}", median(ours.stopped), "ms")
        add(f"live_stopped_ms_{load}", median(live.stopped), "ms")
        for member, value in ours.timing().items():
            add(f"timing_{member}_{load}", value, "us")
        for name, percent in (("p50", 50), ("p99", 99), ("p99.9", 99.9), ("max", 100)):
            add(f"stall_ms_{name}_{load}", percentile(ours.stalls, percent), "ms")
        for name, percent in (("p99", 99), ("max", 100)):
            add(f"huge_ms_{name}_{load}", percentile(ours.huge, percent), "ms")
        add(f"widest_ms_{load}", max(ours.widest), "ms")
        add(f"live_widest_ms_{load}", max(live.widest, default=None), "ms")
        add(f"create_ms_{load}", median(ours.taken), "ms")
        add(f"live_create_ms_{load}", median(live.taken), "ms")
        sizes = [record["memory"]["size"] for record in ours.records if record["memory"]]
        add(f"memory_mib_{load}", median(sizes) / 1048576 if sizes else None, "MiB")

    def compare_sizes(self):
        """The largest of the loads' ratios."""
        small, large = self.options.sizes[0], self.options.sizes[-1]
        ratios = []
        for load in self.options.loads:
            name = f"pause_ratio_{label(large)}_{label(small)}_{load}"
            self.figures.ratio(name, f"pause_ms_{label(large)}_{load}", f"pause_ms_{load}")
            ratios.append(self.figures.values[name])
        known = [ratio for ratio in ratios if ratio is not None]
        self.figures.add(f"pause_ratio_{label(large)}_{label(small)}", max(known, default=None),
                         "ratio", SIZE_GOAL)


def achieved(beats):
    """MiB a second that the guest did write."""
    first, last = beats[0], beats[-1]
    return (last.dirtied - first.dirtied) / 256 / (last.time - first.time)


def label(size):
    return f"{size // 1024}g" if size % 1024 == 0 else f"{size}m"


def parse():
    parser = argparse.ArgumentParser(prog="pause", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="snapshots of each kind (10)")
    parser.add_argument("--sizes", default="512,4096", help="guests' memory in MiB (512,4096)")
    parser.add_argument("--loads", default=",".join(LOADS), help=f"({','.join(LOADS)})")
    parser.add_argument("--engine", default="cow", choices=("cow", "live", "auto"),
                        help="of vmsnap's snapshots (cow)")
    parser.add_argument("--minutes", type=float, default=22,
                        help="take fewer rounds rather than longer (22)")
    parser.add_argument("--baseline", type=float, default=10,
                        help="seconds of listening to the guest left alone (10)")
    options = parser.parse_args()
    options.sizes = [int(size) for size in options.sizes.split(",")]
    options.loads = options.loads.split(",")
    unknown = [load for load in options.loads if load not in LOADS]
    if unknown or options.rounds < 1:
        parser.error(f"no load {unknown[0]}" if unknown else "no rounds")
    return options


def main():
    options = parse()
    gc.disable()  # nothing of ours may stop while the guest is listened to
    try:
        Bench(Lab(), options).run()
    except (BenchError, LabError, AssertionError) as error:
        sys.exit(f"pause: {error}")


main()
