# SPDX-License-Identifier: LGPL-2.1-or-later
"""A running Linux guest whose three disks change by themselves and as they are told: file systems
with the writer's records on vda and vdb, nothing but what a test writes on vdc."""
import domains
from guest import Watched
from lab import Lab, make_disk
from tracked import MIB, Tracked

FOLDERS = {"vda": "/mnt/a", "vdb": "/mnt/b"}


class Live(Tracked):
    def __init__(self, *args, **options):
        super().__init__(*args, size=64 * MIB, **options)
        self.originals = domains.sources(self.domain)
        self.watch = Watched(self.name)
        self.last_beat = self.watch.vm.beat(60)

    def make_image(self, target, format, data):
        if target in FOLDERS:
            make_disk(self.paths[target], format, "ext4", self.size)
        else:
            domains.make_image(self.paths[target], format, self.size, data)

    def define(self, start=False):
        disks = "".join(self.disk(target) for target in self.formats)
        Lab().create_domain(self.name, memory=192, writer=10, dirty=1, disks=[], more=disks,
                            start=start)

    def start(self):
        """Booted anew."""
        super().start()
        self.watch.vm.wait()
        self.last_beat = self.watch.vm.beat(60)

    def run(self, *command):
        status, output = self.watch.vm.execute(*command)
        assert status == 0, (command, output)

    def change(self, target, dice):
        """False for a disk that has no file system."""
        if target not in FOLDERS:
            return False
        file = FOLDERS[target] + "/random"
        if dice.random() < 0.3:
            self.run("/bin/rm", "-f", file)
            self.run("/bin/fstrim", FOLDERS[target])
        else:
            self.run("/bin/dd", f"if=/dev/{dice.choice(('zero', 'urandom', 'urandom'))}",
                     f"of={file}", "bs=4096", f"count={dice.randrange(1, 500)}",
                     f"seek={dice.randrange(2000)}", "conv=notrunc,fsync")
        return True

    def unharmed(self):
        """It was not restarted, and has written since it was last asked, without an error."""
        beat = self.watch.vm.beat(60)
        assert beat.nonce == self.last_beat.nonce
        assert beat.errors == 0 and beat.bad_pages == 0, beat
        assert beat.tick > self.last_beat.tick
        self.last_beat = beat

    def finally_unharmed(self):
        """After the last overlay is gone. The writer's records have neither gap nor tear."""
        assert domains.sources(self.domain) == self.originals
        assert domains.sources(self.domain, inactive=True) == self.originals
        assert domains.folder_files(self.folder) == sorted(
            path.name for path in self.paths.values())
        assert domains.metadata_free(self.domain)
        before = self.last_beat.seq
        domains.wait_for(lambda: self.watch.vm.beat(60).seq > before, 60)
        assert self.watch.vm.labcheck()["ok"]
