# SPDX-License-Identifier: LGPL-2.1-or-later
"""P8: what a disk costs follows its data, not its size: 1 GiB of data in 10 GiB and in 1 TiB."""
import random
import time

import pytest

import domains

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
SIZES = {"small": 10 * GIB, "large": TIB}
PIECES = 1024


def fill(path, size):
    """1 GiB in pieces of 1 MiB, all different, spread over the whole disk; each compresses well,
    so that compressing and storing is not what is measured."""
    raw = path.with_suffix(".raw")
    filler = random.Random("filler").randbytes(1 << 14)
    with open(raw, "wb") as file:
        file.truncate(size)
        for i in range(PIECES):
            file.seek(size // PIECES * i)
            file.write((i.to_bytes(8, "big") + filler[8:]) * (MIB // len(filler)))
    domains.qemu_img("convert", "-W", "-m", "4", "-f", "raw", "-O", "qcow2", raw, path)
    raw.unlink()
    path.chmod(0o600)


@pytest.fixture(scope="module")
def exported(vmsnap, images):
    """Both disks, each of a domain that is shut off, in the directory store: {name: (path, run)}"""
    results = {}
    for name, size in SIZES.items():
        path = images / f"{name}.qcow2"
        fill(path, size)
        domains.define(name, [domains.disk("vda", path)])
        vmsnap.run("create", name)
        results[name] = (path, vmsnap.run("export", name, "--to", "dir", "--json", timeout=300))
    yield results
    for name, (path, _) in results.items():
        domains.remove(name)
        path.unlink()


def test_memory_is_bounded(exported):
    for name, (_, run) in exported.items():
        print(f"{name}: {run.seconds:.1f} s, at most {run.max_rss / MIB:.0f} MiB resident")
        # of vmsnap, and of its qemu-nbd too: what the kernel reports is the largest of them
        assert run.max_rss < 256 * MIB


def test_only_data_is_read(exported):
    small, large = (exported[name][1].json["stats"] for name in SIZES)
    assert large["bytes_total"] == TIB
    for result in (small, large):
        assert result["bytes_total"] - result["bytes_zero"] == GIB
    # the same pieces are in the repository already: the list of 1,048,576 chunks is what is new
    assert large["bytes_uploaded"] < 16 * MIB


def test_restored_sparse(exported, vmsnap, images):
    """1 TiB comes back as about 1 GiB on the host, bit by bit the same."""
    path, run = exported["large"]
    to = images / "restored"
    to.mkdir()
    begin = time.monotonic()
    snapshot = run.json["snapshot"]["repository"]["snapshot"]
    result = vmsnap.run("restore", snapshot, "--from", "dir", "--disk", "vda", "--disks-to", to,
                        "--json", timeout=300)
    print(f"restored in {time.monotonic() - begin:.1f} s, {result.max_rss / MIB:.0f} MiB resident")
    assert result.max_rss < 256 * MIB
    [restored] = to.iterdir()
    assert restored.stat().st_blocks * 512 < GIB + GIB // 8
    domains.qemu_img("compare", "-f", "qcow2", "-F", "qcow2", path, restored)
    restored.unlink()
