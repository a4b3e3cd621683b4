# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults in the middle of something longer: keys that run out, names that vanish, a backup on a store where nothing is
sure. Single requests are in test_faults.py."""
import collections
import json
import os
import shutil
import socket
import subprocess
import threading

import pytest

from conftest import CLEAN
from faults import FAULTS, Proxy, Rule
from hostile import fault
from test_restic import PASSWORD, TOOL, disk
from test_s3_credentials import Metadata, container, machine
from test_s3_hostile import in_turn

# ---- keys ----

FIRST, SECOND = ("FIRSTKEY", "first"), ("SECONDKEY", "second")


@pytest.fixture(scope="module")
def two_keys(plain):
    """A user with two pairs of keys; both are good at the server, the proxy has its own opinion."""
    plain.admin("user", "create", "--uid=keys", "--display-name=keys", f"--access-key={FIRST[0]}", f"--secret-key={FIRST[1]}")
    plain.admin("key", "create", "--uid=keys", "--key-type=s3", f"--access-key={SECOND[0]}", f"--secret-key={SECOND[1]}")
    env = dict(plain.env)
    plain.env = env | {"S3_ACCESS_KEY": FIRST[0], "S3_SECRET_KEY": FIRST[1]}
    assert plain.request("PUT", "/keys")[0] == 200
    plain.env = env
    return {k: v for k, v in env.items() if k not in ("S3_ACCESS_KEY", "S3_SECRET_KEY")} | {"S3_BUCKET": "keys"}


class Keys:
    """Where a program finds them; replace() is what a renewal does."""

    def __init__(self, source, tmp_path, hostile):
        self.source, self.hostile, self.file = source, hostile, tmp_path / "credentials"
        if source == "file":
            self.env = {"AWS_SHARED_CREDENTIALS_FILE": str(self.file)}
            self.file.touch(0o600)
            self.write(FIRST)
        else:
            hostile.reply = Metadata(FIRST)
            self.env = (machine if source == "machine" else container)(hostile)

    def write(self, keys):
        self.file.write_text(f"[default]\naws_access_key_id = {keys[0]}\naws_secret_access_key = {keys[1]}\n")

    def replace(self):
        if self.source == "file":
            self.write(SECOND)
        else:
            self.hostile.reply.keys = SECOND


def has_first_key(request):
    return f"Credential={FIRST[0]}/" in request.headers.get("authorization", "")


@pytest.mark.parametrize("code", ["expired", "unknown"])
@pytest.mark.parametrize("source", ["file", "machine", "container"])
def test_new_keys(plain, two_keys, hostile, call, tmp_path, source, code, monkeypatch):
    """They run out, or are withdrawn, in the middle; whoever renews them has done so: no request is lost, none waits."""
    monkeypatch.setitem(FAULTS, "unknown", (lambda x: x.refuse(403, "InvalidAccessKeyId"), False))
    keys = Keys(source, tmp_path, hostile)
    rule = Rule(code, nth=4, times=None, when=has_first_key, then=keys.replace)
    with Proxy(plain.env["S3_ENDPOINT"], rule) as proxy:
        result = call(two_keys | keys.env, "retry+s3:path", *(f"put a{i} 1000" for i in range(6)), "get a2", "upload b 18000000",
                      S3_ENDPOINT=proxy.url, S3_PREFIX=f"{source}-{code}")
    assert result.ok and result.messages == "", result
    assert sum(proxy.broken.values()) == 1


@pytest.mark.parametrize("source", ["file", "machine"])
def test_no_new_keys(plain, two_keys, hostile, call, tmp_path, source):
    """Refused, and not asked again and again."""
    keys = Keys(source, tmp_path, hostile)
    with Proxy(plain.env["S3_ENDPOINT"], Rule("expired", nth=4, times=None)) as proxy:
        result = call(two_keys | keys.env, "retry+s3:path", *(f"put a{i} 1000" for i in range(6)), S3_ENDPOINT=proxy.url,
                      S3_PREFIX=f"{source}-none")
    assert result.code == "auth" and "put a3" in result.text and "session token has expired" in result.text, result
    assert result.messages == "" and sum(proxy.broken.values()) == 1


def test_ever_new_keys(plain, two_keys, hostile, call, tmp_path):
    """Keys that are refused however often they change."""
    keys = Keys("machine", tmp_path, hostile)

    def change():
        keys.hostile.reply.keys = (f"KEY{sum(proxy.broken.values())}", "x")
    with Proxy(plain.env["S3_ENDPOINT"], Rule("expired", times=None, then=change)) as proxy:
        result = call(two_keys | keys.env, "retry+s3:path", "put a 1", S3_ENDPOINT=proxy.url)
    assert result.code == "auth" and sum(proxy.broken.values()) == 3, result


# ---- names, and answers that end too early ----

def test_name_comes_back(hostile, call, tmp_path):
    """The server's name cannot be resolved for a while."""
    if os.geteuid() != 0:
        pytest.skip("needs a mount namespace")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    hostile.reply = lambda request: (200, {}, b"hello")
    inside = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]
    endpoint = hostile.url.replace("127.0.0.1", "vmsnap-store.invalid")
    finish = call(hostile.env, "retry+s3:path", "get a", wait=False, inside=inside, S3_ENDPOINT=endpoint, STORE_TRIES="20",
                  STORE_DELAY_MS="500")
    line = finish.process.stderr.readline()
    assert "vmsnap-store.invalid" in line and "get a" in line and "retrying in" in line, line
    with open(hosts, "a") as file:
        file.write("127.0.0.1 vmsnap-store.invalid\n")
    result = finish()
    assert result.ok and result.output.startswith("ok 5 "), result


@pytest.mark.parametrize("command,answer", [
    ("has a", b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 12'),  # of 1234, maybe
    ("get a", b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0'),
    ("get a", b'HTTP/1.1 200 OK\r\nETag: "x"\r\n'),
    ("get a 0 5", b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/10\r\n"),
    ("get a", b"HTTP/1.1 200 OK\r\n\r\nhello"),  # an end that nobody has marked
    ("list ", b"HTTP/1.1 200 OK\r\n\r\n<ListBucketResult><IsTruncated>false</IsTruncated>"),
])
def test_cut_head(hostile, call, command, answer):
    """The connection ends in the middle of the head, or of a body whose length nobody has said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        result = call(hostile.env, "s3:path", command, S3_ENDPOINT=f"http://127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert result.code == "transient", result


# ---- how long ----

def test_busy_from_the_start(hostile, call):
    """Who says SlowDown is there: more tries than for a server that has never answered."""
    hostile.reply = in_turn(*[fault(503, "SlowDown")] * 8, (200, {}, b"hello"))
    result = call(hostile.env, "retry+s3:path", "get a", STORE_DELAY_MS="1")
    assert result.ok and result.messages.count("retrying in") == 8, result
    hostile.reply, hostile.requests[:] = in_turn(*[(503, {}, b"<html>no such host here</html>")] * 8, (200, {}, b"")), []
    result = call(hostile.env, "retry+s3:path", "get a", STORE_DELAY_MS="1")
    assert result.code == "transient" and "tried 4 times" in result.text and len(hostile.requests) == 4, result


def test_asked_to_wait_too_long(hostile, call):
    hostile.reply = lambda request: fault(429, "TooManyRequests", {"Retry-After": "1000"})
    result = call(hostile.env, "retry+s3:path", "get a")
    assert result.code == "transient" and "asks for another" in result.text and len(hostile.requests) == 1, result


# ---- a backup where nothing is sure ----

ANY = ["500", "503", "error-200", "reset-before", "reset-in", "reset-after", "cut-head", "cut-body", "garbage", "wrong-etag"]
# A listing with one letter changed is another listing: only TLS can tell.
NOT_LISTS = {"put", "put-new", "get", "range", "head", "delete"}


@pytest.mark.skipif(not shutil.which("restic"), reason="restic is not installed")
@pytest.mark.parametrize("seed", [1, 2])
def test_backup(plain, tmp_path, seed):
    """Every fourth request goes wrong in one of eleven ways, downloads damaged in one bit among them: whatever a run says is
    true, and restic finds every snapshot whole."""
    server, prefix = plain.env, f"runs/{seed}"
    env = CLEAN | server | {"S3_PREFIX": prefix, "VMS_TEST_PASSWORD": PASSWORD, "RESTIC_PASSWORD": PASSWORD,
                            "AWS_ACCESS_KEY_ID": server["S3_ACCESS_KEY"], "AWS_SECRET_ACCESS_KEY": server["S3_SECRET_KEY"]}

    def restic(*args):
        done = subprocess.run(["restic", "--no-cache", "-r", f"s3:{server['S3_ENDPOINT']}/{server['S3_BUCKET']}/{prefix}",
                               *args], env=env, capture_output=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tool(*args, **more):
        return subprocess.run([TOOL, *args], env=env | more, capture_output=True, text=True, timeout=300, check=False)

    tool("init-quick", "retry+s3:path").check_returncode()
    files, ends, broken = [tmp_path / f"disk{i}.raw" for i in range(4)], collections.Counter(), collections.Counter()
    rules = [Rule("damaged", NOT_LISTS, chance=0.02), *(Rule(name, chance=0.02) for name in ANY)]
    with Proxy(server["S3_ENDPOINT"], *rules, seed=seed) as proxy:
        for number, file in enumerate(files):
            disk(file, number, "rrtrzrrt" * 3)
            for _ in range(5):
                done = tool("backup", "retry+s3:path", "host", "web01", str(file), S3_ENDPOINT=proxy.url)
                ends[done.returncode] += 1
                if done.returncode == 0:
                    break
                # a bit that was wrong on its way here is all that trying again does not mend by itself
                assert done.returncode in (7, 8), done
            else:
                raise AssertionError(f"five times in vain: {done}")
        broken += proxy.broken
    assert sum(broken.values()) > 3, broken
    assert b"no errors were found" in restic("check", "--read-data")
    stored = set()
    for snapshot in json.loads(restic("snapshots", "--json")):
        [path] = [line for line in restic("ls", snapshot["id"]).decode().splitlines() if line.count("/") == 3]
        [file] = [file for file in files if path.endswith("/" + file.name)]
        assert restic("dump", snapshot["id"], path) == file.read_bytes()
        stored.add(file)
    assert stored == set(files)
