# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is said on stderr while it works, and Ctrl-C."""
import json
import signal
import socket
import subprocess
import time

import pytest
from conftest import PROGRAM, validate

KEYS = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK"}


@pytest.fixture
def unreachable(vmsnap):
    """An S3 repository whose server refuses connections: tried again a few times, each time said."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, but not listening
        vmsnap.write(f"[repository far]\nurl = s3://bucket/p\nregion = here\npassword-file = "
                     f"{vmsnap.password}\nendpoint = http://127.0.0.1:{holder.getsockname()[1]}\n")
        yield vmsnap


def test_json_lines(unreachable):
    result = unreachable.run("init", "far", "--progress=json", status=1, env=KEYS)
    lines = [json.loads(line) for line in result.err.splitlines()]
    for line in lines:
        validate(line)
    assert len(lines) >= 3 and any("retrying" in line["text"] for line in lines)
    assert "127.0.0.1" in lines[-1]["text"] and "retrying" not in lines[-1]["text"]


def test_plain_lines(unreachable):
    """Where stderr is no terminal: no bar, no control characters; each line says who speaks."""
    err = unreachable.run("init", "far", status=1, env=KEYS).err
    assert all(line.startswith("vmsnap: ") for line in err.splitlines())
    assert err.count("retrying") >= 2 and "\r" not in err and "\x1b" not in err


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_quiet(unreachable, option):
    """Nothing but the error."""
    unreachable.fails(1, "init", "far", option, env=KEYS, says="127.0.0.1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(unreachable, number):
    """Any of them ends it soon, with a status of its own, even while it waits."""
    with subprocess.Popen([PROGRAM, "--config", unreachable.config, "init", "far", "--json"],
                          env={**unreachable.env, **KEYS}, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        first = process.stderr.readline()  # it is waiting to try again
        assert b"retrying" in first
        begin = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - begin < 5
    assert b"interrupted" in err
    document = json.loads(out)
    validate(document)
    assert document["code"] == "cancelled" and document["exit_status"] == 130


def test_ignored_hangup_stays_ignored(unreachable):
    """nohup vmsnap … goes on."""
    with subprocess.Popen(["nohup", PROGRAM, "--config", unreachable.config, "init", "far"],
                          env={**unreachable.env, **KEYS}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert b"retrying" in process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 1
