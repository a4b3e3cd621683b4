# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a bench found: one JSON line per figure (schemas/bench.v1.json), or a table of them.

    figures = Figures("pause")
    figures.add("pause_ms_idle", 38.2, "ms", goal=40)

Run as a program it reads such lines and prints the table.
"""
import json
import math
import re
import sys


def percentile(values, percent):
    """Nearest rank: a value that was measured, none in between. None of nothing."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1] if ordered else None


def median(values):
    """The mean of the two in the middle, where there are two."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if not ordered:
        return None
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


class Figures:
    """Prints each one at once: a bench that is interrupted has said what it knew."""

    def __init__(self, bench):
        self.bench, self.values = bench, {}

    def add(self, figure, value, unit, goal=None, better="lower"):
        """value None: could not be measured."""
        if value is not None:
            value = round(value, 3)
        self.values[figure] = value
        print(json.dumps({"bench": self.bench, "figure": figure, "value": value, "unit": unit,
                          "goal": goal, "better": better}), flush=True)

    def ratio(self, figure, value, base, goal=None):
        """Of two figures that have been added; None where one could not be measured."""
        value, base = self.values.get(value), self.values.get(base)
        self.add(figure, value / base if value is not None and base else None, "ratio", goal)


def missed(line):
    if line["goal"] is None or line["value"] is None:
        return False
    return line["value"] > line["goal"] if line["better"] == "lower" else line["value"] < line["goal"]


def value_of(line):
    value = line["value"]
    if value is None:
        return "-"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return text + ("!" if missed(line) else "")


def goal_of(line):
    return "" if line["goal"] is None else f"{'≤' if line['better'] == 'lower' else '≥'} {line['goal']:g}"


def table_of(bench, lines):
    """A row for each figure; those that differ by the load alone share one, a column for each load."""
    rows, columns = {}, []
    for line in lines:
        name, load = re.fullmatch(r"(.*?)(?:_((?:\d+[gm]_)?(?:idle|20|heavy)))?", line["figure"]).groups()
        row = rows.setdefault(name, {"goals": set()})
        row[load or ""] = value_of(line)
        row["goals"].add(goal_of(line))
        row["unit"] = line["unit"]
        if (load or "") not in columns:
            columns.append(load or "")
    columns.sort(key=lambda load: load == "")
    yield [bench.upper(), *columns, "", "GOAL"]
    for name, row in rows.items():
        yield [name, *(row.get(load, "") for load in columns), row["unit"],
               ", ".join(sorted(row["goals"] - {""}))]


def main():
    benches = {}
    for text in sys.stdin:
        line = json.loads(text)
        benches.setdefault(line["bench"], []).append(line)
    for bench, lines in benches.items():
        table = list(table_of(bench, lines))
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        for first, *cells, unit, goal in table:
            cells = [cell.rjust(width) for cell, width in zip(cells, widths[1:])]
            print("  ".join((first.ljust(widths[0]), *cells, unit.ljust(widths[-2]), goal)).rstrip())
        if any(map(missed, lines)):
            print("!: the goal was missed")


if __name__ == "__main__":
    main()
