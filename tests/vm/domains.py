# SPDX-License-Identifier: LGPL-2.1-or-later
"""Domains without an operating system: defined, or running in their firmware."""
import contextlib
import hashlib
import os
import random
import subprocess
import time
import uuid
import xml.etree.ElementTree as ElementTree

import libvirt

_connection = None
libvirt.registerErrorHandler(lambda *_: None, None)


def connection():
    global _connection
    if _connection is None or not _connection.isAlive():
        _connection = libvirt.open("qemu:///system")
    return _connection


def cow_possible():
    """QEMU is new enough for a background snapshot that may fail."""
    return connection().getVersion() >= 8001000


def find(name):
    """None where there is no such domain."""
    try:
        return connection().lookupByName(name)
    except libvirt.libvirtError:
        return None


def remove(name):
    domain = find(name)
    if domain is None:
        return
    if domain.isActive():
        domain.destroy()
    if find(name) is not None:
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)


def qemu_img(*args):
    done = subprocess.run(["qemu-img", *(str(arg) for arg in args)], capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, f"qemu-img {args}: {done.stderr}"
    return done.stdout


def blocks(seed, count):
    """count pieces of 1 MiB, each another one, half of which compresses."""
    dice = random.Random(seed)
    return [dice.randbytes(1 << 19) + bytes([dice.randrange(256)]) * (1 << 19)
            for _ in range(count)]


def make_image(path, format, size, data=4, seed=None):
    """An image of size bytes with data MiB in it, spread over all of it."""
    raw = path.with_name(path.name + ".new")
    with open(raw, "wb") as file:
        file.truncate(size)
        for i, piece in enumerate(blocks(str(seed or path.name), data)):
            file.seek(size // max(data, 1) * i // 4096 * 4096)
            file.write(piece[:min(len(piece), size // max(data, 1))])
    if format == "raw":
        raw.rename(path)
    else:
        qemu_img("convert", "-f", "raw", "-O", format, raw, path)
        raw.unlink()
    path.chmod(0o600)
    return path


def image_sha256(path, format, folder, share=False):
    """Of the disk as the guest sees it, by way of qemu-img."""
    raw = folder / f"{uuid.uuid4()}.raw"
    try:
        qemu_img("convert", *(["-U"] if share else []), "-f", format, "-O", "raw", path, raw)
        return file_sha256(raw)
    finally:
        raw.unlink(missing_ok=True)


def file_sha256(path):
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def disk(target, path=None, format="qcow2", bus="virtio", device="disk", more="", source=None):
    source = source or (f"<source file='{path}'/>" if path else "")
    kind = "network" if "protocol=" in source else "block" if "dev=" in source else "file"
    return (f"<disk type='{kind}' device='{device}'><driver name='qemu' type='{format}'/>{source}"
            f"<target dev='{target}' bus='{bus}'/>{more}</disk>")


AGENT = ("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>")


def make_nvram(path, format):
    """UEFI variables, empty."""
    qemu_img("convert", "-f", "raw", "-O", format, "/usr/share/OVMF/OVMF_VARS_4M.fd", path)
    path.chmod(0o600)
    return path


def xml(name, disks, memory=32, more="", uuid="", top="", os=""):
    """more: further devices; top: further XML of the domain itself; os: of that part."""
    identity = f"<uuid>{uuid}</uuid>" if uuid else ""
    return f"""<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>{name}</name>{identity}<memory unit='MiB'>{memory}</memory>{top}
<os><type arch='x86_64' machine='pc'>hvm</type>{os}</os><on_poweroff>destroy</on_poweroff>
<devices>{''.join(disks)}<interface type='user'><model type='virtio'/></interface>
{more}</devices></domain>"""


def define(name, disks, start=False, **options):
    domain = connection().defineXML(xml(name, disks, **options))
    if start:
        domain.create()
    return domain


def sources(domain, inactive=False):
    """{target: path of the active layer}"""
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0
    tree = ElementTree.fromstring(domain.XMLDesc(flags))
    found = {}
    for node in tree.iterfind("devices/disk"):
        source = node.find("source")
        found[node.find("target").get("dev")] = None if source is None else source.get("file")
    return found


def tree(name):
    """The XML of a domain."""
    return ElementTree.fromstring(find(name).XMLDesc())


def state(domain):
    return domain.state()[0]


def has_block_job(domain):
    return any(domain.blockJobInfo(target, 0) for target, path in sources(domain).items() if path)


def metadata_free(domain):
    """libvirt knows of no snapshot, checkpoint or job."""
    return (domain.snapshotNum(0) == 0 and not domain.listAllCheckpoints(0) and
            not (domain.isActive() and has_block_job(domain)))


def wait_for(what, timeout=20, step=0.02):
    """What it gives once it is true; an assertion where it never is."""
    limit = time.monotonic() + timeout
    while not (value := what()):
        assert time.monotonic() < limit, f"not within {timeout} s: {what}"
        time.sleep(step)
    return value


def folder_files(folder):
    return sorted(os.path.relpath(os.path.join(root, name), folder)
                  for root, _, names in os.walk(folder) for name in names)


@contextlib.contextmanager
def loop_mounted(folder, image, type, size):
    """A file system of its own, on a file that can be taken away from under it."""
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs", "-q", "-t", type, "-F", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()
        image.unlink()
