"""Projects of users: what is installed through pkg-config and through CMake, what is built through
the uninstalled .pc, and the library as a subproject of another Meson project.

Arguments: one of pkgconfig, cmake, subproject; source root, build root, default_library."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

import harness

CC = os.environ.get("CC", "cc")
POLICY = "policy: 0.127303770 0.089461655 0.783234574\n"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]


def run(command, **options):
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        **options
    )


def find_one(folder, name):
    [path] = glob.glob(os.path.join(folder, "**", name), recursive=True)
    return path


def needs(program):
    if shutil.which(program) is None:
        print("SKIPPED: %s is not there. These checks did not run." % program)
        sys.exit(harness.SKIP)


class Tree:
    """What meson install puts into a folder of its own."""

    def __init__(self, checks, build, folder):
        done = run(
            ["meson", "install", "-C", build, "--no-rebuild", "--skip-subprojects"],
            env=dict(os.environ, DESTDIR=folder),
        )
        checks.that(done.returncode == 0, "meson install: " + done.stdout)
        self.pc = os.path.dirname(find_one(folder, "grpoalign.pc"))
        self.libraries = os.path.dirname(self.pc)
        self.prefix = os.path.dirname(
            os.path.dirname(os.path.dirname(find_one(folder, "grpoalign.h")))
        )


def needed(program):
    """The shared libraries that a program asks for."""
    text = run(["readelf", "-d", program]).stdout
    return [line.split("[")[1].split("]")[0] for line in text.splitlines() if "(NEEDED)" in line]


def works(checks, what, program, libraries=None):
    environment = dict(os.environ)
    environment.pop("LD_LIBRARY_PATH", None)
    if libraries is not None:
        environment["LD_LIBRARY_PATH"] = libraries
    done = run([program], env=environment)
    checks.that(
        done.returncode == 0 and done.stdout == POLICY,
        "%s ends with %d and prints %s" % (what, done.returncode, done.stdout),
    )


def by_pkg_config(checks, root, what, folder, environment, ask, flags_first=(), libraries=None):
    """policy.c by the flags of pkg-config; the program, or None."""
    flags = run(ask + ["grpoalign"], env=dict(os.environ, **environment))
    checks.that(flags.returncode == 0, "%s: %s" % (what, flags.stdout))
    if flags.returncode != 0:
        return None
    source = os.path.join(root, "tests", "package", "consumers", "policy.c")
    program = os.path.join(folder, what.replace(" ", "-"))
    words = [
        "-l:libgrpoalign.a" if word == "-lgrpoalign" and "archive" in what else word
        for word in flags.stdout.split()
    ]
    done = run([CC] + STRICT + list(flags_first) + [source, "-o", program] + words)
    checks.that(done.returncode == 0, "%s, %s: %s" % (what, flags.stdout, done.stdout))
    if done.returncode != 0:
        return None
    works(checks, what, program, libraries)
    return program


def pkgconfig(checks, root, build, kind, folder):
    needs("pkg-config")
    tree = Tree(checks, build, folder)
    ask = ["pkg-config", "--define-variable=prefix=" + tree.prefix, "--cflags", "--libs"]
    if kind != "static":
        # Nothing but grpoalign.pc is there: the shared library asks for no other.
        environment = {"PKG_CONFIG_LIBDIR": tree.pc, "PKG_CONFIG_PATH": ""}
        program = by_pkg_config(
            checks, root, "shared", folder, environment, ask, libraries=tree.libraries
        )
        if program:
            names = needed(program)
            checks.that(
                any(name.startswith("libgrpoalign.so") for name in names)
                and not any("blas" in name or "lapack" in name for name in names),
                "the shared program needs %s" % names,
            )
    else:
        by_pkg_config(checks, root, "plain", folder, {"PKG_CONFIG_PATH": tree.pc}, ask)
    environment = {"PKG_CONFIG_PATH": tree.pc}
    if kind != "shared":
        program = by_pkg_config(checks, root, "archive", folder, environment, ask + ["--static"])
        if program:
            names = needed(program)
            checks.that(
                not any("grpoalign" in name for name in names), "the archive needs %s" % names
            )
        # Not one shared library: what OpenBLAS needs of gfortran and quadmath is there, too.
        program = by_pkg_config(
            checks, root, "fully static", folder, environment, ask + ["--static"], ["-static"]
        )
        if program:
            checks.that(needed(program) == [], "the static program needs %s" % needed(program))
    else:
        print("SKIPPED: no static library is installed with default_library=shared")

    # Before it is installed: pkg-config prefers grpoalign-uninstalled.pc.
    environment = {"PKG_CONFIG_PATH": os.path.join(build, "meson-uninstalled")}
    ask = ["pkg-config", "--cflags", "--libs"]
    done = run(["pkg-config", "--uninstalled", "grpoalign"], env=dict(os.environ, **environment))
    checks.that(done.returncode == 0, "grpoalign-uninstalled.pc is not what pkg-config takes")
    words = run(ask + ["grpoalign"], env=dict(os.environ, **environment)).stdout.split()
    checks.that(
        any(
            word.startswith("-I") and os.path.exists(os.path.join(word[2:], "grpoalign/solve.h"))
            for word in words
        ),
        "no folder of the uninstalled .pc has the headers: %s" % words,
    )
    by_pkg_config(
        checks,
        root,
        "uninstalled",
        folder,
        environment,
        ask,
        libraries=os.path.join(build, "lib"),
    )
    if kind == "both":
        by_pkg_config(checks, root, "uninstalled archive", folder, environment, ask + ["--static"])


def cmake(checks, root, build, kind, folder):
    needs("cmake")
    tree = Tree(checks, build, folder)
    source = os.path.join(root, "tests", "package", "consumers", "cmake")

    def configure(name, *options):
        where = os.path.join(folder, name)
        done = run(
            ["cmake", "-S", source, "-B", where, "-DCMAKE_PREFIX_PATH=" + tree.prefix]
            + list(options)
        )
        return where, done

    version = run(
        ["pkg-config", "--modversion", os.path.join(tree.pc, "grpoalign.pc")]
    ).stdout.strip()
    minor = ".".join(version.split(".")[:2])
    where, done = configure("plain", "-DWANTED=" + minor)
    checks.that(done.returncode == 0, "find_package(grpoalign %s): %s" % (minor, done.stdout))
    if done.returncode == 0:
        done = run(["cmake", "--build", where, "--parallel", "2"])
        checks.that(done.returncode == 0, "CMake's build: " + done.stdout)
    if done.returncode == 0:
        for name in ["in-c", "in-cpp"] + (["archive"] if kind != "shared" else []):
            program = os.path.join(where, name)
            works(checks, "CMake's " + name, program)
            uses = any("grpoalign" in library for library in needed(program))
            checks.that(
                uses == (name != "archive" and kind != "static"),
                "CMake's %s needs %s" % (name, needed(program)),
            )
    where, done = configure("newer", "-DWANTED=99")
    checks.that(done.returncode != 0, "find_package(grpoalign 99) finds something")
    checks.that(
        version in done.stdout and "compatible" in done.stdout,
        "what CMake says of version 99: " + done.stdout,
    )
    if kind != "shared":
        where, done = configure("static", "-DFULLY_STATIC=ON")
        checks.that(done.returncode == 0, "CMake, component static: " + done.stdout)
        done = run(["cmake", "--build", where])
        checks.that(done.returncode == 0, "CMake's static build: " + done.stdout)
        if done.returncode == 0:
            works(checks, "CMake's fully-static", os.path.join(where, "fully-static"))
    else:
        where, done = configure("static", "-DFULLY_STATIC=ON")
        checks.that(
            done.returncode != 0 and "without static" in done.stdout,
            "the component static is found: " + done.stdout,
        )
        print("SKIPPED: no static library is installed with default_library=shared")


def subproject(checks, root, build, kind, folder):
    del build, kind
    consumers = os.path.join(root, "tests", "package", "consumers")
    project, where = os.path.join(folder, "project"), os.path.join(folder, "build")
    os.makedirs(os.path.join(project, "subprojects"))
    shutil.copy(os.path.join(consumers, "meson", "meson.build"), project)
    shutil.copy(os.path.join(consumers, "policy.c"), project)
    os.symlink(root, os.path.join(project, "subprojects", "grpoalign"))
    # Without jansson, cmocka and the like, which the library alone does not need.
    only = os.path.join(folder, "pc")
    os.mkdir(only)
    for path in run(["pkg-config", "--variable=pc_path", "pkg-config"]).stdout.strip().split(":"):
        for pc in glob.glob(os.path.join(path, "*.pc")):
            name = os.path.basename(pc)
            if "blas" in name or "lapack" in name:
                if not os.path.exists(os.path.join(only, name)):
                    os.symlink(pc, os.path.join(only, name))
    environment = dict(os.environ, PKG_CONFIG_LIBDIR=only, PKG_CONFIG_PATH="")
    environment.pop("DESTDIR", None)
    arguments = ["--force-fallback-for=grpoalign", "--prefix=" + os.path.join(folder, "prefix")]
    done = run(
        ["meson", "setup", where, project, "--buildtype=plain", "-Doptimization=0"] + arguments,
        env=environment,
    )
    checks.that(done.returncode == 0, "meson setup of a consumer: " + done.stdout)
    if done.returncode != 0:
        return
    done = run(["ninja", "-C", where], env=environment)
    checks.that(done.returncode == 0, "the build of a consumer: " + done.stdout)
    if done.returncode != 0:
        return
    program = os.path.join(where, "policy")
    works(checks, "with the library as a subproject", program)
    checks.that(
        not any("grpoalign" in name for name in needed(program)),
        "default_library=static is not honoured: %s" % needed(program),
    )
    built = [
        os.path.relpath(path, where)
        for path in glob.glob(os.path.join(where, "subprojects", "**", "*"), recursive=True)
        if os.path.isfile(path)
    ]
    for path in built:
        name = os.path.basename(path)
        checks.that(
            not name.startswith(("test_", "bench_", "replay_", "soak"))
            and ".so" not in name
            and name != "grpoalign",
            "a subproject builds %s" % path,
        )
    # A static library alone, installed: its .pc and its CMake files bring BLAS and LAPACK.
    done = run(["meson", "install", "-C", where, "--no-rebuild"], env=environment)
    checks.that(done.returncode == 0, "installing a consumer: " + done.stdout)
    prefix = os.path.join(folder, "prefix")
    names = [
        os.path.relpath(path, prefix)
        for path in glob.glob(os.path.join(prefix, "**", "*"), recursive=True)
    ]
    checks.that(not any("share/" in name for name in names), "installed: %s" % names)
    pc = os.path.dirname(find_one(prefix, "grpoalign.pc"))
    ask = ["pkg-config", "--cflags", "--libs"]
    by_pkg_config(checks, root, "static alone", folder, {"PKG_CONFIG_PATH": pc}, ask)
    by_pkg_config(
        checks,
        root,
        "static alone fully",
        folder,
        {"PKG_CONFIG_PATH": pc},
        ask + ["--static"],
        ["-static"],
    )
    if shutil.which("cmake") is not None:
        where = os.path.join(folder, "cmake")
        done = run(
            ["cmake", "-S", os.path.join(consumers, "cmake"), "-B", where]
            + ["-DCMAKE_PREFIX_PATH=" + prefix]
        )
        checks.that(done.returncode == 0, "CMake and a static library: " + done.stdout)
        done = run(["cmake", "--build", where, "--target", "in-c"])
        checks.that(done.returncode == 0, "CMake and a static library: " + done.stdout)
        if done.returncode == 0:
            works(checks, "CMake's in-c, static", os.path.join(where, "in-c"))
    # What the parent asks for on the command line reaches the library.
    where = os.path.join(folder, "shared")
    done = run(
        ["meson", "setup", where, project, "-Ddefault_library=shared"] + arguments, env=environment
    )
    checks.that(done.returncode == 0, "meson setup, shared: " + done.stdout)
    rules = ""
    if done.returncode == 0:
        with open(os.path.join(where, "build.ninja"), encoding="utf-8") as file:
            rules = file.read()
    checks.that(
        "libgrpoalign.so" in rules and "libgrpoalign.a:" not in rules,
        "default_library=shared is not honoured",
    )


def main(what, root, build, kind):
    checks = harness.Checks()
    with tempfile.TemporaryDirectory() as folder:
        {"pkgconfig": pkgconfig, "cmake": cmake, "subproject": subproject}[what](
            checks, root, build, kind, folder
        )
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
