# SPDX-License-Identifier: LGPL-2.1-or-later
"""Why copy-on-write memory is not possible: check says each reason by its own code, with a remedy;
under auto it is a warning and libvirt's live snapshot is taken, and what was asked stays as it was."""
import os
import re
import subprocess
from pathlib import Path

import pytest

import cow
import domains
import kinds
from tool import REFUSED

FILE = kinds.backing("<source type='file'/>")
NUMA = ("<features><acpi/></features><maxMemory slots='2' unit='MiB'>512</maxMemory>"
        "<cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>")
SHMEM = ("<shmem name='vmsnap-test'><model type='ivshmem-plain'/><size unit='M'>1</size></shmem>")
# What is only on QEMU's command line is not in libvirt's definition: QEMU has to say it.
HIDDEN = ("<qemu:commandline>"
          "<qemu:arg value='-object'/>"
          "<qemu:arg value='memory-backend-ram,id=hidden,size=1M,share=on'/>"
          "<qemu:arg value='-device'/>"
          "<qemu:arg value='ivshmem-plain,memdev=hidden,master=off,bus=pci.0,addr=0x1e'/>"
          "</qemu:commandline>")


def pid(domain):
    return int(Path(f"/run/libvirt/qemu/{domain.name()}.pid").read_text())


def in_its_namespace(domain, *command):
    subprocess.run(["nsenter", "-m", "-t", str(pid(domain)), *command], check=True, timeout=30)


def refused(vmsnap, domain, code, *says):
    """By check and by create, each with the same reason; then the finding under auto."""
    before = cow.capabilities(domain)
    asked = vmsnap.run("check", "--json", domain.name(), "--memory=cow", status=REFUSED).json
    [finding] = [f for f in asked["findings"] if f["severity"] == "refusal"]
    assert finding["code"] == code and finding["remedy"]
    for word in says:
        assert word in finding["text"] + finding["remedy"], finding
    vmsnap.fails(REFUSED, "create", domain.name(), "--memory=cow", says=[finding["text"].partition(":")[0]])
    assert not vmsnap.on_host(domain.name())
    auto = vmsnap.json("check", domain.name())
    [warning] = [f for f in auto["findings"] if f["code"] == code]
    assert warning["severity"] == "warning" and auto["engine"] == "live"
    assert cow.capabilities(domain) == before
    return finding


def test_nothing_against_it(vmsnap, machine):
    """Capabilities that do not go with it are switched off meanwhile and put back."""
    domain = machine("plain")
    for name in ("multifd", "auto-converge", "mapped-ram"):
        cow.qmp(domain, "migrate-set-capabilities",
                capabilities=[{"capability": name, "state": True}])
    before = cow.capabilities(domain)
    result = vmsnap.json("check", domain.name(), "--memory=cow")
    assert result["engine"] == "cow"
    assert not [f for f in result["findings"] if f["code"].startswith("cow-")]
    assert cow.capabilities(domain) == before >= {"multifd", "auto-converge", "mapped-ram"}
    assert vmsnap.create(domain.name(), "--memory=cow")["engine"] == "cow"
    assert cow.capabilities(domain) == before
    vmsnap.run("drop", domain.name())


def test_no_node(vmsnap, machine):
    domain = machine("nonode")
    in_its_namespace(domain, "rm", "/dev/userfaultfd")
    refused(vmsnap, domain, "cow-userfaultfd", "no /dev/userfaultfd", "cgroup_device_acl")


def test_node_of_somebody_else(vmsnap, machine):
    domain = machine("othersnode")
    in_its_namespace(domain, "chown", "root:root", "/dev/userfaultfd")
    refused(vmsnap, domain, "cow-userfaultfd", "QEMU's user", "udev")


@pytest.mark.parametrize("kind", ["ram", "nvdimm"])
def test_memory_in_a_file(vmsnap, machine, images, kind):
    """Refused; libvirt's snapshot takes it under auto, and the record says why."""
    options = {"top": FILE}
    if kind == "nvdimm":
        path = images / "nvdimm.raw"
        path.write_bytes(b"")
        os.truncate(path, 64 << 20)
        options = {"top": NUMA, "more": (
            "<memory model='nvdimm'><source><path>" + str(path) + "</path></source><target>"
            "<size unit='MiB'>64</size><node>0</node></target></memory>")}
    domain = machine(f"file{kind}", **options)
    refused(vmsnap, domain, "cow-memory-backing", "file")
    created = vmsnap.create(domain.name())
    assert created["engine"] == "live"
    assert "cow-memory-backing" in [note["code"] for note in created["notes"]]
    vmsnap.run("drop", domain.name())


def test_more_than_the_host_has(vmsnap, machine, tmp):
    """Shared memory that the guest never touched would be populated whole; the numbers are told.
    The other engine has room for its file, whatever this machine has: on a sparse file system."""
    total = int(re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())[1]) // 1024
    domain = machine("huge", memory=total - 64, top=kinds.backing(
        "<source type='memfd'/><access mode='shared'/>"))
    before = Path(f"/proc/{pid(domain)}/status").read_text()
    state = tmp / "huge"
    state.mkdir()
    with domains.loop_mounted(state / "memory", tmp / "huge.image", "ext4", total << 22):
        finding = refused(vmsnap.with_state(state), domain, "cow-host-memory")
    assert len(re.findall(r"[\d.]+ [MG]iB", finding["text"])) == 4
    resident = int(re.search(r"VmRSS:\s+(\d+)", before)[1])
    assert int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid(domain)}/status").read_text())[1]) \
        < resident + (1 << 20)


def test_being_migrated(vmsnap, machine, images):
    domain = machine("moving")
    cow.qmp(domain, "migrate-set-parameters", **{"max-bandwidth": 4096})
    out = images / "moving"
    out.mkdir()
    out.chmod(0o777)
    cow.qmp(domain, "migrate", uri=f"file:{out}/stream")
    assert cow.migration(domain) in ("setup", "active")
    try:
        result = vmsnap.run("check", "--json", domain.name(), "--memory=cow", status=REFUSED).json
        assert "cow-migration-active" in [f["code"] for f in result["findings"]]
        assert "background-snapshot" not in cow.capabilities(domain)
    finally:
        cow.qmp(domain, "migrate_cancel")
    domains.wait_for(lambda: cow.migration(domain) == "cancelled")
    assert vmsnap.json("check", domain.name(), "--memory=cow")["engine"] == "cow"


def test_blocked_by_what_only_qemu_knows(vmsnap, machine):
    domain = machine("hidden", top=HIDDEN)
    refused(vmsnap, domain, "cow-migration-blocked", "ivshmem")


@pytest.mark.parametrize("code, device", [
    ("memory-blocked-shmem", SHMEM),
    ("memory-blocked-9p", "<filesystem type='mount' accessmode='mapped'><source dir='/tmp'/>"
                          "<target dir='share'/></filesystem>")])
def test_no_memory_at_all(vmsnap, machine, code, device):
    """Devices that forbid both engines: refused where memory is wanted, left out under auto."""
    domain = machine("blocked", more=device)
    for memory in ("cow", "live"):
        result = vmsnap.run("check", "--json", domain.name(), f"--memory={memory}",
                            status=REFUSED).json
        [finding] = [f for f in result["findings"] if f["severity"] == "refusal"]
        assert finding["code"] == code and finding["remedy"]
    result = vmsnap.json("check", domain.name())
    assert result["engine"] == "none"
    assert code in [f["code"] for f in result["findings"] if f["severity"] == "warning"]
