# SPDX-License-Identifier: LGPL-2.1-or-later
"""Watching memory come back: what is mounted, what is on disk, how far QEMU has read."""
import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import domains

MIB = 1 << 20


def mounts():
    """Folders of FUSE files that vmsnap shows to libvirt, dead ones too."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if " - fuse.vmsnap " in line]


class Watch:
    """From enter to exit: the most that was on disk below a folder, and whether there was a mount."""

    def __init__(self, folder):
        self.folder, self.most, self.mounted = Path(folder), 0, False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _on_disk(self):
        total = 0
        for root, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(root, name)).st_blocks * 512
        return total

    def _run(self):
        while not self._ending.wait(0.005):
            self.most = max(self.most, self._on_disk())
            self.mounted = self.mounted or bool(mounts())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()


def _position(pid):
    """How far QEMU has read the save image, None where it has not opened it."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(fd).endswith("/memory.save"):
                info = Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text()
                return int(info.split()[1])
    return None


@contextlib.contextmanager
def held_in_the_middle(process, name):
    """Stops the copy's QEMU when it has read some of its memory, so that what is done meanwhile
    strikes in the middle; it goes on at the end."""
    pid_file = Path(f"/run/libvirt/qemu/{name}.pid")
    limit = time.monotonic() + 60

    def poll(what):
        while True:
            with contextlib.suppress(OSError, ValueError):
                if value := what():
                    return value
            assert process.running(), process.wait()
            assert time.monotonic() < limit, "QEMU never read its memory"

    pid = poll(lambda: int(pid_file.read_text()))
    poll(lambda: (_position(pid) or 0) > 8 * MIB)
    os.kill(pid, signal.SIGSTOP)
    try:
        domains.wait_for(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                         == "T")
        yield _position(pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
