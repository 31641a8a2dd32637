"""Golden answers of 30 digits and more, through the command: policies within 1e-10, advantages within
1e-9 relative to max(1, |u|). FILE:TOLERANCE is a file whose policies are less exact."""

import json
import sys

import harness


def main(paths):
    checks = harness.Checks()
    for argument in paths:
        path, _, given = argument.partition(":")
        tolerance = float(given or 1e-10)
        with open(path, encoding="utf-8") as file:
            lines = [line for line in file.read().splitlines() if line.strip()]
        records = [json.loads(line) for line in lines]
        for record in records:
            record.pop("note", None)
        status, results = harness.solve(records)
        checks.that(
            status == 0 and len(results) == len(records), "%s: exit status %d" % (path, status)
        )
        worst_policy = worst_advantage = 0.0
        for record, result in zip(records, results):
            where = "%s: %s" % (path, record["id"])
            if "error" in result:
                checks.that(False, "%s: %s" % (where, result["error"]))
                continue
            policy = max(abs(a - b) for a, b in zip(result["policy"], record["policy"]))
            advantage = max(
                abs(a - b) / max(1.0, abs(b))
                for a, b in zip(result["advantage"], record.get("advantage", result["advantage"]))
            )
            worst_policy, worst_advantage = max(worst_policy, policy), max(
                worst_advantage, advantage
            )
            checks.that(result["id"] == record["id"], "%s: id %s" % (where, result["id"]))
            checks.that(policy <= tolerance, "%s: policy off by %g" % (where, policy))
            checks.that(advantage <= 1e-9, "%s: advantage off by %g" % (where, advantage))
            # The estimate is honest: it may be too large, not too small.
            checks.that(
                policy <= 10 * result["policy_error"] + max(2e-13, tolerance if given else 0.0),
                "%s: policy off by %g, estimated %g" % (where, policy, result["policy_error"]),
            )
            checks.that(
                result["status"] in ("ok", "not_unique"), "%s: %s" % (where, result["status"])
            )
        print(
            "%s: %d records, largest error of a policy %.1e, of an advantage %.1e"
            % (path, len(records), worst_policy, worst_advantage)
        )
    return checks.close()


def find(argument):
    """The path of an argument, which may lie in the shared folder."""
    path, colon, tolerance = argument.partition(":")
    path = harness.need_shared(*path.split("/")[1:]) if path.startswith("shared/") else path
    return path + colon + tolerance


if __name__ == "__main__":
    sys.exit(main([find(argument) for argument in sys.argv[1:]]))
