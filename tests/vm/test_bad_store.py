# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stores that are missing, closed, down, full or damaged: a clear error, and nothing is lost."""
import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import uuid

import pytest

import domains
import s3
from tool import AUTH, DAMAGED, FAILED, NO_SPACE, NOT_FOUND

MIB = 1 << 20


@contextlib.contextmanager
def tmpfs(folder, size):
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "tmpfs", folder],
                   check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill_up(folder, leave=0):
    """Takes all space of a file system but leave bytes."""
    with open(folder / "ballast", "ab", buffering=0) as file:
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - leave
        with contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), file.tell(), free)
            return
        with contextlib.suppress(OSError):  # a file system that cannot reserve
            while leave and free > 0:
                free -= file.write(bytes(min(free, 1 << 20)))
            while not leave and file.write(bytes(4096)):
                pass


def s3_with(vmsnap, **changes):
    """The S3 repository under another name, with some settings changed."""
    return vmsnap.add("changed", **{**vmsnap.repositories["s3"], **changes})


def test_bucket_missing(vmsnap, captured):
    name = s3_with(vmsnap, url="s3://no-such-bucket-here/x")
    vmsnap.fails(NOT_FOUND, "export", captured.name, "--to", name, says=["no-such-bucket-here"])
    vmsnap.fails(NOT_FOUND, "init", name, says=["no-such-bucket-here"])
    captured.is_captured()


def test_access_denied(vmsnap, captured):
    """A bucket whose policy forbids writing: refused at once, not tried again and again."""
    bucket = f"closed-{uuid.uuid4().hex[:12]}"
    place = f"s3://{bucket}/x"
    assert s3.request("PUT", f"/{bucket}")[0] == 200
    name = s3_with(vmsnap, url=place)
    vmsnap.run("init", name)
    policy = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": ["s3:PutObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/*"]}]}
    status, answer = s3.request("PUT", f"/{bucket}", {"policy": ""}, json.dumps(policy).encode())
    assert status in (200, 204), answer
    try:
        denied = vmsnap.fails(AUTH, "export", captured.name, "--to", name, says=["denied"])
        assert denied.seconds < 10
    finally:
        s3.request("DELETE", f"/{bucket}", {"policy": ""})
    captured.is_captured()


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_key(vmsnap, captured, variable):
    refused = vmsnap.fails(AUTH, "export", captured.name, "--to", "s3", says=["403"],
                           env={variable: "wrongwrongwrong"})
    assert refused.seconds < 10
    assert "wrongwrongwrong" not in refused.err or variable == "AWS_ACCESS_KEY_ID"
    captured.is_captured()


def test_no_key(vmsnap, captured):
    env = {name: "" for name in os.environ if name.startswith("AWS_")}
    env.update(HOME="/nonexistent", AWS_EC2_METADATA_DISABLED="true")
    vmsnap.fails(AUTH, "export", captured.name, "--to", "s3", env=env, says=["credentials"])


def test_endpoint_down(vmsnap, captured):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound but not listening: refused
        port = listener.getsockname()[1]
        name = s3_with(vmsnap, endpoint=f"http://127.0.0.1:{port}")
        vmsnap.fails(FAILED, "export", captured.name, "--to", name, says=[port, "connect"])
    captured.is_captured()


@contextlib.contextmanager
def web_server(certificate=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_endpoint_not_tls(vmsnap, captured):
    """https asked of a server that speaks plain http; credentials are never sent in the clear."""
    with web_server() as port:
        name = s3_with(vmsnap, endpoint=f"https://127.0.0.1:{port}")
        vmsnap.fails(FAILED, "export", captured.name, "--to", name, says=["127.0.0.1", "ssl"])
    captured.is_captured()


def test_unknown_ca(vmsnap, captured, tmp):
    certificate = tmp / "self-signed.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
                    "-keyout", certificate, "-out", tmp / "crt", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    with open(certificate, "a") as file:
        file.write((tmp / "crt").read_text())
    with web_server(certificate) as port:
        changes = {"endpoint": f"https://127.0.0.1:{port}"}
        vmsnap.repositories["s3"].get("ca-file") and changes.update({"ca-file": "/dev/null"})
        name = s3_with(vmsnap, **changes)
        refused = vmsnap.fails(AUTH, "export", captured.name, "--to", name,
                               says=["certificate", "127.0.0.1"])
        assert refused.seconds < 10  # trying again cannot help
    captured.is_captured()


def test_ca_file_missing(vmsnap, captured, tmp):
    name = s3_with(vmsnap, **{"ca-file": tmp / "no-ca.pem", "endpoint": "https://127.0.0.1:9"})
    assert "no-ca.pem" in vmsnap.start("export", captured.name, "--to", name).wait().err
    captured.is_captured()


def test_full_at_the_overlay(vmsnap, blank, images):
    with tmpfs(images / "small", "24m") as folder:
        image = domains.make_image(folder / "disk.raw", "raw", 16 * MIB, 8)
        domain = blank("cramped", [domains.disk("vda", image, "raw")])
        vmsnap.fails(NO_SPACE, "create", "cramped", "--memory=none", says=[folder, "space"])
        assert domains.sources(domain) == {"vda": str(image)}
        assert [path.name for path in folder.iterdir()] == ["disk.raw"]
        domains.remove("cramped")


def test_full_at_the_memory_file(vmsnap, blank, images, tmp):
    """Seen before anything starts."""
    image = domains.make_image(images / "full-memory.qcow2", "qcow2", 16 * MIB, 1)
    domain = blank("bulky", [domains.disk("vda", image)], memory=128)
    with tmpfs(tmp / "full-state", "16m") as folder:
        other = vmsnap.with_state(folder)
        other.fails(NO_SPACE, "create", "bulky", "--memory=live", says=["memory", folder])
        assert not [path for path in domains.folder_files(folder) if ".save" in path]
    assert domains.sources(domain) == {"vda": str(image)}


def test_memory_file_runs_full(vmsnap, guest, unharmed, tmp):
    """The space that was there when it was checked is gone while memory is being written."""
    need = vmsnap.json("check", guest.name)["memory_need"]
    state = tmp / "filling-state"
    state.mkdir()
    with tmpfs(state / "memory", "1g") as folder:
        fill_up(folder, need + (4 << 20))
        process = vmsnap.with_state(state).start("create", guest.name, "--memory=live")
        domains.wait_for(lambda: list(folder.glob("*.save")) or not process.running(), step=0.001)
        os.kill(guest.qemu_pid(), signal.SIGSTOP)
        fill_up(folder)
        os.kill(guest.qemu_pid(), signal.SIGCONT)
        result = process.wait()
        assert result.status == NO_SPACE, result
        assert guest.name in result.err and "space" in result.err.lower()
        assert not list(folder.glob("*.save"))


def test_full_at_the_database(vmsnap, shut_off, tmp):
    with tmpfs(tmp / "full-database", "1m") as folder:
        fill_up(folder)
        vmsnap.with_state(folder).fails(NO_SPACE, "create", shut_off.name, says=["vmsnap.db"])
    shut_off.is_untouched()


def test_full_at_the_directory_store(vmsnap, captured, tmp):
    """The snapshot stays; with more space the same export goes through."""
    with tmpfs(tmp / "full-store", "3m") as folder:
        name = vmsnap.add("full", url=folder / "repo")
        vmsnap.run("init", name)
        vmsnap.fails(NO_SPACE, "export", captured.name, "--to", name, says=[folder, "space"])
        captured.is_captured()
        assert not list(folder.glob("repo/snapshots/*"))
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        snapshot = vmsnap.export_id(captured.name, "--to", name)
        vmsnap.run("verify", snapshot, "--from", name)


def test_full_at_restore(vmsnap, stored, tmp):
    """Computed before it starts; nothing is left."""
    with tmpfs(tmp / "full-restore", "4m") as folder:
        vmsnap.fails(NO_SPACE, "restore", stored.snapshot, "--from", stored.to, "--as", "tight",
                     "--disks-to", folder, says=[folder])
        assert not list(folder.iterdir())
    assert domains.find("tight") is None


def damage(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))


def flipped(folder, tmp):
    """Copies of a repository, each with one pack damaged in its middle: (repository, pack)."""
    packs = sorted(path.relative_to(folder) for path in folder.glob("data/*/*"))
    assert packs
    for number, pack in enumerate(packs):
        copy = tmp / f"damaged-{number}"
        shutil.copytree(folder, copy)
        (copy / pack).chmod(0o600)
        damage(copy / pack, (copy / pack).stat().st_size // 2)
        yield copy, pack
        shutil.rmtree(copy)


def test_damaged_object(vmsnap, stored, images, tmp):
    """Restore stops, names object and disk, and leaves no file, half-written or not."""
    folder = images / "from-damaged"
    folder.mkdir()
    disks_named = 0
    for repository, pack in flipped(stored.repository, tmp):
        name = vmsnap.add("damaged", url=repository)
        result = vmsnap.fails(DAMAGED, "restore", stored.snapshot, "--from", name, "--as", "broken",
                              "--disks-to", folder, says=[pack.name])
        disks_named += "disk vda" in result.err or "disk vdb" in result.err
        assert not list(folder.iterdir())
        assert domains.find("broken") is None
        vmsnap.fails(DAMAGED, "verify", stored.snapshot, "--from", name, says=[pack.name])
    assert disks_named > 0


@pytest.mark.parametrize("kind", ["missing", "truncated"])
def test_missing_object(vmsnap, stored, images, tmp, kind):
    copy = tmp / f"repository-{kind}"
    shutil.copytree(stored.repository, copy)
    pack = max(copy.glob("data/*/*"), key=lambda path: path.stat().st_size)
    if kind == "missing":
        pack.unlink()
    else:
        os.truncate(pack, 100)
    name = vmsnap.add("damaged", url=copy)
    folder = images / f"from-{kind}"
    folder.mkdir()
    vmsnap.fails(DAMAGED, "restore", stored.snapshot, "--from", name, "--as", "broken",
                 "--disks-to", folder, says=[pack.name])
    assert not list(folder.iterdir())
    shutil.rmtree(copy)


@pytest.mark.parametrize("part", ["snapshots", "index", "keys", "config"])
def test_damaged_small_object(vmsnap, stored, tmp, part):
    """Damage outside the packs is found as well, and named."""
    copy = tmp / f"repository-{part}"
    shutil.copytree(stored.repository, copy)
    file = copy / part
    if file.is_dir():
        file = next(path for path in file.iterdir() if part != "snapshots"
                    or path.name == stored.snapshot)
    file.chmod(0o600)
    damage(file, file.stat().st_size // 2)
    vmsnap.add("damaged", url=copy)
    bare = vmsnap.with_state(tmp / f"bare-{part}")  # which has nothing cached
    result = bare.start("verify", stored.snapshot, "--from", "damaged").wait()
    # who cannot read a key file cannot tell a damaged one from a wrong password
    assert result.status in ((DAMAGED, AUTH) if part == "keys" else (DAMAGED,)), result
    assert part in result.err
    shutil.rmtree(copy)
