# SPDX-License-Identifier: LGPL-2.1-or-later
"""Buckets as they are found: shared with others, with versions, with Object Lock."""
import hashlib
import base64
import urllib.parse

import pytest


def test_shared_bucket(plain, call):
    """Others' objects with names of every kind do not disturb, not even at the end of a page."""
    bucket = f"/{plain.env['S3_BUCKET']}/shared/"
    names = ["Upper", "a b", "a+b", "a&b=c", "ä", "a%2fb", "dir/", "z+z"]
    stored = [plain.request("PUT", bucket + urllib.parse.quote(name), body="x")[0]
              for name in names]
    # 403: curl 8.14 itself signs some of these names wrongly
    assert set(stored) <= {200, 403} and stored.count(200) >= 5
    env = plain.env | {"S3_PREFIX": "shared"}
    result = call(env, "s3:path", "put b/c 10", "put zzz 1", "list ")
    assert result.ok, result
    assert result.output.splitlines()[2:] == ["b/c 10", "zzz 1", "ok"]


@pytest.mark.parametrize("last", ["b+b", "b b", "bä&=?#"])
def test_page_ends_with_foreign_key(plain, call, last):
    """1,001 objects of which the 1,000th has an awkward name."""
    env = plain.env | {"S3_PREFIX": f"pages-{names_id(last)}"}
    puts = [f"put a/{i:04} 1" for i in range(999)]
    assert call(env, "s3:path", *puts).ok
    key = urllib.parse.quote(f"{env['S3_PREFIX']}/{last}")
    # which sorts between a/0998 and zzz
    status, text = plain.request("PUT", f"/{env['S3_BUCKET']}/{key}", body="x")
    assert status == 200, text
    result = call(env, "s3:path", "put zzz 1", "list ")
    assert result.ok, result
    names = [line.split()[0] for line in result.output.splitlines()[1:-1]]
    assert len(names) == 1000 and "zzz" in names


def names_id(name):
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def test_versions(plain, call):
    env = plain.env | {"S3_BUCKET": "versions"}
    assert plain.request("PUT", "/versions")[0] == 200
    body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert plain.request("PUT", "/versions?versioning=", body=body)[0] == 200
    result = call(env, "s3:path", "put a 10", "put a 20", "get a", "list ", "remove a", "has a",
                  "list ", "put a 5 new", "get a")
    assert result.ok, result
    lines = result.output.splitlines()
    assert lines[2].startswith("ok 20 ") and lines[3:5] == ["a 20", "ok"]
    assert lines[6:8] == ["ok no", "ok"]
    assert lines[9].startswith("ok 5 ")


def test_object_lock(plain, call):
    """Removing leaves a marker, writing again a version; the locked one stays."""
    env = plain.env | {"S3_BUCKET": "locked"}
    status, text = plain.request("PUT", "/locked", "-H", "x-amz-bucket-object-lock-enabled: true")
    assert status == 200, text
    body = ("<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>"
            "<DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule>"
            "</ObjectLockConfiguration>")
    md5 = base64.b64encode(hashlib.md5(body.encode()).digest()).decode()
    status, text = plain.request("PUT", "/locked?object-lock=", "-H", f"content-md5: {md5}",
                                 body=body)
    assert status == 200, text
    result = call(env, "s3:path", "put a 10", "put a 20", "get a", "remove a", "has a")
    assert result.ok, result
    assert result.output.splitlines()[-1] == "ok no"
    status, text = plain.request("GET", "/locked?versions=")
    assert status == 200 and text.count("<Version>") == 2 and "<DeleteMarker>" in text
    # Ceph 16.2 ignores If-None-Match in buckets with versions; that must be noticed
    result = call(env, "s3:path", "put b 10 new", "put b 20 new")
    assert result.code == "exists", result
    result = call(env, "s3:path", "get b")
    assert result.output.startswith("ok 10 "), result
