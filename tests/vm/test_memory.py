# SPDX-License-Identifier: LGPL-2.1-or-later
"""How memory is stored: once per page, by address, so that what did not change is not stored again;
and still a save image that plain virsh takes."""
import hashlib
import re
import subprocess
from pathlib import Path

import pytest

import domains
from guest import Watched
from lab import Lab

RAM = 256 << 20


class Idle(Watched):
    """A guest that does next to nothing: 24 MiB were written once, 1 MiB is written over and over,
    which lets it find a page of another instant."""

    def __init__(self):
        super().__init__("idle01")
        self.vm.destroy()
        self.vm = Lab().create_domain(self.name, memory=RAM >> 20, writer=0, dirty=1, dirty_size=1,
                                      touch=24)
        domains.wait_for(lambda: self.check()["state"]["memory"]["touched"] == 24, 120, 0.5)


    def wake(self):
        """As little as any guest does: some pages of zeroes get contents. In a plain stream that shifts
        all that follows."""
        status, output = self.vm.execute("/bin/dd", "if=/dev/urandom", "of=/woken", "bs=4k", "count=64")
        assert status == 0, output


class Stored:
    """Two snapshots of it, one after the other, its disks known to the repository before."""

    def __init__(self, vmsnap, guest):
        self.to = vmsnap.fresh("dir")
        self.restic = vmsnap.restic(self.to)
        vmsnap.run("backup", guest.name, "--to", self.to, "--memory=none", "--quiesce=off")
        self.backups, self.sizes = [], [vmsnap.stored_bytes(self.to)]
        for i in range(2):
            if i > 0:
                guest.wake()
            self.backups.append(vmsnap.json("backup", guest.name, "--to", self.to, "--quiesce=off"))
            self.sizes.append(vmsnap.stored_bytes(self.to))
        self.ids = [backup["snapshot"]["repository"]["snapshot"] for backup in self.backups]
        self.manifests = [vmsnap.json("show", one, "--from", self.to)["snapshot"]
                          for one in self.ids]


@pytest.fixture(scope="module")
def guest():
    guest = Idle()
    yield guest
    guest.silence()
    guest.vm.destroy()


@pytest.fixture(scope="module")
def stored(vmsnap, guest):
    return Stored(vmsnap, guest)


def notes(snapshot):
    return {note["code"] for note in snapshot["notes"]}


def test_stored_page_by_page(stored, guest):
    for manifest in stored.manifests:
        assert manifest["consistency"] == "memory"
        assert manifest["memory"]["layout"] == "pages"
        assert "memory-stream" not in notes(manifest)
        # the dirtier, the kernel and what was touched; never more than a record for each page
        assert 24 << 20 < manifest["memory"]["size"] < RAM * 1.02 + (4 << 20)


def test_second_snapshot_uploads_little(stored):
    """A second snapshot of the same idle guest uploads less than 30 % of the first's memory."""
    first, second = (b - a for a, b in zip(stored.sizes, stored.sizes[1:]))
    counted = [backup["stats"]["bytes_uploaded"] for backup in stored.backups]
    engine = stored.manifests[0]["engine"]
    print(f"{engine}: {RAM} bytes of memory, stored {first}, then {second} "
          f"({100 * second / first:.1f} %); by its own count {counted}")
    assert first > 8 << 20
    assert second < first * 0.3
    assert counted[1] < counted[0] * 0.3


def test_restic_reads_every_byte(stored):
    assert "no errors were found" in stored.restic.run("check", "--read-data")


def test_plain_virsh_restores(stored, guest, vmsnap, images):
    """No vmsnap on the way back: restic dump, qemu-img, virsh restore. The guest goes on from the
    cut, and every page is of that instant."""
    before = guest.beat()
    guest.silence()
    guest.domain.destroy()
    for target, path in guest.vm.disks().items():
        raw = images / f"{target}.raw"
        stored.restic.dump(stored.ids[1], f"/{guest.name}/{target}/disk.raw", raw)
        form = "qcow2" if path.endswith("qcow2") else "raw"
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, raw, path], check=True)
    save = images / "memory.save"
    stored.restic.dump(stored.ids[1], f"/{guest.name}/memory/memory.save", save)
    done = subprocess.run(["virsh", "restore", save], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first = guest.first_beat()
    assert first.nonce == before.nonce and first.tick < before.tick
    later = guest.beat()
    assert later.tick > first.tick and later.bad_pages == 0
    memory = guest.check()["state"]["memory"]
    assert memory["pages"] > 0 and memory["bad"] == 0


@pytest.fixture
def firmware(blank, images):
    """A domain that runs nothing but its firmware, with a GiB of memory."""
    path = images / "firmware.raw"
    domains.make_image(path, "raw", 1 << 20, 1)
    return blank("firmware", [domains.disk("vda", path, "raw")], memory=1024)


def test_untouched_memory_costs_next_to_nothing(vmsnap, firmware):
    """1 GiB that nobody wrote to: under 1 % of it in the repository, all of it comes back."""
    to = vmsnap.fresh("dir")
    empty = vmsnap.stored_bytes(to)
    stats = vmsnap.json("backup", "firmware", "--to", to, "--quiesce=off")["stats"]
    stored = vmsnap.stored_bytes(to) - empty
    print(f"1 GiB untouched: {stored} bytes stored, {stats['bytes_uploaded']} by its own count")
    assert stored < (1 << 30) / 100
    assert vmsnap.json("verify", "latest", "--from", to)["bytes"] > 0


def flag_of_first_page(image):
    """Where in a save image the flags of the first page's record lie."""
    start = image.index(b"QEVM")
    found = re.compile(rb"\x02\0\0\0.\0{6}.([\x02\x08])\x06pc\.ram", re.DOTALL).search(image, start)
    return found.start(1)


def test_unknown_stream_is_stored_as_it_is(vmsnap, firmware):
    """A record that vmsnap does not know (xbzrle): the backup is made, the file stored to the bit, and
    everybody told."""
    to = vmsnap.fresh("dir")
    created = vmsnap.create("firmware", "--quiesce=off")
    path = Path(created["memory"]["path"])
    at = flag_of_first_page(path.read_bytes()[:1 << 20])
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(b"\x40")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    exported = vmsnap.json("export", "firmware", "--to", to)
    assert "memory-stream" in notes(exported["snapshot"])
    snapshot = exported["snapshot"]["repository"]["snapshot"]
    shown = vmsnap.json("show", snapshot, "--from", to)["snapshot"]
    assert shown["memory"]["layout"] == "stream" and "memory-stream" in notes(shown)
    assert vmsnap.restic(to).dump_sha256(snapshot, "/firmware/memory/memory.save") == sha256
    vmsnap.run("verify", snapshot, "--from", to)
    text = vmsnap.run("show", snapshot, "--from", to).out
    assert "flags 0x040" in text and "memory-stream" in text
