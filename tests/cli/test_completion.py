# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bash completion, in a real bash."""
import os
import subprocess

import pytest
from conftest import COMMANDS, PROGRAM, ROOT

SCRIPT = ROOT / "completion" / "vmsnap.bash"


@pytest.fixture
def complete(vmsnap):
    """The candidates for the last of the words, which bash has split at "=" already."""
    programs = vmsnap.folder / "bin"
    programs.mkdir()
    (programs / "vmsnap").symlink_to(os.path.abspath(PROGRAM))
    (programs / "virsh").write_text("#!/bin/sh\necho web01; echo web02; echo db01\n")
    (programs / "virsh").chmod(0o755)
    env = {**vmsnap.env, "PATH": f"{programs}:{os.environ['PATH']}",
           "VMSNAP_CONFIG": str(vmsnap.config)}

    def run(*words):
        code = (f'source "{SCRIPT}"; COMP_WORDS=(vmsnap "$@"); COMP_CWORD=$#; _vmsnap; '
                'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", code, "bash", *words], env=env, capture_output=True,
                              text=True, check=True, cwd=vmsnap.folder)
        assert done.stderr == "", done.stderr
        return done.stdout.split()
    return run


def test_commands(complete):
    assert sorted(complete("")) == sorted([*COMMANDS, "help"])
    assert complete("res") == ["restore"]
    assert complete("--quiet", "-c", "qemu:///system", "li") == ["list"]
    assert complete("help", "ve") == ["verify"]


@pytest.mark.parametrize("name", COMMANDS)
def test_options(complete, name):
    options = complete(name, "--")
    assert {"--json", "--connect=", "--help"} <= set(options)


def test_option_values(complete, vmsnap):
    assert complete("export", "--k") == ["--keep-overlays"]
    assert complete("create", "--memory", "=", "l") == ["live"]
    assert complete("create", "--quiesce", "=") == ["auto", "require", "off"]
    assert complete("create", "--quiesce", "r") == ["require"]
    vmsnap.write("[repository one]\nurl = /x\n[repository two]\nurl = /y\n")
    assert complete("export", "--to", "") == ["one", "two"]
    (vmsnap.folder / "backups").mkdir()
    assert complete("init", "./ba") == ["./backups"]


def test_arguments(complete):
    assert complete("create", "web") == ["web01", "web02"]
    assert complete("create", "--quiet", "d") == ["db01"]
    assert complete("restore", "l") == ["latest"]
    assert complete("restore", "--memory", "l") == ["latest"]


def test_snapshots(complete, vmsnap, catalog):
    assert complete("show", catalog[:6]) == [catalog]
    assert complete("drop", "web01", "--snapshot", catalog[:6]) == [catalog]
