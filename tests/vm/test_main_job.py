# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job on a real guest: create, export, commit, restore; what comes back is one instant."""
import shutil
from pathlib import Path

import libvirt
import pytest

import domains
from guest import Copy, check_disks

MODES = {  # options of create, repository
    "frozen": (["--memory=none", "--quiesce=require"], "dir"),
    "unfrozen": (["--memory=none", "--quiesce=off"], "s3"),
    "live": (["--memory=live"], "dir"),
    "live-frozen": (["--memory=live", "--quiesce=require"], "s3"),
}
if domains.cow_possible():
    MODES |= {"cow": (["--memory=cow"], "s3"), "cow-unfrozen": (["--memory=cow", "--quiesce=off"], "dir")}
MEMORY = [mode for mode in MODES if mode.startswith(("live", "cow"))]
FROZEN = ("frozen", "live-frozen", "cow")
every_mode = pytest.mark.parametrize("mode", MODES)
with_memory = pytest.mark.parametrize("mode", MEMORY)


class Job:
    """One run of the main job, and what was seen of the guest before, at and after the cut."""

    def __init__(self, mode, vmsnap, guest, images):
        options, self.to = MODES[mode]
        self.mode, self.vmsnap = mode, vmsnap
        self.files_before = guest.files()
        self.before = guest.beat()
        self.created = vmsnap.create(guest.name, *options)
        self.after_create = guest.beat()
        self.overlays = domains.sources(guest.domain)
        self.exported = vmsnap.json("export", guest.name, "--to", self.to)
        self.after = guest.beat()
        self.widest_gap = guest.widest_gap(self.before.time)
        self.live = domains.sources(guest.domain)
        self.persistent = domains.sources(guest.domain, inactive=True)
        self.files_after = guest.files()
        self.snapshot = self.exported["snapshot"]["repository"]["snapshot"]
        self.folder = images / f"restored-{mode}"
        self.folder.mkdir()
        self.folder.chmod(0o711)
        self._checked = None

    def restore(self, name, *options):
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o711)
        return self.vmsnap.json("restore", self.snapshot, "--from", self.to, "--as", name,
                                "--disks-to", folder, *options)

    @property
    def checked(self):
        """What the checking guest says of the restored disks."""
        if self._checked is None:
            name = f"checked-{self.mode}"
            restored = self.restore(name, *(["--no-memory"] if self.mode in MEMORY else []))
            domains.remove(name)
            self._checked = check_disks([(d["path"], d["format"]) for d in restored["disks"]])
        return self._checked


@pytest.fixture(scope="module")
def jobs(vmsnap, guest, images):
    """A function from mode to job; each is run once."""
    done = {}

    def get(mode):
        if mode not in done:
            done[mode] = Job(mode, vmsnap, guest, images)
        return done[mode]

    yield get
    for job in done.values():
        shutil.rmtree(job.folder)


@every_mode
def test_record_says_what_was_taken(jobs, mode):
    snapshot = jobs(mode).created
    assert snapshot["status"] == "captured"
    assert snapshot["engine"] == (mode.partition("-")[0] if mode in MEMORY else "none")
    expected = {"frozen": "quiesced", "unfrozen": "crash"}.get(mode, "memory")
    assert snapshot["consistency"] == expected
    assert snapshot["frozen_filesystems"] == (2 if mode in FROZEN else 0)
    assert jobs(mode).overlays == {disk["target"]: disk["overlay"] for disk in snapshot["disks"]}
    assert (snapshot["memory"] is not None) == (mode in MEMORY)


@every_mode
def test_skipped_freeze_is_said(jobs, mode):
    """P7: with live memory and --quiesce=auto the freeze is left out, and said so."""
    codes = {note["code"] for note in jobs(mode).created["notes"]}
    assert ("quiesce-skipped-live" in codes) == (mode == "live")


@every_mode
def test_original_ran_on(jobs, mode, guest):
    """Never restarted, never failed a write, not left frozen."""
    job = jobs(mode)
    print(f"{mode}: widest gap between heartbeats {job.widest_gap:.0f} ms")
    assert job.before.nonce == job.after_create.nonce == job.after.nonce
    assert job.before.tick < job.after_create.tick < job.after.tick
    assert job.after.errors == 0 and job.after.bad_pages == 0
    guest.writes_on()


@every_mode
def test_originals_after_export(jobs, mode, guest):
    """P2: live and persistent definitions name the original files, nothing of ours is left."""
    job = jobs(mode)
    assert job.exported["snapshot"]["status"] == "done"
    assert job.live == job.persistent == guest.originals
    assert job.files_after == job.files_before
    assert not job.created["memory"] or not Path(job.created["memory"]["path"]).exists()
    assert domains.metadata_free(guest.domain)


@every_mode
def test_disks_are_one_instant(jobs, mode):
    """Record sequences without gap or tear, cut at the same number: ±0 with a freeze, else at most
    the one being written."""
    job = jobs(mode)
    report = job.checked
    assert report["ok"], report
    a, b = report["a"]["last"], report["b"]["last"]
    assert job.before.seq <= b <= a <= job.after_create.seq + 1
    assert a - b <= (0 if mode in FROZEN else 1)
    assert report["clean"] or mode not in FROZEN


@with_memory
def test_memory_goes_on(jobs, mode, guest):
    """The copy counts on from the instant of its disks, writes on, its agent answers."""
    job = jobs(mode)
    with Copy(f"copy-{mode}") as copy:
        result = job.restore(copy.name)
        first = copy.first_beat()
        assert result["memory"] and result["started"]
        assert result["thawed_filesystems"] == (2 if mode in FROZEN else 0)
        assert copy.uuid != guest.uuid
        assert first.nonce == job.before.nonce
        assert job.before.tick < first.tick
        # one that was not frozen counts a record after it is on both disks
        assert job.checked["b"]["last"] <= first.seq + (mode not in FROZEN)
        later = copy.writes_on()
        assert later.nonce == first.nonce and later.tick > first.tick and later.seq > first.seq
        assert later.errors == 0 and later.bad_pages == 0
        report = copy.check()
        assert report["ok"] and report["a"]["last"] >= later.seq
        assert report["state"]["memory"]["pages"] > 0 and report["state"]["memory"]["bad"] == 0
    guest.writes_on()


def test_memory_and_disks_are_one_instant(jobs):
    """The first thing the copy says is the number at which its disks were cut. (--paused lets one
    listen before it goes on.)"""
    job = jobs("live")
    with Copy("paused") as copy:
        job.restore(copy.name, "--paused")
        assert domains.state(copy.domain) == libvirt.VIR_DOMAIN_PAUSED
        copy.listen(0)
        copy.domain.resume()
        first = copy.first_beat()
        assert first.nonce == job.before.nonce
        assert job.checked["b"]["last"] <= first.seq <= job.checked["a"]["last"]
        assert job.before.tick < first.tick <= job.after_create.tick
        assert copy.writes_on().nonce == first.nonce
        assert copy.check()["ok"]


@every_mode
def test_listed(jobs, mode, vmsnap, guest):
    """The repository's list and show name what was stored; verify reads it all."""
    job = jobs(mode)
    listed = vmsnap.json("list", "--from", job.to)["snapshots"]
    assert job.snapshot in [snapshot["snapshot"] for snapshot in listed]
    shown = vmsnap.json("show", job.snapshot[:12], "--from", job.to)["snapshot"]
    assert shown["domain"] == {"name": guest.name, "uuid": guest.uuid}
    assert shown["consistency"] == job.created["consistency"]
    verified = vmsnap.json("verify", job.snapshot, "--from", job.to)
    assert verified["disks"] == 2 and verified["bytes"] > 0


def test_restored_without_memory_boots(jobs, guest):
    """--no-memory --start: the copy boots anew from the disks of the cut and writes on."""
    job = jobs("live")
    with Copy("booted") as booted:
        job.restore(booted.name, "--no-memory", "--start", "--format", "raw")
        beat = booted.listen(60).writes_on()
        assert beat.nonce != job.before.nonce and beat.errors == 0
        assert beat.seq >= job.before.seq
