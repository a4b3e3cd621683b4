# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading a place of plain images back, and what is refused there."""
import os
import shutil
import subprocess

import pytest

from conftest import PROGRAM
from images import IDS, SIZE, Place

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("plain") / "place")


@pytest.fixture
def place(made, vmsnap):
    """A copy of its own, and the configuration of one who has never heard of a password."""
    vmsnap.write("")
    copy = object.__new__(Place)
    copy.__dict__ = made.__dict__ | {"folder": vmsnap.folder / "place"}
    shutil.copytree(made.folder, copy.folder)
    return copy


@pytest.fixture
def out(vmsnap):
    folder = vmsnap.folder / "out"
    folder.mkdir()
    return folder


def restore(place, out, snapshot="latest", *words):
    return ["restore", snapshot, "--from", place.folder, "--disk", "vda", "--disks-to", out, *words]


def refused(vmsnap, place, out, says, status=7):
    """Neither restored nor whole, and not a file is left."""
    vmsnap.fails(status, *restore(place, out), says=says)
    assert not list(out.iterdir())


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_restore(vmsnap, place, out, number, form):
    document = vmsnap.run(*restore(place, out, IDS[number][:6], "--format", form, "--json")).json
    disk, = document["disks"]
    file, = out.iterdir()
    assert disk["path"] == str(file) and file.stat().st_mode & 0o777 == 0o600
    if form == "qcow2":
        subprocess.run(["qemu-img", "check", "-q", file], check=True)
    flat = vmsnap.folder / "flat"
    subprocess.run(["qemu-img", "convert", "-f", form, "-O", "raw", file, flat], check=True)
    assert flat.read_bytes() == place.contents[number]


def test_started_by_somebody_careless(vmsnap, place, out):
    """Who ignores the end of his children hands that down: ours must be seen to end all the same."""
    words = [str(word) for word in restore(place, out, IDS[0][:6], "--format", "qcow2")]
    subprocess.run(["env", "--ignore-signal=CHLD", PROGRAM, words[0], "--config", vmsnap.config,
                    *words[1:]], check=True, env=vmsnap.env)
    assert len(list(out.iterdir())) == 1


def test_list_and_show(vmsnap, place):
    shown = vmsnap.run("list", "--from", place.folder, "--json").json["snapshots"]
    assert len(shown) == 3
    assert vmsnap.run("list", "db01", "--from", place.folder).out == "No such snapshot in this repository.\n"
    assert vmsnap.run("list", "web01", "--from", place.folder).out.count("web01") == 3
    for name in ("latest", IDS[2][:4]):
        assert IDS[2] in vmsnap.run("show", name, "--from", place.folder).out
    vmsnap.run("show", "latest", "--from", place.folder, "--json").json
    vmsnap.fails(4, "show", "4f2a", "--from", place.folder, says=["no snapshot 4f2a", place.folder])
    vmsnap.fails(1, "show", "xyzz", "--from", place.folder, says="not a snapshot id")


def test_verify(vmsnap, place):
    document = vmsnap.run("verify", "latest", "--from", place.folder, "--json").json
    assert document["disks"] == 1 and document["chunks"] == 4  # three images and domain.xml
    assert document["bytes"] == sum(place.image(n).stat().st_size for n in range(3)) + (
        place.image(2).parent / "domain.xml").stat().st_size
    assert "4 objects" in vmsnap.run("verify", "latest", "--from", place.folder).out


@pytest.mark.parametrize("number", range(3))
def test_damaged(vmsnap, place, out, number):
    """One bit, in any image of the chain."""
    data = bytearray(place.image(number).read_bytes())
    data[-1000] ^= 1
    place.image(number).write_bytes(data)
    says = ["disk vda", f"{IDS[number]}/vda.qcow2 is damaged", "SHA-256"]
    refused(vmsnap, place, out, says)
    vmsnap.fails(7, "verify", "latest", "--from", place.folder, says=says)


@pytest.mark.parametrize("name,says", [
    (f"{IDS[0]}/vda.qcow2", "vda.qcow2 is missing"),
    (f"{IDS[1]}/vmsnap.json", f"stands on that of snapshot {IDS[1]}, which is not there"),
    (f"{IDS[2]}/domain.xml", "domain.xml is missing"),
])
def test_missing(vmsnap, place, out, name, says):
    (place.folder / "web01" / name).unlink()
    refused(vmsnap, place, out, says)
    vmsnap.fails(7, "verify", "latest", "--from", place.folder, says=says)


def test_too_long(vmsnap, place, out):
    with place.image(1).open("ab") as image:
        image.write(b"x")
    refused(vmsnap, place, out, [f"{IDS[1]}/vda.qcow2 has", "the manifest says"])


@pytest.mark.parametrize("backing", ["/etc/passwd", f"../{IDS[1]}/vda.qcow2", "json:{}", None])
def test_header_of_another(vmsnap, place, out, backing):
    """A full image that stands on something, an overlay that does not stand on what the manifest says."""
    number = 0 if backing else 1
    place.create(number, backing)
    place.write(number)
    refused(vmsnap, place, out, "stands on")


def test_encrypted(vmsnap, place, out):
    data = bytearray(place.image(0).read_bytes())
    data[32:36] = (1).to_bytes(4, "big")
    place.image(0).write_bytes(data)
    place.write(0)
    refused(vmsnap, place, out, "no qcow2 image of ours")


@pytest.mark.parametrize("options", [("-o", "compat=0.10"), ("-o", "data_file=other")])
def test_header_of_more(vmsnap, place, out, options):
    """What QEMU would open beside the image, or what is not ours to read."""
    place.image(0).unlink()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, "vda.qcow2", str(SIZE)], check=True,
                   cwd=place.image(0).parent)
    place.write(0)
    refused(vmsnap, place, out, "no qcow2 image of ours")


def test_other_size(vmsnap, place, out):
    subprocess.run(["qemu-img", "resize", "-q", place.image(0), str(2 * SIZE)], check=True)
    place.write(0)
    refused(vmsnap, place, out, "is a disk of")


def test_ring(vmsnap, place, out):
    place.write(0, image={"backing": IDS[2]})
    refused(vmsnap, place, out, "more than 200")


@pytest.mark.parametrize("changes,says", [
    ({"id": IDS[1]}, "is of another snapshot"),
    ({"domain": {"name": "db01", "uuid": "11111111-2222-3333-4444-555555555555"}}, "is of another snapshot"),
    ({"schema": "vmsnap.manifest.v9"}, "vmsnap.manifest.v9"),
])
def test_manifest_of_another(vmsnap, place, changes, says):
    place.write(2, **changes)
    result = vmsnap.run("list", "--from", place.folder, status=7 if "another" in says else 1)
    assert says in result.err and IDS[2] in result.err


def test_domain_is_no_path(vmsnap, place, out):
    """Its folder here would be a harmless one, the files of a restore would not."""
    (place.folder / "web01").rename(place.folder / "_._evil")
    place.domain = "_._evil"
    for number in range(3):
        place.write(number, domain={"name": "../evil", "uuid": "11111111-2222-3333-4444-555555555555"})
    before = set(vmsnap.folder.iterdir())
    vmsnap.fails(1, *restore(place, out, "latest", "--format", "raw"), says='domain name "../evil"')
    assert not list(out.iterdir()) and set(vmsnap.folder.iterdir()) == before


@root_only
def test_no_space(vmsnap, place, out):
    """Once for the images and once for the disk: known before anything is written."""
    images = sum(place.image(number).stat().st_size for number in range(3))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={images * 3 // 2}", "tmpfs", out], check=True)
    try:
        refused(vmsnap, place, out, ["are free", "are needed"], status=9)
    finally:
        subprocess.run(["umount", out], check=True)


@pytest.mark.parametrize("words", [("forget", "--keep-last", "1", "--from"), ("prune",)])
@pytest.mark.parametrize("password", [True, False])
def test_no_repository(vmsnap, place, words, password):
    env = {"VMSNAP_PASSWORD": "x"} if password else None
    vmsnap.fails(3, *words, place.folder, says=["plain images", "DOMAIN/ID", "newest first"], env=env)
    assert len(list(place.folder.rglob("vmsnap.json"))) == 3


def test_init(vmsnap, place):
    vmsnap.fails(3, "init", place.folder, says=["plain images", "left as it is"], env={"VMSNAP_PASSWORD": "x"})
    assert not (place.folder / "config").exists()
