# SPDX-License-Identifier: LGPL-2.1-or-later
"""Killing vmsnap at a point, alone or together with QEMU, libvirtd, or everything."""
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import domains
from libvirtd import Libvirtd
from points import Victim, ours
from restoring import mounts
from victims import kill_and_wait

RUN = Path("/run/libvirt/qemu")


def forget_owners(*folders):
    """libvirt remembers in extended attributes whose a file was, until the host is booted anew."""
    for folder in folders:
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                for name in os.listxattr(path, follow_symlinks=False):
                    if name.startswith("trusted.libvirt.security."):
                        os.removexattr(path, name, follow_symlinks=False)


class Strike:
    """variant's deed. point: "NAME:N", or seconds from the start. forlorn: of vmsnap alone, its helpers
    die before it; by default at times. writing: ends before anything is killed."""

    def __init__(self, world, domain, variant, point, dice, interrupted=None, writing=None,
                 forlorn=None):
        self.world, self.domain, self.variant, self.dice = world, domain, variant, dice
        self.point, self.interrupted, self.writing = point, interrupted, writing
        self.forlorn = forlorn if forlorn is not None else variant == "vmsnap" and dice.random() < 0.3
        self.done = False  # vmsnap was killed, and all else that the variant wants
        self.lost = variant in ("qemu", "host")  # the domain may be off now

    def run(self, *args):
        stop = (self.variant != "vmsnap" or self.forlorn or self.writing is not None or
                not isinstance(self.point, str))
        victim = Victim(self.world.vmsnap, args, self.point, stop, self.interrupted)
        self.process = victim.process
        reached = not stop or victim.hold()
        if self.writing:
            self.writing.end()
        if not reached:
            self.result = victim.kill()
            return self
        if stop and self.domain.runs and self.domain.is_quiet() and self.dice.random() < 0.5:
            self.domain.write(self.dice)
        self.domain.before_kill()
        self.result = getattr(self, self.variant)(victim)
        self.done = self.result.status == -signal.SIGKILL and self.done
        return self

    def vmsnap(self, victim):
        self.done = True
        if self.forlorn:
            kill_and_wait(set(ours()) - {self.process.popen.pid})
        return victim.kill()

    def qemu(self, victim):
        """That of the copy, where it is a copy that is being made."""
        copy = RUN / "copy.pid"
        with contextlib.suppress(OSError, ValueError):
            pid = int(copy.read_text()) if copy.exists() else self.domain.pid()
            self.done = pid is not None
            if pid:
                os.kill(pid, signal.SIGKILL)
        result = victim.kill()
        if self.done:
            kill_and_wait([pid])
            domains.wait_for(lambda: copy.exists() or not self.domain.runs or not self.domain.is_up())
        return result

    def libvirtd(self, victim):
        self.done, pid = True, self.domain.pid()
        Libvirtd.kill()
        result = victim.kill()
        Libvirtd.start()
        if self.domain.runs and not self.domain.is_up():
            self.forgotten(pid)
        return result

    def forgotten(self, pid):
        """libvirt 9.0, killed as a block job begins, cannot read what it wrote down of the domain, and
        leaves its QEMU to itself: whoever operates it has to end that."""
        assert "unknown mirror job type" in Path("/var/log/libvirt/libvirtd.log").read_text(errors="replace")
        kill_and_wait([pid])
        self.lost = True

    def host(self, victim):
        """What is in memory is gone, and so is what was mounted; files are not. (What was written
        and not synced is still there: no test here can take that away.)"""
        self.done = True
        pid = int(Path("/run/libvirtd.pid").read_text())
        qemus = [int(path.read_text()) for path in RUN.glob("*.pid")]
        kill_and_wait([self.process.popen.pid, pid, *qemus, *ours()])
        result = victim.kill()
        kill_and_wait(ours())
        for path in mounts():
            subprocess.run(["umount", "-l", path], check=True)
        for path in RUN.iterdir():
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(self.world.vmsnap.folder / "run", ignore_errors=True)
        forget_owners(self.world.top, Path(os.environ["LAB_DIR"]) / "log")
        Libvirtd.start()
        return result
