# SPDX-License-Identifier: LGPL-2.1-or-later
"""Copy-on-write memory: what is saved is the instant of the cut, and libvirt is left as it was."""
import fcntl
import os
import subprocess
from pathlib import Path

import libvirt
import pytest

import cow
import domains
from guest import Copy, check_disks


def test_chosen_by_itself(vmsnap, busy, busy_unharmed):
    """And frozen for it: the freeze is short."""
    found = vmsnap.json("check", busy.name)
    assert found["engine"] == "cow" and found["quiesce"]
    record = vmsnap.create(busy.name)
    assert record["engine"] == "cow" and record["consistency"] == "memory"
    assert record["frozen_filesystems"] == 2 and record["notes"] == []
    timing = record["timing"]
    parts = ("suspend_us", "start_us", "disks_us", "side_us", "pages_us", "resume_us")
    assert 0 < sum(timing[part] for part in parts) <= timing["pause_us"]
    assert timing["warmup_us"] == 0 and timing["write_us"] > 0
    file = Path(record["memory"]["path"]).stat()
    assert file.st_size == record["memory"]["size"]
    assert file.st_blocks * 512 < file.st_size + (1 << 20), "what was reserved is given back"
    vmsnap.run("drop", busy.name)


def test_check_leaves_another_vmsnap_alone(vmsnap, busy, busy_unharmed):
    """QEMU's settings are not tried while another one may rely on them."""
    with open(vmsnap.folder / "run" / f"{busy.uuid}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = vmsnap.json("check", busy.name)
        assert [finding["code"] for finding in found["findings"]] == ["cow-not-tried"]
        assert found["engine"] == "cow" and found["possible"]
    assert vmsnap.json("check", busy.name)["findings"] == []


def test_plain_virsh_restores_it(vmsnap, busy, busy_unharmed, images):
    """The memory file is a libvirt save image, its disks are the frozen ones. (The guest itself is
    put aside meanwhile: libvirt restores a domain under its own name only.)"""
    record = vmsnap.create(busy.name, "--memory=cow")
    after = busy.beat()
    busy.silence()
    busy.domain.managedSave()
    text = subprocess.run(["virsh", "-q", "save-image-dumpxml", record["memory"]["path"]],
                          capture_output=True, text=True, check=True).stdout
    for target, base in busy.originals.items():
        disk = images / f"{target}.copy"
        domains.qemu_img("create", "-f", "qcow2", "-F", "qcow2" if target == "vda" else "raw",
                         "-b", base, disk)
        assert f"'{base}'" in text, "the frozen image"
        text = text.replace(base, str(disk))
    try:
        domains.connection().restoreFlags(record["memory"]["path"],
                                          text.replace("type='raw'", "type='qcow2'"),
                                          libvirt.VIR_DOMAIN_SAVE_PAUSED)
        busy.listen(0)
        busy.domain.resume()
        first = busy.first_beat()
        assert first.nonce == after.nonce and first.tick <= after.tick and first.seq <= after.seq
        busy.thaw()  # it was saved frozen
        later = busy.writes_on()
        assert later.nonce == first.nonce and later.seq > first.seq
        assert busy.check()["state"]["memory"]["bad"] == 0
    finally:
        busy.silence()
        if busy.domain.isActive():
            busy.domain.destroy()
        busy.domain.create()
    vmsnap.run("drop", busy.name)


def test_paused_guest_stays_so(vmsnap, busy, busy_unharmed):
    """And its overlays can be merged while it is."""
    busy.domain.suspend()
    try:
        record = vmsnap.create(busy.name, "--memory=cow", "--quiesce=off")
        assert domains.state(busy.domain) == libvirt.VIR_DOMAIN_PAUSED
        assert record["timing"]["pause_us"] == 0 and record["memory"]["size"] > 0
        assert "memory-paused" not in [note["code"] for note in record["notes"]]
        vmsnap.run("drop", busy.name)
        assert domains.state(busy.domain) == libvirt.VIR_DOMAIN_PAUSED
    finally:
        busy.domain.resume()


def test_libvirt_is_left_as_it_was(vmsnap, busy, busy_unharmed, images):
    """Whatever libvirt does with memory and disks afterwards works as ever."""
    vmsnap.create(busy.name, "--memory=cow")
    vmsnap.run("drop", busy.name)
    saved, live = str(images / "saved"), str(images / "live")
    nonce = busy.beat().nonce
    busy.silence()
    busy.domain.save(saved)
    domains.connection().restore(saved)
    assert busy.writes_on().nonce == nonce
    busy.silence()
    busy.domain.managedSave()
    busy.domain.create()
    assert busy.writes_on().nonce == nonce
    disks = "".join(f"<disk name='{target}' snapshot='external'>"
                    f"<source file='{images / target}.overlay'/></disk>"
                    for target in busy.originals)
    busy.domain.snapshotCreateXML(
        f"<domainsnapshot><memory snapshot='external' file='{live}'/><disks>{disks}</disks>"
        "</domainsnapshot>", libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_LIVE |
        libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA)
    for target in busy.originals:
        busy.commit_by_hand(target)
    vmsnap.create(busy.name, "--memory=cow")
    vmsnap.run("drop", busy.name)


def test_rounds(vmsnap, busy, busy_unharmed):
    """Snapshot and merge over and over: nothing piles up."""
    pid = busy.qemu_pid()

    def count():
        vmsnap.create(busy.name, "--memory=cow")
        vmsnap.run("drop", busy.name)
        return len(os.listdir(f"/proc/{pid}/fd")), cow.nodes(busy.domain)

    first = count()
    for _ in range(8):
        assert count() == first
    assert busy.writes_on().errors == 0


@pytest.mark.parametrize("options", [[], ["--quiesce=off"]])
def test_one_instant(vmsnap, busy, busy_unharmed, images, options):
    """The first thing that a copy says is the record at which its disks were cut, under load."""
    name = vmsnap.fresh("dir")
    before = busy.beat()
    vmsnap.create(busy.name, "--memory=cow", *options)
    after = busy.beat()
    snapshot = vmsnap.export_id(busy.name, "--to", name)
    folders = [images / f"{kind}-{len(options)}" for kind in ("disks", "memory")]
    for folder in folders:
        folder.mkdir()
        folder.chmod(0o711)
    disks = vmsnap.json("restore", snapshot, "--from", name, "--as", "disks-only",
                        "--no-memory", "--disks-to", folders[0])["disks"]
    domains.remove("disks-only")
    cut = check_disks([(disk["path"], disk["format"]) for disk in disks])
    assert cut["ok"], cut
    assert cut["a"]["last"] - cut["b"]["last"] <= (0 if not options else 1)
    with Copy("instant") as copy:
        vmsnap.run("restore", snapshot, "--from", name, "--as", copy.name, "--paused",
                   "--disks-to", folders[1])
        copy.listen(0)
        copy.domain.resume()
        first = copy.first_beat()
        assert first.nonce == before.nonce and before.tick < first.tick <= after.tick
        # not frozen, the writer may not yet have counted what it has just written
        assert cut["b"]["last"] - len(options) <= first.seq <= cut["a"]["last"]
