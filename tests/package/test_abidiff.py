"""What the library promises to programs that are built, held against what it promised before, by
abidiff: functions, their symbol versions, structs, enums. doc/abi.md has the rules.

Both sides are witnesses: libraries made of the headers and the symbol map alone, in which every
function is there and does nothing, with what the compiler knows of its types. test_symbols.py makes
sure that the library exports the same, and the compiler that it has the same types. experimental.h
is left out.

Arguments: source root [--write], which makes the baseline anew (sh ./dev abi)."""

import glob
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

import harness

CC = os.environ.get("CC", "cc")


def run(command):
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )


def stable_headers(include):
    for path in sorted(glob.glob(os.path.join(include, "grpoalign", "*.h"))):
        if os.path.basename(path) not in ("experimental.h", "export.h"):
            with open(path, encoding="utf-8") as file:
                yield re.sub(r"/\*.*?\*/|//[^\n]*", "", file.read(), flags=re.S)


def witness(include, map_path, folder, soname):
    """Builds the witness of some headers and a symbol map; the path of the library."""
    lines, enums, functions = ["#include <grpoalign/grpoalign.h>"], [], 0
    for text in stable_headers(include):
        for declaration in re.findall(
            r"^GRPOALIGN_API\s+(?:GRPOALIGN_NODISCARD\s+)?(.*?);", text, re.M | re.S
        ):
            lines.append(" ".join(declaration.split()) + " { __builtin_trap(); }")
            functions += 1
        for name in re.findall(r"^\} (\w+);", text, re.M):
            if "typedef enum %s " % name in text:
                enums.append(name)
                lines.append("void enum_%s(%s value) { (void)value; }" % (name, name))
    with open(map_path, encoding="utf-8") as file:
        versions = file.read()
    versions += "ENUMS {\n    global:\n        %s;\n};\n" % ";\n        ".join(
        "enum_" + name for name in enums
    )
    source, library = os.path.join(folder, "witness.c"), os.path.join(folder, "witness.so")
    script = os.path.join(folder, "witness.map")
    for path, text in ((source, "\n".join(lines) + "\n"), (script, versions)):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    done = run(
        [
            CC,
            "-std=c11",
            "-ffile-prefix-map=%s=." % folder,
            "-w",
            "-g",
            "-O0",
            "-shared",
            "-fPIC",
            "-I" + include,
            source,
            "-o",
            library,
        ]
        + ["-Wl,-soname," + soname, "-Wl,--version-script=" + script]
    )
    if done.returncode != 0:
        sys.exit("the witness cannot be built: " + done.stdout)
    return library, functions, len(enums)


def write(baseline, library):
    done = run(
        ["abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--no-elf-needed"]
        + ["--no-write-default-sizes", "--type-id-style", "hash", "--out-file", baseline, library]
    )
    if done.returncode != 0:
        sys.exit("abidw: " + done.stdout)


def differences(baseline, library):
    """What abidiff has to say, additions left out; nothing where all is kept."""
    done = run(["abidiff", "--no-added-syms", "--no-show-locs", baseline, library])
    return done.stdout if done.returncode != 0 else ""


def can_fail(checks, root, baseline, folder, soname):
    """A baseline that would notice nothing is none: breaks of every kind, each of them told."""
    breaks = {
        "a field in the middle": (
            "solve.h",
            "    int32_t max_iterations;",
            "    int32_t a, b;\n    int32_t max_iterations;",
        ),
        "a field of another type": ("status.h", "    int32_t argument;", "    float argument;"),
        "an argument more": (
            "solve.h",
            "(const grpoalign_problem *problem, double beta,",
            "(const grpoalign_problem *problem, int32_t more, double beta,",
        ),
        "another value": ("penalty.h", "GRPOALIGN_PENALTY_NONE = 3", "GRPOALIGN_PENALTY_NONE = 33"),
        "a function less": (
            "reference.h",
            "grpoalign_reference_outcomes(",
            "grpoalign_reference_count(",
        ),
    }
    for number, (what, (header, old, new)) in enumerate(sorted(breaks.items())):
        include = os.path.join(folder, "include%d" % number)
        shutil.copytree(os.path.join(root, "include"), include)
        path = os.path.join(include, "grpoalign", header)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        checks.that(old in text, "%s: %s has changed" % (what, header))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new))
        library = witness(include, os.path.join(root, "lib", "grpoalign.map"), folder, soname)[0]
        checks.that(differences(baseline, library) != "", "abidiff does not notice " + what)


def main(root, *options):
    for program in ("abidw", "abidiff"):
        if shutil.which(program) is None:
            print(
                "SKIPPED: %s (Debian: abigail-tools) is not there. The ABI was not compared."
                % program
            )
            return harness.SKIP
    if platform.machine() != "x86_64":
        print("SKIPPED: the baseline is of x86_64. The ABI was not compared.")
        return harness.SKIP
    include = os.path.join(root, "include")
    with open(os.path.join(include, "grpoalign", "version.h"), encoding="utf-8") as file:
        abi = re.search(r"^#define GRPOALIGN_ABI (\d+)$", file.read(), re.M).group(1)
    soname = "libgrpoalign.so." + abi
    baseline = os.path.join(root, "tests", "package", "abi", soname + ".abi")
    checks = harness.Checks()
    with tempfile.TemporaryDirectory() as folder:
        library, functions, enums = witness(
            include, os.path.join(root, "lib", "grpoalign.map"), folder, soname
        )
        if "--write" in options:
            os.makedirs(os.path.dirname(baseline), exist_ok=True)
            write(baseline, library)
            print("%s: %d functions, %d enums" % (baseline, functions, enums))
            return 0
        checks.that(functions > 70 and enums > 10, "%d functions, %d enums" % (functions, enums))
        if not os.path.exists(baseline):
            checks.that(False, "there is no baseline of ABI %s: sh ./dev abi makes it" % abi)
            return checks.close()
        told = differences(baseline, library)
        checks.that(
            told == "",
            "the ABI differs from tests/package/abi. If programs that are built go on to work (a "
            "struct that grew at its end), or the ABI was not released: sh ./dev abi. Else raise "
            "GRPOALIGN_ABI first.\n" + told,
        )
        with open(baseline, encoding="utf-8") as file:
            kept = set(re.findall(r"elf-symbol name='(grpoalign_\w+)'", file.read()))
        names = {
            name.split("@")[0]
            for name in re.findall(r" T (grpoalign_\S+)", run(["nm", "-D", library]).stdout)
        }
        if names - kept:
            print("new since the baseline: %s" % ", ".join(sorted(names - kept)))
        can_fail(checks, root, baseline, folder, soname)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
