# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever runs full, it is said which and where, with exit status 9; nothing is lost, and with room the same command
does its work. (What grows while the guest runs on overlays: test_overlay_guard.py.)"""
import contextlib
import os
import subprocess

import pytest

import cow
import domains
from test_bad_store import fill_up, tmpfs
from tool import DONE, NO_SPACE, Vmsnap
from tracked import Tracked, making

MIB = 1 << 20


@contextlib.contextmanager
def full(folder, size="64k"):
    """A file system with nothing left, until the block ends."""
    with tmpfs(folder, size):
        fill_up(folder)
        yield folder


def database_full(vmsnap, *args):
    """SQLite cannot write a thing."""
    done = cow.traced(vmsnap, args, "-o/dev/null", "-P", vmsnap.state / "vmsnap.db-wal", "-epwrite64",
                      "-einject=pwrite64:error=ENOSPC")
    assert done.returncode == NO_SPACE and "vmsnap.db" in done.stderr and "space" in done.stderr, done
    return done


@pytest.fixture
def small(vmsnap, shut_off, tmp):
    """A state directory on a small file system, for that domain."""
    with tmpfs(tmp / "small-state", "8m") as folder:
        yield vmsnap.with_state(folder)


def test_create_without_database(vmsnap, shut_off):
    database_full(vmsnap, "create", shut_off.name)
    shut_off.is_untouched()
    assert not vmsnap.on_host(shut_off.name)


def test_export_without_database(vmsnap, captured):
    database_full(vmsnap, "export", captured.name, "--to", "dir")
    captured.is_captured()
    vmsnap.run("export", captured.name, "--to", "dir")


def test_drop_without_database(vmsnap, captured, shut_off):
    """What cannot be written down is not begun: half of it might pass for the snapshot later."""
    database_full(vmsnap, "drop", captured.name)
    captured.is_captured()
    vmsnap.run("drop", captured.name)
    assert not vmsnap.on_host(captured.name)


def test_commit_without_database(vmsnap, captured, shut_off):
    vmsnap.run("export", captured.name, "--to", "dir", "--keep-overlays")
    database_full(vmsnap, "commit", captured.name)
    assert [one["status"] for one in vmsnap.on_host(captured.name)] == ["exported"]
    vmsnap.run("commit", captured.name)
    shut_off.is_untouched()


def test_recover_without_database(vmsnap, captured, shut_off):
    """Of a merge that was killed."""
    vmsnap.run("export", captured.name, "--to", "dir", "--keep-overlays")
    catalog = subprocess.run(["sqlite3", vmsnap.state / "vmsnap.db", "UPDATE snapshots SET status = 'committing' "
                              f"WHERE id = '{captured.id}'"], check=False)
    assert catalog.returncode == 0
    done = cow.traced(vmsnap, ["recover"], "-o/dev/null", "-P", vmsnap.state / "vmsnap.db-wal", "-epwrite64",
                      "-einject=pwrite64:error=ENOSPC")
    assert done.returncode != DONE, done
    vmsnap.run("recover")
    shut_off.is_untouched()
    assert not vmsnap.on_host(captured.name)


def test_full_catalog_does_not_keep_from_dropping(small, shut_off):
    """Its journal has room already."""
    small.create(shut_off.name)
    fill_up(small.state)
    small.run("drop", shut_off.name)
    assert not small.on_host(shut_off.name)
    shut_off.is_untouched()


@pytest.fixture
def two_disks(vmsnap, top):
    """On a file system of their own: of the first image nothing is there yet, the second is there in full."""
    with domains.loop_mounted(top / "two", top / "two.image", "ext4", 96 * MIB) as folder, making(Tracked) as make:
        images = folder / "images"
        images.mkdir()
        images.chmod(0o711)
        domain = make(vmsnap, images, "two", {"vda": "raw", "vdb": "raw"}, start=False, data=0)
        with open(domain.paths["vdb"], "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, domain.size)
        yield domain


def written(domain, target):
    domain.io(target, "write -P 7 0 6M")
    domain.io(target, "flush")


@pytest.mark.parametrize("runs", [True, False])
def test_one_disk_makes_room_for_the_other(vmsnap, two_disks, runs):
    """The first cannot be merged, and keeps the second, which needs nothing, from nothing; then it can."""
    if runs:
        two_disks.start()
    two_disks.create()
    for target in two_disks.paths:
        written(two_disks, target)
    fill_up(two_disks.folder.parent)
    vmsnap.run("drop", two_disks.name)
    for path in two_disks.paths.values():
        with open(path, "rb") as file:
            assert file.read(6 * MIB) == b"\7" * 6 * MIB, path


def test_no_room_for_one_disk(vmsnap, two_disks):
    """Nor is there when the other is merged: the other's overlay is gone all the same."""
    two_disks.create()
    written(two_disks, "vda")
    fill_up(two_disks.folder.parent)
    vmsnap.fails(NO_SPACE, "drop", two_disks.name, says=["vda", "merging may need 6", "make room there"])
    left = domains.sources(two_disks.domain, inactive=True)
    assert left["vdb"] == str(two_disks.paths["vdb"]) and left["vda"] != str(two_disks.paths["vda"])
    (two_disks.folder.parent / "ballast").unlink()
    vmsnap.run("drop", two_disks.name)
    assert domains.sources(two_disks.domain, inactive=True)["vda"] == str(two_disks.paths["vda"])


def test_no_inode_for_an_overlay(vmsnap, blank, images, tmp):
    """The second of two: the first is removed again."""
    small = images / "few"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m,nr_inodes=4,mode=711", "tmpfs", small], check=True)
    try:
        disks = [domains.make_image(images / "many.raw", "raw", 8 * MIB, 1),
                 domains.make_image(small / "few.raw", "raw", 8 * MIB, 1)]
        (small / "ballast").write_text("")
        for number in range(4):
            with contextlib.suppress(OSError):
                (small / f"more-{number}").write_text("")
        domain = blank("few", [domains.disk(f"vd{'ab'[i]}", path, "raw") for i, path in enumerate(disks)], start=False)
        vmsnap.fails(NO_SPACE, "create", "few", says=["vdb", small, "space"])
        assert domains.sources(domain) == {"vda": str(disks[0]), "vdb": str(disks[1])}
        assert not list(images.glob("many.*vmsnap*"))
        (small / "ballast").unlink()
        for path in small.glob("more-*"):
            path.unlink()
        vmsnap.run("backup", "few", "--to", "dir")
    finally:
        domains.remove("few")
        subprocess.run(["umount", "-l", small], check=True)


def test_no_room_for_uefi_variables(small, blank, images):
    """They are copied after the cut, which is undone."""
    image = domains.make_image(images / "uefi.qcow2", "qcow2", 8 * MIB, 1)
    variables = domains.make_nvram(images / "uefi_VARS.fd", "raw")
    blank("uefi-full", [domains.disk("vda", image)], start=False, top="<features><acpi/></features>",
          os=f"<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader><nvram>{variables}</nvram>")
    small.run("list")
    fill_up(small.state, 300 << 10)
    small.fails(NO_SPACE, "create", "uefi-full", says=["UEFI variables", small.state, "space"])
    assert domains.sources(domains.find("uefi-full")) == {"vda": str(image)}
    assert not list(images.glob("uefi*vmsnap*")) and not list(small.state.glob("nvram/*"))
    (small.state / "ballast").unlink()
    small.run("create", "uefi-full")
    small.run("drop", "uefi-full")


def test_full_index_cache(vmsnap, captured, tmp):
    """Slower, and said; never a reason to fail. What stands in for it is gone afterwards."""
    other = Vmsnap(tmp / "cacheless", {name: {"password-file": vmsnap.password, **keys}
                                       for name, keys in vmsnap.repositories.items()}, state=vmsnap.state)
    spare = tmp / "spare"
    spare.mkdir()
    with full(other.folder / "cache"):
        done = other.run("export", captured.name, "--to", "dir", "--keep-overlays", env={"TMPDIR": str(spare)})
        assert "index cache" in done.err and "slower" in done.err and str(spare) in done.err, done
        other.run("verify", captured.id, "--from", "dir", env={"TMPDIR": str(spare)})
    assert not list(spare.iterdir())
    vmsnap.run("commit", captured.name)


def test_full_temporary_folder(vmsnap, blank, images, tmp):
    """A disk of so many chunks that their list is kept in a file."""
    image = domains.make_image(images / "long.raw", "raw", 512 * MIB, 2)
    blank("long", [domains.disk("vda", image, "raw")], start=False)
    vmsnap.run("create", "long")
    with full(tmp / "full-tmp") as folder:
        options = {"env": {"TMPDIR": str(folder)}}
        command = ["export", "long", "--to", "dir", "--chunk-size=128K"]
        vmsnap.fails(NO_SPACE, *command, says=[folder, "TMPDIR", "space"], **options)
        [waiting] = vmsnap.on_host("long")
        assert waiting["status"] == "captured"
        (folder / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        vmsnap.run(*command, **options)


@pytest.mark.parametrize("part", ["locks", "index", "snapshots"])
def test_full_part_of_the_directory_store(vmsnap, captured, part):
    """A repository is never left with a snapshot that is not whole."""
    name = vmsnap.fresh("dir")
    repository = vmsnap.places[name]["folder"]
    (repository / part).mkdir(exist_ok=True)
    with full(repository / part):
        vmsnap.fails(NO_SPACE, "export", captured.name, "--to", name, says=[repository / part, "space"])
        captured.is_captured()
    assert not [path for path in domains.folder_files(repository) if path.startswith("snapshots/")]
    vmsnap.run("verify", vmsnap.export_id(captured.name, "--to", name), "--from", name)


def test_full_place_of_plain_images(vmsnap, captured, tmp):
    with tmpfs(tmp / "full-place", "2m") as folder:
        vmsnap.fails(NO_SPACE, "export", captured.name, "--to", folder, "--format=qcow2", says=[folder, "space"])
        captured.is_captured()
        assert not list(folder.rglob("vmsnap.json"))
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        vmsnap.run("export", captured.name, "--to", folder, "--format=qcow2")
        vmsnap.run("verify", "latest", "--from", folder)


@pytest.mark.parametrize("target, name, calls", [
    ("vdb", "off-b.raw", "pwrite64"), ("vda", "off-a.qcow2", "pwrite64,pwritev"), ("vda", "off-vda.raw", "pwrite64")])
def test_restore_target_runs_full(vmsnap, stored, images, target, name, calls):
    """What was free when it was checked is gone."""
    folder = images / f"target-{name}"
    folder.mkdir()
    args = ["restore", stored.snapshot, "--from", stored.to, "--disk", target, "--disks-to", folder,
            f"--format={name.split('.')[1]}"]
    done = cow.traced(vmsnap, args, "-f", "-o/dev/null", "-P", folder / f"{name}.vmsnap-partial", f"-e{calls}",
                      f"-einject={calls}:error=ENOSPC:when=3+")
    assert done.returncode == NO_SPACE, done
    for words in (target, str(folder), "space"):
        assert words in done.stderr, done
    assert not list(folder.iterdir())
    vmsnap.run(*args)
    assert (folder / name).exists()
