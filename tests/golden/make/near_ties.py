"""Writes near_ties.jsonl: outcomes whose chances of success differ by 1e-3 to 1e-12, in groups over
the std, at a beta of that size; and nearly tied rewards under chi-squared, where the best outcomes
grow by 1e6. Probabilities are exact quotients of the doubles of the record.

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


GROWN = {
    "id": "grown-a-million-times",
    "model": "group",
    "rewards": [
        0.9999995056495601,
        2.0,
        1.0000000674850738,
        0.9999994960172017,
        2.0,
        2.0,
        1.0,
        1.0,
    ],
    "beta": 1.0412486570713419e-06,
    "group_size": 3,
    "penalty": "chi_squared",
    "reference": [
        7.75148801542779e-29,
        2.55269853240164e-22,
        4.0751788303784206e-11,
        3.4661072346592045e-28,
        1.3033700062939704e-17,
        6.482758929610425e-07,
        2.2718663709429418e-07,
        0.9999991244967181,
    ],
    "note": "the best outcomes have grown by 1e6, one of the others moves more with its slack",
}


def solve_grown(record):
    """Groups of three, every pair of others; slacks 1 - pi/pi_ref that end at 1."""
    rewards, beta = [mpf(x) for x in record["rewards"]], mpf(record["beta"])
    whole = mpmath.fsum(map(mpf, record["reference"]))
    reference = [mpf(x) / whole for x in record["reference"]]
    everyone = range(len(rewards))

    def normalised(o, a, b):
        members = [rewards[o], rewards[a], rewards[b]]
        mean = mpmath.fsum(members) / 3
        std = mpmath.sqrt(mpmath.fsum((x - mean) ** 2 for x in members) / 3)
        return (rewards[o] - mean) / std if std > 0 else mpf(0)

    table = [[[normalised(o, a, b) for b in everyone] for a in everyone] for o in everyone]

    def advantages(pi):
        return [
            mpmath.fsum(pi[a] * pi[b] * table[o][a][b] for a in everyone for b in everyone)
            for o in everyone
        ]

    def policy(kept, ratios):
        pi = [mpf(0)] * len(rewards)
        for o, ratio in zip(kept, ratios):
            pi[o] = reference[o] * ratio
        return pi

    worst = min(rewards) + mpf("1e-8")
    kept = [o for o in everyone if rewards[o] > worst]  # the others are at the end of their slacks

    def off(*unknowns):
        pi = policy(kept, unknowns[:-1])
        u = advantages(pi)
        balance = [u[o] / beta - (t - 1) - unknowns[-1] for o, t in zip(kept, unknowns)]
        return balance + [mpmath.fsum(pi) - 1]

    start = [mpf("1.358e6") if rewards[o] == max(rewards) else mpf("0.1195") for o in kept]
    u = advantages(policy(kept, start))
    start.append(u[kept[0]] / beta - start[0] + 1)
    found = mpmath.findroot(off, start, tol=mpf(10) ** -50, maxsteps=60)
    pi = policy(kept, list(found)[:-1])
    u = advantages(pi)
    assert max(abs(x) for x in off(*found)) < mpf(10) ** -35
    assert all(u[o] / beta + 1 < found[len(kept)] for o in everyone if o not in kept)
    return [float(x) for x in pi], [float(x) for x in u]


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
    GROWN["policy"], GROWN["advantage"] = solve_grown(GROWN)
    print(json.dumps(GROWN))


if __name__ == "__main__":
    main()
