# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several snapshots of one domain, keeping overlays, giving up, and losing the whole host."""
import fcntl
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import libvirt
import pytest

import domains
from tool import FAILED, NOT_FOUND, REFUSED

NOT_SHARED, WRITE = 200, 1  # the byte of an image by which one QEMU tells others that it wants none that writes


def test_keep_overlays_then_commit(vmsnap, guest, unharmed):
    record = vmsnap.create(guest.name, "--memory=none", "--quiesce=off")
    overlays = {disk["target"]: disk["overlay"] for disk in record["disks"]}
    exported = vmsnap.json("export", guest.name, "--to", "dir", "--keep-overlays")
    assert exported["snapshot"]["status"] == "exported"
    assert domains.sources(guest.domain) == overlays
    committed = vmsnap.json("commit", guest.name)["snapshot"]
    assert committed["status"] == "done"


def test_commit_before_export_is_refused(vmsnap, captured):
    """The only copy of a snapshot is not merged away by mistake."""
    vmsnap.fails(REFUSED, "commit", captured.name, says=[captured.id, "export", "drop"])
    captured.is_captured()


def test_drop(vmsnap, guest, unharmed):
    record = vmsnap.create(guest.name, "--memory=live")
    assert vmsnap.json("drop", guest.name)["snapshot"]["status"] == "abandoned"
    assert not Path(record["memory"]["path"]).exists()
    vmsnap.fails(REFUSED, "export", "--snapshot", record["id"], "--to", "dir", says=["abandoned"])
    vmsnap.fails(REFUSED, "drop", guest.name, "--snapshot", record["id"], says=["abandoned"])


def test_drop_of_an_exported_one(vmsnap, shut_off):
    """The repository's copy stays."""
    vmsnap.run("create", shut_off.name)
    snapshot = vmsnap.export_id(shut_off.name, "--to", "dir", "--keep-overlays")
    assert vmsnap.json("drop", shut_off.name)["snapshot"]["status"] == "done"
    vmsnap.run("verify", snapshot, "--from", "dir")


def test_two_repositories(vmsnap, shut_off):
    """One snapshot exported to both stores before it is merged."""
    vmsnap.run("create", shut_off.name)
    ids = []
    for to in ("dir", "s3"):
        options = ["--keep-overlays"] if to == "dir" else []
        snapshot = vmsnap.on_host(shut_off.name)[0]["id"]
        ids.append((to, vmsnap.export_id("--snapshot", snapshot, "--to", to, *options)))
    for to, snapshot in ids:
        vmsnap.run("verify", snapshot, "--from", to)


def test_stacked(vmsnap, guest, unharmed):
    """The second one's frozen image is the first one's overlay: the newest is merged first."""
    first = vmsnap.create(guest.name, "--memory=none", "--quiesce=off")
    second = vmsnap.create(guest.name, "--memory=none", "--quiesce=off")
    assert [d["frozen_image"] for d in second["disks"]] == [d["overlay"] for d in first["disks"]]
    vmsnap.fails(REFUSED, "drop", guest.name, "--snapshot", first["id"], says=["newer"])
    exported = vmsnap.json("export", "--snapshot", first["id"], "--to", "dir")
    assert exported["snapshot"]["status"] == "exported"
    assert "overlays-kept" in [note["code"] for note in exported["snapshot"]["notes"]]
    newest = vmsnap.json("export", guest.name, "--to", "dir")["snapshot"]
    assert newest["id"] == second["id"] and newest["status"] == "done"
    assert domains.sources(guest.domain) == {d["target"]: d["overlay"] for d in first["disks"]}
    assert vmsnap.json("commit", guest.name)["snapshot"]["id"] == first["id"]
    for snapshot in (exported["snapshot"], newest):
        vmsnap.run("verify", snapshot["repository"]["snapshot"], "--from", "dir")


def test_overlay_merged_by_somebody_else(vmsnap, guest, unharmed):
    """The frozen image has changed: exporting it would store a mixture, so it is refused."""
    record = vmsnap.create(guest.name, "--memory=none", "--quiesce=off")
    disk = record["disks"][0]
    guest.commit_by_hand(disk["target"])
    refused = vmsnap.start("export", guest.name, "--to", "dir").wait()
    assert refused.status != 0 and disk["target"] in refused.err
    vmsnap.run("drop", guest.name)


def test_replaced_overlay_is_not_deleted(vmsnap, shut_off):
    """P3: a file under an overlay's name that is not ours is left alone."""
    record = vmsnap.create(shut_off.name)
    path = record["disks"][0]["overlay"]
    shut_off.point_back()
    with open(path + ".other", "w") as file:
        file.write("precious")
    shut_off.rename(path, path + ".ours")
    shut_off.rename(path + ".other", path)
    dropped = vmsnap.start("drop", shut_off.name).wait()
    assert dropped.status != 0 and path in dropped.err
    with open(path) as file:
        assert file.read() == "precious"
    shut_off.rename(path + ".ours", path)
    vmsnap.run("drop", shut_off.name)


def test_merge_that_failed_is_no_snapshot_any_more(vmsnap, shut_off):
    """What it has written into the frozen image, nobody knows: it is not exported once more."""
    record = vmsnap.create(shut_off.name)
    vmsnap.run("export", shut_off.name, "--to", "dir", "--keep-overlays")
    with open(shut_off.originals["vdb"], "rb") as image:
        fcntl.lockf(image, fcntl.LOCK_SH, 1, NOT_SHARED + WRITE)
        vmsnap.fails(FAILED, "commit", shut_off.name, says=["vdb"])
    [left] = vmsnap.on_host(shut_off.name)
    assert left["status"] == "exported"
    assert "merge-begun" in [note["code"] for note in left["notes"]]
    vmsnap.fails(REFUSED, "export", "--snapshot", record["id"], "--to", "s3",
                 says=[record["id"], "vmsnap commit"])
    assert vmsnap.json("commit", shut_off.name)["snapshot"]["status"] == "done"


def test_overlay_of_a_detached_disk_is_not_deleted(vmsnap, shut_off):
    """P2: it is the only place of what was written since; it is kept until the disk is back. The others are merged."""
    record = vmsnap.create(shut_off.name)
    overlay, other = [disk["overlay"] for disk in record["disks"]]
    vda = domains.disk("vda", overlay)
    shut_off.domain.detachDeviceFlags(vda, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    vmsnap.fails(REFUSED, "drop", shut_off.name, says=["vda", overlay, "attach it again"])
    assert Path(overlay).exists() and not Path(other).exists()
    assert domains.sources(shut_off.domain) == {"vdb": shut_off.originals["vdb"]}
    shut_off.domain.attachDeviceFlags(vda, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    vmsnap.run("drop", shut_off.name)
    assert not vmsnap.on_host(shut_off.name) and not Path(overlay).exists()


@pytest.mark.parametrize("to", ["dir", "s3"])
def test_lost_host(vmsnap, shut_off, to):
    """Domain and images gone: the same name, UUID, MAC and places come back, bit by bit the same.
    The restoring vmsnap knows nothing but the repository."""
    vmsnap.run("create", shut_off.name)
    snapshot = vmsnap.export_id(shut_off.name, "--to", to)
    before = ElementTree.fromstring(shut_off.domain.XMLDesc())
    domains.remove(shut_off.name)
    for path in shut_off.originals.values():
        shut_off.delete(path)
    bare = vmsnap.with_state(vmsnap.folder / f"bare-{to}")
    restored = bare.json("restore", "latest" if to == "s3" else snapshot[:10], "--from", to)
    assert {d["target"]: d["path"] for d in restored["disks"]} == shut_off.originals
    after = ElementTree.fromstring(shut_off.domain.XMLDesc())
    for what in ("name", "uuid", "memory", "vcpu"):
        assert after.findtext(what) == before.findtext(what)
    mac = "devices/interface/mac"
    assert after.find(mac).get("address") == before.find(mac).get("address")
    shut_off.is_untouched()


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_single_disk(vmsnap, stored, images, format):
    """--disk: an image and no domain."""
    folder = images / f"single-{format}"
    folder.mkdir()
    restored = vmsnap.json("restore", stored.snapshot, "--from", stored.to, "--disk", "vdb",
                           "--disks-to", folder, "--format", format)
    [disk] = restored["disks"]
    assert disk["target"] == "vdb" and disk["format"] == format
    assert domains.image_sha256(disk["path"], format, folder) == stored.sha256["vdb"]
    assert oct(folder.joinpath(disk["path"]).stat().st_mode & 0o777) == "0o600"


def test_memory_of_an_agentless_guest(vmsnap, blank, images):
    """Nothing to thaw, nobody to ask: it comes back running all the same."""
    image = domains.make_image(images / "plain.qcow2", "qcow2", 16 << 20, 1)
    blank("plain", [domains.disk("vda", image)])
    document = vmsnap.json("backup", "plain", "--memory=live", "--to", "dir")
    snapshot = document["snapshot"]["repository"]["snapshot"]
    folder = images / "plain-copy"
    folder.mkdir()
    folder.chmod(0o711)
    restored = vmsnap.json("restore", snapshot, "--from", "dir", "--as", "plain-copy", "--disks-to",
                           folder)
    assert restored["memory"] and restored["thawed_filesystems"] == 0
    assert domains.find("plain-copy").isActive()
    domains.remove("plain-copy")


def test_memory_asked_where_there_is_none(vmsnap, stored, images):
    vmsnap.fails(REFUSED, "restore", stored.snapshot, "--from", stored.to, "--as", "no-memory",
                 "--memory", "--disks-to", images, says=["memory"])
    assert domains.find("no-memory") is None


def test_list_without_libvirt(vmsnap, stored):
    """list and show of what is stored need no libvirt."""
    env = {"LIBVIRT_DEFAULT_URI": "qemu+unix:///system?socket=/nonexistent"}
    assert vmsnap.json("list", "--from", stored.to, env=env)["snapshots"]
    vmsnap.run("show", stored.snapshot, "--from", stored.to, env=env)
    vmsnap.fails(NOT_FOUND, "show", "0000000000", env=env)
