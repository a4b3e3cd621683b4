# SPDX-License-Identifier: LGPL-2.1-or-later
"""A tree that tests/lint must be content with, and for each of its rules trees that it must not."""

C = "/* SPDX-License-Identifier: LGPL-2.1-or-later */\n"
SCRIPT = "# SPDX-License-Identifier: LGPL-2.1-or-later\n"
SCHEMA = ('{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", '
          '"properties": {"a": {"type": "string"}}, "additionalProperties": false}\n')

CLEAN = {
    ".clang-format": "BasedOnStyle: LLVM\nIndentWidth: 4\nBreakBeforeBraces: Linux\n"
                     "AllowShortFunctionsOnASingleLine: None\n",
    "src/base/error.h": C + "#pragma once\n#include <sqlite3.h>\n",
    "src/base/error.c": C + '#include "base/error.h"\n\nint vms_error(void)\n{\n    return 0;\n}\n',
    "src/base/step.c": C + "\nvoid vms_step(void)\n{\n    vms_failpoint(\"create.file-made\");\n}\n",
    "src/base/README.md": "# base\n",
    "src/cli/commands.c": C + "const VmsCommand *const vms_commands[] = {\n    &vms_list_command,\n"
                              "    NULL,\n};\n",
    "src/cli/list.c": C + 'static const GOptionEntry options[] = {\n    {"all", 0},\n};\n'
                          'const VmsCommand vms_list_command = {\n    .name = "list",\n};\n',
    "src/cli/README.md": "# cli\n",
    "docs/meson.build": SCRIPT + "install_man('man/vmsnap-list.1')\n",
    "docs/man/vmsnap-list.1": '.\\" SPDX-License-Identifier: LGPL-2.1-or-later\n'
                              '.TH VMSNAP\\-LIST 1 2026-11-21 "vmsnap" "vmsnap"\n'
                              ".SH NAME\nvmsnap\\-list \\- show\n.SH OPTIONS\n.B \\-\\-all\nall\n",
    "schemas/meson.build": SCRIPT + "install_data('list.v1.json')\n",
    "schemas/list.v1.json": SCHEMA,
    "completion/vmsnap.bash": SCRIPT + "_vmsnap_argument() {\n\tcase $1 in\n\tlist) ;;\n\tesac\n}\n",
    "tests/run": "#!/bin/bash\n" + SCRIPT + 'echo "$1"\n',
    "tests/conftest.py": SCRIPT + "print(1)\n",
    "docs/operations.md": "The images are in /var/lib/libvirt/images, the password in /root/password.\n",
    "docs/security.md": "`vm/test_a.py::test_b` `unit/test-a.c::/a/b`\n",
    "tests/vm/test_a.py": SCRIPT + "def test_b(vm):\n    pass\n",
    "tests/unit/test-a.c": C + 'const char *name = "/a/b";\n',
}


def function(lines):
    return C + "\nint vms_long(void)\n{\n" + "    vms_error();\n" * lines + "    return 0;\n}\n"


# The first file of each is where the violation must be found (None: the file is missing).
VIOLATIONS = {
    "layers": [
        {"src/base/up.c": C + '#include "job/create.h"\n'},
        {"src/store/side.c": C + '#include "virt/conn.h"\n'},
        {"src/cli/deep.c": C + '#include "repo/pack.h"\n'},
        {"src/codec/relative.c": C + '#include "hash.h"\n'},
        {"src/attic/new.c": C + '#include "base/error.h"\n'},
    ],
    "foreign-headers": [
        {"src/job/a.c": C + "#include <sqlite3.h>\n"},
        {"src/store/b.c": C + "#include <openssl/evp.h>\n"},
        {"src/job/c.h": C + "#include <libvirt/libvirt.h>\n"},
        {"src/base/d.c": C + "# include <curl/curl.h>\n"},
    ],
    "file-size": [
        {"src/base/long.c": C + "int a;\n" * 400},
        {"tests/long.py": SCRIPT + "a = 1\n" * 450},
    ],
    "function-size": [{"src/base/long.c": function(58)}],
    "license": [
        {"src/base/bare.c": "int a;\n"},
        {"src/base/later.h": "\n" + C},
        {"tests/bare": "#!/bin/bash\necho\n"},
        {"tests/bare.py": "a = 1\n"},
        {"tests/meson.build": "subdir('unit')\n"},
    ],
    "names": [{"src/base/utils.c": C}, {"tests/test_helpers.py": SCRIPT}, {"src/base/common.h": C}],
    "readme": [{"src/block": None, "src/block/sink.c": C}],
    "format": [{"src/base/ugly.c": C + "int  a( void ){return 0;}\n"}, {".clang-format": None}],
    "shellcheck": [{"tests/careless": "#!/bin/bash\n" + SCRIPT + "cd /nowhere\nrm -rf x\n"},
                   {"tests/careless.bash": "# shellcheck shell=bash\n" + SCRIPT + "cd $1\n"}],
    "python": [{"tests/broken.py": SCRIPT + "def f(:\n"}],
    "commands": [
        {"docs/man/vmsnap-list.1": None},
        {"docs/man/vmsnap-list.1": "nothing about options\n"},
        {"docs/meson.build": SCRIPT},
        {"schemas/list.v1.json": None},
        {"schemas/meson.build": SCRIPT},
        {"completion/vmsnap.bash": SCRIPT + "_vmsnap_argument() {\n\tcase $1 in\n\tshow) ;;\n\tesac\n}\n"},
        {"src/cli/list.c": None},
    ],
    "schemas": [
        {"schemas/broken.v1.json": "{\n"},
        {"schemas/invalid.v1.json": '{"type": "objekt"}\n'},
        {"schemas/open.v1.json": SCHEMA.replace(', "additionalProperties": false', "")},
        {"schemas/dangling.v1.json": '{"$ref": "nowhere.v1.json#/a"}\n'},
    ],
    "man": [{"docs/man/vmsnap-odd.1": ".SH NAME\n.SH\n.XYZ\n"}],
    "machine-paths": [
        {"docs/a.md": "cd /home/somebody/vmsnap\n"},
        {"docs/b.md": "built in @ROOT@/build\n"},
    ],
    "failpoints": [
        {"src/base/twice.c": C + '    vms_failpoint("create.file-made");\n'},
        {"src/base/odd.c": C + '    vms_failpoint("create.File_made");\n'},
        {"src/base/bare.c": C + '    vms_failpoint("created");\n'},
        {"src/base/variable.c": C + "    vms_failpoint(name);\n"},
        {"src/base/beside.c": C + '    a(); vms_failpoint("create.b");\n'},
    ],
    "named-tests": [
        {"docs/a.md": "`vm/test_a.py::test_c`\n"},
        {"docs/b.md": "`vm/test_c.py::test_b`\n"},
        {"docs/c.md": "`unit/test-a.c::/a/c`\n"},
    ],
    "unfinished": [{"src/base/later.c": C + "/* TO" "DO: check */\n"}],
}

# Where the violation shows, if not in the first file.
WHERE = {}
