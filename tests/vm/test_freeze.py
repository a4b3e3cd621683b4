# SPDX-License-Identifier: LGPL-2.1-or-later
"""P1, P7: agents that misbehave. The guest is never left frozen, and a snapshot never claims a freeze
that did not hold."""
import os
import signal
import threading

import pytest

import cow
import domains
from standin import AgentError, StandIn
from tool import REFUSED

AUTO = ("--memory=none", "--quiesce=auto")
REQUIRE = ("--memory=none", "--quiesce=require")


@pytest.fixture(scope="module")
def made():
    made = StandIn("standin")
    yield made
    made.end()


@pytest.fixture
def standin(made, vmsnap):
    made.reset()
    originals = made.vm.disks()
    yield made
    made.wake.set()
    made.deaf = False
    for _ in vmsnap.on_host(made.name):
        vmsnap.start("drop", made.name).wait()
    domains.wait_for(lambda: not made.frozen)
    assert made.vm.disks() == originals


def downgraded(vmsnap, standin, code, *words, options=()):
    """Under auto it is taken, unfrozen, and says why in record and output; the note."""
    result = vmsnap.run("create", "--json", standin.name, *AUTO, *options)
    record = result.json["snapshot"]
    assert (record["consistency"], record["frozen_filesystems"]) == ("crash", 0)
    [note] = [note for note in record["notes"] if note["code"] == code]
    for word in words:
        assert word in note["text"], note
    vmsnap.run("drop", standin.name)
    return note["text"]


def refused(vmsnap, standin, *words, options=()):
    """Under require it fails, and nothing is left."""
    vmsnap.fails(REFUSED, "create", standin.name, *REQUIRE, *options, says=words)
    assert not vmsnap.on_host(standin.name)


def test_held(vmsnap, standin):
    record = vmsnap.create(standin.name, *REQUIRE)
    assert (record["consistency"], record["frozen_filesystems"]) == ("quiesced", 2)
    assert record["notes"] == []
    assert not standin.frozen and standin.asked["guest-fsfreeze-thaw"] == 1


def windows(standin):
    """Has thawed itself: the thaw is answered by an error once, then by 0; the status says frozen
    until then."""
    def thaw():
        if standin.frozen:
            standin.frozen = False
            raise AgentError("couldn't hold writes: fsfreeze is limited up to 10 seconds")
        return 0
    standin.thaw = thaw


def nothing_to_thaw(standin):
    def thaw():
        standin.frozen = False
        return 0
    standin.thaw = thaw


def not_frozen(standin):
    """An error, for ever."""
    def thaw():
        standin.frozen = False
        raise AgentError("not frozen")
    standin.thaw = thaw


def half(standin):
    def thaw():
        return min(standin.do_thaw(), 1)
    standin.thaw = thaw


@pytest.mark.parametrize("how", [windows, nothing_to_thaw, not_frozen, half])
def test_thawed_itself(vmsnap, standin, how):
    how(standin)
    downgraded(vmsnap, standin, "freeze-lost", "before the cut was done")
    refused(vmsnap, standin, "thawed its file systems", "--quiesce=off")


def test_refuses_one_file_system(vmsnap, standin):
    def freeze():
        raise AgentError("failed to freeze /mnt/b: Input/output error")
    standin.freeze = freeze
    downgraded(vmsnap, standin, "freeze-failed", "failed to freeze /mnt/b")
    refused(vmsnap, standin, "failed to freeze /mnt/b")


def test_nothing_to_freeze(vmsnap, standin):
    standin.freeze = lambda: 0
    downgraded(vmsnap, standin, "freeze-failed", "no file system")
    refused(vmsnap, standin, "no file system")


def late(standin):
    """Its freeze takes longer than vmsnap waits, and is in force then."""
    def freeze():
        done = threading.Event()
        done.wait(2)
        return standin.do_freeze()
    standin.freeze = freeze


def test_late_freeze_is_thawed(vmsnap, standin):
    late(standin)
    downgraded(vmsnap, standin, "freeze-failed", options=["--freeze-deadline=1"])
    domains.wait_for(lambda: standin.asked.get("guest-fsfreeze-thaw"))
    assert not standin.frozen
    refused(vmsnap, standin, "freeze", options=["--freeze-deadline=1"])


def test_dies_frozen_and_comes_back(vmsnap, standin):
    """The freeze held all the time: it counts."""
    def freeze():
        standin.do_freeze()
        standin.deaf = True
        threading.Timer(3, standin.wake.set).start()
        return 2
    standin.freeze = freeze
    record = vmsnap.create(standin.name, *REQUIRE, "--freeze-deadline=60")
    assert (record["consistency"], record["frozen_filesystems"]) == ("quiesced", 2)
    assert not standin.frozen


def test_never_answers(vmsnap, standin):
    """Not while vmsnap waits, and it has frozen in the end: it is thawed as soon as it answers,
    although no vmsnap runs any more."""
    def freeze():
        standin.deaf = True
        standin.wake.wait()
        return standin.do_freeze()
    standin.freeze = freeze
    text = downgraded(vmsnap, standin, "freeze-failed", "not known", "virsh domfsthaw standin",
                      options=["--freeze-deadline=1"])
    assert "guest-fsfreeze-thaw" not in standin.asked, text
    assert cow.guards()
    standin.wake.set()
    domains.wait_for(lambda: standin.asked.get("guest-fsfreeze-thaw"), 60)
    assert not standin.frozen
    domains.wait_for(lambda: not cow.guards(), 60)


@pytest.mark.parametrize("guarded", [True, False], ids=["guard", "recover"])
def test_killed_while_frozen(vmsnap, standin, guarded):
    """kill -9 before the answer to the freeze has come: the guard thaws; where there is none,
    recover does."""
    process = []

    def freeze():
        count = standin.do_freeze()
        domains.wait_for(lambda: process)
        for pid in [] if guarded else cow.guards():
            os.kill(pid, signal.SIGKILL)
        process[0].send(signal.SIGKILL)
        return count
    standin.freeze = freeze
    process.append(vmsnap.start("create", standin.name, *REQUIRE))
    assert process[0].wait().status == -signal.SIGKILL
    if guarded:
        domains.wait_for(lambda: not standin.frozen, 40)
    else:
        assert standin.frozen
    [entry] = vmsnap.json("recover", standin.name)["snapshots"]
    assert (entry["action"], entry["snapshot"]["status"]) == ("undo", "failed")
    thawed = "thawed" in [note["code"] for note in entry["snapshot"]["notes"]]
    assert thawed != guarded and not standin.frozen
