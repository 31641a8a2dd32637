"""The evidence of doc/evidence.md: sampled GRPO beside the predictions, on random problems and for
every estimator. Usage: evidence.py GRPOALIGN; prints the page."""

import json
import math
import os
import random
import subprocess
import sys

PROBLEMS = 100
LEVEL = 0.95
LEARNING_RATE = 0.5
# The slowest disturbance is to fall by e^12 before policies are averaged; a problem that would need
# more batches is left out.
FOLDINGS, FEWEST, MOST = 12.0, 4000, 60000

# What estimators amount to, by their place.
PLACES = {
    "reverse_kl": [("k3", "loss")],
    "direct_kl": [("k2", "loss"), ("k1", "reward"), ("k3", "loss-ratio"), ("k1", "loss-ratio")],
}


def run(command, arguments, records):
    text = "".join(json.dumps(r) + "\n" for r in records)
    done = subprocess.run(
        [command] + [str(a) for a in arguments],
        input=text.encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def normalised(weights):
    return [w / sum(weights) for w in weights]


def random_problem(rng, number):
    n = rng.randint(2, 5)
    reference = normalised([rng.expovariate(1) + 0.15 for _ in range(n)])
    penalty = rng.choice(("reverse_kl", "direct_kl"))
    record = {
        "id": number,
        "reference": [round(p, 4) for p in reference],
        "penalty": penalty,
        "beta": round(math.exp(rng.uniform(math.log(0.2), math.log(1.5))), 3),
    }
    record["reference"][0] = round(1 - sum(record["reference"][1:]), 4)
    kind = rng.randint(0, 6)
    if kind == 0:
        margins = [[0.0] * n for _ in range(n)]
        for i in range(n):
            for j in range(i):
                margins[i][j] = round(rng.uniform(-1, 1), 2)
                margins[j][i] = -margins[i][j]
        record.update(model="pairwise", margins=margins)
        return record
    if kind == 1:
        record.update(model="pairwise", rewards=[rng.randint(0, 3) for _ in range(n)])
        return record
    record.update(model="group", group_size=rng.choice((2, 3, 4, 8, 16)))
    if kind == 2:
        record.update(scale="none")
    elif kind == 3:
        record.update(ddof=1, epsilon=1e-4)
    elif kind == 4:
        record.update(epsilon=0.1)
    if kind == 5:
        record.update(
            support=[0, 0.5, 1],
            distribution=[
                normalised([round(rng.expovariate(1) + 0.02, 3) for _ in range(3)])
                for _ in range(n)
            ],
        )
    else:
        record.update(rewards=[round(rng.random(), 2) for _ in range(n)])
    return record


def describe(record):
    if "margins" in record:
        what = "pairwise, margins"
    elif record["model"] == "pairwise":
        what = "pairwise by reward"
    else:
        what = "group of %d" % record["group_size"]
        what += ", unscaled" if record.get("scale") == "none" else ""
        what += ", sample std" if record.get("ddof") else ""
        what += ", epsilon %g" % record["epsilon"] if record.get("epsilon") else ""
        what += ", random rewards" if "support" in record else ""
    return what


def problems(command):
    """Random problems that come to rest within MOST batches, with what each needs; and how many
    were left out."""
    rng, found, left_out = random.Random(2502), [], 0
    while len(found) < PROBLEMS:
        record = random_problem(rng, len(found) + 1)
        places = PLACES[record["penalty"]]
        estimator, placement = places[len(found) % len(places)]
        (points,) = run(command, ["points", "--format", "jsonl"], [record])
        reached = [p for p in points["points"] if p["reached"]]
        steps = (
            4 * FOLDINGS / (LEARNING_RATE * -reached[0]["rate"])
            if reached and reached[0]["rate"] < 0
            else math.inf
        )
        if steps > MOST:
            left_out += 1
            continue
        found.append(
            (
                record,
                estimator,
                placement,
                max(FEWEST, 1000 * math.ceil(steps / 1000)),
                len(points["points"]),
            )
        )
    return found, left_out


def simulate(command, record, estimator, placement, steps, *more):
    (result,) = run(
        command,
        [
            "simulate",
            "--format",
            "jsonl",
            "--estimator",
            estimator,
            "--placement",
            placement,
            "--steps",
            steps,
            "--learning-rate",
            LEARNING_RATE,
            "--level",
            LEVEL,
            "--seed",
            record.get("id", 1),
        ]
        + list(more),
        [record],
    )
    return result


def in_parallel(jobs):
    """Results of functions without arguments, in order, two at a time (the simulator is a process
    of its own)."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(lambda job: job(), jobs))


def table_of_problems(command):
    found, left_out = problems(command)
    results = in_parallel(
        [lambda p=p: simulate(command, *p[:4], "--inner-steps", 1 + p[0]["id"] % 2) for p in found]
    )
    rows, held, completions = [], 0, 0
    for (record, estimator, placement, steps, points), result in zip(found, results):
        n = len(result["predicted"])
        off = max(abs(a - b) for a, b in zip(result["predicted"], result["reached"]))
        half = max((hi - lo) / 2 for lo, hi in zip(result["low"], result["high"]))
        held, completions = held + (result["inside"] == n), completions + result["completions"]
        rows.append(
            "| %d | %s | %s in %s | %g | %d%s | %.1e | %.1e | %s |"
            % (
                record["id"],
                describe(record),
                estimator,
                placement,
                record["beta"],
                n,
                "" if points == 1 else " (%d points)" % points,
                off,
                half,
                "yes" if result["inside"] == n else "no",
            )
        )
    return rows, held, completions, left_out


def table_of_estimators(command):
    record = {
        "model": "group",
        "group_size": 8,
        "rewards": [0, 0.4, 1],
        "reference": [0.6, 0.3, 0.1],
        "beta": 0.5,
        "penalty": "reverse_kl",
    }
    jobs, places = [], []
    for placement in ("loss", "loss-ratio", "reward"):
        for estimator in ("k1", "k2", "k3"):
            places.append((estimator, placement))
            jobs.append(lambda e=estimator, p=placement: simulate(command, record, e, p, 12000))
    rows = []
    for (estimator, placement), result in zip(places, in_parallel(jobs)):
        predicted = result["predicted"]
        if result["diverged"]:
            rows.append(
                "| %s | %s | (no penalty of the library) | diverges | | |" % (estimator, placement)
            )
            continue
        reached = ", ".join("%.4f" % p for p in result["reached"])
        half = max((hi - lo) / 2 for lo, hi in zip(result["low"], result["high"]))
        if predicted is None:
            told = (
                "none: goes on to the best outcome"
                if (estimator, placement) == ("k1", "loss")
                else "(no penalty of the library)"
            )
            rows.append(
                "| %s | %s | %s | (%s) | %.1e | |" % (estimator, placement, told, reached, half)
            )
        else:
            rows.append(
                "| %s | %s | %s: (%s) | (%s) | %.1e | %d of 3 |"
                % (
                    estimator,
                    placement,
                    result["predicted_penalty"].replace("_", " "),
                    ", ".join("%.4f" % p for p in predicted),
                    reached,
                    half,
                    result["inside"],
                )
            )
    return rows


PAGE = """# Evidence: training ends where the library says

`grpoalign simulate` trains a tabular softmax policy by sampled GRPO the way trainers do: groups are
drawn from the old policy, rewards are normalised within the group, steps are clipped
policy-gradient steps, and a KL estimator stands in the loss or in the reward. It shares no code
with the library: no expectation over groups, no stationarity condition. This page puts the policy
that it reaches beside the one predicted. `sh ./dev evidence` makes the page anew (several minutes).

## Random problems

%(count)d random problems: 2 to 5 outcomes, groups of 2 to 16, rewards fixed and random, comparisons, std
and none, epsilon and ddof, β from 0.2 to 1.5, estimators in turn, one or two gradient steps per
batch, clip 0.2, 16 independent runs each. A constant learning rate of 0.5 shifts the mean policy in
proportion to the rate. So every run is done with the rate and with half of it, and the linear part
is taken off. %(left_out)d problems
were left out because their slowest outcome would have needed more than %(most)d batches to come to
rest. In all %(completions).1e completions were drawn.

The intervals of a problem hold together with %(level)g %% confidence. **The prediction lies inside them for
%(held)d of %(count)d problems (%(rate).1f %%)**; at the stated rate %(expected)g are expected, and one run in twenty gives fewer
than %(fewest)d.

| | model | estimator | β | outcomes | largest difference | half of the widest interval | inside |
|---|---|---|---|---|---|---|---|
%(problems)s

## Estimators

The same three estimators of a completion's divergence – k1 = l, k2 = l²/2, k3 = e^(−l) − 1 + l,
with l = log π/π_ref – lead to different places, by where they stand: as a term of the loss, as a
term of the loss times the ratio π/π_old with its gradient, or subtracted from the normalised
advantage. Group of 8, rewards (0, 0.4, 1), reference (0.6, 0.3, 0.1), β = 0.5.

| estimator | in the | predicted | reached | half the interval | inside |
|---|---|---|---|---|---|
%(estimators)s

k3 in the loss, the classic, is the reverse KL(π_ref‖π). k2 in the loss, k1 in the reward, and k1 or
k3 with the ratio are the direct KL(π‖π_ref). k1 in the loss has a gradient of mean zero and does
nothing but add noise.
"""


def below(k):
    """The probability that fewer than k of the problems hold, when each does at the stated rate."""
    return sum(math.comb(PROBLEMS, i) * LEVEL**i * (1 - LEVEL) ** (PROBLEMS - i) for i in range(k))


def main(command):
    rows, held, completions, left_out = table_of_problems(command)
    fewest = max(k for k in range(PROBLEMS + 1) if below(k) <= 0.05)
    print(
        PAGE
        % {
            "count": PROBLEMS,
            "left_out": left_out,
            "most": MOST,
            "completions": completions,
            "held": held,
            "level": 100 * LEVEL,
            "rate": 100 * held / PROBLEMS,
            "expected": LEVEL * PROBLEMS,
            "fewest": fewest,
            "problems": "\n".join(rows),
            "estimators": "\n".join(table_of_estimators(command)),
        },
        end="",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
