# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was killed where: of this run, and of those before it that share its folder."""
import collections
import json
import os
import time
from pathlib import Path

import domains
import points
import report


def system():
    """"Debian 12, QEMU 7.2, libvirt 9.0": on what it runs."""
    words = dict(line.partition("=")[::2] for line in
                 Path("/etc/os-release").read_text().splitlines())
    versions = [f"{number // 1000000}.{number // 1000 % 1000}" for number in
                (domains.connection().getVersion(), domains.connection().getLibVersion())]
    return f"Debian {words.get('VERSION_ID', '?').strip(chr(34))}, QEMU {versions[0]}, libvirt {versions[1]}"


class Tally:
    """A kill counts when all that is checked after it held."""

    def __init__(self, seed, out=None):
        self.out, self.begin = out, time.time()
        self.kills = collections.Counter()  # of (point's name, variant)
        self.runs, self.violations, self.learned = [], [], {}
        if out and (out / "summary.json").exists():
            self.read_back(json.loads((out / "summary.json").read_text()))
        self.run = {"system": system(), "commit": os.environ.get("VMSNAP_CRASH_COMMIT", "unknown"),
                    "seed": seed, "seconds": 0, "kills": dict.fromkeys(report.COLUMNS, 0),
                    "of_recover": 0, "missed": 0, "violations": 0}
        self.runs.append(self.run)

    def read_back(self, found):
        for name, row in found["points"].items():
            self.kills.update({(name, variant): count for variant, count in row.items()})
        self.runs, self.violations = found["runs"], found["violations"]
        self.learned = {job: points.Traced(**traced) for job, traced in found["learned"].items()}
        for traced in self.learned.values():  # new points are learned by the way
            for name in set(traced.counts) - set(points.known()):
                del traced.counts[name]

    def count(self, kills):
        for name, variant, of_recover in kills:
            self.kills[(name, variant)] += 1
            self.run["kills"][variant] += 1
            self.run["of_recover"] += of_recover

    def miss(self):
        self.run["missed"] += 1

    def violation(self, entry):
        entry |= {key: self.run[key] for key in ("commit", "system", "seed")}
        self.violations.append(entry)
        self.run["violations"] += 1

    def write(self):
        """Whole at any time, in case that this is killed."""
        self.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.summary(), indent=1)
        (self.out / "summary.json.new").write_text(text + "\n")
        (self.out / "summary.json.new").rename(self.out / "summary.json")
        (self.out / "table.md").write_text(report.table(self.summary()) + "\n")

    def summary(self):
        self.run["seconds"] = round(time.time() - self.begin)
        rows = {}
        for (name, variant), count in sorted(self.kills.items()):
            rows.setdefault(name, dict.fromkeys(report.COLUMNS, 0))[variant] = count
        return {"points": rows, "runs": self.runs, "violations": self.violations,
                "unreached": [name for name in points.known() if not any(rows.get(name, {}).values())],
                "learned": {job: {"seconds": traced.seconds, "names": traced.counts}
                                            for job, traced in self.learned.items()}}
