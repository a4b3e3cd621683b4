# SPDX-License-Identifier: LGPL-2.1-or-later
"""One lab, one running guest, one configuration for all tests: guests take seconds to boot.
Whatever a test does to the guest, it ends with the guest as it was; `unharmed` proves it."""
import os
import shutil
import signal
from pathlib import Path

import pytest

import cow
import domains
import tool
from guest import Guest, Unharmed, leave
from places import Places

# A shell that was started in the background hands down an ignored SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Not skipped but left out, where QEMU is too old for copy-on-write memory, and the other way round.
collect_ignore = (["test_cow_refused.py"] if domains.cow_possible() else
                  ["test_cow.py", "test_cow_faults.py", "test_cow_huge.py",
                   "test_cow_fallback.py", "test_cow_reasons.py", "test_cow_swap.py"])


def pytest_configure(config):
    config.addinivalue_line("markers", "once: not again in the Debian 13 root, where the machine "
                            "has run it: other tests see what another libvirt or QEMU changes")


def pytest_collection_modifyitems(config, items):
    if os.environ.get("VMSNAP_TEST_WHERE") != "debian13":
        return
    again = [item for item in items if item.get_closest_marker("once")]
    config.hook.pytest_deselected(items=again)
    items[:] = [item for item in items if item not in again]


@pytest.fixture(scope="session")
def top():
    """Where QEMU's own user can reach, on a disk."""
    folder = Path(os.environ.get("LAB_DIR") or os.environ["VMSNAP_LAB"]) / "vm"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def tmp(top):
    folder = top / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def images(top, request):
    """For images that a module's tests make."""
    folder = top / request.module.__name__
    folder.mkdir()
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def vmsnap(top):
    places = Places(top / "vmsnap")
    for to in ("dir", "s3"):
        places.repository(to)
    return places


@pytest.fixture(scope="session")
def guest():
    """The running guest: two disks, agent, heartbeat, writer, memory being dirtied."""
    with Guest("web01") as guest:
        yield guest


@pytest.fixture(scope="session")
def busy():
    """Another running guest: so much memory, always being changed, that writing it takes a while."""
    with Guest("busy", memory=512, vcpus=2, dirty=20, dirty_size=200) as guest:
        yield guest


@pytest.fixture(autouse=True)
def ended():
    """The first to begin is the last to end."""
    yield
    tool.end_all()


@pytest.fixture
def unharmed(guest, vmsnap):
    """After the test (and wherever it asks): never restarted, not frozen, writing without error, on
    its own disks, no file, job or libvirt metadata left."""
    check = Unharmed(guest, vmsnap)
    check.now()
    yield check
    try:
        check.now()
    finally:
        leave(guest, vmsnap)


@pytest.fixture
def busy_unharmed(busy, vmsnap):
    """The same of the busy guest, and QEMU's migration settings are as they were."""
    check = Unharmed(busy, vmsnap)
    check.capabilities = cow.capabilities(busy.domain)
    yield check
    try:
        cow.as_found(busy, check.capabilities)
        check.now()
    finally:
        leave(busy, vmsnap)


class ShutOff:
    """A domain that is never started: qcow2 and raw disks with known contents."""

    def __init__(self, folder):
        self.name, self.folder = "off", folder
        self.originals = {"vda": str(folder / "off-a.qcow2"), "vdb": str(folder / "off-b.raw")}
        self.formats = {"vda": "qcow2", "vdb": "raw"}
        domains.make_image(folder / "off-a.qcow2", "qcow2", 64 << 20, 6)
        domains.make_image(folder / "off-b.raw", "raw", 20 << 20, 3)
        domains.define(self.name, [domains.disk(target, path, self.formats[target])
                                   for target, path in self.originals.items()])
        self.sha256 = self.contents()

    @property
    def domain(self):
        return domains.find(self.name)

    def contents(self):
        return {target: domains.image_sha256(path, self.formats[target], self.folder)
                for target, path in self.originals.items()}

    def is_untouched(self):
        assert domains.sources(self.domain) == self.originals
        assert domains.folder_files(self.folder) == ["off-a.qcow2", "off-b.raw"]
        assert self.contents() == self.sha256

    def point_back(self):
        """By hand, as an operator might: the definition back onto the original images."""
        domains.define(self.name, [domains.disk(target, path, self.formats[target])
                                   for target, path in self.originals.items()],
                       uuid=self.domain.UUIDString())

    @staticmethod
    def rename(old, new):
        os.rename(old, new)

    @staticmethod
    def delete(path):
        os.unlink(path)


@pytest.fixture(scope="session")
def _shut_off(top):
    folder = top / "off"
    folder.mkdir()
    folder.chmod(0o711)
    yield ShutOff(folder)
    domains.remove("off")


@pytest.fixture
def shut_off(_shut_off):
    """After the test it is as it was, to the bit."""
    yield _shut_off
    _shut_off.is_untouched()


class Captured:
    def __init__(self, vmsnap, domain):
        self.vmsnap, self.name = vmsnap, domain.name
        self.id = vmsnap.create(domain.name)["id"]

    def is_captured(self):
        """Still to be exported, nothing lost by what failed."""
        [snapshot] = self.vmsnap.on_host(self.name)
        assert snapshot["id"] == self.id and snapshot["status"] == "captured"


@pytest.fixture
def captured(vmsnap, shut_off):
    """A snapshot that waits for its export. (The domain is shut off: that is quick.)"""
    yield Captured(vmsnap, shut_off)
    tool.end_all()
    if vmsnap.on_host(shut_off.name):
        vmsnap.run("drop", shut_off.name)


class Stored:
    def __init__(self, vmsnap, domain):
        vmsnap.run("create", domain.name)
        self.name, self.sha256 = domain.name, domain.sha256
        self.to = vmsnap.fresh("dir")
        self.repository = vmsnap.places[self.to]["folder"]
        self.snapshot = vmsnap.export_id(domain.name, "--to", self.to)


@pytest.fixture(scope="session")
def stored(vmsnap, _shut_off):
    """A stored snapshot, in a directory repository of its own."""
    return Stored(vmsnap, _shut_off)


@pytest.fixture
def blank(vmsnap):
    """A function that makes domains without an operating system; they are gone after the test."""
    names = []

    def make(name, disks=(), start=True, transient=False, **options):
        names.append(name)
        if transient:
            return domains.connection().createXML(domains.xml(name, disks, **options))
        return domains.define(name, disks, start, **options)

    yield make
    tool.end_all()
    for name in names:
        for _ in vmsnap.on_host(name):
            vmsnap.start("drop", name).wait()  # only after a test that failed
        domains.remove(name)


@pytest.fixture
def machine(blank, images):
    """A function that starts a domain in its firmware, with one disk."""
    def start(name, **options):
        image = domains.make_image(images / f"{name}.qcow2", "qcow2", 8 << 20, 1)
        return blank(name, [domains.disk("vda", image)], **options)
    return start
