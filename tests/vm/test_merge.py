# SPDX-License-Identifier: LGPL-2.1-or-later
"""P2, P6: what may happen in the middle of a merge: it ends, or says what is left, and the next one
ends it. Nothing that was written is lost."""
import contextlib
import signal

import libvirt
import pytest

import cow
import domains
from libvirtd import Libvirtd
from slow import SlowImage
from tool import DONE, FAILED, REFUSED
from tracked import MIB, Tracked, making

RATE = 2 * MIB
REST = 3 * 512  # its end is no end of a piece, in which QEMU counts what is left


class Slow(Tracked):
    """A domain without an operating system whose image is slow: a merge takes two seconds. QEMU alone
    can take its disk away from it."""
    DEVICE = "/machine/peripheral/ua-{}"

    def disk(self, target):
        return super().disk(target).replace("bus='virtio'", "bus='scsi'")

    def make_image(self, target, format, data):
        super().make_image(target, format, data)
        self.slow = SlowImage(self.paths[target], RATE)

    def gone(self):
        super().gone()
        self.slow.end()

    def written(self):
        """A snapshot, and what was written since."""
        self.create()
        self.io("sda", "write -P 7 0 4M")
        self.io("sda", f"write -P 7 24M {REST}")
        self.io("sda", "flush")
        self.expected = b"\7" * 4 * MIB + self.slow.real.read_bytes()[4 * MIB:24 * MIB] + b"\7" * REST

    def has_job(self):
        with contextlib.suppress(libvirt.libvirtError):
            return self.domain.blockJobInfo("sda", 0)

    def dropping(self):
        """A drop in the middle of its merge."""
        process = self.vmsnap.start("drop", "--json", self.name)
        domains.wait_for(lambda: (job := self.has_job()) and 0 < job["cur"] < job["end"], 30, 0.01)
        return process

    def is_whole(self):
        """On its own image again, with all that was written; no file of ours is left."""
        assert not self.vmsnap.on_host(self.name)
        own = {"sda": str(self.paths["sda"])}
        assert domains.sources(self.domain, inactive=True) == own
        if self.domain.isActive():
            assert domains.sources(self.domain) == own
            assert domains.state(self.domain) == libvirt.VIR_DOMAIN_RUNNING
        assert self.slow.real.read_bytes() == self.expected
        assert not [name for name in domains.folder_files(self.folder) if "vmsnap-" in name]

    def is_begun(self):
        """What is in its image is no snapshot any more."""
        [snapshot] = self.vmsnap.on_host(self.name)
        assert "merge-begun" in [note["code"] for note in snapshot["notes"]]
        self.vmsnap.fails(REFUSED, "export", self.name, "--to", self.to, "--snapshot",
                          snapshot["id"], says=["can be exported", f"vmsnap recover {self.name}"])


@pytest.fixture(scope="module")
def made(vmsnap, images):
    with making(lambda: Slow(vmsnap, images, "slow", {"sda": "raw"}, 24 * MIB + REST)) as make:
        yield make()


@pytest.fixture
def slow(made):
    if not made.domain.isActive():
        made.start()
    made.written()
    yield made
    if made.vmsnap.on_host(made.name):  # only after a test that failed
        made.vmsnap.start("drop", made.name).wait()


def test_libvirtd_killed(slow):
    """The job runs on in QEMU; the same command goes on with it."""
    process = slow.dropping()
    Libvirtd.kill()
    Libvirtd.start()
    result = process.wait()
    assert result.status == DONE, result
    assert "the merge goes on" in result.err
    slow.is_whole()


def test_aborted_by_somebody_else(slow):
    """virsh blockjob --abort: said, and nothing but a merge is possible any more."""
    process = slow.dropping()
    slow.domain.blockJobAbort("sda", 0)
    result = process.wait()
    assert result.status == FAILED and "somebody aborted it" in result.err, result
    slow.is_begun()
    done = slow.vmsnap.json("recover", slow.name)
    assert [(entry["action"], entry["snapshot"]["status"]) for entry in done["snapshots"]] == [
        ("undo", "abandoned")]
    slow.is_whole()


def test_pivoted_by_somebody_else(slow):
    """virsh blockjob --pivot, while vmsnap looks away."""
    process = slow.dropping()
    process.send(signal.SIGSTOP)
    domains.wait_for(lambda: (job := slow.has_job()) and job["cur"] == job["end"], 60)

    def pivot():
        with contextlib.suppress(libvirt.libvirtError):
            slow.domain.blockJobAbort("sda", libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
        return not slow.has_job()
    domains.wait_for(pivot)
    process.send(signal.SIGCONT)
    result = process.wait()
    assert result.status == DONE, result
    slow.is_whole()


def test_guest_reset(slow):
    """And libvirt unplugs no disk that is merged."""
    process = slow.dropping()
    slow.domain.reset()
    with pytest.raises(libvirt.libvirtError, match="block job"):
        slow.domain.detachDeviceFlags(slow.disk("sda"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert process.wait().status == DONE
    slow.is_whole()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_guest_ends(slow, how):
    """Shut off, or its QEMU killed: merged all the same."""
    process = slow.dropping()
    getattr(slow, how)()
    result = process.wait()
    assert result.status == DONE, result
    slow.is_whole()


def test_interrupted_drop(slow):
    """Ctrl-C: the image has a part of what was written later, so it cannot be exported any more."""
    process = slow.dropping()
    process.send(signal.SIGINT)
    assert process.wait().status == 130
    assert not slow.has_job()
    slow.is_begun()
    slow.vmsnap.run("drop", slow.name)
    slow.is_whole()


def test_disk_ejected(slow):
    """A guest may give up its disk in the middle of the merge, and libvirt lets it. As soon as QEMU
    lets go of it too, the merge ends; else the command says so, and with the domain shut off the
    next one ends it."""
    process = slow.dropping()
    cow.qmp(slow.domain, "device_del", id="ua-sda")
    domains.wait_for(lambda: not domains.sources(slow.domain))
    result = process.wait()
    if result.status == DONE:
        assert slow.slow.real.read_bytes() == slow.expected
    else:
        assert "has the disk no more" in result.err, result
        [snapshot] = slow.vmsnap.on_host(slow.name)
        assert domains.sources(slow.domain, inactive=True)["sda"] == snapshot["disks"][0]["overlay"]
    slow.stop()
    assert slow.vmsnap.json("recover", slow.name)["recovered"] == int(result.status != DONE)
    slow.is_whole()
