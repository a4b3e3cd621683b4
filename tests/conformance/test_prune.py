# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prune, judged by restic: on repositories that we wrote, that restic wrote, and that both did."""
import json
import pathlib
import shutil
import subprocess

import pytest
from test_restic import (BUILD, assert_green, assert_restored_by_us, disk, environment, locks, restic, sha256, tool)

pytestmark = pytest.mark.skipif(not shutil.which("restic"), reason="restic is not installed")

BEFORE, AFTER = "rrrrzzttrrrrrrrrrrrrrr", "rrrrrrrrrrrrzzttrrrr"


def prune(repo, cache, *args, status=0, program="prune-tool"):
    """Through the library; the program itself is tests/cli's."""
    done = subprocess.run([BUILD / "tests/conformance" / program, repo, cache, *map(str, args)], env=environment(),
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == status, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout if status == 0 else done.stderr


def size(repo):
    return sum(path.stat().st_size for path in (repo / "data").rglob("*") if path.is_file())


class Made:
    """A repository of which a part is forgotten: kept has path in the repository → original."""

    def __init__(self, folder, repo, kept):
        self.folder, self.repo, self.kept = folder, repo, kept

    def copy(self, folder):
        return Made(folder, pathlib.Path(shutil.copytree(self.repo, folder / "repo")), self.kept)

    def check(self):
        """restic has no fault to find and restores what we do."""
        assert_green(self.repo)
        for (snapshot, path), original in self.kept.items():
            assert sha256(restic(self.repo, "dump", snapshot, path, text=False)) == sha256(original.read_bytes())

    def restored_by_us(self):
        for (snapshot, path), original in self.kept.items():
            assert_restored_by_us(self.repo, snapshot, path, original, self.folder)


def theirs(folder, repo, name, tag, *files):
    """restic's own snapshot of a folder with files and many small ones, some in folders below."""
    source = folder / name
    shutil.rmtree(source, ignore_errors=True)
    for number in range(40):
        small = source / f"d{number % 5}" / f"file{number}"
        small.parent.mkdir(parents=True, exist_ok=True)
        small.write_text(f"{tag} {number // 2}" * 50)
    for file in files:
        shutil.copy(file, source / file.name)
    done = subprocess.run(["restic", "--no-cache", "-r", repo, "backup", "--json", "--tag", tag, "."], cwd=source,
                          env=environment(), check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["snapshot_id"]


@pytest.fixture(scope="module", params=["ours", "theirs", "mixed"])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    repo, kept = folder / "repo", {}
    old, new = disk(folder / "old.raw", 1, BEFORE), disk(folder / "vda.raw", 1, AFTER)
    if request.param == "ours":
        tool("init-quick", repo)
    else:
        restic(repo, "init")
    doomed = []
    if request.param != "theirs":
        shutil.copy(old, folder / "x.raw")
        doomed.append(tool("backup", repo, "host1", "web01", folder / "x.raw").strip())
        snapshot = tool("backup", repo, "host1", "web01", new).strip()
        kept[snapshot, "/web01/vda.raw/vda.raw"] = new
        doomed.append(tool("backup", repo, "host1", "web02", disk(folder / "gone.raw", 7, "rrrrr")).strip())
    if request.param != "ours":
        doomed.append(theirs(folder, repo, "source", "first", old))
        kept[theirs(folder, repo, "source", "second", new), "/vda.raw"] = new
    for snapshot in doomed:
        restic(repo, "forget", snapshot)
    return Made(folder, repo, kept)


def test_prune(made, tmp_path):
    copy = made.copy(tmp_path)
    before = size(copy.repo)
    prune(copy.repo, tmp_path / "cache", "0")
    assert size(copy.repo) < 0.8 * before
    copy.check()
    copy.restored_by_us()
    assert not locks(copy.repo)
    # Nothing is left for restic to remove.
    assert "unused size after prune: 0 B" in restic(copy.repo, "prune", "--max-unused", "0")
    copy.check()
    assert "no errors were found" in restic(copy.repo, "check")


@pytest.mark.parametrize("made", ["mixed"], indirect=True)
def test_turns(made, tmp_path):
    """restic prunes, both write, we prune, with the cache of before."""
    copy = made.copy(tmp_path)
    cache = tmp_path / "cache"
    tool("list", copy.repo, VMS_TEST_CACHE=str(cache))
    restic(copy.repo, "prune", "--max-unused", "0")
    more = disk(tmp_path / "more.raw", 9, "rrrr")
    late = tool("backup", copy.repo, "host1", "web03", more, VMS_TEST_CACHE=str(cache)).strip()
    restic(copy.repo, "forget", tool("backup", copy.repo, "host1", "web04", disk(tmp_path / "vdb", 10, "rrr"),
                                     VMS_TEST_CACHE=str(cache)).strip())
    before = size(copy.repo)
    prune(copy.repo, cache, "5%")
    assert size(copy.repo) < before - (2 << 20)
    copy.kept = {**copy.kept, (late, "/web03/more.raw/more.raw"): more}
    copy.check()


@pytest.mark.parametrize("made", ["mixed"], indirect=True)
def test_killed(made, tmp_path):
    """kill -9 before every change: nothing is lost at once, and the next run finishes."""
    (tmp_path / "whole").mkdir()
    steps = int(prune(made.copy(tmp_path / "whole").repo, tmp_path / "whole/cache", "0"))
    assert steps >= 5
    for step in range(1, steps + 1):
        folder = tmp_path / str(step)
        folder.mkdir()
        copy = made.copy(folder)
        prune(copy.repo, folder / "cache", "0", step, status=-9)
        restic(copy.repo, "unlock")
        assert "no errors were found" in restic(copy.repo, "check")
        prune(copy.repo, folder / "cache", "0")
        if step < steps:
            assert_green(copy.repo)
            shutil.rmtree(folder)
        else:
            copy.check()


@pytest.mark.parametrize("made", ["mixed"], indirect=True)
@pytest.mark.parametrize("what", ["data", "index"])
def test_missing(made, tmp_path, what):
    """An object that is needed is gone: nothing is deleted, and the message says what it is."""
    copy = made.copy(tmp_path)
    path = max((path for path in (copy.repo / what).rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    path.unlink()
    before = sorted(copy.repo.rglob("*"))
    message = prune(copy.repo, tmp_path / "cache", "0", status=7)
    assert sorted(copy.repo.rglob("*")) == before
    assert any(snapshot[:8] in message for snapshot, _ in copy.kept)
    assert (path.name if what == "data" else "no pack") in message
