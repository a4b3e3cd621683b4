# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab's libvirtd, killed and started from inside the lab."""
import contextlib
import os
import signal
import subprocess
from pathlib import Path

import libvirt

import domains


class Libvirtd:
    """The lab's own, from inside the lab."""

    @staticmethod
    def kill():
        pid = int(Path("/run/libvirtd.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        domains.wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 20)

    @staticmethod
    def start():
        subprocess.run(["libvirtd", "-d"], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers():
            with contextlib.suppress(libvirt.libvirtError):
                return domains.connection().getVersion()
        domains.wait_for(answers, 60)
