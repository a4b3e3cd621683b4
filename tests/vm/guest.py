# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab's guest as the tests see it: what it counts, and whether anything happened to it."""
import contextlib
import os
import sys
from pathlib import Path

import libvirt
import libvirt_qemu

import domains
import tool

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
from lab import Lab, LabError  # noqa: E402


def check_disks(images):
    """labcheck's report on two images, (path, format) each."""
    return Lab().records(*images)


def look_at(name):
    """What can be said from outside about a guest that gives no sign."""
    domain = domains.find(name)
    if domain is None:
        return f"there is no domain {name}"
    lines = [f"state {domain.state()}, CPU time {domain.info()[4] / 1e9} s"]
    try:
        lines.append(f"agent {Lab().domain(name).state()}")
    except (libvirt.libvirtError, LabError) as error:
        lines.append(f"agent {error}")
    lines.append(f"CPU time {domain.info()[4] / 1e9} s")
    for command in ("info status", "info registers", "info registers", "info chardev"):
        with contextlib.suppress(libvirt.libvirtError):
            answer = libvirt_qemu.qemuMonitorCommand(
                domain, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)
            lines += [command, *answer.splitlines()[:12]]
    return "\n".join([*lines, "console", Lab().domain(name).console()[-2000:]])


@contextlib.contextmanager
def looked_at(name):
    """A failure inside says how the guest is."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{error}\n{look_at(name)}") from error


class Watched:
    """A domain whose heart is listened to from the first time that it is asked for."""

    def __init__(self, name):
        self.name, self.vm = name, Lab().domain(name)
        self.heart = None

    @property
    def domain(self):
        return self.vm.libvirt

    @property
    def uuid(self):
        return self.domain.UUIDString()

    def listen(self, timeout=30):
        """timeout=0: does not wait for the first beat."""
        if self.heart is None:
            heart = self.vm.heartbeat(timeout)
            with looked_at(self.name):
                heart.__enter__()
            self.heart = heart
        return self

    def silence(self):
        if self.heart:
            self.heart.stop()
        self.heart = None

    @property
    def last(self):
        return self.heart.last

    def first_beat(self, timeout=30):
        self.listen(timeout)
        return domains.wait_for(lambda: self.heart.beats, timeout, 0.005)[0]

    def beat(self, timeout=30):
        """One that arrives from now on."""
        with looked_at(self.name):
            return self.listen(timeout).heart.next(timeout)

    def writes_on(self, timeout=20):
        """The writer writes: nothing is frozen or paused. The beat that shows it."""
        start = self.beat(timeout)
        with looked_at(self.name):
            domains.wait_for(lambda: self.last.seq >= start.seq + 3, timeout, 0.01)
        assert self.last.errors == 0 and self.last.bad_pages == 0
        return self.last

    def thaw(self, timeout=30):
        """How many file systems. The agent of a guest that was restored takes a moment to be
        connected."""
        def thawed():
            try:
                return [self.vm.thaw()]
            except libvirt.libvirtError as error:
                assert error.get_error_code() == libvirt.VIR_ERR_AGENT_UNRESPONSIVE, error
                return None
        return domains.wait_for(thawed, timeout)[0]

    def check(self):
        return self.vm.labcheck()


class Copy(Watched):
    """A domain that a test restores; gone afterwards."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.silence()
        domains.remove(self.name)


class Guest(Watched):
    """The one that is snapshotted over and over."""

    def __init__(self, name, **options):
        super().__init__(name)
        self.vm.destroy()
        self.vm = Lab().create_domain(name, **{"dirty": 4, "dirty_size": 16, **options})
        self.originals = self.vm.disks()
        self.folder = Path(self.originals["vda"]).parent
        self.filled = False

    def __enter__(self):
        self.writes_on()
        return self

    def __exit__(self, *_):
        self.silence()
        self.vm.destroy()

    def files(self):
        return domains.folder_files(self.folder)

    def capacity(self, target):
        return self.domain.blockInfo(target)[0]

    def qemu_pid(self):
        return int(Path(f"/run/libvirt/qemu/{self.name}.pid").read_text())

    def fill(self):
        """24 MiB on each disk that do not compress."""
        for folder in ("a", "b") if not self.filled else ():
            status, output = self.vm.execute("/bin/dd", "if=/dev/urandom", f"of=/mnt/{folder}/fill",
                                             "bs=1M", "count=24", "conv=fsync")
            assert status == 0, output
        self.filled = True

    @contextlib.contextmanager
    def frozen(self):
        """Nothing writes to the disks meanwhile."""
        assert self.vm.freeze() == 2
        try:
            yield
        finally:
            self.vm.thaw()

    def widest_gap(self, since):
        """Milliseconds between two heartbeats since then: how long the guest stood still."""
        return max((length for _, length in self.heart.gaps(since=since)), default=0.0)

    def wait_idle(self):
        """Until libvirt works on nothing: what a killed client had asked for goes on."""
        def idle():
            try:
                return self.domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE
            except libvirt.libvirtError:
                return False
        domains.wait_for(idle, 60)

    def repair(self):
        """Running, back onto its own disks, thawed, by other means; nothing to do where a test passed."""
        if domains.state(self.domain) == libvirt.VIR_DOMAIN_PAUSED:
            self.domain.resume()
        with contextlib.suppress(libvirt.libvirtError):
            if self.vm.freeze_status() != "thawed":
                self.vm.thaw()
        for target, path in domains.sources(self.domain).items():
            if path != self.originals.get(target):
                self.commit_by_hand(target)
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def commit_by_hand(self, target):
        """What an operator might do with virsh blockcommit --active --pivot."""
        domain = self.domain
        domain.blockCommit(target, None, None, 0, libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE)
        domains.wait_for(lambda: (info := domain.blockJobInfo(target, 0)) and
                         0 < info["end"] == info["cur"])

        def pivoted():
            try:
                domain.blockJobAbort(target, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
                return True
            except libvirt.libvirtError:
                return False
        domains.wait_for(pivoted)


def ours_running():
    """vmsnap's and its helpers' processes in this lab."""
    names = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{entry}/comm").read_text().strip()
            state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
            if name in ("vmsnap", "qemu-nbd") and state != "Z":
                names.append(name)
    return names


class Unharmed:
    """The guest is what it was at the beginning of the test."""

    def __init__(self, guest, vmsnap):
        self.guest, self.vmsnap = guest, vmsnap
        self.nonce, self.files = guest.beat().nonce, guest.files()
        self.local = self.local_files()

    def local_files(self):
        """In vmsnap's own folders, but its catalog."""
        return [name for name in domains.folder_files(self.vmsnap.state)
                if not name.startswith("vmsnap.db")]

    def now(self):
        guest = self.guest
        assert domains.state(guest.domain) == libvirt.VIR_DOMAIN_RUNNING
        assert guest.writes_on().nonce == self.nonce
        assert domains.sources(guest.domain) == guest.originals
        assert domains.sources(guest.domain, inactive=True) == guest.originals
        assert guest.files() == self.files
        assert domains.metadata_free(guest.domain)
        assert self.local_files() == self.local
        assert not ours_running()


def leave(guest, vmsnap):
    """What one test left behind is not to be the next one's failure. Nothing to do where it passed."""
    tool.end_all()
    for _ in vmsnap.on_host(guest.name):
        vmsnap.start("drop", guest.name).wait()
    guest.repair()
