# SPDX-License-Identifier: LGPL-2.1-or-later
"""The steps of src/virt one at a time, on a guest of their own whose memory is never at rest."""
import json
import os
import select
import shutil
import subprocess
import threading
import time
from pathlib import Path

import libvirt
import pytest

import domains
from guest import Watched
from lab import Lab

TOOL = Path(os.environ["VMSNAP_BUILD"]).resolve() / "tests/vm/virt-tool"
FORMATS = {"vda": "qcow2", "vdb": "raw"}
REFUSED, CANCELLED = 3, 130


class Answer:
    def __init__(self, status, out):
        self.status, self.out = status, out

    @property
    def json(self):
        assert self.status == 0, self.out
        return json.loads(self.out.splitlines()[-1])


class Steps(Watched):
    def __init__(self, name, folder, **options):
        super().__init__(name)
        self.vm.destroy()
        self.vm = Lab().create_domain(name, **options)
        self.originals = self.vm.disks(inactive=True)
        self.dir = folder
        self.memory = folder / "memory"
        self.speed = self.domain.migrateGetMaxSpeed()

    def start(self, *args, env=None):
        return subprocess.Popen([TOOL, self.name, *(str(arg) for arg in args)],
                                stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})

    def run(self, *args, env=None):
        process = self.start(*args, env=env)
        out, _ = process.communicate(timeout=200)
        return Answer(process.returncode, out)

    def overlay(self, target):
        return self.dir / f"{target}.qcow2"

    def overlays(self):
        return {target: str(self.overlay(target)) for target in self.originals}

    def commit(self, target, bandwidth=0, cancel_ms=0):
        return self.run("commit", target, self.originals[target], FORMATS[target],
                        self.overlay(target), bandwidth, cancel_ms)

    def both(self):
        """Where the disks are, live and persistent, which must agree."""
        persistent = self.vm.disks(inactive=True)
        if self.vm.is_active():
            assert self.vm.disks() == persistent
        return persistent

    def merge_all(self):
        for target in self.originals:
            assert self.commit(target).json == {}
        assert self.both() == self.originals

    def save_slowly(self, cancel_ms, suspend=False, started=lambda: None):
        """Memory, as onto a disk that is slower than the guest dirties."""
        process = self.start("switch-memory", self.dir, self.memory, cancel_ms)
        started()
        # A question that comes before libvirt has begun to write waits for the end of the job.
        domains.wait_for(lambda: process.poll() is not None or
                         self.memory.exists() and self.memory.stat().st_size > 1 << 20, 30, 0.001)
        self.domain.migrateSetMaxSpeed(48)  # MiB/s
        if suspend:
            self.domain.suspend()
        out, _ = process.communicate(timeout=100)
        self.domain.migrateSetMaxSpeed(self.speed)
        return Answer(process.returncode, out)

    def repair(self):
        """So that the next test fails for a reason of its own."""
        if self.vm.is_active() and self.state() == libvirt.VIR_DOMAIN_PAUSED:
            self.domain.resume()
        for target in self.originals:
            self.commit(target)
        if not self.vm.is_active():
            self.domain.create()
            self.vm.wait()

    def clear(self):
        for path in self.dir.iterdir():
            path.unlink()

    def state(self):
        return self.domain.state()[0]


@pytest.fixture(scope="module")
def steps(images):
    steps = Steps("steps", images, memory=448, dirty=600, dirty_size=320)
    yield steps
    steps.silence()
    steps.vm.destroy()


@pytest.fixture(autouse=True)
def as_before(steps):
    """Every test leaves the guest running, thawed, on its own disks."""
    steps.clear()
    yield
    merged = steps.both() == steps.originals
    if not merged:
        steps.repair()
    assert steps.state() == libvirt.VIR_DOMAIN_RUNNING
    assert merged
    assert steps.vm.freeze_status() == "thawed"


def test_freeze_and_thaw(steps):
    assert steps.run("freeze", 100, 20).json == {"filesystems": 2, "expired": False}
    assert steps.run("thaw").json == {"filesystems": 0}


def test_watchdog_thaws(steps):
    """P1: although the one that froze does nothing any more."""
    process = steps.start("freeze", 8000, 2)
    assert process.stdout.readline() == "frozen\n"
    domains.wait_for(lambda: steps.vm.freeze_status() == "thawed", 6)
    assert process.poll() is None, "the watchdog was not the one that thawed"
    out, _ = process.communicate(timeout=30)
    assert json.loads(out) == {"filesystems": 2, "expired": True}


def test_forgotten_freeze_is_thawed(steps):
    assert steps.run("abandon", 30).json == {}
    assert steps.run("frozen").json == {"frozen": False}


def test_freeze_of_somebody_else_is_theirs(steps):
    steps.vm.freeze()
    try:
        assert steps.run("freeze", 100, 20).status == REFUSED
        assert steps.run("frozen").json == {"frozen": True}
        found = steps.run("check", "none", "auto").json
        assert found["refused"] and "already-frozen" in found["findings"]
    finally:
        assert steps.run("thaw").json == {"filesystems": 2}


def test_switch_and_merge(steps):
    made = steps.run("switch", steps.dir).json["overlays"]
    assert steps.both() == steps.overlays()
    for target, (base, format, path, device, inode) in made.items():
        status, original = os.stat(path), os.stat(base)
        assert (base, format) == (steps.originals[target], FORMATS[target])
        assert (status.st_dev, status.st_ino) == (device, inode)
        assert status.st_mode & 0o7777 == 0o600
        assert (status.st_uid, status.st_gid) == (original.st_uid, original.st_gid)
    steps.writes_on()
    steps.merge_all()
    assert steps.check()["ok"]


def test_files_of_others(steps):
    """P3: nothing is written over, nothing deleted that was replaced."""
    steps.overlay("vdb").write_text("mine")
    assert steps.run("switch", steps.dir).out.startswith("exists: ")
    assert steps.overlay("vdb").read_text() == "mine" and not steps.overlay("vda").exists()
    status = os.stat(steps.overlay("vdb"))
    path = steps.overlay("vdb")
    assert steps.run("remove", path, status.st_dev, status.st_ino + 1).out.startswith("exists: ")
    assert path.exists()
    assert steps.run("remove", path, status.st_dev, status.st_ino).json == {}
    assert not path.exists()
    steps.memory.write_text("mine")
    assert steps.run("switch-memory", steps.dir, steps.memory, 0).out.startswith("exists: ")
    assert steps.memory.read_text() == "mine"
    assert domains.folder_files(steps.dir) == ["memory"]


def test_swapped_overlay(steps, tmp_path):
    """Somebody who may write to the directory lays a link in an overlay's place before qemu-img
    opens it: it writes where it was told to, and that the overlay is gone is noticed."""
    victim, program = tmp_path / "victim", tmp_path / "qemu-img"
    victim.write_text("precious")
    program.write_text(f"#!/bin/sh\nln -sf {victim} {steps.overlay('vda')}\n"
                       f'exec {shutil.which("qemu-img")} "$@"\n')
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert steps.run("switch", steps.dir, env=env).out.startswith("exists: ")
    assert victim.read_text() == "precious" and steps.overlay("vda").is_symlink()
    assert steps.both() == steps.originals


def test_cancelled_memory(steps):
    """The guest runs on, on its disks, and no file is left."""
    beat = steps.beat()
    answer = steps.save_slowly(1500)
    assert answer.status != 0 and "canceled" in answer.out, answer.out
    assert domains.folder_files(steps.dir) == []
    assert steps.both() == steps.originals
    assert steps.beat().tick > beat.tick
    steps.writes_on()


def test_cancelled_before_it_begins(steps):
    """Somebody else's job is in the way, for as long as nobody reads what it writes."""
    domains.wait_for(lambda: steps.vm.state()["memory"]["pages"] == 320 << 8, 60)
    fifo = steps.dir / "dump"
    os.mkfifo(fifo)
    with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as dump:
        flags = libvirt.VIR_DUMP_MEMORY_ONLY | libvirt.VIR_DUMP_LIVE
        dumping = threading.Thread(target=steps.domain.coreDump, args=[str(fifo), flags])
        dumping.start()
        select.select([dump], [], [], 60)
        os.set_blocking(dump.fileno(), True)

        def end_the_other():
            domains.wait_for(steps.memory.exists)
            time.sleep(2)  # it is cancelled before that
            while dump.read(1 << 20):
                pass
            dumping.join()
            fifo.unlink()
        answer = steps.save_slowly(1, started=end_the_other)
    assert answer.status != 0 and "canceled" in answer.out, answer.out
    assert domains.folder_files(steps.dir) == []
    assert steps.both() == steps.originals


@pytest.mark.parametrize("since", ["before", "meanwhile"])
def test_cancelled_memory_of_a_paused_guest(steps, since):
    """Nobody waits for the rest, which may be all of it; and it is as it was before."""
    domains.wait_for(lambda: steps.vm.state()["memory"]["pages"] == 320 << 8, 60)
    if since == "before":
        steps.domain.suspend()
    answer = steps.save_slowly(1500, suspend=since == "meanwhile")
    assert answer.status != 0 and "canceled" in answer.out, answer.out
    assert domains.folder_files(steps.dir) == []
    assert steps.both() == steps.originals
    if since == "before":
        assert steps.state() == libvirt.VIR_DOMAIN_PAUSED
        steps.domain.resume()
    steps.writes_on()


def test_memory_and_disks(steps):
    answer = steps.run("switch-memory", steps.dir, steps.memory, 0).json
    print(f"outrun: {answer['outrun']}, {steps.memory.stat().st_size >> 20} MiB")
    with open(steps.memory, "rb") as file:
        assert file.read(16) == b"LibvirtQemudSave"
    assert steps.memory.stat().st_mode & 0o7777 == 0o600
    assert steps.both() == steps.overlays()
    steps.writes_on()
    steps.merge_all()


def test_guest_outruns_memory(steps):
    """P8, P1: the file stays bounded; the guest is paused for that, told, and resumed."""
    domains.wait_for(lambda: steps.vm.state()["memory"]["pages"] == 320 << 8, 60)
    beat = steps.beat()
    assert steps.save_slowly(0).json["outrun"]
    assert steps.state() == libvirt.VIR_DOMAIN_RUNNING
    facts = steps.run("check", "live", "auto").json
    assert steps.memory.stat().st_size <= facts["memory_need"]
    assert steps.beat().tick > beat.tick
    steps.writes_on()
    steps.merge_all()


def test_cancelled_merge_goes_on_later(steps):
    steps.run("switch", steps.dir).json
    status, output = steps.vm.execute("/bin/dd", "if=/dev/urandom", "of=/mnt/a/much", "bs=1M",
                                      "count=48", "conv=fsync")
    assert status == 0, output
    assert steps.commit("vda", 1 << 20, 1000).status == CANCELLED
    assert steps.vm.disks()["vda"] == str(steps.overlay("vda"))
    assert steps.domain.blockJobInfo("vda") == {}
    steps.domain.blockCommit("vda", None, None, 1, libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE |
                             libvirt.VIR_DOMAIN_BLOCK_COMMIT_SHALLOW)
    process = steps.start("commit", "vda", steps.originals["vda"], "qcow2", steps.overlay("vda"),
                          0, 0)
    time.sleep(1)
    assert process.poll() is None, "a job that runs is joined"
    steps.domain.blockJobSetSpeed("vda", 0)
    assert process.wait(60) == 0
    steps.merge_all()
    assert steps.check()["ok"]


def test_merge_onto_another_base(steps):
    steps.run("switch", steps.dir).json
    answer = steps.run("commit", "vda", steps.originals["vdb"], "raw", steps.overlay("vda"), 0, 0)
    assert answer.status == REFUSED and "somebody changed the chain" in answer.out
    steps.merge_all()


def test_paused_guest(steps):
    """Its memory can be had, but QEMU merges only once it runs; it stays paused, and is told why."""
    steps.domain.suspend()
    assert "memory-paused" in steps.run("check", "live", "auto").json["findings"]
    steps.run("switch-memory", steps.dir, steps.memory, 0).json
    assert steps.state() == libvirt.VIR_DOMAIN_PAUSED
    answer = steps.commit("vda")
    assert answer.status == REFUSED and "resumed" in answer.out
    assert steps.state() == libvirt.VIR_DOMAIN_PAUSED
    steps.domain.resume()
    steps.merge_all()


def test_guest_killed_on_its_overlays(steps):
    """P6: the definition points at the overlays of a domain that is off now."""
    steps.run("switch", steps.dir).json
    steps.writes_on()
    steps.silence()
    steps.domain.destroy()
    assert steps.both() == steps.overlays()
    steps.merge_all()
    steps.domain.create()
    steps.vm.wait()
    assert steps.check()["ok"]


def test_shut_off(steps):
    """Switched and merged by redefinition; not a word of the definition is lost."""
    secure = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE
    steps.silence()
    steps.domain.destroy()
    before = steps.domain.XMLDesc(secure)
    found = steps.run("check", "live", "require").json
    assert not found["refused"] and found["engine"] == "none" and not found["quiesce"]
    assert "domain-shut-off" in found["findings"]
    steps.run("switch-off", steps.dir).json
    assert steps.both() == steps.overlays()
    assert steps.commit("vdb").json == {}
    steps.domain.create()
    steps.vm.wait()
    assert steps.commit("vda").json == {}, "the other one while the guest runs"
    assert steps.domain.XMLDesc(secure) == before
    assert steps.check()["ok"]
