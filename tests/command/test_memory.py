"""The command with memory refused: refuse.c, preloaded, refuses one allocation after the other. No
run may crash or hang. One that tells something else than the whole answer says that memory is short,
and does not end well; a result is whole or none.

test_memory.py REFUSE.so. GRPOALIGN_TEST_MEMORY=whole refuses every allocation, otherwise some."""

import json
import os
import subprocess
import sys
import tempfile

import harness
from harness import COMMAND

WHOLE = os.environ.get("GRPOALIGN_TEST_MEMORY") == "whole"
SOME = 25  # allocations that are refused for each command, spread over all

RECORDS = [
    {
        "id": "others",
        "model": "group",
        "group_size": 6,
        "rewards": [0, 0.5, 1],
        "scale": "std_of_others",
        "baseline": "leave_one_out",
        "penalty": "reverse_kl",
        "beta": 0.5,
    },
    {
        "id": "cycle",
        "margins": [[0, 1, -1], [-1, 0, 1], [1, -1, 0]],
        "penalty": "direct_kl",
        "beta": 0.5,
    },
    {"id": "trl", "preset": "trl-1.9", "rewards": [0, 1], "reference": [0.8, 0.2], "beta": 0.3},
]
BAD = ['{"id": "bad", "rewards": [0, 1], "bad": 1}', "{broken"]

COMMANDS = [
    ["solve", "good.jsonl"],
    ["solve", "bad.jsonl"],
    ["solve", "--format", "table", "good.jsonl"],
    ["solve", "--threads", "2", "good.jsonl"],
    ["solve", "--rollouts", "rollouts.csv", "--preset", "trl-1.9", "--beta", "0.1"],
    ["solve", "--rollouts", "rollouts.csv", "--model", "limit", "--scale", "batch-std"]
    + ["--penalty", "reverse-kl", "--beta", "0.1"],
    ["solve", "--battles", "battles.csv", "--beta", "0.5", "--penalty", "reverse-kl"],
    ["points", "--beta", "0.4", "good.jsonl"],
    ["points", "--beta", "0.2", "--penalty", "reverse-kl", "table.jsonl"],
    ["flow", "good.jsonl"],
    ["explain", "good.jsonl"],
    ["simulate", "--steps", "3", "--repetitions", "2", "good.jsonl"],
    ["sweep", "--beta", "0.1,0.5", "--penalty", "reverse-kl,direct-kl", "rewards.jsonl"],
    ["sweep", "--beta", "0.1,1", "--plot", "plot.svg", "--format", "csv", "rewards.jsonl"],
    ["tune", "--target", "metric:true=0.3", "--penalty", "reverse-kl", "inverse.jsonl"],
    ["fit", "--penalty", "direct-kl", "inverse.jsonl"],
    ["presets"],
    ["--help"],
    ["sweep", "--help"],
]


def write_inputs():
    with open("good.jsonl", "w") as file:
        file.writelines(json.dumps(record) + "\n" for record in RECORDS)
    with open("bad.jsonl", "w") as file:
        file.writelines(line + "\n" for line in BAD)
    with open("table.jsonl", "w") as file:
        file.write('{"rewards": [0, 1], "group_table": {"success": [1, -1], "failure": [0, 1]}}\n')
    with open("rewards.jsonl", "w") as file:
        file.write('{"id": "r", "rewards": [0, 1], "model": "limit", "penalty": "reverse_kl"}\n')
    with open("inverse.jsonl", "w") as file:
        file.write(
            '{"rewards": [0, 0.5, 1], "model": "limit", "scale": "none", "observed": [1, 2, 3], '
            '"reference": [0.8, 0.15, 0.05], "metrics": {"other": [3, 1, 2], "true": [0, 1, 0]}}\n'
        )
    with open("rollouts.csv", "w") as file:
        file.write("prompt,reward,logprob\n")
        for i in range(24):
            file.write("p%d,%g,%g\n" % (i % 3, i * 7 % 5 / 4, -1 - i % 4))
    with open("battles.csv", "w") as file:
        file.write("model_a,model_b,winner\n")
        for i in range(20):
            winner = ("model_a", "model_b", "tie")[i % 3]
            file.write("m%d,m%d,%s\n" % (i % 4, (i + 1 + i % 2) % 4, winner))


def run(arguments, shim, refused):
    """Exit status, output and errors, and the number of allocations."""
    environment = dict(
        os.environ, LD_PRELOAD=shim, GRPOALIGN_REFUSE=str(refused), GRPOALIGN_ALLOCATIONS="count"
    )
    done = subprocess.run(
        [COMMAND] + arguments, capture_output=True, text=True, env=environment, timeout=120
    )
    try:
        with open("count") as file:
            count = int(file.read())
        os.remove("count")
    except (OSError, ValueError):
        count = 0
    return done.returncode, done.stdout, done.stderr, count


def is_whole_or_none(line, normal):
    """A line of results is one that comes out with all memory, or says that memory is short."""
    return line in normal or "memory" in line or "the batch is not whole" in line


def refuse_one(checks, arguments, shim, refused, normal):
    code, out, err = run(arguments, shim, refused)[:3]
    where = "grpoalign %s, allocation %d refused" % (" ".join(arguments), refused)
    checks.that(code >= 0, "%s: killed by signal %d" % (where, -code))
    if (code, out, err) == normal[:3]:
        return
    checks.that("memory" in out + err, "%s: does not say so: %s" % (where, err[:200]))
    checks.that(code != 0, "%s: ends well with %r" % (where, err[:200]))
    if arguments[0] == "solve" and "table" not in arguments:
        lines = normal[1].splitlines()
        for line in out.splitlines():
            checks.that(is_whole_or_none(line, lines), "%s: %s" % (where, line[:200]))


def main():
    if os.environ.get("GRPOALIGN_SANITIZED") == "1":
        print("SKIPPED: sanitizers bring an allocator of their own.")
        return harness.SKIP
    checks = harness.Checks()
    shim = os.path.abspath(sys.argv[1])
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_inputs()
        for arguments in COMMANDS:
            normal = run(arguments, shim, -1)
            checks.that(normal[0] == (1 if "bad.jsonl" in arguments else 0), str(normal))
            checks.that(normal[3] > 0, "%s: nothing is allocated" % arguments)
            stride = 1 if WHOLE else max(1, normal[3] // SOME)
            for refused in range(0, normal[3], stride):
                refuse_one(checks, arguments, shim, refused, normal)
                total += 1
        os.chdir("/")
    print("%d allocations refused" % total)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
