# SPDX-License-Identifier: LGPL-2.1-or-later
"""One kill and all that is checked after it."""
import contextlib
import random

import audit
import points
from strike import Strike
from tool import DONE, INTERRUPTED


class Shot:
    """dice decides all that is left to chance in it, but for the further kills: chosen are those,
    (variant, point) in their order, for whoever repeats it."""

    def __init__(self, matrix, job, dice, chosen=()):
        self.matrix, self.world, self.job = matrix, matrix.world, job
        self.dice, self.name, self.given = random.Random(dice), dice, list(chosen)
        self.domain = self.place = self.cut = self.below = None
        self.killed, self.struck, self.chosen = set(), [], []
        self.kills = []  # (point's name, variant, of recover); they count once all is checked
        self.lost = False  # by the last kill, the domain
        self.reached = self.hit = False  # ever; by the last kill

    def choose(self, aim):
        """Variant and point by aim(dice), or the next of those that are given."""
        dice = random.Random(f"{self.name} {len(self.chosen)}")
        found = self.given.pop(0) if self.given else aim(dice)
        self.chosen.append(found)
        return found

    def strike(self, job, variant, point, *args, forlorn=None):
        """job is the one that args are of, None for recover. forlorn: as in Strike."""
        self.struck.append(f"{variant} {point}: {' '.join(str(arg) for arg in args)}")
        interrupted = job.interrupted if job else None
        with job.meanwhile(self) if job else contextlib.nullcontext() as writing:
            strike = Strike(self.world, self.domain, variant, point, self.dice, interrupted, writing,
                            forlorn)
            strike.run(*args)
        self.lost = strike.lost
        result, ends = strike.result, job.ends if job else (DONE,)
        assert strike.done or result.status in (*ends, INTERRUPTED if interrupted else DONE), result
        self.matrix.passed(job, self.job, points.passed(self.world.vmsnap))
        if strike.done:
            self.kills.append((points.name_of(point), variant, args[0] == "recover"))
            self.killed |= {variant, "vmsnap"}
        else:
            self.matrix.miss(point, variant)
        return strike.done

    def run(self, variant, point):
        job = self.job
        job.ready(self)
        job.prepare(self)
        records = self.kill(job, variant, point)
        while self.dice.random() < 0.7 and job.again(self, records):
            records = self.kill(job, *self.choose(lambda dice: self.matrix.aim_again(job, dice)))
        job.finish(self, records)
        assert audit.at_rest(self.world, self.domain, self.dice) == [], "something is left in the end"

    def kill(self, job, variant, point):
        """The records of what is on the host, after recover."""
        self.killed = set()
        self.hit = self.strike(job, variant, point, *job.args(self))
        self.reached = self.reached or self.hit
        domain = self.domain
        runs = domain.runs
        if self.lost and runs and not domain.is_up():
            domain.runs = self.dice.random() < 0.5  # it is started again before recover, or after
            if domain.runs:
                domain.start()
        try:
            while self.dice.random() < 0.5:  # it is killed, too
                self.strike(None, *self.choose(lambda dice: self.matrix.aim_at_recover(job, dice)),
                            "recover")
            self.recover()
            records = audit.at_rest(self.world, domain, self.dice)
        finally:
            domain.runs = runs
        if runs and not domain.is_up():
            domain.start()
        return records

    def recover(self):
        vmsnap = self.world.vmsnap
        foretold = vmsnap.json("recover", "--dry-run") if self.dice.random() < 0.2 else None
        done = vmsnap.json("recover", env=points.tracing(vmsnap))
        self.matrix.passed(None, self.job, points.passed(vmsnap))
        assert done["failed"] == 0 and not done["dry_run"], done
        if foretold:
            assert [entry["action"] for entry in foretold["snapshots"]] == [
                entry["action"] for entry in done["snapshots"]], (foretold, done)
        again = vmsnap.json("recover")
        assert again["recovered"] == 0 and again["failed"] == 0, again
