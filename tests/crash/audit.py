# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must hold once recover is done, and what must hold once nothing of a snapshot is left."""
import contextlib
import re
import shutil
from pathlib import Path

import libvirt

import cow
import domains
from points import ours
from restoring import mounts

RESTING = ("captured", "exported")


def kept_files(vmsnap):
    """Below vmsnap's own folders, but for what is always there: catalog, cache, flocks."""
    found = []
    for folder in (vmsnap.state, vmsnap.folder / "run", vmsnap.folder / "cache"):
        for name in domains.folder_files(folder):
            if not re.search(r"(\.db(-wal|-shm|-journal)?|\.lock)$", name):
                found.append(str(folder / name))
    return found


def belongs_to(path, records):
    """A file of a snapshot that still is on the host."""
    return any(record["id"] in path for record in records)


def nobody_works(seconds=45):
    """The guards have ended too: they act when their vmsnap is gone."""
    domains.wait_for(lambda: not ours(), seconds, 0.05)
    assert not mounts(), mounts()


def libvirt_is_idle(domain):
    assert domains.metadata_free(domain.domain), "libvirt knows of a snapshot, checkpoint or job"
    if not domain.is_up():
        return
    kind = domain.domain.jobInfo()[0]
    assert kind == libvirt.VIR_DOMAIN_JOB_NONE, f"libvirt's job {kind} goes on"
    for query in ("query-block-jobs", "query-jobs", "query-block-exports"):
        assert cow.qmp(domain.domain, query) == [], query
    status = cow.migration(domain.domain)
    assert status not in ("setup", "active", "cancelling", "device"), f"migration is {status}"
    found = domain.limits()
    assert domain.unlimited is None or found == domain.unlimited, f"disks are limited to {found}"
    found = cow.capabilities(domain.domain)
    assert domain.capabilities is None or found == domain.capabilities, f"QEMU has {found} on"


def chains(domain, records):
    """On the newest snapshot's overlays, or on the original; live and persistent."""
    expected = dict(domain.originals)
    for record in records:  # oldest first
        for disk in record["disks"]:
            if not disk["merged"]:
                expected[disk["target"]] = disk["overlay"]
    assert domains.sources(domain.domain) == expected, (domains.sources(domain.domain), expected)
    assert domains.sources(domain.domain, inactive=True) == expected, "persistent definition"
    overlays = {Path(disk["overlay"]).name for record in records for disk in record["disks"]
                if not disk["merged"]}
    assert domains.folder_files(domain.folder) == sorted({*domain.names, *overlays})


def tracking(domain, statuses):
    """No dirty bitmap but of snapshots that are on the host or were exported."""
    alive = {f"vmsnap-{id}" for id, status in statuses.items() if status in (*RESTING, "done")}
    found = {name for name in domain.bitmaps() if name and name.startswith("vmsnap-")}
    assert found <= alive, f"dirty bitmaps {found - alive} of no snapshot"


def at_rest(world, domain, dice, seconds=45):
    """After recover. The records of what is still on the host, oldest first."""
    nobody_works(seconds)
    records = world.vmsnap.on_host(domain.name)
    for record in records:
        assert record["status"] in RESTING, f"snapshot {record['id']} is {record['status']}"
    assert domain.is_up() == domain.runs
    if domain.runs:
        assert not domain.is_paused(), f"the guest is in state {domain.domain.state()}"
        domain.check_alive()
    chains(domain, records)
    libvirt_is_idle(domain)
    tracking(domain, world.statuses())
    strays = [path for path in kept_files(world.vmsnap) if not belongs_to(path, records)]
    assert not strays, f"left behind: {strays}"
    domain.check_content(dice)
    return records


def keep_logs(world, folder):
    """libvirtd's and QEMU's own, the catalog, the definitions."""
    log = Path("/var/log/libvirt/libvirtd.log")
    if log.exists():
        (folder / "libvirtd.log").write_text(log.read_text(errors="replace")[-200000:])
    for domain in world.all():
        name = Path(f"/var/log/libvirt/qemu/{domain.name}.log")
        if name.exists():
            (folder / name.name).write_text(name.read_text(errors="replace")[-100000:])
        with contextlib.suppress(libvirt.libvirtError):
            (folder / f"{domain.name}.xml").write_text(domain.domain.XMLDesc())
    for path in world.vmsnap.state.glob("vmsnap.db*"):
        shutil.copy(path, folder)
    for path in world.vmsnap.output.iterdir():
        shutil.copy(path, folder / f"last.{path.name}")
