# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a domain keeps beside its disks, in all the places where libvirt may keep it: TPM state and
UEFI variables. Domains in their firmware; what a guest makes of it is in test_kinds.py."""
import json
import subprocess
from pathlib import Path

import libvirt
import pytest

import domains
from tool import FAILED, REFUSED

ENGINE = "cow" if domains.cow_possible() else "live"
TPM = "<tpm model='tpm-tis'><backend type='emulator' version='{}'>{}</backend></tpm>"
CODE, VARS = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
STATES = Path("/var/lib/libvirt/swtpm")

KINDS = ["tpm-2.0", "tpm-1.2", "nvram", "nvram-source"]
if domains.connection().getLibVersion() >= 10010000:
    KINDS += ["tpm-dir", "tpm-file", "nvram-qcow2"]


def nvram(path, format):
    image = domains.make_nvram(path, format)
    return (f"<loader readonly='yes' type='pflash'>{CODE}</loader>"
            f"<nvram type='file' format='{format}'><source file='{image}'/></nvram>")


class Beside:
    """A running domain, and what is kept of it where."""

    def __init__(self, kind, blank, folder):
        self.kind, self.name, self.folder = kind, f"beside-{kind}", folder
        image = domains.make_image(folder / f"{self.name}.qcow2", "qcow2", 8 << 20, 1)
        own = folder / "tpm"
        os, more, memory = "", "", 32
        if kind.startswith("nvram"):
            memory = 64
            format = "qcow2" if kind.endswith("qcow2") else "raw"
            os = nvram(folder / f"{kind}.vars", format)
            if kind == "nvram":
                os = f"<loader readonly='yes' type='pflash'>{CODE}</loader><nvram template='{VARS}'/>"
        else:
            version = "1.2" if kind == "tpm-1.2" else "2.0"
            source = {"tpm-dir": f"<source type='dir' path='{own}/state'/>",
                      "tpm-file": f"<source type='file' path='{own}/state'/>"}.get(kind, "")
            if source:
                own.mkdir(exist_ok=True)
                subprocess.run(["chown", "tss:tss", own], check=True)
            more = TPM.format(version, source)
        self.domain = blank(self.name, [domains.disk("vda", image)], memory=memory, os=os, more=more,
                            top="<features><acpi/></features>")

    @staticmethod
    def path(name):
        """Of a domain's state: a file or a directory."""
        tree = domains.tree(name)
        nvram = tree.find("os/nvram")
        if nvram is not None:
            source = nvram.find("source")
            return Path(source.get("file") if source is not None else nvram.text.strip())
        source = tree.find("devices/tpm/backend/source")
        version = {"1.2": "tpm1.2"}.get(tree.find("devices/tpm/backend").get("version"), "tpm2")
        return (Path(source.get("path")) if source is not None else
                STATES / tree.findtext("uuid") / version)

    @classmethod
    def files(cls, name):
        """{name: contents} of a domain's state, but for locks."""
        path = cls.path(name)
        if path.is_file():
            nvram = domains.tree(name).find("os/nvram") is not None
            return {"nvram" if nvram else "file": path.read_bytes()}
        return {file.name: file.read_bytes() for file in path.iterdir()
                if not file.name.startswith(".")}

    def end(self):
        self.domain.destroy()
        self.domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)


@pytest.fixture(params=KINDS)
def beside(request, blank, images):
    folder = images / request.node.name.replace("[", "-").rstrip("]")
    folder.mkdir()
    folder.chmod(0o711)
    return Beside(request.param, blank, folder)


@pytest.fixture
def restored(vmsnap, beside):
    """A function that restores it; gone afterwards."""
    names = []

    def restore(snapshot, *options, name=None, **more):
        names.append(name or beside.name)
        return vmsnap.run("restore", snapshot, "--from", "dir", *options, **more)
    yield restore
    for name in names:
        domains.remove(name)


def kept(vmsnap, beside, snapshot):
    """Like files(), of the snapshot on this host: the firmware and the TPM go on."""
    if "nvram" in beside.kind:
        return {"nvram": (vmsnap.state / "nvram" / f"{snapshot}.fd").read_bytes()}
    return {"file" if beside.kind == "tpm-file" else file.name: file.read_bytes()
            for file in (vmsnap.state / "tpm" / snapshot).iterdir()}


def test_there_and_back(vmsnap, beside, restored):
    """As a copy, with its memory and without: the same bytes, of its own, and nothing left
    afterwards; then in place of the original that is gone."""
    created = vmsnap.create(beside.name, f"--memory={ENGINE}")
    assert created["engine"] == ENGINE
    assert created["nvram"] == ("nvram" in beside.kind) and created["tpm"] == ("tpm" in beside.kind)
    before = kept(vmsnap, beside, created["id"])
    assert sorted(before) == sorted(beside.files(beside.name)) and all(before.values())
    snapshot = vmsnap.export_id(beside.name, "--to", "dir")
    states = sorted(STATES.iterdir())
    copy = f"{beside.name}-copy"
    for i, options in enumerate((["--no-memory"], [], ["--no-memory", "--start"])):
        folder = beside.folder / str(i)
        folder.mkdir()
        folder.chmod(0o711)
        restored(snapshot, "--as", copy, "--disks-to", folder, *options, name=copy)
        assert domains.state(domains.find(copy)) == (
            libvirt.VIR_DOMAIN_SHUTOFF if i == 0 else libvirt.VIR_DOMAIN_RUNNING)
        if i == 0:
            assert beside.files(copy) == before
        assert sorted(beside.files(copy)) == sorted(before)
        domains.remove(copy)
        assert sorted(STATES.iterdir()) == states
    beside.end()
    Path(beside.folder / f"{beside.name}.qcow2").unlink()
    restored(snapshot, "--no-memory")
    assert beside.files(beside.name) == before
    assert domains.find(beside.name).UUIDString() == created["domain"]["uuid"]
    domains.find(beside.name).create()


@pytest.mark.parametrize("beside", ["tpm-2.0"], indirect=True)
def test_state_of_somebody_else(vmsnap, beside, restored):
    """P3: a TPM state that is there is not overwritten, and the restore leaves nothing."""
    uuid = beside.domain.UUIDString()
    vmsnap.run("create", beside.name, "--memory=none")
    snapshot = vmsnap.export_id(beside.name, "--to", "dir")
    beside.end()
    (beside.folder / f"{beside.name}.qcow2").unlink()
    theirs = STATES / uuid / "tpm2" / "theirs"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("keys")
    result = restored(snapshot, status=FAILED)
    assert "left alone" in result.err and str(theirs.parent) in result.err
    assert [file.name for file in theirs.parent.iterdir()] == ["theirs"]
    assert theirs.read_text() == "keys"
    assert domains.find(beside.name) is None
    assert not (beside.folder / f"{beside.name}.qcow2").exists()
    theirs.unlink()
    theirs.parent.rmdir()
    theirs.parent.parent.rmdir()


def test_state_that_no_snapshot_has(vmsnap, blank, images):
    """P3: of a domain that never ran none is stored. One that is there, which the TPM cannot read,
    lets the restore fail; it is still there afterwards."""
    name, folder = "neverran", images / "neverran"
    folder.mkdir()
    folder.chmod(0o711)
    image = domains.make_image(folder / "a.qcow2", "qcow2", 8 << 20, 1)
    domain = blank(name, [domains.disk("vda", image)], start=False, more=TPM.format("2.0", ""))
    theirs = STATES / domain.UUIDString() / "tpm2" / "tpm2-00.permall"
    created = vmsnap.create(name)
    assert created["engine"] == "none" and not created["tpm"]
    snapshot = vmsnap.export_id(name, "--to", "dir")
    domains.remove(name)
    image.unlink()
    theirs.parent.mkdir(parents=True)
    theirs.write_text("no state of a TPM")
    vmsnap.run("restore", snapshot, "--from", "dir", "--start", status=FAILED)
    assert theirs.read_text() == "no state of a TPM"
    assert domains.find(name) is None and not image.exists()
    subprocess.run(["rm", "-r", theirs.parent.parent], check=True)


@pytest.mark.parametrize("beside", ["tpm-2.0", "nvram-source"], indirect=True)
def test_unreadable(vmsnap, beside):
    """Of a running domain: refused before anything is done, never left out in silence (P7)."""
    path = beside.path(beside.name)
    path.rename(f"{path}.away")
    try:
        result = vmsnap.run("check", "--json", beside.name, status=REFUSED).json
        [finding] = [f for f in result["findings"] if f["severity"] == "refusal"]
        assert finding["code"] == ("nvram" if "nvram" in beside.kind else
                                   "tpm-state") + "-unreadable"
        vmsnap.fails(REFUSED, "create", beside.name, says=[path])
    finally:
        Path(f"{path}.away").rename(path)


@pytest.mark.parametrize("beside", ["tpm-2.0", "nvram"], indirect=True)
def test_shut_off(vmsnap, beside, restored):
    """A domain that does not run keeps them all the same."""
    before = beside.files(beside.name)
    beside.domain.destroy()
    created = vmsnap.create(beside.name)
    assert created["engine"] == "none" and (created["tpm"] or created["nvram"])
    snapshot = vmsnap.export_id(beside.name, "--to", "dir")
    copy, folder = f"{beside.name}-off", beside.folder / "off"
    folder.mkdir()
    restored(snapshot, "--as", copy, "--disks-to", folder, name=copy)
    assert beside.files(copy) == before


@pytest.mark.parametrize("beside", ["tpm-2.0"], indirect=True)
def test_restore_that_fails_leaves_no_state(vmsnap, beside, images):
    """The definition is refused by libvirt after the state was put there."""
    vmsnap.run("create", beside.name, "--memory=none")
    snapshot = vmsnap.export_id(beside.name, "--to", "dir")
    states = sorted(STATES.iterdir())
    folder = beside.folder / "broken"
    folder.mkdir()
    result = vmsnap.run("restore", "--json", snapshot, "--from", "dir", "--as", "two\nlines",
                        "--disks-to", folder, status=FAILED)
    assert json.loads(result.out)["schema"] == "vmsnap.error.v1"
    assert sorted(STATES.iterdir()) == states
    assert not list(folder.iterdir())
