"""Every header alone, and grpoalign.hpp with a program that uses all of it, in every version of C
and C++ that the compilers at hand speak; structs that have one layout on 32 and on 64 bits, with the
compilers of other platforms.   Argument: source root."""

import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

import harness

C_VERSIONS = ["c99", "c11", "c17", "c2x"]
CPP_VERSIONS = ["c++11", "c++14", "c++17", "c++20", "c++2b"]
C_WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wundef"]
CPP_WARNINGS = C_WARNINGS + ["-Wshadow", "-Wold-style-cast", "-Wzero-as-null-pointer-constant"]
C_WARNINGS = C_WARNINGS + ["-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes"]

# What fields of structs may be, beside GRPOALIGN_POINTER and arrays of char.
SIZES = {"uint32_t": 4, "int32_t": 4, "int64_t": 8, "double": 8}

# Compilers of other platforms: for the structs, and where there are headers of the C library for
# what touches it.
FOREIGN = {
    "i386": ["gcc", "-m32"],
    "i386, doubles aligned": ["gcc", "-m32", "-malign-double"],
    "wasm32": ["clang", "--target=wasm32-unknown-unknown", "-ffreestanding"],
    "32-bit ARM": ["clang", "--target=arm-none-eabi", "-ffreestanding"],
    "64-bit Windows": ["x86_64-w64-mingw32-gcc"],
}


def run(command, **options):
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        **options
    )


def understands(command):
    """Whether a compiler is there and takes its options."""
    if shutil.which(command[0]) is None:
        return False
    language = ["-x", "c++" if "++" in command[0] else "c"]
    return run(command + language + ["-fsyntax-only", "-"], input="int one;\n").returncode == 0


def everywhere(checks, root, include, folder):
    """In the oldest version each header alone; in all versions all of them together, twice, and in
    C++ the program that uses all of grpoalign.hpp."""
    headers = sorted(
        os.path.relpath(path, include) for path in glob.glob(os.path.join(include, "*", "*.h"))
    )
    checks.that(len(headers) > 15, "only %d headers" % len(headers))
    alone, together = {}, {}
    for suffix, names in (("c", headers), ("cpp", headers + ["grpoalign/grpoalign.hpp"])):
        texts = {name: "#include <%s>\n" % name * 2 for name in names}
        texts["all"] = "".join(texts[name] for name in headers)
        for name, text in texts.items():
            path = os.path.join(folder, name.replace("/", "_") + "." + suffix)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text + "extern int nothing_else;\n")
            (together if name == "all" else alone).setdefault(suffix, []).append(path)
    together["cpp"].append(os.path.join(root, "tests", "package", "consumers", "policy.cpp"))
    together["c"].append(os.path.join(root, "tests", "package", "consumers", "policy.c"))
    commands = []
    for compiler in ("gcc", "clang", "g++", "clang++"):
        cpp = compiler.endswith("++")
        suffix = "cpp" if cpp else "c"
        if shutil.which(compiler) is None:
            print("SKIPPED: %s is not there" % compiler)
            continue
        versions = CPP_VERSIONS if cpp else C_VERSIONS
        for version in versions:
            command = [compiler, "-std=" + version]
            if not understands(command):
                print("SKIPPED: %s does not know %s" % (compiler, version))
                continue
            sources = together[suffix] + (alone[suffix] if version == versions[0] else [])
            command += CPP_WARNINGS if cpp else C_WARNINGS
            commands.append(command + ["-Werror", "-I" + include, "-fsyntax-only"] + sources)
        if cpp:
            path = os.path.join(folder, "no_exceptions.cpp")
            with open(path, "w", encoding="utf-8") as file:
                file.write(
                    "#include <grpoalign/grpoalign.hpp>\n"
                    "int main() { return grpoalign::reference({0.5, 0.5}).outcomes() != 2; }\n"
                )
            commands.append(
                [compiler, "-std=c++17", "-fno-exceptions", "-fno-rtti", "-Werror", "-I" + include]
                + ["-fsyntax-only", path]
            )
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for command, done in zip(commands, pool.map(run, commands)):
            checks.that(
                done.returncode == 0, "%s: %s" % (" ".join(command[:2]), done.stdout[:3000])
            )


def layouts(include):
    """Assertions on the place of every field of every struct: where it would be if each began at a
    multiple of its size, and every pointer took 8 bytes."""
    lines, structs = ["#include <stddef.h>", "#include <grpoalign/grpoalign.h>"], 0
    for path in sorted(glob.glob(os.path.join(include, "grpoalign", "*.h"))):
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
        for body, name in re.findall(r"^typedef struct \w+ \{(.*?)^\} (\w+);", text, re.M | re.S):
            structs += 1
            offset = 0
            for field in [field.strip() for field in body.split(";") if field.strip()]:
                pointer = re.match(r"GRPOALIGN_POINTER\((.*), (\w+)\)$", field, re.S)
                array = re.match(r"char (\w+)\[(\d+)\]$", field)
                if array:
                    field_name, size, each = array.group(1), int(array.group(2)), 1
                elif pointer:
                    field_name, size, each = pointer.group(2), 8, 8
                else:
                    kind, field_name = field.rsplit(" ", 1)
                    size = each = SIZES.get(kind, 0)
                    if size == 0:
                        lines.append("#error %s: %s has no fixed layout" % (name, kind))
                        continue
                if offset % each != 0:
                    lines.append("#error %s.%s needs padding" % (name, field_name))
                place = "offsetof(%s, %s) == %d" % (name, field_name, offset)
                lines.append('_Static_assert(%s, "%s.%s");' % (place, name, field_name))
                offset += size
            lines.append('_Static_assert(sizeof(%s) == %d, "%s");' % (name, offset, name))
            if offset % 8 != 0:
                lines.append("#error %s ends within 8 bytes" % name)
    return "\n".join(lines) + "\n", structs


def foreign(checks, root, include, folder):
    text, structs = layouts(include)
    checks.that(structs >= 17, "only %d structs found" % structs)
    with open(os.path.join(folder, "layouts.c"), "w", encoding="utf-8") as file:
        file.write(text)
    done = run(["gcc", "-std=c11", "-I" + include, "-fsyntax-only", file.name])
    checks.that(done.returncode == 0, "layouts here: " + done.stdout)
    own = [
        path
        for folder in ("base", "api")
        for path in sorted(glob.glob(os.path.join(root, "lib", folder, "*.c")))
    ]
    for platform, compiler in FOREIGN.items():
        if not understands(compiler):
            print("SKIPPED: %s: %s is not there" % (platform, " ".join(compiler)))
            continue
        arguments = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
        arguments += ["-I" + include, "-I" + os.path.join(root, "lib"), "-DGRPOALIGN_BUILDING"]
        arguments += ['-DGRA_BLAS_DESCRIPTION="none"', "-fsyntax-only"]
        sources = [file.name, os.path.join(root, "lib", "api", "layout.c")]
        if len({"-ffreestanding", "-malign-double"} & set(compiler)) == 0:
            if not understands(compiler + ["-include", "math.h"]):
                print("SKIPPED: %s: there are no headers of the C library" % platform)
            else:
                sources += own
        done = run(compiler + arguments + sources)
        checks.that(done.returncode == 0, "%s: %s" % (platform, done.stdout[:3000]))


def main(root):
    checks = harness.Checks()
    include = os.path.join(root, "include")
    with tempfile.TemporaryDirectory() as folder:
        everywhere(checks, root, include, folder)
        foreign(checks, root, include, folder)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
