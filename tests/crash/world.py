# SPDX-License-Identifier: LGPL-2.1-or-later
"""What jobs work on: domains, repositories, and stored snapshots to restore."""
import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import libvirt

import domains
import plain
from libvirtd import Libvirtd
from places import Places
from points import ours
from victims import Beside, Blank, Firmware, Linux, Narrow, Slow, kill_and_wait, new_folder

STORED = re.compile(r"(config|((keys|index|locks|snapshots)|data/[0-9a-f]{2})/[0-9a-f]{64})(\.tmp-.{6})?")
SPENT = 12  # snapshots, after which a repository has cost enough time


def put_in_order():
    """Whatever the last shot broke: libvirtd answers, nobody of ours runs."""
    kill_and_wait(ours())
    try:
        domains.connection().getVersion()
    except libvirt.libvirtError:
        Libvirtd.start()
    domains.remove("copy")


class World:
    """Made anew after a violation, with a new number: what is broken is not to break the next."""

    def __init__(self, folder, number=0):
        self.top = folder / f"world-{number}"
        shutil.rmtree(self.top, ignore_errors=True)
        new_folder(self.top)
        self.number, self.to, self.known, self._domains = number, {}, {}, {}
        self.sources = {}  # {job: (repository, snapshot, sums)} for restores
        self.vmsnap = Places(self.top / f"vmsnap-{number}")
        self.renew("dir")
        put_in_order()

    # ---- domains ----

    def domain(self, kind):
        """"blank", "off", "beside" (off, with more than disks), "firmware" (that runs), "big" (its disks are more
        than a part of an upload), "narrow" (there is little room), "slow" (as its vdb is) or "linux"; it runs, where it should, and no other Linux does."""
        if kind not in self._domains:
            name = f"{kind}{self.number}"
            domains.remove(name)
            size = {"size": 24, "data": 18} if kind == "big" else {}
            special = {"linux": Linux, "beside": Beside, "firmware": Firmware,
                       "narrow": Narrow, "slow": Slow}
            self._domains[kind] = (special[kind](self, name) if kind in special else
                                   Blank(self, name, kind != "off", **size))
        for other in self._domains:
            if other != kind:
                self._domains[other].rest()
        found = self._domains[kind]
        found.go_on()
        if found.runs and not found.is_up():
            found.start()
        return found

    def all(self):
        return list(self._domains.values())

    def kept_beside(self):
        """UEFI variables and TPM states that libvirt has, of anybody."""
        return sorted(str(path) for folder in ("qemu/nvram", "swtpm")
                      for path in (Path("/var/lib/libvirt") / folder).glob("*"))

    def close(self):
        put_in_order()
        for domain in self.all():
            with contextlib.suppress(libvirt.libvirtError):
                domain.gone()
        shutil.rmtree(self.top, ignore_errors=True)

    def statuses(self):
        """{id: status} of all that there ever was; "vmsnap list" would take ever longer."""
        with contextlib.closing(sqlite3.connect(self.vmsnap.state / "vmsnap.db")) as db:
            return dict(db.execute("SELECT id, status FROM snapshots").fetchall())

    # ---- repositories ----

    def renew(self, kind, init=True):
        """An empty one. kind ends in "dir" or "s3", and begins with "images" for plain images."""
        where, init = kind.rpartition("-")[2], init and not kind.startswith("images")
        if self.to.get(kind):
            folder = self.vmsnap.places[self.to[kind]].get("folder")
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        self.vmsnap.count += 1
        name = self.vmsnap.repository(where, init, f"{kind}-{self.vmsnap.count}")
        self.to[kind], self.known[kind] = name, {}
        return name

    def place(self, kind):
        """Its name. {snapshot: sums} of what it must hold is in known[kind]."""
        if kind not in self.to or len(self.known[kind]) >= (3 if "parts" in kind else SPENT):
            self.renew(kind)
        return self.to[kind]

    def restic(self, kind):
        return self.vmsnap.restic(self.to[kind])

    def stored_ids(self, kind):
        """Asked of restic, or of the manifests."""
        if kind.startswith("images"):
            return {path.parent.name: path.parent for path in self.fetched(kind).rglob("vmsnap.json")}
        return {entry["id"]: entry["id"] for entry in self.restic(kind).json("snapshots")}

    def fetched(self, kind):
        """A place of plain images, without what torn writes have left in a directory."""
        folder = self.top / "fetched"
        shutil.rmtree(folder, ignore_errors=True)
        place = plain.local(self.vmsnap, self.to[kind], folder)
        for path in place.rglob("*.tmp-??????"):
            path.unlink()
        return place

    def compare_stored(self, kind, snapshot, sums):
        """restic, or qemu-img, finds the disks of the cut; sums None: nobody knows what they hold."""
        if kind.startswith("images"):
            folder = self.stored_ids(kind)[snapshot]
            plain.check_snapshot(folder)
            for target, sha256 in (sums or {}).items():
                found = domains.image_sha256(folder / f"{target}.qcow2", "qcow2", self.top)
                assert found == sha256, f"{target} of {snapshot} is not the cut's"
            return
        to = self.top / "restored"
        self.restic(kind).run("restore", snapshot, "--target", to)
        [folder] = to.iterdir()
        for target, sha256 in (sums or {}).items():
            found = domains.file_sha256(folder / target / "disk.raw")
            assert found == sha256, f"{target} of {snapshot} is not the cut's"
        shutil.rmtree(to)

    def torn(self, kind):
        """What torn writes have left in a repository in a directory, in which there is nothing else that
        does not belong there. Old enough now to be dropped."""
        folder = self.vmsnap.places[self.to[kind]].get("folder")
        paths = [path for path in folder.rglob("*") if path.is_file()] if folder else []
        for path in paths:
            assert STORED.fullmatch(str(path.relative_to(folder))), f"{path} in a repository"
        torn = [path for path in paths if ".tmp-" in path.name]
        for path in torn:
            os.utime(path, (1, 1))
        return torn

    def judge(self, kind):
        """A repository is whole; locks that dead processes left do not count, as for restic. Of
        plain images each snapshot that has its manifest is."""
        if kind.startswith("images"):
            for folder in self.stored_ids(kind).values():
                plain.check_snapshot(folder)
            return
        restic = self.restic(kind)
        restic.run("unlock")
        assert "no errors were found" in restic.run("check")


def describe(world):
    """For whoever looks at a violation: all that can be seen."""
    lines = [world.vmsnap.start("list").wait().out, json.dumps(world.statuses())]
    for domain in world.all():
        with contextlib.suppress(libvirt.libvirtError):
            lines += [f"{domain.name}: state {domain.domain.state()}, job {domain.domain.isActive()}",
                      f"live {domains.sources(domain.domain)}",
                      f"persistent {domains.sources(domain.domain, inactive=True)}"]
    lines += [str(path) for path in sorted(world.top.rglob("*")) if "repository-" not in str(path)]
    lines.append(subprocess.run(["ps", "-eo", "pid,ppid,stat,args"], capture_output=True, text=True,
                                check=False).stdout)
    return "\n".join(lines)
