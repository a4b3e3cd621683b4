# SPDX-License-Identifier: LGPL-2.1-or-later
"""Anything in any order: what a guest, an operator and a crash do between snapshots. After each
export the stored disks are the frozen ones, bit by bit, read by restic.

VMSNAP_RANDOM_STEPS (25) and VMSNAP_RANDOM_SEED repeat a run; the seed is part of what a failure says."""
import os
import random
import shutil

import pytest

import domains
from test_bitmaps import kill, stop
from test_tracking import make  # noqa: F401
from tracked import MIB

STEPS = int(os.environ.get("VMSNAP_RANDOM_STEPS", "25"))
SEED = os.environ.get("VMSNAP_RANDOM_SEED") or str(random.SystemRandom().randrange(1 << 32))
# which formats, and how often overlays are kept
MODES = {"mixed": ({"vda": "qcow2", "vdb": "raw"}, 0.4)}
if STEPS > 25:
    MODES.update({"overlay": ({"vda": "raw"}, 1.0), "bitmap": ({"vda": "qcow2"}, 0.0),
                  "none": ({"vda": "raw"}, 0.0)})


class Walk:
    def __init__(self, domain, dice, keep, tmp):
        self.domain, self.dice, self.keep, self.tmp = domain, dice, keep, tmp
        self.frozen = {}  # {id on the host: {target: sha256}}
        self.stored = {}  # {id in the repository: {target: sha256}}
        self.sizes = dict.fromkeys(domain.paths, domain.size)
        self.methods = set()
        self.log = []

    def change(self):
        for _ in range(self.dice.randrange(1, 6)):
            target = self.dice.choice(list(self.domain.paths))
            length = self.dice.choice((512, 4096, 65536, 100 << 10, MIB, 3 * MIB))
            offset = self.dice.randrange((self.sizes[target] - length) // 512) * 512
            what = self.dice.choice((f"write -P {self.dice.randrange(1, 256)}", "write -P 0",
                                     "write -z", "write -zu", "discard"))
            self.domain.io(target, f"{what} {offset} {length}")

    def snapshot(self):
        record = self.domain.create()
        self.frozen[record["id"]] = {
            disk["target"]: domains.image_sha256(disk["frozen_image"], disk["frozen_format"],
                                                 self.domain.folder, share=True)
            for disk in record["disks"]}

    def export(self):
        waiting = [snapshot for snapshot in self.domain.vmsnap.on_host(self.domain.name)
                   if snapshot["status"] == "captured"]
        if not waiting:
            self.snapshot()
        keep = ["--keep-overlays"] if self.dice.random() < self.keep else []
        document = self.domain.export(*keep)["snapshot"]
        stored = document["repository"]["snapshot"]
        self.stored[stored] = self.frozen[document["id"]]
        self.methods |= {disk["tracking"]["method"] for disk in document["disks"]}
        self.log.append([disk["tracking"] for disk in document["disks"]])
        to = self.tmp / "restored"
        self.domain.restic.run("restore", stored, "--target", to)
        for target, sha256 in self.stored[stored].items():
            file = to / self.domain.name / target / "disk.raw"
            assert domains.file_sha256(file) == sha256, (target, stored)
        shutil.rmtree(to)

    def commit(self):
        for snapshot in reversed(self.domain.vmsnap.on_host(self.domain.name)):
            if snapshot["status"] != "exported":
                break
            self.domain.vmsnap.run("commit", self.domain.name, "--snapshot", snapshot["id"])

    def drop(self):
        snapshots = self.domain.vmsnap.on_host(self.domain.name)
        if snapshots and snapshots[-1]["status"] == "captured":
            self.domain.vmsnap.run("drop", self.domain.name, "--snapshot", snapshots[-1]["id"])

    def resize(self):
        target = self.dice.choice(list(self.domain.paths))
        self.sizes[target] += self.dice.choice((512, MIB))
        self.domain.domain.blockResize(target, self.sizes[target], 1)

    def forget(self):
        if self.stored:
            gone = self.dice.choice(list(self.stored))
            del self.stored[gone]
            self.domain.restic.run("forget", gone)

    def prune(self):
        if self.dice.random() < 0.5:
            self.domain.restic.run("prune", "--max-unused", "0")
        else:
            self.domain.vmsnap.run("prune", "--max-unused=0", self.domain.to)

    def restore(self):
        if not self.stored:
            return
        stored, target = self.dice.choice(list(self.stored)), self.dice.choice(
            list(self.domain.paths))
        to = self.tmp / "disks"
        to.mkdir()
        self.domain.vmsnap.run("restore", stored, "--from", self.domain.to, "--disk", target,
                               "--disks-to", to)
        [path] = to.iterdir()
        format = "qcow2" if path.suffix == ".qcow2" else "raw"
        assert domains.image_sha256(path, format, self.tmp) == self.stored[stored][target]
        shutil.rmtree(to)

    def restart(self):
        stop(self.domain)
        self.domain.domain.create()

    def crash(self):
        kill(self.domain)

    def step(self):
        name = self.dice.choices(
            ("change", "snapshot", "export", "commit", "drop", "resize", "forget", "prune",
             "restore", "restart", "crash"), (12, 2, 8, 2, 1, 1, 1, 1, 1, 1, 1))[0]
        self.log.append(name)
        getattr(self, name)()


@pytest.mark.parametrize("mode", MODES)
def test_random(make, tmp, mode):  # noqa: F811
    formats, keep = MODES[mode]
    folder = tmp / f"random-{mode}"
    folder.mkdir()
    walk = Walk(make(formats=formats, size=16 * MIB), random.Random(f"{SEED} {mode}"), keep, folder)
    try:
        for _ in range(STEPS):
            walk.step()
        walk.export()
        assert "no errors were found" in walk.domain.restic.run("check", "--read-data")
    except BaseException:
        print(f"VMSNAP_RANDOM_SEED={SEED} VMSNAP_RANDOM_STEPS={STEPS}, {mode}:", *walk.log,
              sep="\n  ")
        raise
    shutil.rmtree(folder)
    print(f"seed {SEED}: {len(walk.stored)} snapshots, {', '.join(sorted(walk.methods))}")
