# SPDX-License-Identifier: LGPL-2.1-or-later
"""Dirty bitmaps of our own: overlays are merged at once, and the next export still reads only what
the guest has changed. As in test_tracking.py, each export is compared with the frozen images."""
import json

import libvirt_qemu
import pytest

import domains
from test_tracking import make, merge_by_hand, overwrite, replace, resize  # noqa: F401
from tracked import MIB, methods, reasons

QCOW2 = {"vda": "qcow2"}


def bitmaps(domain, target="vda"):
    """Names in the original image."""
    info = json.loads(domains.qemu_img("info", "-U", "--output=json", domain.paths[target]))
    return {bitmap["name"]: bitmap["flags"]
            for bitmap in info["format-specific"]["data"].get("bitmaps", [])}


def outlook(domain):
    """What check says."""
    disks = domain.vmsnap.json("check", domain.name, "--memory=none")["disks"]
    return {disk["target"]: disk["tracking"] for disk in disks}


def test_bitmaps_tell_what_changed(make):  # noqa: F811
    domain = make(formats={"vda": "qcow2", "vdb": "raw"})
    assert outlook(domain) == {"vda": "begins", "vdb": "none"}
    assert reasons(domain.snapshot(keep=False)) == {"vda": "first-snapshot",
                                                    "vdb": "first-snapshot"}
    assert outlook(domain) == {"vda": "bitmap", "vdb": "none"}
    first = domain.stored
    overwrite(domain)
    found = domain.snapshot(keep=False)
    assert methods(found) == {"vda": "bitmap", "vdb": "none"}
    assert found["vda"]["parent"] == first and reasons(found)["vdb"] == "no-tracking"
    assert 3 * MIB < found["vda"]["bytes_changed"] < 4 * MIB
    # what is written to the overlay counts after it is merged
    domain.create()
    domain.io("vda", "write -P 40 7M 100k")
    domain.export()
    domain.io("vda", "write -P 41 8M 100k")
    found = domain.snapshot(keep=False)
    assert methods(found)["vda"] == "bitmap" and found["vda"]["bytes_changed"] < MIB
    # nothing changed: the folder of before
    before = domain.subtrees(domain.stored)["vda"]
    found = domain.snapshot(keep=False)
    assert found["vda"]["bytes_changed"] == 0
    assert domain.subtrees(domain.stored)["vda"] == before
    assert domain.restic.run("check", "--read-data")
    domain.stop()
    assert list(bitmaps(domain)) == [f"vmsnap-{domain.last['snapshot']['id']}"]


def test_started_and_stopped_between(make):  # noqa: F811
    """A bitmap is saved with the image; qemu-img merges what a guest wrote to an overlay that was
    made while it was shut off."""
    domain = make(formats=QCOW2)
    domain.snapshot(keep=False)
    domain.io("vda", "write -P 1 1M 100k")
    domain.stop()
    domain.io("vda", "write -P 2 3M 100k")
    domain.create()
    domain.domain.create()
    domain.io("vda", "write -P 3 5M 100k")
    domain.export()
    assert methods({disk["target"]: disk["tracking"] for disk in
                    domain.vmsnap.json("list", domain.name, "--all")["snapshots"][-1]["disks"]}
                   ) == {"vda": "bitmap"}
    domain.io("vda", "write -P 4 7M 100k")
    found = domain.snapshot()
    assert methods(found)["vda"] == "bitmap" and found["vda"]["bytes_changed"] >= 200 << 10
    domain.stop()
    domain.io("vda", "write -P 5 9M 100k")
    domain.commit_all()
    assert methods(domain.snapshot(keep=False))["vda"] == "bitmap"


def test_kept_and_merged_overlays_mixed(make):  # noqa: F811
    domain = make(formats=QCOW2)
    domain.snapshot()
    domain.io("vda", "write -P 1 1M 100k")
    assert methods(domain.snapshot())["vda"] == "overlay"
    assert outlook(domain) == {"vda": "overlay"}
    domain.io("vda", "write -P 2 3M 100k")
    domain.commit_all()
    domain.io("vda", "write -P 3 5M 100k")
    found = domain.snapshot()
    assert methods(found)["vda"] == "bitmap"
    # somebody else's merge is entered in the bitmap as well
    domain.io("vda", "write -P 4 7M 100k")
    merge_by_hand(domain)
    domain.io("vda", "write -P 5 9M 100k")
    found = domain.snapshot()
    assert methods(found)["vda"] == "bitmap" and found["vda"]["bytes_changed"] >= 200 << 10


@pytest.mark.parametrize("engine", ["live", "cow"] if domains.cow_possible() else ["live"])
def test_with_memory(make, engine):  # noqa: F811
    """QEMU gives its images up for a moment when it has written the memory, bitmaps too."""
    domain = make(formats=QCOW2)
    domain.memory = engine
    domain.snapshot(keep=False)
    for i in range(2):
        domain.io("vda", f"write -P {50 + i} {i + 1}M 100k")
        found = domain.snapshot(keep=False)
        assert methods(found)["vda"] == "bitmap" and 0 < found["vda"]["bytes_changed"] < MIB
        domain.io("vda", f"write -P {60 + i} {i + 5}M 100k")


def qmp(domain, command):
    name = next(iter(bitmaps_of(domain)))
    for node in nodes(domain):
        if name in node["names"]:
            libvirt_qemu.qemuMonitorCommand(domain.domain, json.dumps(
                {"execute": command, "arguments": {"node": node["node"], "name": name}}), 0)


def nodes(domain):
    reply = json.loads(libvirt_qemu.qemuMonitorCommand(
        domain.domain, '{"execute":"query-named-block-nodes"}', 0))
    return [{"node": node["node-name"],
             "names": [bitmap.get("name") for bitmap in node.get("dirty-bitmaps", [])]}
            for node in reply["return"]]


def bitmaps_of(domain):
    return [name for node in nodes(domain) for name in node["names"] if name]


def kill(domain):
    domain.io("vda", "write -P 88 1M 64k")
    domain.kill()
    domain.start()


BROKEN = {
    "bitmap deleted": (lambda domain: qmp(domain, "block-dirty-bitmap-remove"), "bitmap-missing"),
    "bitmap stopped": (lambda domain: qmp(domain, "block-dirty-bitmap-disable"), "tracking-broken"),
    "QEMU killed": (kill, "bitmap-inconsistent"),
    "resized": (resize, "size-changed"),
    "replaced": (replace, "disk-replaced"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(make, name):  # noqa: F811
    breakage, reason = BROKEN[name]
    domain = make(formats=QCOW2)
    domain.snapshot(keep=False)
    domain.io("vda", "write -P 1 3M 100k")
    breakage(domain)
    domain.io("vda", "write -P 2 5M 100k")
    assert reasons(domain.snapshot(keep=False))["vda"] == reason
    # the next one knows again
    domain.io("vda", "write -P 3 7M 100k")
    assert methods(domain.snapshot(keep=False))["vda"] == "bitmap"
    domain.stop()
    assert list(bitmaps(domain)) == [f"vmsnap-{domain.last['snapshot']['id']}"]


def test_only_our_own_are_removed(make, tmp):  # noqa: F811
    """Somebody's bitmap, and those of a vmsnap whose catalog is gone, stay."""
    domain = make(formats=QCOW2, start=False)
    domains.qemu_img("bitmap", "--add", domain.paths["vda"], "theirs")
    domain.snapshot(keep=False)
    ours = set(bitmaps(domain)) - {"theirs"}
    domain.vmsnap = domain.vmsnap.with_state(tmp / "lost-catalog")
    domain.vmsnap.restic = lambda name: domain.restic
    assert reasons(domain.snapshot(keep=False))["vda"] == "bitmap-not-ours"
    assert methods(domain.snapshot(keep=False))["vda"] == "bitmap"
    assert set(bitmaps(domain)) == {"theirs", f"vmsnap-{domain.last['snapshot']['id']}"} | ours


def test_given_up_snapshots_leave_none(make):  # noqa: F811
    domain = make(formats=QCOW2)
    domain.create()
    domain.vmsnap.run("drop", domain.name)
    assert not bitmaps_of(domain)
