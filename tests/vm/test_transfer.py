# SPDX-License-Identifier: LGPL-2.1-or-later
"""How an export goes about it: limits, compression, threads, chunk size; and what is uploaded by an
export that goes on where another one was interrupted."""
import random
import shutil
import signal
from pathlib import Path

import pytest

import domains
from tool import INTERRUPTED, USAGE

MIB = 1 << 20
SIZE = 48 * MIB


@pytest.fixture(scope="module")
def off(vmsnap, images):
    """A captured snapshot of a domain that is shut off, 40 MiB that do not compress and 4 that do:
    the path of its frozen image."""
    path = images / "transfer.raw"
    with open(path, "wb") as file:
        file.write(random.Random("transfer").randbytes(40 * MIB))
        file.write(b"".join(b"%d\n" % i for i in range(MIB))[:4 * MIB])
        file.truncate(SIZE)
    path.chmod(0o600)
    domains.define("transfer", [domains.disk("vda", path, "raw")])
    vmsnap.create("transfer")
    yield path
    vmsnap.run("drop", "transfer")
    domains.remove("transfer")


def arguments(vmsnap, to):
    [snapshot] = vmsnap.on_host("transfer")
    return ("export", "transfer", "--to", to, "--keep-overlays", "--snapshot", snapshot["id"])


def export(vmsnap, *options, to=None):
    """Into a fresh repository: the repository's name and what export --json says."""
    to = to or vmsnap.fresh("dir")
    return to, vmsnap.json(*arguments(vmsnap, to), *options)


def test_as_asked(vmsnap, off, images):
    to, result = export(vmsnap, "--chunk-size=256K", "--compression=off", "--threads=3",
                        "--limit-read=1G", "--limit-upload=1G")
    stats = result["stats"]
    assert stats["bytes_uploaded"] > 44 * MIB > stats["bytes_total"] - stats["bytes_zero"] - MIB
    assert stats["blobs_new"] > 44 * 4
    busy = stats["busy_us"]
    assert all(busy[stage] > 0 for stage in ("read", "hash", "pack", "upload")), busy
    snapshot = result["snapshot"]["repository"]["snapshot"]
    [disk] = vmsnap.json("show", snapshot, "--from", to)["snapshot"]["disks"]
    assert disk["chunk_size"] == 256 << 10
    assert vmsnap.restic(to).dump_sha256(snapshot, "/transfer/vda/disk.raw") == \
        domains.file_sha256(off)
    folder = images / "back"
    folder.mkdir()
    vmsnap.run("restore", snapshot, "--from", to, "--disk", "vda", "--disks-to", folder)
    [restored] = folder.iterdir()
    assert domains.file_sha256(restored) == domains.file_sha256(off)
    restored.unlink()


def test_compression(vmsnap, off):
    sizes = {level: export(vmsnap, f"--compression={level}")[1]["stats"]["bytes_uploaded"]
             for level in ("off", "auto", "max")}
    assert sizes["off"] - sizes["auto"] > 2 * MIB
    assert sizes["max"] < sizes["auto"]


def threads(process):
    """Their names."""
    return [path.read_text().strip() for path in
            Path(f"/proc/{process.popen.pid}/task").glob("*/comm")]


@pytest.mark.parametrize("option", ["--limit-read=100K", "--limit-upload=100K"])
def test_limits(vmsnap, off, images, option):
    """It would take minutes; an export of as much that begins later, without a limit, ends first,
    on a machine of any speed. An interrupt does not wait for what the limit would still take."""
    path = images / "free.raw"
    shutil.copyfile(off, path)
    path.chmod(0o600)
    domains.define("free", [domains.disk("vda", path, "raw")])
    to, free = vmsnap.fresh("dir"), vmsnap.fresh("dir")
    vmsnap.run("create", "free")
    limited = vmsnap.start(*arguments(vmsnap, to), option, "--threads=3")
    try:
        domains.wait_for(lambda: threads(limited).count("vms-worker") == 3, 60)
        vmsnap.run("export", "free", "--to", free)
        assert limited.running()
        assert vmsnap.stored_bytes(to) < vmsnap.stored_bytes(free) - 8 * MIB
    finally:
        limited.send(signal.SIGINT)
        status = limited.wait().status
        domains.remove("free")
    assert status == INTERRUPTED


def test_interrupted_uploads_nothing_twice(vmsnap, off):
    """Both together store as much as one that was never interrupted, but for an index file."""
    whole = vmsnap.stored_bytes(export(vmsnap)[0])
    to = vmsnap.fresh("dir")
    process = vmsnap.start(*arguments(vmsnap, to), "--limit-upload=2M")
    domains.wait_for(lambda: vmsnap.stored_bytes(to) > 16 * MIB)
    process.send(signal.SIGINT)
    assert process.wait().status == INTERRUPTED
    before = vmsnap.stored_bytes(to)
    assert before < whole - 8 * MIB
    uploaded = export(vmsnap, to=to)[1]["stats"]["bytes_uploaded"]
    assert uploaded < whole - 15 * MIB
    assert vmsnap.stored_bytes(to) < whole + MIB // 4


def test_what_is_no_option(vmsnap, off):
    for option, word in (("--limit-upload=0", "bytes per second"), ("--limit-read=x", "20M"),
                         ("--compression=9", "auto, off, max"), ("--threads=0", "1 to 256"),
                         ("--chunk-size=1000K", "256K")):
        vmsnap.fails(USAGE, "export", "transfer", "--to", "dir", option,
                     says=(option.partition("=")[0], word))
