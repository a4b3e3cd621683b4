# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory comes back straight from the repository, through FUSE, or from a file where that cannot
be; whatever goes wrong, nothing is left mounted, running or lying about."""
import contextlib
import json
import signal
import socket
import subprocess

import libvirt
import pytest

import domains
import tool
from guest import Copy, Lab
from restoring import MIB, Watch, held_in_the_middle, mounts
from test_bad_store import damage, tmpfs
from tool import DAMAGED, INTERRUPTED, NO_SPACE


class Taken:
    """A snapshot with memory."""

    def __init__(self, vmsnap, guest, to, quiesce):
        self.vmsnap, self.to = vmsnap, to
        self.before = guest.beat()
        self.record = vmsnap.create(guest.name, f"--quiesce={quiesce}")
        self.after = guest.beat()
        self.size = self.record["memory"]["size"]
        self.snapshot = vmsnap.export_id(guest.name, "--to", to)

    def words(self, name, folder, *options, to=None):
        folder.mkdir()
        folder.chmod(0o711)
        return ["restore", self.snapshot, "--from", to or self.to, "--as", name, "--disks-to",
                folder, *options]

    def goes_on(self, copy):
        """The copy counts on from the cut, with whole memory."""
        first = copy.first_beat()
        assert first.nonce == self.before.nonce and first.tick > self.before.tick
        later = copy.writes_on()
        assert later.nonce == first.nonce and later.tick > first.tick
        assert later.errors == 0 and later.bad_pages == 0


@pytest.fixture(scope="module")
def frozen(vmsnap, guest):
    return Taken(vmsnap, guest, vmsnap.fresh("dir"), "require")


@pytest.fixture(scope="module")
def on_s3(vmsnap, guest):
    return Taken(vmsnap, guest, "s3", "off")


@pytest.fixture
def nothing_left(vmsnap):
    """No mount, no file in vmsnap's folders, no process after the test."""
    yield
    assert not mounts()
    assert not domains.folder_files(vmsnap.folder / "run/restore")
    assert not domains.folder_files(vmsnap.state / "restore")


def is_gone(name, folder):
    """No domain, no disk: as if the restore had never been tried."""
    assert domains.find(name) is None
    assert not domains.folder_files(folder)


@pytest.mark.parametrize("place", ["frozen", "on_s3"])
def test_through_fuse(vmsnap, images, request, nothing_left, place):
    taken = request.getfixturevalue(place)
    with Copy(f"fuse-{place.replace('_', '-')}") as copy:
        with Watch(vmsnap.state) as watch:
            result = vmsnap.json(*taken.words(copy.name, images / place))
        assert result["memory"] and result["memory_source"] == "fuse"
        assert result["notes"] == []
        assert result["thawed_filesystems"] == (2 if place == "frozen" else 0)
        assert watch.mounted and watch.most < 8 * MIB < taken.size  # the catalog and its journal are there
        taken.goes_on(copy)
        report = copy.check()  # by its agent
        assert report["ok"] and report["state"]["memory"]["bad"] == 0


def test_progress(vmsnap, frozen, images, nothing_left):
    """Memory counts by what libvirt has read of it, up to the whole."""
    with Copy("progress") as copy:
        result = vmsnap.run(*frozen.words(copy.name, images / "progress"), "--progress=json")
        lines = [json.loads(line) for line in result.err.splitlines()]
        for line in lines:
            tool.validate(line)
        memory = [line for line in lines if line.get("item") == "memory"]
        assert memory[-1]["done"] == memory[-1]["total"] > frozen.size
        done = [line["done"] for line in lines if line["type"] == "progress"]
        assert done == sorted(done)
        assert "straight from the repository (FUSE)" in result.out
        assert "2 file systems, frozen at the snapshot, were thawed" in result.out


WITHOUT = {  # what stands in the way, a wrapper that puts it there, what is said
    "no-device": ("unshare -m sh -c 'mount -t tmpfs t /mnt && for n in null zero random urandom; do "
                  ": >/mnt/$n && mount --bind /dev/$n /mnt/$n || exit 1; done; "
                  "mount --rbind /mnt /dev && exec \"$@\"' -", "/dev/fuse"),
    "no-permission": ("setpriv --bounding-set=-sys_admin --", "not permitted"),
    "other-namespace": ("unshare -m --", "No such file"),
}


@pytest.mark.parametrize("why", WITHOUT)
def test_without_fuse(vmsnap, frozen, images, monkeypatch, tmp, nothing_left, why):
    wrapper, says = WITHOUT[why]
    program = tmp / why
    program.write_text(f"#!/bin/sh\nexec {wrapper} {tool.PROGRAM} \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setattr(tool, "PROGRAM", str(program))
    with Copy(f"copy-{why}") as copy:
        with Watch(vmsnap.state) as watch:
            result = vmsnap.json(*frozen.words(copy.name, images / why))
        [note] = result["notes"]
        assert note["code"] == "memory-spooled" and says in note["text"]
        assert result["memory_source"] == "file" and result["thawed_filesystems"] == 2
        assert watch.most > frozen.size / 2
        frozen.goes_on(copy)


def test_no_space_for_the_file(vmsnap, frozen, images, tmp):
    """Said with the numbers; nothing is made."""
    with tmpfs(tmp / "small-state", "16m") as state:
        folder = images / "no-space"
        vmsnap.with_state(state).fails(NO_SPACE, *frozen.words("no-space", folder, "--spool"),
                                       says=["memory", state])
        is_gone("no-space", folder)


def memory_pack(repository, restic):
    """A pack that holds nothing but memory, from far behind its begin: it is stored last."""
    packs = sorted(repository.glob("data/*/*"), key=lambda path: -path.stat().st_mtime_ns)
    for pack in packs:
        paths = {entry.get("path") for entry in restic.json("find", "--pack", pack.name)}
        if paths and all(path and path.endswith("/memory.save") for path in paths):
            return pack
    raise AssertionError("no pack has memory only")


def test_damaged_object(vmsnap, frozen, images, nothing_left):
    """EIO for libvirt, for the operator the object; the guest that was begun is gone."""
    place = vmsnap.places[frozen.to]
    pack = memory_pack(place["folder"], vmsnap.restic(frozen.to))
    whole = pack.read_bytes()
    pack.chmod(0o600)
    damage(pack, len(whole) // 2)
    folder = images / "damaged"
    try:
        result = vmsnap.fails(DAMAGED, *frozen.words("damaged", folder),
                              says=[pack.name, "memory"])
        assert "input/output error" not in result.err.lower()
    finally:
        pack.write_bytes(whole)
    is_gone("damaged", folder)


def test_ctrl_c(vmsnap, frozen, images, nothing_left):
    folder = images / "ctrl-c"
    process = vmsnap.start(*frozen.words("ctrl-c", folder))
    with held_in_the_middle(process, "ctrl-c") as position:
        assert position < frozen.size
        process.send(signal.SIGINT)
    result = process.wait()
    assert result.status == INTERRUPTED and "interrupted" in result.err, result
    is_gone("ctrl-c", folder)


def test_killed(vmsnap, frozen, images, nothing_left):
    """libvirt notices, nobody hangs at what is left, and the next restore clears it away."""
    folder = images / "killed"
    process = vmsnap.start(*frozen.words("killed", folder))
    with held_in_the_middle(process, "killed") as position:
        assert position < frozen.size
        process.send(signal.SIGKILL)
        assert process.wait().status == -signal.SIGKILL
    domain = domains.find("killed")
    domains.wait_for(lambda: domain.state()[0] == libvirt.VIR_DOMAIN_SHUTOFF, 60)
    [dead] = mounts()
    looked = subprocess.run(["ls", dead], capture_output=True, text=True, timeout=20)
    assert "not connected" in looked.stderr
    domains.remove("killed")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with Copy("killed") as copy:
        assert vmsnap.json(*frozen.words(copy.name, folder))["memory_source"] == "fuse"
        assert not mounts()
        frozen.goes_on(copy)


def thaw_by_hand(copy):
    """As the note says; once the agent answers."""
    def is_frozen():
        with contextlib.suppress(libvirt.libvirtError):
            return copy.vm.freeze_status() == "frozen"
        return False
    domains.wait_for(is_frozen, 60)
    assert copy.thaw() == 2


def test_frozen_and_paused(vmsnap, frozen, images, nothing_left):
    """Nothing can be thawed in a guest that stands still: it is said what to do."""
    with Copy("still") as copy:
        result = vmsnap.json(*frozen.words(copy.name, images / "still", "--paused"))
        [note] = result["notes"]
        assert note["code"] == "left-frozen" and "virsh domfsthaw still" in note["text"]
        assert result["thawed_filesystems"] == 0
        copy.domain.resume()
        thaw_by_hand(copy)
        frozen.goes_on(copy)


def test_no_agent(vmsnap, blank, images, nothing_left):
    """A guest without an agent: nothing was frozen, nothing is thawed, nobody is waited for."""
    image = domains.make_image(images / "silent.qcow2", "qcow2", 16 * MIB, 1)
    blank("silent", [domains.disk("vda", image)])
    vmsnap.create("silent")
    snapshot = vmsnap.export_id("silent", "--to", "dir")
    folder = images / "silent"
    folder.mkdir()
    with Copy("silent-copy") as copy:
        result = vmsnap.json("restore", snapshot, "--from", "dir", "--as", copy.name,
                             "--disks-to", folder)
        assert result["memory_source"] == "fuse" and result["thawed_filesystems"] == 0
        assert result["notes"] == []
        assert domains.state(copy.domain) == libvirt.VIR_DOMAIN_RUNNING


DEAF = """
until /bin/labcheck state | grep -q '"held": *true'; do sleep 0.1; done
sleep 1
kill -STOP $(cat /run/qemu-ga.pid)
until [ "$(head -c1 /dev/virtio-ports/org.vmsnap.wake)" = x ]; do sleep 0.2; done
kill -CONT $(cat /run/qemu-ga.pid)
"""
WAKE = "<channel type='unix'><target type='virtio' name='org.vmsnap.wake'/></channel>"


class Deaf(Copy):
    """A guest whose agent stands still from a second after a freeze on, until it is woken."""

    def wake(self):
        [path] = [channel.find("source").get("path")
                  for channel in self.vm.xml().iterfind("devices/channel")
                  if channel.find("target").get("name") == "org.vmsnap.wake"]
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.sendall(b"x")


def answers(deaf):
    with contextlib.suppress(libvirt.libvirtError):
        deaf.vm.agent("ping", 1)
        return True
    return False


def create_slowly(vmsnap, deaf):
    """Memory waits until the agent stands still. Then the guest does too: emulation does not keep
    memory whole that is saved in many passes (docs/operations.md)."""
    status, _ = deaf.vm.execute("/bin/sh", "-c", "setsid sh -c \"$0\" >/dev/null 2>&1 </dev/null &",
                                DEAF)
    assert status == 0
    process = vmsnap.start("create", deaf.name, "--memory=live", "--quiesce=require",
                           "--freeze-deadline=120")

    def begun():
        files = list((vmsnap.state / "memory").glob("*.save"))
        return files and files[0].stat().st_size > MIB
    domains.wait_for(begun, 60, 0.001)
    deaf.domain.migrateSetMaxSpeed(1)  # MiB/s
    domains.wait_for(lambda: not answers(deaf), 60)
    deaf.domain.suspend()
    originals = deaf.vm.disks(inactive=True)
    deaf.domain.migrateSetMaxSpeed(1 << 20)
    domains.wait_for(lambda: deaf.vm.disks() != originals, 120)
    domains.wait_for(lambda: domains.state(deaf.domain) == libvirt.VIR_DOMAIN_RUNNING, 60)
    deaf.wake()
    assert process.wait().status == tool.DONE


def test_agent_does_not_answer(vmsnap, images, nothing_left):
    """The memory is frozen, its agent says nothing: the guest runs all the same, after a while that
    is bounded, and it is said what to do; which works once there is an agent again."""
    with Deaf("deaf") as original:
        original.vm = Lab().create_domain("deaf", memory=192, more=WAKE)
        create_slowly(vmsnap, original)
        snapshot = vmsnap.export_id("deaf", "--to", "dir")
        original.silence()
        original.vm.destroy()
    folder = images / "deaf"
    folder.mkdir()
    folder.chmod(0o711)
    with Deaf("deaf-copy") as copy:
        result = vmsnap.json("restore", snapshot, "--from", "dir", "--as", copy.name, "--disks-to",
                             folder)
        [note] = result["notes"]
        assert note["code"] == "thaw-failed" and "virsh domfsthaw deaf-copy" in note["text"]
        assert result["thawed_filesystems"] == 0 and result["duration_us"] < 120e6
        assert domains.state(copy.domain) == libvirt.VIR_DOMAIN_RUNNING
        first = copy.first_beat()
        assert copy.beat().seq == first.seq  # its writer waits
        copy.wake()
        thaw_by_hand(copy)
        assert copy.writes_on().nonce == first.nonce
