# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests in a lab, for tests (tests/lab/README.md). For /usr/bin/python3 inside the lab:

    tests/lab/enter DIR /usr/bin/python3 -m pytest tests/vm

    lab = Lab(DIR)
    guest = lab.create_domain("one", memory=256)
    with guest.heartbeat() as beat:
        guest.freeze(); guest.thaw()
    print(beat.widest_gap)
    guest.destroy()
"""
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import libvirt
import libvirt_qemu

from heartbeat import PORT, Heartbeat

BOOT = Path("/var/lib/libvirt/boot")  # of the lab: `up` put the guest's kernel there
# self-tests cost half a second; on a busy machine the timer's check fails, and with it the boot
KERNEL = "console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check"
MIB = 1 << 20
UNDEFINE = (libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM |
            libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
            libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)

libvirt.registerErrorHandler(lambda *_: None, None)


SECURE = ("<firmware><feature enabled='yes' name='secure-boot'/>"
          "<feature enabled='no' name='enrolled-keys'/></firmware>")


class LabError(Exception):
    pass


def _run(*args, timeout=300):
    done = subprocess.run([str(arg) for arg in args], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=timeout)
    if done.returncode != 0:
        raise LabError(f"{args[0]} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def parse_size(text):
    """"300M", "1G" or bytes."""
    text = str(text).strip().upper().removesuffix("IB").removesuffix("B")
    factor = {"K": 1 << 10, "M": MIB, "G": 1 << 30}.get(text[-1:], 1)
    return int(text.rstrip("KMG")) * factor


def make_disk(path, format, file_system, size, lazy=True):
    """An image with an empty file system on all of it; lazy: the guest's ext4 zeroes its tables later."""
    raw = path if format == "raw" else path.with_name(path.name + ".raw")
    with open(raw, "wb") as file:
        file.truncate(size)
    if file_system == "ext4":
        _run("mkfs.ext4", "-q", "-F", "-E", f"nodiscard,lazy_itable_init={lazy:d},lazy_journal_init={lazy:d}",
             raw)
    elif file_system == "xfs":
        _run("mkfs.xfs", "-q", "-f", "-K", raw)
    _run("fallocate", "--dig-holes", raw)  # XFS writes its log as 64 MiB of zeros
    if format != "raw":
        _run("qemu-img", "convert", "-q", "-f", "raw", "-O", format, raw, path)
        raw.unlink()
    path.chmod(0o600)
    return path


def disk_xml(target, path, format):
    kind, source = ("block", "dev") if Path(path).is_block_device() else ("file", "file")
    return (f"<disk type='{kind}' device='disk'><driver name='qemu' type='{format}'/>"
            f"<source {source}='{path}'/><target dev='{target}' bus='virtio'/></disk>")


def cdrom_xml(path):
    return (f"<controller type='scsi' model='virtio-scsi'/>"
            f"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>"
            f"<source file='{path}'/><target dev='sda' bus='scsi'/><readonly/></disk>")


class Lab:
    """A lab that is up, seen from inside."""

    def __init__(self, dir=None):
        self.dir = Path(dir or os.environ["LAB_DIR"]).resolve()
        try:
            own = (self.dir / "lab.pid").read_text().split()[2]
        except (OSError, IndexError):
            raise LabError(f"no lab is up in {self.dir}") from None
        if own != os.readlink("/proc/self/ns/mnt"):
            raise LabError(f"not inside the lab; use tests/lab/enter {self.dir} COMMAND")
        self.images = self.dir / "images"
        self._connection = None

    @property
    def connection(self):
        try:  # that the daemon was restarted shows at the next call only
            if self._connection is not None and self._connection.getLibVersion():
                return self._connection
        except libvirt.libvirtError:
            pass
        self._connection = libvirt.open("qemu:///system")
        return self._connection

    @property
    def accel(self):
        """"kvm" or "tcg"; the lab hides a /dev/kvm that cannot run a guest."""
        try:
            node = os.stat("/dev/kvm").st_rdev
        except OSError:
            return "tcg"
        return "kvm" if node == os.makedev(10, 232) else "tcg"

    def domains(self):
        return [Domain(self, d.name()) for d in self.connection.listAllDomains()]

    def domain(self, name):
        """An existing one, whoever made it: a restored copy as well."""
        return Domain(self, name)

    def create_domain(self, name, memory=256, vcpus=1, disk_size=1024 * MIB, data_size=320 * MIB,
                      writer=20, dirty=0, dirty_size=32, touch=0, agent=True, transient=False,
                      cdrom=False, disks=None, more="", top="", firmware=False, start=True,
                      wait=True):
        """A guest that runs and answers.

        vda is qcow2 with ext4 and disk_size bytes, vdb raw with XFS and data_size (XFS wants
        300 MiB). memory in MiB; writer: records a second (0: off); dirty: MiB a second to dirty
        in dirty_size MiB; touch: MiB to write once; disks: [(target, path, format)] instead of new ones, paths of block devices
        too; more: further device XML; top: further XML of the domain itself; firmware: boots by way
        of UEFI; "secure": one that can do secure boot, which needs SMM (no keys are enrolled: it
        boots anything). wait: until the agent (without one: the heartbeat) is there."""
        folder = self.images / name
        if disks is None or cdrom:
            folder.mkdir()
            folder.chmod(0o711)
        if disks is None:
            disks = [("vda", make_disk(folder / "vda.qcow2", "qcow2", "ext4", disk_size), "qcow2"),
                     ("vdb", make_disk(folder / "vdb.raw", "raw", "xfs", data_size), "raw")]
        devices = [disk_xml(*disk) for disk in disks]
        if cdrom:
            medium = folder / "cdrom.iso"
            medium.write_bytes(b"nothing that a guest would read\n" * 65536)
            devices.append(cdrom_xml(medium))
        options = f"lab.writer={writer or 'off'} lab.dirty={dirty} lab.dirty_size={dirty_size} "\
                  f"lab.touch={touch}"
        xml = self._xml(name, memory, vcpus, options, devices, agent, more, top)
        if firmware:
            xml = xml.replace("<os>", "<os firmware='efi'>" + (SECURE if firmware == "secure" else ""))
        if firmware == "secure":
            xml = xml.replace("machine='pc'", "machine='q35'").replace("<acpi/>",
                                                                       "<acpi/><smm state='on'/>")
        if transient:
            self.connection.createXML(xml)
        else:
            domain = self.connection.defineXML(xml)
            if start:
                domain.create()
        domain = Domain(self, name)
        if wait and start and not transient:
            domain.wait_or_start_again()
        elif wait and transient:
            domain.wait()
        return domain

    def _xml(self, name, memory, vcpus, options, devices, agent, more, top):
        ports = (["org.qemu.guest_agent.0"] if agent else []) + [PORT]
        channels = "".join(f"<channel type='unix'><target type='virtio' name='{port}'/></channel>"
                           for port in ports)
        console = self.dir / "log" / f"{name}.console"
        kind = "kvm" if self.accel == "kvm" else "qemu"
        return f"""<domain type='{kind}'><name>{name}</name>
<memory unit='MiB'>{memory}</memory><vcpu>{vcpus}</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>{BOOT}/vmlinuz</kernel>
<initrd>{BOOT}/initramfs</initrd><cmdline>{KERNEL} {options}</cmdline></os>
<features><acpi/></features><on_crash>preserve</on_crash>{top}
<devices>{''.join(devices)}<controller type='usb' model='none'/>
<interface type='user'><model type='virtio'/></interface>
<serial type='file'><source path='{console}'/></serial>{channels}
<memballoon model='virtio'/>{more}</devices></domain>"""

    def records(self, a, b, timeout=180):
        """What the check guest finds on two disk images, each a path or (path, format). Nothing is
        written to them. See guest/labcheck.c for the keys."""
        folder = Path(tempfile.mkdtemp(prefix=".check-", dir=self.images))
        try:
            drives = []
            for i, image in enumerate((a, b)):
                path, format = image if isinstance(image, tuple) else (image, None)
                path = Path(path).resolve()
                format = format or json.loads(
                    _run("qemu-img", "info", "-U", "--output=json", path))["format"]
                _run("qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", path,
                     folder / str(i))
                drives += ["-drive", f"if=virtio,format=qcow2,cache=unsafe,file={folder / str(i)}"]
            output = _run(
                "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
                "-machine", "pc", "-accel", self.accel, "-m", "256", "-no-reboot",
                "-serial", "stdio", "-kernel", BOOT / "vmlinuz", "-initrd", BOOT / "initramfs",
                "-append", f"{KERNEL} lab.mode=check", *drives, timeout=timeout)
        finally:
            shutil.rmtree(folder)
        for line in output.splitlines():
            if line.startswith("LABCHECK "):
                return json.loads(line.removeprefix("LABCHECK "))
        raise LabError(f"the check guest says nothing:\n{output}")


class Domain:
    """A domain of the lab by its name; it need not be one that create_domain() made."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self._reader = None

    @property
    def libvirt(self):
        """libvirt's object, looked up anew."""
        return self.lab.connection.lookupByName(self.name)

    def xml(self, inactive=False):
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0
        return ElementTree.fromstring(self.libvirt.XMLDesc(flags))

    def is_active(self):
        try:
            return bool(self.libvirt.isActive())
        except libvirt.libvirtError:
            return False

    def disks(self, inactive=False):
        """{target: path of the active image}, without CD drives."""
        found = {}
        for disk in self.xml(inactive).iterfind("devices/disk"):
            source = disk.find("source")
            if disk.get("device") == "disk":
                found[disk.find("target").get("dev")] = source.get("file") or source.get("dev")
        return found

    def _channel(self, port):
        for channel in self.xml().iterfind("devices/channel"):
            if channel.find("target").get("name") == port:
                return channel
        return None

    # ---- guest agent ----

    def agent(self, command, timeout=10, **arguments):
        """What the guest agent returns; "guest_" and "-" need not be written: agent("ping")."""
        command = command.replace("_", "-")
        if not command.startswith("guest-"):
            command = "guest-" + command
        request = {"execute": command}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value
                                    for key, value in arguments.items()}
        answer = libvirt_qemu.qemuAgentCommand(self.libvirt, json.dumps(request), timeout, 0)
        return json.loads(answer)["return"]

    def has_agent(self):
        return self._channel("org.qemu.guest_agent.0") is not None

    def wait(self, timeout=300):
        """Until the guest has booted: its agent answers, if it has one, and its heart beats."""
        limit = time.monotonic() + timeout
        while self.has_agent():
            if not self.is_active():
                raise LabError(f"{self.name} does not run any more")
            target = self._channel("org.qemu.guest_agent.0").find("target")
            try:
                if target.get("state") == "connected":
                    self.agent("ping", 5)
                    break
            except libvirt.libvirtError:
                pass
            if time.monotonic() > limit:
                raise LabError(f"the agent of {self.name} does not answer within {timeout} s; "
                               f"the console:\n{self.console()}")
            time.sleep(0.05)
        self.beat(max(limit - time.monotonic(), 1))

    def wait_or_start_again(self):
        """An emulated processor whose clock stops while Linux boots (seen once in some thousand
        boots, on a busy machine) is not what anybody here tests."""
        try:
            self.wait(120)
        except LabError as error:
            print(f"lab: {error}\nlab: {self.name} is started once more", file=sys.stderr)
            if self.is_active():
                self.libvirt.destroy()
            self.libvirt.create()
            self.wait()

    def console(self):
        path = self.xml().find("devices/serial/source")
        return "" if path is None else Path(path.get("path")).read_text(errors="replace")

    def freeze_status(self):
        """"thawed" or "frozen"."""
        return self.agent("fsfreeze-status")

    def freeze(self):
        """Number of file systems."""
        return self.agent("fsfreeze-freeze", 30)

    def thaw(self):
        return self.agent("fsfreeze-thaw", 30)

    def execute(self, *command, timeout=60):
        """Runs a program in the guest: (exit status, output)."""
        pid = self.agent("exec", path=command[0], arg=list(command[1:]),
                         capture_output=True)["pid"]
        limit = time.monotonic() + timeout
        while not (done := self.agent("exec-status", pid=pid))["exited"]:
            if time.monotonic() > limit:
                raise LabError(f"{command} does not end within {timeout} s in {self.name}")
            time.sleep(0.02)
        output = base64.b64decode(done.get("out-data", "")).decode()
        return done.get("exitcode", -done.get("signal", 0)), output

    # ---- the lab's programs in the guest ----

    def labcheck(self):
        """Verifies the records on both disks of the running guest (guest/labcheck.c)."""
        _, output = self.execute("/bin/labcheck")
        return json.loads(output)

    def state(self):
        """The guest's counters: nonce, tick, seq, errors, held, memory."""
        _, output = self.execute("/bin/labcheck", "state")
        return json.loads(output)

    def hold_writer(self, on=True):
        status, output = self.execute("/bin/labcheck", "pause" if on else "resume")
        if status != 0:
            raise LabError(f"the writer does not obey: {output}")

    def dirty(self, rate):
        """From now on: MiB of memory to dirty a second."""
        status, output = self.execute("/bin/labcheck", f"dirty {rate}")
        if status != 0:
            raise LabError(f"the dirtier does not obey: {output}")

    def heartbeat(self, timeout=20):
        """A context manager, see heartbeat.py."""
        channel = self._channel(PORT)
        if channel is None:
            raise LabError(f"{self.name} has no heartbeat channel")
        self._reader = Heartbeat(channel.find("source").get("path"), timeout)
        return self._reader

    def beat(self, timeout=20):
        """One beat that arrives from now on; also while a heartbeat() is being read."""
        reader = self._reader
        if reader is not None and reader.is_reading():
            return reader.next(timeout)
        with self.heartbeat(timeout) as reader:
            return reader.last

    def nonce(self):
        return self.beat().nonce

    def destroy(self):
        """Ends and forgets it, with the folder that create_domain() made."""
        if self._reader is not None:
            self._reader.stop()
        try:
            domain = self.libvirt
        except libvirt.libvirtError:
            domain = None
        if domain is not None:
            persistent = domain.isPersistent()
            if domain.isActive():
                domain.destroy()
            if persistent:
                domain.undefineFlags(UNDEFINE)
        shutil.rmtree(self.lab.images / self.name, ignore_errors=True)
