# SPDX-License-Identifier: LGPL-2.1-or-later
"""A place of plain images made by hand with qemu-img: what another program can make, vmsnap must read."""
import hashlib
import json
import random
import subprocess

IDS = ["aaaa000000000001", "bbbb000000000002", "cccc000000000003"]
SIZE, CLUSTER, MIB = 8 << 20, 65536, 1 << 20


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Place:
    """Three snapshots of one disk, each an overlay on the one before; contents[n] is what the guest saw."""

    def __init__(self, folder, domain="web01"):
        self.folder, self.domain, self.contents = folder, domain, []
        folder.mkdir()
        (folder / "vmsnap-images.json").write_text(json.dumps({"version": 1, "id": "ab" * 32}))
        content, choice = bytearray(SIZE), random.Random(1)
        for number, _ in enumerate(IDS):
            self.image(number).parent.mkdir(parents=True)
            backing = f"../{IDS[number - 1]}/vda.qcow2" if number else None
            self.create(number, backing)
            commands = ["-c", "write -z 2M 1M"] if number == 2 else []
            if number == 2:
                content[2 * MIB:3 * MIB] = bytes(MIB)
            for _ in range(6):
                at = choice.randrange(SIZE // CLUSTER) * CLUSTER + choice.randrange(CLUSTER // 512) * 512
                length = min(choice.randrange(1, 300) * 512, SIZE - at)
                pattern = choice.randrange(1, 256)
                commands += ["-c", f"write -P {pattern} {at} {length}"]
                content[at:at + length] = bytes([pattern]) * length
            subprocess.run(["qemu-io", "-f", "qcow2", *commands, self.image(number)], check=True,
                           stdout=subprocess.DEVNULL)
            self.contents.append(bytes(content))
            (self.image(number).parent / "domain.xml").write_text("<domain type='qemu'><name>web01</name></domain>")
            self.write(number)

    def image(self, number):
        return self.folder / self.domain / IDS[number] / "vda.qcow2"

    def create(self, number, backing, *options):
        words = ["-u", "-b", backing, "-F", "qcow2"] if backing else []
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, *words, self.image(number), str(SIZE)],
                       check=True)

    def write(self, number, **changes):
        """The manifest, of the files as they are now."""
        image, xml = self.image(number), self.image(number).parent / "domain.xml"
        disk = {"target": "vda", "bus": "virtio", "format": "qcow2", "source": "/nowhere/vda.qcow2",
                "virtual_size": SIZE, "chunk_size": CLUSTER, "tracking": None,
                "image": {"file": "vda.qcow2", "bytes": image.stat().st_size, "sha256": sha256(image),
                          "backing": IDS[number - 1] if number else None}}
        disk["image"].update(changes.pop("image", {}))
        document = {
            "schema": "vmsnap.manifest.v1", "format": "qcow2", "id": IDS[number],
            "domain": {"name": self.domain, "uuid": "11111111-2222-3333-4444-555555555555"}, "host": "here",
            "time": f"2026-11-2{number}T00:00:00Z", "engine": "none", "consistency": "crash",
            "frozen_filesystems": 0, "memory": None, "nvram": False, "tpm": False, "full_reason": None,
            "versions": {"vmsnap": "0.1.0", "libvirt": None, "qemu": None}, "disks": [disk],
            "files": [{"file": "domain.xml", "bytes": xml.stat().st_size, "sha256": sha256(xml)}], "notes": []}
        (image.parent / "vmsnap.json").write_text(json.dumps(document | changes))
