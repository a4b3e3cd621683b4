# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest agent of which a test decides what it does. It speaks the agent's protocol on a channel of
its own, which the guest (tests/lab/guest/init) joins to the agent's, and starts no real one."""
import json
import socket
import threading

from guest import Watched
from lab import Lab

PORT = "org.vmsnap.standin"
CHANNEL = f"<channel type='unix'><target type='virtio' name='{PORT}'/></channel>"


class AgentError(Exception):
    """What it answers instead."""


class StandIn(Watched):
    """A guest with it. Tests set what its commands do: functions without arguments that return the
    answer, or raise AgentError; None: it does not answer. They run on a thread of its own, one after
    the other as in any agent."""

    def __init__(self, name):
        super().__init__(name)
        self.vm.destroy()  # of a run that was killed
        self.vm = Lab().create_domain(name, memory=192, more=CHANNEL, wait=False)
        [path] = [channel.find("source").get("path")
                  for channel in self.vm.xml().iterfind("devices/channel")
                  if channel.find("target").get("name") == PORT]
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.reset()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        self.vm.wait()

    def reset(self):
        """Freezes two file systems and thaws them."""
        self.frozen = False   # the file systems
        self.deaf = False     # it reads no command
        self.wake = threading.Event()
        self.asked = {}       # how often
        self.freeze, self.thaw = self.do_freeze, self.do_thaw

    def do_freeze(self):
        self.frozen = True
        return 2

    def do_thaw(self):
        count = 2 if self.frozen else 0
        self.frozen = False
        return count

    def _status(self):
        return "frozen" if self.frozen else "thawed"

    def _answer(self, request):
        name = request["execute"]
        self.asked[name] = self.asked.get(name, 0) + 1
        if name.startswith("guest-sync"):
            return request["arguments"]["id"]
        return {"guest-ping": dict, "guest-fsfreeze-status": self._status,
                "guest-fsfreeze-freeze": self.freeze, "guest-fsfreeze-thaw": self.thaw}[name]()

    def _serve(self):
        for line in self.socket.makefile("rb"):
            try:
                request = json.loads(line.lstrip(b"\xff"))
            except ValueError:
                continue  # what was left in the channel by somebody
            if self.deaf:
                self.wake.wait()
            try:
                answer = self._answer(request)
            except KeyError as error:
                answer = {"error": {"class": "CommandNotFound", "desc": str(error)}}
            except AgentError as error:
                answer = {"error": {"class": "GenericError", "desc": str(error)}}
            else:
                answer = None if answer is None else {"return": answer}
            if answer is not None:
                mark = b"\xff" if request["execute"] == "guest-sync-delimited" else b""
                self.socket.sendall(mark + json.dumps(answer).encode() + b"\n")

    def end(self):
        self.silence()
        self.wake.set()
        self.vm.destroy()
        self.thread.join(30)
        self.socket.close()
