# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that writes faster than its snapshot is stored, onto a file system that has no room for that: the export ends
in time, the overlays are merged, and the guest never loses a write. Where it was paused all the same it goes on."""
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess

import libvirt
import pytest

import cow
import domains
from guest import Guest, Unharmed, leave
from lab import make_disk
from test_bad_store import fill_up
from tool import DONE, NO_SPACE

MIB = 1 << 20
SLOW = "--limit-read=64K"  # such an export does not end by itself


def allocate(disk):
    with open(disk, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 64 * MIB)


@pytest.fixture(scope="module")
def narrow(top):
    """Its first disk, of 64 MiB, is fully there, on a file system of its own; its second one beside it is not there yet."""
    with domains.loop_mounted(top / "narrow", top / "narrow.image", "ext4", 288 * MIB) as folder:
        device = subprocess.check_output(["findmnt", "-no", "SOURCE", folder], text=True).strip()
        subprocess.run(["tune2fs", "-m", "0", device], check=True, stdout=subprocess.DEVNULL)
        images = folder / "images"
        images.mkdir()
        images.chmod(0o711)
        disk = make_disk(images / "vda.raw", "raw", "ext4", 64 * MIB, lazy=False)
        other = make_disk(images / "vdb.raw", "raw", "ext4", 64 * MIB, lazy=False)
        with Guest("narrow", memory=192, dirty=0,
                   disks=[("vda", disk, "raw"), ("vdb", other, "raw")]) as guest:
            yield guest


@pytest.fixture
def unhurt(narrow, vmsnap):
    """However much of its disks was there after the test before."""
    with narrow.frozen():
        allocate(narrow.folder / "vda.raw")
        subprocess.run(["fallocate", "--dig-holes", narrow.folder / "vdb.raw"], check=True)
    check = Unharmed(narrow, vmsnap)
    yield check
    try:
        check.now()
        assert narrow.check()["ok"]
    finally:
        leave(narrow, vmsnap)


@contextlib.contextmanager
def cramped(guest, free=40 * MIB):
    """Less room than the disk is large; when the snapshot was taken there was more."""
    root = guest.folder.parent
    fill_up(root, free)
    try:
        yield
    finally:
        (root / "ballast").unlink()


class Writing:
    """The guest writes so many MiB, with so many seconds between two."""

    def __init__(self, guest, mib, file="a/fast", pause=0):
        self.vm = guest.vm
        dd = f"dd if=/dev/zero of=/mnt/{file} bs=1M conv=notrunc,fsync"
        slowly = f"for i in $(seq {mib}); do {dd} count=1 seek=$i && sleep {pause} || exit 1; done"
        self.pid = self.vm.agent("exec", path="/bin/sh", capture_output=True, arg=[
            "-c", slowly if pause else f"{dd} count={mib}"])["pid"]

    def succeeds(self):
        done = domains.wait_for(lambda: (now := self.vm.agent("exec-status", pid=self.pid))["exited"] and now, 60)
        assert done["exitcode"] == 0, done


def thresholds(guest):
    [(_, found)] = domains.connection().domainListGetStats([guest.domain], libvirt.VIR_DOMAIN_STATS_BLOCK)
    return [key for key in found if key.endswith(".threshold")]


def watched(process, guest):
    """The guard is there: QEMU was told when to say something."""
    domains.wait_for(lambda: thresholds(guest) or not process.running(), 60)
    assert process.running(), process.wait()
    return process


def holding_back(vmsnap, guest):
    """An export whose guard holds back what merging may need."""
    before = shutil.disk_usage(guest.folder).free
    process = watched(vmsnap.start("export", guest.name, "--to", "dir", SLOW), guest)
    domains.wait_for(lambda: shutil.disk_usage(guest.folder).free < before - 14 * MIB)
    return process


def stalled(guest):
    return guest.domain.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]


def given_up(vmsnap, guest, code):
    """Nothing waits any more; the record knows why."""
    assert not vmsnap.on_host(guest.name)
    last = vmsnap.json("list", "--all", guest.name)["snapshots"][-1]
    assert last["status"] == "failed" and last["reason"].startswith(code), last
    assert last["growth"] is None
    assert not thresholds(guest)
    return {note["code"] for note in last["notes"]}


def test_export_ends_in_time(vmsnap, narrow, unhurt):
    vmsnap.create(narrow.name, "--memory=none")
    with cramped(narrow):
        process = watched(vmsnap.start("export", narrow.name, "--to", "dir", SLOW), narrow)
        writing = Writing(narrow, 48, pause=0.2)  # the guard can look in time
        result = process.wait()
        assert result.status == NO_SPACE, result
        for words in ("at 80 % they are merged", "(overlay-room)", "is given up", narrow.folder):
            assert str(words) in result.err, result
        writing.succeeds()
        assert "overlay-room" in given_up(vmsnap, narrow, "overlay-room")
        unhurt.now()
    assert vmsnap.run("backup", narrow.name, "--memory=none", "--to", "dir").status == DONE


def test_room_for_the_merge(vmsnap, narrow, unhurt):
    """The disk is thin: merging takes as much again as the guest has written. What is held back for that the guest does
    not get; it waits for the merge, which gives it room."""
    vmsnap.create(narrow.name, "--memory=none")
    with cramped(narrow):
        process = watched(vmsnap.start("export", narrow.name, "--to", "dir", SLOW), narrow)
        writing = Writing(narrow, 30, "b/fast")
        result = process.wait()
        assert result.status == NO_SPACE, result
        # Either the guard was faster, or QEMU with the guest's next write.
        paused = "it is paused until that is over" in result.err
        assert paused or "it runs on" in result.err, result
        assert "is given up" in result.err, result
        writing.succeeds()
        assert ("paused-for-merge" if paused else "resumed-with-room") in given_up(vmsnap, narrow, "overlay-")
        unhurt.now()


def catalog(vmsnap, query):
    with contextlib.closing(sqlite3.connect(vmsnap.state / "vmsnap.db")) as db:
        return db.execute(query).fetchall()


def holds(vmsnap):
    return catalog(vmsnap, "SELECT domain FROM holds")


def is_paused(guest):
    return domains.state(guest.domain) == libvirt.VIR_DOMAIN_PAUSED


def slowed_down(guest, target):
    """A merge that is under way: to a MiB/s."""
    with contextlib.suppress(libvirt.libvirtError):
        guest.domain.blockJobSetSpeed(target, 1)
        return True


def kill_alone(process, until):
    """kill -9, and nobody is left who could undo what it did."""
    domains.wait_for(lambda: until() or not process.running(), 60, 0.001)
    process.send(signal.SIGSTOP)
    for pid in cow.guards():
        os.kill(pid, signal.SIGKILL)
    process.send(signal.SIGKILL)
    assert process.wait().status == -signal.SIGKILL


@pytest.mark.parametrize("then", ["recover", "drop"])
def test_killed_while_it_waits(vmsnap, narrow, unhurt, then):
    """There is never much room here, so the guest waits for each merge of a thin disk. vmsnap dies meanwhile, and its
    helper too: recover resumes the guest, and says so first; so does whatever else works on the domain."""
    vmsnap.create(narrow.name, "--memory=none")
    Writing(narrow, 30, "b/fast").succeeds()
    kill_alone(vmsnap.start("export", narrow.name, "--to", "dir"), lambda: is_paused(narrow))
    assert is_paused(narrow) and holds(vmsnap) == [(narrow.name,)]
    foretold = vmsnap.json("recover", "--dry-run")["guests"]
    assert [guest["domain"] for guest in foretold] == [narrow.name] and is_paused(narrow)
    result = vmsnap.run(then, narrow.name)
    assert "it is resumed" in result.out + result.err
    assert not is_paused(narrow) and not holds(vmsnap)
    if vmsnap.on_host(narrow.name):
        vmsnap.run("drop", narrow.name)


def test_killed_where_somebody_had_paused(vmsnap, narrow, unhurt):
    """Before the merge: not even recover resumes that guest."""
    vmsnap.create(narrow.name, "--memory=none")
    Writing(narrow, 30, "b/fast").succeeds()
    narrow.domain.suspend()
    kill_alone(vmsnap.start("export", narrow.name, "--to", "dir"), lambda: narrow.domain.blockJobInfo("vdb", 0))
    done = vmsnap.json("recover")
    assert is_paused(narrow) and not done["guests"] and not vmsnap.on_host(narrow.name)
    narrow.domain.resume()


def test_resumed_while_it_waits(vmsnap, narrow, unhurt):
    """It waits again: there is no more room than before."""
    vmsnap.create(narrow.name, "--memory=none")
    Writing(narrow, 30, "b/fast").succeeds()
    process = vmsnap.start("export", narrow.name, "--to", "dir")
    domains.wait_for(lambda: is_paused(narrow) or not process.running(), 60, 0.001)
    domains.wait_for(lambda: slowed_down(narrow, "vdb"), 60, 0.001)
    narrow.domain.resume()
    domains.wait_for(lambda: is_paused(narrow))
    narrow.domain.blockJobSetSpeed("vdb", 0)
    assert process.wait().status == DONE and not is_paused(narrow) and not holds(vmsnap)


def test_room_is_held_back(vmsnap, narrow, unhurt):
    """What merging may need the guest does not get from a guard that is held either: it stands, and the merge has room."""
    vmsnap.create(narrow.name, "--memory=none")
    with cramped(narrow, 32 * MIB):
        process = holding_back(vmsnap, narrow)
        process.send(signal.SIGSTOP)
        writing = Writing(narrow, 20, "b/other")
        domains.wait_for(lambda: stalled(narrow), 60)
        process.send(signal.SIGCONT)
        result = process.wait()
        assert result.status == NO_SPACE and "is given up" in result.err, result
        writing.succeeds()
        given_up(vmsnap, narrow, "overlay-")
    assert narrow.vm.execute("/bin/rm", "/mnt/b/other")[0] == 0


def test_no_more_than_allowed(vmsnap, narrow, unhurt):
    """By --growth; of a backup nothing is left then."""
    process = watched(vmsnap.start("backup", "--json", narrow.name, "--memory=none", "--to", "dir", SLOW,
                                   "--growth=8M"), narrow)
    domains.wait_for(lambda: ("exporting",) in catalog(vmsnap, "SELECT status FROM snapshots"), 60)
    writing = Writing(narrow, 12)
    result = process.wait()
    assert result.status == NO_SPACE and result.json["code"] == "no-space", result
    assert "of the 8.0 MiB that they may" in result.json["message"]
    writing.succeeds()
    assert "overlay-growth" in given_up(vmsnap, narrow, "overlay-growth")


def test_backup_outgrown_before_its_export(vmsnap, narrow, unhurt, tmp):
    """The guest has written too much between the two: the backup gives up as it would in the middle of its export."""
    vmsnap.run("list")
    lock = vmsnap.folder / "run" / f"{narrow.uuid}.lock"
    with cow.held(vmsnap, tmp, "flock", 2, ["backup", narrow.name, "--memory=none", "--to", "dir", "--growth=8M"],
                  "-P", lock) as result:
        [waiting] = vmsnap.on_host(narrow.name)
        assert waiting["status"] == "captured"
        Writing(narrow, 12).succeeds()
    assert result.returncode == NO_SPACE and "is given up" in result.stderr, result
    assert "overlay-growth" in given_up(vmsnap, narrow, "overlay-growth")


def test_standing_guest_goes_on(vmsnap, narrow, unhurt):
    """The guard comes too late, because it was held: QEMU has paused the guest."""
    vmsnap.create(narrow.name, "--memory=none")
    with cramped(narrow):
        process = holding_back(vmsnap, narrow)
        process.send(signal.SIGSTOP)
        writing = Writing(narrow, 46)
        domains.wait_for(lambda: stalled(narrow), 60)
        process.send(signal.SIGCONT)
        result = process.wait()
        assert result.status == NO_SPACE, result
        assert "it runs on" in result.err and "is given up" in result.err, result
        writing.succeeds()
    assert "resumed-with-room" in given_up(
        vmsnap, narrow, "overlay-stalled" if "overlay-stalled" in result.err else "overlay-room")


def test_nobody_watches(vmsnap, narrow, unhurt):
    """The guest stands, and the catalog is on the file system that is full. list says it, an export of what is so full
    does not begin, drop makes room and resumes the guest."""
    other = vmsnap.with_state(narrow.folder.parent / "state")
    snapshot = other.create(narrow.name, "--memory=none")
    with cramped(narrow):
        writing = Writing(narrow, 46)
        domains.wait_for(lambda: stalled(narrow), 60)
        [waiting] = other.on_host(narrow.name)
        assert waiting["growth"]["percent"] >= 80 and waiting["growth"]["directory"] == str(narrow.folder)
        assert f"{waiting['growth']['percent']} % of the room" in other.run("list").out
        assert f"snapshot {snapshot['id']}" in other.run("show", snapshot["id"]).out
        [checked] = other.json("check", narrow.name, "--memory=none", status=NO_SPACE)["waiting"]
        assert checked["id"] == snapshot["id"] and checked["growth"] == waiting["growth"]
        other.fails(NO_SPACE, "export", narrow.name, "--to", "dir", says=["(overlay-room)", "drop", "--growth"])
        assert stalled(narrow)
        other.run("drop", narrow.name)
        writing.succeeds()
    other.run("backup", narrow.name, "--memory=none", "--to", "dir")


def test_paused_by_somebody(vmsnap, narrow, unhurt):
    """That is not for vmsnap to end."""
    vmsnap.create(narrow.name, "--memory=none")
    narrow.domain.suspend()
    vmsnap.run("drop", narrow.name)
    assert domains.state(narrow.domain) == libvirt.VIR_DOMAIN_PAUSED
    narrow.domain.resume()


def test_failed_export_leaves_no_threshold(vmsnap, narrow, unhurt):
    """The snapshot stays captured; with --growth=off nobody is asked to watch."""
    vmsnap.create(narrow.name, "--memory=none")
    process = watched(vmsnap.start("export", narrow.name, "--to", "dir", SLOW), narrow)
    process.send(signal.SIGINT)
    process.wait()
    assert not thresholds(narrow)
    vmsnap.run("export", narrow.name, "--to", "dir", "--growth=off")
