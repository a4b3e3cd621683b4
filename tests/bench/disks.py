# SPDX-License-Identifier: LGPL-2.1-or-later
"""A domain that is shut off, with one raw disk that is half compressible, a quarter random and a
quarter hole; vmsnap and its peers on it, timed."""
import hashlib
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import time
import xml.sax.saxutils
from pathlib import Path

import libvirt

MIB = 1 << 20
PIECE = 8 * MIB
CORPUS = 384 * MIB
PASSWORD = "bench"


class BenchError(Exception):
    pass


def parse_size(text):
    """Bytes of "8G", "512M"."""
    match = re.fullmatch(r"(\d+)([MG])", text)
    if not match or int(match[1]) == 0:
        raise ValueError(text)
    return int(match[1]) << {"M": 20, "G": 30}[match[2]]


def corpus():
    """What a machine's disk holds: programs, libraries, texts of this one."""
    data = bytearray()
    for folder, folders, names in os.walk("/usr"):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path) or \
                    name.endswith((".gz", ".xz", ".zst", ".deb")):
                continue
            with open(path, "rb") as file:
                data += file.read()
            if len(data) >= CORPUS:
                return bytes(data[:CORPUS])
    return bytes(data)


def make_disk(path, size):
    """Pieces of 8 MiB: two that compress, one that does not, a hole. No piece is there twice: where
    the corpus begins anew, its bytes are others, of the same patterns."""
    text, dice, at, turn = corpus(), random.Random("disk"), 0, 0
    if len(text) < PIECE:
        raise BenchError("there is too little below /usr to make a disk of")
    with open(path, "wb") as file:
        file.truncate(size)
        for number in range(size // PIECE):
            file.seek(number * PIECE)
            if number % 4 < 2:
                if at + PIECE > len(text):
                    at, turn = 0, turn + 1
                shift = bytes((byte + turn) % 256 for byte in range(256))
                file.write(text[at:at + PIECE].translate(shift))
                at += PIECE
            elif number % 4 == 2:
                file.write(dice.randbytes(PIECE))
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o600)


def sha256_of(stream):
    digest = hashlib.sha256()
    while block := stream.read(MIB):
        digest.update(block)
    return digest.hexdigest()


def file_sha256(path):
    with open(path, "rb") as file:
        return sha256_of(file)


class Done:
    def __init__(self, seconds, rss, out):
        self.seconds, self.rss, self.out = seconds, rss, out


class Disks:
    """Use with `with`: defines the domain, and leaves nothing behind."""

    def __init__(self, bench, folder, size):
        self.bench, self.folder, self.size = bench, folder, size
        self.image = folder / "disk.raw"
        self.count = 0
        self.env = dict(os.environ, LC_ALL="C.UTF-8", VMSNAP_PASSWORD=PASSWORD,
                        RESTIC_PASSWORD=PASSWORD)
        self.connection = libvirt.open("qemu:///system")

    def __enter__(self):
        self.folder.mkdir()
        self.folder.chmod(0o711)
        self.config = self.folder / "vmsnap.conf"
        self.repositories = {}
        self._write_config()
        self.say(f"making a disk of {self.size // MIB} MiB")
        # apart: what this process has held itself would be taken for that of its children
        maker = multiprocessing.get_context("spawn").Process(target=make_disk,
                                                             args=(self.image, self.size))
        maker.start()
        maker.join()
        if maker.exitcode != 0:
            raise BenchError("the disk could not be made")
        self.sha256 = file_sha256(self.image)
        self.domain = self.connection.defineXML(
            f"<domain type='qemu'><name>{self.bench}</name><memory unit='MiB'>64</memory>"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><disk type='file' "
            "device='disk'><driver name='qemu' type='raw'/>"
            f"<source file={xml.sax.saxutils.quoteattr(str(self.image))}/>"
            "<target dev='vda' bus='virtio'/></disk></devices></domain>")
        return self

    def __exit__(self, *_):
        if self.domain.isActive():
            self.domain.destroy()
        self.domain.undefine()
        self.connection.close()
        shutil.rmtree(self.folder)

    def _write_config(self):
        text = f"[paths]\nstate = {self.folder}/state\ncache = {self.folder}/cache\n" \
               f"run = {self.folder}/run\n"
        for name, keys in self.repositories.items():
            text += f"[repository {name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items())
        self.config.write_text(text)

    def say(self, text):
        print(f"{self.bench}: {text}", file=sys.stderr, flush=True)

    def timed(self, *args):
        args = [str(arg) for arg in args]
        with open(self.folder / "out", "w+", encoding="utf-8") as out:
            begin = time.monotonic()
            process = subprocess.Popen(args, env=self.env, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - begin
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            text = out.read()
        if process.returncode != 0:
            raise BenchError(f"{args} ended with {process.returncode}: {text}")
        return Done(seconds, usage.ru_maxrss / 1024, text)

    def vmsnap(self, command, *args):
        return self.timed(os.environ.get("VMSNAP", "vmsnap"), command, "--config", self.config,
                          "--progress=none", *args)

    def fresh(self, **s3):
        """A new repository of ours, in a folder or, with its settings, on S3: its name."""
        self.count += 1
        name = f"r{self.count}"
        if s3:
            self.repositories[name] = {**s3, "url": f"{s3['url']}/{name}"}
        else:
            self.repositories[name] = {"url": self.folder / name}
        self._write_config()
        self.vmsnap("init", name)
        return name

    def forget(self, name):
        """Removes what one round has stored in a folder."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        self.repositories.pop(name, None)
        self._write_config()

    def restic(self, place, *args):
        return self.timed("restic", "-q", "--no-cache", *self.restic_tls(), "-r", place, *args)

    @staticmethod
    def restic_tls():
        ca = os.environ.get("S3_CA_FILE")
        return ["--cacert", ca] if ca else []

    def same(self, what, digest):
        if digest != self.sha256:
            raise BenchError(f"{what} has not stored what is on the disk")

    def check_restic(self, what, place, path):
        """The disk in a repository, whoever wrote it, read back by restic."""
        args = ["restic", "--no-cache", *self.restic_tls(), "-r", str(place), "dump", "latest", path]
        with subprocess.Popen(args, env=self.env, stdout=subprocess.PIPE) as process:
            digest = sha256_of(process.stdout)
        self.same(what, digest if process.returncode == 0 else None)
