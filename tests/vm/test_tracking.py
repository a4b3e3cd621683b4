# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an export reads and stores when something is known of what has changed; and that it reads
everything where that knowledge is worth nothing. Each export's disks are compared with the frozen
images bit by bit: a missed change would be a corrupt backup that nobody notices."""
import contextlib
import glob
import shutil
import sqlite3

import libvirt
import pytest

import domains
from tracked import MIB, Tracked, making, methods, reasons


@pytest.fixture
def make(vmsnap, images):
    def create(name="tracked", formats=None, kind=Tracked, **options):
        return kind(vmsnap, images, name, formats or {"vda": "raw", "vdb": "raw"}, **options)
    with making(create) as make:
        yield make


def overwrite(domain, target="vda"):
    """Data, zeroes, a discard; across borders of chunks, and at both ends of the disk."""
    for command in ("write -P 17 1020k 8k", "write -z 3M 1M", "discard 5M 2M", "write -P 18 0 512",
                    f"write -P 19 {domain.size - 512} 512", "write -P 20 9M 64k"):
        domain.io(target, command)


def test_overlays_tell_what_changed(make):
    domain = make()
    assert reasons(domain.snapshot()) == {"vda": "first-snapshot", "vdb": "first-snapshot"}
    first = domain.stored
    overwrite(domain)
    found = domain.snapshot()
    assert methods(found) == {"vda": "overlay", "vdb": "overlay"}
    assert found["vda"]["parent"] == found["vdb"]["parent"] == first
    assert 3 * MIB < found["vda"]["bytes_changed"] < 4 * MIB and not found["vdb"]["bytes_changed"]
    assert domain.last["stats"]["full_reason"] is None
    assert domain.last["stats"]["bytes_read"] < 12 * MIB
    # a disk that did not change is stored as the folder it was
    before, after = domain.subtrees(first), domain.subtrees(domain.stored)
    assert before["vdb"] == after["vdb"] and before["vda"] != after["vda"]
    shown = domain.vmsnap.json("show", domain.stored, "--from", domain.to)["snapshot"]
    assert {disk["target"]: disk["tracking"] for disk in shown["disks"]} == found
    # what the overlay of a snapshot that was merged held lies in the one below
    second = domain.stored
    domain.io("vdb", "write -P 30 2M 100k")
    domain.snapshot(keep=False)
    domain.io("vda", "discard 9M 64k")
    found = domain.snapshot()
    assert methods(found) == {"vda": "overlay", "vdb": "overlay"}
    assert found["vda"]["parent"] == second
    domain.commit_all()
    assert domain.restic.run("check", "--read-data")


def test_same_bytes_are_the_same_folder(make):
    domain = make(start=False)
    domain.snapshot()
    first = domain.subtrees(domain.stored)
    domain.io("vda", "write -P 1 20M 1M")
    domain.snapshot()
    second = domain.subtrees(domain.stored)
    domain.io("vda", "write -P 1 20M 1M")
    found = domain.snapshot()
    assert found["vda"]["bytes_changed"] >= MIB
    assert first["vda"] != second["vda"] == domain.subtrees(domain.stored)["vda"]


def test_snapshots_that_were_not_stored_are_stepped_over(make):
    domain = make()
    domain.snapshot()
    first = domain.stored
    domain.io("vda", "write -P 1 2M 64k")
    domain.create()
    domain.io("vda", "write -P 2 4M 64k")
    found = domain.snapshot()
    assert found["vda"]["method"] == "overlay" and found["vda"]["parent"] == first


def forget(domain):
    domain.restic.run("forget", domain.stored)


def damage(domain):
    """A pack full of chunks is gone and the index says so, as after a repair. The manifest and the
    content list, which were stored last, are still there."""
    packs = (domain.vmsnap.places[domain.to]["folder"] / "data").rglob("*")
    max((pack for pack in packs if pack.is_file()), key=lambda pack: pack.stat().st_size).unlink()
    domain.restic.run("rebuild-index")
    assert domain.restic.dump_sha256(domain.stored, f"/{domain.name}/vmsnap.json")


def merge_by_hand(domain):
    live = domain.domain
    for target in domain.paths:
        live.blockCommit(target, None, None, 0, libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE)

        def pivoted():
            try:
                live.blockJobAbort(target, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
                return True
            except libvirt.libvirtError:
                return False
        domains.wait_for(pivoted)


def merge_offline(domain):
    """qemu-img commit empties the overlay and leaves it in its place."""
    for target in domain.paths:
        domains.qemu_img("commit", "-f", "qcow2", domains.sources(domain.domain)[target])


def replace(domain):
    domain.commit_all()
    domain.domain.destroy()
    path = domain.paths["vda"]
    copy = path.with_suffix(".copy")
    shutil.copyfile(path, copy)
    copy.rename(path)
    path.chmod(0o600)
    domain.domain.create()


def resize(domain):
    for target in domain.paths:
        domain.domain.blockResize(target, domain.size + MIB, 1)


def older_catalog(domain):
    """The catalog of a vmsnap that did not record what tracking needs."""
    with contextlib.closing(sqlite3.connect(domain.vmsnap.state / "vmsnap.db")) as database:
        database.executescript("".join(
            f"ALTER TABLE {table} DROP COLUMN {column};" for table, column in [
                ("snapshots", "was_running"), ("snapshots", "sequence"), *(("disks", column) for column in (
                    "chain", "bitmap", "tracking", "parent", "bytes_changed", "full_reason", "pressed"))])
            + "DROP TABLE holds; DROP TABLE restored_files; DROP TABLE restores; DROP TABLE exports;"
            "PRAGMA user_version = 3;")


BROKEN = {
    "parent forgotten": (forget, "parent-missing"),
    "parent damaged": (damage, "parent-damaged"),
    "merged by hand": (merge_by_hand, "tracking-broken"),
    "merged offline": (merge_offline, "tracking-broken"),
    "replaced": (replace, "disk-replaced"),
    "resized": (resize, "size-changed"),
    "overlays merged": (lambda domain: domain.commit_all(), "no-tracking"),
    "older catalog": (older_catalog, "parent-not-exported"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(make, name):
    """All is read and it says why; the disks are right all the same."""
    breakage, reason = BROKEN[name]
    size = {"size": 48 * MIB, "data": 44} if name == "parent damaged" else {}
    domain = make(formats={"vda": "raw"}, start=name != "merged offline", **size)
    domain.snapshot()
    overwrite(domain)
    breakage(domain)
    domain.io("vda", "write -P 77 6M 100k")
    found = domain.snapshot()
    assert reasons(found)["vda"] == reason
    assert found["vda"]["method"] == "none" and found["vda"]["parent"] is None
    assert domain.last["stats"]["full_reason"] == reason


def test_another_chunk_size(make):
    domain = make(formats={"vda": "raw"}, start=False)
    domain.snapshot()
    domain.io("vda", "write -P 1 2M 64k")
    assert reasons(domain.snapshot("--chunk-size=512K")) == {"vda": "chunk-size-changed"}
    domain.io("vda", "write -P 2 6M 64k")
    assert methods(domain.snapshot("--chunk-size=512K")) == {"vda": "overlay"}


def test_another_repository(make):
    domain = make()
    domain.snapshot()
    other = domain.vmsnap.fresh("dir")
    assert reasons(domain.snapshot(to=other))["vda"] == "parent-other-repository"
    # and the first one's own is built upon again, over two overlays
    domain.io("vda", "write -P 5 3M 4k")
    found = domain.snapshot()
    assert found["vda"]["method"] == "overlay"


def test_disks_added_and_removed(make):
    domain = make(formats={"vda": "raw"}, start=False)
    domain.snapshot()
    domain.paths["vdb"], domain.formats["vdb"] = domain.folder / "added.raw", "raw"
    domains.make_image(domain.paths["vdb"], "raw", domain.size, 2)
    domain.domain.attachDeviceFlags(domain.disk("vdb"), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    found = domain.snapshot()
    assert methods(found)["vda"] == "overlay" and reasons(found)["vdb"] == "disk-new"
    xml = domains.disk("vda", domains.sources(domain.domain)["vda"])
    domain.domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    found = domain.snapshot()
    assert set(found) == {"vdb"} and found["vdb"]["method"] == "overlay"
    domain.domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_CONFIG)  # else its overlays cannot be dropped


def test_a_failed_export_is_no_parent(make):
    domain = make()
    domain.create()
    in_the_way = domain.vmsnap.places[domain.to]["folder"] / "snapshots"
    in_the_way.write_text("no folder")
    domain.vmsnap.run("export", domain.name, "--to", domain.to, "--keep-overlays", status=1)
    in_the_way.unlink()
    domain.io("vda", "write -P 9 1M 64k")
    assert reasons(domain.snapshot())["vda"] == "parent-not-exported"


def clock_set_back(domain):
    """For vmsnap and what it runs, by 400 days; nobody touches the machine's clock."""
    [library] = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    domain.vmsnap.env.update(LD_PRELOAD=library, FAKETIME="-400d", FAKETIME_DONT_FAKE_MONOTONIC="1",
                             NO_FAKE_STAT="1")


def clock_put_right(domain):
    for name in "LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC", "NO_FAKE_STAT":
        domain.vmsnap.env.pop(name, None)


@pytest.mark.parametrize("keep", [True, False])
def test_clock_set_back(make, keep):
    """What was made last is the newest here, whatever the clock said; and no clock says what has
    changed."""
    domain = make(formats={"vda": "qcow2"})
    method = {"vda": "overlay" if keep else "bitmap"}
    domain.snapshot(keep=keep)
    try:
        clock_set_back(domain)
        domain.io("vda", "write -P 1 2M 64k")
        found = domain.snapshot(keep=keep)
        assert methods(found) == method and found["vda"]["bytes_changed"] >= 64 << 10
        back = domain.stored
        clock_put_right(domain)
        domain.create()
        clock_set_back(domain)
        domain.io("vda", "write -P 2 4M 64k")
        last = domain.create()
        on_host = domain.vmsnap.on_host(domain.name)
        assert on_host[-1]["id"] == last["id"] and on_host[-1]["time"] < on_host[-2]["time"]
        domain.vmsnap.run("drop", domain.name)
        assert last["id"] not in [one["id"] for one in domain.vmsnap.on_host(domain.name)]
    finally:
        clock_put_right(domain)
    domain.vmsnap.run("drop", domain.name)
    domain.io("vda", "write -P 3 6M 64k")
    found = domain.snapshot(keep=keep)
    assert methods(found) == method and found["vda"]["parent"] == back
    times = [entry["time"] for entry in domain.restic.json("snapshots")]
    assert len(times) == 3 and times[0][:4] < times[-1][:4]
    assert domain.restic.run("check", "--read-data")
