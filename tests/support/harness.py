"""Running the command and reading what it prints."""

import json
import os
import subprocess
import sys

COMMAND = os.environ.get("GRPOALIGN", "grpoalign")
SHARED = os.environ.get("GRPOALIGN_SHARED", "")
SKIP = 77  # the exit status that the test runner counts as skipped


def need_shared(*parts):
    """The path of shared material; leaves with a loud skip where it is not there."""
    path = os.path.join(SHARED, *parts)
    if not os.path.exists(path):
        print("SKIPPED: %s is not there. These checks did not run." % path)
        sys.exit(SKIP)
    return path


def run(arguments, text=None):
    """Exit status, standard output and standard error of `grpoalign arguments`."""
    done = subprocess.run(
        [COMMAND] + [str(a) for a in arguments],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")


def solve(records, *options):
    """Exit status and results of `grpoalign solve`, for records that are objects or lines."""
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    status, out, err = run(
        ["solve", "--format", "jsonl"] + list(options), ("\n".join(lines) + "\n").encode("utf-8")
    )
    if err:
        print(err, file=sys.stderr)
    return status, [json.loads(line) for line in out.splitlines()]


class Checks:
    """Counts checks; `close` prints the count and says how the process should end."""

    def __init__(self):
        self.passed = 0
        self.failed = []

    def that(self, condition, message):
        if condition:
            self.passed += 1
        else:
            self.failed.append(message)

    def close(self):
        for message in self.failed[:50]:
            print("FAILED: %s" % (message,))
        print("%d checks passed, %d failed" % (self.passed, len(self.failed)))
        return 1 if self.failed or self.passed == 0 else 0
