# SPDX-License-Identifier: LGPL-2.1-or-later
"""One kill after the other, each checked: picking them, doing them, counting them."""
import collections
import contextlib
import json
import random
import time
import traceback

import audit
import jobs
import points
import report
from strike import Strike
from tool import DONE
from world import World, describe

WEIGHTS = {"vmsnap": 7, "qemu": 1, "libvirtd": 1, "host": 1}


def name_of(point):
    return point.partition(":")[0] if isinstance(point, str) else points.MOMENT


class Shot:
    """One kill. dice decides all that is left to chance in it."""

    def __init__(self, matrix, job, dice):
        self.matrix, self.world, self.job = matrix, matrix.world, job
        self.dice = random.Random(dice)
        self.domain = self.place = self.cut = self.below = None
        self.killed, self.struck = set(), []
        self.reached = False

    def choose(self, job):
        """A point of that job, once in so many any moment."""
        traced = self.matrix.traced(job)
        if self.dice.random() < 0.1 or not traced.counts:
            return self.dice.uniform(0, traced.seconds * 1.05)
        name = self.dice.choice(sorted(traced.counts))
        return f"{name}:{self.dice.randint(1, traced.counts[name])}"

    def strike(self, variant, point, *args):
        self.struck.append(f"{variant} {point}: {' '.join(str(arg) for arg in args)}")
        strike = Strike(self.world, self.domain, variant, point, self.dice)
        strike.run(*args)
        result = strike.result
        assert strike.done or result.status == DONE, result
        if strike.done:
            self.matrix.count(point, variant)
        self.killed |= {variant, "vmsnap"} if strike.done else set()
        return strike.done

    def run(self, variant, point):
        job = self.job
        job.ready(self)
        job.prepare(self)
        self.reached = self.strike(variant, point, *job.args(self))
        domain = self.domain
        runs = domain.runs
        if variant in ("qemu", "host") and runs and not domain.is_up():
            domain.runs = self.dice.random() < 0.5  # it is started again before recover, or after
            if domain.runs:
                domain.start()
        try:
            while self.dice.random() < 0.5:  # it is killed, too
                self.strike("vmsnap", self.matrix.point_of_recover(self.dice), "recover")
            self.recover()
            records = audit.at_rest(self.world, domain, self.dice)
        finally:
            domain.runs = runs
        if runs and not domain.is_up():
            domain.start()
        job.finish(self, records)
        assert audit.at_rest(self.world, domain, self.dice) == [], "something is left in the end"

    def recover(self):
        vmsnap = self.world.vmsnap
        foretold = vmsnap.json("recover", "--dry-run") if self.dice.random() < 0.2 else None
        done = vmsnap.json("recover")
        assert done["failed"] == 0 and not done["dry_run"], done
        if foretold:
            assert [entry["action"] for entry in foretold["snapshots"]] == [
                entry["action"] for entry in done["snapshots"]], (foretold, done)
        again = vmsnap.json("recover")
        assert again["recovered"] == 0 and again["failed"] == 0, again


class Matrix:
    def __init__(self, folder, seed, names=None, variants=None, out=None):
        self.folder, self.seed, self.out = folder, seed, out
        self.jobs = {name: job for name, job in jobs.all_jobs().items()
                     if not names or name in names}
        self.variants = list(variants or report.COLUMNS)
        self.kills = collections.Counter()  # of (point's name, variant)
        self.missed, self.violations, self.learned = 0, [], {}
        assert points.known(), "there is no fail point in src"
        self.world = World(folder)
        self.begin = time.time()

    def count(self, point, variant):
        self.kills[(name_of(point), variant)] += 1

    def traced(self, job):
        """What it passes undisturbed; it is checked like any other."""
        if job.name not in self.learned:
            found = None
            for number in range(job.rounds):
                found = self.learn(job, f"{self.seed} learn {job.name} {number}", found)
            self.learned[job.name] = found
        return self.learned[job.name]

    def learn(self, job, dice, before):
        shot = Shot(self, job, dice)
        job.ready(shot)
        job.prepare(shot)
        found = points.trace(self.world.vmsnap, *job.args(shot))
        found.counts |= before.counts if before else found.counts
        records = audit.at_rest(self.world, shot.domain, shot.dice)
        job.finish(shot, records)
        assert audit.at_rest(self.world, shot.domain, shot.dice) == []
        return found

    def variants_of(self, job):
        """A domain that is off has no QEMU to be killed, unless it is restored with memory."""
        if self.world.domain(job.domain).runs:
            return self.variants
        return [variant for variant in self.variants if variant != "qemu"]

    def pick(self, job, dice):
        """Of what was struck least."""
        possible = self.variants_of(job)
        variant = dice.choices(possible, [WEIGHTS[name] for name in possible])[0]
        traced = self.traced(job)
        if dice.random() < 0.1 or not traced.counts:
            return variant, dice.uniform(0, traced.seconds * 1.05)
        least = min(self.kills[(name, variant)] for name in traced.counts)
        name = dice.choice(sorted(name for name in traced.counts
                                  if self.kills[(name, variant)] == least))
        return variant, f"{name}:{dice.randint(1, traced.counts[name])}"

    def point_of_recover(self, dice):
        """Whether it comes so far is another matter."""
        names = sorted(name for job, traced in self.learned.items() if job.startswith("recover-")
                       for name in traced.counts)
        return f"{dice.choice(names)}:{dice.randint(1, 2)}" if names else dice.uniform(0, 0.2)

    def one(self, job, dice):
        """Picks it, too. True where all held."""
        try:
            variant, point = self.pick(job, random.Random(dice))
        except Exception as error:  # pylint: disable=broad-except
            self.violation(Shot(self, job, dice), "vmsnap", "undisturbed", dice, error)
            return False
        begin = time.time()
        held = self.shoot(job, variant, point, dice)
        print(f"{job.name} {point} {variant}: {'held' if held else 'VIOLATED'}, "
              f"{time.time() - begin:.1f} s", flush=True)
        return held

    def shoot(self, job, variant, point, dice):
        """True where all held."""
        shot = Shot(self, job, dice)
        try:
            shot.run(variant, point)
        except Exception as error:  # pylint: disable=broad-except
            self.violation(shot, variant, point, dice, error)
            return False
        self.missed += not shot.reached
        return True

    def violation(self, shot, variant, point, dice, error):
        where = f"{point:.3f}" if isinstance(point, float) else point
        entry = {"job": shot.job.name, "point": where, "name": name_of(point),
                 "variant": variant, "dice": dice, "struck": shot.struck,
                 "text": f"{type(error).__name__}: {error}"[:4000],
                 "repeat": f"tests/crash/run --seed '{self.seed}' --job {shot.job.name} --point "
                           f"{where} --variant {variant} --dice '{dice}'"}
        self.violations.append(entry)
        print(f"VIOLATION {entry['job']} {where} {variant}: {entry['text'][:600]}\n"
              f"    {entry['repeat']}", flush=True)
        if self.out:
            self.keep(entry, error)
        self.world.close()
        self.world = World(self.folder, self.world.number + 1)

    def keep(self, entry, error):
        """As far as it can still be had."""
        folder = self.out / f"violation-{len(self.violations)}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "violation.json").write_text(json.dumps(entry, indent=1) + "\n")
        (folder / "traceback").write_text("".join(traceback.format_exception(error)))
        with contextlib.suppress(Exception):
            (folder / "state").write_text(describe(self.world))
        with contextlib.suppress(Exception):
            audit.keep_logs(self.world, folder)

    # ---- what is said in the end ----

    def write(self):
        """Whole at any time, in case that this is killed."""
        self.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.summary(), indent=1)
        (self.out / "summary.json.new").write_text(text + "\n")
        (self.out / "summary.json.new").rename(self.out / "summary.json")
        (self.out / "table.md").write_text(report.table(self.summary()) + "\n")

    def summary(self):
        rows = {}
        for (name, variant), count in sorted(self.kills.items()):
            rows.setdefault(name, dict.fromkeys(report.COLUMNS, 0))[variant] = count
        unreached = [name for name in points.known() if name not in rows]
        totals = {variant: sum(row[variant] for row in rows.values()) for variant in report.COLUMNS}
        return {"seed": self.seed, "seconds": round(time.time() - self.begin),
                "kills": sum(totals.values()), "totals": totals, "missed": self.missed,
                "points": rows, "unreached": unreached, "violations": self.violations}
