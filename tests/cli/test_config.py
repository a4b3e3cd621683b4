# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration file: everything wrong in it is said with file and line."""
import pytest

WRONG = {
    "unknown key": ("[repository s3]\nurl = s3://b/p\nendpont = https://x\n",
                    [":7:", 'unknown key "endpont" in [repository s3]', "known: url, endpoint"]),
    "unknown key in paths": ("[create]\nfreeze = 3\n", [":6:", "freeze-deadline"]),
    "unknown section": ("[repositry s3]\nurl = /x\n", [":5:", "repositry s3", "[repository NAME]"]),
    "no name": ("[repository ]\nurl = /x\n", [":5:", "name"]),
    "bad name": ("[repository a/b]\nurl = /x\n", [":5:", "a/b"]),
    "section twice": ("[repository a]\nurl = /x\n[repository a]\nurl = /y\n", [":7:", "line 5"]),
    "key twice": ("[repository a]\nurl = /x\nurl = /y\n", [":7:", "line 6"]),
    "no section end": ("[repository a\nurl = /x\n", [":5:", "[NAME]"]),
    "text behind section": ("[create] # here\n", [":5:", "alone"]),
    "no value": ("[repository a]\nurl =\n", [":6:", "url", "empty"]),
    "no equals": ("[repository a]\nurl /x\n", [":6:", "key = value"]),
    "no url": ("[repository a]\nregion = x\n", [":5:", "no url"]),
    "deadline 0": ("[create]\nfreeze-deadline = 0\n", [":6:", "from 1 to 600"]),
    "deadline 601": ("[create]\nfreeze-deadline = 601\n", [":6:", "from 1 to 600"]),
    "deadline text": ("[create]\nfreeze-deadline = 10 # seconds\n", [":6:", "10 # seconds"]),
    "deadline huge": ("[create]\nfreeze-deadline = 99999999999999999999\n", [":6:"]),
    "path style": ("[repository a]\nurl = s3://b\npath-style = maybe\n",
                   [":7:", "maybe", "auto, yes, no"]),
    "relative file": ("[repository a]\nurl = /x\npassword-file = secret\n",
                      [":7:", "secret", "absolute"]),
    "relative directory": ("[repository a]\nurl = ./x\n", [":6:", "absolute"]),
    "unknown url": ("[repository a]\nurl = ftp://x/y\n", [":6:", "s3://BUCKET"]),
    "unknown url option": ("[repository a]\nurl = s3://b/p?regin=x\n", [":6:", "regin"]),
    "s3 keys for a directory": ("[repository a]\nurl = /x\nendpoint = https://x\n",
                                [":5:", "s3 urls"]),
    "half a key pair": ("[repository a]\nurl = s3://b\naccess-key-id = x\n",
                        [":5:", "secret-access-key-file"]),
    "not a key file": ("\x01\x02\n", [":5:"]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong(vmsnap, kind):
    text, says = WRONG[kind]
    vmsnap.write(text)
    vmsnap.fails(2, "list", says=[f"{vmsnap.config}", *says])


def test_key_before_section(vmsnap):
    vmsnap.config.write_text("# comment\n\nstate = /x\n")
    vmsnap.fails(2, "list", says=[":3:", "before"])


def test_not_text(vmsnap):
    vmsnap.config.write_bytes(b"[create]\nfreeze-deadline = 1\0\n")
    vmsnap.fails(2, "list", says=["not a text file"])
    vmsnap.config.write_bytes(b"[create]\n# \xff\xfe\n")
    vmsnap.fails(2, "list", says=[":2:", "UTF-8"])


def test_missing_file(vmsnap):
    """A named file must exist, the default one need not."""
    vmsnap.config.unlink()
    vmsnap.fails(2, "list", says=[vmsnap.config])
    vmsnap.fails(2, "list", config=False, env={"VMSNAP_CONFIG": str(vmsnap.config)},
                 says=[vmsnap.config])


def test_named_by_the_environment(vmsnap, repository):
    found = vmsnap.run("list", "--from", "dir", "--json", config=False,
                       env={"VMSNAP_CONFIG": str(vmsnap.config)})
    assert found.json["where"] == "repository"


def test_comments_and_blanks(vmsnap, repository):
    """Windows line ends, indentation, comments and an empty file are fine."""
    text = vmsnap.config.read_text().replace("\n", "\r\n")
    vmsnap.config.write_text("# comment\r\n\r\n" + text)
    vmsnap.run("list", "--from", "dir")
    vmsnap.config.write_text("# only a comment\n")
    vmsnap.fails(2, "init", "", says="empty")


def test_unknown_repository_lists_names(vmsnap):
    vmsnap.write("[repository one]\nurl = /x\n[repository two]\nurl = /y\n")
    vmsnap.fails(4, "init", "three", says=["three", "one, two"])
    vmsnap.write("")
    vmsnap.fails(4, "init", "three", says=["three", "path beginning with / or ./"])


def test_which_repository(vmsnap):
    """--to and --from may be left out only where there is one."""
    vmsnap.write("[repository one]\nurl = /x\n[repository two]\nurl = /y\n")
    vmsnap.fails(2, "verify", "latest", says=["2 repositories"])
    vmsnap.write("")
    vmsnap.fails(2, "verify", "latest", says=["no repository is configured"])
