# SPDX-License-Identifier: LGPL-2.1-or-later
"""The crash matrix stands on what tests/vm has: domains, repositories, judges."""
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))
signal.signal(signal.SIGINT, signal.default_int_handler)

SEED = os.environ.get("VMSNAP_CRASH_SEED") or "1"
JOBS = int(os.environ.get("VMSNAP_CRASH_JOBS", "8"))
SHOTS = int(os.environ.get("VMSNAP_CRASH_SHOTS", "3"))
OUT = os.environ.get("VMSNAP_CRASH_OUT")


def pytest_report_header(config):
    return f"VMSNAP_CRASH_SEED={SEED} VMSNAP_CRASH_JOBS={JOBS} VMSNAP_CRASH_SHOTS={SHOTS}"


@pytest.fixture(scope="session")
def matrix():
    from matrix import Matrix  # pylint: disable=import-outside-toplevel
    folder = Path(os.environ["LAB_DIR"]) / "crash"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    matrix = Matrix(folder, SEED, out=Path(OUT) if OUT else None)
    yield matrix
    if OUT:
        matrix.tally.write()
    matrix.world.close()
    shutil.rmtree(folder)
