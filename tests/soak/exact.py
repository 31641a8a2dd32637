#!/usr/bin/env python3
"""Checks a sample of the soak with 400 bits: exact.py SAMPLE.

Every line of the sample has a record, the policy that was found and its estimated error. Newton's
method in mpmath starts from the policy, on the definition of stationarity by raw data alone, and
ends at the stationary policy nearby; how far that is, is the error of the policy. Prints the worst
error, the worst error over its estimate among errors above 1e-13, and what is worse than promised.
Exits with 1 if there is any.
"""

import json
import sys

from mpmath import mp, mpf, matrix, lu_solve, exp, expm1, log, sqrt, isnan

mp.prec = 400

# An estimate may be a tenth of the error, where that can be seen beside rounding.
TENTH, FINE = 10, mpf(10) ** -13


def compositions(total, parts):
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in compositions(total - first, parts - 1):
            yield (first,) + rest


def gain(record, own, counts, x):
    """What a member with reward x[own] gets beside others of whom counts[l] have x[l]."""
    size = record["group_size"]
    members = [x[l] for l, c in enumerate(counts) for _ in range(1 if c else 0)]
    if all(m == x[own] for m in members):
        return mpf(0)
    total = sum(c * (x[l] - x[own]) for l, c in enumerate(counts))
    mean, others = total / size, total / (size - 1)
    over = -others if record["baseline"] == "leave_one_out" else -mean
    epsilon = mpf(record["epsilon"])
    squares = mean**2 + sum(c * (x[l] - x[own] - mean) ** 2 for l, c in enumerate(counts))
    spread = sum(c * (x[l] - x[own] - others) ** 2 for l, c in enumerate(counts))
    scale = record["scale"]
    if scale == "none":
        return over
    if scale == "mean":
        return over / (x[own] + mean + epsilon)
    if scale == "std_of_others":
        return over if spread == 0 else over / (sqrt(spread / (size - 2)) + epsilon)
    variance = squares / (size - record["ddof"])
    if record["epsilon_place"] == "inside":
        return over / sqrt(variance + epsilon)
    return over / (sqrt(variance) + epsilon)


def group_advantage(record, x, w):
    """Advantages of distinct rewards x with weights w, and the probability of a mixed group."""
    others = record["group_size"] - 1
    factorial = [mpf(1)]
    for i in range(others):
        factorial.append(factorial[-1] * (i + 1))
    u, kept = [mpf(0)] * len(x), [mpf(0)] * len(x)
    for counts in compositions(others, len(x)):
        probability = factorial[others]
        for c, weight in zip(counts, w):
            probability *= weight**c / factorial[c]
        if probability == 0:
            continue
        for own in range(len(x)):
            u[own] += probability * gain(record, own, counts, x)
            kept[own] += probability if counts[own] < others else 0
    return u, kept


def advantage(record, policy):
    n = len(policy)
    one = [mpf(1)] * n
    if record["model"] == "pairwise":
        if "margins" in record:
            m = [[mpf(v) for v in row] for row in record["margins"]]
        else:
            r = record["rewards"]
            m = [[(a > b) - (a < b) for b in r] for a in r]
        return [sum(a * p for a, p in zip(row, policy)) for row in m], one
    if record["model"] == "limit":
        r = [mpf(v) for v in record["rewards"]]
        mean = sum(p * v for p, v in zip(policy, r))
        inner = record.get("reward_variances", [0] * n)
        variance = sum(p * ((v - mean) ** 2 + mpf(s)) for p, v, s in zip(policy, r, inner))
        epsilon = mpf(record["epsilon"])
        divisor = {"none": mpf(1), "mean": mean + epsilon}.get(record["scale"])
        if divisor is None:
            inside = record["epsilon_place"] == "inside"
            divisor = sqrt(variance + epsilon) if inside else sqrt(variance) + epsilon
        return [(v - mean) / divisor for v in r], one
    if "support" in record:
        rows = [[mpf(v) for v in row] for row in record["distribution"]]
        rows = [[v / sum(row) for v in row] for row in rows]
        values = [mpf(v) for v in record["support"]]
    else:
        values = [mpf(v) for v in record["rewards"]]
        rows = [[mpf(a == b) for b in range(n)] for a in range(n)]
    x = sorted(set(values))
    at = [x.index(v) for v in values]
    rows = [[sum(v for v, l in zip(row, at) if l == k) for k in range(len(x))] for row in rows]
    w = [sum(p * row[k] for p, row in zip(policy, rows)) for k in range(len(x))]
    a, kept = group_advantage(record, x, w)
    u = [sum(v * b for v, b in zip(row, a)) for row in rows]
    if record["scale"] == "std_of_others":
        mean = sum(p * v for p, v in zip(policy, u))
        u = [v - mean for v in u]
    drops = record.get("zero_variance") == "drop"
    return u, [sum(v * b for v, b in zip(row, kept)) for row in rows] if drops else one


def score(record, l):
    """g(l): what multiplies the gradient of log pi."""
    penalty = record["penalty"]
    if penalty.startswith("reverse_kl"):
        return -expm1(-l)
    if penalty in ("direct_kl", "direct_kl_clamped", "kl_in_reward"):
        return l
    if penalty == "squared_log_ratio":
        return l + l * l / 2
    if penalty == "chi_squared":
        return expm1(l)
    if penalty == "jensen_shannon":
        return -log((1 + exp(-l)) / 2) / 2
    alpha = mpf(record["alpha"])
    return l if alpha == 1 else expm1((alpha - 1) * l) / (alpha - 1)


def balance(record, policy, logs):
    """u - beta g of every outcome with probability."""
    if record["penalty"] == "kl_in_reward":
        if "support" in record:
            u = [
                sum(mpf(v) * mpf(q) for v, q in zip(record["support"], row))
                / sum(mpf(q) for q in row)
                for row in record["distribution"]
            ]
        else:
            u = [mpf(v) for v in record["rewards"]]
        kept = [mpf(1)] * len(policy)
    else:
        u, kept = advantage(record, policy)
    beta = mpf(record["beta"])
    return [
        v - beta * k * score(record, log(p) - l) if p > 0 else mpf(0)
        for v, k, p, l in zip(u, kept, policy, logs)
    ]


def log_reference(record):
    raw = [mpf(v) for v in record["reference_logprobs"]]
    total = log(sum(exp(v) for v in raw if v > mpf("-1e400")))
    return [v - total for v in raw]


def nearest(record, policy):
    """The stationary policy near a policy, with the same outcomes; None where Newton fails."""
    logs = log_reference(record)
    held = [o for o, p in enumerate(policy) if p > 0]
    y = {o: log(mpf(policy[o])) for o in held}
    n, h = len(held), mpf(2) ** -150

    def at(y):
        return [exp(y[o]) if o in y else mpf(0) for o in range(len(policy))]

    for _ in range(12):
        f = balance(record, at(y), logs)
        A, b = matrix(n + 1, n + 1), matrix(n + 1, 1)
        middle = sum(exp(y[o]) * f[o] for o in held)
        for j, p in enumerate(held):
            moved = balance(record, at({**y, p: y[p] + h}), logs)
            for i, o in enumerate(held):
                A[i, j] = (moved[o] - f[o]) / h
            A[n, j], A[j, n], b[j] = exp(y[p]), -1, middle - f[p]
        b[n] = 1 - sum(exp(v) for v in y.values())
        for i in range(n):
            size = max(abs(A[i, j]) for j in range(n + 1))
            for j in range(n + 1):
                A[i, j] /= size
            b[i] /= size
        try:
            step = lu_solve(A, b)
        except (ZeroDivisionError, TypeError):  # singular, or not a number
            return None
        change = max(abs(step[j]) for j in range(n))
        if isnan(change) or change > 1:
            return None
        for j, o in enumerate(held):
            y[o] += step[j]
        if change < mpf(10) ** -60:
            return at(y)
    return None


def steps_balance(record, policy):
    """Whether a policy is stationary under total variation, where g is a step: some lambda lies within
    beta of every u, and at the end on its side where the policy has left the reference."""
    logs = log_reference(record)
    u, _ = advantage(record, [mpf(p) for p in policy])
    beta, size = mpf(record["beta"]), max(abs(v) for v in u)
    low, high = [], []
    for v, p, l in zip(u, policy, logs):
        ratio = log(mpf(p)) - l if p > 0 else mpf(0)
        if p > 0:
            low.append(v + (beta if ratio < -FINE else -beta))
            high.append(v + (-beta if ratio > FINE else beta))
    return max(low) - min(high) <= mpf(10) ** -11 * (size + beta)


def main():
    checked = skipped = wrong = 0
    worst = ratio = mpf(0)
    for line in open(sys.argv[1]):
        item = json.loads(line.replace("-inf", "-Infinity"))
        record, policy = item["record"], item["policy"]
        if record["penalty"] in ("none", "total_variation"):
            # Long double has too few digits where a tiny std divides.
            try:
                stationary = record["penalty"] == "total_variation" and steps_balance(
                    record, policy
                )
            except ZeroDivisionError:  # no spread
                stationary = False
            if item["why"] and not stationary:
                wrong += 1
                print("%s: %s" % (item["why"], line.strip()))
            continue
        try:
            exact = nearest(record, policy)
        except ZeroDivisionError:  # no spread
            exact = None
        if exact is None:
            skipped += 1
            if item["why"]:
                wrong += 1
                print("%s, and no stationary policy nearby: %s" % (item["why"], line.strip()))
            continue
        error = max(abs(a - mpf(p)) for a, p in zip(exact, policy))
        checked += 1
        worst = max(worst, error)
        if error > FINE:
            ratio = max(ratio, error / mpf(item["policy_error"]))
            if error > TENTH * mpf(item["policy_error"]):
                wrong += 1
                print("error %.3g, estimate %.3g: %s" % (error, item["policy_error"], line.strip()))
    print(
        "%d checked with %d bits, %d could not be; worst error %.2g, worst error/estimate %.2g"
        % (checked, mp.prec, skipped, worst, ratio)
    )
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
