"""Another program's exact maximal lotteries and logit equilibria on real elections
(truth-gambit)."""

import csv
import sys
from fractions import Fraction

import harness


def rows(*parts):
    with open(harness.need_shared("data", *parts), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def elections(names):
    """Names of the alternatives and the margin matrix of every election wanted."""
    wanted, result = set(names), {}
    for row in rows("b-preflib", "pairs.csv"):
        if row["prompt"] in wanted:
            result.setdefault(row["prompt"], []).append(row)
    for name, pairs in result.items():
        ids = sorted({int(r[k]) for r in pairs for k in ("i", "j")})
        at = {identity: n for n, identity in enumerate(ids)}
        margins = [[0.0] * len(ids) for _ in ids]
        for r in pairs:
            i, j = at[int(r["i"])], at[int(r["j"])]
            up, down, ties = int(r["wins_i"]), int(r["wins_j"]), int(r["ties"])
            margins[i][j] = (up - down) / (up + down + ties)
            margins[j][i] = -margins[i][j]
        result[name] = (ids, margins)
    return result


def logit_equilibria(checks):
    """pi ~ exp(lambda P pi), P = (1 + margin) / 2: pairwise x direct KL with beta = 2 / lambda at
    the lambda reached."""
    cases = {}
    for row in rows("truth-gambit", "logit_qre.csv"):
        cases.setdefault((row["election"], row["lambda_reached"]), {})[int(row["id"])] = float(
            row["probability"]
        )
    games = elections([name for name, _ in cases])
    records, expected = [], []
    for (name, reached), answer in cases.items():
        ids, margins = games[name]
        records.append(
            {
                "id": "%s at %s" % (name, reached),
                "model": "pairwise",
                "margins": margins,
                "penalty": "direct_kl",
                "beta": 2.0 / float(reached),
            }
        )
        expected.append([answer[i] for i in ids])
    matrices, with_reference = {}, {}
    for row in rows("truth-gambit", "logit_qre_ref_pref.csv"):
        matrices.setdefault(row["case"], {})[int(row["i"]), int(row["j"])] = float(row["p_ij"])
    for row in rows("truth-gambit", "logit_qre_ref.csv"):
        with_reference.setdefault((row["case"], row["lambda_reached"]), {})[
            int(row["outcome"])
        ] = row
    for (case, reached), answer in with_reference.items():
        n = len(answer)
        records.append(
            {
                "id": "case %s at %s" % (case, reached),
                "model": "pairwise",
                "penalty": "direct_kl",
                "margins": [[2 * matrices[case][i, j] - 1 for j in range(n)] for i in range(n)],
                "reference": [float(Fraction(answer[i]["ref_prob"])) for i in range(n)],
                "beta": 2.0 / float(reached),
            }
        )
        expected.append([float(answer[i]["probability"]) for i in range(n)])
    status, results = harness.solve(records)
    checks.that(
        status == 0 and len(results) == len(records), "logit equilibria: exit status %d" % status
    )
    worst, count = 0.0, 0
    for result, answer in zip(results, expected):
        off = max(abs(a - b) for a, b in zip(result.get("policy", [9.0] * len(answer)), answer))
        worst, count = max(worst, off), count + len(answer)
        checks.that(off <= 1e-10, "%s: off by %g" % (result["id"], off))
    print(
        "%d logit equilibria (%d probabilities): largest difference %.1e"
        % (len(records), count, worst)
    )


def maximal_lotteries(checks):
    """As beta -> 0 reverse KL tends to a maximal lottery: at rate beta towards a unique one, and at
    any beta no outcome beats the policy by more than beta."""
    lotteries, unique = {}, {}
    for row in rows("truth-gambit", "maximal_lottery_exact.csv"):
        lotteries.setdefault(row["election"], {})[int(row["id"])] = float(
            Fraction(row["probability_exact"])
        )
    for row in rows("truth-gambit", "maximal_lottery_index.csv"):
        unique[row["election"]] = row["unique_by_oddness"] == "1"
    games = elections(lotteries)
    betas = (1e-4, 1e-6, 1e-8)
    records = [
        {
            "id": name,
            "model": "pairwise",
            "margins": games[name][1],
            "penalty": penalty,
            "beta": beta,
        }
        for name in lotteries
        for penalty in ("reverse_kl", "direct_kl")
        for beta in betas
    ]
    status, results = harness.solve(records)
    checks.that(
        status == 0 and len(results) == len(records), "maximal lotteries: exit status %d" % status
    )
    worst, count = 0.0, 0
    for at, (record, result) in enumerate(zip(records, results)):
        name, beta = record["id"], record["beta"]
        ids, margins = games[name]
        policy, lottery = result["policy"], [lotteries[name].get(i, 0.0) for i in ids]
        beaten = max(sum(m * p for m, p in zip(row, policy)) for row in margins)
        bound = (
            beta if record["penalty"] == "reverse_kl" else 60 * beta
        )  # log(1/pi_ref) + log(1/rounding)
        checks.that(beaten <= bound + 1e-12, "%s: beaten by %g at beta %g" % (name, beaten, beta))
        if unique[name] and record["penalty"] == "reverse_kl" and beta == betas[-1]:
            off = max(abs(a - b) for a, b in zip(policy, lottery))
            before = max(abs(a - b) for a, b in zip(results[at - 1]["policy"], lottery))
            worst, count = max(worst, off), count + 1
            checks.that(
                off <= 0.02 * before + 1e-12,
                "%s: %g from the lottery, %g before" % (name, off, before),
            )
            checks.that(off <= 1e-4, "%s: %g from the lottery" % (name, off))
    print(
        "%d elections, of which %d have a unique maximal lottery: largest distance at beta 1e-8 %.1e"
        % (len(lotteries), count, worst)
    )


if __name__ == "__main__":
    CHECKS = harness.Checks()
    logit_equilibria(CHECKS)
    maximal_lotteries(CHECKS)
    sys.exit(CHECKS.close())
