# SPDX-License-Identifier: LGPL-2.1-or-later
"""What list and show print of the snapshots on this host."""
import pytest
from conftest import CAPTURED, DONE, FAILED, STORED


def test_list_what_waits(vmsnap, catalog):
    [snapshot] = vmsnap.run("list", "--json").json["snapshots"]
    assert snapshot["id"] == CAPTURED and snapshot["status"] == "captured"
    assert snapshot["time"] == "2023-11-14T22:13:20.123456000Z"
    assert snapshot["memory"] == {"size": 1 << 30, "path": f"/m/{CAPTURED}.save"}
    assert snapshot["repository"] is None
    assert [disk["target"] for disk in snapshot["disks"]] == ["vda", "vdb"]
    assert snapshot["notes"] == [{"code": "disk-skipped", "text": "disk sda: a CD-ROM is left out"}]


def test_list_all(vmsnap, catalog):
    """Oldest first."""
    snapshots = vmsnap.run("list", "--all", "--json").json["snapshots"]
    assert [snapshot["id"] for snapshot in snapshots] == [CAPTURED, DONE, FAILED]
    assert snapshots[1]["repository"] == {"location": "/srv/backup", "format": "restic",
                                          "folder": None, "snapshot": STORED}


def test_list_of_a_domain(vmsnap, catalog):
    for name in ("db01", "66666666-2222-3333-4444-555555555555"):
        snapshots = vmsnap.run("list", "-a", name, "--json").json["snapshots"]
        assert [snapshot["id"] for snapshot in snapshots] == [DONE, FAILED]
    assert vmsnap.run("list", "nosuch", "--json").json["snapshots"] == []


def test_table(vmsnap, catalog):
    """Aligned, local time."""
    lines = vmsnap.run("list", "--all", env={"TZ": "UTC-1"}).out.splitlines()
    assert lines[0].split()[:4] == ["ID", "DOMAIN", "TIME", "STATUS"]
    assert "2023-11-14 23:13:20" in lines[1] and "10.0 GiB" in lines[1]
    assert len({line.index(word) for line, word in
                zip(lines, ("STATUS", "captured", "done", "failed"))}) == 1


def test_show(vmsnap, catalog):
    """By the begin of its id, or of its id in the repository."""
    shown = vmsnap.run("show", CAPTURED[:4]).out
    for text in (CAPTURED, "memory and 2 disks at one instant", "/i/web01.qcow2", "CD-ROM", "1.0 GiB", "(cow)",
                 "silent for 42 ms in the pause, for at most 17 ms while memory was written"):
        assert text in shown
    snapshot = vmsnap.run("show", CAPTURED, "--json").json["snapshot"]
    assert snapshot["timing"]["pause_us"] == 38000 and snapshot["heartbeat"]["beats"] == 400
    assert vmsnap.run("show", STORED[:6], "--json").json["snapshot"]["id"] == DONE


def test_control_characters(vmsnap, catalog):
    """Text from elsewhere cannot drive the terminal."""
    shown = vmsnap.run("show", FAILED).out
    assert "the agent" in shown and "\x1b" not in shown
    assert vmsnap.run("show", FAILED, "--json").json["snapshot"]["reason"].count("\x1b") == 1


@pytest.mark.parametrize("prefix, status", [("77d0", 1), ("77", 1), ("xyz", 1), ("0000", 4)])
def test_which_snapshot(vmsnap, catalog, prefix, status):
    vmsnap.fails(status, "show", prefix, says=prefix)


def test_ambiguous_names_all(vmsnap, catalog):
    vmsnap.fails(1, "show", "77d0", says=[DONE, FAILED])
