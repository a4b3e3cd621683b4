# SPDX-License-Identifier: LGPL-2.1-or-later
"""The part of selftest that runs inside the lab: selftest.py DIR."""
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

from lab import Lab

lab = Lab(sys.argv[1])
here = Path(__file__).resolve().parent
guest = None


def check(what):
    def run(function):
        try:
            note = function()
            print(f"PASS {what}{f' ({note})' if note else ''}", flush=True)
        except Exception:
            print(f"FAIL {what}", flush=True)
            print("".join(f"     {line}\n" for line in traceback.format_exc().splitlines()),
                  flush=True)
    return run


@check("a guest starts and its agent answers")
def _():
    global guest
    begin = time.monotonic()
    guest = lab.create_domain("self", dirty=4, touch=8, vcpus=2, cdrom=True)
    return f"{time.monotonic() - begin:.1f} s"


@check("its heart beats, its writer writes")
def _():
    with guest.heartbeat() as beat:
        time.sleep(2)
    found = beat.statistics()
    assert found["count"] >= 100 and found["broken_lines"] == 0, found
    assert found["seq"] > found["first_seq"] and found["errors"] == 0, found
    assert found["nonce"] == guest.state()["nonce"], found
    return f"{found['count']} beats in 2 s, widest gap {found['max_gap_ms']} ms"


@check("its dirtier dirties as much as it is told")
def _():
    # the first page of an area that was never written costs more than the rate
    limit = time.monotonic() + 60
    assert guest.state()["memory"]["touched"] == 8, guest.state()
    guest.dirty(0)
    while guest.beat().dirtied != (pages := guest.beat().dirtied) or not pages:
        assert time.monotonic() < limit
        time.sleep(0.2)
    guest.dirty(16)
    while guest.beat().dirtied < pages + 32 * 256:  # all of its area
        assert time.monotonic() < limit
    guest.dirty(4)


@check("a pause shows as a gap")
def _():
    with guest.heartbeat() as beat:
        guest.libvirt.suspend()
        time.sleep(0.4)
        guest.libvirt.resume()
        time.sleep(0.5)
    assert 400 <= beat.widest_gap < 3000, beat.statistics()
    assert len(beat.gaps(400)) == 1, beat.gaps(50)
    return f"400 ms asked, {beat.widest_gap:.0f} ms seen"


@check("silence until the end is a gap")
def _():
    with guest.heartbeat() as beat:
        guest.libvirt.suspend()
        time.sleep(0.3)
    guest.libvirt.resume()
    assert beat.widest_gap >= 300, beat.statistics()


@check("frozen file systems stand still, the guest runs on")
def _():
    count = guest.freeze()
    try:
        assert count == 2 and guest.freeze_status() == "frozen", count
        with guest.heartbeat() as beat:
            time.sleep(0.5)
        assert beat.beats[0].seq == beat.last.seq, beat.statistics()
        for name in ("vda.qcow2", "vdb.raw"):
            shutil.copy(lab.images / "self" / name, lab.images / f"frozen-{name}")
    finally:
        guest.thaw()
    assert guest.freeze_status() == "thawed"
    guest.frozen_seq = beat.last.seq
    seq = guest.beat().seq
    time.sleep(0.5)
    assert guest.beat().seq > seq


@check("the running guest finds its records and its memory whole")
def _():
    found = guest.labcheck()
    assert found["clean"] and found["difference"] == 0 and found["a"]["last"] > 0, found
    assert found["state"]["memory"]["pages"] > 0 and found["state"]["memory"]["bad"] == 0, found


images = [(lab.images / f"frozen-{name}", format)
          for name, format in (("vda.qcow2", "qcow2"), ("vdb.raw", "raw"))]


@check("both disks, copied while frozen, end with the same record")
def _():
    sizes = [path.stat().st_mtime_ns for path, _ in images]
    begin = time.monotonic()
    found = lab.records(*images)
    assert found["ok"] and found["clean"] and found["difference"] == 0, found
    assert found["a"]["last"] == found["b"]["last"] == guest.frozen_seq, found
    assert sizes == [path.stat().st_mtime_ns for path, _ in images]
    return f"{found['a']['last']} records, {time.monotonic() - begin:.1f} s"


@check("a damaged and a missing record are found")
def _():
    data = images[1][0].read_bytes()
    # a record begins with its magic, the disk's letter and its number
    third = data.index(b"Bvmsrec1" + (3).to_bytes(8, "little"))
    fifth = data.index(b"Bvmsrec1" + (5).to_bytes(8, "little"))
    with open(images[1][0], "r+b") as file:
        file.seek(third + 500)
        file.write(bytes([data[third + 500] ^ 1]))
        file.seek(fifth)
        file.write(data[fifth - 1000:fifth])
    found = lab.records(*(path for path, _ in images))
    assert not found["ok"] and found["b"]["bad"] == 1 and found["b"]["gaps"] == 1, found
    assert found["a"]["bad"] == 0 and found["a"]["gaps"] == 0, found


@check("the guest outlives its libvirtd")
def _():
    tick = guest.beat().tick
    with guest.heartbeat() as beat:
        for what in ("kill", "start"):
            subprocess.run([here / "daemon", lab.dir, what], check=True)
    assert beat.last.tick > tick and beat.widest_gap < 2000, beat.statistics()
    guest.wait()  # until the new one has found the agent
    assert guest.freeze_status() == "thawed"


@check("a transient one without an agent")
def _():
    other = lab.create_domain("other", transient=True, agent=False, writer=0)
    assert not other.libvirt.isPersistent() and not other.has_agent()
    assert other.nonce() != guest.nonce() and other.beat().seq == 0
    other.destroy()


@check("destroy leaves neither domain nor image")
def _():
    guest.destroy()
    for path, _ in images:
        path.unlink()
    assert not lab.domains() and not list(lab.images.iterdir()), list(lab.images.iterdir())
