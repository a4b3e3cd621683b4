# SPDX-License-Identifier: LGPL-2.1-or-later
"""Copy-on-write memory that check finds possible and that then cannot be prepared: under auto libvirt's
live snapshot is taken, and everybody told; asked for by name it fails. Only where QEMU is as it was."""
import pytest

import cow
import domains
import kinds
from test_cow_reasons import NUMA
from tool import DONE, FAILED, INTERRUPTED, NO_SPACE

SHARED = kinds.backing("<source type='memfd'/><access mode='shared'/>")
# libvirt's client cannot pass a descriptor on
NO_DESCRIPTOR = ("-o/dev/null", "-edup", "-einject=dup:error=EMFILE")


def untouched(vmsnap, domain, before):
    """Nothing was taken, nothing is left."""
    assert not vmsnap.on_host(domain.name())
    assert domains.folder_files(vmsnap.state / "memory") == []
    assert cow.capabilities(domain) == before
    assert ".vmsnap-" not in domain.XMLDesc()


def taken_live(vmsnap, domain, before, result, *says):
    """By the other engine: in the output, the record and the manifest."""
    assert result.returncode == DONE, result
    [found] = vmsnap.on_host(domain.name())
    record = vmsnap.json("show", found["id"])["snapshot"]
    assert record["engine"] == "live" and record["consistency"] == "memory"
    assert record["timing"] is None and record["memory"]["size"] > 0
    [text] = [note["text"] for note in record["notes"] if note["code"] == "cow-failed"]
    for word in says:
        assert word in text, text
    assert "quiesce-skipped-live" in {note["code"] for note in record["notes"]}
    assert cow.capabilities(domain) == before
    name = vmsnap.fresh("dir")
    snapshot = vmsnap.export_id(domain.name(), "--to", name)
    stored = vmsnap.json("show", snapshot, "--from", name)["snapshot"]
    assert stored["engine"] == "live"
    assert text in [note["text"] for note in stored["notes"]]
    assert domains.folder_files(vmsnap.state / "memory") == []


def plug_in(domain, path):
    """Memory in a file, behind libvirt's back: it cannot be write-protected."""
    cow.qmp(domain, "object-add", **{"qom-type": "memory-backend-file", "id": "late",
                                     "size": 64 << 20, "mem-path": str(path), "share": True})
    cow.qmp(domain, "device_add", driver="pc-dimm", memdev="late", id="late-dimm")


@pytest.mark.parametrize("memory", ["auto", "cow"])
def test_qemu_refuses(vmsnap, machine, images, tmp, memory):
    """What makes it impossible comes between check and use: a memory module is plugged in."""
    domain = machine("plugged", top=NUMA)
    before = cow.capabilities(domain)
    late = images / f"late-{memory}"
    late.touch()
    late.chmod(0o666)
    with cow.held_at_memory_file(vmsnap, tmp, "create", domain.name(),
                                 f"--memory={memory}") as result:
        assert vmsnap.on_host(domain.name())[0]["status"] == "capturing"
        plug_in(domain, late)
    if memory == "auto":
        taken_live(vmsnap, domain, before, result, "guest memory configuration")
    else:
        assert result.returncode == FAILED and "guest memory configuration" in result.stderr
        untouched(vmsnap, domain, before)


@pytest.mark.parametrize("memory", ["auto", "cow"])
@pytest.mark.parametrize("shared", [False, True])
def test_descriptor_cannot_be_passed(vmsnap, machine, memory, shared):
    """The memory file's, or the one that shared memory is populated by."""
    domain = machine("passing", top=SHARED if shared else "")
    before = cow.capabilities(domain)
    result = cow.traced(vmsnap, ["create", domain.name(), f"--memory={memory}"], *NO_DESCRIPTOR)
    says = "populating memory" if shared else "Too many open files"
    if memory == "auto":
        taken_live(vmsnap, domain, before, result, says)
    else:
        assert result.returncode == FAILED and says in result.stderr, result
        untouched(vmsnap, domain, before)


def test_migrated_by_somebody_else_meanwhile(vmsnap, machine, images, tmp):
    """No engine could: it fails, and the other's migration goes on."""
    domain = machine("moved")
    before = cow.capabilities(domain)
    cow.qmp(domain, "migrate-set-parameters", **{"max-bandwidth": 4096})
    out = images / "moved"
    out.mkdir()
    out.chmod(0o777)
    with cow.held_at_memory_file(vmsnap, tmp, "create", domain.name()) as result:
        cow.qmp(domain, "migrate", uri=f"file:{out}/stream")
        domains.wait_for(lambda: cow.migration(domain) == "active")
    assert result.returncode == FAILED and "migration process in progress" in result.stderr, result
    domains.wait_for(lambda: not cow.guards())
    assert cow.migration(domain) == "active"
    cow.qmp(domain, "migrate_cancel")
    domains.wait_for(lambda: cow.migration(domain) == "cancelled")
    untouched(vmsnap, domain, before)


def test_no_space_is_not_made_up_for(vmsnap, machine):
    """The other engine would want the same space, and take it with the guest running."""
    domain = machine("spaceless")
    before = cow.capabilities(domain)
    result = cow.traced(vmsnap, ["create", domain.name()], "-o/dev/null", "-efallocate",
                        "-einject=fallocate:error=ENOSPC")
    assert result.returncode == NO_SPACE and "reserving" in result.stderr, result
    untouched(vmsnap, domain, before)


def test_no_space_for_the_other_engine(vmsnap, machine, tmp):
    """It needs more; that it is not there is found before it begins, and both reasons are told."""
    domain = machine("tight")
    before = cow.capabilities(domain)
    need = {memory: vmsnap.json("check", domain.name(), f"--memory={memory}")["memory_need"]
            for memory in ("cow", "live")}
    assert need["live"] > need["cow"] + (8 << 20)
    state = tmp / "tight"
    state.mkdir()
    with domains.loop_mounted(state / "memory", tmp / "tight.image", "ext2",
                              need["live"]) as folder:
        other = vmsnap.with_state(state)
        result = cow.traced(other, ["create", domain.name()], *NO_DESCRIPTOR)
        assert result.returncode == NO_SPACE, result
        for word in ("Too many open files", "live snapshot", "space for"):
            assert word in result.stderr, result
        assert not list(folder.glob("*.save"))
        assert not other.on_host(domain.name()) and cow.capabilities(domain) == before


def test_interrupted_is_not_made_up_for(vmsnap, machine):
    """Ctrl-C while shared memory is populated."""
    domain = machine("stopped", top=SHARED)
    before = cow.capabilities(domain)
    result = cow.traced(vmsnap, ["create", domain.name()], "-o/dev/null", "-efallocate",
                        "-einject=fallocate:signal=SIGINT:when=1")
    assert result.returncode == INTERRUPTED, result
    untouched(vmsnap, domain, before)
