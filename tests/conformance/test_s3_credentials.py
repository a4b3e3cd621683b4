# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where keys come from. Against the real server where they are keys; the metadata services, which
only a cloud has, are played by a small server on loopback."""
import datetime
import json

import pytest


@pytest.fixture
def bare(plain):
    """The server's settings without its keys."""
    return {k: v for k, v in plain.env.items() if k not in ("S3_ACCESS_KEY", "S3_SECRET_KEY")}


@pytest.fixture
def keys(plain):
    return plain.env["S3_ACCESS_KEY"], plain.env["S3_SECRET_KEY"]


def write(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_none(bare, call):
    result = call(bare, "retry+s3:path", "list x/")
    assert result.code == "auth" and "no S3 credentials" in result.text, result
    assert result.messages == ""


def test_environment(bare, keys, call):
    env = bare | {"AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1]}
    assert call(env, "s3:path", "list x/").ok
    del env["AWS_SECRET_ACCESS_KEY"]
    result = call(env, "s3:path", "list x/")
    assert result.code == "auth" and "AWS_SECRET_ACCESS_KEY is not" in result.text, result


def test_explicit_wins(plain, call):
    env = plain.env | {"AWS_ACCESS_KEY_ID": "wrong", "AWS_SECRET_ACCESS_KEY": "wrong"}
    assert call(env, "s3:path", "list x/").ok


def test_shared_file(bare, keys, call, tmp_path):
    text = (f"[default]\naws_access_key_id=wrong\naws_secret_access_key=wrong\n\n"
            f"[lab]\naws_access_key_id = {keys[0]}\naws_secret_access_key = {keys[1]}\n"
            "[empty]\nregion = x\n")
    env = bare | {"AWS_SHARED_CREDENTIALS_FILE": write(tmp_path / "credentials", text)}
    assert call(env, "s3:path", "list x/").code == "auth"  # default
    assert call(env, "s3:path", "list x/", AWS_PROFILE="lab").ok
    assert call(env, "s3:path", "list x/", STORE_PROFILE="lab", AWS_PROFILE="default").ok
    # a profile that was asked for is not passed over
    env |= {"AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1]}
    result = call(env, "s3:path", "list x/", STORE_PROFILE="typo")
    assert result.code == "auth" and '"typo"' in result.text, result
    result = call(env, "s3:path", "list x/", STORE_PROFILE="empty")
    assert result.code == "auth" and "aws_secret_access_key" in result.text, result


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o602])
def test_open_file(bare, keys, call, tmp_path, mode):
    """Keys that others can read or change are not used."""
    path = write(tmp_path / "credentials",
                 f"[default]\naws_access_key_id = {keys[0]}\naws_secret_access_key = {keys[1]}\n")
    (tmp_path / "credentials").chmod(mode)
    result = call(bare, "s3:path", "list x/", AWS_SHARED_CREDENTIALS_FILE=path)
    assert result.code == "auth" and f"chmod 0600 {path}" in result.text, result


def test_home(bare, keys, call, tmp_path):
    (tmp_path / ".aws").mkdir()
    write(tmp_path / ".aws/credentials",
          f"[default]\naws_access_key_id = {keys[0]}\naws_secret_access_key = {keys[1]}\n")
    assert call(bare, "s3:path", "list x/", HOME=str(tmp_path)).ok


def test_malformed_file(bare, call, tmp_path):
    path = write(tmp_path / "credentials", "[default]\nSECRETSECRET\n")
    result = call(bare, "s3:path", "list x/", AWS_SHARED_CREDENTIALS_FILE=path)
    assert result.code == "usage" and f"{path}: line 2" in result.text, result
    assert "SECRETSECRET" not in result.text


@pytest.mark.parametrize("extra,region", [
    ({}, "us-east-1"),
    ({"AWS_DEFAULT_REGION": "two"}, "two"),
    ({"AWS_DEFAULT_REGION": "two", "AWS_REGION": "one"}, "one"),
    ({"AWS_REGION": "one", "S3_REGION": "zero"}, "zero"),
    ({"AWS_CONFIG_FILE": "config"}, "three"),
    ({"AWS_CONFIG_FILE": "config", "AWS_PROFILE": "p"}, "four"),
])
def test_region(hostile, call, tmp_path, extra, region):
    config = write(tmp_path / "config", "[default]\nregion=three\n[profile p]\nregion=four\n"
                   "aws_access_key_id=a\naws_secret_access_key=b\n")
    env = {"S3_ENDPOINT": hostile.url, "S3_BUCKET": "bucket", "AWS_ACCESS_KEY_ID": "a",
           "AWS_SECRET_ACCESS_KEY": "b"} | extra
    if "AWS_CONFIG_FILE" in env:
        env["AWS_CONFIG_FILE"] = config
    assert call(env, "s3:path", "remove a").ok
    assert f"/{region}/s3/aws4_request" in hostile.requests[0].headers["authorization"]


# ---- services ----

class Metadata:
    """A container's endpoint and a machine's metadata service."""

    def __init__(self, keys, lifetime=3600, token=None):
        self.keys = keys
        self.lifetime = lifetime
        self.token = token
        self.given = 0

    def credentials(self):
        self.given += 1
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(
            seconds=self.lifetime)
        reply = {"Code": "Success", "AccessKeyId": self.keys[0], "SecretAccessKey": self.keys[1],
                 "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        if self.token:
            reply["Token"] = self.token
        return 200, {}, json.dumps(reply).encode()

    def __call__(self, request):
        headers = request.headers
        if request.path == "/container":
            if headers.get("authorization") != "Bearer letmein":
                return 403, {}, b""
            return self.credentials()
        if request.path == "/latest/api/token" and request.method == "PUT":
            ok = headers.get("x-aws-ec2-metadata-token-ttl-seconds") == "21600"
            return (200, {}, b"session") if ok else (400, {}, b"")
        if headers.get("x-aws-ec2-metadata-token") != "session":
            return 401, {}, b""
        if request.path == "/latest/meta-data/iam/security-credentials/":
            return 200, {}, b"role-of-web\n"
        if request.path == "/latest/meta-data/iam/security-credentials/role-of-web":
            return self.credentials()
        return 200, {}, b""


def container(hostile, **extra):
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": hostile.url + "/container",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "Bearer letmein"} | extra


def machine(hostile):
    return {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": hostile.url}


@pytest.mark.parametrize("service", [container, machine])
def test_service(bare, keys, hostile, call, service):
    hostile.reply = Metadata(keys)
    result = call(bare | service(hostile), "s3:path", "list x/", "list y/")
    assert result.ok, result
    assert hostile.reply.given == 1


@pytest.mark.parametrize("service", [container, machine])
def test_renewal(bare, keys, hostile, call, service):
    """Keys that have run out are asked for again before the next request."""
    hostile.reply = Metadata(keys, lifetime=-10)
    assert call(bare | service(hostile), "s3:path", "list x/", "list y/").ok
    assert hostile.reply.given == 2


def test_token_file(bare, keys, hostile, call, tmp_path):
    hostile.reply = Metadata(keys)
    path = write(tmp_path / "token", "Bearer letmein\n")
    env = bare | container(hostile, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=path,
                           AWS_CONTAINER_AUTHORIZATION_TOKEN="wrong")
    assert call(env, "s3:path", "list x/").ok
    result = call(bare | container(hostile, AWS_CONTAINER_AUTHORIZATION_TOKEN="wrong"), "s3:path",
                  "list x/")
    assert result.code == "auth" and "HTTP 403" in result.text, result


def test_service_not_over_plain_network(bare, hostile, call):
    env = bare | container(hostile)
    env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://192.0.2.1/container"
    result = call(env, "s3:path", "list x/")
    assert result.code == "usage" and "neither https nor local" in result.text, result
    assert result.seconds < 3


def test_service_no_proxy(bare, keys, hostile, call):
    """Metadata is never asked for through a proxy."""
    hostile.reply = Metadata(keys)
    env = bare | container(hostile) | {"http_proxy": "http://127.0.0.1:1", "NO_PROXY": "",
                                       "no_proxy": ""}
    result = call(env, "s3:path", "list x/")
    assert result.code == "transient", result  # the listing went to the proxy, and failed there
    assert hostile.reply.given == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"{\"AccessKeyId\":1}", b"<html>",
                                  b"{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"b\","
                                  b"\"Expiration\":\"soon\"}"])
def test_service_talks_nonsense(bare, hostile, call, body):
    hostile.reply = lambda request: (200, {}, body)
    result = call(bare | container(hostile), "s3:path", "list x/")
    assert result.code == "invalid" and "credentials" in result.text, result


def test_service_down(bare, hostile, call):
    hostile.reply = lambda request: (500, {}, b"")
    assert call(bare | container(hostile), "s3:path", "list x/").code == "transient"


def test_no_line_breaks(bare, hostile, call):
    hostile.reply = Metadata(("a", "b"), token="x\r\nx-amz-acl: public-read")
    result = call(bare | container(hostile), "s3:path", "list x/")
    assert result.code == "auth" and "character" in result.text, result


def test_session_token(hostile, call):
    env = hostile.env | {"S3_ACCESS_KEY": None, "S3_SECRET_KEY": None, "AWS_ACCESS_KEY_ID": "a",
                         "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "tok/en+=="}
    assert call(env, "s3:path", "remove a").ok
    headers = hostile.requests[-1].headers
    assert headers["x-amz-security-token"] == "tok/en+=="
    assert "x-amz-security-token" in headers["authorization"]
