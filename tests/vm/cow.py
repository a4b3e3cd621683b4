# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of copy-on-write memory ask QEMU, behind vmsnap's back."""
import json
import time

import libvirt
import libvirt_qemu

import domains


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
