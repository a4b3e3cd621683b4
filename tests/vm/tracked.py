# SPDX-License-Identifier: LGPL-2.1-or-later
"""A domain whose disks are written to on purpose, and a repository that must follow it."""
import contextlib
import os
import signal
import subprocess
from pathlib import Path

import libvirt
import libvirt_qemu

import domains

MIB = 1 << 20


@contextlib.contextmanager
def making(create):
    """create, of which every domain is gone at the end, with its files."""
    made = []

    def make(*args, **options):
        made.append(create(*args, **options))
        return made[-1]
    yield make
    for domain in made:
        domain.gone()
        for name in domains.folder_files(domain.folder):
            (domain.folder / name).unlink()


class Tracked:
    """A running domain without an operating system: its QEMU writes what it is told to."""
    DEVICE = "/machine/peripheral/ua-{}/virtio-backend"

    def __init__(self, vmsnap, folder, name, formats, size=24 * MIB, start=True, to=None,
                 data=6):
        self.vmsnap, self.folder, self.name, self.size = vmsnap, folder, name, size
        self.to = to or vmsnap.fresh("dir")
        self.memory = "none"  # engine
        self.restic = vmsnap.restic(self.to)
        self.paths = {}
        for target, format in formats.items():
            self.paths[target] = folder / f"{name}-{target}.{format}"
            self.make_image(target, format, data)
        self.formats = dict(formats)
        self.define(start)

    def make_image(self, target, format, data):
        domains.make_image(self.paths[target], format, self.size, data)

    def define(self, start=False):
        """Anew, with the original images."""
        uuid = self.domain.UUIDString() if self.domain else ""
        domains.define(self.name, [self.disk(target) for target in self.formats], start, uuid=uuid)

    def disk(self, target):
        """Its XML; what the guest discards is discarded in the image."""
        return domains.disk(target, self.paths[target], self.formats[target],
                            more=f"<alias name='ua-{target}'/>").replace(
                                "name='qemu'", "name='qemu' discard='unmap'")

    @property
    def domain(self):
        return domains.find(self.name)

    def monitor(self, command):
        return libvirt_qemu.qemuMonitorCommand(
            self.domain, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)

    def io(self, target, command):
        """As the guest would: "write -P 7 1M 64k", "discard 2M 1M" …"""
        if self.domain.isActive():
            said = self.monitor(f'qemu-io -d {self.DEVICE.format(target)} "{command}"')
        else:
            path = domains.sources(self.domain, inactive=True)[target]
            format = "qcow2" if path.endswith(".qcow2") else self.formats[target]
            said = subprocess.run(["qemu-io", "-f", format, "-d", "unmap", "-c", command, path],
                                  capture_output=True, text=True, check=True, timeout=60).stdout
        assert "fail" not in said and "rror" not in said, said

    def start(self):
        self.domain.create()

    def stop(self):
        """QEMU ends and saves what it has to; for the guest, the power is gone."""
        self.domain.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_GRACEFUL)

    def kill(self):
        """QEMU saves nothing."""
        os.kill(int(Path(f"/run/libvirt/qemu/{self.name}.pid").read_text()), signal.SIGKILL)
        domains.wait_for(lambda: not self.domain.isActive())

    def create(self, quiesce="off"):
        return self.vmsnap.create(self.name, f"--memory={self.memory}", f"--quiesce={quiesce}")

    def export(self, *args, to=None):
        result = self.vmsnap.run("export", self.name, "--to", to or self.to, "--json", *args)
        return result.json

    def snapshot(self, *args, keep=True, to=None, exact=True):
        """A cut and its export, whose disks are, bit by bit, those that were frozen. Of each disk
        how it was tracked."""
        record = self.create()
        frozen = {disk["target"]: domains.image_sha256(disk["frozen_image"], disk["frozen_format"],
                                                       self.folder, share=True)
                  for disk in record["disks"]}
        document = self.export(*(["--keep-overlays"] if keep else []), *args, to=to)
        self.last = document
        stored = document["snapshot"]["repository"]["snapshot"]
        restic = self.vmsnap.restic(to or self.to)
        for target, sha256 in frozen.items():
            assert restic.dump_sha256(stored, f"/{self.name}/{target}/disk.raw") == sha256, target
        self.stored = stored
        return {disk["target"]: disk["tracking"] for disk in document["snapshot"]["disks"]}

    def commit_all(self):
        """Newest first."""
        for snapshot in reversed(self.vmsnap.on_host(self.name)):
            self.vmsnap.run("commit", self.name, "--snapshot", snapshot["id"])

    def subtrees(self, stored):
        nodes = self.restic.json("cat", "snapshot", stored)
        tree = self.restic.json("cat", "blob", nodes["tree"])
        inner = self.restic.json("cat", "blob", tree["nodes"][0]["subtree"])
        return {node["name"]: node.get("subtree") for node in inner["nodes"]}

    def gone(self):
        for _ in self.vmsnap.on_host(self.name):
            self.vmsnap.start("drop", self.name).wait()
        left = self.vmsnap.on_host(self.name)
        domains.remove(self.name)
        assert not left, left


def reasons(tracking):
    return {target: how["full_reason"] for target, how in tracking.items()}


def methods(tracking):
    return {target: how["method"] for target, how in tracking.items()}
