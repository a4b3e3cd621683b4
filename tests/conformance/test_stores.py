# SPDX-License-Identifier: LGPL-2.1-or-later
"""The suite of test-store.c against a real S3 server, each way to speak to it."""
import subprocess

import pytest

from conftest import BUILD, CLEAN


@pytest.mark.parametrize("around", ["", "retry+"])
@pytest.mark.parametrize("server,style", [("plain", "path"), ("plain", "virtual"), ("tls", "path"),
                                          ("tls", "virtual")])
def test_suite(server, style, around, request):
    env = CLEAN | request.getfixturevalue(server).env
    env["S3_PREFIX"] = f"suite/{around}{style}".replace("+", "-")
    done = subprocess.run([BUILD / "tests/conformance/test-store", f"{around}s3:{style}"], env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    assert sum(line.startswith("ok ") for line in lines) == 12, done.stdout
    assert not any(line.startswith("not ok") for line in lines)
