# SPDX-License-Identifier: LGPL-2.1-or-later
"""From plain images back to a guest that goes on, and to disks bit for bit as they were frozen."""
import subprocess
import xml.etree.ElementTree as ET

import pytest

import domains
from guest import Copy, Guest
from restoring import mounts
from test_interrupt import interrupt_restore
from test_memory_restore import is_gone
from tool import DAMAGED


def frozen_disks(record, folder):
    return {disk["target"]: domains.image_sha256(disk["frozen_image"], disk["frozen_format"], folder,
                                                 share=True) for disk in record["disks"]}


class Stored:
    """Two snapshots with memory in one place: of every disk a full image and an overlay."""

    def __init__(self, vmsnap, guest, images, to):
        self.name = vmsnap.repository(to, False, f"back-{guest.name}-{to}")
        for _ in range(2):
            self.before = guest.beat()
            record = vmsnap.create(guest.name, "--memory=live", "--quiesce=off")
            self.disks = frozen_disks(record, images)
            where = vmsnap.json("export", guest.name, "--to", self.name, "--format=qcow2",
                                "--keep-overlays")["snapshot"]["repository"]
            self.snapshot, self.folder = where["snapshot"], where["folder"]
        for snapshot in reversed(vmsnap.on_host(guest.name)):
            vmsnap.run("commit", guest.name, "--snapshot", snapshot["id"])

    def words(self, name, folder, *options):
        folder.mkdir()
        folder.chmod(0o711)
        return ["restore", self.snapshot, "--from", self.name, "--as", name, "--disks-to", folder, *options]


@pytest.fixture(scope="module", params=["dir", "s3"])
def stored(vmsnap, guest, images, request):
    return Stored(vmsnap, guest, images, request.param)


@pytest.fixture(autouse=True)
def nothing_left(vmsnap):
    yield
    assert not mounts() and not domains.folder_files(vmsnap.state / "restore")


def test_guest_goes_on(vmsnap, images, stored):
    with Copy(f"plain-{stored.name}") as copy:
        folder = images / f"goes-on-{stored.name}"
        document = vmsnap.json(*stored.words(copy.name, folder))
        assert document["memory"] and document["started"] and document["memory_source"] == "file"
        first = copy.first_beat()
        assert first.nonce == stored.before.nonce and first.tick > stored.before.tick
        later = copy.writes_on()
        assert later.nonce == first.nonce and later.tick > first.tick
        assert later.errors == 0 and later.bad_pages == 0
        assert {path.parent for path in folder.rglob("*")} == {folder}  # no temporary directory


@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_disks(vmsnap, images, stored, form):
    folder = images / f"disks-{stored.name}-{form}"
    folder.mkdir()
    targets = [word for target in stored.disks for word in ("--disk", target)]
    document = vmsnap.json("restore", stored.snapshot, "--from", stored.name, "--disks-to", folder,
                           *targets, "--format", form)
    assert {disk["target"]: domains.image_sha256(disk["path"], form, images)
            for disk in document["disks"]} == stored.disks
    assert vmsnap.json("verify", stored.snapshot, "--from", stored.name)["disks"] == len(stored.disks)


@pytest.mark.parametrize("stored", ["dir"], indirect=True, scope="module")
def test_interrupted(vmsnap, images, stored):
    folder = images / "images-halfway"
    interrupt_restore(vmsnap, folder.name, folder,
                      stored.words(folder.name, folder, "--no-memory"))


def virsh(*words):
    done = subprocess.run(["virsh", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def edited(definition, paths):
    """What docs/images.md says to do with the definition in a save image."""
    root = ET.fromstring(definition)
    for disk in root.findall("devices/disk"):
        path = paths[disk.find("target").get("dev")]
        disk.find("source").set("file", path)
        disk.find("driver").set("type", "qcow2" if path.endswith("qcow2") else "raw")
        disk.remove(disk.find("backingStore"))
    return ET.tostring(root, encoding="unicode")


def test_without_vmsnap(vmsnap, images):
    """With qemu-img and virsh only, from overlays and a cut on top of a kept overlay."""
    with Guest("by-hand") as guest:
        stored = Stored(vmsnap, guest, images, "dir")
        place = vmsnap.places[stored.name]["folder"] / stored.folder
        guest.silence()
        guest.domain.destroy()
        for target, path in guest.originals.items():
            domains.qemu_img("convert", "-O", "qcow2" if path.endswith("qcow2") else "raw",
                             place / f"{target}.qcow2", path)
        save, restore = place / "memory.save", images / "restore.xml"
        restore.write_text(edited(virsh("save-image-dumpxml", save, "--security-info"), guest.originals))
        virsh("restore", save, "--xml", restore)
        first = guest.first_beat()
        assert first.nonce == stored.before.nonce and first.tick > stored.before.tick
        later = guest.writes_on()
        assert later.tick > first.tick


@pytest.mark.parametrize("stored", ["dir"], indirect=True, scope="module")
def test_damaged_memory(vmsnap, images, stored):
    """It comes last: the disks that are there by then, and the definition, go again."""
    with (vmsnap.places[stored.name]["folder"] / stored.folder / "memory.save").open("r+b") as memory:
        memory.seek(-5000, 2)
        byte = memory.read(1)
        memory.seek(-5000, 2)
        memory.write(bytes([byte[0] ^ 1]))
    folder = images / "damaged-memory"
    vmsnap.fails(DAMAGED, *stored.words("damaged-memory", folder), says=["memory", "memory.save is damaged"])
    is_gone("damaged-memory", folder)
