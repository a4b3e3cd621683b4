# SPDX-License-Identifier: LGPL-2.1-or-later
"""What others may not see, and what a hostile repository or directory may not make vmsnap do (docs/security.md)."""
import json
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import PROGRAM
from images import IDS
from test_plain import made, out, place, restore, root_only  # noqa: F401
from test_progress import unreachable  # noqa: F401

SECRETS = {"VMSNAP_PASSWORD": "sesame-1", "AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "sesame-2",
           "AWS_SESSION_TOKEN": "sesame-3", "https_proxy": "http://joe:sesame-4@127.0.0.1:1"}
NOBODY = 65534


# ---- secrets ----

def test_children_get_no_secret(vmsnap, place, out):  # noqa: F811
    """Neither as an argument nor in their environment."""
    log, programs = vmsnap.folder / "log", vmsnap.folder / "programs"
    programs.mkdir()
    for name in ("qemu-img", "qemu-nbd"):
        (programs / name).write_text(f'#!/bin/sh\n(echo "{name} $*"; tr "\\0" "\\n" </proc/$$/environ) >>{log}\n'
                                     f'exec {shutil.which(name)} "$@"\n')
        (programs / name).chmod(0o755)
    env = SECRETS | {"PATH": f"{programs}:{os.environ['PATH']}", "KEPT": "kept"}
    vmsnap.run(*restore(place, out, "latest", "--format", "qcow2"), env=env)
    text = log.read_text()
    assert "qemu-img create" in text and "qemu-nbd -t" in text and "KEPT=kept" in text
    assert "sesame" not in text


def test_no_secret_is_kept_or_said(unreachable):  # noqa: F811
    """In no file that is made, and in nothing that is printed, however much is asked for and whatever fails."""
    vmsnap, said = unreachable, ""
    with vmsnap.config.open("a") as config:
        config.write(f"[repository dir]\nurl = {vmsnap.folder}/repo\n")
    for words, status in ((("init", "dir"), 0), (("list", "--from", "dir"), 0), (("init", "dir"), 1),
                          (("verify", "latest", "--from", "dir"), 4), (("list", "--from", "far"), 1)):
        result = vmsnap.run("-v", *words, "--json", env=SECRETS, status=status)
        said += result.out + result.err
    vmsnap.password.unlink()
    result = vmsnap.run("-v", "list", "--from", "dir", env={"VMSNAP_PASSWORD": "sesame-9"}, status=8)
    assert "sesame" not in said + result.out + result.err
    files = [path for path in vmsnap.folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [path for path in files if b"sesame" in path.read_bytes()] == []


@root_only
def test_no_core_dump():
    """Of a process that is nobody's: the kernel then gives what it would not show to that user to root."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as holder:
        folder, program = Path(name), Path(name) / "vmsnap"
        holder.bind(("127.0.0.1", 0))  # not listening: it is tried again for some seconds
        shutil.copy(PROGRAM, program)
        (folder / "conf").write_text(f"[paths]\nstate = {folder}/state\ncache = {folder}/cache\nrun = {folder}/run\n"
                                     "[repository far]\nurl = s3://bucket/p\nregion = here\n"
                                     f"endpoint = http://127.0.0.1:{holder.getsockname()[1]}\n")
        os.chown(folder, NOBODY, NOBODY)
        words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", program, "--config",
                 folder / "conf", "init", "far"]
        with subprocess.Popen(words, env={"PATH": os.environ["PATH"]} | SECRETS, stderr=subprocess.PIPE) as process:
            assert b"retrying" in process.stderr.readline()
            proc = Path(f"/proc/{process.pid}")
            owners = {name: (proc / name).stat().st_uid for name in (".", "environ", "mem")}
            limits = (proc / "limits").read_text()
            process.kill()
    assert owners == {".": NOBODY, "environ": 0, "mem": 0}
    line, = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4] == "0"


def test_modes(vmsnap, place, out):  # noqa: F811
    """Files 0600 and directories 0700 even where the operator's umask is 0."""
    vmsnap.write(f"[repository dir]\nurl = {vmsnap.folder}/repo\npassword-file = {vmsnap.password}\n")
    for words in (["init", "dir"], ["list", "--from", "dir"], ["list"], restore(place, out)):
        vmsnap.run(*words, umask=0)
    tops = [vmsnap.folder / name for name in ("state", "cache", "repo")]
    paths = [*tops, *out.iterdir(), *[path for top in tops for path in top.rglob("*")]]
    wrong = [path for path in paths if path.stat().st_mode & 0o777 != (0o700 if path.is_dir() else 0o600)]
    assert wrong == [] and len(paths) > 10


# ---- links ----

@pytest.mark.parametrize("link", ["symbolic", "dangling", "hard"])
@pytest.mark.parametrize("name", ["vda.qcow2", "vda.qcow2.vmsnap-partial"])
def test_links_at_the_target(vmsnap, place, out, name, link):  # noqa: F811
    """Somebody who may write to the directory has laid a link where the disk goes, or is made."""
    victim = vmsnap.folder / "victim"
    if link != "dangling":
        victim.write_text("precious")
    if link == "hard":
        os.link(victim, out / name)
    else:
        (out / name).symlink_to(victim)
    vmsnap.fails(1, *restore(place, out), says=str(out / name))
    assert [path.name for path in out.iterdir()] == [name]
    if link == "dangling":
        assert not victim.exists()
    else:
        assert victim.read_text() == "precious"


@pytest.mark.parametrize("program", ["qemu-img", "qemu-nbd"])
def test_swapped_at_the_target(vmsnap, place, out, program):  # noqa: F811
    """Somebody lays a link in the file's place in the moment between its making and its opening by QEMU."""
    victim, programs, partial = vmsnap.folder / "victim", vmsnap.folder / "programs", out / "vda.qcow2.vmsnap-partial"
    victim.write_text("precious")
    programs.mkdir()
    (programs / program).write_text(f"#!/bin/sh\n[ ! -e {partial} ] || ln -sf {victim} {partial}\n"
                                    f'exec {shutil.which(program)} "$@"\n')
    (programs / program).chmod(0o755)
    vmsnap.fails(1, *restore(place, out, IDS[0]), env={"PATH": f"{programs}:{os.environ['PATH']}"},
                 says="was replaced by somebody else")
    assert victim.read_text() == "precious" and partial.is_symlink() and len(list(out.iterdir())) == 1


# ---- a hostile place ----

def edit(place, number, change):  # noqa: F811
    """Changes what is in the manifest."""
    path = place.image(number).parent / "vmsnap.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("folder", ["/etc/cron.d", "/usr/lib/vmsnap", "/lib64", "/run/systemd/system", "/root/.ssh",
                                    "/nowhere/../etc", "link"])
def test_place_that_the_snapshot_chose(vmsnap, place, out, folder):  # noqa: F811
    """Where the operator does not say where a disk goes, the snapshot cannot say just anything."""
    (out / "link").symlink_to("/etc")
    source = f"{out / folder}/vmsnap-test-vda.qcow2"
    edit(place, 2, lambda document: document["disks"][0].update(source=source))
    words = ["restore", "latest", "--from", place.folder, "--disk", "vda"]
    try:
        vmsnap.fails(3, *words, says=["disk vda", "--disks-to", "on a snapshot's word"])
        assert not os.path.lexists(source)
    finally:
        Path(source).unlink(missing_ok=True)
    edit(place, 2, lambda document: document["disks"][0].update(source=f"{out}/vda.qcow2"))
    vmsnap.run(*words)
    assert (out / "vda.qcow2").exists()


@pytest.mark.parametrize("name", ["../../../outside", "aaaa", ""])
def test_id_that_leads_out(vmsnap, place, out, name):  # noqa: F811
    edit(place, 2, lambda document: document.update(id=name))
    vmsnap.fails(1, *restore(place, out, "latest"), says="is not one")
    assert not list(out.iterdir())


@pytest.mark.parametrize("name", ["vmsnap-images.json", f"web01/{IDS[2]}/vmsnap.json"])
def test_huge_object(vmsnap, place, name):  # noqa: F811
    """A hole of 3 GiB where some hundred bytes are expected is not read into memory."""
    os.truncate(place.folder / name, 3 << 30)
    vmsnap.fails(1, "list", "--from", place.folder, says=[name, "large" if "web01" not in name else "at once"])
