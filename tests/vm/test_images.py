# SPDX-License-Identifier: LGPL-2.1-or-later
"""export --format=qcow2: whatever is in the place is whole, says so truly, and through its backing
files reads as the disk that was frozen, by qemu-img alone."""
import json
import os
import shutil
import signal
import time

import pytest

import domains
import plain
from plain import Plain
from test_bad_store import tmpfs
from test_tracking import merge_by_hand, overwrite, resize
from tool import BUSY, FAILED, INTERRUPTED, NO_SPACE, REFUSED, USAGE
from tracked import MIB, making, methods, reasons

STORES = ["dir", "s3"]


@pytest.fixture
def make(vmsnap, images):
    def create(name="imaged", formats=None, **options):
        return Plain(vmsnap, images, name, formats or {"vda": "raw"}, **options)
    with making(create) as make:
        yield make


@pytest.mark.parametrize("to", STORES)
def test_overlays(make, to):
    """A full image and two on top of it; the frozen disk also where data became zeroes. Its size is
    no multiple of the cluster."""
    domain = make(formats={"vda": "raw", "vdb": "raw"}, to=to, size=24 * MIB + 3 * 512)
    assert reasons(domain.snapshot()) == {"vda": "first-snapshot", "vdb": "first-snapshot"}
    first = domain.manifest["id"]
    assert domain.image()["backing"] is None
    domain.io("vda", "write -P 9 5M 3M")
    overwrite(domain)
    found = domain.snapshot()
    assert methods(found) == {"vda": "overlay", "vdb": "overlay"}
    assert domain.image()["backing"] == domain.image("vdb")["backing"] == first
    assert domain.image()["bytes"] < 5 * MIB and domain.image("vdb")["bytes"] < MIB // 2
    second = domain.manifest["id"]
    domain.io("vda", "write -z 5M 2M")
    found = domain.snapshot(keep=False)
    assert domain.image()["backing"] == second and found["vda"]["bytes_changed"] >= 2 * MIB
    assert domain.image()["bytes"] < MIB // 2  # zeroes over data are no data
    assert domain.images_stored() == sorted([first, second, domain.manifest["id"]])
    stats = domain.last["stats"]
    assert stats["bytes_uploaded"] < MIB and stats["full_reason"] is None


@pytest.mark.parametrize("to", STORES)
def test_bitmaps(make, to):
    domain = make(formats={"vda": "qcow2"}, to=to)
    assert reasons(domain.snapshot(keep=False)) == {"vda": "first-snapshot"}
    assert domain.last["snapshot"]["status"] == "done" and not domain.vmsnap.on_host(domain.name)
    for command in ("write -P 1 1M 100k", "write -z 2M 1M"):
        domain.io("vda", command)
        before = domain.manifest["id"]
        found = domain.snapshot(keep=False)
        assert methods(found) == {"vda": "bitmap"} and domain.image()["backing"] == before


def frozen_disks(record, folder):
    return {disk["target"]: domains.image_sha256(disk["frozen_image"], disk["frozen_format"],
                                                 folder, share=True) for disk in record["disks"]}


@pytest.mark.parametrize("to", STORES)
def test_a_guest(vmsnap, guest, unharmed, images, to):
    """A guest that writes: memory is the libvirt save image that was written, each disk what was
    frozen; two images on top of the full one, by overlays, and by bitmaps where there are such."""
    name = vmsnap.repository(to, False, f"images-guest-{to}")
    formats, parent, first = {}, None, None
    memory_by = {"dir": "none", "s3": "live"}[to]
    for engine, keep in ((memory_by, True), ("none", True), ("none", False)):
        if not keep:
            for snapshot in reversed(vmsnap.on_host(guest.name)):
                vmsnap.run("commit", guest.name, "--snapshot", snapshot["id"])
        record = vmsnap.create(guest.name, f"--memory={engine}", "--quiesce=off")
        formats = formats or {disk["target"]: disk["frozen_format"] for disk in record["disks"]}
        memory = record["memory"] and domains.file_sha256(record["memory"]["path"])
        frozen = frozen_disks(record, images)
        where = vmsnap.json("export", guest.name, "--to", name, "--format=qcow2",
                            *(["--keep-overlays"] if keep else []))["snapshot"]["repository"]
        folder = plain.local(vmsnap, name, images / f"guest-{to}") / where["folder"]
        manifest = plain.check_snapshot(folder)
        for disk in manifest["disks"]:
            target = disk["target"]
            by = ("none" if parent is None else "overlay" if keep else
                  "bitmap" if formats[target] == "qcow2" else "none")
            assert disk["tracking"]["method"] == by, disk
            # the second has no bitmap of its own: an overlay tells more
            below = {"none": None, "overlay": parent, "bitmap": first}[by]
            assert disk["image"]["backing"] == below
            image = folder / disk["image"]["file"]
            assert domains.image_sha256(image, "qcow2", images) == frozen[target]
        if memory:
            saved = folder / "memory.save"
            assert manifest["consistency"] == "memory" and manifest["memory"]["layout"] == "stream"
            assert domains.file_sha256(saved) == memory
            assert saved.open("rb").read(16) == b"LibvirtQemudSave"
        parent = manifest["id"]
        first = first or parent
    shutil.rmtree(images / f"guest-{to}", ignore_errors=True)


def cut_short(domain):
    with open(domain.stored / "vda.qcow2", "r+b") as image:
        image.truncate(domain.image()["bytes"] - 65536)


def without_the_oldest(domain):
    """The full image below the parent."""
    domain.io("vda", "write -P 3 1M 64k")
    oldest = domain.stored
    domain.snapshot()
    (oldest / "vda.qcow2").unlink()


def another_manifest(domain):
    path = domain.stored / "vmsnap.json"
    path.write_text(path.read_text().replace('"host": "', '"host": "x'))


BROKEN = {
    "manifest gone": (lambda domain: (domain.stored / "vmsnap.json").unlink(), "parent-missing"),
    "image gone": (lambda domain: (domain.stored / "vda.qcow2").unlink(), "parent-damaged"),
    "image cut short": (cut_short, "parent-damaged"),
    "another manifest": (another_manifest, "parent-damaged"),
    "oldest gone": (without_the_oldest, "parent-damaged"),
    "merged by hand": (merge_by_hand, "tracking-broken"),
    "resized": (resize, "size-changed"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_no_parent(make, name):
    """A full image, which stands on nothing that was there before, and it says why."""
    breakage, reason = BROKEN[name]
    domain = make()
    domain.snapshot()
    breakage(domain)
    domain.io("vda", "write -P 77 6M 100k")
    found = domain.snapshot()
    assert reasons(found) == {"vda": reason} and domain.image()["backing"] is None
    assert domain.last["stats"]["full_reason"] == reason


def test_another_place(make, vmsnap):
    domain = make()
    domain.snapshot()
    first = domain.to
    domain.to = vmsnap.repository("dir", False, "images-other")
    assert reasons(domain.snapshot())["vda"] == "parent-other-repository"
    domain.to = first
    assert methods(domain.snapshot())["vda"] == "overlay"
    # a repository and a place of images know nothing of each other
    domain.create()
    document = Plain.__mro__[1].export(domain, "--keep-overlays", to=vmsnap.fresh("dir"))
    assert document["stats"]["full_reason"] == "parent-other-repository"
    assert document["snapshot"]["repository"]["format"] == "restic"
    assert document["snapshot"]["repository"]["folder"] is None
    domain.io("vda", "write -P 5 3M 4k")
    assert methods(domain.snapshot())["vda"] == "overlay"


def test_awkward_name(make):
    domain = make(name="Wëb 01.TMP-abcdef", start=False)
    domain.snapshot(keep=False)
    assert domain.stored.parent.name == "w_b_01_tmp-abcdef"
    assert domain.manifest["domain"]["name"] == domain.name


def test_in_the_place_of_others(make, vmsnap, images):
    """Neither a repository nor somebody's files are touched."""
    domain = make(start=False)
    record = domain.create()
    folder = images / "others"
    folder.mkdir()
    (folder / "letter").write_text("dear")
    repository = vmsnap.fresh("dir")
    for to, says in ((folder, ["not empty", "letter"]), (repository, ["repository"])):
        before = plain.files_below(folder)
        vmsnap.fails(REFUSED, "export", domain.name, "--to", to, "--format=qcow2", says=says)
        vmsnap.fails(REFUSED, "backup", domain.name, "--to", to, "--format=qcow2", says=says)
        assert [left["id"] for left in vmsnap.on_host(domain.name)] == [record["id"]]
        assert plain.files_below(folder) == before
    (folder / "letter").unlink()
    folder.rmdir()
    folder.write_text("no folder")
    vmsnap.fails(FAILED, "export", domain.name, "--to", folder, "--format=qcow2", says=str(folder))
    folder.unlink()
    vmsnap.fails(USAGE, "export", domain.name, "--to", folder, "--format=qcow2", "--threads=2",
                 says="--threads")
    assert not folder.exists()
    domain.compare(domain.export(), {})
    document = vmsnap.json("backup", domain.name, "--to", domain.to, "--format=qcow2")
    assert document["snapshot"]["repository"]["format"] == "qcow2"
    assert len(domain.images_stored()) == 2


def test_full(make, vmsnap, tmp):
    domain = make(start=False)
    record = domain.create()
    with tmpfs(tmp / "full-images", "3m") as folder:
        name = vmsnap.add("full-images", url=folder / "place")
        vmsnap.fails(NO_SPACE, "export", domain.name, "--to", name, "--format=qcow2",
                     says=[domain.name, "vda"])
        assert plain.files_below(folder / "place") == {plain.MARK}
    assert vmsnap.json("show", record["id"])["snapshot"]["status"] == "captured"
    domain.compare(domain.export(), {})


@pytest.mark.parametrize("to, number", [("dir", signal.SIGKILL), ("dir", signal.SIGINT),
                                        ("s3", signal.SIGKILL)])
def test_ended_early(make, vmsnap, to, number):
    """Nothing half is there for anyone, and the next run begins anew. Two at once: one is told."""
    domain = make(formats={"vda": "raw", "vdb": "raw"}, start=False, to=to)
    domain.snapshot()
    before = domain.images_stored()
    domain.io("vdb", "write -P 66 2M 9M")
    record = domain.create()
    args = ["export", domain.name, "--to", domain.to, "--format=qcow2"]
    slow = vmsnap.start(*args, "--limit-read=1M", "--progress=json")
    try:
        domains.wait_for(lambda: slow.has_said('"vdb"'))
        other = vmsnap.start(*args).wait()
        assert other.status == BUSY, other
    finally:
        slow.send(number)
        result = slow.wait()
    assert result.status == (INTERRUPTED if number == signal.SIGINT else -number), result
    assert domain.images_stored() == before
    frozen = frozen_disks(record, domain.folder)
    found = domain.compare(domain.export(), frozen)
    assert methods(found) == {"vda": "overlay", "vdb": "overlay"}
    assert domain.images_stored() == sorted([*before, record["id"]])


def test_killed_after_the_manifest(make, vmsnap):
    """The catalog does not know of it: what is whole is taken, what is not is stored anew."""
    domain = make(start=False)
    record = domain.create()
    saved = vmsnap.folder / "saved-state"
    shutil.copytree(vmsnap.state, saved)

    def again():
        shutil.rmtree(vmsnap.state)
        shutil.copytree(saved, vmsnap.state)
        domain.compare(domain.export("--keep-overlays"), {})
        return domain.last

    domain.compare(domain.export("--keep-overlays"), {})
    first = domain.last["snapshot"]["repository"]
    last = again()
    assert last["snapshot"]["repository"] == first and last["stats"]["bytes_uploaded"] == 0
    assert last["snapshot"]["disks"][0]["tracking"]["full_reason"] == "first-snapshot"
    cut_short(domain)
    assert again()["stats"]["bytes_uploaded"] > 6 * MIB
    shutil.rmtree(saved)
    domain.io("vda", "write -P 5 3M 4k")
    assert methods(domain.snapshot())["vda"] == "overlay"
    assert domain.image()["backing"] == record["id"]


def test_leftovers(make):
    """Of uploads that were killed: what is older than a day goes, what is somebody's work stays."""
    domain = make(start=False)
    domain.snapshot()
    left = {age: domain.stored.parent / f"vda.qcow2.tmp-{age:06d}" for age in (1, 25)}
    for age, path in left.items():
        path.touch()
        os.utime(path, times=(time.time() - age * 3600,) * 2)
    domain.snapshot()
    assert left[1].exists() and not left[25].exists()


def test_opened_by_qemu_from_elsewhere(make, images):
    """The folder may be moved and copied as a whole."""
    domain = make()
    domain.snapshot()
    domain.io("vda", "write -P 5 3M 4k")
    domain.snapshot()
    sha256 = domains.image_sha256(domain.stored / "vda.qcow2", "qcow2", images)
    copy = images / "copy"
    shutil.copytree(domain.place, copy)
    shutil.rmtree(domain.place)
    moved = copy / domain.stored.relative_to(domain.place) / "vda.qcow2"
    assert domains.image_sha256(moved, "qcow2", images) == sha256
    chain = json.loads(domains.qemu_img("info", "--backing-chain", "--output=json", moved))
    assert len(chain) == 2
    shutil.rmtree(copy)
