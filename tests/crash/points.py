# SPDX-License-Identifier: LGPL-2.1-or-later
"""The fail points: which there are, which of them a command passes, and killing it at one."""
import collections
import functools
import os
import re
import signal
import time
from pathlib import Path

from tool import DONE, INTERRUPTED

SOURCES = Path(__file__).resolve().parents[2] / "src"
CALL = re.compile(r'\bvms_failpoint\(\s*"([a-z0-9.-]+)"')
MOMENT = "(any moment)"  # by the clock, wherever that may be


def name_of(point):
    return point.partition(":")[0] if isinstance(point, str) else MOMENT


@functools.cache
def known():
    """All in the program's source."""
    names = set()
    for path in SOURCES.rglob("*.c"):
        names.update(CALL.findall(path.read_text()))
    return sorted(names)


class Traced:
    """What an undisturbed run passed."""

    def __init__(self, seconds, names):
        """names as a list, or counted."""
        self.seconds, self.counts = seconds, collections.Counter(names)


def tracing(vmsnap):
    """The environment in which the next command tells what it passes."""
    file = vmsnap.folder / "trace"
    file.unlink(missing_ok=True)
    return {"VMSNAP_FAILPOINT_TRACE": str(file)}


def passed(vmsnap):
    file = vmsnap.folder / "trace"
    return file.read_text().split() if file.exists() else []


def interrupt(vmsnap, process, at, stopped=Path("/nonexistent")):
    """Once it has passed a point it is told to end, and undoes what it did; if it comes so far."""
    while process.running() and not stopped.exists():
        if at in passed(vmsnap):
            process.send(signal.SIGINT)
            return
        time.sleep(0.002)


def trace(vmsnap, args, interrupted=None, ends=(DONE,)):
    """Undisturbed, or interrupted once it has passed that point."""
    process = vmsnap.start(*args, env=tracing(vmsnap))
    if interrupted:
        interrupt(vmsnap, process, interrupted)
    run = process.wait()
    assert run.status in (*ends, INTERRUPTED if interrupted else DONE), run
    return Traced(run.seconds, passed(vmsnap))


class Victim:
    """A vmsnap that is to die at a point, or after so many seconds."""

    def __init__(self, vmsnap, args, point, stop, interrupted=None):
        self.file = vmsnap.folder / "reached"
        self.file.unlink(missing_ok=True)
        self.stop, self.point = stop, point
        env = {"VMSNAP_FAILPOINT_REACHED": str(self.file), **tracing(vmsnap)}
        if isinstance(point, str):
            env["VMSNAP_FAILPOINT"] = f"{point}={'stop' if stop else 'kill'}"
        self.process = vmsnap.start(*args, env=env)
        if interrupted and isinstance(point, str):
            interrupt(vmsnap, self.process, interrupted, self.file)

    def _stopped(self):
        stat = Path(f"/proc/{self.process.popen.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    def hold(self, timeout=120):
        """Until it stands still; False where it ended before."""
        begin, sent = self.process.begin, False
        while self.process.running():
            now = time.monotonic()
            assert now - begin < timeout, f"vmsnap never ended: {self.process.args}"
            if not isinstance(self.point, str) and not sent and now - begin >= self.point:
                sent = self.process.send(signal.SIGSTOP)
            if (sent or self.file.exists()) and self._stopped():
                return True
            time.sleep(0.002)
        return False

    def kill(self):
        """How it ended: -SIGKILL, or by itself before."""
        if self.stop or not isinstance(self.point, str):
            self.process.send(signal.SIGKILL)
        return self.process.wait(120)


def ours():
    """Processes in the lab that vmsnap started or is, but not this one: {pid: name}."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            name = Path(f"/proc/{entry}/comm").read_text().strip()
            words = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
        if name in ("vmsnap", "qemu-nbd", "qemu-img", "virsh") or b"vmsnap-guard" in words:
            found[int(entry)] = name
    return found
