"""Runs chosen tests alone, with what they print.

choose.py BUILD --list [NAME...]
choose.py BUILD [--scale N] [--seed N] NAME[/FUNCTION]...
"""

import argparse
import difflib
import fnmatch
import json
import os
import subprocess
import sys


def known_tests(build):
    text = subprocess.run(
        ["meson", "introspect", "--tests", build], check=True, stdout=subprocess.PIPE
    ).stdout
    return {test["name"]: test for test in json.loads(text)}


def is_c(test):
    return test["protocol"] == "tap"


def run_c(build, test, **more):
    """Builds a C program and runs it here, so that all it prints is seen."""
    program = os.path.relpath(test["cmd"][0], os.path.abspath(build))
    made = subprocess.run(
        ["ninja", "-C", build, program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if made.returncode != 0:
        sys.exit(made.stdout.decode())
    environment = dict(os.environ, **test["env"])
    environment["CMOCKA_MESSAGE_OUTPUT"] = "STDOUT"
    return subprocess.run(test["cmd"], env=environment, **more)


def functions_of(build, test):
    """The functions of a C program, which it prints itself."""
    if not is_c(test):
        return []
    test = dict(test, env=dict(test["env"], GRPOALIGN_TEST_LIST="1"))
    return run_c(build, test, check=True, stdout=subprocess.PIPE).stdout.decode().split()


def run(build, test):
    if is_c(test):
        return run_c(build, test).returncode
    # Meson builds what the test needs, and that alone.
    return subprocess.run(["meson", "test", "-C", build, "--verbose", test["name"]]).returncode


def refuse(what, wanted, names):
    """Says that there is no such name, and which are near."""
    near = difflib.get_close_matches(wanted, names, 5, 0.5)
    words = [word for word in wanted.split("_") if len(word) > 2]
    near += [name for name in names if name not in near and any(word in name for word in words)]
    print(
        'dev: there is no %s "%s"; %s:' % (what, wanted, "near it" if near else "there are"),
        file=sys.stderr,
    )
    for name in near[:10] or sorted(names):
        print("    " + name, file=sys.stderr)
    sys.exit(2)


def main():
    options = argparse.ArgumentParser(
        prog="dev test", usage="sh ./dev test [--list] [--scale N] [--seed N] NAME[/FUNCTION]..."
    )
    options.add_argument("build", help=argparse.SUPPRESS)
    options.add_argument(
        "--list", action="store_true", help="names of the tests, or of the functions of some"
    )
    options.add_argument("--scale", type=int, help="so many times the random cases")
    options.add_argument("--seed", type=int, help="of the random cases")
    options.add_argument("names", nargs="*", metavar="NAME[/FUNCTION]")
    chosen = options.parse_intermixed_args()
    if chosen.scale is not None and chosen.scale < 1:
        options.error("--scale must be at least 1")
    if not chosen.names and not chosen.list:
        options.error("name the tests; --list lists them")
    tests = known_tests(chosen.build)
    runs = []
    for name, _, function in (text.partition("/") for text in chosen.names):
        if name not in tests:
            refuse("test", name, list(tests))
        names = functions_of(chosen.build, tests[name]) if function or chosen.list else []
        if function and not names:
            sys.exit("dev: %s is one test, without functions to choose from" % name)
        if function and not fnmatch.filter(names, function):
            refuse("function in " + name, function, names)
        if chosen.list:
            print("\n".join("%s/%s" % (name, other) for other in names) or name)
        runs.append((name, function))
    if chosen.list:
        for name in [] if chosen.names else sorted(tests, key=lambda n: (tests[n]["suite"], n)):
            print("%-12s%s" % (tests[name]["suite"][0].split(":")[-1], name))
        return 0
    if chosen.scale is not None:
        os.environ["GRPOALIGN_TEST_SCALE"] = str(chosen.scale)
    if chosen.seed is not None:
        os.environ["GRPOALIGN_TEST_SEED"] = str(chosen.seed)
    failed = False
    for name, function in runs:
        os.environ["GRPOALIGN_TEST"] = function
        failed |= run(chosen.build, tests[name]) != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
