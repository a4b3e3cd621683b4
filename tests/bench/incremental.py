#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bench "incremental": what the export of a disk costs that has not changed, or 64 MiB of it. Domains
that are shut off with sparse qcow2 disks, a directory as repository. docs/benchmarks.md says what the
figures mean.

Inside a lab: tests/lab/enter DIR tests/bench/incremental.py [OPTION…]; JSON lines on standard output.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
from figures import Figures, median  # noqa: E402
from snapshots import BenchError, command  # noqa: E402
from lab import Lab  # noqa: E402

import libvirt  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
CLUSTERS, CLUSTER = 16, 4 * MIB  # 64 MiB change, in pieces that lie together
DATA = 256                       # pieces of 1 MiB that the disk holds at first, all over it
VMSNAP = os.environ.get("VMSNAP", "vmsnap")


def say(text):
    print(f"incremental: {text}", file=sys.stderr, flush=True)


class Disk:
    """A domain with one disk, and vmsnap's folders for it."""

    def __init__(self, folder, size, dice):
        self.folder, self.size, self.dice = folder / f"{size >> 30}g", size, dice
        self.name = f"incremental-{size >> 30}g"
        self.path = self.folder / "disk.qcow2"
        self.rss = 0
        self.folder.mkdir()
        self.folder.chmod(0o711)
        command("qemu-img", "create", "-q", "-f", "qcow2", self.path, size)
        self.path.chmod(0o600)
        password = self.folder / "password"
        password.write_text("bench\n")
        password.chmod(0o600)
        self.config = self.folder / "vmsnap.conf"
        self.config.write_text(
            "[paths]\n" + "".join(f"{name} = {self.folder}/{name}\n"
                                  for name in ("state", "cache", "run")) +
            f"[repository here]\nurl = {self.folder}/repository\npassword-file = {password}\n")
        self.connection = libvirt.open("qemu:///system")
        self.connection.defineXML(
            f"<domain type='qemu'><name>{self.name}</name><memory unit='MiB'>32</memory>"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><disk type='file' "
            f"device='disk'><driver name='qemu' type='qcow2'/><source file='{self.path}'/>"
            "<target dev='vda' bus='virtio'/></disk></devices></domain>")
        self.vmsnap("init", "here")

    def vmsnap(self, name, *args):
        out = self.folder / "out"
        with open(out, "wb") as file:
            process = subprocess.Popen([VMSNAP, name, "--config", self.config, *args], stdout=file,
                                       stdin=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise BenchError(f"vmsnap {name} ended with {process.returncode}")
        self.rss = max(self.rss, usage.ru_maxrss * 1024)
        return out.read_text()

    def write(self, offsets, length):
        """How many bytes the written ones compress to at best: half of each MiB is random, the other
        half one byte."""
        args = []
        for i, offset in enumerate(offsets):
            piece = self.folder / f"piece-{i}"
            piece.write_bytes(b"".join(
                self.dice.randbytes(MIB // 2) + bytes([self.dice.randrange(1, 256)]) * (MIB // 2)
                for _ in range(length // MIB)))
            args += ["-c", f"write -q -s {piece} {offset} {length}"]
        command("qemu-io", "-f", "qcow2", *args, self.path)
        for piece in self.folder.glob("piece-*"):
            piece.unlink()
        return len(offsets) * length // 2

    def fill(self):
        self.write([self.size // DATA * i // MIB * MIB for i in range(DATA)], MIB)

    def change(self):
        step = self.size // CLUSTERS
        return self.write([(i * step + self.dice.randrange(step - CLUSTER)) // MIB * MIB
                           for i in range(CLUSTERS)], CLUSTER)

    def export(self, want):
        """The statistics of one snapshot's export."""
        self.vmsnap("create", "--memory=none", self.name)
        result = json.loads(self.vmsnap("export", "--json", "--to", "here", self.name))
        [disk] = result["snapshot"]["disks"]
        if disk["tracking"]["method"] != want:
            raise BenchError(f"{self.name}: tracked by {disk['tracking']}, not by {want}")
        return result["stats"]

    def close(self):
        self.connection.lookupByName(self.name).undefine()
        shutil.rmtree(self.folder)


def measure(figures, label, disk, rounds):
    say(f"{label}: fill")
    disk.fill()
    first = disk.export("none")
    figures.add(f"first_{label}_s", first["duration_us"] / 1e6, "s")
    unchanged = [disk.export("bitmap") for _ in range(rounds)]
    changed, compressed = [], 0
    for _ in range(rounds):
        compressed += disk.change()
        changed.append(disk.export("bitmap"))
    uploaded = sum(stats["bytes_uploaded"] for stats in changed)
    figures.add(f"unchanged_{label}_s", median([s["duration_us"] / 1e6 for s in unchanged]), "s",
                2 if label == "1tib" else None)
    figures.add(f"unchanged_{label}_mib", max(s["bytes_uploaded"] for s in unchanged) / MIB, "MiB", 1)
    figures.add(f"changed_{label}_s", median([s["duration_us"] / 1e6 for s in changed]), "s")
    figures.add(f"uploaded_per_changed_{label}", uploaded / compressed, "ratio", 1.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="10,1024", help="GiB, the small and the large disk")
    options = parser.parse_args()
    small, large = (int(size) * GIB for size in options.sizes.split(","))
    figures = Figures("incremental")
    folder = Lab().images / "incremental"
    folder.mkdir()
    folder.chmod(0o711)
    rss = 0
    try:
        for label, size in (("10gib", small), ("1tib", large)):
            disk = Disk(folder, size, random.Random(label))
            try:
                measure(figures, label, disk, options.rounds)
            finally:
                rss = max(rss, disk.rss)
                disk.close()
    finally:
        shutil.rmtree(folder)
    both = [figures.values[f"uploaded_per_changed_{label}"] for label in ("10gib", "1tib")]
    figures.add("uploaded_per_changed", max(both), "ratio", 1.1)
    figures.ratio("time_ratio_1tib_10gib", "changed_1tib_s", "changed_10gib_s", 1.2)
    figures.add("peak_rss_mib", rss / MIB, "MiB", 256)


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"incremental: {error}")
