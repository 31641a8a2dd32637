"""The arrows between the library's folders run downwards only, as doc/architecture.md draws them, by include and by call,
and no files of one folder call each other in a circle; BLAS and LAPACK are met in lib/linalg alone; the command includes
public headers alone; every folder and file is on the map.
Arguments: source root, the library's internal archive, and the folder with the command's object files, if it was built."""
import glob
import os
import re
import subprocess
import sys

import harness

MAY_INCLUDE = {
    "base": {"base"},
    "linalg": {"base", "linalg"},
    "expectation": {"base", "linalg", "expectation"},
    "model": {"base", "linalg", "expectation", "model"},
    "penalty": {"base", "linalg", "penalty"},
    "problem": {"base", "linalg", "model", "penalty", "problem"},
    "solver": {"base", "linalg", "model", "penalty", "problem", "solver"},
    "api": {"base", "linalg", "expectation", "model", "penalty", "problem", "solver", "api"},
}
# A call goes to the file's own folder or to a lower rank.
RANK = {"base": 0, "linalg": 1, "expectation": 2, "model": 3, "penalty": 3, "problem": 4, "solver": 5, "api": 6}
FOREIGN = {"cblas.h": {"linalg/blas.c"}, "lapacke.h": {"linalg/lapack.c"}}


def includes(path):
    with open(path, encoding="utf-8") as file:
        return re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', file.read(), flags=re.M)


def symbols(objects):
    """What each object file defines and what it needs, by nm: {object name: (defined, needed)}."""
    text = subprocess.run(["nm", "-A", *objects], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in text.splitlines():
        place, told = line.rsplit(":", 1)
        defined, needed = found.setdefault(re.split("[:/]", place)[-1], (set(), set()))
        kind, symbol = told.split()[-2:]
        if kind == "U":
            needed.add(symbol)
        elif kind.isupper():
            defined.add(symbol)
    return found


def calls(found, name_of):
    """The arrows between files: {(from, to): symbols}."""
    home = {symbol: name_of(place) for place, (defined, _) in found.items() for symbol in defined}
    arrows = {}
    for place, (_, needed) in found.items():
        for symbol in needed & home.keys():
            if home[symbol] != name_of(place):
                arrows.setdefault((name_of(place), home[symbol]), set()).add(symbol)
    return arrows


def circles(arrows):
    """The strongly connected components of more than one file."""
    below = {}
    for start, end in arrows:
        below.setdefault(start, set()).add(end)
    reach = {}
    for start in below:
        seen, ahead = set(), [start]
        while ahead:
            new = below.get(ahead.pop(), set()) - seen
            seen |= new
            ahead += new
        reach[start] = seen
    return sorted({tuple(sorted(other for other in reach[file] if file in reach.get(other, ())))
                   for file in reach if file in reach[file]})


def check_calls(checks, archive):
    found = symbols([archive])
    name_of = lambda place: place.replace(".c.o", ".c").replace("_", "/", 1)
    arrows = calls(found, name_of)
    checks.that(len(found) > 30 and len(arrows) > 100, "only %d files and %d calls found" % (len(found), len(arrows)))
    upwards = 0
    for (start, end), needed in sorted(arrows.items()):
        above, below = start.split("/")[0], end.split("/")[0]
        down = above == below or RANK[below] < RANK[above]
        upwards += not down
        checks.that(down, "%s calls %s, against the arrows: %s" % (start, end, ", ".join(sorted(needed))))
    rings = circles(arrows)
    for ring in rings:
        checks.that(False, "files that call each other in a circle: %s" % ", ".join(ring))
    print("# %d files, %d calls, %s, %s" % (len(found), len(arrows),
          "%d arrows upwards" % upwards if upwards else "no arrow upwards",
          "%d circles" % len(rings) if rings else "no circle"))


def check_command(checks, folder):
    objects = sorted(glob.glob(os.path.join(folder, "*.o")))
    checks.that(len(objects) > 5, "only %d object files in %s" % (len(objects), folder))
    for ring in circles(calls(symbols(objects), lambda place: place.replace(".c.o", ".c"))):
        checks.that(False, "files of the command that call each other in a circle: %s" % ", ".join(ring))


def main(root, archive, command=None):
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
    check_calls(checks, archive)
    if command is not None:
        check_command(checks, command)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
