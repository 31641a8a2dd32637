"""grpoalign points: the known cases, binary problems against a count of their own, and real
rollouts."""

import json
import math
import random
import sys

import harness


def points(records, *options):
    lines = "".join(json.dumps(r) + "\n" for r in records)
    status, out, err = harness.run(["points", "--format", "jsonl"] + list(options), lines.encode())
    if err:
        print(err, file=sys.stderr)
    return status, [json.loads(line) for line in out.splitlines()]


def binary(group_size, p, beta, penalty="direct_kl", **more):
    record = {
        "model": "group",
        "group_size": group_size,
        "rewards": [0, 1],
        "reference": [1 - p, p],
        "penalty": penalty,
        "beta": beta,
    }
    return dict(record, **more)


def limit(p, beta):
    return {
        "model": "limit",
        "rewards": [0, 1],
        "reference": [1 - p, p],
        "penalty": "direct_kl",
        "beta": beta,
    }


def known_cases(checks):
    status, results = points(
        [binary(32, 0.1, 0.7, id="three"), binary(16, 0.1, 0.7), limit(0.1, 1), limit(0.1, 0.5)],
        "--folds",
        "0.01:10",
    )
    checks.that(
        status == 0 and all(r["status"] == "ok" and r["complete"] is True for r in results),
        "statuses",
    )
    three, one, two, none = results
    found = [p["policy"][1] for p in three["points"]]
    checks.that(
        len(found) == 3
        and all(abs(a - b) < 6e-5 for a, b in zip(found, (0.70655, 0.8775, 0.99589))),
        found,
    )
    checks.that([p["stable"] for p in three["points"]] == [True, False, True], "stability of three")
    checks.that(
        [p["from_reference"] for p in three["points"]] == [True, False, False], "which is connected"
    )
    checks.that(
        [p["reached"] for p in three["points"]] == [True, False, False]
        and three["training_ends"] == "point",
        "which is reached",
    )
    checks.that([p["rate"] < 0 for p in three["points"]] == [True, False, True], "rates")
    checks.that(
        all(p["residual"] < 1e-12 for p in three["points"]) and three["critical_beta"] is None,
        "residuals",
    )
    checks.that(
        len(three["folds"]) == 2
        and three["folds_complete"] is True
        and three["folds"][0]["beta"] < 0.7 < three["folds"][1]["beta"],
        "folds of three",
    )
    checks.that(len(one["points"]) == 1 and one["points"][0]["unique"] is True, "group of 16")
    checks.that(
        len(two["points"]) == 2
        and abs(two["points"][0]["policy"][1] - 0.45305141925485) < 1e-13
        and two["points"][0]["stable"] is True
        and two["points"][1]["stable"] is False,
        "limit",
    )
    # The critical beta: least gap 2 sqrt(1 + b^2)/b - 2 asinh(b) + logit(pi_ref) = 0.
    b = two["critical_beta"]
    gap = 2 * math.sqrt(1 + b * b) / b - 2 * math.asinh(b) + math.log(0.1 / 0.9)
    checks.that(abs(gap) < 1e-12, "critical beta %r: gap %g" % (b, gap))
    checks.that(
        none["points"] == [] and none["training_ends"] == "collapse" and none["critical_beta"] == b,
        "collapse",
    )
    checks.that([f["beta"] for f in two["folds"]] == [b], "the only fold of the limit")


def advantage_gap(p, size):
    """A(success) - A(failure) when each member succeeds with probability p, summed in
    logarithms."""
    total = 0.0
    for k in range(size):  # successes among the others
        weight = math.exp(
            math.lgamma(size)
            - math.lgamma(k + 1)
            - math.lgamma(size - k)
            + k * math.log(p)
            + (size - 1 - k) * math.log1p(-p)
        )
        up = math.sqrt((size - k - 1) / (k + 1)) if k + 1 < size else 0.0
        down = -math.sqrt(k / (size - k)) if k > 0 else 0.0
        total += weight * (up - down)
    return total


def counted_roots(size, p_ref, beta):
    """Roots of logit p - logit p_ref = gap(p)/beta by signs on a fine grid in logit p."""
    roots, before = [], None
    base = math.log(p_ref) - math.log1p(-p_ref)
    steps = 6000
    for i in range(steps + 1):
        x = base + (30.0 - base) * i / steps
        p = 1 / (1 + math.exp(-x))
        if p > 1 - 1e-13:
            break
        f = x - base - advantage_gap(p, size) / beta
        if before is not None and (f > 0) != (before > 0):
            roots.append(p)
        before = f
    return roots


def random_binary(checks):
    rng = random.Random(7)
    records, several = [], 0
    for _ in range(40):
        records.append(
            binary(rng.randint(16, 64), 10 ** rng.uniform(-3, -0.3), rng.uniform(0.35, 0.8))
        )
    status, results = points(records, "--no-flow")
    checks.that(status == 0, "random binary: status %d" % status)
    for record, result in zip(records, results):
        roots = counted_roots(record["group_size"], record["reference"][1], record["beta"])
        found = [p["policy"][1] for p in result["points"]]
        several += len(found) > 1
        missed = [r for r in roots if min(abs(r - f) for f in found) > 0.01]
        checks.that(
            not missed and (len(found) - len(roots)) % 2 == 0,
            "%s: found %s, counted %s" % (record, found, roots),
        )
        checks.that(result["complete"] is True, "%s: not complete" % record)
    checks.that(several > 3, "only %d of the random problems have several" % several)
    print("40 random binary problems, %d with several stationary policies" % several)


def other_models(checks):
    records = [
        {
            "model": "pairwise",
            "margins": [[0, 0.8, -0.4], [-0.8, 0, 0.6], [0.4, -0.6, 0]],
            "penalty": "direct_kl",
            "beta": 0.1,
        },
        {
            "model": "group",
            "group_size": 64,
            "rewards": [0, 0.9, 1],
            "reference": [0.9, 0.05, 0.05],
            "penalty": "direct_kl",
            "beta": 0.7,
        },
        {"model": "group", "rewards": [1, 1], "group_size": 4, "penalty": "reverse_kl", "beta": 1},
        {
            "model": "group",
            "rewards": [1, "x"],
            "group_size": 4,
            "penalty": "reverse_kl",
            "beta": 1,
        },
    ]
    status, results = points(records)
    checks.that(
        status == 1 and [r["status"] for r in results] == ["ok", "ok", "ok", "shape"],
        "statuses of other models",
    )
    checks.that(
        len(results[0]["points"]) == 1 and results[0]["complete"] is True, "margins have one"
    )
    game = results[1]
    checks.that(
        game["complete"] is False and len(game["points"]) >= 2,
        "a game of three levels: %d" % len(game["points"]),
    )
    checks.that(
        sum(p["from_reference"] for p in game["points"]) == 1
        and sum(p["reached"] for p in game["points"]) == 1,
        "one connected, one reached",
    )
    checks.that(results[2]["points"][0]["policy"] == [0.5, 0.5], "equal rewards")
    status, out, err = harness.run(["points", "--folds", "2:1"], b"{}")
    checks.that(status == 2 and "LOW:HIGH" in err, "bad --folds: %s" % err)
    status, out, err = harness.run(["points", "--format", "table"], json.dumps(records[1]).encode())
    checks.that(status == 0 and "attracts training" in out and "no proof" in out, "table: %s" % out)


def real_rollouts(checks):
    path = harness.need_shared("data", "c-humaneval-codegen16b", "outcomes.csv")
    status, out, err = harness.run(
        [
            "points",
            "--format",
            "jsonl",
            "--rollouts",
            path,
            "--outcome",
            "outcome",
            "--count",
            "count",
            "--model",
            "group",
            "--group-size",
            32,
            "--penalty",
            "direct-kl",
            "--beta",
            0.7,
        ]
    )
    results = [json.loads(line) for line in out.splitlines()]
    checks.that(status == 0 and len(results) == 164, "HumanEval: status %d %s" % (status, err))
    several, ends = 0, {}
    for r in results:
        several += len(r["points"]) > 1
        ends[r["training_ends"]] = ends.get(r["training_ends"], 0) + 1
        checks.that(
            r["complete"] is True and all(p["residual"] < 1e-9 for p in r["points"]),
            "HumanEval %s" % r["id"],
        )
        checks.that(
            sum(p["stable"] is not False for p in r["points"]) >= 1,
            "HumanEval %s: none attracts" % r["id"],
        )
    checks.that(ends.get("point", 0) == 164, "HumanEval ends: %s" % ends)
    print(
        "HumanEval, groups of 32, direct KL, beta 0.7: %d of 164 prompts have several stationary policies"
        % several
    )


if __name__ == "__main__":
    CHECKS = harness.Checks()
    for part in (
        (real_rollouts,) if "--data" in sys.argv else (known_cases, random_binary, other_models)
    ):
        part(CHECKS)
    sys.exit(CHECKS.close())
