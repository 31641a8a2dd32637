"""The installed package as its users meet it: all headers, their examples, the README's program by
pkg-config, shared and static, and the man pages.   Arguments: source root, build root."""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

import harness

CC, CXX = os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wundef", "-Werror"]


def run(command, **options):
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        **options
    )


def fenced(text, language, nth=0):
    return re.findall(r"^```%s\n(.*?)^```$" % language, text, flags=re.M | re.S)[nth]


def without_rounding(text):
    """Residuals and errors of the order of rounding differ between processors."""
    return re.sub(r"residual \S+, policy good to \S+", "residual R, policy good to E", text)


def headers(checks, root, include):
    """test_headers.py compiles them."""

    def texts(folder):
        found = {}
        for path in glob.glob(os.path.join(folder, "grpoalign", "*")):
            with open(path, encoding="utf-8") as file:
                found[os.path.basename(path)] = file.read()
        return found

    ours, installed = texts(os.path.join(root, "include")), texts(include)
    checks.that(len(ours) > 15, "only %d headers" % len(ours))
    checks.that(
        ours == installed,
        "headers that are installed differ: %s" % sorted(set(ours) ^ set(installed)),
    )


def examples(checks, include, libraries, folder):
    """Every header but the glue has one short example; each is a whole program that ends with 0."""
    without = {"export.h", "grpoalign.h", "progress.h"}
    for path in sorted(glob.glob(os.path.join(include, "grpoalign", "*.h"))):
        name = os.path.basename(path)
        with open(path, encoding="utf-8") as file:
            found = re.findall(r"^ \* @code\n(.*?)^ \* @endcode$", file.read(), flags=re.M | re.S)
        checks.that(
            len(found) == (0 if name in without else 1), "%s has %d examples" % (name, len(found))
        )
        for text in found:
            source, program = os.path.join(folder, name + ".c"), os.path.join(folder, name + ".out")
            text = re.sub(r"^ \* ?", "", text, flags=re.M)
            if "#include <grpoalign/" not in text:
                text = "#include <grpoalign/%s>\n%s" % (name, text)
            with open(source, "w", encoding="utf-8") as file:
                file.write(text)
            done = run(
                [CC, "-std=c11"]
                + WARNINGS
                + [
                    "-I" + include,
                    source,
                    "-o",
                    program,
                    "-L" + libraries,
                    "-lgrpoalign",
                    "-Wl,-rpath," + libraries,
                ]
            )
            checks.that(done.returncode == 0, "the example of %s: %s" % (name, done.stdout))
            if done.returncode == 0:
                done = run([program])
                checks.that(
                    done.returncode == 0,
                    "the example of %s ends with %d: %s" % (name, done.returncode, done.stdout),
                )


def readme(checks, root, prefix, libraries, folder):
    with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
        text = file.read()
    program, printed = fenced(text, "c"), fenced(text, "text")
    source = os.path.join(folder, "program.c")
    with open(source, "w", encoding="utf-8") as file:
        file.write(program)
    environment = dict(
        os.environ, PKG_CONFIG_PATH=os.path.join(libraries, "pkgconfig"), LD_LIBRARY_PATH=libraries
    )
    ask = ["pkg-config", "--define-variable=prefix=" + prefix]
    exists = run(ask + ["--exists", "--print-errors", "grpoalign"], env=environment)
    checks.that(exists.returncode == 0, "pkg-config does not find grpoalign: " + exists.stdout)
    version = run(ask + ["--modversion", "grpoalign"], env=environment).stdout.strip()
    checks.that(re.fullmatch(r"\d+\.\d+\.\d+", version), "pkg-config says version %r" % version)
    checks.that(
        run(ask + ["--exists", "grpoalign >= 99"], env=environment).returncode != 0,
        "version 99 is found too",
    )
    archive = os.path.join(libraries, "libgrpoalign.a")
    for kind in ("shared", "static") if os.path.exists(archive) else ("shared",):
        flags = run(
            ask
            + ["--cflags", "--libs"]
            + (["--static"] if kind == "static" else [])
            + ["grpoalign"],
            env=environment,
        ).stdout.split()
        if kind == "static":
            flags = [archive if f == "-lgrpoalign" else f for f in flags]
        program_path = os.path.join(folder, "program-" + kind)
        done = run(
            [CC, "-std=c11"] + WARNINGS + [source, "-o", program_path] + flags, env=environment
        )
        checks.that(done.returncode == 0, "README's program, %s: %s" % (kind, done.stdout))
        if done.returncode == 0:
            done = run([program_path], env=environment)
            checks.that(
                done.returncode == 0 and done.stdout == printed,
                "README's program, %s, prints\n%s\nand not\n%s" % (kind, done.stdout, printed),
            )
    source = os.path.join(folder, "program.cpp")
    with open(source, "w", encoding="utf-8") as file:
        file.write(fenced(text, "cpp"))
    flags = run(ask + ["--cflags", "--libs", "grpoalign"], env=environment).stdout.split()
    for version in ("c++11", "c++17"):
        done = run([CXX, "-std=" + version] + WARNINGS + [source, "-o", program_path] + flags)
        checks.that(done.returncode == 0, "README's program in C++: %s" % done.stdout)
        if done.returncode == 0:
            done = run([program_path], env=environment)
            checks.that(done.stdout == printed, "README's program in C++ prints " + done.stdout)
    # The command-line example, in the words of the README.
    shell = fenced(text, "sh", 1)
    expected = fenced(text, "text", 1)
    environment["PATH"] = os.path.join(prefix, "bin") + os.pathsep + environment["PATH"]
    done = run(["sh", "-e", "-c", shell], env=environment, cwd=folder)
    checks.that(
        done.returncode == 0 and without_rounding(done.stdout) == without_rounding(expected),
        "README's command prints\n%s\nand not\n%s" % (done.stdout, expected),
    )


def manuals(checks, prefix):
    pages = sorted(glob.glob(os.path.join(prefix, "share", "man", "man1", "*.1")))
    checks.that(pages, "no man page installed")
    if shutil.which("mandoc") is None:
        print("SKIPPED: mandoc is not there to read the man pages")
        return
    for page in pages:
        done = run(["mandoc", "-T", "lint", "-W", "warning", page])
        checks.that(done.returncode == 0, done.stdout)


def main(root, build):
    checks = harness.Checks()
    with tempfile.TemporaryDirectory() as folder:
        done = run(
            ["meson", "install", "-C", build, "--no-rebuild"], env=dict(os.environ, DESTDIR=folder)
        )
        checks.that(done.returncode == 0, "meson install: " + done.stdout)
        [pc] = glob.glob(os.path.join(folder, "**", "grpoalign.pc"), recursive=True)
        libraries = os.path.dirname(os.path.dirname(pc))
        [umbrella] = glob.glob(
            os.path.join(folder, "**", "grpoalign", "grpoalign.h"), recursive=True
        )
        include = os.path.dirname(os.path.dirname(umbrella))
        prefix = os.path.dirname(include)
        headers(checks, root, include)
        examples(checks, include, libraries, folder)
        readme(checks, root, prefix, libraries, folder)
        manuals(checks, prefix)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
