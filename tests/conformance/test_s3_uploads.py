# SPDX-License-Identifier: LGPL-2.1-or-later
"""Objects in parts (multipart uploads): what a real server does, and what one does on bad days."""
import base64
import hashlib
import re
import urllib.parse
import xml.etree.ElementTree as ET

import pytest

from hostile import fault, unheard

MIB = 1 << 20
SIZE = 17 * MIB  # two parts: 16 and 1 MiB
UPLOAD = f"upload a {SIZE}"
OLD, NEW = "2001-01-01T00:00:00.000Z", "2101-01-01T00:00:00.000Z"


def md5(data):
    return hashlib.md5(data).digest()


class Bucket:
    """Enough of S3. Members that a test sets: bad(request, query) may answer in its place."""

    def __init__(self):
        self.objects, self.uploads, self.log = {}, {}, []
        self.bad = lambda request, query: None
        self.etag = lambda data: md5(data).hex()

    def __call__(self, request):
        parts = urllib.parse.urlsplit(request.path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.log.append((request.method, *sorted(query)))
        answer = self.bad(request, query)
        return answer if answer is not None else self.answer(request, parts.path, query)

    def answer(self, request, key, query):
        if request.method == "POST" and "uploads" in query:
            self.uploads[f"id.{len(self.uploads)}"] = {}
            return 200, {}, (f"<InitiateMultipartUploadResult><UploadId>id.{len(self.uploads) - 1}"
                             "</UploadId></InitiateMultipartUploadResult>").encode()
        if "uploadId" in query and query["uploadId"] not in self.uploads:
            return fault(404, "NoSuchUpload")
        if request.method == "PUT" and "partNumber" in query:
            self.uploads[query["uploadId"]][int(query["partNumber"])] = request.body
            return 200, {"ETag": f'"{self.etag(request.body)}"'}, b""
        if request.method == "POST":
            return self.complete(key, query["uploadId"], request.body)
        if request.method == "DELETE":
            self.uploads.pop(query.get("uploadId"), None)
            if "uploadId" not in query:
                self.objects.pop(key, None)
            return 204, {}, b""
        if request.method == "PUT":
            self.objects[key] = request.body, self.etag(request.body)
            return 200, {"ETag": f'"{self.etag(request.body)}"'}, b""
        if key not in self.objects:
            return fault(404, "NoSuchKey")
        return 200, {"ETag": f'"{self.objects[key][1]}"'}, self.objects[key][0]

    def complete(self, key, upload, body):
        parts = self.uploads.pop(upload)
        named = [int(part[0].text) for part in ET.fromstring(body)]
        data = b"".join(parts[number] for number in named)
        self.objects[key] = data, f"{md5(b''.join(md5(parts[n]) for n in named)).hex()}-{len(named)}"
        return 200, {}, b"<CompleteMultipartUploadResult/>"


@pytest.fixture
def bucket(hostile):
    hostile.reply = Bucket()
    return hostile.reply


def once(match, *answers):
    """bad() that gives these answers, one after the other, to requests that match."""
    left = list(answers)

    def bad(request, query):
        return left.pop(0) if left and match(request, query) else None
    return bad


def is_part(request, query):
    return query.get("partNumber") == "2"


def is_complete(request, query):
    return request.method == "POST" and "uploadId" in query


def assert_stored(bucket, result):
    assert result.ok, result
    assert hashlib.sha256(bucket.objects["/bucket/a"][0]).hexdigest() == result.output.split()[2]
    assert list(bucket.objects) == ["/bucket/a"] and not bucket.uploads


# ---- a real server ----

def pending(server):
    status, text = server.request("GET", f"/{server.env['S3_BUCKET']}/?uploads=")
    assert status == 200
    return len(re.findall("<Upload>", text))


def hang(call, env):
    waiting = call(env, "s3:path", f"hang deep/a.qcow2 {SIZE}", wait=False).process
    assert waiting.stdout.readline() == "begun\n"
    waiting.kill()
    waiting.communicate()


def test_killed(plain, call):
    mine, other = (plain.env | {"S3_PREFIX": prefix} for prefix in ("killed/mine", "killed/other"))
    before = pending(plain)
    hang(call, mine)
    hang(call, other)
    assert pending(plain) == before + 2
    assert call(mine, "s3:path", "abort 86400").output == "ok 0\n"
    assert pending(plain) == before + 2
    assert call(mine, "retry+s3:path", "abort 0").output == "ok 1\n"
    assert pending(plain) == before + 1  # the other place is not ours
    assert call(other, "s3:virtual", "abort 0", f"upload b {SIZE}", "list ").ok
    assert pending(plain) == before


# ---- parts ----

def test_sums_sent(bucket, hostile, call):
    assert_stored(bucket, call(hostile.env, "s3:path", UPLOAD))
    for request in hostile.requests:
        if request.body:
            assert request.headers["x-amz-content-sha256"] == hashlib.sha256(request.body).hexdigest()
            assert request.headers["content-md5"] == base64.b64encode(md5(request.body)).decode()
            assert "x-amz-checksum-sha256" not in request.headers
    assert sorted(len(r.body) for r in hostile.requests if r.method == "PUT") == [MIB, 16 * MIB]


@pytest.mark.parametrize("answer", [fault(503, "SlowDown"), (500, {}, b""),
                                    fault(400, "BadDigest"), (200, {"ETag": f'"{"0" * 32}"'}, b"")])
def test_part_again(bucket, hostile, call, answer):
    bucket.bad = once(is_part, answer)
    result = call(hostile.env, "retry+s3:path", UPLOAD)
    assert "put a, part 2" in result.messages and "retrying" in result.messages
    bucket.objects.pop("/bucket/a.probe-1", None)
    assert_stored(bucket, result)


def test_part_cut(bucket, hostile, call):
    real = bucket.answer
    cut = []

    def answer(request, key, query):
        if is_part(request, query) and not cut:
            cut.append(request)
            return 200, {"Content-Length": "10"}, b"", 0
        return real(request, key, query)
    bucket.answer = answer
    result = call(hostile.env, "retry+s3:path", UPLOAD)
    assert cut and "retrying" in result.messages
    assert_stored(bucket, result)


@pytest.mark.parametrize("answer,code", [(fault(503, "SlowDown"), "transient"),
                                         (fault(403, "AccessDenied"), "auth"),
                                         (fault(403, "QuotaExceeded"), "no-space"),
                                         (fault(404, "NoSuchUpload"), "not-found"),
                                         ((200, {}, b""), "failed"),
                                         ((200, {"ETag": f'"{"0" * 32}"'}, b""), "transient")])
def test_part_fails(bucket, hostile, call, answer, code):
    """Nothing is left behind, and nothing was made of the others."""
    bucket.bad = lambda request, query: answer if is_part(request, query) else None
    result = call(hostile.env, "s3:path", UPLOAD)
    assert result.code == code and "put a, part 2" in result.text, result
    assert not bucket.uploads and not bucket.objects
    assert ("DELETE", "uploadId") in bucket.log


def test_etag_is_no_md5(bucket, hostile, call):
    """Of anything: a small object tells, and is removed."""
    bucket.etag = lambda data: "0" * 32
    assert_stored(bucket, call(hostile.env, "s3:path", UPLOAD))


@pytest.mark.parametrize("answer,code", [
    ((200, {}, b""), "transient"), ((200, {}, b"<html/>"), "invalid"),
    ((200, {}, b"<InitiateMultipartUploadResult><UploadId>a+b</UploadId></InitiateMultipartUploadResult>"),
     "invalid")])
def test_no_id(bucket, hostile, call, answer, code):
    bucket.bad = once(lambda request, query: "uploads" in query, answer)
    assert call(hostile.env, "s3:path", UPLOAD).code == code


# ---- the end of it ----

IN_BODY = (200, {}, fault(500, "InternalError")[2])


@pytest.mark.parametrize("answer", [fault(503, "SlowDown"), IN_BODY, (200, {}, b"<html/>")])
def test_complete_again(bucket, hostile, call, answer):
    bucket.bad = once(is_complete, answer)
    assert_stored(bucket, call(hostile.env, "retry+s3:path", UPLOAD))
    assert call(hostile.env, "s3:path", UPLOAD).ok
    bucket.objects.clear()
    bucket.bad = once(is_complete, answer)
    result = call(hostile.env, "s3:path", UPLOAD)
    assert result.code == "transient" and not bucket.objects and not bucket.uploads, result


def test_complete_unheard(bucket, hostile, call):
    """The object was made, the answer got lost: the next request finds no upload any more."""
    def bad(request, query):
        if is_complete(request, query) and bucket.uploads:
            bucket.answer(request, "/bucket/a", query)
            return 200, {"Content-Length": "100"}, b"<Complete", 9
        return None
    bucket.bad = bad
    assert_stored(bucket, call(hostile.env, "retry+s3:path", UPLOAD))


def test_complete_sent_twice(bucket, hostile, call):
    """The same on a connection in use: curl itself sends the next request, and nothing is tried again."""
    hostile.reply = unheard(bucket, lambda request: request.method == "POST" and "uploadId=" in request.path)
    hostile.continues = False
    assert_stored(bucket, call(hostile.env, "s3:path", UPLOAD))
    assert bucket.log.count(("POST", "uploadId")) == 2


@pytest.mark.parametrize("cut", [(), [(200, {"Content-Length": str(SIZE)}, b"")]])
def test_complete_gone(bucket, hostile, call, cut):
    """The same without an object: somebody has dropped the upload. An answer without an ETag is one that broke off."""
    heads = list(cut)

    def bad(request, query):
        if is_complete(request, query) and bucket.uploads:
            bucket.uploads.clear()
            return fault(503, "SlowDown")
        return heads.pop() if heads and request.method == "HEAD" else None
    bucket.bad = bad
    result = call(hostile.env, "retry+s3:path", UPLOAD)
    assert result.code == "failed" and "has not made the object" in result.text, result


@pytest.mark.parametrize("spoil,word", [
    (lambda data, etag: (data[:-1], etag), "bytes"),
    (lambda data, etag: (data, "f" * 32 + etag[32:]), "ETag"),
    (lambda data, etag: (data, etag[:32] + "-3"), "ETag"),
])
def test_made_wrongly(bucket, hostile, call, spoil, word):
    complete = bucket.complete

    def wrongly(key, upload, body):
        answer = complete(key, upload, body)
        bucket.objects[key] = spoil(*bucket.objects[key])
        return answer
    bucket.complete = wrongly
    result = call(hostile.env, "retry+s3:path", UPLOAD)
    assert result.code == "failed" and word in result.text, result


# ---- what never ended ----

def uploads_page(uploads, truncated="false", more=""):
    body = "".join(f"<Upload><Key>{key}</Key><UploadId>{number}</UploadId><Initiated>{begun}"
                   "</Initiated></Upload>" for key, number, begun in uploads)
    return 200, {}, (f"<ListMultipartUploadsResult>{body}<IsTruncated>{truncated}</IsTruncated>"
                     f"{more}</ListMultipartUploadsResult>").encode()


def parts_page(times):
    body = "".join(f"<Part><LastModified>{time}</LastModified></Part>" for time in times)
    return 200, {}, f"<ListPartsResult>{body}<IsTruncated>false</IsTruncated></ListPartsResult>".encode()


def test_abort_chooses(bucket, hostile, call):
    """By the last part and not by the first; never what is not below the prefix, or new."""
    parts = {"idle": [OLD], "busy": [OLD, NEW], "empty": []}

    def bad(request, query):
        if "uploads" in query and "key-marker" not in query:
            return uploads_page([("mine/a", "idle", OLD), ("mine/b", "busy", OLD)], "true",
                                "<NextKeyMarker>mine/b</NextKeyMarker>"
                                "<NextUploadIdMarker>busy</NextUploadIdMarker>")
        if "uploads" in query:
            assert (query["key-marker"], query["upload-id-marker"]) == ("mine/b", "busy")
            return uploads_page([("mine/c", "empty", OLD), ("mine/d", "new", NEW),
                                 ("mine/No Name", "x", OLD), ("other/a", "y", OLD)])
        if request.method == "GET":
            return parts_page(parts[query["uploadId"]])
        return None
    bucket.bad = bad
    bucket.uploads = dict.fromkeys(["idle", "busy", "empty", "new", "x", "y"])
    result = call(hostile.env | {"S3_PREFIX": "mine"}, "s3:path", "abort 86400")
    assert result.output == "ok 2\n", result
    assert sorted(bucket.uploads) == ["busy", "new", "x", "y"]


@pytest.mark.parametrize("answer,code", [
    ((200, {}, b"<html/>"), "invalid"),
    (uploads_page([("a", "1", "yesterday")]), "invalid"),
    (uploads_page([], "true"), "unsupported"),
    (uploads_page([], "true", "<NextKeyMarker>a</NextKeyMarker>"), "unsupported"),
    (fault(403, "AccessDenied"), "auth"),
    (fault(503, "SlowDown"), "transient"),
])
def test_abort_list(bucket, hostile, call, answer, code):
    bucket.bad = lambda request, query: answer
    result = call(hostile.env, "s3:path", "abort 0")
    assert result.code == code, result
