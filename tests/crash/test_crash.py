# SPDX-License-Identifier: LGPL-2.1-or-later
"""A sample of the crash matrix: some of the jobs, of each an undisturbed run and then some kills.
VMSNAP_CRASH_SEED picks jobs, points and variants. tests/crash/run goes on for hours."""
import os
import random

import pytest

import jobs
from conftest import JOBS, SEED, SHOTS


def sample():
    """In the Debian 13 root only what the machine's own run cannot do."""
    names = list(jobs.all_jobs())
    if os.environ.get("VMSNAP_TEST_WHERE") == "debian13":
        return random.Random(SEED).sample([name for name in names if "cow" in name], 4)
    return random.Random(SEED).sample(names, min(JOBS, len(names)))


@pytest.mark.parametrize("name", sample())
def test_killed(matrix, name):
    job = matrix.jobs[name]
    for number in range(SHOTS):
        assert matrix.one(job, f"{SEED} {name} {number}"), matrix.tally.violations[-1]
