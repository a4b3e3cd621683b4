# SPDX-License-Identifier: LGPL-2.1-or-later
"""As much S3 as tests need to prepare a server's state, written apart from vmsnap's own."""
import datetime
import hashlib
import hmac
import http.client
import os
import ssl
import urllib.parse
import xml.etree.ElementTree as ElementTree

ENDPOINT = os.environ.get("S3_ENDPOINT", "")
BUCKET = os.environ.get("S3_BUCKET", "")
REGION = os.environ.get("S3_REGION", "us-east-1")


def _sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _signed_headers(method, host, path, query, body):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
    names = ";".join(headers)
    canonical = "\n".join([method, path, query, *(f"{k}:{v}" for k, v in headers.items()), "",
                           names, digest])
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope,
                      hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in (now[:8], REGION, "s3", "aws4_request"):
        key = _sign(key, part)
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope},"
        f"SignedHeaders={names},Signature={_sign(key, text).hex()}")
    return headers


def request(method, path, query=None, body=b""):
    """Status and body of one signed request; path with the bucket, not yet quoted."""
    url = urllib.parse.urlsplit(ENDPOINT)
    path = urllib.parse.quote(path)
    query = urllib.parse.urlencode(sorted((query or {}).items()), quote_via=urllib.parse.quote)
    if url.scheme == "https":
        context = ssl.create_default_context(cafile=os.environ.get("S3_CA_FILE"))
        connection = http.client.HTTPSConnection(url.netloc, timeout=30, context=context)
    else:
        connection = http.client.HTTPConnection(url.netloc, timeout=30)
    try:
        connection.request(method, path + ("?" + query if query else ""), body,
                           _signed_headers(method, url.netloc, path, query, body))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def objects(prefix):
    """{key: size} of everything below a prefix of the test bucket."""
    found, after = {}, ""
    while True:
        status, body = request("GET", f"/{BUCKET}", {"list-type": "2", "prefix": prefix,
                                                     "start-after": after})
        assert status == 200, body
        page = ElementTree.fromstring(body)
        space = page.tag[:page.tag.index("}") + 1]
        for item in page.iter(space + "Contents"):
            after = item.find(space + "Key").text
            found[after] = int(item.find(space + "Size").text)
        if page.find(space + "IsTruncated").text != "true":
            return found


def settings(prefix):
    """Keys of a [repository] section for a place in the test bucket."""
    keys = {"url": f"s3://{BUCKET}/{prefix}", "endpoint": ENDPOINT, "region": REGION,
            "path-style": "yes"}
    if os.environ.get("S3_CA_FILE"):
        keys["ca-file"] = os.environ["S3_CA_FILE"]
    return keys
