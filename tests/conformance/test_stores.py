# SPDX-License-Identifier: LGPL-2.1-or-later
"""The suites of test-store.c and test-uploads.c against a real S3 server, each way to speak to it."""
import subprocess

import pytest

from conftest import BUILD, CLEAN


def run_suite(program, tests, server, spec):
    env = CLEAN | server.env
    env["S3_PREFIX"] = f"{program}/{spec}".replace("+", "-").replace(":", "-")
    done = subprocess.run([BUILD / "tests/conformance" / program, spec], env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    assert sum(line.startswith("ok ") for line in lines) == tests, done.stdout
    assert not any(line.startswith("not ok") for line in lines)


@pytest.mark.parametrize("around", ["", "retry+"])
@pytest.mark.parametrize("server,style", [("plain", "path"), ("plain", "virtual"), ("tls", "path"),
                                          ("tls", "virtual")])
def test_suite(server, style, around, request):
    run_suite("test-store", 12, request.getfixturevalue(server), f"{around}s3:{style}")


@pytest.mark.parametrize("server,spec", [("plain", "s3:path"), ("plain", "retry+s3:virtual"),
                                         ("tls", "rate+s3:path")])
def test_uploads(server, spec, request):
    run_suite("test-uploads", 8, request.getfixturevalue(server), spec)
