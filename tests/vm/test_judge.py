# SPDX-License-Identifier: LGPL-2.1-or-later
"""The foreign judge: a tool that no one here wrote reads what vmsnap stored, on both stores."""
import shutil
import subprocess

import pytest

import domains
import s3

STORES = ("dir", "s3")


@pytest.fixture(scope="module", params=STORES)
def judged(request, vmsnap, guest, tmp):
    """A snapshot of the running guest, its overlays kept, so that the frozen images stay."""
    to = request.param
    record = vmsnap.create(guest.name, "--memory=none", "--quiesce=require")
    snapshot = vmsnap.export_id(guest.name, "--to", to, "--keep-overlays")
    yield record, snapshot, vmsnap.restic(to)
    vmsnap.run("commit", guest.name)


def test_check_reads_every_byte(judged):
    _, _, restic = judged
    assert "no errors were found" in restic.run("check", "--read-data")


def frozen_sha256(disk, tmp):
    """Of the image that vmsnap froze, as qemu-img reads it."""
    return domains.image_sha256(disk["frozen_image"], disk["frozen_format"], tmp, share=True)


def test_disks_are_the_frozen_images(judged, tmp):
    """restic's disk.raw has the SHA-256 of what qemu-img reads from the image vmsnap froze."""
    record, snapshot, restic = judged
    assert {disk["target"] for disk in record["disks"]} == {"vda", "vdb"}
    for disk in record["disks"]:
        frozen = frozen_sha256(disk, tmp)
        file = f"/{record['domain']['name']}/{disk['target']}/disk.raw"
        dumped = restic.dump_sha256(snapshot, file)
        assert dumped == frozen, disk["target"]


def test_restic_restores_files(judged, tmp, guest):
    record, snapshot, restic = judged
    target = tmp / "by-restic"
    restic.run("restore", snapshot, "--target", target)
    try:
        for disk in record["disks"]:
            file = target / guest.name / disk["target"] / "disk.raw"
            assert domains.file_sha256(file) == frozen_sha256(disk, tmp)
    finally:
        shutil.rmtree(target)


def test_sensible_names(judged, guest):
    record, snapshot, restic = judged
    [listed] = [s for s in restic.json("snapshots") if s["id"] == snapshot]
    host = subprocess.run(["hostname"], capture_output=True, text=True).stdout.strip()
    assert listed["hostname"] == host
    assert listed["paths"] == [f"/{guest.name}"]
    assert set(listed["tags"]) >= {"vmsnap", f"domain={guest.name}", f"uuid={guest.uuid}",
                                     "consistency=quiesced"}
    names = restic.ls(snapshot)
    for path in ("vmsnap.json", "domain.xml", "vda/disk.raw", "vdb/disk.raw"):
        assert f"/{guest.name}/{path}" in names
    assert names[f"/{guest.name}/vda/disk.raw"]["size"] == guest.capacity("vda")
    assert restic.json("stats", snapshot)["total_size"] >= guest.capacity("vda")


@pytest.mark.parametrize("to", STORES)
def test_unchanged_guest_uploads_next_to_nothing(vmsnap, guest, to):
    """The second snapshot of a guest that writes nothing uploads under 1 % of the first. (Frozen by
    hand before: with each freeze and now and then, file systems write to their super blocks.)"""
    name = vmsnap.fresh(to)
    guest.fill()
    with guest.frozen():
        sizes, uploads = [0], []
        for _ in range(2):
            vmsnap.run("create", guest.name, "--memory=none", "--quiesce=off")
            stats = vmsnap.json("export", guest.name, "--to", name)["stats"]
            uploads.append(stats["bytes_uploaded"])
            sizes.append(vmsnap.stored_bytes(name))
    first, second = (b - a for a, b in zip(sizes, sizes[1:]))
    print(f"{to}: {first} bytes, then {second}; by its own count {uploads}")
    assert first > 8 << 20
    assert second < first / 100
    assert uploads[1] < uploads[0] / 100


@pytest.mark.parametrize("to", STORES)
def test_repository_made_by_restic(vmsnap, shut_off, to):
    name = vmsnap.fresh(to, init=False)
    restic = vmsnap.restic(name)
    restic.run("init", "--repository-version", "2")
    vmsnap.run("create", shut_off.name)
    snapshot = vmsnap.export_id(shut_off.name, "--to", name)
    assert "no errors were found" in restic.run("check", "--read-data")
    assert restic.dump_sha256(snapshot, f"/{shut_off.name}/vda/disk.raw") == shut_off.sha256["vda"]
    vmsnap.run("verify", snapshot, "--from", name)


def test_s3_objects_stay_below_the_prefix(vmsnap, judged):
    """The repository's objects, and nothing else, are below its prefix."""
    prefix = vmsnap.places["s3"]["prefix"]
    folders = {key[len(prefix) + 1:].split("/")[0] for key in s3.objects(prefix + "/")}
    assert folders <= {"config", "keys", "data", "index", "snapshots", "locks"}
