# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of copy-on-write memory ask QEMU, behind vmsnap's back."""
import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import libvirt
import libvirt_qemu

import domains
import tool


def qmp(domain, execute, **arguments):
    command = {"execute": execute, **({"arguments": arguments} if arguments else {})}
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps(command), 0))
    assert "error" not in answer, answer
    return answer["return"]


def capabilities(domain):
    """Those of a migration that are on."""
    return {entry["capability"] for entry in qmp(domain, "query-migrate-capabilities")
            if entry["state"]}


def migration(domain):
    return qmp(domain, "query-migrate").get("status", "none")


def nodes(domain):
    return len(qmp(domain, "query-named-block-nodes", flat=True))


def is_writing(domain):
    """The guest runs, QEMU writes its memory behind it."""
    return migration(domain) == "active" and qmp(domain, "query-status")["running"]


def when(process, condition, timeout=60):
    """Waits for a moment of a running vmsnap; it must come."""
    limit = time.monotonic() + timeout
    while not condition():
        assert process.running() and time.monotonic() < limit, "the moment did not come"


def as_found(guest, before):
    """Nothing of a background snapshot is left in QEMU."""
    def settled():
        try:
            return (migration(guest.domain) not in ("setup", "active", "cancelling", "device") and
                    capabilities(guest.domain) == before)
        except libvirt.libvirtError:
            return False
    domains.wait_for(settled, 60)


def guards():
    """Processes that wait for the end of a vmsnap, or act on it."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if b"vmsnap-guard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


def tracing(vmsnap, args, *options):
    command, *rest = [str(arg) for arg in args]
    return ["strace", "-qq", *options, tool.PROGRAM, command, "--config", str(vmsnap.config), *rest]


def traced(vmsnap, args, *options):
    """vmsnap under strace, which makes some calls of its main thread come out otherwise."""
    return subprocess.run(tracing(vmsnap, args, *options), stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, env=vmsnap.env, timeout=180)


@contextlib.contextmanager
def held(vmsnap, folder, call, which, args, *options):
    """vmsnap stands still after a system call of that name, the which-th of those that options leave; it goes
    on when the block ends. The result has returncode and stderr."""
    log = folder / "held"
    log.write_text("")
    process = subprocess.Popen(
        tracing(vmsnap, args, f"-o{log}", *options, f"-e{call}", f"-einject={call}:signal=SIGSTOP:when={which}"),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=vmsnap.env)
    result = subprocess.CompletedProcess(process.args, None)
    try:
        domains.wait_for(lambda: "stopped by SIGSTOP" in log.read_text(), 60)
        yield result
    finally:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGCONT)
        _, result.stderr = process.communicate(timeout=180)
        result.returncode = process.returncode


def held_at_memory_file(vmsnap, folder, *args):
    """When check is over and the memory file is there, before QEMU is readied."""
    vmsnap.run("list")  # a catalog that has its room already
    return held(vmsnap, folder, "fallocate", 1, args)
