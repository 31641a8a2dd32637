"""The std of a batch: contexts of a file that are solved together. Against fixed points found here
by bisection, against batches sampled with the trainers' arithmetic, and the ways of files."""

import json
import math
import os
import random
import statistics
import sys
import tempfile

import harness

SETTINGS = {
    "model": "group",
    "group_size": 8,
    "penalty": "reverse_kl",
    "scale": "batch_std",
    "beta": 0.2,
}


# ---- the fixed point, written once more ---------------------------------------------------------


def bisect(f, low, high):
    """The root of a falling function."""
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if f(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


def respond(reverse, reference, values):
    """The policy for fixed advantages over beta."""
    top = max(values)
    if not reverse:
        weights = [p * math.exp(v - top) for p, v in zip(reference, values)]
        return [w / math.fsum(weights) for w in weights]

    # pi = pi_ref / (s + top - value), s > 0
    def policy(log_s):
        return [p / (math.exp(log_s) + (top - v)) for p, v in zip(reference, values)]

    return policy(bisect(lambda log_s: math.fsum(policy(log_s)) - 1.0, -80.0, 1.0))


def own_factor(record):
    if record["model"] == "limit" or record.get("baseline") == "leave_one_out":
        return 1.0
    return 1.0 - 1.0 / record["group_size"]


def std_of(records, policies):
    within = means = squares = 0.0
    for record, policy in zip(records, policies):
        mean = math.fsum(p * r for p, r in zip(policy, record["rewards"]))
        variance = math.fsum(p * (r - mean) ** 2 for p, r in zip(policy, record["rewards"]))
        if record["scale"] == "batch_std_of_advantages":
            size = record.get("group_size")
            variance *= (
                1.0
                if size is None
                else size / (size - 1.0) if own_factor(record) == 1.0 else 1.0 - 1.0 / size
            )
        within += variance
        means += mean
        squares += mean * mean
    n = len(records)
    between = squares / n - (means / n) ** 2 if records[0]["scale"] == "batch_std" else 0.0
    return math.sqrt(max(0.0, within / n + between))


def fixed_point(records):
    """b = beta (sigma + epsilon), by steps from above."""
    first = records[0]
    reverse = first["penalty"] == "reverse_kl"

    def policies(log_b):
        b = math.exp(log_b)
        return [
            respond(reverse, r["reference"], [own_factor(r) * x / b for x in r["rewards"]])
            for r in records
        ]

    def excess(log_b):
        return log_b - math.log(
            first["beta"] * (std_of(records, policies(log_b)) + first.get("epsilon", 0.0))
        )

    at, step = math.log(first["beta"] * 10.0), 0.02
    while excess(at - step) > 0.0:
        at -= step
    root = bisect(lambda y: -excess(y), at - step, at)
    return math.exp(root), policies(root)


def random_batch(r):
    common = {
        "penalty": r.choice(["reverse_kl", "direct_kl"]),
        "beta": math.exp(r.uniform(-1.2, 0.7)),
        "scale": r.choice(["batch_std", "batch_std_of_advantages"]),
    }
    if r.random() < 0.5 or common["penalty"] == "direct_kl":
        common["epsilon"] = r.choice([1e-4, 0.1])
    records = []
    for k in range(r.randrange(1, 6)):
        n = r.randrange(2, 5)
        weights = [r.uniform(0.05, 1.0) for _ in range(n)]
        record = dict(
            common,
            id=k,
            rewards=[round(r.uniform(-1.0, 1.0), 3) for _ in range(n)],
            reference=[w / math.fsum(weights) for w in weights],
        )
        record["model"] = r.choice(["group", "group", "limit"])
        if record["model"] == "group":
            record["group_size"] = r.randrange(2, 17)
        record["baseline"] = r.choice(["mean", "leave_one_out"])
        records.append(record)
    return records


def against_bisection(checks):
    r = random.Random(4)
    compared = 0
    for _ in range(40):
        records = random_batch(r)
        status, results = harness.solve(records)
        first = results[0]
        checks.that(
            status == 0 and [x["id"] for x in results] == [x["id"] for x in records],
            "order of %s" % records,
        )
        if first["status"] not in ("ok", "not_unique"):
            checks.that(first["status"] == "collapsed", "%s: %s" % (first["status"], records))
            continue
        compared += 1
        b, policies = fixed_point(records)
        std = std_of(records, policies)
        divisor = std + records[0].get("epsilon", 0.0)
        for record, result, policy in zip(records, results, policies):
            mean = math.fsum(p * x for p, x in zip(policy, record["rewards"]))
            advantage = [own_factor(record) * (x - mean) / divisor for x in record["rewards"]]
            error = max(abs(x - y) for x, y in zip(result["policy"], policy))
            checks.that(error < 1e-9, "%s: policy off by %g" % (record, error))
            error = max(abs(x - y) for x, y in zip(result["advantage"], advantage)) * divisor
            checks.that(error < 1e-9, "%s: advantage off by %g" % (record, error))
            checks.that(
                abs(result["batch_std"] - std) < 1e-9
                and abs(result["batch_beta"] - b) < 1e-9
                and result["batch_contexts"] == len(records),
                "%s: %s" % (record, result),
            )
    checks.that(compared >= 35, "%d compared" % compared)


# ---- the trainers' arithmetic -------------------------------------------------------------------


def sampled(checks):
    """At the policies found, the mean of advantage times gradient over large sampled batches
    balances the penalty's gradient: pi_o (u_o - mean u) = beta (pi_o - pi_ref,o) for k3. TRL
    divides by the std of all rewards, REINFORCE++ with baseline and ms-swift by that of all centred
    rewards, both with Bessel's correction."""
    contexts = [
        {"rewards": [0, 1], "reference": [0.9, 0.1]},
        {"rewards": [0, 1], "reference": [0.4, 0.6]},
        {"rewards": [0, 0.3, 1], "reference": [0.5, 0.3, 0.2]},
    ]
    r = random.Random(7)
    size, prompts, batches = 4, 384, 60
    for scale in ("batch_std", "batch_std_of_advantages"):
        records = [
            dict(
                c,
                model="group",
                group_size=size,
                penalty="reverse_kl",
                beta=0.6,
                epsilon=1e-4,
                scale=scale,
            )
            for c in contexts
        ]
        _, results = harness.solve(records)
        sums = [[[] for _ in c["rewards"]] for c in contexts]
        for _ in range(batches):
            groups, everything = [], []
            for k in range(prompts):
                x = k % len(contexts)
                members = r.choices(
                    range(len(contexts[x]["rewards"])), results[x]["policy"], k=size
                )
                rewards = [contexts[x]["rewards"][o] for o in members]
                mean = math.fsum(rewards) / size
                groups.append((x, members, [v - mean for v in rewards]))
                everything.extend(rewards if scale == "batch_std" else groups[-1][2])
            divisor = statistics.stdev(everything) + 1e-4
            totals = [[0.0] * len(c["rewards"]) for c in contexts]
            for x, members, centred in groups:
                for o, value in zip(members, centred):
                    totals[x][o] += value / divisor
            drawn = prompts // len(contexts) * size
            for x, c in enumerate(contexts):
                mean = math.fsum(totals[x]) / drawn
                for o in range(len(c["rewards"])):
                    sums[x][o].append(totals[x][o] / drawn - mean * results[x]["policy"][o])
        for x, c in enumerate(contexts):
            for o, values in enumerate(sums[x]):
                wanted = 0.6 * (results[x]["policy"][o] - c["reference"][o])
                spread = statistics.stdev(values) / math.sqrt(batches)
                error = statistics.mean(values) - wanted
                checks.that(
                    abs(error) < 4.0 * spread + 4.0 / (size * prompts) and spread < 0.01,
                    "%s, context %d, outcome %d: off by %g, spread %g"
                    % (scale, x, o, error, spread),
                )


# ---- files --------------------------------------------------------------------------------------


def run_files(files, *options):
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for k, lines in enumerate(files):
            names.append(os.path.join(folder, "%d.jsonl" % k))
            with open(names[-1], "w", encoding="utf-8") as file:
                file.write(
                    "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines)
                )
        return harness.run(["solve", "--format", "jsonl"] + list(options) + names)


def files(checks):
    a, b, c = (
        dict(SETTINGS, id=k, rewards=[0, 1], reference=[1 - p, p])
        for k, p in (("a", 0.1), ("b", 0.5), ("c", 0.8))
    )
    _, together = harness.solve([a, b, c])
    _, pair = harness.solve([a, b])
    _, alone = harness.solve([c])
    _, out, _ = run_files([[a, b], [c]])
    checks.that([json.loads(x) for x in out.splitlines()] == pair + alone, "a file is a batch")
    _, word = harness.solve([dict(x, scale="batch") for x in (a, b)])
    checks.that(word == pair, "TRL's word: %s" % word)
    checks.that(together[0]["batch_std"] != pair[0]["batch_std"], "the third context moves the std")

    # What is not of the batch stays in its place; what is bad is left out.
    mixed = [
        a,
        "junk",
        dict(b, scale="std", id="own"),
        b,
        dict(c, beta=0.3, id="beta"),
        dict(c, epsilon=1, id="epsilon"),
        dict(c, penalty="direct_kl", id="penalty"),
        dict(c, scale="batch_std_of_advantages", id="scale"),
        dict(c, reference=[0.9, 0.2], id="sum"),
        dict(c, zero_variance="drop", id="drop"),
    ]
    for threads in ("1", "3"):
        status, out, _ = run_files([mixed], "--threads", threads)
        results = [json.loads(x) for x in out.splitlines()]
        checks.that(
            status == 1 and len(results) == len(mixed),
            "%d of %d results" % (len(results), len(mixed)),
        )
        checks.that([results[0], results[3]] == pair, "the good ones are a batch of their own")
        checks.that(
            [x["status"] for x in results]
            == ["ok", "json", "ok", "ok"]
            + 4 * ["contradiction"]
            + ["probability", "contradiction"],
            str([x["status"] for x in results]),
        )
        for k in range(4, 8):
            checks.that(
                "%s is not that of" % results[k]["id"] in results[k]["error"]
                and "0.jsonl:1:" in results[k]["error"],
                results[k]["error"],
            )
    # --strict solves no batch that is not whole, but loses nothing that has been solved.
    own = dict(a, scale="std", id="own")
    for bad, wanted in (
        ("junk", "json"),
        (dict(c, beta=0.3), "contradiction"),
        (dict(c, reference=[0.9, 0.2]), "probability"),
        (dict(c, beta=-1), "value"),
    ):
        for threads in ("1", "3"):
            status, out, _ = run_files([[own, a, own, b, bad, c]], "--strict", "--threads", threads)
            checks.that(
                status == 1
                and [json.loads(x)["status"] for x in out.splitlines()] == ["ok", "ok", wanted],
                "--strict, %s: %s" % (wanted, out),
            )

    # One context without an answer leaves all without, and each says whose fault it is.
    status, out, _ = run_files(
        [
            [a, dict(b, penalty="total_variation")],
            [dict(x, penalty="total_variation") for x in (a, b)],
        ]
    )
    results = [json.loads(x) for x in out.splitlines()]
    checks.that(
        [x["status"] for x in results] == ["ok", "contradiction", "unsupported", "unsupported"]
        and "total_variation" in results[3]["error"],
        out,
    )
    for command in ("points", "flow", "sweep", "simulate"):
        status, out, err = harness.run(
            [command, "--format", "csv" if command == "sweep" else "jsonl"], json.dumps(a).encode()
        )
        checks.that(
            status == 1 and "expected grpoalign solve or explain" in out,
            "%s: %s %s" % (command, out, err),
        )
    status, _, err = harness.run(["sweep", "--scale", "std,batch-std"], json.dumps(a).encode())
    checks.that(status == 2 and "std of a batch" in err, err)


def presets(checks):
    """TRL adds its epsilon to the std of a batch too; explain's betas lead to the same policies."""
    contexts = [{"id": p, "rewards": [0, 1], "reference": [1 - p, p]} for p in (0.1, 0.5, 0.8)]
    text = "".join(json.dumps(c) + "\n" for c in contexts).encode()
    _, dropping = harness.solve(
        contexts, "--preset", "open-instruct", "--beta", "0.2", "--scale", "batch-std"
    )
    checks.that(
        {x["status"] for x in dropping} == {"contradiction"},
        "a preset that drops groups: %s" % dropping,
    )
    _, results = harness.solve(
        contexts, "--preset", "trl-1.9", "--beta", "0.2", "--scale", "batch-std"
    )
    _, spelt = harness.solve([dict(SETTINGS, epsilon=1e-4, **c) for c in contexts])
    checks.that(results == spelt, "the preset's epsilon: %s, %s" % (results, spelt))
    _, out, _ = harness.run(
        [
            "explain",
            "--format",
            "jsonl",
            "--preset",
            "trl-1.9",
            "--beta",
            "0.2",
            "--scale",
            "batch-std",
        ],
        text,
    )
    for context, result, line in zip(contexts, results, out.splitlines()):
        found = json.loads(line)
        checks.that(
            found["batch_std"] == result["batch_std"]
            and "std(rewards of the batch)" in found["advantage"],
            line,
        )
        same = {e["convention"].split(",")[0]: e["beta"] for e in found["equivalents"]}
        plain = {
            "model": "limit",
            "scale": "none",
            "penalty": "reverse_kl",
            "beta": same["unscaled rewards"],
        }
        _, (unscaled,) = harness.solve([dict(context, **plain)])
        checks.that(
            abs(unscaled["policy"][1] - result["policy"][1]) < 1e-9, "%s: %s" % (found, unscaled)
        )
        # Another baseline changes all contexts of a batch, each by a factor of its group size.
        checks.that(len(found["equivalents"]) == 1, line)
    with tempfile.TemporaryDirectory() as folder:
        table = os.path.join(folder, "r.csv")
        with open(table, "w", encoding="utf-8") as file:
            file.write(
                "prompt,answer,reward,count\np,x,0,9\np,y,1,1\nq,x,0,5\nq,y,1,5\ns,x,0,1\ns,y,1,4\n"
            )
        _, out, _ = harness.run(
            [
                "solve",
                "--format",
                "jsonl",
                "--preset",
                "trl-1.9",
                "--beta",
                "0.2",
                "--scale",
                "batch-std",
                "--rollouts",
                table,
                "--outcome",
                "answer",
                "--count",
                "count",
            ]
        )
        rows = [json.loads(x) for x in out.splitlines()]
        checks.that(
            [x["batch_contexts"] for x in rows] == [3, 3, 3]
            and all(abs(x["policy"][1] - y["policy"][1]) < 1e-12 for x, y in zip(rows, results)),
            out,
        )
    _, out, _ = harness.run(
        [
            "solve",
            "--format",
            "table",
            "--preset",
            "trl-1.9",
            "--beta",
            "0.2",
            "--scale",
            "batch-std",
        ],
        text,
    )
    checks.that(out.count("std of the batch") == 3 and "over 3 contexts" in out, out)


def main():
    checks = harness.Checks()
    for part in (against_bisection, sampled, files, presets):
        part(checks)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
