"""The arrows between the library's folders run downwards only, by include and by call, as
doc/architecture.md draws them, and no files of a folder call one another in a circle; BLAS and
LAPACK are met in lib/linalg alone; the command includes public headers alone; every folder and file
is on the map. Arguments: source root, folder of the library's objects, folder of the command's
objects (or none)."""

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
    "problem": {"base", "model", "penalty", "problem"},
    "solver": {"base", "linalg", "model", "penalty", "problem", "solver"},
    "api": {"base", "linalg", "expectation", "model", "penalty", "problem", "solver", "api"},
}
# The command: its main file may call all.
COMMAND_MAY_CALL = {
    "base": {"base"},
    "input": {"base", "input"},
    "output": {"base", "input", "output"},
    "simulate": {"base", "simulate"},
    "commands": {"base", "input", "output", "simulate", "commands"},
}
FOREIGN = {"cblas.h": {"linalg/blas.c"}, "lapacke.h": {"linalg/lapack.c"}}


def includes(path):
    with open(path, encoding="utf-8") as file:
        return re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', file.read(), flags=re.M)


def symbols(path):
    """What an object file defines for others, and what it needs from others."""
    defined, needed = set(), set()
    for line in subprocess.run(
        ["nm", "-g", path], stdout=subprocess.PIPE, universal_newlines=True, check=True
    ).stdout.splitlines():
        kind, name = line.split()[-2:]
        (needed if kind == "U" else defined).add(name)
    return defined, needed


def circles(arrows):
    """The strongly connected sets of more than one file (Tarjan, iterative)."""
    index, low, stack, on, found = {}, {}, [], set(), []
    for root in sorted(arrows):
        if root in index:
            continue
        work = [(root, iter(sorted(arrows[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on.add(root)
        while work:
            node, rest = work[-1]
            for to in rest:
                if to not in index:
                    index[to] = low[to] = len(index)
                    stack.append(to)
                    on.add(to)
                    work.append((to, iter(sorted(arrows[to]))))
                    break
                if to in on:
                    low[node] = min(low[node], index[to])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    members = []
                    while not members or members[-1] != node:
                        members.append(stack.pop())
                        on.discard(members[-1])
                    if len(members) > 1:
                        found.append(sorted(members))
    return found


def calls(checks, what, objects, names, may_call):
    """The arrows by call between the files of some object files, `names` being theirs by stem."""
    tables = {}
    for path in sorted(glob.glob(os.path.join(objects, "**", "*.o"), recursive=True)):
        stem = re.sub(r"\.c\.o$", "", os.path.basename(path))
        if stem in names:
            tables[names[stem]] = symbols(path)
    missing = sorted(set(names.values()) - set(tables))
    checks.that(not missing, "%s: no object files of %s" % (what, ", ".join(missing)))
    home = {name: file for file, (defined, _) in tables.items() for name in defined}
    arrows = {
        file: {home[n] for n in needed if n in home} - {file}
        for file, (_, needed) in tables.items()
    }
    upwards = [
        (a, b)
        for a in sorted(arrows)
        for b in sorted(arrows[a])
        if os.path.dirname(b) not in may_call(os.path.dirname(a))
    ]
    for a, b in upwards:
        shared = sorted(tables[a][1] & tables[b][0])
        checks.that(False, "%s calls %s (%s): against the arrows" % (a, b, ", ".join(shared[:3])))
    rings = circles(arrows)
    for ring in rings:
        checks.that(
            False, "%s: these files call one another in a circle: %s" % (what, ", ".join(ring))
        )
    print(
        "%s: %d files, %d arrows by call, %s upwards, %s"
        % (
            what,
            len(arrows),
            sum(map(len, arrows.values())),
            len(upwards) or "none",
            "%d circles" % len(rings) if rings else "no circle",
        )
    )


def main(root, library_objects, command_objects=None):
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
                checks.that(
                    to in MAY_INCLUDE.get(folder, ()),
                    "%s includes %s: against the arrows" % (name, included),
                )
            elif included in FOREIGN:
                checks.that(
                    name in FOREIGN[included],
                    "%s includes %s, which belongs to %s"
                    % (name, included, ", ".join(FOREIGN[included])),
                )
    stems = {
        os.path.relpath(p, lib).replace("/", "_")[:-2]: os.path.relpath(p, lib)
        for p in files
        if p.endswith(".c")
    }
    calls(checks, "library", library_objects, stems, lambda folder: MAY_INCLUDE[folder])
    tools = os.path.join(root, "tools")
    sources = sorted(glob.glob(os.path.join(tools, "**", "*.[ch]"), recursive=True))
    if command_objects:
        stems = {
            os.path.relpath(p, tools).replace("/", "_")[:-2]: os.path.relpath(p, tools)
            for p in sources
            if p.endswith(".c")
        }
        folders = {os.path.dirname(name) for name in stems.values()}
        calls(
            checks,
            "command",
            command_objects,
            stems,
            lambda folder: COMMAND_MAY_CALL.get(folder, folders),
        )
    for path in sources:
        for mark, included in includes(path):
            if "grpoalign/" in included:
                there = os.path.exists(os.path.join(root, "include", included))
                checks.that(
                    mark == "<" and there,
                    "%s includes %s, which is not public" % (os.path.basename(path), included),
                )
            elif mark == '"':
                checks.that(
                    os.path.exists(os.path.join(root, "tools", included)),
                    "%s includes %s from outside the command" % (os.path.basename(path), included),
                )
    with open(os.path.join(lib, "README.md"), encoding="utf-8") as file:
        told = file.read()
    for path in files:
        name = os.path.relpath(path, lib)
        if name.endswith(".c"):
            checks.that("`%s`" % name in told, "lib/README.md does not name %s" % name)
    for name in re.findall(r"`([a-z]+/[a-z_]+\.[ch])`", told):
        checks.that(
            os.path.exists(os.path.join(lib, name)),
            "lib/README.md names %s, which is not there" % name,
        )
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
