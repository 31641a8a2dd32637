"""What the library exports is what its headers declare and its symbol map lists; it has no mutable
globals, and memory comes from one file.   Arguments: source root, shared library, static
library."""

import glob
import os
import re
import subprocess
import sys

import harness

DECLARATION = re.compile(r"\b(grpoalign_[a-z0-9_]+)\s*\(")

ALLOCATES = {"malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc"}
FORBIDDEN = {
    "exit",
    "abort",
    "_exit",
    "printf",
    "puts",
    "putchar",
    "perror",
    "vprintf",
    "fprintf",
    "vfprintf",
    "fputs",
    "stdout",
    "stderr",
    "__assert_fail",
    "setlocale",
    "getenv",
    "rand",
    "srand",
    "signal",
    "setenv",
    "pthread_create",
    "openblas_set_num_threads",
    "__printf_chk",
    "__fprintf_chk",
}


def output(*command):
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, universal_newlines=True
    ).stdout


def declared(root):
    names = set()
    for path in glob.glob(os.path.join(root, "include", "grpoalign", "*.h")):
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
        text = re.sub(r"^#.*$", "", text, flags=re.M)
        for statement in re.split(r"[;{}]", text):
            if "GRPOALIGN_API" in statement:
                found = DECLARATION.search(statement)
                if found:
                    names.add(found.group(1))
    return names


def unmarked(root):
    """What stands in the headers as a function of ours, marked for export or not."""
    names = set()
    for path in glob.glob(os.path.join(root, "include", "grpoalign", "*.h")):
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
        text = re.sub(r"^#(.*\\\n)*.*$", "", text, flags=re.M)
        names |= set(re.findall(r"\b(grpoalign_[a-z0-9_]+)\(", text))
    return names


def mapped(root):
    with open(os.path.join(root, "lib", "grpoalign.map"), encoding="utf-8") as file:
        names = re.findall(r"^\s+(grpoalign_\w+);", file.read(), flags=re.M)
    return names


def main(root, shared_library, static_library):
    checks = harness.Checks()
    headers, listed = declared(root), mapped(root)
    exported = {
        line.split()[2].split("@")[0]
        for line in output("nm", "-D", "--defined-only", shared_library).splitlines()
        if line.split()[1] in "TDBRWVi"
    }
    checks.that(len(headers) > 30, "only %d declarations found in the headers" % len(headers))
    checks.that(
        set(listed) == headers, "headers and symbol map differ: %s" % sorted(set(listed) ^ headers)
    )
    checks.that(
        exported == headers, "exported symbols and headers differ: %s" % sorted(exported ^ headers)
    )
    checks.that(listed == sorted(listed), "the symbol map is not sorted")
    checks.that(len(listed) == len(set(listed)), "the symbol map has a symbol twice")
    checks.that(
        unmarked(root) == headers,
        "functions in the headers without GRPOALIGN_API: %s" % sorted(unmarked(root) ^ headers),
    )
    in_archive = {
        line.split()[2]
        for line in output("nm", "-g", "--defined-only", static_library).splitlines()
        if re.match(r"^[0-9a-f]+ [TDBRWVi] grpoalign_", line)
    }
    checks.that(
        in_archive == headers,
        "static library and headers differ: %s" % sorted(in_archive ^ headers),
    )

    # The SONAME and the version node say what the version header says: neither moves alone.
    version = {}
    with open(os.path.join(root, "include", "grpoalign", "version.h"), encoding="utf-8") as file:
        for name, number in re.findall(r"^#define GRPOALIGN_(\w+) (\d+)$", file.read(), flags=re.M):
            version[name] = int(number)
    soname = "libgrpoalign.so.%d" % version["ABI"]
    checks.that(
        "[%s]" % soname in output("readelf", "-d", shared_library), "the SONAME is not %s" % soname
    )
    node = "GRPOALIGN_%d.%d" % (version["VERSION_MAJOR"], version["VERSION_MINOR"])
    # Every export has the version of a node of the map, and no export is without one.
    with open(os.path.join(root, "lib", "grpoalign.map"), encoding="utf-8") as file:
        nodes = set(re.findall(r"^(\w+(?:\.\w+)*) \{", file.read(), flags=re.M))
    for line in output(
        "nm", "-D", "--defined-only", "--with-symbol-versions", shared_library
    ).splitlines():
        name = line.split()[2]
        if line.split()[1] != "A":
            checks.that(name.split("@")[-1] in nodes, "%s has no version of the map" % name)
    with open(os.path.join(root, "lib", "grpoalign.map"), encoding="utf-8") as file:
        checks.that(
            file.read().startswith(node + " {"), "the node of the symbol map is not %s" % node
        )

    member = None
    for line in output("nm", "-g", "--defined-only", static_library).splitlines():
        if line.endswith(".o:"):
            member = line[:-1]
        elif line.strip():
            name = line.split()[-1]
            checks.that(
                name.startswith(("gra_", "grpoalign_")),
                "%s: global %s has neither prefix" % (member, name),
            )
    for line in output("objdump", "-t", static_library).splitlines():
        if ":     file format" in line:
            member = line.split(":")[0]
        found = re.match(r"^[0-9a-f]{16} (.{7}) (\S+)\s+([0-9a-f]{16}) (?:\.hidden )?(\S+)$", line)
        if found and found.group(1)[6] == "O":
            section = found.group(2)
            checks.that(
                section.startswith((".rodata", ".data.rel.ro")),
                "%s: %s is a mutable object in %s" % (member, found.group(4), section),
            )
    for line in output("nm", "-u", static_library).splitlines():
        if line.endswith(".o:"):
            member = line[:-1]
        elif line.strip():
            name = line.split()[-1].split("@")[0]
            if name in ALLOCATES:
                checks.that(
                    "alloc" in member,
                    "%s calls %s; memory comes from base/alloc.c" % (member, name),
                )
            if name.startswith("pthread_") and "bulk" in member:
                continue  # threads that the caller asks for
            checks.that(
                name not in FORBIDDEN,
                "%s uses %s; the library never prints, exits or touches the process"
                % (member, name),
            )
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
