#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bench "rounds": fifty snapshots of one guest under load, each merged back: does anything pile up?
docs/benchmarks.md says what the figures mean.

Inside a lab: tests/lab/enter DIR tests/bench/rounds.py [OPTION…]; JSON lines on standard output.
"""
import argparse
import gc
import json
import os
import shutil
import sys
import time
from pathlib import Path

import libvirt_qemu

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
from figures import Figures, median  # noqa: E402
from snapshots import BenchError, Ours  # noqa: E402
from lab import Lab, LabError  # noqa: E402

AREA = 192  # MiB of memory that the guest writes to, round and round


class Held:
    """What QEMU and the disks hold at one moment."""

    def __init__(self, guest):
        pid = int(Path(f"/run/libvirt/qemu/{guest.name}.pid").read_text())
        domain = guest.libvirt
        query = json.dumps({"execute": "query-named-block-nodes", "arguments": {"flat": True}})
        self.nodes = len(json.loads(libvirt_qemu.qemuMonitorCommand(domain, query, 0))["return"])
        self.fds = len(os.listdir(f"/proc/{pid}/fd"))
        status = Path(f"/proc/{pid}/status").read_text()
        self.rss = next(int(line.split()[1]) for line in status.splitlines()
                        if line.startswith("VmRSS:")) / 1024
        self.files = sum(len(os.listdir(Path(path).parent)) for path in guest.disks().values())


def run(lab, options):
    folder = lab.images / "bench"
    folder.mkdir()
    folder.chmod(0o711)
    guest = lab.create_domain("rounds", memory=512, dirty=400, dirty_size=AREA)
    pauses = []
    try:
        way = Ours(guest, folder, options.engine)
        with guest.heartbeat() as heart:
            first = heart.next()
            while heart.next().dirtied < AREA * 256:  # all pages it will ever write to, once
                time.sleep(0.1)
            guest.dirty(20)
            before = None
            for number in range(options.rounds):
                begin = time.monotonic()
                record = way.take()
                beat = heart.next()
                pauses.append(max(gap for _, gap in heart.gaps(since=begin)))
                way.undo()
                if number == 0:
                    before = Held(guest)  # with what the first one loads for good
                print(f"rounds: {number + 1} of {options.rounds}: {pauses[-1]:.1f} ms, "
                      f"{record['engine']}", file=sys.stderr, flush=True)
            last = heart.next()
            after = Held(guest)
        if last.nonce != first.nonce or beat.nonce != first.nonce:
            raise BenchError("the guest was restarted")
        report(pauses, before, after, last, guest.labcheck()["ok"])
    finally:
        guest.destroy()
        shutil.rmtree(folder)


def report(pauses, before, after, last, whole):
    add = (figures := Figures("rounds")).add
    fifth = max(len(pauses) // 5, 1)
    add("rounds", len(pauses), "snapshots", better="higher")
    add("pause_ms_first", median(pauses[:fifth]), "ms")
    add("pause_ms_last", median(pauses[-fifth:]), "ms")
    figures.ratio("pause_drift", "pause_ms_last", "pause_ms_first", goal=1.3)
    add("pause_ms_max", max(pauses), "ms")
    add("fds_more", after.fds - before.fds, "descriptors", goal=0)
    add("nodes_more", after.nodes - before.nodes, "nodes", goal=0)
    add("files_more", after.files - before.files, "files", goal=0)
    add("rss_more", after.rss - before.rss, "MiB", goal=32)
    add("writes_failed", last.errors, "writes", goal=0)
    add("bad_pages", last.bad_pages, "pages", goal=0)
    add("records_lost", 0 if whole else 1, "disks", goal=0)


def main():
    parser = argparse.ArgumentParser(prog="rounds", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=50, help="snapshots (50)")
    parser.add_argument("--engine", default="cow", choices=("cow", "live", "auto"))
    options = parser.parse_args()
    gc.disable()
    try:
        run(Lab(), options)
    except (BenchError, LabError, AssertionError) as error:
        sys.exit(f"rounds: {error}")


main()
