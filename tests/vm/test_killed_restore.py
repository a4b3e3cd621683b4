# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmsnap recover after a restore that was killed: what it made is gone, or whole and kept; what is
somebody else's, or was written to since, stays. The next restore clears by itself."""
import contextlib
import os
import signal
import sqlite3
import uuid

import libvirt
import pytest

import domains
from guest import Copy
from restoring import held_in_the_middle, mounts
from test_interrupt import points, strike
from test_memory_restore import Taken
from test_recover import recover
from tool import BUSY, DONE, FAILED, stopped

ID = "0123456789abcdef"


def query(vmsnap, text, *values):
    with contextlib.closing(sqlite3.connect(vmsnap.state / "vmsnap.db", timeout=20)) as db, db:
        return db.execute(text, values).fetchall()


def restores(vmsnap):
    return query(vmsnap, "SELECT id FROM restores")


@pytest.fixture(autouse=True)
def nothing_left(vmsnap):
    """No journal, no lock, no mount, no temporary file after the test."""
    yield
    assert not restores(vmsnap)
    assert not mounts()
    assert not domains.folder_files(vmsnap.folder / "run/restore")
    assert not domains.folder_files(vmsnap.state / "restore")
    assert not list((vmsnap.folder / "run").glob("restore-*.lock"))


@pytest.fixture
def folder(images, request):
    path = images / request.node.name
    path.mkdir()
    path.chmod(0o711)
    return path


def left_something(vmsnap, folder, name):
    return bool(restores(vmsnap) or domains.folder_files(folder) or domains.find(name))


def killed_in_a_disk(vmsnap, args):
    """Killed when its first disk has been begun; it may be quicker now and then."""
    for _ in range(5):
        process = vmsnap.start(*args)
        domains.wait_for(lambda: not process.running() or query(
            vmsnap, "SELECT 1 FROM restored_files WHERE inode != 0"), step=0.001)
        process.send(signal.SIGKILL)
        if process.wait().status == -signal.SIGKILL and restores(vmsnap):
            return
        for file in args[args.index("--disks-to") + 1].iterdir():
            file.unlink()
    raise AssertionError("never killed in time")


def words(stored, folder, *options):
    return ["restore", stored.snapshot, "--from", stored.to, "--disks-to", folder, *options]


def test_killed_anywhere(vmsnap, stored, folder):
    """kill -9 at many points; recover removes all, or keeps it where it was whole."""
    args = words(stored, folder, "--as", "cut-off")
    usual = vmsnap.run(*args).seconds
    domains.remove("cut-off")
    left = 0
    for after in points(usual, 6):
        for file in folder.iterdir():
            file.unlink()
        strike(vmsnap.start(*args), after, signal.SIGKILL)
        (vmsnap.folder / "run/restore-0000000000000000.lock").touch()  # killed too early for a row
        left += left_something(vmsnap, folder, "cut-off")
        document = recover(vmsnap)
        assert document["failed"] == 0
        if domains.find("cut-off"):  # whole: struck at the very end, or after it
            assert len(domains.folder_files(folder)) == 2
            assert [entry["action"] for entry in document["restores"]] in ([], ["keep"])
            domains.remove("cut-off")
            continue
        assert not domains.folder_files(folder)
        assert not restores(vmsnap)
    assert left > 0


def test_next_one_clears(vmsnap, stored, folder):
    """A restore that was killed is simply run again."""
    args = words(stored, folder, "--as", "again")
    killed_in_a_disk(vmsnap, args)
    assert left_something(vmsnap, folder, "again")
    again = vmsnap.run(*args)
    assert "an earlier restore of again was interrupted" in again.err
    assert len(domains.folder_files(folder)) == 2
    domains.remove("again")


def test_living_one(vmsnap, stored, folder):
    """Left alone, by recover and by a second restore of the same name."""
    process = vmsnap.start(*words(stored, folder, "--as", "living"))
    domains.wait_for(lambda: restores(vmsnap), step=0.001)
    with stopped(process.popen.pid):
        [entry] = vmsnap.json("recover", status=BUSY)["restores"]
        assert entry["error"]["code"] == "locked"
        assert "NOT DONE" in vmsnap.run("recover", status=BUSY).out
        vmsnap.fails(BUSY, *words(stored, folder, "--as", "living"), says=str(process.popen.pid))
    assert process.wait().status == DONE
    domains.remove("living")


def test_disks_only(vmsnap, stored, folder):
    """Without a domain, --disk: the same."""
    killed_in_a_disk(vmsnap, words(stored, folder, "--disk=vda"))
    [entry] = recover(vmsnap)["restores"]
    assert entry["domain"] is None
    assert entry["action"] == ("keep" if domains.folder_files(folder) else "remove")


def test_killed_in_memory(vmsnap, guest, images, folder):
    """QEMU had begun to read: the domain, its disks and the dead mount are gone."""
    taken = Taken(vmsnap, guest, vmsnap.fresh("dir"), "off")
    args = ["restore", taken.snapshot, "--from", taken.to, "--as", "half", "--disks-to", folder]
    process = vmsnap.start(*args)
    with held_in_the_middle(process, "half"):
        process.send(signal.SIGKILL)
        assert process.wait().status == -signal.SIGKILL
    [entry] = vmsnap.json("recover")["restores"]
    assert (entry["action"], entry["error"]) == ("remove", None)
    assert domains.find("half") is None
    assert not domains.folder_files(folder)


class Killed:
    """A restored domain, and a journal as one that was killed at its end has left it."""

    def __init__(self, vmsnap, stored, folder, name, memory=0):
        self.vmsnap, self.name, self.folder = vmsnap, name, folder
        result = vmsnap.json(*words(stored, folder, "--as", name))
        self.disks = [disk["path"] for disk in result["disks"]]
        query(vmsnap, "INSERT INTO restores VALUES (?,?,?,?,?,1,?,1,0,0)", ID, result["snapshot"],
              stored.to, name, result["domain"]["uuid"], memory)
        for position, path in enumerate(self.disks):
            st = os.stat(path)
            query(vmsnap, "INSERT INTO restored_files VALUES (?,?,'disk',?,?,?,?)", ID, position,
                  path, st.st_dev, st.st_ino, st.st_mtime_ns)

    @property
    def domain(self):
        return domains.find(self.name)

    def recover(self, action, files=2, **options):
        [entry] = self.vmsnap.json("recover", self.name, **options)["restores"]
        assert entry["action"] == action and entry["domain"]["name"] == self.name
        assert len(domains.folder_files(self.folder)) == files
        return entry


@pytest.fixture
def killed(vmsnap, stored, folder):
    made = []

    def make(name, **options):
        made.append(name)
        return Killed(vmsnap, stored, folder, name, **options)

    yield make
    for name in made:
        domains.remove(name)


def test_whole(killed):
    """Defined and shut off, as it was asked for: kept."""
    one = killed("whole")
    one.recover("keep")
    assert one.domain


def test_without_its_memory(killed):
    """Memory was asked for, and the guest never ran."""
    one = killed("memoryless", memory=1)
    one.recover("remove", files=0)
    assert one.domain is None


def test_runs(killed):
    """It was restored, and nobody was left to say so."""
    one = killed("running", memory=1)
    one.domain.create()
    one.recover("keep")
    assert domains.state(one.domain) == libvirt.VIR_DOMAIN_RUNNING


def test_has_run_since(killed):
    """What the guest wrote is not lost, though it is off again."""
    one = killed("has-run", memory=1)
    os.utime(one.disks[0])
    one.recover("keep")
    assert one.domain


def test_undefined_since(vmsnap, killed):
    """A disk that was written to is left alone, and that is an error until somebody decides."""
    one = killed("undefined", memory=1)
    domains.remove("undefined")
    os.utime(one.disks[0])
    entry = one.recover("remove", files=1, status=FAILED)
    assert one.disks[0] in entry["error"]["message"] and entry["error"]["code"] == "exists"
    os.rename(one.disks[0], one.disks[0] + ".kept")
    one.recover("remove", files=1)


def test_foreign_file(killed):
    """P3: another file of that name is not what was made."""
    one = killed("foreign", memory=1)
    domains.remove("foreign")
    os.rename(one.disks[0], one.disks[0] + ".away")
    with open(one.disks[0], "w", encoding="ascii") as file:
        file.write("mine")
    one.recover("remove", files=2)
    assert open(one.disks[0], encoding="ascii").read() == "mine"


def test_foreign_domain(killed):
    """A domain of that UUID that stands on other disks is somebody else's."""
    one = killed("other", memory=1)
    identity = one.domain.UUIDString()
    domains.remove("other")
    domains.define("other", [], uuid=identity)
    one.recover("remove", files=0)
    assert one.domain.UUIDString() == identity


def test_thaws(vmsnap, guest, images, folder):
    """Frozen when its memory was captured, and killed before the thaw."""
    taken = Taken(vmsnap, guest, vmsnap.fresh("dir"), "require")
    with Copy("frozen-copy") as copy:
        args = ["restore", taken.snapshot, "--from", taken.to, "--as", copy.name, "--disks-to",
                folder]
        process = vmsnap.start(*args)
        domains.wait_for(lambda: (domain := domains.find(copy.name)) and
                         domains.state(domain) == libvirt.VIR_DOMAIN_RUNNING, 60, step=0.001)
        process.send(signal.SIGKILL)
        process.wait()
        recover(vmsnap)
        taken.goes_on(copy)


def test_killed_after_the_snapshot_file(vmsnap, shut_off):
    """An export that stored all and could not enter it is not stored a second time."""
    name = vmsnap.fresh("dir")
    record = vmsnap.create(shut_off.name)
    first = vmsnap.export_id(shut_off.name, "--to", name, "--keep-overlays")
    query(vmsnap, "DELETE FROM exports WHERE snapshot = ?", record["id"])
    query(vmsnap, "UPDATE snapshots SET status = 'exporting', repository = NULL,"
          " repository_snapshot = NULL WHERE id = ?", record["id"])
    [entry] = recover(vmsnap)["snapshots"]
    assert entry["action"] == "release"
    before = vmsnap.stored_bytes(name)
    again = vmsnap.json("export", shut_off.name, "--to", name)
    assert again["snapshot"]["repository"]["snapshot"] == first
    assert again["snapshot"]["status"] == "done"
    assert again["stats"]["bytes_uploaded"] == 0 and vmsnap.stored_bytes(name) == before
    [stored] = vmsnap.json("list", "--from", name)["snapshots"]
    assert stored["snapshot"] == first
    assert {disk["tracking"]["method"] for disk in again["snapshot"]["disks"]} == {"none"}


def test_not_journalled(vmsnap, stored, folder):
    """A catalog that is damaged does not keep anybody from restoring; it is said."""
    state = folder / "state"
    state.mkdir(mode=0o700)
    (state / "vmsnap.db").write_bytes(b"no database" * 1000)
    other = vmsnap.with_state(state)
    result = other.json(*words(stored, folder, "--as", f"n{uuid.uuid4().hex[:6]}"))
    try:
        assert [note["code"] for note in result["notes"]] == ["not-journalled"]
    finally:
        domains.remove(result["domain"]["name"])
