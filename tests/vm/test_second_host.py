# SPDX-License-Identifier: LGPL-2.1-or-later
"""Another host: a second libvirtd of ours, in a lab within the lab, that knows nothing of the first
but the repository."""
import json
import os
import subprocess
from pathlib import Path

import pytest

import domains
import tool
from guest import Lab, Watched

LAB = Path(__file__).resolve().parents[1] / "lab"


class Second:
    def __init__(self, folder):
        self.dir = folder

    def run(self, *command):
        env = {key: value for key, value in os.environ.items() if not key.startswith("LAB_")}
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=180, env=env)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def __enter__(self):
        self.run(LAB / "up", self.dir)
        # the guest's console is a file, whose folder the other host has to itself as well
        self.run(LAB / "enter", self.dir, "mount", "-t", "tmpfs", "-o", "mode=755", "logs",
                 Lab().dir / "log")
        return self

    def __exit__(self, *_):
        self.run(LAB / "down", self.dir)

    def virsh(self, *words):
        return self.run(LAB / "enter", self.dir, "virsh", "-q", "-c", "qemu:///system", *words)

    def domain(self, *words):
        return json.loads(self.run(LAB / "domain", self.dir, *words))


@pytest.fixture(scope="module")
def second(top):
    with Second(top / "second-lab") as second:
        yield second


def test_memory_goes_on_elsewhere(vmsnap, guest, unharmed, second, images, tmp, monkeypatch):
    """The guest of this host goes on at the cut on the other, under its own name, with its disks as
    they were; here it runs on."""
    before = guest.beat()
    record = vmsnap.create(guest.name, "--quiesce=off")
    after = guest.beat()
    frozen = {disk["target"]: domains.image_sha256(disk["frozen_image"], disk["frozen_format"],
                                                   images, True) for disk in record["disks"]}
    snapshot = vmsnap.export_id(guest.name, "--to", "s3")

    program = tmp / "vmsnap-elsewhere"
    program.write_text(f"#!/bin/sh\nexec {second.dir}/bin/lab-enter {tool.PROGRAM} \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setattr(tool, "PROGRAM", str(program))
    elsewhere = vmsnap.with_state(tmp / "second-state")
    assert second.virsh("list", "--all", "--name").split() == []
    result = elsewhere.json("restore", snapshot, "--from", "s3", "--disks-to", images, "--paused")
    assert result["domain"] == {"name": guest.name, "uuid": guest.uuid}
    assert result["memory_source"] == "fuse"

    assert second.virsh("domstate", guest.name).strip() == "paused"
    assert {disk["target"]: domains.image_sha256(disk["path"], disk["format"], images, True)
            for disk in result["disks"]} == frozen
    second.virsh("resume", guest.name)
    seen = second.domain("heartbeat", guest.name, 3)
    assert seen["nonces"] == [before.nonce]
    assert before.tick < seen["first_tick"] and before.seq <= seen["first_seq"]
    assert seen["seq"] > seen["first_seq"] and seen["errors"] == 0 and seen["bad_pages"] == 0
    report = second.domain("labcheck", guest.name)
    assert report["ok"] and report["state"]["memory"]["bad"] == 0
    second.virsh("destroy", guest.name)
    assert guest.writes_on().nonce == before.nonce and guest.last.tick > after.tick


def test_migrates_after_a_snapshot(vmsnap, second):
    """Migration works as ever when a snapshot was taken and merged: libvirt's idea of the domain and
    QEMU's settings are as they were."""
    traveller = Watched("traveller")
    traveller.vm.destroy()
    traveller.vm = Lab().create_domain("traveller", memory=192)
    nonce = traveller.writes_on().nonce
    traveller.silence()
    vmsnap.create("traveller")
    vmsnap.run("drop", "traveller")
    subprocess.run(["virsh", "-q", "migrate", "traveller", "--live", "--unsafe", "--persistent",
                    "--desturi", f"qemu+unix:///system?socket={second.dir}/run/libvirt/libvirt-sock",
                    "--migrateuri", "tcp://127.0.0.1:49799"], check=True, timeout=120)
    assert traveller.domain.isActive() == 0
    seen = second.domain("heartbeat", "traveller", 2)
    assert seen["nonces"] == [nonce] and seen["errors"] == 0 and seen["bad_pages"] == 0
    assert second.domain("labcheck", "traveller")["ok"]
    second.virsh("destroy", "traveller")
    traveller.vm.destroy()
