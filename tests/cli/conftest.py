# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmsnap from outside, without libvirt: each test has a configuration, state and repositories of its own."""
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import jsonschema
import pytest

PROGRAM = os.environ.get("VMSNAP", "vmsnap")
ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "schemas"

COMMANDS = ["init", "check", "create", "export", "backup", "list", "show", "commit", "drop",
            "verify", "restore", "forget", "prune", "recover"]


def validate(document):
    """Whatever --json prints is what schemas/ promises."""
    name = document["schema"].removeprefix("vmsnap.")
    store = {path.as_uri(): json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    uri = (SCHEMAS / f"{name}.json").as_uri()
    assert uri in store, f"no schema for {name}"
    resolver = jsonschema.RefResolver(uri, store[uri], store)
    jsonschema.Draft202012Validator(store[uri], resolver=resolver).validate(document)


class Result:
    def __init__(self, done):
        self.args, self.status = done.args[1:], done.returncode
        self.out, self.err = (done.stdout or b"").decode(), done.stderr.decode()

    @property
    def json(self):
        document = json.loads(self.out)
        validate(document)
        return document

    def __repr__(self):
        return f"vmsnap {' '.join(map(str, self.args))}: {self.status}\n{self.out}\n{self.err}"


class Vmsnap:
    def __init__(self, folder):
        self.folder = folder
        self.state = folder / "state"
        self.config = folder / "vmsnap.conf"
        self.password = self.secret("password", "correct horse")
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("VMSNAP_", "AWS_", "CREDENTIALS_"))}
        # Nothing listens there: who talks to libvirt in these tests, fails.
        self.env.update(LC_ALL="C.UTF-8", TZ="UTC", LIBVIRT_DEFAULT_URI="qemu+unix:///system?socket="
                        + str(folder / "no-libvirt"))
        self.write(f"[repository dir]\nurl = {folder}/repo\npassword-file = {self.password}\n")

    def secret(self, name, text, mode=0o600):
        path = self.folder / name
        path.write_text(text + "\n")
        path.chmod(mode)
        return path

    def write(self, text):
        """The configuration: paths of this test, then text."""
        self.config.write_text(f"[paths]\nstate = {self.state}\ncache = {self.folder}/cache\n"
                               f"run = {self.folder}/run\n{text}")

    def run(self, *args, status=0, env=None, config=True, **options):
        words = [PROGRAM, *(["--config", str(self.config)] if config else []), *map(str, args)]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **options}
        done = subprocess.run(words, stderr=subprocess.PIPE, timeout=60, check=False,
                              env={**self.env, **(env or {})}, **options)
        result = Result(done)
        assert result.status == status, result
        return result

    def fails(self, status, *args, says=(), **options):
        """Ends with that status; one or two lines on stderr hold every word of says; nothing on stdout."""
        result = self.run(*args, status=status, **options)
        for word in (says,) if isinstance(says, str) else says:
            assert str(word) in result.err, f"{word!r} is not in:\n{result!r}"
        assert result.err.startswith("vmsnap: ") and result.err.endswith("\n")
        assert 1 <= result.err.count("\n") <= 2, result.err
        assert result.out == ""
        return result


@pytest.fixture
def vmsnap(tmp_path):
    return Vmsnap(tmp_path)


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory):
    """Made once: deriving a key is slow on purpose."""
    made = Vmsnap(tmp_path_factory.mktemp("empty"))
    made.run("init", "dir")
    return made.folder / "repo"


@pytest.fixture
def repository(vmsnap, empty_repository):
    return Path(shutil.copytree(empty_repository, vmsnap.folder / "repo"))


SNAPSHOTS = """
INSERT INTO snapshots VALUES ('{0}', 'web01', '{1}', 'captured', NULL, 1700000000123456, 'cow', 'memory',
  2, 41000, 350000, '/m/{0}.save', 1, 2, 1073741824, '<domain/>', NULL, NULL, NULL, NULL, 0, 1);
INSERT INTO timings VALUES ('{0}', 'pause_us', 0, 38000);
INSERT INTO timings VALUES ('{0}', 'beats', 1, 400);
INSERT INTO timings VALUES ('{0}', 'pause_us', 1, 42000);
INSERT INTO timings VALUES ('{0}', 'write_us', 1, 17000);
INSERT INTO disks VALUES ('{0}', 0, 'vda', 'virtio', '/i/web01.qcow2', 'qcow2', '/i/o.qcow2', 1, 2, 10737418240, 0,
  NULL, NULL, NULL, NULL, 0, NULL, NULL);
INSERT INTO disks VALUES ('{0}', 1, 'vdb', NULL, '/i/data.raw', 'raw', '/i/p.qcow2', 1, 3, 1048576, 0,
  NULL, NULL, NULL, NULL, 0, NULL, NULL);
INSERT INTO notes VALUES ('{0}', 0, 'disk-skipped', 'disk sda: a CD-ROM is left out');
INSERT INTO snapshots VALUES ('{2}', 'db01', '{3}', 'done', NULL, 1700000060000000, 'none', 'quiesced',
  1, 20000, 30000, NULL, 0, 0, 0, '<domain/>', NULL, '/srv/backup', '{4}', NULL, 0, 2);
INSERT INTO snapshots VALUES ('{5}', 'db01', '{3}', 'failed', 'the agent' || char(10, 27) || '[31m is gone',
  1700000120000000, 'none', 'crash', 0, 0, 0, NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 0, 3);
"""
CAPTURED, DONE, FAILED = "4f2a9c0011223344", "77d0000000000001", "77d0000000000002"
STORED = "ab" * 32


@pytest.fixture
def catalog(vmsnap):
    """A host with a captured, a finished and a failed snapshot; the id of the first."""
    vmsnap.run("list")
    text = SNAPSHOTS.format(CAPTURED, "11111111-2222-3333-4444-555555555555", DONE,
                            "66666666-2222-3333-4444-555555555555", STORED, FAILED)
    with contextlib.closing(sqlite3.connect(vmsnap.state / "vmsnap.db")) as database:
        database.executescript(text)
    return CAPTURED
