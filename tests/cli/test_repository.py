# SPDX-License-Identifier: LGPL-2.1-or-later
"""Repositories: making them, passwords, places that are wrong, full or read-only; listing them."""
import contextlib
import os
import shutil
import sqlite3
import subprocess

import pytest
from conftest import ROOT

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


def test_init(vmsnap):
    document = vmsnap.run("init", "dir", "--json").json
    assert document["repository"]["location"] == str(vmsnap.folder / "repo")
    assert (vmsnap.folder / "repo" / "config").exists()
    assert vmsnap.run("list", "--from", "dir").out == "No such snapshot in this repository.\n"


def test_init_says_what_comes_next(vmsnap):
    shown = vmsnap.run("init", "dir").out
    assert "password" in shown and "vmsnap backup DOMAIN --to dir" in shown


def test_restic_reads_it(vmsnap, repository):
    done = subprocess.run(["restic", "--no-cache", "-r", repository, "--password-file",
                           vmsnap.password, "check"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_init_twice(vmsnap, repository):
    before = sorted(path.name for path in repository.rglob("*"))
    vmsnap.fails(1, "init", "dir", says=["exists", repository])
    assert sorted(path.name for path in repository.rglob("*")) == before


def test_init_was_killed(vmsnap):
    """A key without a config: not "a repository exists", but what to do."""
    keys = vmsnap.folder / "repo" / "keys"
    keys.mkdir(parents=True)
    key = keys / ("0" * 64)
    key.write_text("{}")
    vmsnap.fails(1, "init", "dir", says=["keys but no config", "remove keys/"])
    key.unlink()
    vmsnap.run("init", "dir")


def test_wrong_password(vmsnap, repository):
    wrong = vmsnap.secret("wrong", "incorrect")
    vmsnap.write(f"[repository dir]\nurl = {repository}\npassword-file = {wrong}\n")
    vmsnap.fails(8, "list", "--from", "dir", says=["password", "repository dir"])
    assert vmsnap.run("list", "--from", "dir", "--json", status=8).json["code"] == "auth"


def test_no_password(vmsnap, repository):
    vmsnap.write(f"[repository dir]\nurl = {repository}\n")
    vmsnap.fails(8, "list", "--from", "dir", says=["no password", "VMSNAP_PASSWORD_FILE"])
    vmsnap.fails(8, "init", vmsnap.folder / "other", says="no password")
    assert not (vmsnap.folder / "other").exists()


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o602])
def test_open_password_file(vmsnap, repository, mode):
    vmsnap.password.chmod(mode)
    vmsnap.fails(8, "list", "--from", "dir", says=[vmsnap.password, "chmod 0600", f"{mode:04o}"])


@pytest.mark.parametrize("text, says", [("", "empty"), ("x" * 5000, "4096")])
def test_useless_password_file(vmsnap, repository, text, says):
    vmsnap.secret("password", text)
    vmsnap.fails(8, "list", "--from", "dir", says=[vmsnap.password, says])


def test_missing_password_file(vmsnap, repository):
    vmsnap.password.unlink()
    vmsnap.fails(4, "list", "--from", "dir", says=[vmsnap.password, "password-file"])


def test_password_sources(vmsnap, repository):
    """Each of them opens it; the configuration comes before the environment."""
    credentials = vmsnap.folder / "credentials"
    credentials.mkdir()
    shutil.copy2(vmsnap.password, credentials / "vmsnap-dir")
    wrong = vmsnap.secret("wrong", "incorrect")
    vmsnap.run("list", "--from", "dir", env={"VMSNAP_PASSWORD_FILE": str(wrong)})
    vmsnap.write(f"[repository dir]\nurl = {repository}\n")
    good = [{"VMSNAP_PASSWORD_FILE": str(vmsnap.password)}, {"VMSNAP_PASSWORD": "correct horse"},
            {"CREDENTIALS_DIRECTORY": str(credentials), "VMSNAP_PASSWORD": "incorrect"}]
    for env in good:
        vmsnap.run("list", "--from", "dir", env=env)
    (credentials / "vmsnap-dir").rename(credentials / "vmsnap")
    vmsnap.run("list", "--from", "dir", env={"CREDENTIALS_DIRECTORY": str(credentials)})
    vmsnap.fails(8, "list", "--from", "dir", env={"VMSNAP_PASSWORD": "incorrect"}, says="password")


def test_password_is_never_shown(vmsnap, repository):
    shown = vmsnap.run("-v", "list", "--from", "dir", "--json")
    assert "correct horse" not in shown.out + shown.err


def test_no_repository_there(vmsnap):
    (vmsnap.folder / "repo").mkdir()
    vmsnap.fails(4, "list", "--from", "dir", says=[vmsnap.folder / "repo", "vmsnap init"])
    assert not list((vmsnap.folder / "repo").iterdir())


def test_no_directory_there(vmsnap):
    vmsnap.fails(4, "list", "--from", "dir", says=[vmsnap.folder / "repo", "vmsnap init"])
    assert not (vmsnap.folder / "repo").exists()


def test_not_a_directory(vmsnap):
    (vmsnap.folder / "repo").write_text("precious")
    vmsnap.fails(1, "init", "dir", says=[vmsnap.folder / "repo"])
    assert (vmsnap.folder / "repo").read_text() == "precious"


@pytest.mark.parametrize("place, says", [
    ("backups/x", "./"), ("ftp://host/x", "s3://BUCKET"), ("s3://", "no bucket"),
    ("s3:bucket", "s3://BUCKET"), ("s3://b?regin=x", "regin"), ("s3://key:secret@b/p", "keys"),
    ("file:x", "file:/PATH"), ("s3:https:///b", "no host"), ("s3://b?path-style=perhaps", "perhaps"),
    ("s3://b?ca-file=x", "absolute"), ("s3://b?region", "no value")])
def test_wrong_places(vmsnap, place, says):
    vmsnap.fails(2, "init", place, says=says)


@pytest.mark.parametrize("write", ["{0}", "file:{0}", "{0}/", "{0}/../repo"])
def test_same_place_means_the_configured_one(vmsnap, repository, write):
    """With its password: what one vmsnap printed, another one takes."""
    assert vmsnap.run("list", "--json", "--from", write.format(repository)).json["snapshots"] == []


def test_relative_place(vmsnap, repository):
    vmsnap.run("list", "--from", "./repo", cwd=vmsnap.folder)
    vmsnap.run("list", "--from", "../repo", cwd=repository)


def test_unknown_snapshots(vmsnap, repository):
    for command, snapshot in (("show", "feedface"), ("verify", "latest"), ("restore", "feedface")):
        vmsnap.fails(4, command, snapshot, "--from", "dir")
    vmsnap.fails(4, "show", "feedface", says=["feedface", "list"])


def test_nothing_on_this_host(vmsnap):
    """The state is made on first use, for its owner only; all commands agree that there is nothing."""
    assert vmsnap.run("list", "--json").json == {"schema": "vmsnap.list.v1", "where": "host",
                                                 "snapshots": []}
    assert "No snapshot" in vmsnap.run("list", "--all").out
    for path in (vmsnap.state, vmsnap.state / "vmsnap.db"):
        assert path.stat().st_mode & 0o077 == 0
    for command in (["export"], ["export", "web01"], ["commit", "web01"], ["drop", "web01"],
                    ["drop", "web01", "--snapshot", "feedface"]):
        vmsnap.fails(4, *command)


def test_no_libvirt(vmsnap, repository):
    """Commands that need it say so; the others do without."""
    for command in (["check", "web01"], ["create", "web01"], ["backup", "web01", "--to", "dir"]):
        vmsnap.fails(1, *command, says=["libvirt"])
    vmsnap.fails(1, "check", "web01", "-c", "nonsense://x")


def test_backup_opens_the_repository_first(vmsnap):
    """A mistake in it is found before the guest is touched."""
    vmsnap.fails(4, "backup", "web01", "--to", "nosuch", says="nosuch")
    vmsnap.fails(4, "backup", "web01", "--to", "dir", says="vmsnap init")


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    with open(folder / "ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


@root_only
def test_full_state(vmsnap, small):
    vmsnap.state = small / "state"
    vmsnap.write("")
    fill(small)
    vmsnap.fails(9, "list", says=["vmsnap.db"])


@root_only
def test_read_only_state(vmsnap, small):
    vmsnap.state = small / "state"
    vmsnap.write("")
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    vmsnap.fails(8, "list", says=[small])


@root_only
def test_full_directory_store(vmsnap, small):
    vmsnap.write(f"[repository dir]\nurl = {small}/repo\npassword-file = {vmsnap.password}\n")
    fill(small)
    vmsnap.fails(9, "init", "dir", says=["No space"])
    (small / "ballast").unlink()
    vmsnap.run("init", "dir")


@root_only
def test_read_only_directory_store(vmsnap, small):
    vmsnap.write(f"[repository dir]\nurl = {small}/repo\npassword-file = {vmsnap.password}\n")
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    vmsnap.fails(8, "init", "dir", says=[small])


def test_damaged_catalog(vmsnap):
    vmsnap.run("list")
    (vmsnap.state / "vmsnap.db").write_bytes(b"this is no database" * 100)
    for other in vmsnap.state.glob("vmsnap.db-*"):
        other.unlink()
    vmsnap.fails(7, "list", says="vmsnap.db")


def test_newer_catalog(vmsnap):
    vmsnap.run("list")
    subprocess.run(["sqlite3", vmsnap.state / "vmsnap.db", "PRAGMA user_version = 99"], check=True,
                   stdout=subprocess.DEVNULL)
    vmsnap.fails(1, "list", says="newer")


# version: ids here of what is done, in the repository, here of what is captured
CATALOGS = {3: ("ba520469379651c3", "c731e47c82d6cc59", "1247f30d9d9dea80"),
            7: ("a57fc860f54bdeaf", "51bb79526e632280", "a706275839cd4a29")}


@pytest.mark.parametrize("was", CATALOGS)
def test_older_catalog(vmsnap, was):
    """One of a vmsnap that knew nothing of change tracking, one that knew nothing of restores: all of it
    is there, and it is brought up to date once."""
    def version(path):
        with contextlib.closing(sqlite3.connect(path)) as database:
            return database.execute("PRAGMA user_version").fetchone()[0]

    path = vmsnap.state / "vmsnap.db"
    vmsnap.run("list")
    newest = version(path)
    for file in vmsnap.state.iterdir():
        file.unlink()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript((ROOT / f"tests/data/catalog-{was}.sql").read_text())
    assert version(path) == was < newest
    done, captured = vmsnap.run("list", "--all", "--json").json["snapshots"]
    assert version(path) == newest
    ids = CATALOGS[was]
    assert (done["id"], done["status"]) == (ids[0], "done")
    assert done["repository"]["location"] == "/srv/backup"
    assert done["repository"]["snapshot"].startswith(ids[1])
    assert (captured["id"], captured["status"]) == (ids[2], "captured")
    for snapshot in done, captured:
        assert [disk["virtual_size"] for disk in snapshot["disks"]] == [8 << 20, 4 << 20]
        methods = [disk["tracking"] and disk["tracking"]["method"] for disk in snapshot["disks"]]
        assert methods == [None if was == 3 or snapshot is captured else "none"] * 2
        assert [note["code"] for note in snapshot["notes"]] == ["domain-shut-off"]
    shown = vmsnap.run("show", ids[1], "--json").json["snapshot"]
    assert shown["id"] == done["id"] and shown["timing"] is None
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert not database.execute("SELECT * FROM restores, restored_files").fetchall()
    assert [s["id"] for s in vmsnap.run("list", "--json").json["snapshots"]] == [captured["id"]]
