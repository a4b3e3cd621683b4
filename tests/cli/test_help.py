# SPDX-License-Identifier: LGPL-2.1-or-later
"""Help, version, and command lines that are wrong."""
import json
import subprocess

import pytest
from conftest import COMMANDS, PROGRAM


def test_overview(vmsnap):
    """Every command with a line of its own, without any configuration."""
    shown = vmsnap.run("--help", config=False)
    for name in COMMANDS:
        assert f"\n  {name} " in shown.out
    assert shown.err == ""
    assert vmsnap.run("help", config=False).out == shown.out
    assert vmsnap.run("-h", config=False).out == shown.out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(vmsnap, name):
    shown = vmsnap.run(name, "--help", config=False).out
    assert shown.startswith("Usage:\n") and f"vmsnap {name} [OPTION" in shown
    for option in ("--connect", "--config", "--json", "--progress", "--quiet", "--verbose"):
        assert option in shown
    assert vmsnap.run("help", name, config=False).out == shown
    assert vmsnap.run("--help", name, config=False).out == shown
    assert all(len(line) <= 110 for line in shown.splitlines())


def test_help_reads_no_configuration(vmsnap):
    vmsnap.write("nonsense\n")
    vmsnap.run("create", "--help")


def test_version(vmsnap):
    shown = vmsnap.run("--version", config=False).out
    assert shown.startswith("vmsnap ") and shown.split()[1][0].isdigit()


@pytest.mark.parametrize("typed, meant", [
    ("crate", "create"), ("restor", "restore"), ("lst", "list"), ("exprot", "export")])
def test_unknown_command_suggests(vmsnap, typed, meant):
    vmsnap.fails(2, typed, says=[f'"{typed}"', f'"vmsnap {meant}"'])


@pytest.mark.parametrize("typed", ["frobnicate", "x", "x" * 200, ""])
def test_unknown_command(vmsnap, typed):
    vmsnap.fails(2, typed, says="vmsnap --help")


@pytest.mark.parametrize("args, says", [
    ([], "say what to do"),
    (["list", "--frobnicate"], ["--frobnicate", "vmsnap list --help"]),
    (["--all", "list"], ["--all", "behind its name"]),
    (["create"], ["argument is missing", "DOMAIN"]),
    (["create", ""], "empty"),
    (["create", "web01", "web02"], ["web02", "too many"]),
    (["help", "frobnicate"], "frobnicate"),
    (["create", "web01", "--memory=cows"], ["--memory=cows", "auto, cow, live, none"]),
    (["create", "web01", "--quiesce=maybe"], ["--quiesce=maybe", "auto, require, off"]),
    (["create", "web01", "--freeze-deadline=601"], ["601", "600"]),
    (["create", "web01", "--freeze-deadline=-1"], ["-1", "600"]),
    (["create", "web01", "--freeze-deadline=soon"], "soon"),
    (["check", "web01", "--memory="], "--memory="),
    (["backup", "web01", "--quiesce=never"], "never"),
    (["restore", "latest", "--format=vmdk"], ["vmdk", "raw, qcow2"]),
    (["export", "web01", "--format=nonsense"], ["--format=nonsense", "restic, qcow2"]),
    (["export", "--format=qcow2", "--compression=max"], ["--compression", "plain images"]),
    (["backup", "web01", "--format=qcow2", "--chunk-size=2M"], ["--chunk-size", "plain images"]),
    (["restore", "latest", "--memory", "--no-memory"], "exclude"),
    (["restore", "latest", "--disk", "vda", "--start"], ["--disk", "--start"]),
    (["list", "--progress=loud"], ["loud", "plain"]),
    (["list", "--from"], "--from"),
])
def test_wrong_words(vmsnap, args, says):
    vmsnap.fails(2, *args, says=says)


def test_options_on_either_side(vmsnap, repository):
    """Before or after arguments; common ones also before the command."""
    for args in (["list", "web01", "--from", "dir"], ["list", "--from", "dir", "web01"],
                 ["--quiet", "list", "--from=dir", "web01"], ["list", "--from", "dir", "--", "web01"]):
        assert vmsnap.run("--json", *args).json["snapshots"] == []


def test_usage_error_as_json(vmsnap):
    """Even where the command line itself is wrong."""
    result = vmsnap.run("list", "--frobnicate", "--json", status=2)
    document = result.json
    assert document["code"] == "usage" and document["exit_status"] == 2
    assert document["message"] in result.err


def test_stdout_closed(vmsnap, repository):
    """A result that cannot be written is an error, not a success."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        result = vmsnap.run("list", "--json", stdout=full, status=9)
    assert "standard output" in result.err
    done = subprocess.run(f"'{PROGRAM}' --config '{vmsnap.config}' list >&-", shell=True,
                          env=vmsnap.env, stderr=subprocess.PIPE, check=False)
    assert done.returncode in (0, 1)  # /dev/null stands in; nothing else is overwritten


def test_json_is_one_document(vmsnap):
    assert json.loads(vmsnap.run("list", "--json").out)["schema"] == "vmsnap.list.v1"
