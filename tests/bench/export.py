#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bench "export": a disk of 8 GiB into a repository in a folder and on S3, beside restic and
virtnbdbackup. docs/benchmarks.md says what the figures mean.

Inside a lab: tests/lab/enter DIR tests/bench/export.py [OPTION…]; JSON lines on standard output.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
from disks import MIB, BenchError, Disks, file_sha256, parse_size  # noqa: E402
from figures import Figures, median  # noqa: E402
from lab import Lab  # noqa: E402

S3 = ("S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY")


def s3_settings():
    keys = {"url": f"s3://{os.environ['S3_BUCKET']}/bench-{os.getpid()}",
            "endpoint": os.environ["S3_ENDPOINT"], "path-style": "yes",
            "region": os.environ.get("S3_REGION", "us-east-1")}
    if os.environ.get("S3_CA_FILE"):
        keys["ca-file"] = os.environ["S3_CA_FILE"]
    return keys


class Export:
    def __init__(self, disks, check):
        self.disks, self.check = disks, check
        self.stats, self.rss = None, 0

    def _ours(self, to, place):
        self.disks.vmsnap("create", self.disks.bench)
        done = self.disks.vmsnap("export", self.disks.bench, "--to", to, "--json")
        self.rss = max(self.rss, done.rss)
        if self.check:
            self.disks.check_restic("vmsnap", place, f"/{self.disks.bench}/vda/disk.raw")
        return done, json.loads(done.out)["stats"]

    def ours_dir(self):
        name = self.disks.fresh()
        done, self.stats = self._ours(name, self.disks.folder / name)
        self.disks.forget(name)
        return done.seconds

    def ours_s3(self):
        name = self.disks.fresh(**s3_settings())
        place = self.disks.repositories[name]["url"].removeprefix("s3://")
        return self._ours(name, f"s3:{os.environ['S3_ENDPOINT']}/{place}")[0].seconds

    def _restic(self, place):
        self.disks.restic(place, "init")
        seconds = self.disks.restic(place, "backup", self.disks.image).seconds
        if self.check:
            self.disks.check_restic("restic", place, self.disks.image)
        return seconds

    def restic_dir(self):
        place = self.disks.folder / "restic"
        seconds = self._restic(place)
        shutil.rmtree(place)
        return seconds

    def restic_s3(self):
        self.disks.count += 1
        return self._restic(f"s3:{os.environ['S3_ENDPOINT']}/{os.environ['S3_BUCKET']}/"
                            f"bench-{os.getpid()}/restic{self.disks.count}")

    def virtnbdbackup(self):
        """Wants a domain that runs; this one stays in its firmware. Its files then go where the
        repository would be."""
        files, store = self.disks.folder / "nbd", self.disks.folder / "nbd-store"
        self.disks.domain.create()
        try:
            seconds = self.disks.timed("virtnbdbackup", "-d", self.disks.bench, "-l", "copy",
                                       "--raw", "--compress", "-o", files).seconds
        finally:
            self.disks.domain.destroy()
        seconds += self.disks.timed("cp", "-r", files, store).seconds
        seconds += self.disks.timed("sync", "-f", store).seconds
        if self.check:
            back = self.disks.folder / "nbd-back"
            self.disks.timed("virtnbdrestore", "--raw", "-i", store, "-o", back)
            [restored] = [path for path in back.iterdir() if path.name == self.disks.image.name]
            self.disks.same("virtnbdbackup", file_sha256(restored))
            shutil.rmtree(back)
        shutil.rmtree(files)
        shutil.rmtree(store)
        return seconds


def hash_alone(image, size):
    """Two threads, as our workers do it: a MiB at a time, no holes."""
    def part(first):
        with open(image, "rb", buffering=0) as file:
            for at in range(first * MIB, size, 2 * MIB):
                if at // (8 * MIB) % 4 < 3:
                    file.seek(at)
                    hashlib.sha256(file.read(MIB)).digest()

    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(part, range(2)))
    return time.monotonic() - begin


def stages_alone(disks, figures):
    """Each stage of an export by itself, on two processors: seconds."""
    folder = disks.folder
    alone = {"read": disks.timed("nbdcopy", "--", "[", "qemu-nbd", "-r", "-f", "raw", disks.image,
                                 "]", "null:").seconds,
             "hash": hash_alone(disks.image, disks.size),
             "pack": disks.timed("zstd", "-q", "-1", "-T2", "-c", disks.image, "-f", "-o",
                                 "/dev/null").seconds}
    name = disks.fresh()
    disks.vmsnap("create", disks.bench)
    disks.vmsnap("export", disks.bench, "--to", name)
    alone["upload"] = (disks.timed("cp", "-r", folder / name, folder / "copy").seconds +
                       disks.timed("sync", "-f", folder / "copy").seconds)
    shutil.rmtree(folder / "copy")
    disks.forget(name)
    for stage, seconds in alone.items():
        figures.add(f"alone_{stage}_s", seconds, "s")
    return max(alone.values())


def measure(disks, options):
    figures = Figures("export")
    kinds = ["ours_dir", "restic_dir"]
    if all(name in os.environ for name in S3):
        kinds += ["ours_s3", "restic_s3"]
    if shutil.which("virtnbdbackup"):
        kinds.append("virtnbdbackup")
    times = {kind: [] for kind in kinds}
    for turn in range(options.rounds):
        export = Export(disks, check=turn == 0)
        for kind in kinds if turn % 2 == 0 else reversed(kinds):
            disks.say(f"round {turn + 1} of {options.rounds}: {kind}")
            times[kind].append(getattr(export, kind)())
    report(disks, figures, export, times)


def report(disks, figures, export, times):
    seconds = {kind: median(values) for kind, values in times.items()}
    for kind in ("ours_dir", "restic_dir", "ours_s3", "restic_s3", "virtnbdbackup"):
        figures.add(f"{kind}_s", seconds.get(kind), "s")

    def speedup(name, peer, ours, goal):
        known = seconds.get(peer) and seconds.get(ours)
        figures.add(name, seconds[peer] / seconds[ours] if known else None, "times", goal, "higher")

    speedup("speedup_restic_dir", "restic_dir", "ours_dir", 2.5)
    speedup("speedup_restic_s3", "restic_s3", "ours_s3", 2)
    speedup("speedup_virtnbdbackup", "virtnbdbackup", "ours_dir", 2)
    figures.add("convert_s", disks.timed("qemu-img", "convert", "-f", "raw", "-O", "raw",
                                         disks.image, disks.folder / "convert.raw").seconds, "s")
    (disks.folder / "convert.raw").unlink()
    slowest = stages_alone(disks, figures)
    figures.add("stage_ratio", slowest / seconds["ours_dir"], "ratio", 0.9, "higher")
    for stage, busy in export.stats["busy_us"].items():
        figures.add(f"busy_{stage}_s", busy / 1e6, "s")
    figures.add("uploaded_mib", export.stats["bytes_uploaded"] / MIB, "MiB")
    figures.add("peak_rss_mib", export.rss, "MiB", 256)


def main():
    parser = argparse.ArgumentParser(prog="export", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each kind (3)")
    parser.add_argument("--size", type=parse_size, default="8G", help="of the disk (8G)")
    options = parser.parse_args()
    try:
        with Disks("export", Lab().images / "bench", options.size) as disks:
            measure(disks, options)
    except BenchError as error:
        sys.exit(f"export: {error}")


if __name__ == "__main__":
    main()
