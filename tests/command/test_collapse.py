"""Large groups with direct KL below the critical beta: no stationary policy, and the command says
so."""

import json
import sys

import harness


def main(path):
    checks = harness.Checks()
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file if line.strip()]
    for record in records:
        record.pop("note", None)
    status, results = harness.solve(records)
    checks.that(status == 0 and len(results) == len(records), "exit status %d" % status)
    for record, result in zip(records, results):
        best = max(record["rewards"])
        elsewhere = sum(p for p, r in zip(result["policy"], record["rewards"]) if r != best)
        checks.that(result["status"] == "collapsed", "%s: %s" % (record["id"], result["status"]))
        checks.that(
            elsewhere == 0.0, "%s: %g outside the best outcomes" % (record["id"], elsewhere)
        )
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
