# SPDX-License-Identifier: LGPL-2.1-or-later
"""Places of plain images, looked at without vmsnap: its manifests, and qemu-img for the rest."""
import json
import os
import re
from pathlib import Path

import domains
import s3
from tool import validate
from tracked import Tracked

MARK = "vmsnap-images.json"


def local(vmsnap, name, folder):
    """The place as a folder; one in a bucket is fetched whole."""
    place = vmsnap.places[name]
    if "folder" in place:
        return place["folder"]
    prefix = place["prefix"] + "/"
    for key in s3.objects(prefix):
        status, body = s3.request("GET", f"/{s3.BUCKET}/{key}")
        assert status == 200, body
        path = folder / key.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def check_snapshot(folder):
    """The manifest of a snapshot, which says truly what is there."""
    manifest = json.loads((folder / "vmsnap.json").read_text())
    validate(manifest)
    assert manifest["format"] == "qcow2" and manifest["id"] == folder.name
    files = [*manifest["files"], *(disk["image"] for disk in manifest["disks"])]
    assert files_below(folder) == {"vmsnap.json", *(file["file"] for file in files)}
    for file in files:
        path = folder / file["file"]
        assert path.stat().st_size == file["bytes"]
        assert domains.file_sha256(path) == file["sha256"], file
    for disk in manifest["disks"]:
        check_image(folder / disk["image"]["file"], disk)
    return manifest


def check_image(path, disk):
    domains.qemu_img("check", "-f", "qcow2", path)
    info = json.loads(domains.qemu_img("info", "--output=json", path))
    assert info["virtual-size"] == disk["virtual_size"] and info["cluster-size"] == 65536
    backing = disk["image"]["backing"]
    assert info.get("backing-filename") == (backing and f"../{backing}/{path.name}")
    assert info.get("backing-filename-format") == (backing and "qcow2")
    assert (backing is None) == (disk["tracking"]["method"] == "none")


class Plain(Tracked):
    """As Tracked, stored as plain images."""

    def __init__(self, vmsnap, folder, name, formats, to="dir", **options):
        vmsnap.count += 1
        place = vmsnap.repository(to, False, f"images-{to}-{vmsnap.count}")
        super().__init__(vmsnap, folder, name, formats, to=place, **options)
        self.manifests = {}

    def export(self, *args, to=None):
        return super().export("--format=qcow2", *args, to=to)

    @property
    def place(self):
        """On this machine, as it is now."""
        folder = self.vmsnap.folder / f"place-{self.to}"
        return local(self.vmsnap, self.to, folder)

    def snapshot(self, *args, keep=True, to=None, exact=True):
        record = self.create()
        frozen = {disk["target"]: domains.image_sha256(disk["frozen_image"], disk["frozen_format"],
                                                       self.folder, share=True)
                  for disk in record["disks"]}
        return self.compare(self.export(*(["--keep-overlays"] if keep else []), *args), frozen)

    def compare(self, document, frozen):
        """What was stored with what was frozen; of each disk how it was tracked."""
        self.last = document
        where = document["snapshot"]["repository"]
        assert where["format"] == "qcow2" and re.fullmatch("[a-z0-9._-]+/[0-9a-f]{16}",
                                                           where["folder"])
        place = self.place
        self.stored = place / where["folder"]
        assert domains.file_sha256(self.stored / "vmsnap.json") == where["snapshot"]
        self.manifest = check_snapshot(self.stored)
        for target, sha256 in frozen.items():
            found = domains.image_sha256(self.stored / f"{target}.qcow2", "qcow2", self.folder)
            assert found == sha256, target
        tracking = {disk["target"]: disk["tracking"] for disk in self.manifest["disks"]}
        assert tracking == {disk["target"]: disk["tracking"]
                            for disk in document["snapshot"]["disks"]}
        return tracking

    def image(self, target="vda"):
        return next(disk["image"] for disk in self.manifest["disks"] if disk["target"] == target)

    def images_stored(self):
        return sorted(Path(name).parent.name for name in files_below(self.place)
                      if os.path.basename(name) == "vmsnap.json")
