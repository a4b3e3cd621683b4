# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests of every kind: a snapshot with memory, exported, restored beside the original: it goes on at
the cut, no page of another instant, disks equal to the frozen images. One guest at a time."""
import contextlib

import pytest

import domains
import kinds
from kinds import Kind, RestoredKind, backing

ENGINE = "cow" if domains.cow_possible() else "live"

KINDS = {
    "uefi-tpm-loop-balloon": {"memory": 256, "vcpus": 2, "firmware": "secure", "loop": True,
                              "more": kinds.TPM.format("")},
    "memfd": {"vcpus": 2, "top": backing("<source type='memfd'/>")},
    "memfd-shared": {"top": backing("<source type='memfd'/><access mode='shared'/>")},
    "hugepages": {"top": backing("<hugepages/>")},
    "dimm": {"top": kinds.NUMA, "more": kinds.DIMM},
    "virtio-mem": {"top": kinds.NUMA, "more": kinds.VIRTIO_MEM},
}


class Taken:
    """What was seen of one guest, its snapshot and the copies restored from it."""

    def __init__(self, kind, guest, vmsnap, engine):
        self.kind, self.guest, self.vmsnap = kind, guest, vmsnap
        self.before = guest.beat()
        self.created = vmsnap.create(guest.name, f"--memory={engine}")
        self.after = guest.beat()
        self.sha256 = {disk["target"]: domains.image_sha256(
            disk["frozen_image"], disk["frozen_format"], guest.folder, True)
            for disk in self.created["disks"]}
        if self.created["nvram"]:
            self.change(guest.vm)
        self.snapshot = vmsnap.export_id(guest.name, "--to", "dir")
        self.live = guest.vm.disks()

    @staticmethod
    def change(vm):
        """After the cut: no copy may have this."""
        kinds.variables(vm, "Later")
        kinds.tpm_write(vm, "2-later.")
        kinds.tpm_extend(vm)

    def restore(self, name, *options, snapshot=None, place="dir"):
        copy = RestoredKind(name, self.guest.folder / name)
        copy.restored = self.vmsnap.json("restore", snapshot or self.snapshot, "--from", place,
                                         "--as", name, "--disks-to", copy.folder, *options)
        return copy


@pytest.fixture(scope="module", params=KINDS)
def taken(request, vmsnap, images):
    options = dict(KINDS[request.param])
    with contextlib.ExitStack() as stack:
        if request.param == "hugepages":
            stack.enter_context(kinds.huge_pages(2 * 192 + 16))
        guest = stack.enter_context(Kind(request.param, images / request.param, **options))
        if request.param.endswith("balloon"):
            guest.balloon(options["memory"] - 48)
            kinds.variables(guest.vm, "Before")
            kinds.tpm_define(guest.vm)
            kinds.tpm_write(guest.vm, "1-at-cut")
            kinds.tpm_extend(guest.vm)
            guest.register = kinds.tpm_register(guest.vm)
        yield Taken(request.param, guest, vmsnap, ENGINE)
        for _ in vmsnap.on_host(guest.name):  # only after a test that failed
            vmsnap.start("drop", guest.name).wait()


def test_original_runs_on(taken, vmsnap):
    """Same boot, never a failed write, on its own disks; nothing of the snapshot is left."""
    assert taken.created["engine"] == ENGINE
    assert taken.guest.writes_on().nonce == taken.before.nonce
    assert taken.live == taken.guest.originals == taken.guest.vm.disks(inactive=True)
    assert domains.metadata_free(taken.guest.domain)
    assert [name for name in domains.folder_files(vmsnap.state) if "vmsnap.db" not in name] == []
    if taken.created["timing"]:
        # shared memory is populated before the pause
        assert (taken.created["timing"]["warmup_us"] > 0) == taken.kind.startswith("memfd")
        assert 0 < taken.created["timing"]["side_us"] or not taken.created["nvram"]


def test_copy_goes_on(taken):
    """Paused first: its disks are the frozen images, to the bit. Then it counts on from the cut."""
    name = f"{taken.kind}-copy"
    with taken.restore(name, "--paused") as copy:
        assert copy.restored["memory"]
        for disk in copy.restored["disks"]:
            assert domains.image_sha256(disk["path"], disk["format"], copy.folder,
                                        True) == taken.sha256[disk["target"]]
        copy.listen(0)
        copy.domain.resume()
        first = copy.first_beat()
        assert first.nonce == taken.before.nonce
        assert taken.before.tick < first.tick <= taken.after.tick
        if taken.created["frozen_filesystems"]:
            copy.thaw()
        assert copy.writes_on().nonce == first.nonce
        report = copy.check()
        assert report["ok"] and report["state"]["memory"]["pages"] > 0
        assert report["state"]["memory"]["bad"] == 0
        if taken.created["nvram"]:
            check_beside(taken, copy)
            assert kinds.tpm_register(copy.vm) == taken.guest.register


def test_memory_layout(taken, vmsnap):
    """Memory of every kind is stored by pages; but since QEMU 8.2 virtio-mem sends its state first,
    which nobody can skip: then as QEMU wrote it, and everybody told."""
    plain = taken.kind == "virtio-mem" and domains.connection().getVersion() >= 8002000
    shown = vmsnap.json("show", taken.snapshot, "--from", "dir")["snapshot"]
    assert shown["memory"]["layout"] == ("stream" if plain else "pages")
    assert ("memory-stream" in {note["code"] for note in shown["notes"]}) == plain


def check_beside(taken, copy):
    """UEFI variables and TPM are those of the cut, and of the copy's own."""
    assert kinds.variables(copy.vm) == {"Before"}
    assert kinds.tpm_read(copy.vm) == "1-at-cut" and kinds.tpm_read(taken.guest.vm) == "2-later."
    assert copy.uuid != taken.guest.uuid
    kinds.tpm_write(copy.vm, "3-copy..")
    kinds.variables(copy.vm, "Copy")
    assert kinds.tpm_read(taken.guest.vm) == "2-later."
    assert kinds.variables(taken.guest.vm) == {"Before", "Later"}


@pytest.mark.parametrize("taken", ["uefi-tpm-loop-balloon"], indirect=True)
def test_copy_boots(taken):
    """Without its memory, from the stored variables and TPM state: registers are reset, what was
    written is there."""
    with taken.restore("booted-copy", "--no-memory", "--start") as copy:
        taken.guest.domain.suspend()  # a boot needs all processors there are
        try:
            copy.vm.wait()
        finally:
            taken.guest.domain.resume()
        assert copy.writes_on().nonce != taken.before.nonce
        check_beside(taken, copy)
        assert set(kinds.tpm_register(copy.vm)) == {"0"}
        folder = kinds.tpm_folder(copy.domain)
        assert folder.exists()
    assert not folder.exists()


@pytest.mark.parametrize("taken", ["uefi-tpm-loop-balloon"], indirect=True)
def test_stored_beside_the_disks(taken, vmsnap):
    """The manifest says so, verify reads them, restic sees them."""
    shown = vmsnap.json("show", taken.snapshot, "--from", "dir")["snapshot"]
    assert shown["nvram"] and shown["tpm"]
    vmsnap.run("verify", taken.snapshot, "--from", "dir")
    files = vmsnap.restic("dir").ls(taken.snapshot)
    assert f"/{taken.guest.name}/nvram.fd" in files
    assert f"/{taken.guest.name}/tpm/tpm2-00.permall" in files


@pytest.mark.parametrize("taken", ["uefi-tpm-loop-balloon"], indirect=True)
def test_as_plain_images(taken, vmsnap):
    """Memory, UEFI variables and TPM by way of files that anybody may read; taken after the change."""
    place = vmsnap.repository("dir", False, "kinds-images")
    before = taken.guest.beat()
    created = vmsnap.create(taken.guest.name, f"--memory={ENGINE}")
    snapshot = vmsnap.export_id(taken.guest.name, "--format=qcow2", "--to", place)
    vmsnap.run("verify", snapshot, "--from", place)
    with taken.restore("plain-copy", "--paused", snapshot=snapshot, place=place) as copy:
        copy.listen(0)
        copy.domain.resume()
        first = copy.first_beat()
        assert first.nonce == before.nonce and first.tick > before.tick
        if created["frozen_filesystems"]:
            copy.thaw()
        assert copy.writes_on().nonce == first.nonce
        assert kinds.variables(copy.vm) == {"Before", "Later"}
        assert kinds.tpm_read(copy.vm) == "2-later."
        assert kinds.tpm_register(copy.vm) == kinds.tpm_register(taken.guest.vm)


@pytest.mark.parametrize("taken", ["uefi-tpm-loop-balloon"], indirect=True)
def test_disks_alone_and_dropped(taken, vmsnap):
    """Without memory they are taken all the same; drop removes them."""
    created = vmsnap.create(taken.guest.name, "--memory=none")
    assert created["nvram"] and created["tpm"]
    kept = [name for name in domains.folder_files(vmsnap.state) if "vmsnap.db" not in name]
    assert kept == [f"nvram/{created['id']}.fd", f"overlays/{kept[1].split('/')[1]}",
                    f"tpm/{created['id']}/tpm2-00.permall"]
    vmsnap.run("drop", taken.guest.name)
    assert [name for name in domains.folder_files(vmsnap.state) if "vmsnap.db" not in name] == []
    assert taken.guest.writes_on().nonce == taken.before.nonce
