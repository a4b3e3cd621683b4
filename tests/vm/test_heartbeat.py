# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmsnap listens to the guest's heartbeat itself, where nobody else does."""
import pytest


@pytest.mark.parametrize("memory", ["auto", "none"])
def test_pause_is_measured(guest, vmsnap, unharmed, memory):
    """It is no error where the guest is not heard in time, so not every try need tell."""
    for _ in range(5):
        guest.silence()
        found = vmsnap.create(guest.name, f"--memory={memory}")
        vmsnap.run("drop", guest.name)
        guest.beat()
        if found["heartbeat"]:
            break
    assert found["heartbeat"], found
    assert found["heartbeat"]["beats"] > 1 and found["heartbeat"]["pause_us"] > 0, found


def test_somebody_else_listens(guest, vmsnap, unharmed):
    """Then it says nothing of it, and who listens hears all of it, and can leave and come back."""
    before = guest.beat()
    for _ in range(2):
        assert vmsnap.create(guest.name, "--memory=none")["heartbeat"] is None
        vmsnap.run("drop", guest.name)
    assert guest.heart.closed is None and guest.beat().nonce == before.nonce
    guest.silence()
    assert guest.beat().nonce == before.nonce
