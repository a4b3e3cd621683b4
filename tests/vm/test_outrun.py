# SPDX-License-Identifier: LGPL-2.1-or-later
"""P1, P2: a guest that writes faster than its overlay can be merged. Step by step it is made to wait;
nothing of that is left behind, and the merge ends."""
import os
import signal

import libvirt
import pytest

import cow
import domains
from guest import Watched
from lab import Lab, make_disk
from slow import SlowImage
from tool import DONE, INTERRUPTED

MIB = 1 << 20
LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
BEFORE = {"read_bytes_sec": 100 * MIB, "write_iops_sec": 5000}  # the operator's
WRITER = ("touch /run/go; while [ -e /run/go ]; do "
          "dd if=/dev/zero of=/mnt/b/x bs=64k count=40 conv=notrunc,fsync; done")


class Outrunning(Watched):
    """Its vdb takes 2 MiB a second, its overlay more."""

    def __init__(self, vmsnap):
        super().__init__("outrun")
        self.vmsnap = vmsnap
        self.vm.destroy()  # of a run that was killed
        folder = Lab().images / self.name
        folder.mkdir()
        folder.chmod(0o711)
        make_disk(folder / "vda.qcow2", "qcow2", "ext4", 64 * MIB)
        self.slow = SlowImage(make_disk(folder / "vdb.raw", "raw", "ext4", 48 * MIB), 2 * MIB)
        self.vm = Lab().create_domain(self.name, memory=192, disks=[
            ("vda", folder / "vda.qcow2", "qcow2"), ("vdb", folder / "vdb.raw", "raw")])
        self.originals = self.vm.disks()
        self.domain.setBlockIoTune("vdb", BEFORE, LIVE)
        self.before = self.limits()

    def end(self):
        self.silence()
        if self.vm.is_active():
            self.domain.destroy()
        self.slow.end()
        self.vm.destroy()

    def limits(self):
        return self.domain.blockIoTune("vdb", LIVE)

    def is_throttled(self):
        return self.limits()["write_bytes_sec"] != 0

    def write(self):
        status, output = self.vm.execute(
            "/bin/sh", "-c", "setsid sh -c \"$0\" >/dev/null 2>&1 </dev/null &", WRITER)
        assert status == 0, output

    def rest(self):
        assert self.vm.execute("/bin/rm", "-f", "/run/go")[0] == 0

    def dropping(self):
        """A drop that the guest does not let come to its end."""
        self.vmsnap.create(self.name, "--memory=none", "--quiesce=off")
        self.write()
        return self.drop()

    def drop(self):
        return self.vmsnap.start("drop", "--json", self.name)

    def again(self):
        return self.drop() if self.vmsnap.on_host(self.name) else self.dropping()

    def takes_limits_away(self, process, until=lambda: False):
        """As soon as they are there."""
        theirs = {key: self.before[key] for key in
                  ("total_bytes_sec", "read_bytes_sec", "write_bytes_sec", "total_iops_sec",
                   "read_iops_sec", "write_iops_sec")}
        while process.running() and not until():
            if self.is_throttled():
                self.domain.setBlockIoTune("vdb", theirs, LIVE)

    def kill_alone(self, process):
        """kill -9, and nobody is left who could undo what it did."""
        process.send(signal.SIGSTOP)
        for pid in cow.guards():
            os.kill(pid, signal.SIGKILL)
        process.send(signal.SIGKILL)
        process.wait()

    def is_paused(self):
        return domains.state(self.domain) == libvirt.VIR_DOMAIN_PAUSED

    def is_as_before(self):
        assert self.limits() == self.before
        assert domains.sources(self.domain) == self.originals
        assert domains.sources(self.domain, inactive=True) == self.originals
        assert domains.metadata_free(self.domain)
        assert not self.vmsnap.on_host(self.name)
        self.writes_on()


@pytest.fixture(scope="module")
def made(vmsnap):
    made = Outrunning(vmsnap)
    extra, vmsnap.extra = vmsnap.extra, "[merge]\npatience = 1"
    vmsnap.write_config()
    yield made
    vmsnap.extra = extra
    vmsnap.write_config()
    made.end()


@pytest.fixture
def outrun(made):
    nonce = made.beat().nonce
    yield made
    made.rest()
    assert made.writes_on(60).nonce == nonce
    for _ in made.vmsnap.on_host(made.name):  # only after a test that failed
        made.vmsnap.start("drop", made.name).wait()


def codes(document):
    return [note["code"] for note in document["snapshot"]["notes"]
            if note["code"].startswith("commit-")]


def test_throttled(outrun):
    """The limits are the operator's again, live, after Ctrl-C and kill -9, without anybody's doing.
    Where nobody is left to do it, recover does, and ends the merge, of a guest that writes on. The
    persistent ones were never touched."""
    process = outrun.dropping()
    domains.wait_for(lambda: outrun.domain.blockJobInfo("vdb", 0), 60)
    outrun.domain.blockJobSetSpeed("vdb", 1)  # MiB/s: somebody's limit on the merge is lifted first
    domains.wait_for(outrun.is_throttled, 60)
    now = outrun.limits()
    assert now["read_bytes_sec"] == BEFORE["read_bytes_sec"]
    assert now["write_bytes_sec"] == 2 * MIB  # no guest is throttled to less
    assert now["write_iops_sec"] == 32
    process.send(signal.SIGINT)
    assert process.wait().status == INTERRUPTED
    assert outrun.limits() == outrun.before
    process = outrun.drop()
    domains.wait_for(outrun.is_throttled, 60)
    process.send(signal.SIGKILL)
    process.wait()
    domains.wait_for(lambda: outrun.limits() == outrun.before, 60)
    process = outrun.drop()
    domains.wait_for(outrun.is_throttled, 60)
    outrun.kill_alone(process)
    assert outrun.is_throttled()
    [entry] = outrun.vmsnap.json("recover", outrun.name)["snapshots"]
    assert codes(entry)[:2] == ["commit-limit-lifted", "commit-throttled"] and not entry["error"]
    outrun.is_as_before()


def test_paused(outrun):
    """Somebody takes the limit away as soon as it is there: then the guest is paused for a moment.
    What they have set is left as it is. Killed in the pause: the next run ends that first."""
    process = outrun.dropping()
    for _ in range(10):  # it may be over before it was seen
        outrun.takes_limits_away(process, until=outrun.is_paused)
        outrun.kill_alone(process)
        if outrun.is_paused():
            break
        process = outrun.again()
    assert outrun.is_paused()
    for _ in range(5):  # what is left may be merged before anything has to be done
        process = outrun.again()
        outrun.takes_limits_away(process)
        result = process.wait()
        assert result.status == DONE, result
        if "commit-paused" in codes(result.json):
            break
    assert "commit-paused" in codes(result.json)
    assert "paused for at most 30 s" in result.err
    outrun.is_as_before()
