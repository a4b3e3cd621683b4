# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of a lab's guest by vmsnap and by libvirt itself, and the way back from each: both begin
with the guest on its original disks, and with nothing left of the one before."""
import json
import os
import subprocess
import threading
import time
from pathlib import Path

import libvirt
import libvirt_qemu

NAME = "bench"  # of libvirt's snapshot


class BenchError(Exception):
    pass


class TookTooLong(BenchError):
    pass


def command(*args, timeout=300):
    args = [str(arg) for arg in args]
    try:
        done = subprocess.run(args, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise TookTooLong(f"{args} did not end within {timeout} s") from None
    if done.returncode != 0:
        raise BenchError(f"{args} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


class Stops:
    """When QEMU stopped the guest and let it go on, by QEMU's own clock: libvirt's events, made
    monotonic. Opens a connection of its own, whose event loop runs until the end."""

    def __init__(self):
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._loop, daemon=True).start()
        self.connection = libvirt.open("qemu:///system")
        self._seen = []  # (time, "STOP" or "RESUME"), of the domain that is watched
        self._callbacks = []

    @staticmethod
    def _loop():
        while True:
            libvirt.virEventRunDefaultImpl()

    def _on_event(self, _connection, _domain, event, seconds, micros, _details, _opaque):
        self._seen.append((seconds + micros / 1e6 - time.time() + time.monotonic(), event))

    def watch(self, name):
        domain = self.connection.lookupByName(name)
        for event in ("STOP", "RESUME"):
            self._callbacks.append(libvirt_qemu.qemuMonitorEventRegister(
                self.connection, domain, event, self._on_event, None, 0))

    def forget(self):
        for callback in self._callbacks:
            libvirt_qemu.qemuMonitorEventDeregister(self.connection, callback)
        self._callbacks, self._seen = [], []

    def between(self, begin, end, timeout=10):
        """[(stopped, resumed)]; waits for an event that is still on its way."""
        limit = time.monotonic() + timeout
        while True:
            found, stopped = [], None
            for when, event in sorted(self._seen):
                if begin - 0.05 <= when <= end + 0.05:
                    if event == "STOP":
                        stopped = when
                    elif stopped is not None:
                        found.append((stopped, when))
                        stopped = None
            if found and stopped is None:
                return found
            if time.monotonic() > limit:
                raise BenchError(f"libvirt told of no stop and resume: {self._seen[-4:]}")
            time.sleep(0.01)


class Ours:
    """vmsnap create, vmsnap drop."""

    def __init__(self, guest, folder, engine):
        self.guest, self.engine = guest, engine
        self.config = folder / "vmsnap.conf"
        self.config.write_text(f"[paths]\nstate = {folder}/state\ncache = {folder}/cache\n"
                               f"run = {folder}/run\n")
        self.program = os.environ.get("VMSNAP", "vmsnap")

    def _vmsnap(self, name, *args):
        return command(self.program, name, "--config", self.config, *args)

    def take(self):
        """The record of the snapshot, as schemas/snapshot.v1.json has it."""
        record = json.loads(self._vmsnap("create", "--json", f"--memory={self.engine}",
                                         self.guest.name))["snapshot"]
        if self.engine != "auto" and record["engine"] != self.engine:
            raise BenchError(f"asked for {self.engine}, got {record['engine']}: {record['notes']}")
        return record

    def undo(self):
        self._vmsnap("drop", self.guest.name)


class Libvirts:
    """virsh snapshot-create-as --live; its overlays committed back, its metadata and files removed."""

    def __init__(self, guest, folder, patience):
        self.guest, self.folder, self.patience = guest, folder, patience
        self.targets = list(guest.disks())

    def _overlay(self, target):
        return self.folder / f"{target}.live"

    def take(self):
        """TookTooLong where it does not converge; that one is undone then."""
        disks = []
        for target in self.targets:
            disks += ["--diskspec", f"{target},file={self._overlay(target)},snapshot=external"]
        try:
            command("virsh", "-q", "snapshot-create-as", self.guest.name, NAME, "--live", "--atomic",
                    "--memspec", f"file={self.folder}/memory.live,snapshot=external", *disks,
                    timeout=self.patience)
        except TookTooLong:
            command("virsh", "-q", "domjobabort", self.guest.name)
            limit = time.monotonic() + 60
            while self.guest.libvirt.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
                if time.monotonic() > limit:
                    raise BenchError("libvirt does not give its snapshot up") from None
                time.sleep(0.1)
            self.undo()
            raise
        return {}

    def undo(self):
        for target, path in self.guest.disks().items():
            if path == str(self._overlay(target)):
                command("virsh", "-q", "blockcommit", self.guest.name, target, "--active", "--pivot",
                        "--wait")
        domain = self.guest.libvirt
        if NAME in domain.snapshotListNames():
            domain.snapshotLookupByName(NAME).delete(
                libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
        for path in (self.folder / "memory.live", *map(self._overlay, self.targets)):
            Path(path).unlink(missing_ok=True)
