# SPDX-License-Identifier: LGPL-2.1-or-later
"""One kill after the other: picking what was hit least, doing it, keeping what a violation left."""
import collections
import contextlib
import gc
import json
import random
import time
import traceback

import audit
import jobs
import points
import report
from shot import Shot
from tally import Tally
from world import World, describe

WEIGHTS = {"vmsnap": 3, "qemu": 1, "libvirtd": 1, "host": 1}  # recover adds kills of vmsnap alone
SLOW = 0.15  # how often a job is taken that takes long, as against one that does not


class Matrix:
    def __init__(self, folder, seed, names=None, variants=None, out=None):
        self.folder, self.seed, self.out = folder, seed, out
        self.jobs = {name: job for name, job in jobs.all_jobs().items()
                     if not names or name in names}
        self.variants = list(variants or report.COLUMNS)
        self.after = {}  # {job: Counter of what recover passed after it}
        self.tally = Tally(seed, out)
        self.learned = self.tally.learned  # {job: Traced}
        self.missed = collections.Counter()  # of (point's name, variant): it was not reached
        assert points.known(), "there is no fail point in src"
        gc.freeze()  # each start of vmsnap collects garbage: not among what stays
        self.world = World(folder)

    # ---- where to ----

    def learn_all(self):
        """A job that does not even succeed undisturbed is a violation, and left out."""
        for job in list(self.jobs.values()):
            try:
                self.traced(job)
            except Exception as error:  # pylint: disable=broad-except
                self.violation(Shot(self, job, ""), "vmsnap", "undisturbed", error)
                del self.jobs[job.name]

    def traced(self, job):
        """What it passes undisturbed; it is checked like any other."""
        if job.name not in self.learned:
            self.learned[job.name] = self.learn(job, f"{self.seed} learn {job.name}")
        return self.learned[job.name]

    def learn(self, job, dice):
        shot = Shot(self, job, dice)
        job.ready(shot)
        job.prepare(shot)
        with job.meanwhile(shot):
            found = points.trace(self.world.vmsnap, job.args(shot), job.interrupted, job.ends)
        records = audit.at_rest(self.world, shot.domain, shot.dice)
        job.finish(shot, records)
        assert audit.at_rest(self.world, shot.domain, shot.dice) == []
        self.tally.count(shot.kills)
        return found

    def passed(self, job, whose, names):
        """In a run that was disturbed, of job or, without, of recover after it."""
        if job is None:
            self.after.setdefault(whose.name, collections.Counter()).update(set(names))
        elif job.name in self.learned:
            self.learned[job.name].counts |= collections.Counter(names)

    def miss(self, point, variant):
        self.missed[(points.name_of(point), variant)] += 1

    def tries(self, name, variant):
        return self.tally.kills[(name, variant)] + self.missed[(name, variant)]

    def variants_of(self, job):
        """A domain that is off has no QEMU to be killed, unless it is restored with memory."""
        return [variant for variant in self.variants if variant != "qemu" or job.domain not in ("off", "beside")]

    def variant(self, possible, dice):
        return dice.choices(possible, [WEIGHTS[name] for name in possible])[0]

    def least(self, job, variant):
        return min((self.tries(name, variant) for name in self.traced(job).counts), default=0)

    def aim(self, job, dice, variant=None):
        """Variant, and a point of that job that was hit least; once in so many any moment."""
        variant = variant or self.variant(self.variants_of(job), dice)
        traced = self.traced(job)
        if dice.random() < 0.1 or not traced.counts:
            return variant, dice.uniform(0, traced.seconds * 1.05)
        least = self.least(job, variant)
        name = dice.choice(sorted(name for name in traced.counts
                                  if self.tries(name, variant) == least))
        return variant, f"{name}:{dice.randint(1, traced.counts[name])}"

    def aim_again(self, job, dice):
        """A Linux that would have to boot each time is spared."""
        possible = self.variants_of(job)
        if job.domain == "linux":
            possible = [name for name in possible if name in ("vmsnap", "libvirtd")] or possible
        return self.aim(job, dice, self.variant(possible, dice))

    def aim_at_recover(self, job, dice):
        """Whether it comes so far is another matter."""
        names = sorted(self.after.get(job.name, ()), key=lambda name: (self.tries(name, "vmsnap"), name))
        if dice.random() < 0.1 or not names:
            return "vmsnap", dice.uniform(0, 0.2)
        return "vmsnap", f"{dice.choice(names[:4])}:{dice.choice((1, 1, 2))}"

    def next(self, dice):
        """A job and a variant; mostly where something was hit least."""
        variant = self.variant(self.variants, dice)
        possible = [job for job in self.jobs.values() if variant in self.variants_of(job)]
        possible = [job for job in possible
                    if not (job.slow or job.domain in ("linux", "big")) or dice.random() < SLOW] or possible
        if dice.random() < 0.7:
            least = min(self.least(job, variant) for job in possible)
            possible = [job for job in possible if self.least(job, variant) == least]
        return dice.choice(possible), variant

    # ---- doing it ----

    def one(self, job, dice, variant=None):
        """Picks it, too. True where all held."""
        try:
            variant, point = self.aim(job, random.Random(dice), variant)
        except Exception as error:  # pylint: disable=broad-except
            self.violation(Shot(self, job, dice), "vmsnap", "undisturbed", error)
            return False
        return self.shoot(job, variant, point, dice)

    def shoot(self, job, variant, point, dice, chosen=()):
        """True where all held."""
        shot, begin = Shot(self, job, dice, chosen), time.time()
        try:
            shot.run(variant, point)
        except Exception as error:  # pylint: disable=broad-except
            self.violation(shot, variant, point, error)
            return False
        self.tally.count(shot.kills)
        if not shot.reached:
            self.tally.miss()
        print(f"{job.name} {point} {variant}: {len(shot.kills)} held, {time.time() - begin:.1f} s",
              flush=True)
        return True

    def violation(self, shot, variant, point, error):
        where, *then = (f"{point:.3f}" if isinstance(point, float) else point
                        for point in (point, *(point for _, point in shot.chosen)))
        then = zip((also for also, _ in shot.chosen), then)
        entry = {"job": shot.job.name, "point": where, "name": points.name_of(point),
                 "variant": variant, "dice": shot.name, "struck": shot.struck,
                 "text": f"{type(error).__name__}: {error}"[:4000],
                 "repeat": f"tests/crash/run --seed '{self.seed}' --job {shot.job.name} --point "
                           f"{where} --variant {variant} --dice '{shot.name}'" +
                           "".join(f" --then {also},{name}" for also, name in then)}
        self.tally.violation(entry)
        print(f"VIOLATION {entry['job']} {where} {variant}: {entry['text'][:600]}\n"
              f"    {entry['repeat']}", flush=True)
        if self.out:
            self.keep(entry, error)
        self.world.close()
        self.world = World(self.folder, self.world.number + 1)

    def keep(self, entry, error):
        """As far as it can still be had."""
        folder = self.out / f"violation-{len(self.tally.violations)}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "violation.json").write_text(json.dumps(entry, indent=1) + "\n")
        (folder / "traceback").write_text("".join(traceback.format_exception(error)))
        with contextlib.suppress(Exception):
            (folder / "state").write_text(describe(self.world))
        with contextlib.suppress(Exception):
            audit.keep_logs(self.world, folder)
