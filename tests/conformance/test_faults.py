# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every fault on every kind of request, by a proxy before a real server: the right answer or a clear error, a bounded
number of requests, and at the server whole objects or none."""
import concurrent.futures
import re
import subprocess

import pytest

from faults import Proxy, Rule

TRIES = 3
PART_SIZE = (5 << 20) + 10
# What makes a request of the kind, and what tells whether it worked.
KINDS = {
    "put": ["put o 1000", "get o"],
    "put-new": ["put o 1000 new", "get o"],
    "get": ["put o 1000", "get o"],
    "range": ["put o 1000", "get o 10 100"],
    "head": ["put o 1000", "has o"],
    "list": ["put d/o 1000", "list d/"],
    "delete": ["put o 1000", "remove o", "has o"],
    "create": ["parts o", "get o"],
    "part": ["parts o", "get o"],
    "complete": ["parts o", "get o"],
    "uploads": ["abort 0"],
    "parts": ["abort 0"],
    "abort": ["abort 0"],
}
MULTIPART = {"create", "part", "complete"}
SWEEPS = {"uploads", "parts", "abort"}
# fault: what is said when it does not go away. It is tried again, except for the last two.
FAULTS = {
    "500": "HTTP 500", "503": "HTTP 503", "429": "HTTP 429", "error-200": "InternalError",
    "reset-before": "127.0.0.1", "reset-in": "127.0.0.1", "reset-after": "127.0.0.1", "garbage": "127.0.0.1",
    "cut-head": "", "cut-body": "127.0.0.1", "stall": "127.0.0.1", "stall-in": "127.0.0.1",
    "damaged": "damaged on the way", "wrong-etag": "other bytes",
    "expired": "session token has expired", "skew": "2001",
}
FINAL = {"expired", "skew"}
# The server is not asked, or does nothing: there can be no success while it lasts.
NEVER = FINAL | {"500", "503", "429", "error-200", "reset-before", "stall", "garbage", "damaged"}
ONLY = {  # a bit that is wrong in a reply is seen by who knows what is in it: src/repo
    "damaged": {"put", "put-new", "part", "complete"},
    "wrong-etag": {"put", "put-new", "part", "head"},
    "error-200": set(KINDS) - {"head"},  # which has no body to hold one
    "tls-garbage": {"put", "get", "range", "list", "delete", "part", "complete"},
    "tls-handshake": {"put", "get", "head", "list", "part"},
}


def upload_left(server, prefix):
    status, text = server.request("POST", f"/{server.env['S3_BUCKET']}/{prefix}/left?uploads=")
    assert status == 200, text


def pending(server, prefix):
    """Keys of unfinished uploads below the prefix."""
    status, text = server.request("GET", f"/{server.env['S3_BUCKET']}/?uploads=")
    assert status == 200, text
    return [key for key in re.findall("<Key>([^<]*)</Key>", text) if key.startswith(prefix + "/")]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Of the proxy's own: with its key, and without."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=proxy",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "ca.pem"],
                   check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "key").read_text() + (folder / "ca.pem").read_text())
    return folder / "both.pem", folder / "ca.pem"


class Cell:
    """One kind of request under one fault; mode: the first request ("cold"), or one on a connection that is in use
    ("warm"), fails once; or all of them do ("always")."""

    whole = None  # SHA-256 of the object in parts

    def __init__(self, server, call, fault, kind, mode, certificate=None):
        self.server, self.call, self.fault, self.kind, self.mode = server, call, fault, kind, mode
        self.certificate = certificate
        self.prefix = f"faults/{'tls-' if certificate else ''}{fault}/{kind}-{mode}"

    def run(self):
        """None, or what is wrong."""
        kinds = {self.kind}
        if self.kind == "head" and self.fault in FINAL:
            kinds = {"head", "range"}  # the second is asked for the words that the first cannot have
        rule = Rule(self.fault, kinds, times=None if self.mode == "always" else 1)
        pem, ca = self.certificate or (None, "")
        if self.kind in SWEEPS:
            upload_left(self.server, self.prefix)
        commands = KINDS[self.kind]
        with Proxy(self.server.env["S3_ENDPOINT"], certificate=pem) as proxy:
            proxy.rules.append(rule)
            env = self.server.env | {"S3_ENDPOINT": proxy.url, "S3_PREFIX": self.prefix, "STORE_TRIES": "2" if self.fault.startswith("stall") else str(TRIES),
                                     "STORE_DELAY_MS": "10", "STORE_STALL_S": "1", "S3_CA_FILE": str(ca) or None}
            warm = [] if self.mode == "cold" else ["list never/" if self.kind == "delete" else "remove never"]
            result = self.call(env, "retry+s3:path", *warm, *commands)
        wrong = self.wrong(result, proxy)
        return wrong and f"{self.kind} {self.mode}: {wrong}\n{result}{dict(proxy.asked)} {dict(proxy.broken)}"

    def wrong(self, result, proxy):
        if not sum(proxy.broken.values()):
            return "the fault never happened"
        asked, warm = proxy.asked[self.kind], self.mode != "cold"
        if self.fault in FINAL:
            return self.wrong_refusal(result, asked)
        # curl sends once more by itself where a connection in use breaks without a word; put-new is also a probe
        if asked > (2 * TRIES if self.mode == "always" else 4):
            return f"asked {asked} times"
        if result.ok:
            return "cannot be" if self.mode == "always" and self.fault in NEVER else self.wrong_answer(result, warm)
        if self.mode != "always":
            return "once is not for ever"
        if result.code != "transient" or FAULTS.get(self.fault, "127.0.0.1") not in result.text:
            return "not the error that was expected"
        if self.kind not in SWEEPS and not re.search("(put o|get o|look for o|remove o|list d/): ", result.text):
            return "does not name the object"
        return None

    def wrong_refusal(self, result, asked):
        if result.ok or result.code != "auth" or FAULTS[self.fault] not in result.text or result.messages:
            return "not refused"
        return f"asked {asked} times" if asked > 1 else None

    def wrong_answer(self, result, warm):
        lines = result.output.splitlines()[1 if warm else 0:]
        first = [line.split()[1:] for line in lines]
        expected = {
            "put": first[0] == first[-1] and first[0][:1] == ["1000"],
            "put-new": first[0] == first[-1] and first[0][:1] == ["1000"],
            "get": first[0] == first[-1] and first[0][:1] == ["1000"],
            "range": first[-1][:1] == ["100"],
            "head": lines[-1] == "ok yes 1000",
            "list": lines[1:] == ["d/o 1000", "ok"],
            "delete": lines[1:] == ["ok", "ok no"],
            **dict.fromkeys(MULTIPART, first[-1] == [str(PART_SIZE), self.whole]),
            # an upload that was dropped, and nobody heard of it
            **dict.fromkeys(SWEEPS, lines == ["ok 1"] or (self.kind == "abort" and lines == ["ok 0"])),
        }
        return None if expected[self.kind] else "a wrong answer"


@pytest.fixture(autouse=True)
def whole(plain, call):
    """What the object in parts is, when nothing is in the way."""
    if Cell.whole:
        return
    result = call(plain.env | {"S3_PREFIX": "faults/none"}, "s3:path", "parts o", "get o")
    Cell.whole = result.output.split()[-1]


def run_cells(server, call, fault, certificate=None, kinds=None):
    modes = ["warm", "always"] + (["cold"] if fault.startswith(("reset", "cut")) else [])
    if fault in FINAL:
        modes = ["always"]
    if fault == "garbage":
        modes.remove("always")  # the cold one is another error: test_s3_errors.py
    cells = [Cell(server, call, fault, kind, mode, certificate) for mode in modes
             for kind in kinds or ONLY.get(fault, KINDS)]
    workers = len(cells) if fault.startswith("stall") else 6  # to wait for the same seconds
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        wrong = [text for text in pool.map(Cell.run, cells) if text]
    assert not wrong, "\n\n".join(wrong)
    check_server(server, call, cells)


def check_server(server, call, cells):
    """Whole objects or none, and no upload that the next sweep does not find."""
    place = cells[0].prefix.rpartition("/")[0]
    env = server.env | {"S3_PREFIX": place}
    sizes = {f"{cell.kind}-{cell.mode}/{'d/' if cell.kind == 'list' else ''}o":
             PART_SIZE if cell.kind in MULTIPART else 1000 for cell in cells if cell.kind not in SWEEPS}
    result = call(env, "s3:path", "list ")
    assert result.ok, result
    there = dict(line.split() for line in result.output.splitlines()[:-1])
    assert there.items() <= {name: str(size) for name, size in sizes.items()}.items(), result
    # of a create whose answer got lost, nobody knows the upload's name; the next handshake may be that of the last word
    left = {key.split("/")[2].rpartition("-")[0] for key in pending(server, place)}
    assert left <= SWEEPS | {"create"} | ({"part"} if cells[0].fault == "tls-handshake" else set()), left
    assert call(env, "s3:path", "abort 0").ok
    assert not pending(server, place)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(plain, call, fault):
    run_cells(plain, call, fault)


@pytest.mark.parametrize("fault", ["tls-garbage", "tls-handshake", "reset-in", "cut-body"])
def test_faults_in_tls(plain, call, certificate, fault):
    run_cells(plain, call, fault, certificate, ONLY["tls-garbage"] & ONLY.get(fault, set(KINDS)))
