"""--derivatives beside golden answers of 20 digits, to 1e-8, and what has none says why."""

import json
import sys

import harness

KEYS = ("dpolicy_dbeta", "dpolicy_drewards", "dpolicy_dlogreference")


def flat(value):
    return [y for x in value for y in (flat(x) if isinstance(x, list) else [x])]


def golden(checks, path):
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file if line.strip()]
    asked = [
        {key: value for key, value in record.items() if key not in KEYS + ("policy", "advantage")}
        for record in records
    ]
    status, results = harness.solve(asked, "--derivatives")
    checks.that(status == 0 and len(results) == len(records), "exit status %d" % status)
    worst = 0.0
    for record, result in zip(records, results):
        for key in KEYS:
            if key not in record:
                continue
            found = result.get(key)
            off = max(abs(a - b) for a, b in zip(flat(found), flat(record[key]))) if found else 1.0
            worst = max(worst, off)
            checks.that(off <= 1e-8, "%s: %s is off by %g" % (record["id"], key, off))
    print("%d records, derivatives off by at most %.1e" % (len(records), worst))


def parts(checks):
    record = {
        "model": "group",
        "group_size": 4,
        "rewards": [0, 1, 1, 3],
        "penalty": {"reverse_kl": 0.3, "direct_kl": 0.2, "entropy": 0.1},
    }
    _, [result] = harness.solve([record], "--derivatives")
    by_beta = result["dpolicy_dbeta"]
    checks.that(set(by_beta) == {"reverse_kl", "direct_kl", "entropy"}, "parts: %s" % by_beta)
    for name in by_beta:
        step = 1e-5
        policies = []
        for sign in (1, -1):
            moved = dict(record, penalty=dict(record["penalty"]))
            moved["penalty"][name] += sign * step
            _, [answer] = harness.solve([moved])
            policies.append(answer["policy"])
        for found, up, down in zip(by_beta[name], *policies):
            checks.that(abs(found - (up - down) / (2 * step)) < 1e-6, "%s: %g" % (name, found))
    rows = result["dpolicy_drewards"]
    tied = [row[1] is None and row[2] is None for row in rows]
    checks.that(all(tied), "tied rewards have no derivative")
    checks.that(all(row[0] is not None for row in rows), "the others have one")
    checks.that("ties" in result["derivatives_note"], "and it is said why")
    _, [plain] = harness.solve([record])
    checks.that("dpolicy_dbeta" not in plain, "none are told that were not asked for")


def main(path):
    checks = harness.Checks()
    parts(checks)
    golden(checks, path)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(harness.need_shared("golden", "sensitivities.jsonl")))
