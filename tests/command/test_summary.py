"""Metrics, silent groups, one realised group, keys that nobody knows, and grpoalign summary."""

import itertools
import json
import math
import sys

import harness

BASE = {
    "model": "group",
    "group_size": 3,
    "rewards": [0, 1, 1, 2],
    "reference": [0.4, 0.1, 0.2, 0.3],
    "penalty": "reverse_kl",
    "beta": 0.5,
}


def silent(policy, rewards, size):
    """The probability that all members of a group have one reward, group by group."""
    total = 0.0
    for group in itertools.product(range(len(policy)), repeat=size):
        if len({rewards[o] for o in group}) == 1:
            total += math.prod(policy[o] for o in group)
    return total


def metrics(checks):
    record = dict(BASE, metrics={"cost": [1, 2, 3, 4]}, lengths=[5, 6, 7, 8])
    _, [r] = harness.solve([record])
    for name, values in (("cost", [1, 2, 3, 4]), ("lengths", [5, 6, 7, 8])):
        for key, policy in (("reference", BASE["reference"]), ("policy", r["policy"])):
            expected = sum(p * v for p, v in zip(policy, values))
            checks.that(abs(r["metrics"][name][key] - expected) < 1e-12, "%s %s" % (name, key))
    for key, policy in (("silent_reference", BASE["reference"]), ("silent", r["policy"])):
        expected = silent(policy, BASE["rewards"], 3)
        checks.that(
            abs(r[key] - expected) < 1e-12, "%s is %g: expected %g" % (key, r[key], expected)
        )
    _, [r] = harness.solve([dict(BASE, metrics={"cost": [1, 2]})])
    checks.that(r["status"] == "shape", "a metric of another length: %s" % r)
    _, [r] = harness.solve([dict(BASE, lengths=[1, 2, 0, 4])])
    checks.that("lengths[2]" in r.get("error", ""), "a length of 0: %s" % r)
    _, [r] = harness.solve(
        [{k: v for k, v in BASE.items() if k != "group_size"} | {"model": "limit"}]
    )
    checks.that("silent" not in r, "the limit has no groups")


def group(checks):
    for scale, expected in (
        ("std", [-math.sqrt(2), 1 / math.sqrt(2), 1 / math.sqrt(2)]),
        ("none", [-2 / 3, 1 / 3, 1 / 3]),
    ):
        _, [r] = harness.solve([dict(BASE, group=[0, 1, 1], scale=scale)])
        for a, b in zip(r["group_advantages"], expected):
            checks.that(abs(a - b) < 1e-12, "%s: %s" % (scale, r["group_advantages"]))
    _, [r] = harness.solve([dict(BASE, group=[0, 1])])
    checks.that(r["status"] == "contradiction", "a group of another size: %s" % r)


def unknown(checks):
    record = dict(BASE, prompt="2 + 2", step=7)
    status, [r] = harness.solve([record])
    checks.that(status == 1 and r["status"] == "unknown_key", "an unknown key: %s" % r)
    status, [r] = harness.solve([record], "--ignore-unknown")
    checks.that(status == 0 and r["status"] == "ok", "passed over: %s" % r)


def summary(checks):
    records = [
        dict(BASE, id=1, metrics={"cost": [1, 2, 3, 4]}),
        dict(BASE, id=2, rewards=[0, 1, 0, 1]),
        {"id": 3, "nonsense": 1},
        dict(BASE, id=4, model="limit", rewards=[0, 1, 0, 1]),
    ]
    del records[3]["group_size"]
    _, answers = harness.solve(records)
    lines = "\n".join(map(json.dumps, records)) + "\n"
    status, out, err = harness.run(["summary", "--format", "jsonl"], lines.encode())
    told = json.loads(out)
    checks.that(status == 1 and "nonsense" in err, "the bad record is told apart: %s" % err)
    checks.that(told["contexts"] == 4 and told["failed"] == 1, "counts: %s" % out)
    good = [a for a in answers if a["status"] == "ok"]
    for key in ("expected_reward", "kl_ref_policy", "kl_policy_ref", "entropy", "silent"):
        values = [a[key] for a in good if key in a]
        mean = sum(values) / len(values)
        checks.that(abs(told[key] - mean) < 1e-12, "%s is %g: expected %g" % (key, told[key], mean))
    checks.that(told["metrics"]["cost"] == good[0]["metrics"]["cost"], "the mean of one: %s" % out)
    passing = [dict(r, rewards=[0, 1, 0, 1]) for r in records if "nonsense" not in r]
    _, answers = harness.solve(passing)
    lines = "\n".join(map(json.dumps, passing)) + "\n"
    status, out, _ = harness.run(
        ["summary", "--format", "jsonl", "--pass-at", "1,8"], lines.encode()
    )
    told = json.loads(out)["pass_at"]
    for k in (1, 8):
        mean = sum(1 - (1 - a["policy"][1] - a["policy"][3]) ** k for a in answers) / len(answers)
        checks.that(abs(told[str(k)]["policy"] - mean) < 1e-12, "pass@%d: %s" % (k, out))
        checks.that(abs(told[str(k)]["reference"] - (1 - 0.6**k)) < 1e-12, "before: %s" % out)
    status, out, err = harness.run(
        ["summary", "--format", "jsonl", "--pass-at", "1"], json.dumps(BASE).encode()
    )
    checks.that(status == 1 and "--pass-metric" in err, "rewards that do not pass: %s" % err)
    checks.that(json.loads(out)["pass_at"]["1"]["policy"] is None, "a mean over nothing: %s" % out)
    status, out, _ = harness.run(["summary", "--format", "table"], json.dumps(BASE).encode())
    checks.that(status == 0 and "expected reward" in out, "a table: %s" % out)
    status, _, err = harness.run(["summary", "--pass-at", "0"], b"")
    checks.that(status == 2, "--pass-at 0: %s" % err)


def main():
    checks = harness.Checks()
    metrics(checks)
    group(checks)
    unknown(checks)
    summary(checks)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
