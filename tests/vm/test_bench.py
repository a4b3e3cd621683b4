# SPDX-License-Identifier: LGPL-2.1-or-later
"""The benches say what they promise to say. How long anything took is nobody's
business here: the machine is not quiet."""
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import domains
from guest import Lab
from tool import SCHEMAS

BENCH = Path(__file__).resolve().parents[1] / "bench"
LENGTHS = ("pause_ms", "pause_max_ms", "live_pause_ms", "live_pause_max_ms", "pause_ratio_live",
           "gap_idle_max_ms", "stopped_ms", "live_stopped_ms", "create_ms", "live_create_ms",
           "memory_mib")
FIGURES = (*LENGTHS, "rounds", "live_rounds", "dirty_rate", "live_unfinished")
STALLS = ("stall_ms_p50", "stall_ms_p99", "stall_ms_p99.9", "stall_ms_max")


def figures_of(*args):
    """{figure: value} of a bench that ended well and printed what its schema says."""
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=300,
                          check=False)
    assert done.returncode == 0, done.stderr
    schema = json.loads((SCHEMAS / "bench.v1.json").read_text())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        jsonschema.Draft202012Validator(schema).validate(line)
    return {line["figure"]: line["value"] for line in lines}


@pytest.mark.once
def test_incremental():
    """What does not depend on time holds here as well."""
    values = figures_of(BENCH / "incremental.py", "--rounds", "1", "--sizes", "1,2")
    assert all(value is not None for value in values.values())
    assert values["unchanged_1tib_mib"] < 1
    assert values["uploaded_per_changed"] <= 1.1
    assert values["peak_rss_mib"] < 256
    assert {"unchanged_1tib_s", "time_ratio_1tib_10gib"} <= values.keys()
    assert domains.find("incremental-1g") is None and not os.path.exists(
        Lab().images / "incremental")


def test_pause():
    """With whatever engine vmsnap takes on this stack."""
    done = subprocess.run([sys.executable, BENCH / "pause.py", "--engine", "auto", "--rounds", "1",
                           "--sizes", "256", "--loads", "idle,20", "--baseline", "1"],
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    schema = json.loads((SCHEMAS / "bench.v1.json").read_text())
    for line in lines:
        jsonschema.Draft202012Validator(schema).validate(line)
        assert line["bench"] == "pause"
    values = {line["figure"]: line["value"] for line in lines}
    assert len(values) == len(lines), "a figure twice"
    for load in ("idle", "20"):
        assert not {f"{name}_{load}" for name in FIGURES + STALLS} - values.keys(), values
        assert all(values[f"{name}_{load}"] is not None for name in FIGURES), values
        assert all(values[f"{name}_{load}"] > 0 for name in LENGTHS), values
    assert values["dirty_rate_20"] > values["dirty_rate_idle"] == 0
    assert domains.find("pause") is None
    assert not [name for name in os.listdir(Lab().images) if name in ("pause", "bench")]
    table = subprocess.run([sys.executable, BENCH / "figures.py"], input=done.stdout,
                           capture_output=True, text=True, check=True).stdout
    words = set(table.split())
    assert {"PAUSE", "idle", "20", *FIGURES, *STALLS} <= words, table


def measured(bench, *options):
    """{figure: value} of a bench on a disk so small that it costs little."""
    done = subprocess.run([sys.executable, BENCH / f"{bench}.py", *options],
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    schema = json.loads((SCHEMAS / "bench.v1.json").read_text())
    values = {}
    for line in map(json.loads, done.stdout.splitlines()):
        jsonschema.Draft202012Validator(schema).validate(line)
        assert line["bench"] == bench and line["figure"] not in values
        values[line["figure"]] = line["value"]
    assert domains.find(bench) is None
    assert not (Lab().images / "bench").exists()
    return values


@pytest.mark.once
def test_export():
    values = measured("export", "--size", "64M", "--rounds", "1")
    stages = [f"{kind}_{stage}_s" for stage in ("read", "hash", "pack", "upload")
              for kind in ("alone", "busy")]
    for figure in ("ours_dir_s", "restic_dir_s", "ours_s3_s", "restic_s3_s", "speedup_restic_dir",
                   "speedup_restic_s3", "stage_ratio", "uploaded_mib", "peak_rss_mib", *stages):
        assert values[figure] > 0, figure
    assert {"virtnbdbackup_s", "speedup_virtnbdbackup"} <= values.keys()


@pytest.mark.once
def test_restore():
    values = measured("restore", "--size", "64M", "--rounds", "1")
    for figure in ("ours_s", "restic_s", "qemu_img_s", "nbdcopy_s", "speedup_restic",
                   "ratio_qemu_img", "peak_rss_mib"):
        assert values[figure] > 0, figure
