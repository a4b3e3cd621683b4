# SPDX-License-Identifier: LGPL-2.1-or-later
"""P1, P2: Ctrl-C and kill -9 at many points; the guest runs on, on its own disks, not frozen."""
import os
import signal
import time

import pytest

import domains
from tool import DONE, INTERRUPTED, REFUSED

CREATE = {  # options, points to strike at
    "frozen": (["--memory=none", "--quiesce=require"], 10),
    "live": (["--memory=live"], 8),
    "live-frozen": (["--memory=live", "--quiesce=require"], 6),
}
if domains.cow_possible():
    CREATE["cow"] = (["--memory=cow"], 10)


def strike(process, after, number):
    """Sends the signal so many seconds after the start; how the command ended."""
    while process.running() and time.monotonic() - process.begin < after:
        time.sleep(0.002)
    if process.running():
        process.send(number)
    result = process.wait(60)
    if result.status == -signal.SIGINT:
        result.status = INTERRUPTED  # not even begun: the system's own way to end a program
        assert not result.err
        result.err = "interrupted"
    return result


def points(seconds, count):
    """From right after the start to a little beyond the end."""
    return [seconds * (i + 0.5) / count for i in range(count)]


@pytest.mark.parametrize("mode", CREATE)
def test_ctrl_c_in_create(vmsnap, guest, unharmed, mode):
    options, count = CREATE[mode]
    usual = vmsnap.run("create", guest.name, *options).seconds
    vmsnap.run("drop", guest.name)
    interrupted = 0
    for after in points(usual, count):
        result = strike(vmsnap.start("create", guest.name, *options), after, signal.SIGINT)
        assert result.status in (DONE, INTERRUPTED), result
        if result.status == DONE:
            vmsnap.run("drop", guest.name)
        else:
            interrupted += 1
            assert "interrupted" in result.err
        unharmed.now()
        assert not vmsnap.on_host(guest.name)
    print(f"{mode}: {interrupted} of {count} interrupted within {usual:.2f} s")
    assert interrupted >= count // 3


def test_ctrl_c_in_export(vmsnap, guest, unharmed):
    """What was captured stays captured; the next export goes on from what is there already."""
    name = vmsnap.fresh("dir")
    vmsnap.run("create", guest.name, "--memory=live")
    usual = vmsnap.run("export", guest.name, "--to", name).seconds
    interrupted, statuses = 0, set()
    for after in points(usual, 6):
        name = vmsnap.fresh("dir")
        record = vmsnap.create(guest.name, "--memory=none", "--quiesce=off")
        result = strike(vmsnap.start("export", guest.name, "--to", name), after, signal.SIGINT)
        assert result.status in (DONE, INTERRUPTED), result
        guest.writes_on()
        if result.status == DONE:
            continue
        interrupted += 1
        status = vmsnap.json("show", record["id"])["snapshot"]["status"]
        statuses.add(status)
        assert status in ("captured", "exported", "committing"), status
        if status == "captured":
            exported = vmsnap.json("export", guest.name, "--to", name)
            assert exported["snapshot"]["status"] == "done"
        else:
            vmsnap.run("commit", guest.name)
        unharmed.now()
    print(f"{interrupted} of 6 interrupted, they were then {statuses}")
    assert interrupted >= 2


def test_killed_create(vmsnap, guest, unharmed):
    """kill -9 anywhere: drop clears what is left."""
    options = ["--memory=none", "--quiesce=off"]
    usual = vmsnap.run("create", guest.name, *options).seconds
    vmsnap.run("drop", guest.name)
    left = 0
    for after in points(usual, 6):
        result = strike(vmsnap.start("create", guest.name, *options), after, signal.SIGKILL)
        snapshots = vmsnap.on_host(guest.name)
        if snapshots:
            [snapshot] = snapshots
            if snapshot["status"] in ("preparing", "capturing"):
                left += 1
                vmsnap.fails(REFUSED, "create", guest.name, says=[snapshot["id"], "recover"])
            vmsnap.run("drop", guest.name, "--snapshot", snapshot["id"])
        assert result.status in (DONE, -signal.SIGKILL)
        unharmed.now()
    print(f"{left} of 6 left something behind")
    assert left > 0


def start_and_freeze(vmsnap, guest, *options):
    """A create that has just frozen the guest and begins to save its memory."""
    process = vmsnap.start("create", guest.name, "--memory=live", "--quiesce=require", *options)
    domains.wait_for(lambda: process.has_said("saving memory"), step=0.001)
    return process


def test_killed_while_frozen(vmsnap, guest, unharmed):
    """kill -9 between freeze and thaw: thawed all the same; drop clears what else is left."""
    process = start_and_freeze(vmsnap, guest)
    process.send(signal.SIGKILL)
    assert process.wait().status == -signal.SIGKILL
    guest.wait_idle()
    domains.wait_for(lambda: guest.vm.freeze_status() == "thawed")
    vmsnap.run("drop", guest.name)
    unharmed.now()


def test_drop_thaws(vmsnap, guest, unharmed):
    """Where nobody was left to thaw (the host's power failed, say), drop does. (Frozen by hand.)"""
    process = vmsnap.start("create", guest.name, "--memory=live")
    domains.wait_for(lambda: process.has_said("saving memory"), step=0.001)
    process.send(signal.SIGKILL)
    process.wait()
    guest.wait_idle()
    guest.vm.freeze()
    dropped = vmsnap.json("drop", guest.name)["snapshot"]
    assert "thawed" in [note["code"] for note in dropped["notes"]]
    assert guest.vm.freeze_status() == "thawed"


def test_killed_export(vmsnap, guest, unharmed):
    """kill -9 of an export at many points, then once more: it is stored whole and merged."""
    name = vmsnap.fresh("dir")
    for after in (0.15, 0.3, 0.6):
        vmsnap.run("create", guest.name, "--memory=none", "--quiesce=off")
        strike(vmsnap.start("export", guest.name, "--to", name), after, signal.SIGKILL)
        [record] = vmsnap.on_host(guest.name) or [None]
        if record and record["status"] in ("exported", "committing"):
            vmsnap.run("commit", guest.name)
        elif record:
            vmsnap.run("export", guest.name, "--to", name)
        unharmed.now()
    stored = vmsnap.json("list", "--from", name)["snapshots"]
    assert len(stored) >= 3
    for snapshot in stored:
        vmsnap.run("verify", snapshot["snapshot"], "--from", name)


def test_second_export_does_not_upload_twice(vmsnap, guest, unharmed):
    """An export that was killed when all was stored leaves next to nothing to send."""
    name = vmsnap.fresh("dir")
    guest.fill()
    vmsnap.run("create", guest.name, "--memory=none", "--quiesce=off")
    process = vmsnap.start("export", guest.name, "--to", name)
    domains.wait_for(lambda: vmsnap.stored_bytes(name) > 16 << 20 or not process.running(),
                     step=0.002)
    process.send(signal.SIGINT)
    assert process.wait().status == INTERRUPTED
    before = vmsnap.stored_bytes(name)
    again = vmsnap.json("export", guest.name, "--to", name)
    total = vmsnap.stored_bytes(name)
    print(f"{before} bytes stored by the first, {total - before} more by the second")
    assert again["stats"]["bytes_uploaded"] < total
    assert total - before < total


def test_freeze_deadline(vmsnap, guest, unharmed):
    """P1: a cut that hangs does not keep the guest frozen. (QEMU is stopped for longer than the
    deadline; when it goes on, the watchdog's thaw comes first.)"""
    process = start_and_freeze(vmsnap, guest, "--freeze-deadline=1")
    os.kill(guest.qemu_pid(), signal.SIGSTOP)
    time.sleep(2)
    os.kill(guest.qemu_pid(), signal.SIGCONT)
    result = process.wait()
    assert result.status == REFUSED, result
    assert "deadline" in result.err
    guest.writes_on()
    assert not vmsnap.on_host(guest.name)


def interrupt_restore(vmsnap, name, folder, args):
    """Nothing is left in the folder of a restore that was interrupted, and no domain."""
    usual = vmsnap.run(*args).seconds
    domains.remove(name)
    interrupted = 0
    for after in points(usual, 6):
        for file in folder.iterdir():
            file.unlink()
        result = strike(vmsnap.start(*args), after, signal.SIGINT)
        assert result.status in (DONE, INTERRUPTED), result
        if result.status == DONE:
            domains.remove(name)
            continue
        interrupted += 1
        assert not list(folder.iterdir())
        assert domains.find(name) is None
    assert interrupted > 0


def test_interrupted_restore(vmsnap, stored, images):
    folder = images / "interrupted"
    folder.mkdir()
    interrupt_restore(vmsnap, "halfway", folder,
                      ["restore", stored.snapshot, "--from", stored.to, "--as", "halfway",
                       "--disks-to", folder])
