"""The arrows between the library's folders run downwards only, as doc/architecture.md draws them; BLAS and LAPACK are
met in lib/linalg alone; the command includes public headers alone; every folder and file is on the map.
Argument: source root."""
import glob
import os
import re
import sys

import harness

MAY_INCLUDE = {
    "base": {"base"},
    "linalg": {"base", "linalg"},
    "expectation": {"base", "linalg", "expectation"},
    "model": {"base", "linalg", "expectation", "model"},
    "penalty": {"base", "linalg", "penalty"},
    "problem": {"base", "model", "penalty", "problem"},
    "solver": {"base", "linalg", "model", "penalty", "problem", "solver"},
    "api": {"base", "linalg", "expectation", "model", "penalty", "problem", "solver", "api"},
}
FOREIGN = {"cblas.h": {"linalg/blas.c"}, "lapacke.h": {"linalg/lapack.c"}}


def includes(path):
    with open(path, encoding="utf-8") as file:
        return re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', file.read(), flags=re.M)


def main(root):
    checks = harness.Checks()
    lib = os.path.join(root, "lib")
    files = sorted(glob.glob(os.path.join(lib, "*", "*.[ch]")))
    checks.that(len(files) > 30, "only %d files found" % len(files))
    for path in files:
        name = os.path.relpath(path, lib)
        folder = name.split("/")[0]
        checks.that(folder in MAY_INCLUDE, "%s: a folder without a layer" % name)
        for mark, included in includes(path):
            if mark == '"':
                to = included.split("/")[0]
                checks.that(to in MAY_INCLUDE.get(folder, ()), "%s includes %s: against the arrows" % (name, included))
            elif included in FOREIGN:
                checks.that(name in FOREIGN[included], "%s includes %s, which belongs to %s"
                            % (name, included, ", ".join(FOREIGN[included])))
    for path in sorted(glob.glob(os.path.join(root, "tools", "*.[ch]"))):
        for mark, included in includes(path):
            if "grpoalign/" in included:
                there = os.path.exists(os.path.join(root, "include", included))
                checks.that(mark == "<" and there, "%s includes %s, which is not public" % (os.path.basename(path), included))
            elif mark == '"':
                checks.that(os.path.exists(os.path.join(root, "tools", included)),
                            "%s includes %s from outside the command" % (os.path.basename(path), included))
    with open(os.path.join(lib, "README.md"), encoding="utf-8") as file:
        told = file.read()
    for path in files:
        name = os.path.relpath(path, lib)
        if name.endswith(".c"):
            checks.that("`%s`" % name in told, "lib/README.md does not name %s" % name)
    for name in re.findall(r"`([a-z]+/[a-z_]+\.[ch])`", told):
        checks.that(os.path.exists(os.path.join(lib, name)), "lib/README.md names %s, which is not there" % name)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
