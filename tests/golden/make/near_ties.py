"""Writes near_ties.jsonl: outcomes whose chances of success differ by 1e-3 to 1e-12, in groups over
the std, at a beta of that size. Probabilities are exact quotients of the doubles of the record.

    near_ties.py > near_ties.jsonl
"""

import json
import random

import mpmath
from mpmath import mpf

mpmath.mp.dps = 60


def gap_of_levels(size, p):
    """The advantage of a success less that of a failure, from every number of other successes."""
    total = mpf(0)
    for others in range(size):
        weight = mpmath.binomial(size - 1, others) * p**others * (1 - p) ** (size - 1 - others)
        gap = mpf(0)
        for own in (0, 1):
            successes = others + own
            if 0 < successes < size:
                std = mpmath.sqrt(mpf(successes) * (size - successes)) / size
                mean = mpf(successes) / size
                gap += (own - mean) / std if own else -(own - mean) / std
        total += weight * gap
    return total


def solve(record):
    chance = [mpf(row[1]) / (mpf(row[0]) + mpf(row[1])) for row in record["distribution"]]
    whole = mpmath.fsum(map(mpf, record["reference"]))
    reference = [mpf(x) / whole for x in record["reference"]]
    beta, size, top = mpf(record["beta"]), record["group_size"], max(chance)

    def policy(e):
        """The policy of the regularisation path whose slacks are theta (gap + e)."""
        weights = [a / (top - y + e) for a, y in zip(reference, chance)]
        whole = mpmath.fsum(weights)
        return [w / whole for w in weights], 1 / whole

    def success(pi):
        return mpmath.fsum(a * y for a, y in zip(pi, chance))

    def off(x):
        pi, b = policy(mpmath.e**x)
        return mpmath.log(b * gap_of_levels(size, success(pi)) / beta)

    low, high = mpf(-200), mpf(60)  # off rises with x: one stationary policy
    for _ in range(220):
        middle = (low + high) / 2
        low, high = (low, middle) if off(middle) > 0 else (middle, high)
    pi, _ = policy(mpmath.e**low)
    p, h = success(pi), gap_of_levels(size, success(pi))
    for a, r, y in zip(pi, reference, chance):
        assert abs(a * (beta - h * (y - p)) - beta * r) < mpf(10) ** -50
    return [float(a) for a in pi], [float(h * (y - p)) for y in chance]


def main():
    random.seed(20)
    for number in range(40):
        distance, base = 10 ** random.uniform(-12, -3), random.random()
        rows = []
        for _ in range(random.randint(2, 4)):
            y = min(1.0, base + distance * random.random())
            rows.append([1 - y, y])
        weights = [random.random() + 0.01 for _ in rows]
        record = {
            "id": "near-ties-%02d" % number,
            "model": "group",
            "group_size": random.choice([3, 8, 16]),
            "support": random.choice([[0.0, 1.0], [-0.7, 0.3]]),
            "distribution": rows,
            "penalty": "reverse_kl",
            "beta": distance * 10 ** random.uniform(-1, 2),
            "reference": [w / sum(weights) for w in weights],
        }
        record["policy"], record["advantage"] = solve(record)
        print(json.dumps(record))


if __name__ == "__main__":
    main()
