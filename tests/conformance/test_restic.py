# SPDX-License-Identifier: LGPL-2.1-or-later
"""The repository against a program that no one here wrote: what we write, Debian's restic reads, and
the other way round."""
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

import pytest

BUILD = pathlib.Path(os.environ.get("VMSNAP_BUILD", "build"))
TOOL = BUILD / "tests/conformance/repo-tool"
PASSWORD = "correct horse"
LOCKED, CORRUPT, AUTH, NOT_FOUND = 5, 7, 8, 4

pytestmark = pytest.mark.skipif(not shutil.which("restic"), reason="restic is not installed")


def environment(password=PASSWORD, **more):
    return {**os.environ, "VMS_TEST_PASSWORD": password, "RESTIC_PASSWORD": password, **more}


def tool(*args, status=0, **env):
    done = subprocess.run([TOOL, *map(str, args)], env=environment(**env), capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == status, f"{args}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout if status == 0 else done.stderr


def restic_command(repo, *args):
    return ["restic", "--no-cache", "-r", str(repo), *map(str, args)]


def restic(repo, *args, status=0, text=True, **env):
    done = subprocess.run(restic_command(repo, *args), env=environment(**env), capture_output=True,
                          text=text, timeout=300)
    if status == "failure":
        assert done.returncode != 0, f"{args} went through"
        return done.stderr
    assert done.returncode == status, f"{args}: {done.stdout}{done.stderr}"
    return done.stdout


def assert_green(repo):
    assert "no errors were found" in restic(repo, "check", "--read-data")


def disk(path, seed, parts):
    """parts: "r" random, "z" zeroes, "t" text, each of 1 MiB; a number: that many random bytes."""
    rand = random.Random(seed)
    with open(path, "wb") as file:
        for part in parts:
            if part == "r":
                file.write(rand.randbytes(1 << 20))
            elif part == "z":
                file.write(bytes(1 << 20))
            elif part == "t":
                file.write((b"%08d line\n" % rand.randrange(9999)) * 80659 + b"...")
            else:
                file.write(rand.randbytes(part))
    return path


@pytest.fixture
def disks(tmp_path):
    return [disk(tmp_path / "vda.raw", 1, "rrrrzzzzttttrrrrrrrrrrrrrrrrrrrrr"),
            disk(tmp_path / "vdb.raw", 2, "zzzzzzzztzzzzzzzzzzzzzzrtt"),
            disk(tmp_path / "nvram.fd", 3, [540672 // 3]),
            disk(tmp_path / "empty", 4, "")]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def assert_restored_by_us(repo, snapshot, path, original, tmp_path, **env):
    out = tmp_path / "restored-by-us"
    out.unlink(missing_ok=True)
    tool("restore", repo, snapshot, path, out, **env)
    assert sha256(out.read_bytes()) == sha256(original.read_bytes())


def test_ours_is_read_by_restic(tmp_path, disks):
    repo = tmp_path / "repo"
    identity = tool("init", repo).strip()
    assert json.loads(restic(repo, "cat", "config"))["id"] == identity
    snapshot = tool("backup", repo, "host1", "web01", *disks).strip()
    assert_green(repo)

    [listed] = json.loads(restic(repo, "snapshots", "--json"))
    assert (listed["id"], listed["hostname"], listed["paths"]) == (snapshot, "host1", ["/web01"])
    assert listed["tags"] == ["vmsnap", "domain=web01"]
    nodes = {node["path"]: node
             for node in map(json.loads, restic(repo, "ls", "latest", "--json").splitlines())
             if node["struct_type"] == "node"}
    assert set(nodes) == {"/web01", "/web01/vmsnap.json"} | {
        f"/web01/{d.name}{rest}" for d in disks for rest in ("", f"/{d.name}")}
    for each in disks:
        path = f"/web01/{each.name}/{each.name}"
        assert nodes[path].get("size", 0) == each.stat().st_size
        assert nodes[path]["mode"] == 0o600
        assert sha256(restic(repo, "dump", snapshot, path, text=False)) == sha256(each.read_bytes())
        assert_restored_by_us(repo, "latest", path, each, tmp_path)
    total = sum(each.stat().st_size for each in disks) + len(restic(repo, "dump", "latest",
                                                                    "/web01/vmsnap.json"))
    assert json.loads(restic(repo, "stats", "--json"))["total_size"] == total
    restic(repo, "restore", "latest", "--target", tmp_path / "out")
    for each in disks:
        restored = tmp_path / "out/web01" / each.name / each.name
        assert sha256(restored.read_bytes()) == sha256(each.read_bytes())
    assert tool("cat", repo, snapshot[:8], "/web01/vmsnap.json") == '{"test": true}\n'


def test_unchanged_disks_are_not_stored_again(tmp_path, disks):
    repo = tmp_path / "repo"
    tool("init-quick", repo)
    tool("backup", repo, "host1", "web01", *disks)

    def size():
        return sum(f.stat().st_size for f in repo.rglob("*") if f.is_file())

    first = size()
    tool("backup", repo, "host1", "web01", *disks)
    assert size() - first < first / 100
    assert len(json.loads(restic(repo, "snapshots", "--json"))) == 2
    assert_green(repo)


def test_uncompressed(tmp_path, disks):
    repo = tmp_path / "repo"
    tool("init-quick", repo)
    tool("backup", repo, "host1", "web01", *disks, VMS_TEST_COMPRESSION="off")
    assert_green(repo)
    assert_restored_by_us(repo, "latest", "/web01/vda.raw/vda.raw", disks[0], tmp_path)


@pytest.fixture
def theirs(tmp_path, disks):
    """A repository made by restic, with two keys and three snapshots."""
    repo = tmp_path / "theirs"
    restic(repo, "init")
    (tmp_path / "second").write_text("battery staple\n")
    restic(repo, "key", "add", "--new-password-file", tmp_path / "second")
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(disks[0], source / "big")
    shutil.copy(disks[2], source / 'we"ird \\ é <&>')
    (source / "link").symlink_to("big")
    for mode in "auto", "off", "max":
        (source / "note").write_text(mode)
        subprocess.run(restic_command(repo, "backup", "--compression", mode, "--tag", mode, "."),
                       cwd=source, env=environment(), check=True, capture_output=True)
    return repo


def test_theirs_is_read_by_us(tmp_path, theirs, disks):
    lines = [line.split() for line in tool("list", theirs).splitlines()]
    assert [line[4] for line in lines] == ["auto", "off", "max"]
    for snapshot, _tree, _host, _path, mode in lines:
        assert tool("cat", theirs, snapshot, "/note") == mode
        for password in PASSWORD, "battery staple":
            assert_restored_by_us(theirs, snapshot, "/big", disks[0], tmp_path, password=password)
            assert_restored_by_us(theirs, snapshot, '/we"ird \\ é <&>', disks[2], tmp_path,
                                  password=password)


def test_side_by_side(tmp_path, theirs, disks):
    """We write into theirs; they forget, prune and tag; we go on with the cache we had."""
    cache = str(tmp_path / "cache")
    ours = tool("backup", theirs, "host1", "web01", *disks, VMS_TEST_CACHE=cache).strip()
    assert_green(theirs)
    for line in tool("list", theirs).splitlines()[:3]:
        restic(theirs, "forget", line.split()[0])
    restic(theirs, "prune", "--max-unused", "0")
    assert_green(theirs)
    for each in disks:
        assert_restored_by_us(theirs, ours, f"/web01/{each.name}/{each.name}", each, tmp_path,
                              VMS_TEST_CACHE=cache)
    disk(disks[0], 9, "rrttrr")
    tool("backup", theirs, "host1", "web01", *disks, VMS_TEST_CACHE=cache)
    assert_green(theirs)
    restic(theirs, "tag", "--add", "kept", ours)
    assert any(line.endswith("kept") for line in tool("list", theirs).splitlines())
    restic(theirs, "forget", "--keep-last", "1", "--group-by", "", "--prune")
    assert_green(theirs)
    assert_restored_by_us(theirs, "latest", "/web01/vda.raw/vda.raw", disks[0], tmp_path,
                          VMS_TEST_CACHE=cache)


def test_given_up(tmp_path, disks):
    """What a run leaves that was given up disturbs nobody, and prune removes it."""
    repo = tmp_path / "repo"
    tool("init-quick", repo)
    tool("stop", repo, disks[0])
    packs = list((repo / "data").glob("*/*"))
    assert packs
    assert_green(repo)
    tool("backup", repo, "host1", "web01", disks[1])
    restic(repo, "prune", "--max-unused", "0")
    assert_green(repo)
    assert not [pack for pack in packs if pack.exists()]


class Held:
    """A lock of ours, until the with ends."""

    def __init__(self, repo, kind):
        self.process = subprocess.Popen([TOOL, "lock", repo, kind], env=environment(),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "locked\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate("")
        assert self.process.returncode == 0


def locks(repo):
    """Whole ones: restic writes to a temporary name first."""
    return [path for path in (repo / "locks").glob("*") if len(path.name) == 64]


def test_restic_heeds_our_locks(tmp_path, disks):
    repo = tmp_path / "repo"
    tool("init-quick", repo)
    with Held(repo, "exclusive") as held:
        assert len(restic(repo, "list", "locks", "--no-lock").split()) == 1
        message = restic(repo, "backup", disks[2], status="failure")
        assert "already locked exclusively" in message
        assert f"PID {held.process.pid} on" in message
    assert not locks(repo)
    with Held(repo, "shared"):
        restic(repo, "backup", disks[2])
        assert "already locked" in restic(repo, "prune", status="failure")
        with Held(repo, "shared"):
            assert len(locks(repo)) == 2
        assert "locked" in tool("lock", repo, "exclusive", status=LOCKED)
    restic(repo, "prune")
    assert not locks(repo)


def wait_for_lock(repo):
    deadline = time.monotonic() + 60
    while not locks(repo):
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_we_heed_locks_of_restic(tmp_path, disks):
    repo = tmp_path / "repo"
    restic(repo, "init")
    # Shared, as long as its input lasts.
    backup = subprocess.Popen(restic_command(repo, "backup", "--stdin"), env=environment(),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for_lock(repo)
    message = tool("lock", repo, "exclusive", status=LOCKED)
    assert re.search(rf"process {backup.pid} of ", message)
    tool("backup", repo, "host1", "web01", disks[2])
    backup.communicate(b"data")
    assert backup.returncode == 0
    # Exclusive: stopped while it holds it.
    check = subprocess.Popen(restic_command(repo, "check"), env=environment(),
                             stdout=subprocess.PIPE)
    wait_for_lock(repo)
    check.send_signal(signal.SIGSTOP)
    try:
        assert "exclusively" in tool("backup", repo, "host1", "web01", disks[2], status=LOCKED)
    finally:
        check.send_signal(signal.SIGCONT)
    check.communicate()
    assert check.returncode == 0
    # Killed: nobody's lock any more.
    backup = subprocess.Popen(restic_command(repo, "backup", "--stdin"), env=environment(),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for_lock(repo)
    backup.kill()
    backup.communicate()
    assert locks(repo)
    tool("backup", repo, "host1", "web01", disks[2])
    assert not locks(repo)
    assert_green(repo)


@pytest.mark.parametrize("chunks, kind", [(204800, "mixed"), (1 << 20, "zero"),
                                          (1 << 20, "mixed"), (1 << 20, "random")])
def test_huge_disk(tmp_path, chunks, kind):
    """200 GiB and 1 TiB: the content list comes back whole, and memory stays flat."""
    repo = tmp_path / "repo"
    tool("init-quick", repo)
    output = tool("huge", repo, chunks, kind)
    peak = int(re.search(r"peak_kib=(\d+)", output).group(1))
    assert 0 < peak < 64 << 10, output
    assert_green(repo)
    if kind != "random":
        [node] = [json.loads(line) for line in
                  restic(repo, "ls", "latest", "--json").splitlines()[1:]]
        assert node["size"] == chunks << 20


def test_damage_is_named(tmp_path, disks):
    repo = tmp_path / "repo"
    tool("init-quick", repo)
    tool("backup", repo, "host1", "web01", disks[0])
    pack = max((repo / "data").glob("*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    out = tmp_path / "out"
    message = tool("restore", repo, "latest", "/web01/vda.raw/vda.raw", out, status=CORRUPT)
    assert pack.name in message
    restic(repo, "check", "--read-data", status="failure")


def test_bad_input(tmp_path, disks):
    repo = tmp_path / "repo"
    tool("list", repo, status=NOT_FOUND)
    tool("init", repo)
    assert "no key opens" in tool("list", repo, status=AUTH, password="wrong")
    assert "already" in tool("init", repo, status=1)
    tool("cat", repo, "latest", "/x", status=NOT_FOUND)
    tool("backup", repo, "host1", "web01", disks[2])
    assert "nothere" in tool("cat", repo, "latest", "/web01/nothere", status=NOT_FOUND)
    restic(tmp_path / "v1", "init", "--repository-version", "1")
    assert "version 1" in tool("list", tmp_path / "v1", status=1)
