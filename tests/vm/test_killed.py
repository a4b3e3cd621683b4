# SPDX-License-Identifier: LGPL-2.1-or-later
"""P1, P6: kill -9 of the one that holds the guest still."""
import os
import subprocess
from pathlib import Path

import libvirt
import pytest

import domains

TOOL = Path(os.environ["VMSNAP_BUILD"]).resolve() / "tests/vm/virt-tool"


def test_killed_while_frozen(guest):
    """Long before the deadline, and nobody runs vmsnap again."""
    process = subprocess.Popen([TOOL, guest.name, "freeze", "60000", "120"],
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "frozen\n"
    assert guest.vm.freeze_status() == "frozen"
    process.kill()
    process.wait()
    domains.wait_for(lambda: guest.vm.freeze_status() == "thawed", 20)
    guest.writes_on()


@pytest.fixture
def hold(request, blank, images):
    """A running domain, and a function that pauses it by vmsnap's means for so many milliseconds."""
    image = domains.make_image(images / "held.qcow2", "qcow2", 8 << 20, 1)
    domain = blank("held", [domains.disk("vda", image)], transient=getattr(request, "param", False))
    running = []

    def start(milliseconds):
        process = subprocess.Popen([TOOL, "held", "pause", str(milliseconds)],
                                   stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout.readline() == "paused\n"
        assert domains.state(domain) == libvirt.VIR_DOMAIN_PAUSED
        return process

    start.domain = domain
    yield start
    for process in running:
        process.kill()
        process.wait()


def test_pause_ends(hold):
    process = hold(3000)
    assert process.wait(60) == 0
    assert domains.state(hold.domain) == libvirt.VIR_DOMAIN_RUNNING


def test_pause_of_a_paused_one(hold):
    """It is not ours to end."""
    hold.domain.suspend()
    assert hold(0).wait(60) == 0
    assert domains.state(hold.domain) == libvirt.VIR_DOMAIN_PAUSED


@pytest.mark.parametrize("hold", [False, True], ids=["persistent", "transient"], indirect=True)
def test_guest_ends_in_pause(hold):
    """There is nothing to resume: no failure, even where libvirt does not know the domain any more."""
    process = hold(2000)
    hold.domain.destroy()
    assert process.poll() is None
    assert process.wait(120) == 0


def test_killed_while_paused(hold):
    process = hold(60000)
    process.kill()
    process.wait()
    domains.wait_for(lambda: domains.state(hold.domain) == libvirt.VIR_DOMAIN_RUNNING, 20)
