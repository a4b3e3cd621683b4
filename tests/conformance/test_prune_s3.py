# SPDX-License-Identifier: LGPL-2.1-or-later
"""forget and prune by the program itself, on real S3 servers; killed in between; restic is the judge."""
import contextlib
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess

import pytest
from conftest import BUILD, CLEAN
from test_prune import prune

pytestmark = pytest.mark.skipif(not shutil.which("restic"), reason="restic is not installed")

PASSWORD, STRAYS = "correct horse", 300
PROGRAM = os.environ.get("VMSNAP", BUILD / "src/vmsnap")


class Place:
    """A repository on a server, as vmsnap, restic and prune-tool name it."""

    def __init__(self, server, folder):
        self.folder, self.cache, self.server = folder, folder / "cache", server.env
        bucket, prefix, ca = server.env["S3_BUCKET"], f"prune-{folder.name}", server.env.get("S3_CA_FILE")
        self.spec = {**server.env, "S3_PREFIX": prefix}
        self.env = {**CLEAN, "RESTIC_PASSWORD": PASSWORD, "AWS_ACCESS_KEY_ID": server.env["S3_ACCESS_KEY"],
                    "AWS_SECRET_ACCESS_KEY": server.env["S3_SECRET_KEY"]}
        self.restic_options = ["--no-cache", "-r", f"s3:{server.env['S3_ENDPOINT']}/{bucket}/{prefix}",
                               *(["--cacert", ca] if ca else [])]
        password = folder / "password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o600)
        self.config = folder / "vmsnap.conf"
        self.config.write_text(
            f"[paths]\nstate = {folder}/state\ncache = {self.cache}\nrun = {folder}/run\n"
            f"[repository s3]\nurl = s3://{bucket}/{prefix}\nendpoint = {server.env['S3_ENDPOINT']}\n"
            f"region = {server.env['S3_REGION']}\npath-style = yes\npassword-file = {password}\n"
            + (f"ca-file = {ca}\n" if ca else ""))

    def _run(self, *command):
        done = subprocess.run(list(map(str, command)), env=self.env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def restic(self, *args):
        return self._run("restic", *args, *self.restic_options)

    def vmsnap(self, command, *args):
        return self._run(PROGRAM, command, "--config", self.config, *args)

    def backup(self, time, *files):
        self.restic("backup", "--time", time, "--tag", "vmsnap,domain=web01,uuid=1", *files)

    def killed(self, change):
        """kill -9 before that change; the process is gone, so its lock does not count."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.spec.items():
                patch.setenv(name, value)
            prune("s3:path", self.cache, "0", change, status=-9)

    def objects(self, call):
        result = call(self.spec, "s3:path", "list data/")
        assert result.ok, result
        return [line.split()[0] for line in result.output.splitlines()[:-1]]


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_forget_and_prune(request, tmp_path, call, kind):
    place = Place(request.getfixturevalue(kind), tmp_path)
    place.vmsnap("init", "s3")
    dice = random.Random(4)
    files = [tmp_path / name for name in ("gone", "both", "kept")]
    for file in files:
        file.write_bytes(dice.randbytes(12 << 20))
    place.backup("2026-10-01 10:00:00", *files[:2])
    place.backup("2026-10-02 10:00:00", *files[1:])
    strays = [hashlib.sha256(bytes([i % 256, i // 256])).hexdigest() for i in range(STRAYS)]
    assert call(place.spec, "s3:path", *(f"put data/{name[:2]}/{name} 100" for name in strays)).ok
    before = place.objects(call)
    assert len(before) > STRAYS + 4

    document = json.loads(place.vmsnap("forget", "--from", "s3", "--keep-last=1", "web01", "--json"))
    assert [entry["keep"] for entry in document["snapshots"]].count(False) == 1
    for change in (1, 2, 3):
        place.killed(change)
        place.restic("unlock")
        assert "no errors were found" in place.restic("check")
    # the strays were seen long enough ago
    [notes] = place.cache.glob("prune-*.db")
    with contextlib.closing(sqlite3.connect(notes)) as database:
        assert database.execute("UPDATE seen SET since = 0").rowcount >= STRAYS
        database.commit()
    document = json.loads(place.vmsnap("prune", "s3", "--max-unused=0", "--json"))["prune"]
    assert document["packs_removed"] >= STRAYS and document["bytes_unused_left"] == 0
    after = place.objects(call)
    assert len(after) <= len(before) - STRAYS  # what restic put together in a pack differs
    assert not {name[8:] for name in after} & set(strays)
    assert "no errors were found" in place.restic("check", "--read-data")
    [snapshot] = json.loads(place.restic("snapshots", "--json"))
    place.restic("restore", snapshot["id"], "--target", tmp_path / "restored")
    for file in files[1:]:
        assert (tmp_path / f"restored{file}").read_bytes() == file.read_bytes()
    assert json.loads(place.vmsnap("prune", "s3", "--json"))["prune"]["bytes_removed"] == 0
