# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmsnap recover: what a vmsnap that was killed has left, on a running guest and on one that is off."""
import contextlib
import os
import signal
import sqlite3

import libvirt
import pytest

import domains
from test_interrupt import points, strike
from tool import BUSY, DONE, NOT_FOUND, REFUSED, stopped

DISKS = ["--memory=none", "--quiesce=off"]


def status(vmsnap, record):
    """Asked of the catalog itself: a vmsnap that is started meanwhile would change the timing."""
    with contextlib.closing(sqlite3.connect(vmsnap.state / "vmsnap.db")) as db:
        rows = db.execute("SELECT status FROM snapshots WHERE id = ?", (record["id"],)).fetchall()
    return rows[0][0] if rows else None


def reason(vmsnap, record):
    """Why it ended, or is to end."""
    with contextlib.closing(sqlite3.connect(vmsnap.state / "vmsnap.db")) as db:
        return db.execute("SELECT reason FROM snapshots WHERE id = ?", (record["id"],)).fetchone()[0]


def begun(vmsnap):
    """Any that is being taken."""
    with contextlib.closing(sqlite3.connect(vmsnap.state / "vmsnap.db")) as db:
        return db.execute("SELECT id FROM snapshots WHERE status IN ('preparing', 'capturing')"
                          ).fetchall()


def recover(vmsnap, *args, **options):
    """The document, and that of a dry run before it, which changed nothing."""
    before = vmsnap.json("recover", "--dry-run", *args, **options)
    again = vmsnap.json("recover", "-n", *args, **options)
    for entry in [*before["snapshots"], *again["snapshots"]]:
        entry["snapshot"].pop("growth")  # of this moment, while the guest writes
    assert before == again and before["dry_run"]
    done = vmsnap.json("recover", *args, **options)
    assert not done["dry_run"]
    assert [entry["action"] for entry in done["snapshots"]] == [
        entry["action"] for entry in before["snapshots"]]
    return done


def killed_when(vmsnap, record, wanted, guest, *args):
    """A command on that snapshot that is killed once the catalog says so; QEMU does not work
    meanwhile, so that it cannot have been done."""
    with stopped(guest.qemu_pid()):
        process = vmsnap.start(*args)
        domains.wait_for(lambda: status(vmsnap, record) == wanted, step=0.001)
        process.send(signal.SIGKILL)
        assert process.wait().status == -signal.SIGKILL


def test_nothing_to_do(vmsnap, guest, unharmed):
    assert vmsnap.run("recover").out == "nothing to recover\n"
    document = vmsnap.json("recover", guest.name, guest.uuid)
    assert (document["recovered"], document["failed"], document["snapshots"]) == (0, 0, [])
    vmsnap.fails(NOT_FOUND, "recover", "web02", says=["web02", "virsh list"])


@pytest.mark.parametrize("mode", [DISKS, ["--memory=live"]], ids=["disks", "live"])
def test_killed_create(vmsnap, guest, unharmed, mode):
    """kill -9 anywhere: create says what to do, recover does it, create works again."""
    usual = vmsnap.run("create", guest.name, *mode).seconds
    vmsnap.run("drop", guest.name)
    left = 0
    for after in points(usual, 5):
        strike(vmsnap.start("create", guest.name, *mode), after, signal.SIGKILL)
        guest.wait_idle()
        snapshots = vmsnap.on_host(guest.name)
        if snapshots and snapshots[0]["status"] != "captured":
            left += 1
            id = snapshots[0]["id"]
            vmsnap.fails(REFUSED, "create", guest.name, says=[id, f"vmsnap recover {guest.name}"])
            [entry] = recover(vmsnap)["snapshots"]
            assert (entry["action"], entry["error"]) == ("undo", None)
            assert entry["found"] in ("preparing", "capturing")
            assert entry["snapshot"]["status"] == "failed"
            assert "interrupted" in entry["snapshot"]["reason"]
        for _ in vmsnap.on_host(guest.name):
            vmsnap.run("drop", guest.name)
        unharmed.now()
    print(f"{left} of 5 left something behind")
    assert left > 0
    vmsnap.run("create", guest.name, *DISKS)
    vmsnap.run("drop", guest.name)


def left_capturing(vmsnap, guest):
    """A create of the running guest that was killed while its memory was saved."""
    process = vmsnap.start("create", guest.name, "--memory=live", "--quiesce=off")
    domains.wait_for(lambda: process.has_said("saving memory"), step=0.001)
    process.send(signal.SIGKILL)
    assert process.wait().status == -signal.SIGKILL
    guest.wait_idle()


def test_while_libvirt_goes_on(vmsnap, busy, busy_unharmed):
    """libvirt's own live snapshot does not end with its client: recover ends it before it removes
    what that would write to. (Of a guest whose memory takes a while.)"""
    process = vmsnap.start("create", busy.name, "--memory=live", "--quiesce=off")
    domains.wait_for(lambda: [file for file in (vmsnap.state / "memory").glob("*.save")
                              if file.stat().st_size > 1 << 20], step=0.001)
    process.send(signal.SIGKILL)
    assert process.wait().status == -signal.SIGKILL
    [entry] = vmsnap.json("recover")["snapshots"]
    assert (entry["action"], entry["error"]) == ("undo", None)
    assert busy.domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE


def test_paused_and_frozen(vmsnap, guest, unharmed):
    """Nobody was left to resume and to thaw. (Frozen and paused by hand.)"""
    left_capturing(vmsnap, guest)
    guest.vm.freeze()
    guest.domain.suspend()
    result = vmsnap.run("recover")
    assert "still paused (resumed)" in result.out, result.out
    assert "2 file systems were still frozen (thawed)" in result.out, result.out
    assert "1 recovered, 0 failed" in result.out
    assert domains.state(guest.domain) == libvirt.VIR_DOMAIN_RUNNING
    assert guest.vm.freeze_status() == "thawed"


def test_paused_before(vmsnap, guest, unharmed):
    """A guest that was paused when the snapshot was begun stays so."""
    guest.domain.suspend()
    try:
        process = vmsnap.start("create", guest.name, *DISKS)
        domains.wait_for(lambda: begun(vmsnap), step=0.001)
        process.send(signal.SIGKILL)
        assert process.wait().status == -signal.SIGKILL
        guest.wait_idle()
        assert recover(vmsnap)["recovered"] == 1
        assert domains.state(guest.domain) == libvirt.VIR_DOMAIN_PAUSED
    finally:
        guest.domain.resume()


def test_killed_export(vmsnap, guest, unharmed):
    """It can be exported again; a snapshot that just waits is named and left."""
    name = vmsnap.fresh("dir")
    guest.fill()
    record = vmsnap.create(guest.name, *DISKS)
    waiting = vmsnap.json("recover")
    assert (waiting["recovered"], waiting["waiting"]) == (0, 1)
    assert f"vmsnap export {guest.name}" in waiting["snapshots"][0]["text"]
    process = vmsnap.start("export", guest.name, "--to", name, "--limit-upload=1M")
    domains.wait_for(lambda: status(vmsnap, record) == "exporting", step=0.001)
    process.send(signal.SIGKILL)
    process.wait()
    [entry] = recover(vmsnap)["snapshots"]
    assert (entry["found"], entry["action"]) == ("exporting", "release")
    assert status(vmsnap, record) == "captured"
    assert vmsnap.json("export", guest.name, "--to", name)["snapshot"]["status"] == "done"


def test_killed_merge(vmsnap, guest, unharmed):
    record = vmsnap.create(guest.name, *DISKS)
    vmsnap.run("export", guest.name, "--to", vmsnap.fresh("dir"), "--keep-overlays")
    killed_when(vmsnap, record, "committing", guest, "commit", guest.name)
    [entry] = recover(vmsnap, guest.name)["snapshots"]
    assert (entry["found"], entry["action"]) == ("committing", "merge")
    assert entry["snapshot"]["status"] == "done"


def test_killed_merge_below_a_newer_one(vmsnap, shut_off):
    """The overlays that a newer snapshot stands on are kept, and that is no failure."""
    older = vmsnap.create(shut_off.name)
    vmsnap.run("export", shut_off.name, "--to", vmsnap.fresh("dir"), "--keep-overlays")
    vmsnap.create(shut_off.name)
    with contextlib.closing(sqlite3.connect(vmsnap.state / "vmsnap.db")) as db, db:
        db.execute("UPDATE snapshots SET status = 'committing' WHERE id = ?", (older["id"],))
    document = recover(vmsnap, shut_off.name)
    assert (document["recovered"], document["failed"], document["waiting"]) == (1, 0, 1)
    [entry] = [entry for entry in document["snapshots"] if entry["action"] == "merge"]
    assert entry["snapshot"]["status"] == "exported"
    codes = [note["code"] for note in entry["snapshot"]["notes"]]
    assert "overlays-kept" in codes and "merge-begun" in codes
    vmsnap.fails(REFUSED, "export", "--snapshot", older["id"], "--to", vmsnap.fresh("dir"),
                 says=[older["id"], "vmsnap commit"])
    vmsnap.run("drop", shut_off.name)
    vmsnap.run("commit", shut_off.name)


def test_killed_drop(vmsnap, guest, unharmed):
    """What was given up is given up: it cannot be exported any more, and recover ends the drop."""
    record = vmsnap.create(guest.name, *DISKS)
    with stopped(guest.qemu_pid()):
        process = vmsnap.start("drop", guest.name)
        domains.wait_for(lambda: reason(vmsnap, record), step=0.001)
        process.send(signal.SIGKILL)
        assert process.wait().status == -signal.SIGKILL
    guest.wait_idle()
    says = [record["id"], f"vmsnap recover {guest.name}"]
    vmsnap.fails(REFUSED, "export", guest.name, "--to", vmsnap.fresh("dir"), says=says)
    vmsnap.fails(REFUSED, "create", guest.name, *DISKS, says=says)
    [entry] = recover(vmsnap)["snapshots"]
    assert (entry["found"], entry["action"], entry["error"]) == ("captured", "undo", None)
    assert entry["snapshot"]["status"] == "abandoned"
    assert entry["snapshot"]["reason"] == "dropped by the operator"


def test_somebody_works_on_it(vmsnap, guest, unharmed):
    """Left alone, and said so."""
    guest.fill()
    record = vmsnap.create(guest.name, *DISKS)
    process = vmsnap.start("export", guest.name, "--to", vmsnap.fresh("dir"), "--limit-upload=24M")
    domains.wait_for(lambda: status(vmsnap, record) == "exporting", step=0.001)
    with stopped(process.popen.pid):
        result = vmsnap.run("recover", status=BUSY)
        assert "NOT DONE" in result.out and str(process.popen.pid) in result.out
        [entry] = vmsnap.json("recover", status=BUSY)["snapshots"]
        assert entry["error"]["code"] == "locked"
        assert status(vmsnap, record) == "exporting"
    assert process.wait().status == DONE


def test_changed_images(vmsnap, guest, unharmed):
    """Somebody merged the overlays by hand: the snapshot cannot be had any more, and that is said."""
    vmsnap.create(guest.name, *DISKS)
    for target in guest.originals:
        guest.commit_by_hand(target)
    [entry] = vmsnap.json("recover")["snapshots"]
    assert entry["action"] == "none" and "drop" in entry["text"]
    vmsnap.run("drop", guest.name)


def test_host_went_down(vmsnap, images):
    """Everything was killed at once; the domain is off, its definition on the overlays."""
    domains.make_image(images / "down.qcow2", "qcow2", 32 << 20, 4)
    domains.make_image(images / "down.raw", "raw", 16 << 20, 2)
    original = {"vda": str(images / "down.qcow2"), "vdb": str(images / "down.raw")}
    domain = domains.define("down", [domains.disk("vda", original["vda"], "qcow2"),
                                     domains.disk("vdb", original["vdb"], "raw")])
    sums = [domains.image_sha256(original["vda"], "qcow2", images),
            domains.image_sha256(original["vdb"], "raw", images)]
    domain.create()
    try:
        record = vmsnap.create("down", *DISKS)
        pid = int(open("/run/libvirt/qemu/down.pid", encoding="ascii").read())
        os.kill(pid, signal.SIGKILL)
        domains.wait_for(lambda: not domain.isActive())
        with contextlib.closing(sqlite3.connect(vmsnap.state / "vmsnap.db")) as db, db:
            db.execute("UPDATE snapshots SET status = 'capturing' WHERE id = ?", (record["id"],))
        assert domains.sources(domain) != original
        done = recover(vmsnap, "down")
        assert (done["recovered"], done["failed"]) == (1, 0)
        assert domains.sources(domain) == original
        assert domains.folder_files(images) == ["down.qcow2", "down.raw"]
        assert sums == [domains.image_sha256(original["vda"], "qcow2", images),
                        domains.image_sha256(original["vdb"], "raw", images)]
    finally:
        domains.remove("down")


def test_one_that_fails_keeps_no_other(vmsnap, guest, unharmed, shut_off):
    """The other domain's overlay is gone: that is said, this one is put right."""
    record = vmsnap.create(shut_off.name)
    with contextlib.closing(sqlite3.connect(vmsnap.state / "vmsnap.db")) as db, db:
        db.execute("UPDATE snapshots SET status = 'capturing' WHERE id = ?", (record["id"],))
    overlay = record["disks"][0]["overlay"]
    os.rename(overlay, overlay + ".away")
    left_capturing(vmsnap, guest)
    result = vmsnap.start("recover", "--json").wait()
    assert result.status not in (DONE, BUSY)
    by = {entry["snapshot"]["domain"]["name"]: entry for entry in result.json["snapshots"]}
    assert by[guest.name]["error"] is None and by[shut_off.name]["error"]["message"]
    unharmed.now()
    os.rename(overlay + ".away", overlay)
    assert recover(vmsnap)["recovered"] == 1
    shut_off.is_untouched()
