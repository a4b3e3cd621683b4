# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU before 8.1, where a background snapshot that fails would hang the guest for good."""
from tool import REFUSED


def test_refused(vmsnap, guest, unharmed):
    result = vmsnap.run("check", "--json", guest.name, "--memory=cow", status=REFUSED).json
    [finding] = [f for f in result["findings"] if f["code"] == "cow-qemu-old"]
    assert finding["severity"] == "refusal" and finding["remedy"]
    assert result["engine"] == "none"
    vmsnap.fails(REFUSED, "create", guest.name, "--memory=cow", says=["8.1", "hang"])
    assert not vmsnap.on_host(guest.name)


def test_falls_back_and_says_so(vmsnap, guest, unharmed):
    """P7: in the output, in the record and in the manifest."""
    emulated = guest.vm.xml().get("type") == "qemu"
    codes = {"cow-qemu-old", *(["memory-emulated-live"] if emulated else [])}
    checked = vmsnap.json("check", guest.name)
    assert checked["engine"] == "live"
    assert codes == {found["code"] for found in checked["findings"]
                     if found["severity"] == "warning"}
    created = vmsnap.run("create", guest.name)
    assert all(code in created.out for code in codes)
    [record] = vmsnap.on_host(guest.name)
    record = vmsnap.json("show", record["id"])["snapshot"]
    assert record["engine"] == "live" and record["timing"] is None
    assert codes <= {note["code"] for note in record["notes"]}
    name = vmsnap.fresh("dir")
    snapshot = vmsnap.export_id(guest.name, "--to", name)
    stored = vmsnap.json("show", snapshot, "--from", name)["snapshot"]
    assert stored["engine"] == "live"
    assert codes <= {note["code"] for note in stored["notes"]}
