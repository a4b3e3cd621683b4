# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the host has swapped out of a guest's memory comes back before the pause, not in it."""
import ctypes
import os
import re
import subprocess
from pathlib import Path

import pytest

import domains

SYS_PROCESS_MADVISE, MADV_PAGEOUT = 440, 21
MIB = 1 << 20


def swapped(pid):
    """MiB of a process."""
    return int(re.search(r"VmSwap:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) // 1024


class Range(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def page_out(pid):
    """The largest mapping of a process, which in a QEMU is the guest's memory."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    spans = [[int(part, 16) for part in line.split()[0].split("-")] for line in lines]
    start, end = max(spans, key=lambda span: span[1] - span[0])
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        done = libc.syscall(SYS_PROCESS_MADVISE, pidfd, ctypes.byref(Range(start, end - start)), 1,
                            MADV_PAGEOUT, 0)
        assert done > 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(pidfd)


@pytest.fixture(scope="module")
def swap(tmp_path_factory):
    """Swap space of our own, of which nothing is in use at the end."""
    path = Path(os.environ["LAB_DIR"]) / "swap"
    path.write_bytes(bytes(512 * MIB))
    path.chmod(0o600)
    subprocess.run(["mkswap", "-q", path], check=True)
    subprocess.run(["swapon", path], check=True)
    yield path
    subprocess.run(["swapoff", path], check=True)
    path.unlink()


def test_brought_back_before_the_pause(vmsnap, busy, busy_unharmed, swap):
    pid = busy.qemu_pid()
    before = vmsnap.create(busy.name, "--memory=cow")
    assert before["timing"]["warmup_us"] == 0
    vmsnap.run("drop", busy.name)
    busy.domain.suspend()  # it brings nothing back by itself
    try:
        domains.wait_for(lambda: page_out(pid) or swapped(pid) > 32, 60)
        record = vmsnap.create(busy.name, "--memory=cow")
    finally:
        busy.domain.resume()
    assert record["engine"] == "cow" and record["timing"]["warmup_us"] > 0
    assert swapped(pid) < 8
    assert busy.check()["state"]["memory"]["bad"] == 0
    vmsnap.run("drop", busy.name)
