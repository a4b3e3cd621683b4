# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmsnap with repositories in folders and in the test bucket."""
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import domains
import s3
from restic import Restic
from tool import Vmsnap

for _aws, _lab in (("AWS_ACCESS_KEY_ID", "S3_ACCESS_KEY"),
                   ("AWS_SECRET_ACCESS_KEY", "S3_SECRET_KEY")):
    if _lab in os.environ:
        os.environ.setdefault(_aws, os.environ[_lab])

# In the lab's namespace the next run may well have this one's process id; the server may be the same.
RUN = uuid.uuid4().hex[:12]
QUICK_REPO = Path(os.environ["VMSNAP_BUILD"]).resolve() / "tests/vm/quick-repo"


class Places(Vmsnap):
    """vmsnap with a directory and an S3 repository, and fresh ones on demand."""

    def __init__(self, folder, **options):
        self.places = {}
        self.count = 0
        super().__init__(folder, {}, **options)

    def repository(self, to, init=True, name=None):
        name = name or to
        if to == "dir":
            self.places[name] = {"folder": self.folder / f"repository-{name}"}
            self.add(name, url=self.places[name]["folder"])
        else:
            self.places[name] = {"prefix": f"vm-{RUN}/{self.folder.name}/{name}"}
            self.add(name, **s3.settings(self.places[name]["prefix"]))
        if init:
            self.make(name)
        return name

    def make(self, name):
        """As "vmsnap init" does, but that its password costs no time (quick-repo.c)."""
        place = self.places[name]
        folder = place.get("folder") or self.folder / "quick"
        subprocess.run([QUICK_REPO, folder, self.password], check=True, timeout=60)
        if "prefix" in place:
            for file in domains.folder_files(folder):
                status, answer = s3.request("PUT", f"/{s3.BUCKET}/{place['prefix']}/{file}",
                                            body=(folder / file).read_bytes())
                assert status == 200, answer
            shutil.rmtree(folder)

    def fresh(self, to, init=True):
        """An empty repository of its own."""
        self.count += 1
        return self.repository(to, init, f"fresh-{to}-{self.count}")

    def stored_bytes(self, name):
        place = self.places[name]
        if "prefix" in place:
            return sum(s3.objects(place["prefix"] + "/").values())
        return sum(path.stat().st_size for path in place["folder"].rglob("*") if path.is_file())

    def restic(self, name):
        return Restic(self.password, **self.places[name])

    def with_state(self, state):
        """Another host, as it were: the same repositories, nothing else known."""
        return Vmsnap(self.folder / f"other-{state.name}", {
            name: {"password-file": self.password, **keys}
            for name, keys in self.repositories.items()}, state=state)
