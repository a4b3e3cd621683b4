# SPDX-License-Identifier: LGPL-2.1-or-later
"""Replies that a real server gives on bad days only, or that no real server should give."""
import base64
import hashlib
import time
import urllib.parse

import pytest

from hostile import fault, page, unheard


def in_turn(*replies):
    """The replies one after the other, the last one for ever."""
    left = list(replies)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def test_retry_after(hostile, call):
    hostile.reply = in_turn(fault(503, "SlowDown", {"Retry-After": "2"}), (200, {}, b"hello"))
    result = call(hostile.env, "retry+s3:path", "get a")
    assert result.ok and result.seconds >= 2, result
    assert "HTTP 503 SlowDown" in result.messages and "retrying in 2.0 s" in result.messages


@pytest.mark.parametrize("status,code", [(500, "InternalError"), (502, ""), (503, "SlowDown"),
                                         (504, ""), (429, "TooManyRequests"),
                                         (400, "RequestTimeout"), (408, "")])
@pytest.mark.parametrize("command", ["put a 10", "put a 10 new", "get a", "has a", "list ",
                                     "remove a"])
def test_transient(hostile, call, status, code, command):
    hostile.reply = lambda request: fault(status, code)
    result = call(hostile.env, "s3:path", command)
    assert result.code == "transient" and f"HTTP {status}" in result.text, result


@pytest.mark.parametrize("reply,code,word", [
    (fault(403, "AccessDenied"), "auth", "AccessDenied"),
    (fault(403, "RequestTimeTooSkewed", {"Date": "Mon, 01 Jan 2001 00:00:00 GMT"}), "auth",
     "Mon, 01 Jan 2001"),
    (fault(403, "QuotaExceeded"), "no-space", "quota"),
    (fault(507, ""), "no-space", "507"),
    (fault(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-1"}), "usage", "eu-1"),
    (fault(307, "TemporaryRedirect", {"x-amz-bucket-region": "eu-1", "Location": "http://x/"}),
     "usage", "eu-1"),
    (fault(400, "AuthorizationHeaderMalformed", None, "<Region>eu-1</Region>"), "usage", "eu-1"),
    ((403, {}, b"<html>captive portal</html>"), "auth", "HTTP 403"),
    ((418, {}, b"\xff\x00\xfe"), "failed", "HTTP 418"),
])
@pytest.mark.parametrize("command", ["put a 10", "get a", "has a", "list "])
def test_final(hostile, call, reply, code, word, command):
    hostile.reply = lambda request: reply
    result = call(hostile.env, "retry+s3:path", command)
    assert result.code == code and word in result.text, result
    assert result.messages == ""


def test_short_body(hostile, call):
    hostile.reply = in_turn((200, {}, b"x" * 1000, 500), (200, {}, b"x" * 1000))
    result = call(hostile.env, "retry+s3:path", "get a")
    assert result.ok and result.output.startswith("ok 1000 "), result
    assert "retrying" in result.messages
    hostile.reply = lambda request: (206, {"Content-Range": "bytes 0-99/100"}, b"x" * 99)
    assert call(hostile.env, "s3:path", "get a 0 100").code == "transient"


@pytest.mark.parametrize("reply,code", [
    ((200, {}, b"x" * 5000), "unsupported"),                          # range ignored, all of it
    ((200, {}, b"x" * 100000), "failed"),
    ((200, {}, b"x" * 10), "unsupported"),
    ((206, {}, b"x" * 10), "failed"),                                 # no Content-Range
    ((206, {"Content-Range": "bytes 0-9/100"}, b"x" * 10), "failed"),  # of another offset
    ((206, {"Content-Range": "bytes 5-9/10"}, b"x" * 5), "corrupt"),  # the object is shorter
    ((206, {"Content-Range": "bytes 5-14/100"}, b"x" * 11), "failed"),  # more than asked for
])
def test_wrong_range(hostile, call, reply, code):
    hostile.reply = lambda request: reply
    result = call(hostile.env, "s3:path", "get a 5 10")
    assert result.code == code, result


# ---- conditional writes ----

class Keeper:
    """Keeps objects, and treats If-None-Match as told: "honour", "ignore" or a status."""

    def __init__(self, condition, etag=None, damage=False):
        self.objects = {}
        self.condition = condition
        self.etag = etag or (lambda body: hashlib.md5(body).hexdigest())
        self.damage = damage
        self.puts = 0

    def __call__(self, request):
        key = request.path
        if request.method == "PUT":
            self.puts += 1
            if request.headers.get("if-none-match") and self.condition != "ignore":
                if self.condition != "honour":
                    return fault(self.condition, "NotImplemented")
                if key in self.objects:
                    return fault(412, "PreconditionFailed")
            self.objects[key] = request.body[:-1] + b"!" if self.damage else request.body
            return 200, {"ETag": f'"{self.etag(request.body)}"'}, b""
        if key not in self.objects:
            return fault(404, "NoSuchKey")
        return 200, {}, self.objects[key]


@pytest.mark.parametrize("condition", ["honour", "ignore", 501, 400])
def test_only_new(hostile, call, condition):
    hostile.reply = Keeper(condition)
    result = call(hostile.env, "s3:path", "put a 10 new", "put b 20 new", "put a 30 new")
    assert result.code == "exists", result
    assert {len(body) for body in hostile.reply.objects.values()} == {10, 20}  # a is the first one


@pytest.mark.parametrize("mine", [True, False])
def test_only_new_sent_twice(hostile, call, mine):
    """The answer gets lost on a connection in use: curl sends the same again by itself, and that is refused. Only what is
    there tells whose it is."""
    keeper = Keeper("honour")

    def is_b(request):
        if request.method != "PUT" or request.path != "/bucket/b":
            return False
        if not mine:
            keeper.objects[request.path] = b"x" * len(request.body)
        return True
    hostile.reply, hostile.continues = unheard(keeper, is_b), False
    result = call(hostile.env, "retry+s3:path", "put a 10 new", "put b 20 new")
    assert result.ok if mine else result.code == "exists", result
    assert "was sent twice" in result.messages, result
    assert [request.path for request in hostile.requests if request.method == "PUT"] == \
        ["/bucket/a"] * 2 + ["/bucket/b"] * 3  # a once more to see whether the condition is understood; b: curl, retry


def test_etag_is_no_md5(hostile, call):
    hostile.reply = Keeper("honour", etag=lambda body: "0" * 32)
    result = call(hostile.env, "s3:path", "put a 10", "put b 10")
    assert result.ok, result
    gets = [request.path for request in hostile.requests if request.method == "GET"]
    assert gets == ["/bucket/a"]  # read back once, then known


def test_stored_wrongly(hostile, call):
    keeper = Keeper("honour", damage=True)
    keeper.etag = lambda body: hashlib.md5(body[:-1] + b"!").hexdigest()
    hostile.reply = keeper
    result = call(hostile.env, "s3:path", "put a 10")
    assert result.code == "transient" and "other bytes" in result.text, result


def test_checksum_sent(hostile, call):
    hostile.reply = Keeper("honour")
    assert call(hostile.env, "s3:path", "put a 1000").ok
    put = next(request for request in hostile.requests if request.method == "PUT")
    digest = hashlib.sha256(put.body)
    assert put.headers["x-amz-content-sha256"] == digest.hexdigest()
    assert put.headers["x-amz-checksum-sha256"] == base64.b64encode(digest.digest()).decode()
    signed = put.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    assert {"host", "x-amz-content-sha256", "x-amz-date"} <= set(signed)


def test_checksum_differs(hostile, call):
    hostile.reply = lambda request: (200, {"x-amz-checksum-sha256": "AAAA"}, b"")
    assert call(hostile.env, "s3:path", "put a 10").code == "transient"


# ---- listings ----

@pytest.mark.parametrize("reply,code", [
    ((200, {}, b"<html>please log in</html>"), "invalid"),
    ((200, {}, b""), "transient"),
    ((200, {}, page(["a"], False)[2][:-10]), "transient"),  # ends too early
    ((200, {}, b"<a>" * 100000), "invalid"),
    ((200, {}, b"<ListBucketResult>" + b" " * (17 << 20)), "failed"),
    (page(["b", "a"], False), "unsupported"),          # out of order
    (page(["a", "b"], True), "unsupported"),           # the same page for ever
    (page([], True), "unsupported"),
])
def test_list(hostile, call, reply, code):
    hostile.reply = lambda request: reply
    result = call(hostile.env, "s3:path", "list ")
    assert result.code == code, result


def test_list_outside_prefix(hostile, call):
    hostile.reply = lambda request: page(["other/a"], False)
    result = call(hostile.env | {"S3_PREFIX": "mine"}, "s3:path", "list ")
    assert result.code == "unsupported", result


def after_of(request):
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
    return query.get("start-after", [""])[0]


def test_list_inclusive(hostile, call):
    """A server that takes start-after as start-at."""
    keys = ["a", "b", "c", "d"]

    def reply(request):
        rest = [key for key in keys if key >= after_of(request)]
        return page(rest[:2], len(rest) > 2)
    hostile.reply = reply
    result = call(hostile.env, "s3:path", "list ")
    assert result.output.splitlines() == ["a 1", "b 1", "c 1", "d 1", "ok"], result


def test_list_goes_on(hostile, call):
    """Every second request fails: no name is told twice, none is lost, no page asked for again."""
    keys = [f"k{i:02}" for i in range(20)]

    def reply(request):
        if len(hostile.requests) % 2 == 0:
            return fault(503, "SlowDown")
        rest = [key for key in keys if key > after_of(request)]
        return page(rest[:2], len(rest) > 2)
    hostile.reply = reply
    result = call(hostile.env, "retry+s3:path", "list ")
    assert result.ok, result
    assert result.output.splitlines() == [f"{key} 1" for key in keys] + ["ok"]
    assert len(hostile.requests) == 19


# ---- the way there ----

def test_proxy(hostile, call):
    hostile.reply = lambda request: (200, {}, b"hello")
    env = hostile.env | {"S3_ENDPOINT": "http://s3.example.org", "http_proxy": hostile.url,
                         "NO_PROXY": ""}
    assert call(env, "s3:path", "get a").ok
    assert hostile.requests[0].path == "http://s3.example.org/bucket/a"


def test_keep_alive(hostile, call):
    hostile.reply = lambda request: (200, {}, b"hello")
    ports = set()
    real = hostile.finish_request

    def finish_request(request, address):
        ports.add(address)
        real(request, address)
    hostile.finish_request = finish_request
    assert call(hostile.env, "s3:path", *["get a"] * 20).ok
    assert len(ports) == 1


def test_closed_between(hostile, call):
    """A kept-alive connection that the server has closed is no error and no retry."""
    hostile.reply = lambda request: (200, {}, b"hello", 5)
    result = call(hostile.env, "retry+s3:path", *["get a"] * 5)
    assert result.ok and result.messages == "", result
    hostile.reply = lambda request: (200, {"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'}, b"", 0)
    result = call(hostile.env, "retry+s3:path", *["put a 100"] * 5)
    assert result.ok and result.messages == "", result


def test_stall(hostile, call):
    hostile.reply = lambda request: time.sleep(6) or (200, {}, b"")
    result = call(hostile.env, "s3:path", "get a", STORE_STALL_S="2")
    assert result.code == "transient" and result.seconds < 5, result
