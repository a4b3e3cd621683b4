# SPDX-License-Identifier: LGPL-2.1-or-later
"""The foreign judge: Debian's restic on a repository of ours."""
import hashlib
import json
import os
import subprocess

import s3


class Restic:
    def __init__(self, password, folder=None, prefix=None):
        """A repository in a folder, or below a prefix of the test bucket."""
        self.place = str(folder) if folder else f"s3:{s3.ENDPOINT}/{s3.BUCKET}/{prefix}"
        self.env = dict(os.environ, RESTIC_PASSWORD_FILE=str(password))
        self.options = ["--no-cache", "-r", self.place]
        if prefix and os.environ.get("S3_CA_FILE"):
            self.options += ["--cacert", os.environ["S3_CA_FILE"]]

    def _command(self, args):
        return ["restic", *self.options, *(str(arg) for arg in args)]

    def run(self, *args):
        done = subprocess.run(self._command(args), env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"restic {args}: {done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *args):
        return json.loads(self.run(*args, "--json"))

    def ls(self, snapshot):
        """{path: node}"""
        lines = [json.loads(line) for line in self.run("ls", snapshot, "--json").splitlines()]
        return {line["path"]: line for line in lines if line.get("struct_type") == "node"}

    def dump(self, snapshot, path, to):
        with open(to, "wb") as file:
            subprocess.run(self._command(["dump", snapshot, path]), env=self.env, stdout=file,
                           timeout=300, check=True)

    def dump_sha256(self, snapshot, path):
        digest = hashlib.sha256()
        with subprocess.Popen(self._command(["dump", snapshot, path]), env=self.env,
                              stdout=subprocess.PIPE) as process:
            while block := process.stdout.read(1 << 20):
                digest.update(block)
        assert process.returncode == 0
        return digest.hexdigest()
