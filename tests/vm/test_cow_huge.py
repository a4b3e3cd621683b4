# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saving takes the guest's huge pages apart; afterwards they are put together again, where the host
wants huge pages at all. The contents stay, and a snapshot never fails because of it."""
import json
import signal
import subprocess
from pathlib import Path

import pytest

import domains
from tool import DONE, PROGRAM, validate

SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")
SIZE = SETTINGS / "hugepages-2048kB/enabled"

pytestmark = pytest.mark.skipif("[never]" in (SETTINGS / "enabled").read_text(),
                                reason="this host wants no huge pages")


def memory(guest):
    """(MiB of the guest's memory that the host has given, MiB of that in huge pages)"""
    best = {"Size": 0}
    for mapping in Path(f"/proc/{guest.qemu_pid()}/smaps").read_text().split("VmFlags:"):
        lines = [line.partition(":") for line in mapping.splitlines()]
        found = {key: int(value.split()[0]) // 1024 for key, _, value in lines
                 if value.endswith(" kB")}
        if found.get("Size", 0) > best["Size"]:
            best = found
    return best["Rss"], best["AnonHugePages"]


def create(vmsnap, guest, *prefix):
    """By way of another program."""
    done = subprocess.run([*prefix, PROGRAM, "create", "--config", str(vmsnap.config), "--json",
                           "--memory=cow", guest.name], capture_output=True, text=True,
                          timeout=180, check=False)
    assert done.returncode == 0, done
    document = json.loads(done.stdout)
    validate(document)
    return document["snapshot"]


def whole(vmsnap, guest, record):
    """The snapshot is there and can be merged back; the guest's memory is what it wrote."""
    assert record["status"] == "captured" and record["consistency"] == "memory"
    assert guest.check()["state"]["memory"]["bad"] == 0
    vmsnap.run("drop", guest.name)


def test_huge_again(vmsnap, busy, busy_unharmed):
    """Every time, and what was never written to takes no memory."""
    domains.wait_for(lambda: busy.beat().dirtied > 200 * 256, 60)  # all that it will write
    given, _ = memory(busy)
    for _ in range(2):
        record = vmsnap.create(busy.name, "--memory=cow")
        assert record["notes"] == [] and record["timing"]["huge_us"] > 0
        now, huge = memory(busy)
        assert huge > now // 2, f"{huge} MiB of {now}"
        assert now < given + given // 8 + 16, f"{given} MiB before"
        whole(vmsnap, busy, record)


def test_not_where_the_host_wants_none(vmsnap, busy, busy_unharmed, tmp):
    """That is no error and not worth a note."""
    setting = tmp / "enabled"
    setting.write_text("always inherit madvise [never]\n")
    target = SIZE if SIZE.exists() else SETTINGS / "enabled"
    record = create(vmsnap, busy, "unshare", "-m", "sh", "-c",
                    f'mount --bind {setting} {target} && exec "$@"', "sh")
    now, huge = memory(busy)
    assert record["notes"] == []
    assert huge < now // 4, f"{huge} MiB of {now}"
    whole(vmsnap, busy, record)


def test_not_where_the_kernel_refuses(vmsnap, busy, busy_unharmed):
    record = create(vmsnap, busy, "setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice")
    assert [note["code"] for note in record["notes"]] == ["huge-pages-split"]
    assert "not permitted" in record["notes"][0]["text"].lower()
    shown = vmsnap.json("show", record["id"])["snapshot"]
    assert shown["notes"] == record["notes"] and shown["timing"] == record["timing"]
    whole(vmsnap, busy, record)


def test_interrupted(vmsnap, busy, busy_unharmed):
    """By then the snapshot is taken and stays. (A slow machine may notice too late: then it has ended.)"""
    process = vmsnap.start("create", busy.name, "--memory=cow", "--progress=json")
    domains.wait_for(lambda: process.has_said('"huge pages"') or not process.running(), 120, 0.005)
    process.send(signal.SIGINT)
    result = process.wait()
    assert result.status == DONE, result
    record = vmsnap.on_host(busy.name)[0]
    whole(vmsnap, busy, vmsnap.json("show", record["id"])["snapshot"])
