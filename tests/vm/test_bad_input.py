# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bad input gets a clear error and nothing is lost: names, identities, domains and disks."""
import fcntl
import re
import signal
import sqlite3

import libvirt
import pytest

import cow
import domains
from tool import AUTH, BUSY, DONE, FAILED, NOT_FOUND, REFUSED, USAGE

UNKNOWN = "feedfacefeedface"


@pytest.mark.parametrize("command", [
    ("check", "nosuch"), ("create", "nosuch"), ("backup", "nosuch", "--to", "dir")])
def test_unknown_domain(vmsnap, command):
    vmsnap.fails(NOT_FOUND, *command, says=["nosuch"])


@pytest.mark.parametrize("command", [
    ("show", UNKNOWN), ("export", "--snapshot", UNKNOWN, "--to", "dir"),
    ("show", UNKNOWN, "--from", "dir"), ("restore", UNKNOWN, "--from", "dir"),
    ("verify", UNKNOWN, "--from", "dir"), ("verify", UNKNOWN, "--from", "s3"),
    ("commit", "off", "--snapshot", UNKNOWN), ("drop", "off", "--snapshot", UNKNOWN)])
def test_unknown_snapshot(vmsnap, shut_off, command):
    vmsnap.fails(NOT_FOUND, *command, says=[UNKNOWN])


def test_nothing_to_export(vmsnap, shut_off):
    vmsnap.fails(NOT_FOUND, "export", shut_off.name, "--to", "dir", says=[shut_off.name])
    vmsnap.fails(NOT_FOUND, "commit", shut_off.name, says=[shut_off.name])


def test_unknown_repository(vmsnap, captured):
    """The configured names are told; the snapshot is still there afterwards."""
    vmsnap.fails(NOT_FOUND, "export", captured.name, "--to", "nosuch", says=["nosuch", "dir", "s3"])
    vmsnap.fails(NOT_FOUND, "list", "--from", "nosuch", says=["nosuch"])
    vmsnap.fails(NOT_FOUND, "init", "nosuch", says=["nosuch"])
    captured.is_captured()


def test_no_repository_there(vmsnap, captured, tmp):
    """A place without a repository is named, and init is offered."""
    name = vmsnap.add("empty", url=tmp / "empty-place")
    (tmp / "empty-place").mkdir()
    vmsnap.fails(NOT_FOUND, "export", captured.name, "--to", name, says=["empty-place", "init"])
    assert not list((tmp / "empty-place").iterdir())
    captured.is_captured()


def test_init_twice(vmsnap):
    for name in ("dir", "s3"):
        before = vmsnap.stored_bytes(name)
        vmsnap.fails(FAILED, "init", name, says=["exists"])
        assert vmsnap.stored_bytes(name) == before


def test_unknown_disk(vmsnap, stored, images):
    vmsnap.fails(NOT_FOUND, "restore", stored.snapshot, "--from", stored.to, "--disk", "vdz",
                 "--disks-to", images, says=["vdz", "vda"])


@pytest.mark.parametrize("text, says", [
    ("[paths]\nstate = /x\nstat = /y\n", ["stat", ":3"]),
    ("[repository a]\nurl = /x\npassword = y\n", ["password", ":3"]),
    ("[repositry a]\nurl = /x\n", ["repositry", ":1"])])
def test_configuration_with_unknown_key(vmsnap, tmp, text, says):
    """Named with file and line."""
    file = tmp / "wrong.conf"
    file.write_text(text)
    vmsnap.config, right = file, vmsnap.config
    try:
        vmsnap.fails(USAGE, "list", says=["wrong.conf", *says])
    finally:
        vmsnap.config = right


def test_missing_configuration(vmsnap, tmp):
    vmsnap.config, right = tmp / "missing.conf", vmsnap.config
    try:
        result = vmsnap.start("list").wait()
    finally:
        vmsnap.config = right
    assert result.status in (USAGE, NOT_FOUND) and "missing.conf" in result.err


@pytest.mark.parametrize("to", ["dir", "s3"])
def test_wrong_password(vmsnap, captured, tmp, to):
    file = tmp / "wrong-password"
    file.write_text("not the password\n")
    file.chmod(0o600)
    name = vmsnap.add("wrong", **{**vmsnap.repositories[to], "password-file": file})
    vmsnap.fails(AUTH, "export", captured.name, "--to", name, says=["password"])
    vmsnap.fails(AUTH, "list", "--from", name, says=["password"])
    captured.is_captured()


def test_password_file(vmsnap, tmp):
    """One that others can read is refused, a missing one named."""
    file = tmp / "open-password"
    file.write_text("correct horse battery staple\n")
    file.chmod(0o644)
    name = vmsnap.add("open", **{**vmsnap.repositories["dir"], "password-file": file})
    vmsnap.fails(AUTH, "list", "--from", name, says=["open-password"])
    name = vmsnap.add("none", **{**vmsnap.repositories["dir"], "password-file": tmp / "no-file"})
    assert "no-file" in vmsnap.start("list", "--from", name).wait().err


def test_target_file_exists(vmsnap, stored, images):
    """Left alone, to the byte, and nothing else is made."""
    folder = images / "taken"
    folder.mkdir()
    file = folder / "other-vdb.raw"
    file.write_text("precious")
    vmsnap.fails(FAILED, "restore", stored.snapshot, "--from", stored.to, "--as", "other",
                 "--disks-to", folder, says=[file, "exists"])
    assert file.read_text() == "precious"
    assert [path.name for path in folder.iterdir()] == ["other-vdb.raw"]
    assert domains.find("other") is None


def test_target_domain_exists(vmsnap, stored, blank, images):
    blank("taken")
    folder = images / "for-taken"
    folder.mkdir()
    vmsnap.fails(FAILED, "restore", stored.snapshot, "--from", stored.to, "--as", "taken",
                 "--disks-to", folder, says=["taken", "exists"])
    vmsnap.fails(FAILED, "restore", stored.snapshot, "--from", stored.to, "--disks-to", folder,
                 says=[stored.name, "exists"])
    assert not list(folder.iterdir())


def test_directory_for_disks_missing(vmsnap, stored, images):
    vmsnap.fails(NOT_FOUND, "restore", stored.snapshot, "--from", stored.to, "--as", "nowhere",
                 "--disks-to", images / "no-such-folder", says=["no-such-folder"])
    assert not (images / "no-such-folder").exists()


def test_ambiguous_snapshot(vmsnap, captured):
    """All candidates are named. (A second row with the same beginning is put into the catalog.)"""
    twin = captured.id[:8] + "".join("0" if c != "0" else "1" for c in captured.id[8:])
    with sqlite3.connect(vmsnap.state / "vmsnap.db") as database:
        tables = [name for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = next(name for name in tables if name.startswith("snapshot"))
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        wanted = ", ".join(f"'{twin}'" if name == "id" else name for name in columns)
        database.execute(f"INSERT INTO {table} SELECT {wanted} FROM {table} WHERE id = ?",
                         (captured.id,))
    try:
        for command in (["show"], ["export", "--to", "dir", "--snapshot"]):
            vmsnap.fails(FAILED, *command, captured.id[:6], says=[captured.id, twin])
        vmsnap.fails(FAILED, "show", captured.id[:2], says=[captured.id[:2]])
    finally:
        with sqlite3.connect(vmsnap.state / "vmsnap.db") as database:
            database.execute(f"DELETE FROM {table} WHERE id = ?", (twin,))
    captured.is_captured()


def is_locked(vmsnap, uuid):
    for path in vmsnap.folder.glob(f"run/*{uuid}*"):
        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def works(vmsnap, process, uuid):
    """It holds the lock and has written down who it is."""
    path = vmsnap.folder / "run" / f"{uuid}.lock"
    return is_locked(vmsnap, uuid) and str(process.popen.pid) in path.read_text()


def test_two_commands_on_one_domain(vmsnap, guest, unharmed):
    """The second one is told who works there; the first one is not disturbed. (It is stopped for so
    long, so that it cannot be too fast.)"""
    first = vmsnap.start("create", guest.name, "--memory=none", "--quiesce=off")
    domains.wait_for(lambda: works(vmsnap, first, guest.uuid), step=0.001)
    first.send(signal.SIGSTOP)
    second = vmsnap.start("create", guest.name, "--memory=none").wait()
    first.send(signal.SIGCONT)
    assert second.status == BUSY and guest.name in second.err
    assert str(first.popen.pid) in second.err
    assert first.wait().status == DONE
    vmsnap.run("drop", guest.name)


def test_two_exports_at_once(vmsnap, captured, shut_off):
    """Of one snapshot: one stores it, the other is told who does; it is stored once."""
    to = vmsnap.fresh("dir")
    first = vmsnap.start("export", captured.name, "--to", to, "--json")
    domains.wait_for(lambda: works(vmsnap, first, shut_off.domain.UUIDString()), step=0.001)
    first.send(signal.SIGSTOP)
    second = vmsnap.start("export", captured.name, "--to", to).wait()
    first.send(signal.SIGCONT)
    assert second.status == BUSY and captured.name in second.err
    assert str(first.popen.pid) in second.err
    done = first.wait()
    assert done.status == DONE, done
    third = vmsnap.run("export", captured.name, "--to", to, status=NOT_FOUND)
    assert "create" in third.err
    [stored] = vmsnap.restic(to).json("snapshots")
    assert stored["id"] == done.json["snapshot"]["repository"]["snapshot"]


def test_two_domains_at_once(vmsnap, shut_off, blank, images):
    """Different domains do not wait for each other."""
    image = domains.make_image(images / "second.qcow2", "qcow2", 16 << 20, 1)
    blank("second", [domains.disk("vda", image)])
    both = [vmsnap.start("create", name, "--memory=none") for name in (shut_off.name, "second")]
    assert [process.wait().status for process in both] == [DONE, DONE]
    for name in (shut_off.name, "second"):
        vmsnap.run("drop", name)


def test_shut_off(vmsnap, shut_off):
    """Disks only, and it says so."""
    record = vmsnap.create(shut_off.name)
    assert record["engine"] == "none" and record["memory"] is None
    assert any("shut off" in note["text"] for note in record["notes"]), record["notes"]
    shown = vmsnap.run("show", record["id"])
    assert "shut off" in shown.out
    vmsnap.run("drop", shut_off.name)
    shut_off.is_untouched()


@pytest.mark.parametrize("memory", ["none", "live"])
def test_node_that_libvirtd_forgot(vmsnap, blank, images, memory):
    """One that was killed has given QEMU nodes, and the next one begins with their numbers again."""
    image = domains.make_image(images / f"forgot-{memory}.qcow2", "qcow2", 16 << 20, 1)
    domain = blank(f"forgot-{memory}", [domains.disk("vda", image)])
    last = max(int(number) for node in cow.qmp(domain, "query-named-block-nodes")
               for number in re.findall(r"^libvirt-(\d+)-", node["node-name"]))
    for number in (last + 1, last + 2):
        cow.qmp(domain, "blockdev-add", driver="null-co", **{"node-name": f"libvirt-{number}-storage"})
    vmsnap.create(domain.name(), f"--memory={memory}")
    assert "vmsnap-" in domains.sources(domain)["vda"]
    vmsnap.run("drop", domain.name())


@pytest.mark.parametrize("memory", ["none", "live"])
def test_paused(vmsnap, blank, images, memory):
    """Works, and the guest stays paused."""
    image = domains.make_image(images / f"paused-{memory}.qcow2", "qcow2", 16 << 20, 1)
    domain = blank(f"paused-{memory}", [domains.disk("vda", image)])
    domain.suspend()
    vmsnap.run("create", domain.name(), f"--memory={memory}", "--quiesce=auto")
    assert domains.state(domain) == libvirt.VIR_DOMAIN_PAUSED
    record = vmsnap.json("export", domain.name(), "--to", "dir")["snapshot"]
    assert domains.state(domain) == libvirt.VIR_DOMAIN_PAUSED
    if memory == "live":
        # QEMU has closed its images and cannot merge before it runs again; it says so
        assert record["status"] == "exported"
        [kept] = [note["text"] for note in record["notes"] if note["code"] == "overlays-kept"]
        assert "resumed" in kept
        domain.resume()
        record = vmsnap.json("commit", domain.name())["snapshot"]
    assert record["status"] == "done"
    assert domains.sources(domain) == {"vda": str(image)}


def test_transient(vmsnap, blank, images):
    """Works; there is no persistent definition to put right."""
    image = domains.make_image(images / "transient.qcow2", "qcow2", 16 << 20, 1)
    domain = blank("passing", [domains.disk("vda", image)], transient=True)
    vmsnap.run("create", "passing", "--memory=none", "--quiesce=auto")
    vmsnap.run("export", "passing", "--to", "dir")
    assert domains.sources(domain) == {"vda": str(image)}
    assert not domain.isPersistent()
    assert not list(images.glob("transient*vmsnap*"))


def test_left_out_disks(vmsnap, blank, images):
    """A cdrom and a read-only disk are not part of the snapshot, and it says so."""
    for name in ("main", "tools", "media"):
        domains.make_image(images / f"left-{name}.img", "raw", 4 << 20, 1)
    domain = blank("left", [
        domains.disk("vda", images / "left-main.img", "raw"),
        domains.disk("vdb", images / "left-tools.img", "raw", more="<readonly/>"),
        domains.disk("sda", images / "left-media.img", "raw", "sata", "cdrom", "<readonly/>"),
        domains.disk("sdb", None, "raw", "sata", "cdrom", "<readonly/>")])
    before = domains.sources(domain)
    record = vmsnap.create("left", "--memory=none")
    assert [disk["target"] for disk in record["disks"]] == ["vda"]
    said = "\n".join(note["text"] for note in record["notes"])
    assert "vdb" in said and "sda" in said
    checked = vmsnap.run("check", "left")
    assert "vdb" in checked.out and "sda" in checked.out
    vmsnap.run("export", "left", "--to", "dir")
    assert domains.sources(domain) == before


REFUSED_DISKS = {
    "network": (domains.disk("vdb", None, "raw", source="<source protocol='nbd' name='x'>"
                             "<host name='127.0.0.1' port='10809'/></source>"), ["network"]),
    "lun": (domains.disk("sda", None, "raw", "scsi", "lun", source="<source dev='/dev/null'/>"),
            ["lun"]),
    "all-readonly": (None, ["no disk"]),
}


@pytest.mark.parametrize("kind", REFUSED_DISKS)
def test_refused_disks(vmsnap, blank, images, kind):
    """With the disk, the reason and what to do; nothing is made."""
    image = domains.make_image(images / f"refused-{kind}.qcow2", "qcow2", 16 << 20, 1)
    wrong, says = REFUSED_DISKS[kind]
    own = domains.disk("vda", image, more="" if wrong else "<readonly/>")
    name = f"refused-{kind}"
    blank(name, [own] + ([wrong] if wrong else []), start=False)
    before = domains.folder_files(images)
    if wrong:
        says = says + [re.search("target dev='([a-z]+)'", wrong).group(1)]
    vmsnap.fails(REFUSED, "create", name, says=says)
    assert vmsnap.run("check", name, status=REFUSED).out
    assert domains.folder_files(images) == before
    assert not vmsnap.on_host(name)


def test_no_agent(vmsnap, blank, images):
    """--quiesce=require is refused; auto takes it unfrozen and says so."""
    image = domains.make_image(images / "mute.qcow2", "qcow2", 16 << 20, 1)
    domain = blank("mute", [domains.disk("vda", image)])
    vmsnap.fails(REFUSED, "create", "mute", "--memory=none", "--quiesce=require", says=["agent"])
    assert domains.sources(domain) == {"vda": str(image)}
    record = vmsnap.create("mute", "--memory=none", "--quiesce=auto")
    assert record["consistency"] == "crash"
    assert any("agent" in note["text"] for note in record["notes"])
    vmsnap.run("drop", "mute")


def test_silent_agent(vmsnap, blank, images):
    """A channel nobody answers on: the same, within seconds."""
    image = domains.make_image(images / "deaf.qcow2", "qcow2", 16 << 20, 1)
    blank("deaf", [domains.disk("vda", image)], more=domains.AGENT)
    refused = vmsnap.fails(REFUSED, "create", "deaf", "--memory=none", "--quiesce=require",
                           says=["agent"])
    assert refused.seconds < 20
    record = vmsnap.create("deaf", "--memory=none", "--quiesce=auto")
    assert record["consistency"] == "crash"
    vmsnap.run("drop", "deaf")
