# SPDX-License-Identifier: LGPL-2.1-or-later
"""Domains to be snapshotted and crashed, which know what their disks have to hold."""
import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import libvirt

import cow
import domains
import points
from guest import LabError
from live import Live
from slow import SlowImage
from tracked import MIB, Tracked

DISKS = {"vda": "qcow2", "vdb": "raw"}
UEFI = ("<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
        "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'/>")
TPM = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>"


def new_folder(path):
    path.mkdir(parents=True)
    path.chmod(0o711)
    return path


def beside(name):
    """{name: contents} of a domain's UEFI variables and TPM state, in libvirt's own folders."""
    tree = domains.tree(name)
    paths = [Path(tree.findtext("os/nvram") or "/nonexistent"),
             *(Path("/var/lib/libvirt/swtpm") / tree.findtext("uuid") / "tpm2").glob("tpm2-*")]
    return {"nvram" if path is paths[0] else path.name: path.read_bytes()
            for path in paths if path.exists()}


def format_of(path):
    return "qcow2" if str(path).endswith(".qcow2") else "raw"


def compare(expected, path, share):
    """Whole disks, as a guest sees them."""
    done = subprocess.run(["qemu-img", "compare", *(["-U"] if share else []), "-f", "raw", "-F",
                           format_of(path), expected, path], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, f"{path} does not hold what was written: {done.stdout}{done.stderr}"


def rest(victim):
    """It costs a fourth of a processor; its own clock stands still."""
    if victim.is_up() and not victim.is_paused():
        victim.domain.suspend()


def go_on(victim):
    if victim.is_up() and victim.is_paused():
        victim.domain.resume()


class Common:
    """What all of them share; runs is whether the domain has to run now."""

    def settle_in(self):
        self.originals = domains.sources(self.domain, inactive=True)
        self.names = sorted(path.name for path in self.paths.values())
        self.capabilities = cow.capabilities(self.domain) if self.runs else None
        self.unlimited = self.limits() if self.runs else None

    def is_up(self):
        return bool(self.domain.isActive())

    def is_paused(self):
        return domains.state(self.domain) != libvirt.VIR_DOMAIN_RUNNING

    def is_quiet(self):
        """Runs, and libvirt is not about to move it: QEMU dies of a write to disks that it gives up."""
        return not self.is_paused() and self.domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE

    def pid(self):
        with contextlib.suppress(OSError, ValueError):
            return int(Path(f"/run/libvirt/qemu/{self.name}.pid").read_text())
        return None

    def bitmaps(self):
        """Names of dirty bitmaps in the active image's nodes, or in the files."""
        if self.is_up():
            nodes = cow.qmp(self.domain, "query-named-block-nodes", flat=True)
            return {bitmap.get("name") for node in nodes for bitmap in node.get("dirty-bitmaps", [])}
        info = json.loads(domains.qemu_img("info", "--output=json", self.originals["vda"]))
        return {bitmap["name"] for bitmap in info["format-specific"]["data"].get("bitmaps", [])}

    def limits(self):
        """What the running domain's disks are limited to."""
        return {target: {key: value for key, value in self.domain.blockIoTune(target).items() if value}
                for target in self.paths}

    def gone(self):
        domains.remove(self.name)

    def rest(self):
        """Another domain's turn."""

    def go_on(self):
        """Its own turn again."""


class Blank(Common, Tracked):
    """Without an operating system: QEMU writes and flushes what it is told to. A raw file beside
    each disk is written the same, so that all of it can be compared at any time."""

    def __init__(self, world, name, runs=True, size=8, data=3, folder=None):
        """size and data of each disk in MiB."""
        self.runs = runs
        self.mirrors = {target: world.top / f"{name}-{target}.expected" for target in DISKS}
        super().__init__(world.vmsnap, folder or new_folder(world.top / name), name, DISKS,
                         size=size * MIB, start=runs, to=world.to["dir"], data=data)
        for target, mirror in self.mirrors.items():
            domains.qemu_img("convert", *(["-U"] if runs else []), "-f", self.formats[target], "-O",
                             "raw", self.paths[target], mirror)
        self.settle_in()

    def write(self, dice, count=2):
        """Acknowledged with a flush, so it must be there whatever happens from now on."""
        for _ in range(count):
            target, pattern = dice.choice(list(DISKS)), dice.randrange(1, 256)
            length = dice.choice((512, 4096, 65536, 100 << 10))
            offset = dice.randrange((self.size - length) // 512) * 512
            self.write_at(target, pattern, offset, length)

    def write_at(self, target, pattern, offset, length):
        self.io(target, f"write -P {pattern} {offset} {length}")
        if self.is_up():
            self.io(target, "flush")
        with open(self.mirrors[target], "r+b") as file:
            file.seek(offset)
            file.write(bytes([pattern]) * length)

    def sums(self):
        return {target: domains.file_sha256(mirror) for target, mirror in self.mirrors.items()}

    def beside(self):
        """What else libvirt keeps of it."""
        return {}

    def check_content(self, dice=None):
        up = self.is_up()
        for target, path in domains.sources(self.domain, inactive=not up).items():
            if up:
                self.io(target, "flush")
            compare(self.mirrors[target], path, up)

    def before_kill(self):
        pass

    def check_alive(self):
        pass


class Narrow(Blank):
    """On a small file system: for whatever is merged into its disks, which are thin, it has to wait."""

    def __init__(self, world, name):
        self.mount = new_folder(world.top / name)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m,mode=0711", name, self.mount], check=True)
        super().__init__(world, name, folder=self.mount)

    def gone(self):
        super().gone()
        subprocess.run(["umount", "-l", self.mount], check=True)


class Slow(Blank):
    """Its vdb takes little of what is merged, and it writes to that as fast as it may."""
    RATE = 1 * MIB  # a second

    def __init__(self, world, name):
        super().__init__(world, name)
        vmsnap = world.vmsnap
        vmsnap.extra = "[merge]\npatience = 1"
        vmsnap.write_config()

    def define(self, start=False):
        """The last that happens before it runs."""
        self.slow = SlowImage(self.paths["vdb"], self.RATE)
        super().define(start)

    def settle_in(self):
        super().settle_in()
        self.names = sorted([*self.names, self.slow.real.name])

    def gone(self):
        super().gone()
        self.slow.end()


class Writing:
    """By a thread, until it is told to end, or the guest is paused: a guest would write no more."""

    def __init__(self, domain, seed):
        self.domain, self.dice, self.error = domain, random.Random(seed), None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.ending.is_set() and not self.domain.is_paused():
                at = self.dice.randrange(32) * (64 << 10) + (4 << 20)
                self.domain.write_at("vdb", self.dice.randrange(1, 256), at, 64 << 10)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def end(self):
        """What was written is known then."""
        self.ending.set()
        self.thread.join()
        if self.error:
            raise self.error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class WritingOnce(Writing):
    """So much at once, when vmsnap has passed a point. QEMU 7.2 can die of such a write while it ends a
    block job, so there are no more."""

    def __init__(self, domain, seed, point, size):
        self.point, self.size = point, size
        points.tracing(domain.vmsnap)  # nothing is passed yet
        super().__init__(domain, seed)

    def run(self):
        try:
            while not self.ending.is_set() and self.point not in points.passed(self.domain.vmsnap):
                time.sleep(0.005)
            if not self.ending.is_set():
                self.domain.write_at("vdb", self.dice.randrange(1, 256), 4 << 20, self.size)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error


class Beside(Blank):
    """Shut off, with UEFI variables and a TPM's state, as it was when it ran for a moment."""

    def __init__(self, world, name):
        super().__init__(world, name, runs=False)
        self.domain.create()
        self.domain.destroy()
        assert len(self.beside()) >= 2, self.beside()

    def define(self, start=False):
        domains.define(self.name, [self.disk(target) for target in self.formats], start, memory=64,
                       top="<features><acpi/></features>", more=TPM, os=UEFI)

    def beside(self):
        return beside(self.name)


class Firmware(Beside):
    """Likewise, but that it runs, in its firmware."""

    def __init__(self, world, name):  # pylint: disable=super-init-not-called
        Blank.__init__(self, world, name)
        assert len(self.beside()) >= 2, self.beside()

    def rest(self):
        rest(self)

    def go_on(self):
        go_on(self)


class Linux(Common, Live):
    """With an operating system, an agent, and a writer that knows what it has synced."""
    runs = True

    def __init__(self, world, name):
        super().__init__(world.vmsnap, new_folder(world.top / name), name, DISKS,
                         to=world.to["dir"], start=True)
        self.synced = self.last_beat.seq
        self.settle_in()

    def write(self, dice, count=2):
        """It does so by itself, all the time."""

    def sums(self):
        """Nobody knows."""
        return None

    def rest(self):
        rest(self)

    def go_on(self):
        go_on(self)

    def before_kill(self):
        """The last record that it said was synced."""
        if not self.is_up():
            return
        with contextlib.suppress(AssertionError, OSError, libvirt.libvirtError, LabError):
            self.synced = max(self.synced, self.watch.vm.beat(2).seq)

    def start(self):
        """Booted anew. It counts on from what it finds on its disks: that may not be less than it
        said it had synced."""
        Tracked.start(self)
        self.watch.silence()
        self.watch.listen(0)
        heart = self.watch.heart
        found = domains.wait_for(lambda: [beat for beat in heart.beats if beat.seq or beat.errors],
                                 300, 0.05)[0]
        self.watch.silence()
        assert found.errors == 0 and found.seq >= self.synced, f"{found}, synced was {self.synced}"
        self.watch.vm.wait()
        self.last_beat = self.watch.vm.beat(60)
        self.check_records()

    def check_alive(self):
        """Not frozen, never restarted, no write failed, and it writes."""
        domains.wait_for(lambda: self.watch.vm.freeze_status() == "thawed", 40)
        self.unharmed()
        seq = self.last_beat.seq
        domains.wait_for(lambda: self.watch.vm.beat(60).seq > seq, 60)

    def check_records(self):
        found = self.watch.check()
        assert found["ok"], found

    def check_content(self, dice=None):
        if self.is_up() and dice is not None and dice.random() < 0.2:
            self.check_records()


def kill_and_wait(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        domains.wait_for(lambda pid=pid: is_over(pid), 30)


def is_over(pid):
    """A zombie has ended, whoever may reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
