# SPDX-License-Identifier: LGPL-2.1-or-later
"""Servers to run the stores against, and the tool that makes single calls."""
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest

from hostile import Hostile

signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers end too

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lab"))  # faults.py
BUILD = pathlib.Path(os.environ.get("VMSNAP_BUILD", ROOT / "build")).resolve()
S3 = ROOT / "tests/lab/s3"
# a test sees only the credentials and proxies that it sets itself
CLEAN = {k: v for k, v in os.environ.items()
         if not k.startswith(("AWS_", "S3_", "STORE_")) and not k.lower().endswith("_proxy")}
CLEAN |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", "NO_PROXY": "*"}


class Server:
    """One gateway of tests/lab/s3."""

    def __init__(self, directory, *options):
        self.directory = directory
        self.options = options
        self.env = {}
        self.start()

    def start(self):
        done = subprocess.run([S3, "start", self.directory, *self.options],
                              stdout=subprocess.PIPE, text=True, check=True, timeout=540)
        for line in done.stdout.splitlines():
            words = shlex.split(line)
            if words[0] == "export" and words[1].startswith("S3_"):
                name, _, value = words[1].partition("=")
                self.env[name] = value

    def wipe(self):
        subprocess.run([S3, "wipe", self.directory], check=True, timeout=120)

    def gateway(self):
        return int((self.directory / "run/radosgw.pid").read_text())

    def admin(self, *args):
        subprocess.run(["radosgw-admin", "-c", self.directory / "ceph.conf", *args], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)

    def request(self, method, path, *options, body=None):
        """A signed request by curl(1): its status and body."""
        env = self.env
        command = ["curl", "-q", "-s", "-X", method, "-w", "\n%{http_code}", "--aws-sigv4",
                   f"aws:amz:{env['S3_REGION']}:s3", "--user",
                   f"{env['S3_ACCESS_KEY']}:{env['S3_SECRET_KEY']}", "-H",
                   "x-amz-content-sha256: UNSIGNED-PAYLOAD", *options]
        if body is not None:
            command += ["--data-binary", "@-", "-H", "content-type: application/octet-stream"]
        done = subprocess.run([*command, env["S3_ENDPOINT"] + path], input=body or "", text=True,
                              stdout=subprocess.PIPE, check=True, timeout=60, env=CLEAN)
        text, _, status = done.stdout.rpartition("\n")
        return int(status), text


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("s3") / "plain")
    yield server
    server.wipe()


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("s3") / "tls", "--tls")
    yield server
    server.wipe()


@pytest.fixture
def hostile():
    with Hostile() as server:
        yield server


class Result:
    def __init__(self, process, seconds):
        self.output = process.stdout
        self.messages = process.stderr
        self.seconds = seconds
        self.ok = process.returncode == 0
        last = self.output.splitlines()[-1] if self.output else ""
        self.code, _, self.text = (last, "", "") if self.ok else last.partition(": ")

    def __repr__(self):
        return f"{self.output}{self.messages}in {self.seconds:.1f} s"


@pytest.fixture
def call():
    """call(server.env, "s3:path", "put a 10", …): runs store-tool, by the command inside."""
    def run(env, spec, *commands, wait=True, inside=(), **extra):
        words = []
        for command in commands:
            words += (["+"] if words else []) + command.split(" ")
        merged = CLEAN | {k: v for k, v in (env | extra).items() if v is not None}
        started = time.monotonic()
        process = subprocess.Popen([*inside, BUILD / "tests/conformance/store-tool", spec, *words],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=merged)

        def finish():
            out, err = process.communicate(timeout=120)
            done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
            assert process.returncode in (0, 1), err
            return Result(done, time.monotonic() - started)
        finish.process = process
        return finish() if wait else finish
    return run
