# SPDX-License-Identifier: LGPL-2.1-or-later
"""Exports to an S3 server behind a proxy that breaks requests. Each kind of fault on each kind of request by itself:
tests/conformance/test_faults.py."""
import contextlib

import pytest

import guest  # noqa: F401  (puts tests/lab into the path)
from faults import Proxy, Rule
from tool import AUTH

WRITES = {"put", "put-new", "create", "part", "complete"}
ANYTHING = ["500", "503", "error-200", "reset-before", "reset-in", "reset-after", "cut-head", "cut-body", "garbage"]


@pytest.fixture
def through(vmsnap):
    """A fresh repository, and the same one by way of a proxy with rules."""
    @contextlib.contextmanager
    def behind(*rules, seed=None):
        name = vmsnap.fresh("s3")
        with Proxy(vmsnap.repositories[name]["endpoint"], *rules, seed=seed) as proxy:
            vmsnap.add("broken", **{**vmsnap.repositories[name], "endpoint": proxy.url})
            yield name, proxy
    return behind


def check(vmsnap, name, snapshot, domain):
    """The disks are those of the domain, which is shut off; every byte of the repository is right."""
    vmsnap.run("verify", snapshot, "--from", name)
    restic = vmsnap.restic(name)
    assert "no errors were found" in restic.run("check", "--read-data")
    for target, sha256 in domain.sha256.items():
        assert restic.dump_sha256(snapshot, f"/{domain.name}/{target}/disk.raw") == sha256


@pytest.mark.parametrize("seed", [1, 2])
def test_unsure_store(vmsnap, captured, shut_off, through, seed):
    """Every tenth request fails in one way or another, and the export goes through."""
    rules = [Rule(fault, chance=0.012) for fault in ANYTHING]
    rules = [Rule("503", "put", nth=2), Rule("reset-after", "put", nth=3), Rule("damaged", "put", nth=4), *rules]
    with through(*rules, seed=seed) as (name, proxy):
        result = vmsnap.run("export", captured.name, "--to", "broken", "--json")
        assert proxy.broken.total() >= 3, proxy.broken
        assert "retrying in" in result.err
        check(vmsnap, name, result.json["snapshot"]["repository"]["snapshot"], shut_off)


def test_keys_run_out(vmsnap, captured, shut_off, through):
    """In the middle of an export, and there are no others: said, not tried again and again, and nothing is lost."""
    with through(Rule("expired", WRITES, nth=3, times=None)) as (name, proxy):
        vmsnap.fails(AUTH, "export", captured.name, "--to", "broken", says=["expired", proxy.url, "put "])
        captured.is_captured()
        assert proxy.broken.total() <= 2 * 8, proxy.broken  # each upload under way once, and what clears up
        check(vmsnap, name, vmsnap.export_id(captured.name, "--to", name), shut_off)
