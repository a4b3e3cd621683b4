#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bench "memory-ceiling": what vmsnap has resident at most, in export, verify and restore, under what
makes it hold much: large chunks, many threads, a store that is slow. docs/benchmarks.md says more.

Inside a lab: tests/lab/enter DIR tests/bench/memory-ceiling.py [OPTION…]; JSON lines on standard output.
"""
import argparse
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
from disks import MIB, BenchError, Disks, parse_size  # noqa: E402
from figures import Figures  # noqa: E402
from lab import Lab  # noqa: E402

CEILING = 256  # MiB


def measure(disks):
    add = Figures("memory-ceiling").add
    # slow enough that packs pile up behind it, fast enough to end
    slow = f"--limit-upload={max(disks.size // 20 // MIB, 1)}M"
    cases = {"default": (), "chunk_128k": ("--chunk-size=128K",), "chunk_4m": ("--chunk-size=4M",),
             "slow_store": (slow,), "slow_store_chunk_4m": ("--chunk-size=4M", slow),
             "max": ("--compression=max", "--chunk-size=4M"), "threads_16": ("--threads=16",)}
    highest = 0
    for case, args in cases.items():
        disks.say(case)
        name = disks.fresh()
        disks.vmsnap("create", disks.bench)
        done = disks.vmsnap("export", disks.bench, "--to", name, "--json", *args)
        add(f"rss_mib_export_{case}", done.rss, "MiB", CEILING)
        highest = max(highest, done.rss)
        if case in ("default", "chunk_128k", "chunk_4m"):
            snapshot = json.loads(done.out)["snapshot"]["repository"]["snapshot"]
            done = disks.vmsnap("verify", snapshot, "--from", name)
            add(f"rss_mib_verify_{case}", done.rss, "MiB", CEILING)
            highest = max(highest, done.rss)
            for format in ("raw", "qcow2"):
                to = disks.folder / "to"
                to.mkdir()
                done = disks.vmsnap("restore", snapshot, "--from", name, "--disk", "vda",
                                    "--disks-to", to, "--format", format)
                [path] = to.iterdir()
                path.unlink()
                to.rmdir()
                add(f"rss_mib_restore_{format}_{case}", done.rss, "MiB", CEILING)
                highest = max(highest, done.rss)
        disks.forget(name)
    add("peak_rss_mib", highest, "MiB", CEILING)


def main():
    parser = argparse.ArgumentParser(prog="memory-ceiling",
                                     description=__doc__.partition("\n\n")[0])
    parser.add_argument("--size", type=parse_size, default="2G", help="of the disk (2G)")
    options = parser.parse_args()
    try:
        with Disks("memory-ceiling", Lab().images / "bench", options.size) as disks:
            measure(disks)
    except BenchError as error:
        sys.exit(f"memory-ceiling: {error}")


if __name__ == "__main__":
    main()
