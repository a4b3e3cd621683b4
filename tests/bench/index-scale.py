#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bench "index-scale": how fast, and in how much memory, does a repository of ten million blobs open?
docs/benchmarks.md says what the figures mean.

    VMSNAP_BUILD=build tests/bench/index-scale.py [OPTION…]; JSON lines on standard output.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from figures import Figures, median  # noqa: E402

BUILD = Path(os.environ.get("VMSNAP_BUILD", HERE.parents[1] / "build"))


class BenchError(Exception):
    pass


def tool(*args):
    program = BUILD / "tests/bench/index-tool"
    try:
        done = subprocess.run([str(arg) for arg in (program, *args)], capture_output=True, text=True,
                              check=False)
    except OSError as error:
        raise BenchError(f"{program}: {error.strerror}") from None
    if done.returncode != 0:
        raise BenchError(done.stderr.strip() or f"{program} ended with {done.returncode}")
    return json.loads(done.stdout)


def run(folder, options):
    add = (figures := Figures("index-scale")).add
    repository, cache = folder / "repository", folder / "cache"
    made = tool("make", repository, options.blobs)
    add("blobs", options.blobs, "blobs", better="higher")
    add("index_files", made["files"], "files")
    add("index_mib", size(repository / "index"), "MiB")
    add("make_s", made["make_s"], "s")
    filled = tool("open", repository, cache, 0, options.blobs)
    add("fill_s", filled["open_s"], "s")
    add("fill_rss_mib", filled["peak_rss_mib"], "MiB")
    add("cache_mib", size(cache), "MiB")
    rounds = [tool("open", repository, cache, options.lookups, options.blobs)
              for _ in range(options.rounds)]
    add("reopen_s", median([one["open_s"] for one in rounds]), "s", goal=1)
    for name in ("known_us", "unknown_us", "p99_us"):
        add(f"lookup_{name}", median([one[name] for one in rounds]), "us")
    values = figures.values
    add("lookup_us", (values["lookup_known_us"] + values["lookup_unknown_us"]) / 2, "us", goal=20)
    add("lookup_rss_mib", max(one["peak_rss_mib"] for one in rounds), "MiB")
    walked = tool("each", repository, cache)
    if walked["blobs"] != options.blobs:
        raise BenchError(f"{walked['blobs']} blobs were enumerated of {options.blobs}")
    add("each_s", walked["each_s"], "s")
    add("each_rss_mib", walked["peak_rss_mib"], "MiB")
    add("peak_rss_mib", max(values[f"{name}_rss_mib"] for name in ("fill", "lookup", "each")), "MiB",
        goal=256)


def size(folder):
    return sum(path.stat().st_size for path in folder.iterdir()) / 1048576


def main():
    parser = argparse.ArgumentParser(prog="index-scale", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--blobs", type=int, default=10_000_000, help="in the repository (10000000)")
    parser.add_argument("--lookups", type=int, default=200_000, help="in each round (200000)")
    parser.add_argument("--rounds", type=int, default=3, help="of opening and looking up (3)")
    parser.add_argument("--folder", help="where to work, with 4 GiB to spare (/var/tmp)")
    options = parser.parse_args()
    if min(options.blobs, options.lookups, options.rounds) < 1:
        parser.error("nothing to measure")
    folder = Path(tempfile.mkdtemp(prefix="index-scale.", dir=options.folder or "/var/tmp"))
    try:
        run(folder, options)
    except BenchError as error:
        sys.exit(f"index-scale: {error}")
    finally:
        shutil.rmtree(folder)


main()
