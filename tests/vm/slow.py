# SPDX-License-Identifier: LGPL-2.1-or-later
"""A raw image that takes no more than so many bytes a second: a file of FUSE behind which QEMU's
storage daemon writes slowly. Whoever merges into it is slow, whatever else the machine does."""
import subprocess

import domains


class SlowImage:
    """In place of the image at path; the file itself is path.real."""

    def __init__(self, path, rate):
        self.path, self.real = path, path.with_name(path.name + ".real")
        size = path.stat().st_size
        path.rename(self.real)
        path.touch(0o600)
        self.daemon = subprocess.Popen(
            ["qemu-storage-daemon", "--object", f"throttle-group,id=slow,x-bps-write={rate}",
             "--blockdev", f"driver=file,node-name=real,filename={self.real}",
             "--blockdev", "driver=throttle,node-name=slow,throttle-group=slow,file=real",
             "--export", f"type=fuse,id=slow,node-name=slow,mountpoint={path},writable=on,"
             "allow-other=on"], stdin=subprocess.DEVNULL)
        domains.wait_for(lambda: path.stat().st_size == size or self.daemon.poll() is not None)
        assert self.daemon.poll() is None

    def end(self):
        self.daemon.terminate()
        self.daemon.wait(60)
        self.path.unlink()
        self.real.rename(self.path)
