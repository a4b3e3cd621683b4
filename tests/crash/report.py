#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""report.py SUMMARY.json…: one table of what the crash matrix has done in several folders."""
import collections
import json
import sys

COLUMNS = ("vmsnap", "qemu", "libvirtd", "host")


def merged(found):
    """Of summaries, as tally.py writes them."""
    rows = {}
    for summary in found:
        for name, row in summary["points"].items():
            into = rows.setdefault(name, dict.fromkeys(COLUMNS, 0))
            for column, count in row.items():
                into[column] += count
    unreached = set.intersection(*(set(summary["unreached"]) for summary in found))
    return {"points": dict(sorted(rows.items())), "unreached": sorted(unreached),
            "runs": [run for summary in found for run in summary["runs"]],
            "violations": [entry for summary in found for entry in summary["violations"]]}


def row(name, counts):
    return f"| {name} | {' | '.join(str(counts[column]) for column in COLUMNS)} |"


def table(found):
    """Kills by fail point, by system, and by run."""
    systems = {}
    for run in found["runs"]:
        systems.setdefault(run["system"], collections.Counter()).update(run["kills"])
    lines = ["| fail point | vmsnap | + QEMU | + libvirtd | + host |", "|---|---|---|---|---|",
             *(row(name, counts) for name, counts in found["points"].items()),
             *(row(f"all, {name}", counts) for name, counts in sorted(systems.items())),
             row("all", sum(systems.values(), collections.Counter())), "",
             "| system | commit | seed | s | kills | of these, of recover | point not reached | violations |",
             "|---|---|---|---|---|---|---|---|"]
    lines += [f"| {run['system']} | {run['commit']} | {run['seed']} | {run['seconds']} | "
              f"{sum(run['kills'].values())} | {run['of_recover']} | {run['missed']} | "
              f"{run['violations']} |" for run in found["runs"]]
    lines += [f"\nViolation at {entry['commit']}: {entry['job']} {entry['point']} {entry['variant']}: "
              f"{entry['text'].splitlines()[0][:200]}\n\n    {entry['repeat']}"
              for entry in found["violations"]]
    if found["unreached"]:
        lines.append(f"\nNot reached: {', '.join(found['unreached'])}")
    return "\n".join(lines)


def main():
    found = []
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as file:
            found.append(json.load(file))
    if not found:
        sys.exit("report.py SUMMARY.json…")
    print(table(merged(found)))


if __name__ == "__main__":
    main()
