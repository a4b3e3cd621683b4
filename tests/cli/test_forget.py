# SPDX-License-Identifier: LGPL-2.1-or-later
"""forget and prune from outside. The snapshots are restic's, with our tags: only restic can date them back."""
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Vmsnap

pytestmark = pytest.mark.skipif(not shutil.which("restic"), reason="restic is not installed")

WEB, RENAMED = "11111111-2222-3333-4444-555555555555", "66666666-2222-3333-4444-555555555555"
# Two in one hour, three in one day, a gap of weeks, another year.
WEB_TIMES = ["2025-12-30 23:30:00", "2026-10-01 10:00:00", "2026-11-20 08:00:00", "2026-11-20 21:05:00",
             "2026-11-20 21:55:00", "2026-11-21 09:00:00"]
RENAMED_TIMES = [("old", "2026-11-01 10:00:00"), ("db01", "2026-11-02 10:00:00")]


def restic(made, *args, **options):
    command = ["restic", "--no-cache", "-r", made.folder / "repo", "--password-file", made.password, *args]
    return subprocess.run(list(map(str, command)), env=made.env, check=True, capture_output=True, text=True,
                          **options).stdout


@pytest.fixture(scope="session")
def dated(tmp_path_factory, empty_repository):
    made = Vmsnap(tmp_path_factory.mktemp("dated"))
    shutil.copytree(empty_repository, made.folder / "repo")
    for domain, uuid, time in [*(("web01", WEB, time) for time in WEB_TIMES),
                               *((name, RENAMED, time) for name, time in RENAMED_TIMES)]:
        (made.folder / "content").write_text(f"{domain} at {time} " * 20000)
        restic(made, "backup", "--time", time, "--tag", f"vmsnap,domain={domain},uuid={uuid}", made.folder / "content")
    restic(made, "backup", "--tag", "somebody's", made.password)
    return made


@pytest.fixture
def repository(vmsnap, dated):
    return Path(shutil.copytree(dated.folder / "repo", vmsnap.folder / "repo"))


def snapshots(made):
    return json.loads(restic(made, "snapshots", "--json"))


def kept(document):
    return {entry["snapshot"] for entry in document["snapshots"] if entry["keep"]}


@pytest.mark.parametrize("policy", [["--keep-last=1", "--keep-hourly=2", "--keep-yearly=5"],
                                    ["--keep-daily=2", "--keep-weekly=3", "--keep-monthly=1"]])
def test_as_restic(vmsnap, repository, policy):
    """The same snapshots are kept, domain by domain (where no count is left: before 0.16, restic does not keep the
    oldest one then)."""
    document = vmsnap.run("forget", "--from", "dir", "--dry-run", "--json", *policy).json
    expected = set()
    for tag in f"uuid={WEB}", f"uuid={RENAMED}":
        [group] = json.loads(restic(vmsnap, "forget", "--dry-run", "--json", "--group-by", "", "--tag", tag, *policy))
        expected |= {snapshot["id"] for snapshot in group["keep"]}
    assert kept(document) == expected
    assert len(document["snapshots"]) == 8  # not somebody's
    assert all(bool(entry["reasons"]) == entry["keep"] for entry in document["snapshots"])


def test_dry_run(vmsnap, repository):
    before = sorted(repository.rglob("*"))
    shown = vmsnap.run("forget", "--from", "dir", "--keep-daily", "2", "--prune", "--dry-run", "-q").out
    lines = [line.split() for line in shown.splitlines()]
    assert [line[0] for line in lines if line[2:3] == ["web01"]] == ["keep", "keep"] + 4 * ["remove"]
    assert [line[0] for line in lines if line[2:3] in (["old"], ["db01"])] == ["keep", "keep"]
    assert "daily" in shown and "4 snapshots would be removed, 4 kept" in shown and "would be freed" in shown
    assert sorted(repository.rglob("*")) == before


def test_policy(vmsnap, repository):
    """One domain alone; then all; then what they held is freed, and the rest is as it was."""
    somebodys = [snapshot for snapshot in snapshots(vmsnap) if snapshot["tags"] == ["somebody's"]]
    document = vmsnap.run("forget", "--from", "dir", "--keep-last", "1", "db01", "--json").json
    assert {entry["domain"] for entry in document["snapshots"]} == {"old", "db01"}
    assert {entry["uuid"] for entry in document["snapshots"]} == {RENAMED} and document["prune"] is None
    assert len(snapshots(vmsnap)) == 8
    document = vmsnap.run("forget", "--from", "dir", "--keep-last=1", "--prune", "--max-unused=0", "--json").json
    assert document["prune"]["snapshots"] == 3 and document["prune"]["bytes_unused_left"] == 0
    assert document["prune"]["packs_removed"] > 0
    left = snapshots(vmsnap)
    assert {snapshot["id"] for snapshot in left} == kept(document) | {somebodys[0]["id"]}
    assert "no errors were found" in restic(vmsnap, "check", "--read-data")
    document = vmsnap.run("prune", "dir", "--json").json
    assert document["prune"]["bytes_removed"] == 0 and not document["dry_run"]


def test_by_id(vmsnap, repository):
    """Whoever made it; all are looked up first."""
    first, second, *_ = [snapshot["id"] for snapshot in snapshots(vmsnap)]
    [other] = [snapshot["id"] for snapshot in snapshots(vmsnap) if snapshot["tags"] == ["somebody's"]]
    vmsnap.fails(4, "forget", "--from", "dir", first[:8], "feedfeed", says="feedfeed")
    assert len(snapshots(vmsnap)) == 9
    shown = vmsnap.run("forget", "--from", "dir", first[:8], other, first)
    assert "2 snapshots removed, 0 kept" in shown.out and "vmsnap prune" in shown.out
    assert {first, other}.isdisjoint(snapshot["id"] for snapshot in snapshots(vmsnap))
    assert second in [snapshot["id"] for snapshot in snapshots(vmsnap)]


def test_prune_drops_what_was_never_ended(vmsnap, repository):
    """The temporary file of a writer that was killed goes a day later; a young one may be at work."""
    stale, young = (repository / f"data/00/{'0' * 64}.tmp-{name}" for name in ("aaaaaa", "bbbbbb"))
    stale.parent.mkdir(exist_ok=True)
    for path in stale, young:
        path.write_bytes(b"half")
    os.utime(stale, (1, 1))
    vmsnap.run("prune", "dir", "--dry-run")
    assert stale.exists()
    assert "1 uploads" in vmsnap.run("prune", "dir").err
    assert young.exists() and not stale.exists()


def test_damaged(vmsnap, repository):
    """A damaged snapshot file stops prune and a policy, and goes by its whole id."""
    path = sorted((repository / "snapshots").iterdir())[0]
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    before = sorted(repository.rglob("data/*/*"))
    vmsnap.fails(7, "prune", "dir", says=path.name)
    vmsnap.fails(7, "forget", "--from", "dir", "--keep-last=1", says=path.name)
    vmsnap.fails(7, "forget", "--from", "dir", path.name[:8], says=path.name)
    assert path.exists() and sorted(repository.rglob("data/*/*")) == before
    assert vmsnap.run("forget", "--from", "dir", path.name, "--json").json["snapshots"][0]["time"] is None
    vmsnap.run("prune", "dir")
    assert "no errors were found" in restic(vmsnap, "check")


@pytest.mark.parametrize("args, says", [
    (["forget"], ["--keep-last", "name the snapshots"]),
    (["forget", "web01"], ['"web01"', "--keep"]),
    (["forget", "latest"], ['"latest"']),
    (["forget", "--keep-last=0"], "from 1 on"),
    (["forget", "--keep-daily=-3"], "from 1 on"),
    (["forget", "--keep-daily=x"], "unlimited"),
    (["forget", "--keep-last=1", "web01", "db01"], ["db01", "too many"]),
    (["forget", "--keep-last=1", "--max-unused=3%"], "--prune"),
    (["prune", "--max-unused=200%"], ["--max-unused", "200%"]),
    (["prune", "one", "two"], ["two", "too many"]),
])
def test_wrong_words(vmsnap, args, says, empty_repository):
    shutil.copytree(empty_repository, vmsnap.folder / "repo")
    vmsnap.fails(2, *args, says=says)


def test_nothing_there(vmsnap, empty_repository):
    shutil.copytree(empty_repository, vmsnap.folder / "repo")
    vmsnap.fails(4, "forget", "--keep-last=1", "web01", says=['"web01"', "no snapshot"])
    assert "0 snapshots removed" in vmsnap.run("forget", "--keep-last=1", "--prune").out
    assert vmsnap.run("prune", "--json").json["prune"]["packs"] == 0
    shutil.rmtree(vmsnap.folder / "repo")
    vmsnap.fails(4, "prune", "dir", says=[vmsnap.folder])


def test_locked(vmsnap, repository):
    """Somebody works: forget goes on beside him, prune does not, and says who it is."""
    with subprocess.Popen(["restic", "--no-cache", "-r", repository, "--password-file", vmsnap.password, "backup",
                           "--stdin"], env=vmsnap.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        while not any(len(path.name) == 64 for path in (repository / "locks").glob("*")):
            assert other.poll() is None
        try:
            vmsnap.fails(5, "prune", "dir", says=["locked", f"process {other.pid}"])
            vmsnap.run("prune", "dir", "--dry-run")
            vmsnap.run("forget", "--from", "dir", "--keep-last=1", "web01")
        finally:
            other.communicate(b"data")
    assert "freed" in vmsnap.run("prune", "dir").out
