# SPDX-License-Identifier: LGPL-2.1-or-later
"""The crash matrix by the hour; tests/crash/run calls it, inside the lab."""
import argparse
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))
import report  # noqa: E402


def options():
    parser = argparse.ArgumentParser(prog="tests/crash/run", description="kill vmsnap everywhere")
    parser.add_argument("--hours", type=float, default=1, help="for so long (1)")
    parser.add_argument("--shots", type=int, default=1 << 30, help="at most so many kills")
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(1 << 32)))
    parser.add_argument("--variant", action="append", choices=report.COLUMNS, help="only these")
    parser.add_argument("--job", action="append", help="only these, tests/crash/jobs.py")
    parser.add_argument("--point", help="NAME:N, or seconds: this one, of one job, once")
    parser.add_argument("--dice", help="with --point: what a violation's command says")
    parser.add_argument("--then", action="append", default=[], help="VARIANT,POINT, with --point: so too")
    parser.add_argument("--out", type=Path, required=True, help="for summary.json, table.md and violations; "
                        "what a summary.json there has counted is gone on from")
    return parser.parse_args()


def go_on(found, wanted):
    dice, end, number = random.Random(f"{wanted.seed} order"), time.time() + wanted.hours * 3600, 0
    found.learn_all()
    while time.time() < end and number < wanted.shots and found.jobs:
        number += 1
        job, variant = found.next(dice)
        found.one(job, f"{wanted.seed}/{number}", variant)
        found.tally.write()


def as_point(text):
    return float(text) if text[0].isdigit() else text


def main():
    wanted = options()
    import matrix  # pylint: disable=import-outside-toplevel
    wanted.out.mkdir(parents=True, exist_ok=True)
    folder = Path(os.environ["LAB_DIR"]) / "crash"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored, by vmsnap too
    print(f"seed {wanted.seed}", flush=True)
    found = matrix.Matrix(folder, wanted.seed, wanted.job, wanted.variant, wanted.out)
    unknown = set(wanted.job or []) - set(found.jobs)
    if unknown:
        sys.exit(f"no job {', '.join(unknown)}; there are: {', '.join(matrix.jobs.all_jobs())}")
    try:
        if wanted.point:
            [job] = found.jobs.values()
            found.shoot(job, found.variants[0], as_point(wanted.point), wanted.dice or wanted.seed,
                        [(variant, as_point(point)) for variant, _, point in
                         (text.partition(",") for text in wanted.then)])
        else:
            go_on(found, wanted)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    found.tally.write()
    found.world.close()
    print(report.table(found.tally.summary()))
    return 1 if found.tally.run["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
