# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a real server and a real network do wrong: the code and the words of every error."""
import os
import signal
import socket
import time

import pytest

CALLS = ["put x 10", "put x 10 new", "get x", "get x 1 2", "has x", "list ", "remove x"]


@pytest.mark.parametrize("command", CALLS)
def test_wrong_secret(plain, call, command):
    result = call(plain.env, "retry+s3:path", command, S3_SECRET_KEY="wrong")
    assert result.code == "auth", result
    assert "SignatureDoesNotMatch" in result.text and plain.env["S3_ACCESS_KEY"] in result.text
    assert "wrong" not in result.text.replace("region is wrong", "")
    assert result.messages == ""  # never tried again


@pytest.mark.parametrize("command", CALLS)
def test_wrong_key(plain, call, command):
    result = call(plain.env, "retry+s3:path", command, S3_ACCESS_KEY="nobody")
    assert result.code == "auth", result
    assert "InvalidAccessKeyId" in result.text and "nobody" in result.text
    assert result.messages == ""


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.parametrize("style", ["path", "virtual"])
def test_missing_bucket(plain, call, command, style):
    result = call(plain.env, f"retry+s3:{style}", command, S3_BUCKET="no-such-bucket")
    assert result.code == "not-found", result
    assert 'no bucket "no-such-bucket"' in result.text
    assert result.messages == ""


def test_denied(plain, call):
    """Another user's bucket."""
    plain.admin("user", "create", "--uid=other", "--display-name=other", "--access-key=OTHER",
                "--secret-key=other")
    other = plain.env | {"S3_ACCESS_KEY": "OTHER", "S3_SECRET_KEY": "other"}
    for command in CALLS:
        result = call(other, "retry+s3:path", command)
        assert result.code == "auth", result
        assert "AccessDenied" in result.text
        assert result.messages == ""


def test_down(plain, call):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        endpoint = f"http://127.0.0.1:{port}"
        result = call(plain.env, "retry+s3:path", "list ", S3_ENDPOINT=endpoint)
    assert result.code == "transient", result
    assert endpoint in result.text
    assert result.messages.count("retrying in") == 3
    assert result.seconds < 10


def test_unknown_host(plain, call):
    result = call(plain.env, "s3:path", "list ", S3_ENDPOINT="http://nowhere.invalid")
    assert result.code == "transient" and "nowhere.invalid" in result.text, result


def test_https_to_http_port(plain, call):
    endpoint = plain.env["S3_ENDPOINT"].replace("http:", "https:")
    result = call(plain.env, "retry+s3:path", "put x 1", S3_ENDPOINT=endpoint)
    assert result.code == "failed" and "does not speak TLS" in result.text, result
    assert endpoint in result.text and result.messages == ""


def test_http_to_https_port(tls, call):
    endpoint = tls.env["S3_ENDPOINT"].replace("https:", "http:")
    result = call(tls.env, "retry+s3:path", "put x 1", S3_ENDPOINT=endpoint)
    assert result.code == "failed" and "speaks TLS" in result.text, result
    assert endpoint in result.text and result.messages == ""


def test_not_http(plain, call):
    with socket.create_server(("127.0.0.1", 0)) as server:
        finish = call(plain.env, "s3:path", "list ", wait=False,
                      S3_ENDPOINT=f"http://127.0.0.1:{server.getsockname()[1]}")
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")
        result = finish()
    assert result.code == "failed" and "does not speak HTTP" in result.text, result


@pytest.mark.parametrize("ca_file,code,word", [
    (None, "auth", "give that certificate as ca-file"),
    ("/etc/ssl/certs/ca-certificates.crt", "auth", "not trusted"),
    ("/etc/passwd", "usage", "ca-file /etc/passwd"),
    ("/nonexistent", "usage", "ca-file /nonexistent"),
])
def test_unknown_authority(tls, call, ca_file, code, word):
    result = call(tls.env, "retry+s3:path", "put x 1", S3_CA_FILE=ca_file)
    assert result.code == code and word in result.text, result
    assert result.messages == ""


def test_other_name_in_certificate(tls, call):
    """The authority is right, the host is not the one it is for."""
    endpoint = tls.env["S3_ENDPOINT"].replace("127.0.0.1", "other.localhost")
    result = call(tls.env, "s3:path", "put x 1", S3_ENDPOINT=endpoint)
    assert result.code == "auth" and "other.localhost" in result.text, result


def test_quota(plain, call):
    plain.admin("user", "create", "--uid=small", "--display-name=small", "--access-key=SMALL",
                "--secret-key=small")
    plain.admin("quota", "set", "--quota-scope=user", "--uid=small", "--max-size=4K")
    plain.admin("quota", "enable", "--quota-scope=user", "--uid=small")
    small = plain.env | {"S3_ACCESS_KEY": "SMALL", "S3_SECRET_KEY": "small", "S3_BUCKET": "small"}
    mine = {"S3_ACCESS_KEY": "SMALL", "S3_SECRET_KEY": "small"}
    before = plain.env
    plain.env = before | mine
    assert plain.request("PUT", "/small")[0] == 200
    plain.env = before
    result = call(small, "retry+s3:path", "put x 100000")
    assert result.code == "no-space" and "QuotaExceeded" in result.text, result
    assert result.messages == ""


def test_full_directory(tmp_path, call):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=1m vmsnap-test {disk}") != 0:
        pytest.skip("cannot mount a small file system here")
    try:
        result = call({}, f"retry+dir:{disk}", "put a/b 100000", "put a/c 10000000")
        assert result.code == "no-space" and "a/c" in result.text, result
        assert [f.name for f in (disk / "a").iterdir()] == ["b"]
    finally:
        os.system(f"umount {disk}")


# ---- a server that stalls, dies, comes back ----

LARGE = 48 << 20


def stopped_in_upload(plain, call, spec, sig, **extra):
    """Starts a large upload and hits the gateway with a signal while it runs."""
    pid = plain.gateway()
    finish = call(plain.env, spec, "put warm/up 1", f"put torn/object {LARGE}", wait=False, **extra)
    assert finish.process.stdout.readline().startswith("ok 1 ")
    time.sleep(0.1)
    os.kill(pid, sig)
    return pid, finish


def test_stall_is_transient(plain, call):
    pid, finish = stopped_in_upload(plain, call, "s3:path", signal.SIGSTOP, STORE_STALL_S="2")
    try:
        result = finish()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert result.code == "transient", result
    assert result.seconds < 40
    time.sleep(1)
    assert call(plain.env, "s3:path", "list torn/").output == "ok\n"  # nothing torn is there


def test_stall_is_retried(plain, call):
    pid, finish = stopped_in_upload(plain, call, "retry+s3:path", signal.SIGSTOP,
                                    STORE_STALL_S="2")
    time.sleep(30)  # curl 8.14 takes some 15 s to see it, 7.88 some 8 s
    os.kill(pid, signal.SIGCONT)
    result = finish()
    assert result.ok, result
    assert "retrying in" in result.messages
    again = call(plain.env, "s3:path", "get torn/object", "remove torn/object")
    assert again.ok and again.output.split()[:3] == result.output.split()[:3], again


def test_kill_is_retried(plain, call):
    _, finish = stopped_in_upload(plain, call, "retry+s3:path", signal.SIGKILL)
    plain.start()
    result = finish()
    assert result.ok, result
    assert "retrying in" in result.messages
    assert call(plain.env, "s3:path", "get torn/object", "remove torn/object").ok


def test_kill_is_told(plain, call):
    """It stays away: a clear error after a bounded time."""
    _, finish = stopped_in_upload(plain, call, "s3:path", signal.SIGKILL)
    try:
        result = finish()
        assert result.code == "transient" and plain.env["S3_ENDPOINT"] in result.text, result
        result = call(plain.env, "retry+s3:path", "get warm/up")
        assert result.code == "transient" and "tried 4 times" in result.text, result
    finally:
        plain.start()
    assert call(plain.env, "s3:path", "list torn/").output == "ok\n"


@pytest.mark.parametrize("spec", ["s3:path", "retry+s3:path"])
@pytest.mark.parametrize("command", [f"put cancel/it {LARGE}", f"get cancel/there 0 {LARGE}"])
def test_cancel(plain, call, spec, command):
    if command.startswith("get"):
        assert call(plain.env, "s3:path", f"put cancel/there {LARGE}").ok
    pid = plain.gateway()
    finish = call(plain.env, spec, "has cancel/there", command, wait=False, STORE_CANCEL_MS="1500")
    assert finish.process.stdout.readline().startswith("ok ")
    os.kill(pid, signal.SIGSTOP)  # so that the transfer cannot end by itself
    try:
        result = finish()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert result.code == "cancelled", result
    assert result.seconds < 10  # and not the stall timeout of a minute
    call(plain.env, "s3:path", "remove cancel/it", "remove cancel/there")
