# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bench index-scale says what it promises to say, at a size that takes a moment. How long anything
took is nobody's business here."""
import json
import os
import subprocess
import sys

import jsonschema

from conftest import BUILD, ROOT

BENCH = ROOT / "tests/bench"


def test_index_scale(tmp_path):
    done = subprocess.run([sys.executable, BENCH / "index-scale.py", "--blobs", "60001", "--lookups", "400",
                           "--rounds", "2", "--folder", tmp_path], env={**os.environ, "VMSNAP_BUILD": str(BUILD)},
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    schema = json.loads((ROOT / "schemas/bench.v1.json").read_text())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        jsonschema.Draft202012Validator(schema).validate(line)
        assert line["bench"] == "index-scale"
    values = {line["figure"]: line["value"] for line in lines}
    assert len(values) == len(lines), "a figure twice"
    assert values["blobs"] == 60001 and values["index_files"] == 2
    assert values["lookup_us"] > 0 and values["peak_rss_mib"] > 1 and values["cache_mib"] > 1
    goals = {line["figure"]: line["goal"] for line in lines if line["goal"] is not None}
    assert goals == {"reopen_s": 1, "lookup_us": 20, "peak_rss_mib": 256}
    documented = (ROOT / "docs/benchmarks.md").read_text()
    assert not [name for name in values if f"`{name}`" not in documented]
    assert not list(tmp_path.iterdir()), "it left something behind"
