#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bench "restore": a disk out of a repository in a folder, beside restic, and beside qemu-img and
nbdcopy, which only copy it. docs/benchmarks.md says what the figures mean.

Inside a lab: tests/lab/enter DIR tests/bench/restore.py [OPTION…]; JSON lines on standard output.
"""
import argparse
import json
import shutil
import sys
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
from disks import BenchError, Disks, file_sha256, parse_size  # noqa: E402
from figures import Figures, median  # noqa: E402
from lab import Lab  # noqa: E402


class Restore:
    """Each way makes a file, which has to be on disk in the end. What it is made of is in the page
    cache: restic's files are there since they were written, ours are written past it."""

    def __init__(self, disks):
        self.disks, self.rss, self.stats = disks, 0, None
        self.to = disks.folder / "to"
        self.name = disks.fresh()
        disks.vmsnap("create", disks.bench)
        done = disks.vmsnap("export", disks.bench, "--to", self.name, "--json")
        self.snapshot = json.loads(done.out)["snapshot"]["repository"]["snapshot"]
        self.place = disks.folder / "restic"
        disks.restic(self.place, "init")
        disks.restic(self.place, "backup", disks.image)

    def ours(self):
        done = self.disks.vmsnap("restore", self.snapshot, "--from", self.name, "--disk", "vda",
                                 "--disks-to", self.to, "--format", "raw")
        self.rss = max(self.rss, done.rss)
        return done.seconds

    def restic(self):
        return self.disks.restic(self.place, "restore", "latest", "--target", self.to).seconds

    def qemu_img(self):
        return self.disks.timed("qemu-img", "convert", "-f", "raw", "-O", "raw", self.disks.image,
                                self.to / "disk.raw").seconds

    def nbdcopy(self):
        return self.disks.timed("nbdcopy", "--", "[", "qemu-nbd", "-r", "-f", "raw",
                                self.disks.image, "]", self.to / "disk.raw").seconds

    def run(self, kind, check):
        for source in (self.place, self.disks.folder / self.name, self.disks.image):
            warm(source)
        self.to.mkdir()
        if kind == "nbdcopy":
            (self.to / "disk.raw").touch()
        seconds = getattr(self, kind)()
        [path] = [path for path in self.to.rglob("*") if path.is_file()]
        seconds += self.disks.timed("sync", path).seconds
        if check:
            self.disks.same(kind, file_sha256(path))
        shutil.rmtree(self.to)
        return seconds


def warm(source):
    """Reads a file, or all below a folder."""
    for path in [source] if source.is_file() else source.rglob("*"):
        if path.is_file():
            with open(path, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def measure(disks, options):
    add = Figures("restore").add
    restore = Restore(disks)
    kinds = ["ours", "restic", "qemu_img", "nbdcopy"]
    times = {kind: [] for kind in kinds}
    for turn in range(options.rounds):
        for kind in kinds if turn % 2 == 0 else reversed(kinds):
            disks.say(f"round {turn + 1} of {options.rounds}: {kind}")
            times[kind].append(restore.run(kind, check=turn == 0))
    seconds = {kind: median(values) for kind, values in times.items()}
    for kind in kinds:
        add(f"{kind}_s", seconds[kind], "s")
    add("speedup_restic", seconds["restic"] / seconds["ours"], "times", 2, "higher")
    add("ratio_qemu_img", seconds["qemu_img"] / seconds["ours"], "ratio", 0.8, "higher")
    add("peak_rss_mib", restore.rss, "MiB", 256)


def main():
    parser = argparse.ArgumentParser(prog="restore", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each kind (3)")
    parser.add_argument("--size", type=parse_size, default="4G", help="of the disk (4G)")
    options = parser.parse_args()
    try:
        with Disks("restore", Lab().images / "bench", options.size) as disks:
            measure(disks, options)
    except BenchError as error:
        sys.exit(f"restore: {error}")


if __name__ == "__main__":
    main()
