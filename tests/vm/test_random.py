# SPDX-License-Identifier: LGPL-2.1-or-later
"""Anything in any order: what a guest, an operator and a crash do between snapshots. After each
export the stored disks are the frozen ones, bit by bit, read by restic.

    VMSNAP_RANDOM_STEPS=200 VMSNAP_RANDOM_SEED=1 … pytest -s tests/vm/test_random.py -k bitmap

repeats a run; the seed is said first. Up to 25 steps (the default) a domain without an operating
system is written to; more have a Linux guest that also writes by itself, with each way of
tracking."""
import collections
import os
import random
import shutil

import libvirt
import pytest

import domains
from lab import Lab
from live import Live
from test_tracking import make  # noqa: F401
from tracked import MIB

STEPS = int(os.environ.get("VMSNAP_RANDOM_STEPS", "25"))
SEED = os.environ.get("VMSNAP_RANDOM_SEED") or str(random.SystemRandom().randrange(1 << 32))
# format of all disks (None: both), how often overlays are kept, and what tracking has to be seen
MODES = {"mixed": (None, 0.4, None)}
if STEPS > 25:
    MODES.update({"overlay": ("raw", 1.0, "overlay"), "bitmap": ("qcow2", 0.0, "bitmap"),
                  "none": ("raw", 0.0, "none")})
KINDS = {"change": 12, "snapshot": 2, "export": 8, "commit": 2, "drop": 1, "resize": 1,
         "forget": 1, "prune": 1, "restore": 1, "restart": 1, "crash": 1}


class Walk:
    def __init__(self, domain, dice, keep, tmp):
        self.domain, self.dice, self.keep, self.tmp = domain, dice, keep, tmp
        self.vmsnap, self.live = domain.vmsnap, isinstance(domain, Live)
        self.frozen = {}  # {id on the host: {target: sha256}}
        self.stored = {}  # {id in the repository: {target: sha256}}
        self.cuts = {}  # {id in the repository: number of its cut}
        self.sizes = dict.fromkeys(domain.paths, domain.size)
        self.tracking = []  # of each disk that was exported
        self.steps = collections.Counter()

    def change(self):
        for _ in range(self.dice.randrange(1, 6)):
            target = self.dice.choice(list(self.domain.paths))
            if self.live and self.domain.change(target, self.dice):
                continue
            length = self.dice.choice((512, 4096, 65536, 100 << 10, MIB, 3 * MIB))
            offset = self.dice.randrange((self.sizes[target] - length) // 512) * 512
            what = self.dice.choice((f"write -P {self.dice.randrange(1, 256)}", "write -P 0",
                                     "write -z", "write -zu", "discard"))
            self.domain.io(target, f"{what} {offset} {length}")

    def snapshot(self):
        quiesce = self.dice.choice(("off", "auto")) if self.live else "off"
        self.domain.memory = "live" if self.live and self.dice.random() < 0.1 else "none"
        record = self.domain.create(quiesce)
        self.frozen[record["id"]] = {
            disk["target"]: domains.image_sha256(disk["frozen_image"], disk["frozen_format"],
                                                 self.domain.folder, share=True)
            for disk in record["disks"]}

    def on_host(self):
        return self.vmsnap.on_host(self.domain.name)

    def export(self):
        if not any(snapshot["status"] == "captured" for snapshot in self.on_host()):
            self.snapshot()
        keep = ["--keep-overlays"] if self.dice.random() < self.keep else []
        document = self.domain.export(*keep)["snapshot"]
        stored = document["repository"]["snapshot"]
        self.stored[stored] = self.frozen[document["id"]]
        self.cuts[stored] = list(self.frozen).index(document["id"])
        assert set(self.stored[stored]) == set(self.domain.paths)
        self.tracking += [disk["tracking"] for disk in document["disks"]]
        print([{name: value for name, value in disk["tracking"].items() if value}
               for disk in document["disks"]], flush=True)
        to = self.tmp / "restored"
        self.domain.restic.run("restore", stored, "--target", to)
        for target, sha256 in self.stored[stored].items():
            file = to / self.domain.name / target / "disk.raw"
            assert domains.file_sha256(file) == sha256, (target, stored)
        shutil.rmtree(to)

    def commit(self, least=1):
        """Some of the newest ones."""
        exported = []
        for snapshot in reversed(self.on_host()):
            if snapshot["status"] != "exported":
                break
            exported.append(snapshot["id"])
        for id in exported[:self.dice.randint(least, max(len(exported), least))]:
            self.vmsnap.run("commit", self.domain.name, "--snapshot", id)

    def drop(self):
        snapshots = self.on_host()
        if snapshots and snapshots[-1]["status"] == "captured":
            self.vmsnap.run("drop", self.domain.name, "--snapshot", snapshots[-1]["id"])

    def resize(self):
        target = self.dice.choice(list(self.domain.paths))
        size = self.sizes[target] + self.dice.choice((512, MIB))
        try:
            self.domain.domain.blockResize(target, size, 1)
        except libvirt.libvirtError as error:
            # QEMU was killed, and resizes nothing as long as a bitmap that it did not save is there:
            # until the next export
            assert "is inconsistent" in str(error), error
            self.export()
            self.domain.domain.blockResize(target, size, 1)
        self.sizes[target] = size

    def forget(self):
        """By id or by number."""
        if not self.stored:
            return
        how = self.dice.choice((["--keep-last", str(self.dice.randrange(1, 6))],
                                [self.dice.choice(list(self.stored))]))
        more = ["--prune"] if len(how) == 2 and self.dice.random() < 0.3 else []
        document = self.vmsnap.json("forget", "--from", self.domain.to, *how, *more)
        gone = {entry["snapshot"] for entry in document["snapshots"] if not entry["keep"]}
        if len(how) == 2:
            assert len(self.stored) - len(gone) == min(int(how[1]), len(self.stored))
            assert gone == set(sorted(self.stored, key=self.cuts.get)[:len(gone)])  # the oldest
        else:
            assert gone == set(how)
        self.stored = {id: disks for id, disks in self.stored.items() if id not in gone}

    def prune(self):
        """Ours and restic's in turns."""
        if self.dice.random() < 0.25:
            self.domain.restic.run("prune", "--max-unused", "0")
        else:
            limit = self.dice.choice(("0", "5%", "unlimited"))
            self.vmsnap.run("prune", f"--max-unused={limit}", self.domain.to)

    def restore(self):
        if not self.stored:
            return
        stored, target = self.dice.choice(list(self.stored)), self.dice.choice(
            list(self.domain.paths))
        to = self.tmp / "disks"
        to.mkdir()
        to.chmod(0o711)
        whole = self.dice.random() < 0.5
        what = ["--as", "copy", "--no-memory"] if whole else ["--disk", target]
        self.vmsnap.run("restore", stored, "--from", self.domain.to, *what, "--disks-to", to)
        if whole:
            paths = {target: to / path for target, path in domains.sources(
                domains.find("copy")).items()}
            domains.remove("copy")
        else:
            paths = {target: path for path in to.iterdir()}
        assert set(paths) == (set(self.domain.paths) if whole else {target})
        for target, path in paths.items():
            format = "qcow2" if path.suffix == ".qcow2" else "raw"
            assert domains.image_sha256(path, format, self.tmp) == self.stored[stored][target]
        shutil.rmtree(to)

    def restart(self):
        self.domain.stop()
        self.domain.start()

    def crash(self):
        self.domain.kill()
        self.domain.start()

    def step(self):
        name = self.dice.choices(list(KINDS), list(KINDS.values()))[0]
        self.steps[name] += 1
        print(self.steps.total(), name, flush=True)
        getattr(self, name)()
        if self.live:
            self.domain.unharmed()

    def end(self):
        """All merged, all there, nothing found by restic."""
        self.export()
        while self.on_host():
            before = len(self.on_host())
            self.drop()
            self.commit(least=before)
            assert len(self.on_host()) < before
        listed = {entry["id"] for entry in self.domain.restic.json("snapshots")}
        assert listed == set(self.stored)
        assert "no errors were found" in self.domain.restic.run("check", "--read-data")
        if self.live:
            self.domain.finally_unharmed()
            self.records()

    def records(self):
        """A guest finds the writer's on the newest stored disks."""
        to = self.tmp / "disks"
        to.mkdir()
        self.vmsnap.run("restore", list(self.stored)[-1], "--from", self.domain.to, "--disks-to",
                        to, "--format=raw", "--disk=vda", "--disk=vdb")
        [a], [b] = to.glob("*vda*"), to.glob("*vdb*")
        found = Lab().records((a, "raw"), (b, "raw"))
        assert found["ok"] and found["difference"] in (0, 1), found


@pytest.mark.parametrize("mode", MODES)
def test_random(make, tmp, mode):  # noqa: F811
    format, keep, expected = MODES[mode]
    folder = tmp / f"random-{mode}"
    folder.mkdir()
    folder.chmod(0o711)
    targets = ("vda", "vdb", "vdc") if STEPS > 25 else ("vda", "vdb")
    formats = {target: format or ("raw" if target == "vdb" else "qcow2") for target in targets}
    print(f"VMSNAP_RANDOM_SEED={SEED} VMSNAP_RANDOM_STEPS={STEPS}, {mode}", flush=True)
    kind = {"kind": Live} if STEPS > 25 else {"size": 16 * MIB}
    domain = make(formats=formats, **kind)
    walk = Walk(domain, random.Random(f"{SEED} {mode}"), keep, folder)
    for _ in range(STEPS):
        walk.step()
    walk.end()
    shutil.rmtree(folder)
    methods = collections.Counter(tracking["method"] for tracking in walk.tracking)
    reasons = collections.Counter(tracking["full_reason"] for tracking in walk.tracking)
    assert expected is None or expected in methods
    print(f"seed {SEED}, {mode}: {dict(walk.steps)}; disks: {dict(methods)}, {dict(reasons)}")
