#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bench "chunk-size": what each size at which disks are cut costs and saves. docs/benchmarks.md says
what the figures mean.

Inside a lab: tests/lab/enter DIR tests/bench/chunk-size.py [OPTION…]; JSON lines on standard output.
"""
import argparse
import json
import random
import sys
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
from disks import MIB, BenchError, Disks, file_sha256, parse_size  # noqa: E402
from figures import Figures  # noqa: E402
from lab import Lab  # noqa: E402

SIZES = ("128K", "256K", "512K", "1M", "4M")
BLOCK = 4096


def clustered(size, changed, dice):
    """Offsets of blocks in runs of 2 MiB: a log, a package that is installed, a copied file."""
    run = 2 * MIB
    starts = dice.sample(range(size // run), changed // run)
    return [start * run + at for start in starts for at in range(0, run, BLOCK)]


def scattered(size, changed, dice):
    """Offsets of blocks anywhere: a database."""
    return [number * BLOCK for number in dice.sample(range(size // BLOCK), changed // BLOCK)]


def change(disks, offsets, dice, before):
    """before: {offset: bytes}, for what has not been changed yet."""
    with open(disks.image, "r+b") as file:
        for offset in offsets:
            file.seek(offset)
            before.setdefault(offset, file.read(BLOCK))
            file.seek(offset)
            file.write(dice.randbytes(BLOCK))
    disks.sha256 = file_sha256(disks.image)


def put_back(disks, before):
    """Each size begins with the same disk; where holes were there are zeroes now."""
    with open(disks.image, "r+b") as file:
        for offset, data in before.items():
            file.seek(offset)
            file.write(data)
    disks.sha256 = file_sha256(disks.image)


def export(disks, name, chunk):
    disks.vmsnap("create", disks.bench)
    done = disks.vmsnap("export", disks.bench, "--to", name, "--json", f"--chunk-size={chunk}")
    document = json.loads(done.out)
    return document["stats"], document["snapshot"]["repository"]["snapshot"]


def index_bytes(disks, name):
    return sum(path.stat().st_size for path in (disks.folder / name / "index").iterdir())


def restore(disks, name, snapshot):
    to = disks.folder / "to"
    to.mkdir()
    done = disks.vmsnap("restore", snapshot, "--from", name, "--disk", "vda", "--disks-to", to,
                        "--format", "raw")
    [path] = to.iterdir()
    disks.same("restore", file_sha256(path))
    path.unlink()
    to.rmdir()
    return done.seconds


def measure(disks, changed):
    add = Figures("chunk-size").add
    for chunk in SIZES:
        disks.say(chunk)
        mark, name = chunk.lower(), disks.fresh()
        stats, snapshot = export(disks, name, chunk)
        add(f"full_mib_s_{mark}", disks.size / MIB / (stats["duration_us"] / 1e6), "MiB/s",
            better="higher")
        add(f"full_uploaded_mib_{mark}", stats["bytes_uploaded"] / MIB, "MiB")
        add(f"index_kib_{mark}", index_bytes(disks, name) / 1024, "KiB")
        add(f"restore_mib_s_{mark}", disks.size / MIB / restore(disks, name, snapshot), "MiB/s",
            better="higher")
        before = {}
        for pattern in (clustered, scattered):
            # other blocks for each size, so that no repository has seen them
            dice = random.Random(f"{chunk} {pattern.__name__}")
            offsets = pattern(disks.size, changed, dice)
            change(disks, offsets, dice, before)
            stats, snapshot = export(disks, name, chunk)
            add(f"uploaded_per_changed_{pattern.__name__}_{mark}",
                stats["bytes_uploaded"] / (len(offsets) * BLOCK), "ratio")
            disks.check_restic("export", disks.folder / name,
                               f"/{disks.bench}/vda/disk.raw")
        disks.forget(name)
        put_back(disks, before)


def main():
    parser = argparse.ArgumentParser(prog="chunk-size", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--size", type=parse_size, default="4G", help="of the disk (4G)")
    parser.add_argument("--changed", type=parse_size, default="64M", help="between exports (64M)")
    options = parser.parse_args()
    try:
        with Disks("chunk-size", Lab().images / "bench", options.size) as disks:
            measure(disks, options.changed)
    except BenchError as error:
        sys.exit(f"chunk-size: {error}")


if __name__ == "__main__":
    main()
