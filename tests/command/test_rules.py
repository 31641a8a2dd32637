"""Records with a group_table. With --golden: answers of 30 digits, within 1e-12."""

import json
import math
import sys

import harness
from harness import run, solve

TABLE = {"success": [1, 0.5, 0.2, 0], "failure": [0, -0.2, -0.4, -1]}
GOOD = {
    "id": "good",
    "rewards": [0, 1, 1],
    "reference": [0.8, 0.1, 0.1],
    "group_table": TABLE,
    "penalty": "reverse_kl",
    "beta": 0.2,
}


def changed(**keys):
    record = dict(GOOD, **keys)
    return {key: value for key, value in record.items() if value is not None}


BAD = [
    (changed(scale="none"), "contradiction", "group_table"),
    (changed(scale="std"), "contradiction", "scale"),
    (changed(epsilon=1e-4), "contradiction", "epsilon"),
    (changed(ddof=1), "contradiction", "ddof"),
    (changed(baseline="leave_one_out"), "contradiction", "baseline"),
    (changed(zero_variance="drop"), "contradiction", "zero_variance"),
    (changed(scale="batch_std"), "contradiction", "group_table"),
    (changed(group_size=5), "contradiction", "group_size"),
    (changed(model="limit"), "contradiction", "group model"),
    (changed(model="pairwise"), "contradiction", "group model"),
    (changed(rewards=[0, 1, 0.5]), "argument", "rewards[2] must be 0 or 1"),
    (changed(rewards=None), "contradiction", "expects rewards"),
    (
        changed(rewards=None, support=[0, 1], distribution=[[1, 0], [0, 1], [0.5, 0.5]]),
        "contradiction",
        "one reward",
    ),
    (changed(group_table=[1, 2]), "shape", "an array"),
    (changed(group_table={"success": [1, 2]}), "shape", "failure"),
    (changed(group_table={"failure": [1, 2]}), "shape", "success"),
    (changed(group_table={"success": [1, 2], "failure": [1]}), "shape", "expected 2"),
    (
        changed(group_table={"success": [1], "failure": [1]}),
        "argument",
        "group_size must be from 2",
    ),
    (changed(group_table={"success": [1, "a"], "failure": [1, 2]}), "shape", "success[1]"),
    (changed(group_table=dict(TABLE, ties=[1])), "shape", "other keys"),
    (changed(group_table={"success": [1, 1e300], "failure": [0, 0]}), "argument", "success[1]"),
    (changed(penalty="total_variation"), "unsupported", "group rules"),
    (changed(penalty="kl_in_reward"), "unsupported", "group rules"),
    (changed(penalty="none", beta=None), "unsupported", "group rules"),
]


def check_errors(checks):
    status, results = solve([record for record, _, _ in BAD] + [GOOD])
    checks.that(status == 1 and len(results) == len(BAD) + 1, "exit status %d" % status)
    for (record, name, word), result in zip(BAD, results):
        told = result.get("error", "")
        checks.that(
            result["status"] == name and word in told,
            "%s: %s, %s" % (json.dumps(record), result["status"], told),
        )
    checks.that(results[-1]["status"] == "ok", "the good one: %s" % results[-1]["status"])
    status, out, _ = run(["simulate"], json.dumps(GOOD).encode())
    told = json.loads(out)
    checks.that(
        status == 1 and told["status"] == "unsupported" and "group_table" in told["error"],
        "simulate: %s" % out,
    )


def std_table(size):
    """What the std of a group gives: (r - mean)/std."""
    return {
        "success": [math.sqrt((size - c) / c) for c in range(1, size + 1)],
        "failure": [-math.sqrt(c / (size - c)) for c in range(size)],
    }


def check_against_the_std(checks):
    tables, groups = [], []
    for size in (2, 3, 8, 33):
        for penalty in ("reverse_kl", "direct_kl", "chi_squared", "jensen_shannon"):
            for beta in (0.02, 0.3, 2.0):
                record = changed(penalty=penalty, beta=beta, group_table=None)
                groups.append(dict(record, model="group", group_size=size))
                tables.append(dict(record, group_table=std_table(size)))
    _, expected = solve(groups)
    _, found = solve(tables)
    for record, a, b in zip(tables, expected, found):
        where = "%s, beta %g, G %d" % (
            record["penalty"],
            record["beta"],
            len(record["group_table"]["success"]),
        )
        checks.that(a["status"] == b["status"], "%s: %s, %s" % (where, a["status"], b["status"]))
        off = max(abs(x - y) for x, y in zip(a["policy"], b["policy"]))
        checks.that(off < 1e-12, "%s: policies %g apart" % (where, off))
        off = max(abs(x - y) for x, y in zip(a["advantage"], b["advantage"]))
        checks.that(off < 1e-11, "%s: advantages %g apart" % (where, off))


def contrast(table, p):
    n = len(table["success"]) - 1
    return math.fsum(
        math.comb(n, k) * p**k * (1 - p) ** (n - k) * (table["success"][k] - table["failure"][k])
        for k in range(n + 1)
    )


def check_points(checks):
    """A prize for few, a fine, and a prize for nearly all: several policies attract."""
    table = {"success": [1, 0, -2, -2, 0, 3, 3, 3], "failure": [0, 0, 0, 0, 0, 0, 0, 0]}
    beta, rho = 0.2, 0.2
    record = changed(group_table=table, beta=beta, penalty="direct_kl")
    status, out, _ = run(["points"], json.dumps(record).encode())
    told = json.loads(out)
    checks.that(status == 0 and told["complete"] is True, "points: %s" % out)

    def equation(p):
        odds = math.log(p / (1 - p)) - math.log(rho / (1 - rho))
        return beta * odds - contrast(table, p)

    grid = [1 / (1 + math.exp(-(k + 0.5) / 50)) for k in range(-1500, 1500)]
    seen = [0.5 * (a + b) for a, b in zip(grid, grid[1:]) if (equation(a) > 0) != (equation(b) > 0)]
    found = [sum(point["policy"][1:]) for point in told["points"]]
    checks.that(len(found) == len(seen) >= 3, "points at %s, expected %s" % (found, seen))
    for p, q in zip(found, seen):
        checks.that(abs(p - q) < 0.02, "a point at %g, expected %g" % (p, q))
    for point in told["points"]:
        checks.that(point["unique"] is False, "unique: %s" % point["unique"])
    status, results = solve([record])
    checks.that(status == 0 and results[0]["status"] == "not_unique", results[0]["status"])


def check_sweep(checks):
    status, out, _ = run(
        ["sweep", "--beta", "0.1:1:log4", "--format", "jsonl"], json.dumps(GOOD).encode()
    )
    rows = [json.loads(line) for line in out.splitlines()]
    checks.that(status == 0 and len(rows) == 4, "sweep: %d, %s" % (status, out[:200]))
    _, results = solve([changed(beta=row["beta"]) for row in rows])
    for row, result in zip(rows, results):
        checks.that(row["group_size"] == 4, "group_size %s" % row["group_size"])
        off = max(abs(a - b) for a, b in zip(row["policy"], result["policy"]))
        checks.that(off < 1e-12, "sweep at beta %g: %g apart" % (row["beta"], off))


def check_preset(checks):
    """Its penalty, not its normalisation."""
    bare = changed(penalty=None, beta=0.2)
    status, (found,) = solve([bare], "--preset", "trl-1.9")
    _, (expected,) = solve([changed(penalty="reverse_kl", beta=0.2)])
    checks.that(status == 0 and found["policy"] == expected["policy"], "preset: %s" % found)


def check_golden(checks):
    path = harness.need_shared("golden", "compositions.jsonl")
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file if line.strip()]
    records = [record for record in records if "group_table" in record]
    checks.that(len(records) > 0, "%s has no group_table" % path)
    status, results = solve(records)
    checks.that(status == 0, "exit status %d" % status)
    for record, result in zip(records, results):
        where = "%s: %s" % (record["id"], result["status"])
        checks.that(result["status"] in ("ok", "not_unique"), where)
        for key in ("policy", "advantage"):
            off = max(abs(a - b) for a, b in zip(result[key], record[key]))
            checks.that(off <= 1e-12, "%s: %s off by %g" % (where, key, off))


def main(arguments):
    checks = harness.Checks()
    if arguments == ["--golden"]:
        check_golden(checks)
        return checks.close()
    check_errors(checks)
    check_against_the_std(checks)
    check_points(checks)
    check_sweep(checks)
    check_preset(checks)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
