# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running vmsnap as its user does: from outside, with a configuration of its own."""
import contextlib
import ctypes
import gc
import itertools
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import jsonschema

try:
    import referencing
except ImportError:  # Debian 12
    referencing = None

PROGRAM = os.environ.get("VMSNAP", "vmsnap")
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"

# DESIGN §10, the man page's table
DONE, FAILED, USAGE, REFUSED, NOT_FOUND, BUSY = 0, 1, 2, 3, 4, 5
NOT_EXPORTED, DAMAGED, AUTH, NO_SPACE, INTERRUPTED = 6, 7, 8, 9, 130


class Run:
    """A finished command."""

    def __init__(self, args, status, out, err, seconds, max_rss):
        self.args, self.status, self.out, self.err = args, status, out, err
        self.seconds = seconds
        self.max_rss = max_rss  # bytes; of vmsnap or its largest child, whichever is larger

    @property
    def json(self):
        document = json.loads(self.out)
        validate(document)
        return document

    def __repr__(self):
        return f"vmsnap {' '.join(self.args)}: {self.status}\n{self.out}\n{self.err}"


def validate(document):
    """Whatever --json prints is what schemas/ promises."""
    file = SCHEMAS / (document["schema"].removeprefix("vmsnap.") + ".json")
    assert file.exists(), f"no schema for {document['schema']}"
    schema = json.loads(file.read_text())
    others = {other.name: json.loads(other.read_text()) for other in SCHEMAS.glob("*.json")}
    if referencing:
        resources = [(name, referencing.Resource.from_contents(text))
                     for name, text in others.items()]
        options = {"registry": referencing.Registry().with_resources(resources)}
    else:
        options = {"resolver": jsonschema.RefResolver("", schema, others)}
    jsonschema.Draft202012Validator(schema, **options).validate(document)


def look_at(pid):
    """Where the threads of a process and of its children stand in the kernel."""
    lines = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        try:
            lines += [f"{task.name} {(task / 'comm').read_text().strip()}: "
                      f"{(task / 'syscall').read_text().strip()}", (task / "stack").read_text()]
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            words = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            lines += [f"child {child}: {words}", look_at(child)]
    return "\n".join(lines)


def own_peak(pid):
    """Bytes that it had in memory at most so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def peak(pid):
    """Likewise, of it and its children."""
    most = 0
    with contextlib.suppress(OSError):
        most = own_peak(pid)
        for task in Path(f"/proc/{pid}/task").iterdir():
            most = max([most, *map(peak, (task / "children").read_text().split())])
    return most


@contextlib.contextmanager
def stopped(pid):
    """That process does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class Process:
    """A running command; its output goes to files, so it never waits for us."""
    numbers = itertools.count()
    not_waited_for = set()

    def __init__(self, folder, args, env):
        self.args, self.begin, self.look, self.peak = args, time.monotonic(), 0, 0
        # The kernel counts on from the peak of whoever starts a program: only what is resident now may
        # count, and where the program stays below that, what is seen of it meanwhile has to do.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        number = next(Process.numbers)
        self.files = [open(folder / f"{name}.{os.getpid()}.{number}", "w+b") for name in ("out", "err")]
        self.popen = subprocess.Popen([PROGRAM, *args], stdin=subprocess.DEVNULL,
                                      stdout=self.files[0], stderr=self.files[1], env=env)
        self.starter = own_peak(os.getpid())
        Process.not_waited_for.add(self)

    def send(self, number):
        """False where it has ended already."""
        if self.popen.returncode is not None:
            return False
        os.kill(self.popen.pid, number)
        return True

    def kill(self):
        self.popen.kill()
        self.popen.wait()
        Process.not_waited_for.discard(self)

    def has_said(self, text):
        """On stderr, so far."""
        return text in Path(self.files[1].name).read_text()

    def running(self):
        if self.popen.returncode is None:
            if time.monotonic() >= self.look:
                self.peak = max(self.peak, peak(self.popen.pid))
                self.look = time.monotonic() + 0.05
            pid, status, usage = os.wait4(self.popen.pid, os.WNOHANG)
            if pid:
                self.popen.returncode = os.waitstatus_to_exitcode(status)
                Process.not_waited_for.discard(self)
                self.end = time.monotonic()
                if usage.ru_maxrss * 1024 > self.starter:
                    self.peak = usage.ru_maxrss * 1024
        return self.popen.returncode is None

    def wait(self, timeout=180):
        limit = time.monotonic() + timeout
        while self.running():
            if time.monotonic() > limit:
                where = look_at(self.popen.pid)
                self.kill()
                raise AssertionError(f"vmsnap {' '.join(self.args)} does not end in {timeout} s:\n"
                                     f"{where}")
            time.sleep(0.005)
        texts = []
        for file in self.files:
            file.seek(0)
            texts.append(file.read().decode())
            file.close()
        return Run(self.args, self.popen.returncode, *texts, self.end - self.begin,
                   self.peak)


def end_all():
    """What a test that failed left running is not to be the next one's failure."""
    for process in list(Process.not_waited_for):
        for number in (signal.SIGCONT, signal.SIGINT):
            process.send(number)
        try:
            process.wait(30)
        except AssertionError as error:
            print(error)


class Vmsnap:
    """vmsnap with a folder for its state, and the repositories of its configuration."""

    def __init__(self, folder, repositories, extra="", state=None):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
        self.output = folder / "output"
        self.output.mkdir(exist_ok=True)
        self.state = state or folder / "state"
        self.password = folder / "password"
        if not self.password.exists():
            self.password.write_text("correct horse battery staple\n")
            self.password.chmod(0o600)
        self.config = folder / "vmsnap.conf"
        self.repositories = dict(repositories)
        self.extra = extra
        self.env = dict(os.environ, LC_ALL="C.UTF-8")
        self.env.pop("VMSNAP_CONFIG", None)
        self.write_config()

    def write_config(self):
        text = [f"[paths]\nstate = {self.state}\ncache = {self.folder}/cache\n"
                f"run = {self.folder}/run\n{self.extra}\n"]
        for name, keys in self.repositories.items():
            text.append(f"[repository {name}]")
            text += [f"{key} = {value}" for key, value in
                     {"password-file": self.password, **keys}.items()]
        self.config.write_text("\n".join(text) + "\n")

    def add(self, name, **keys):
        """A repository in the configuration; keys with _ for -."""
        self.repositories[name] = {key.replace("_", "-"): value for key, value in keys.items()}
        self.write_config()
        return name

    def start(self, *args, env=None):
        command, *rest = [str(arg) for arg in args]
        return Process(self.output, [command, "--config", str(self.config), *rest],
                       {**self.env, **(env or {})})

    def run(self, *args, status=DONE, env=None, timeout=180):
        result = self.start(*args, env=env).wait(timeout)
        assert result.status == status, result
        return result

    def json(self, *args, **options):
        return self.run(args[0], "--json", *args[1:], **options).json

    def create(self, *args, **options):
        return self.json("create", *args, **options)["snapshot"]

    def export_id(self, *args, **options):
        """Exports; the id of the snapshot in the repository."""
        return self.json("export", *args, **options)["snapshot"]["repository"]["snapshot"]

    def on_host(self, domain):
        return self.json("list", domain)["snapshots"]

    def fails(self, status, *args, says=(), **options):
        """The command ends with that status and its message holds all words of says."""
        result = self.run(*args, status=status, **options)
        for word in (says,) if isinstance(says, str) else says:
            assert str(word).lower() in result.err.lower(), f"{word!r} is not said in:\n{result!r}"
        assert result.err.count("\n") <= 12, f"that is no message but a story:\n{result.err}"
        return result
