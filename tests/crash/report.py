#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""report.py SUMMARY.json…: one table of what several runs of the crash matrix have done."""
import collections
import json
import sys

COLUMNS = ("vmsnap", "qemu", "libvirtd", "host")


def merged(runs):
    """Of summaries, as matrix.py writes them."""
    rows = {}
    for run in runs:
        for name, row in run["points"].items():
            into = rows.setdefault(name, dict.fromkeys(COLUMNS, 0))
            for column, count in row.items():
                into[column] += count
    unreached = set.intersection(*(set(run["unreached"]) for run in runs))
    return {"seed": ", ".join(run["seed"] for run in runs),
            "seconds": sum(run["seconds"] for run in runs), "kills": sum(run["kills"] for run in runs),
            "totals": {column: sum(row[column] for row in rows.values()) for column in COLUMNS},
            "missed": sum(run["missed"] for run in runs), "points": dict(sorted(rows.items())),
            "unreached": sorted(unreached - set(rows)),
            "violations": [entry for run in runs for entry in run["violations"]]}


def table(found):
    bad = collections.Counter((entry["name"], entry["variant"]) for entry in found["violations"])
    lines = ["| fail point | vmsnap | + QEMU | + libvirtd | + host |", "|---|---|---|---|---|"]
    for name, row in [*found["points"].items(), ("all", found["totals"])]:
        cells = [f"{row[column]}" + (f" ({bad[(name, column)]} violated)" if bad[(name, column)] else "")
                 for column in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append(f"\n{found['kills']} kills in {found['seconds']} s, {len(found['violations'])} violations; "
                 f"seed {found['seed']}; {found['missed']} times the point was not reached")
    if found["unreached"]:
        lines.append(f"\nNot reached: {', '.join(found['unreached'])}")
    return "\n".join(lines)


def main():
    runs = []
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as file:
            runs.append(json.load(file))
    if not runs:
        sys.exit("report.py SUMMARY.json…")
    print(table(merged(runs)))


if __name__ == "__main__":
    main()
