# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests of all kinds, and what they keep outside of their disks and memory."""
import contextlib
import os
import subprocess
from pathlib import Path

import domains
from guest import Copy, Watched
from lab import Lab, make_disk

MIB = 1 << 20
HUGE = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
EFI = "/sys/firmware/efi/efivars"
VENDOR = "b5a0f5e4-3c4f-4d53-9a60-2f3c1a7d8e11"

TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'>{}</backend></tpm>"


def backing(inside):
    return f"<memoryBacking>{inside}</memoryBacking>"


NUMA = ("<maxMemory slots='4' unit='MiB'>512</maxMemory>"
        "<cpu><numa><cell id='0' cpus='0' memory='192' unit='MiB'/></numa></cpu>")
DIMM = ("<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>")
VIRTIO_MEM = ("<memory model='virtio-mem'><target><size unit='MiB'>128</size><node>0</node>"
              "<block unit='MiB'>2</block><requested unit='MiB'>64</requested></target></memory>")


def loop_device(path):
    done = subprocess.run(["losetup", "--find", "--show", path], check=True, capture_output=True,
                          text=True, timeout=60)
    return done.stdout.strip()


@contextlib.contextmanager
def huge_pages(mib):
    """The machine's own setting, which another run of the tests may raise and lower meanwhile."""
    def add(pages):
        HUGE.write_text(str(max(int(HUGE.read_text()) + pages, 0)))
    add(mib // 2)
    try:
        free = HUGE.with_name("free_hugepages")
        assert int(free.read_text()) >= mib // 2, "the machine has no memory for huge pages"
        yield
    finally:
        add(-(mib // 2))


class Kind(Watched):
    """A running guest: vda qcow2, vdb raw or on a loop device."""

    def __init__(self, name, folder, loop=False, **options):
        super().__init__(name)
        self.folder, self.loop = folder, None
        folder.mkdir()
        folder.chmod(0o711)
        a = make_disk(folder / "a.qcow2", "qcow2", "ext4", 256 * MIB)
        b = make_disk(folder / "b.raw", "raw", "xfs", 320 * MIB)
        if loop:
            b = self.loop = loop_device(b)
        options = {"memory": 192, "dirty": 4, "dirty_size": 16, **options}
        self.vm = Lab().create_domain(name, disks=[("vda", a, "qcow2"), ("vdb", b, "raw")],
                                      **options)
        self.originals = self.vm.disks()

    def __enter__(self):
        self.writes_on()
        return self

    def __exit__(self, *_):
        self.silence()
        self.vm.destroy()
        if self.loop:
            subprocess.run(["losetup", "--detach", self.loop], check=True, timeout=60)

    def balloon(self, mib):
        """Gives some of its memory back to the host."""
        self.domain.setMemoryFlags(mib * 1024, 0)
        domains.wait_for(lambda: self.domain.memoryStats()["actual"] == mib * 1024, 60)


# ---- what is kept beside disks and memory ----

def shell(vm, script):
    status, output = vm.execute("/bin/sh", "-c", script)
    assert status == 0, output
    return output


def variables(vm, new=None):
    """Names of our UEFI variables, with a new one."""
    script = f"mount | grep -q {EFI} || mount -t efivarfs efivarfs {EFI}; "
    if new:  # the first four bytes are its attributes: not volatile, for everybody
        script += f"printf '\\007\\000\\000\\000x' >{EFI}/{new}-{VENDOR}; "
    names = shell(vm, script + f"ls {EFI}").split()
    return {name.partition("-")[0] for name in names if name.endswith(VENDOR)}


# The TPM's own language (TPM 2.0 Library, part 3): tag, length, code, handles, authorization by an
# empty password, parameters. Of the answer the first ten bytes are tag, length and result.
NV_DEFINE, NV_WRITE, NV_READ, PCR_EXTEND = 0x12A, 0x137, 0x14E, 0x182
OWNER, INDEX, PCR = "40000001", "01500001", "00000010"
NO_PASSWORD = "40000009" "0000" "00" "0000"


def tpm(vm, code, handles, parameters):
    body = handles + f"{len(NO_PASSWORD) // 2:08x}" + NO_PASSWORD + parameters
    command = bytes.fromhex(f"8002{10 + len(body) // 2:08x}{code:08x}{body}")
    text = "".join(f"\\{byte:03o}" for byte in command)
    answer = shell(vm, f"exec 3<>/dev/tpm0; printf '{text}' >&3; "
                       "dd bs=4096 count=1 <&3 2>/dev/null | hexdump -v -e '/1 \"%02x\"'")
    assert answer[12:20] == "00000000", f"TPM command {code:#x}: {answer}"
    return bytes.fromhex(answer)


def tpm_define(vm):
    public = INDEX + "000b" + "00040004" + "0000" + "0008"  # SHA-256, its password reads and writes
    tpm(vm, NV_DEFINE, OWNER, "0000" + f"{len(public) // 2:04x}" + public)


def tpm_write(vm, text):
    """Eight characters that outlive a reboot."""
    assert len(text) == 8
    tpm(vm, NV_WRITE, INDEX + INDEX, "0008" + text.encode().hex() + "0000")


def tpm_read(vm):
    return tpm(vm, NV_READ, INDEX + INDEX, "0008" "0000")[16:24].decode()


def tpm_extend(vm):
    """A register that a reboot resets."""
    tpm(vm, PCR_EXTEND, PCR, "00000001" "000b" + "5a" * 32)


def tpm_register(vm):
    return shell(vm, f"cat /sys/class/tpm/tpm0/pcr-sha256/{int(PCR, 16)}").strip()


def tpm_folder(domain):
    return Path("/var/lib/libvirt/swtpm") / domain.UUIDString() / "tpm2"


class RestoredKind(Copy):
    """A restored copy; gone afterwards, with all that it had."""

    def __init__(self, name, folder):
        super().__init__(name)
        self.folder = folder
        folder.mkdir()
        folder.chmod(0o711)

    def __exit__(self, *_):
        super().__exit__()
        for file in self.folder.iterdir():
            os.unlink(file)
        self.folder.rmdir()
