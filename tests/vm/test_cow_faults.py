# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever goes wrong while memory is cut or written: the guest runs, is not frozen, is on its own
disks; QEMU's settings are as they were; and no snapshot is called good that is not."""
import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import libvirt

import cow
import domains
from libvirtd import Libvirtd
from test_bad_store import fill_up
from tool import DONE, FAILED, NO_SPACE, REFUSED

COW = ("--memory=cow", "--quiesce=require")


def start_writing(vmsnap, busy, options=COW):
    """A create whose guest runs again already."""
    process = vmsnap.start("create", busy.name, *options)
    cow.when(process, lambda: cow.is_writing(busy.domain))
    return process


def failed(process, vmsnap, busy, status, *words):
    """It says why, and has undone everything."""
    result = process.wait()
    assert result.status == status, result
    for word in words:
        assert word in result.err, result
    assert not vmsnap.on_host(busy.name)


def test_cancelled_by_somebody_else(vmsnap, busy, busy_unharmed):
    process = start_writing(vmsnap, busy)
    cow.qmp(busy.domain, "migrate_cancel")
    failed(process, vmsnap, busy, FAILED, "memory", "cancel")


def test_stopped_behind_libvirts_back(vmsnap, busy, busy_unharmed):
    """A stop that nobody asked libvirt for, after the cut: the memory may not be that of the cut."""
    process = start_writing(vmsnap, busy)
    cow.qmp(busy.domain, "stop")
    cow.qmp(busy.domain, "cont")
    failed(process, vmsnap, busy, REFUSED, "stopped the guest by itself")


def test_suspended_by_the_operator(vmsnap, busy, busy_unharmed):
    """That is known to libvirt, and harmless: what is written is of the cut already."""
    process = start_writing(vmsnap, busy)
    busy.domain.suspend()
    time.sleep(0.5)
    busy.domain.resume()
    result = process.wait()
    assert result.status == DONE, result
    vmsnap.run("drop", busy.name)


def test_resumed_in_the_pause(vmsnap, busy, busy_unharmed):
    """Before the first page is written: memory and disks would be of two instants."""
    process = vmsnap.start("create", busy.name, *COW)

    def resume_all_the_time():
        connection = libvirt.open("qemu:///system")
        domain = connection.lookupByName(busy.name)
        while process.popen.returncode is None:
            if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                with contextlib.suppress(libvirt.libvirtError):
                    domain.resume()

    thread = threading.Thread(target=resume_all_the_time)
    thread.start()
    try:
        failed(process, vmsnap, busy, REFUSED, "resumed the guest")
    finally:
        thread.join()


def test_disk_full_in_mid_stream(vmsnap, busy, busy_unharmed, tmp):
    """On a file system that cannot reserve space, somebody else takes it meanwhile."""
    need = vmsnap.json("check", busy.name)["memory_need"]
    state = tmp / "cow-full"
    state.mkdir()
    with domains.loop_mounted(state / "memory", tmp / "cow-full.image", "ext2", need * 5 // 4) as folder:
        other = vmsnap.with_state(state)
        fill_up(folder, need + (16 << 20))  # the rest is then taken faster than memory is written
        process = other.start("create", busy.name, *COW)
        cow.when(process, lambda: list(folder.glob("*.save")))
        fill_up(folder, 96 << 20)
        failed(process, other, busy, NO_SPACE, "memory", "No space left", "make room there")
        assert not list(folder.glob("*.save"))
        busy_unharmed.now()


def traced(vmsnap, busy, *options):
    return cow.traced(vmsnap, ["create", busy.name, *COW], *options)


def test_no_space_to_reserve(vmsnap, busy, busy_unharmed):
    """The space was there when it was checked, and is gone when it is reserved."""
    done = traced(vmsnap, busy, "-o/dev/null", "-efallocate", "-einject=fallocate:error=ENOSPC")
    assert done.returncode == NO_SPACE, done
    assert "reserving" in done.stderr and busy.name in done.stderr, done
    assert not vmsnap.on_host(busy.name)


def test_input_output_error(vmsnap, busy, busy_unharmed):
    """QEMU cannot write. (What it writes for the guest goes by another system call.)"""
    tracer = subprocess.Popen(["strace", "-qq", "-f", "-o/dev/null", "-ewritev",
                               "-einject=writev:error=EIO:when=20+", "-p", str(busy.qemu_pid())])
    try:
        domains.wait_for(lambda: traced_by(busy.qemu_pid()) == tracer.pid)
        process = vmsnap.start("create", busy.name, *COW)
        failed(process, vmsnap, busy, FAILED, "memory", "nput/output error")
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()


def traced_by(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    return 0


def test_libvirtd_restarted_while_memory_is_written(vmsnap, busy, busy_unharmed):
    """QEMU does not mind, so the snapshot need not fail."""
    process = start_writing(vmsnap, busy)
    Libvirtd.kill()
    Libvirtd.start()
    result = process.wait()
    assert result.status == DONE, result
    vmsnap.run("drop", busy.name)


def test_libvirtd_killed_in_the_pause(vmsnap, busy, busy_unharmed):
    """The guest is resumed by way of the next one."""
    process = vmsnap.start("create", busy.name, *COW)
    cow.when(process, lambda: domains.state(busy.domain) == libvirt.VIR_DOMAIN_PAUSED)
    Libvirtd.kill()
    Libvirtd.start()
    result = process.wait()
    if result.status != DONE:  # it was so late that all was done
        assert result.status == FAILED, result
        for _ in vmsnap.on_host(busy.name):
            vmsnap.run("drop", busy.name)
    else:
        vmsnap.run("drop", busy.name)


def test_killed_at_each_step(vmsnap, busy, busy_unharmed, tmp):
    """Nobody runs vmsnap again for the guest's sake; only its overlays wait for a drop."""
    calls = tmp / "calls"
    assert traced(vmsnap, busy, f"-o{calls}", "-ewrite").returncode == DONE
    vmsnap.run("drop", busy.name)
    total, seen = len(calls.read_text().splitlines()), []
    for step in range(4, 16):
        call = total * step // 16
        done = traced(vmsnap, busy, "-o/dev/null", "-ewrite",
                      f"-einject=write:signal=SIGKILL:when={call}")
        # fewer calls than before, where memory was written faster: then it has ended by itself
        assert done.returncode in (-signal.SIGKILL, DONE), done
        busy.wait_idle()
        domains.wait_for(lambda: domains.state(busy.domain) == libvirt.VIR_DOMAIN_RUNNING, 40)
        domains.wait_for(lambda: busy.vm.freeze_status() == "thawed", 40)
        cow.as_found(busy, busy_unharmed.capabilities)
        busy.writes_on()
        for snapshot in vmsnap.on_host(busy.name):
            seen.append(snapshot["status"])
            vmsnap.run("drop", busy.name, "--snapshot", snapshot["id"])
        busy_unharmed.now()
    print(f"killed at 12 of {total} calls, snapshots were then {seen}")
    assert seen.count("capturing") > 3


def test_killed_while_memory_is_written(vmsnap, busy, busy_unharmed):
    process = start_writing(vmsnap, busy)
    process.send(signal.SIGKILL)
    process.wait()
    cow.as_found(busy, busy_unharmed.capabilities)
    [snapshot] = vmsnap.on_host(busy.name)
    assert snapshot["status"] == "capturing"
    vmsnap.run("drop", busy.name)


def test_drop_clears_without_a_guard(vmsnap, busy, busy_unharmed):
    """Where nobody was left to do it: drop cancels the writing and switches the capability off."""
    process = start_writing(vmsnap, busy)
    for pid in cow.guards():
        os.kill(pid, signal.SIGKILL)
    process.send(signal.SIGKILL)
    process.wait()
    assert "background-snapshot" in cow.capabilities(busy.domain)
    vmsnap.run("drop", busy.name)
    assert cow.capabilities(busy.domain) == busy_unharmed.capabilities


def test_destroyed_while_memory_is_written(vmsnap, busy):
    """Like a power cut of the guest: its disks are whole, on its own images, and it starts again."""
    files = busy.files()
    process = start_writing(vmsnap, busy)
    busy.silence()
    busy.domain.destroy()
    failed(process, vmsnap, busy, FAILED, "the guest ended")
    assert domains.sources(busy.domain, inactive=True) == busy.originals
    assert busy.files() == files
    busy.domain.create()
    busy.vm.wait()
    busy.writes_on(60)
    assert busy.check()["ok"]
