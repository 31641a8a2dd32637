"""The recipes in packaging/ know the version, the ABI and the files of this tree. They are not built
here; packaging/README.md says how far each was.   Arguments: source root, build root."""

import ast
import fnmatch
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import harness


def run(command, **options):
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        **options
    )


def text_of(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return file.read()


def numbers(root):
    header = text_of(root, "include", "grpoalign", "version.h")
    found = dict(re.findall(r"^#define GRPOALIGN_(\w+) (\d+)$", header, flags=re.M))
    version = ".".join(found["VERSION_" + part] for part in ("MAJOR", "MINOR", "PATCH"))
    return version, found["ABI"]


def versions(checks, packaging, version, abi):
    told = {
        "debian/changelog": r"^grpoalign \(([^-)]+)-",
        "conda/meta.yaml": r'set version = "([^"]+)"',
        "vcpkg/ports/grpoalign/vcpkg.json": r'"version": "([^"]+)"',
    }
    for name, pattern in told.items():
        found = re.search(pattern, text_of(packaging, *name.split("/")), flags=re.M)
        checks.that(found and found.group(1) == version, "%s is not of %s" % (name, version))
    debian = os.path.join(packaging, "debian")
    package = "libgrpoalign" + abi
    control = text_of(debian, "control")
    checks.that("\nPackage: %s\n" % package in control, "debian/control has no " + package)
    symbols = text_of(debian, package + ".symbols")
    checks.that(
        symbols.startswith("libgrpoalign.so.%s %s " % (abi, package)), "the SONAME in .symbols"
    )
    nodes = re.findall(
        r"^(GRPOALIGN_[\d.]+) \{", text_of(packaging, "..", "lib", "grpoalign.map"), flags=re.M
    )
    checks.that(
        set(re.findall(r"\(symver\)(\S+)", symbols)) == set(nodes),
        "the symbol versions in .symbols are not those of the map",
    )


def debian_files(checks, packaging, build, abi):
    """Every file that is installed is in one package, but for the licence and the changes."""
    debian = os.path.join(packaging, "debian")
    claims = {}
    for path in glob.glob(os.path.join(debian, "*.install")):
        for line in text_of(path).splitlines():
            claims.setdefault(os.path.basename(path), []).append(line.split()[0])
    with tempfile.TemporaryDirectory() as folder:
        done = run(
            ["meson", "install", "-C", build, "--no-rebuild"], env=dict(os.environ, DESTDIR=folder)
        )
        checks.that(done.returncode == 0, "meson install: " + done.stdout)
        options = json.loads(run(["meson", "introspect", build, "--buildoptions"]).stdout)
        prefix = {option["name"]: option["value"] for option in options}["prefix"].lstrip("/")
        installed = set()
        for where, _, names in os.walk(os.path.join(folder, prefix)):
            for name in names:
                relative = os.path.relpath(os.path.join(where, name), os.path.join(folder, prefix))
                installed.add(os.path.join("usr", relative))
    # Where libraries stand below lib/ is Debian's business.
    plain = {
        re.sub(r"^usr/lib/([^/]+-linux-gnu[^/]*)/", "usr/lib/any/", path) for path in installed
    }
    plain = {re.sub(r"^usr/lib/(?!any/)", "usr/lib/any/", path) for path in plain}
    taken = {}
    for package, patterns in claims.items():
        for pattern in patterns:
            found = {
                path
                for path in plain
                if fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path, pattern + "/*")
            }
            if not (found or pattern.endswith(".a") or pattern.endswith("man")):
                checks.that(False, "%s: there is no %s" % (package, pattern))
            for path in found:
                taken.setdefault(path, set()).add(package)
    checks.that(len(plain) > 30, "only %d files are installed" % len(plain))
    left = sorted(path for path in plain if path not in taken)
    checks.that(left == [], "in no package: %s" % left)
    checks.that(
        all(len(packages) == 1 for packages in taken.values()),
        "in several: %s" % sorted(p for p, packages in taken.items() if len(packages) > 1),
    )
    checks.that("libgrpoalign%s.install" % abi in claims, "the library is in no package")


def conan_files(checks, root, packaging):
    """What the root's meson.build needs for the library is what Conan exports."""
    recipe = text_of(packaging, "conan", "conanfile.py")
    ast.parse(recipe)
    recipe = recipe[recipe.index("def export_sources") : recipe.index("def layout")]
    ast.parse(text_of(packaging, "conan", "test_package", "conanfile.py"))
    build = text_of(root, "meson.build")
    needed = set(re.findall(r"^\s*subdir\('(\w+)'\)", build, flags=re.M))
    for folder in sorted(needed - {"tools", "tests", "bench"}):
        checks.that('"%s"' % folder in recipe or '"%s/' % folder in recipe, "no %s" % folder)
    checks.that('"meson_options.txt"' in recipe and '"LICENSE"' in recipe, "Conan: root files")


def main(root, build):
    checks = harness.Checks()
    packaging = os.path.join(root, "packaging")
    version, abi = numbers(root)
    versions(checks, packaging, version, abi)
    debian_files(checks, packaging, build, abi)
    conan_files(checks, root, packaging)
    json.loads(text_of(packaging, "vcpkg", "ports", "grpoalign", "vcpkg.json"))
    for path in ("conda/build.sh", "debian/rules", "debian/tests/program"):
        path = os.path.join(packaging, path)
        checks.that(os.access(path, os.X_OK), "%s cannot be run" % path)
        if not path.endswith("rules"):
            done = run(["sh", "-n", path])
            checks.that(done.returncode == 0, "%s: %s" % (path, done.stdout))
    options = re.findall(r"^option\('(\w+)'", text_of(root, "meson_options.txt"), flags=re.M)
    known = set(options) | {"default_library", "libdir", "prefix"}
    for path in glob.glob(os.path.join(packaging, "**", "*"), recursive=True):
        if os.path.isfile(path):
            for name in re.findall(r"(?<![\w-])-D([a-z_]+)=", text_of(path)):
                checks.that(name in known, "%s: there is no option %s" % (path, name))
    readme = text_of(packaging, "README.md")
    for name in os.listdir(packaging):
        if os.path.isdir(os.path.join(packaging, name)):
            checks.that("`%s/`" % name in readme, "packaging/README.md does not name " + name)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
