"""Presets: the numbers published for the conventions they stand for, who has the last word, and
whether the betas that `explain` gives really lead to the same policy. Every preset's answer is put
back into its trainer's arithmetic, written here from the trainers' documentation: all groups are
listed, and the gradient of the loss must vanish."""

import itertools
import json
import math
import statistics
import sys

import harness

TOLERANCE = 1e-9


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def close(a, b, tolerance=TOLERANCE):
    return abs(a - b) <= tolerance * max(1.0, abs(b))


# ---- numbers ------------------------------------------------------------------------------------

BINARY = {"rewards": [0, 1], "reference": [0.9, 0.1], "beta": 0.3, "model": "group", "epsilon": 0}


def numbers(checks):
    """Binary rewards, beta = 0.3, P(correct) = 0.1 under the reference."""
    wanted = []
    reverse = {
        2: (0.7405124838, 0.6418374170),
        4: (0.8417222172, 0.8171549568),
        8: (0.8835871515, 0.8744856845),
        16: (0.9081392550, 0.9042422013),
        64: (0.9286221230, 0.9276649565),
        512: (0.9325743590, 0.9324541074),
    }
    for size, pair in reverse.items():
        for ddof in (0, 1):
            wanted.append(
                (dict(BINARY, group_size=size, ddof=ddof, penalty="reverse_kl"), pair[ddof])
            )
    unscaled = {k: v for k, v in BINARY.items() if k != "epsilon"}
    unscaled["scale"] = "none"
    for size, p in {2: 0.3703867736, 4: 0.5751208513, 8: 0.6724841495}.items():
        wanted.append((dict(unscaled, group_size=size, penalty="direct_kl"), p))
        wanted.append(
            (
                dict(unscaled, group_size=size, penalty="direct_kl", baseline="leave_one_out"),
                0.7569644857,
            )
        )
    for size, p in {2: 0.5162277660, 4: 0.6605551275, 8: 0.7057251081}.items():
        wanted.append((dict(unscaled, group_size=size, penalty="reverse_kl"), p))
    status, results = harness.solve([record for record, _ in wanted])
    checks.that(status == 0, "exit status %d" % status)
    for (record, p), result in zip(wanted, results):
        checks.that(
            close(result["policy"][1], p, 2e-10),
            "%s gives %r, wanted %.10f" % (record, result["policy"], p),
        )
    four = {
        "rewards": [0, 0.4, 1, 1],
        "reference": [0.5, 0.3, 0.15, 0.05],
        "beta": 0.5,
        "preset": "verl-kl-in-reward",
        "group_size": 5,
    }
    _, (result,) = harness.solve([four])
    for a, b in zip(result["policy"], [0.1890, 0.2524, 0.4190, 0.1397]):
        checks.that(abs(a - b) < 1e-4, "KL in the reward: %r" % result["policy"])


# ---- trainers' arithmetic -----------------------------------------------------------------------


def mean_of(values):
    return math.fsum(values) / len(values)


def z(ddof, epsilon):
    """(r - mean) / (std + epsilon), 0 in a group without spread."""

    def advantage(group):
        mean = mean_of(group)
        std = math.sqrt(math.fsum((r - mean) ** 2 for r in group) / (len(group) - ddof))
        return [0.0 if min(group) == max(group) else (r - mean) / (std + epsilon) for r in group]

    return advantage


def centred(group):
    mean = mean_of(group)
    return [r - mean for r in group]


def leave_one_out(group):
    total = math.fsum(group)
    return [r - (total - r) / (len(group) - 1) for r in group]


def nemo(group):
    result = []
    for i, r in enumerate(group):
        others = group[:i] + group[i + 1 :]
        std = statistics.stdev(others) if len(others) > 1 and min(others) < max(others) else 0.0
        distance = r - mean_of(others)
        result.append(distance / (std + 1e-6) if std > 0.0 else distance)
    return result


def maxrl(group):
    mean = mean_of(group)
    return [(r - mean) / mean if mean > 0.0 else 0.0 for r in group]


# Coefficients of grad log pi in the gradient of the KL term; l = log pi/pi_ref. In the loss: the
# derivative of the estimator;
# with the ratio: of rho k, so k + dk/dl at rho = 1; in the reward: the estimator itself.
def k3_in_loss(l):
    return 1.0 - math.exp(-l)


def k2_in_loss(l):
    return l


def k1_in_reward(l):
    return l


def k3_with_ratio(l):
    return (math.exp(-l) - 1.0 + l) + (1.0 - math.exp(-l))


TRAINERS = {
    "paper": (z(0, 0.0), k3_in_loss, False),
    "trl-1.9": (z(1, 1e-4), k3_in_loss, False),
    "trl-1.10": (z(1, 1e-4), k3_with_ratio, False),
    "trl-rloo": (leave_one_out, k1_in_reward, False),
    "verl-k2": (z(1, 1e-6), k2_in_loss, False),
    "verl-k3": (z(1, 1e-6), k3_in_loss, False),
    "openrlhf-group-norm": (z(1, 1e-9), k1_in_reward, False),
    "openrlhf-rloo": (leave_one_out, k1_in_reward, False),
    "nemo-2026-05": (nemo, k3_in_loss, False),
    "nemo-2026-06": (nemo, k3_with_ratio, False),
    "open-instruct": (centred, k3_in_loss, True),
    "open-instruct-standard": (z(0, 1e-8), k3_in_loss, True),
    "ms-swift": (z(1, 1e-4), k3_in_loss, False),
    "drgrpo": (centred, k3_in_loss, False),
    "roll": (z(1, 1e-6), k3_in_loss, False),
    "areal": (z(1, 1e-5), k1_in_reward, False),
    "torchtune": (z(1, 1e-4), k3_in_loss, False),
    "unsloth": (z(1, 1e-4), k3_in_loss, False),
    "skyrl": (z(1, 1e-6), k3_in_loss, False),
    "tinker": (centred, k1_in_reward, False),
    "openrlhf-reinforce-baseline": (centred, k1_in_reward, False),
    "openrlhf-flash-reinforce": (leave_one_out, k1_in_reward, False),
    "unsloth-2026.10": (z(1, 1e-4), k3_with_ratio, False),
    # with a beta that epsilon_high has divided
    "trl-cispo": (z(1, 1e-4), k3_with_ratio, False),
}
# KL terms without effect, or none at all: training is attracted by the best outcomes whatever beta
# is.
WITHOUT_EFFECT = {
    "trl-async": z(0, 1e-8),
    "verl-k1": z(1, 1e-6),
    "prime-rl": centred,
    "prime-rl-maxrl": maxrl,
    "slime": z(1, 1e-6),
    "tunix": z(1, 1e-6),
}


def gradient(advantages, coefficient, drops, record, policy):
    """Of the expected loss in the logits, all groups of the given size being listed."""
    rewards, reference, beta = record["rewards"], record["reference"], record["beta"]
    n, size = len(rewards), record["group_size"]
    ls = [math.log(p / q) for p, q in zip(policy, reference)]
    weight = [0.0] * n  # of grad log pi of each outcome
    for group in itertools.product(range(n), repeat=size):
        probability = math.prod(policy[o] for o in group)
        values = [rewards[o] for o in group]
        if drops and min(values) == max(values):
            continue
        for o, a in zip(group, advantages(values)):
            weight[o] += probability * (a - beta * coefficient(ls[o])) / size
    total = math.fsum(weight)
    return [w - p * total for w, p in zip(weight, policy)]


def arithmetic(checks):
    rewards, reference = [0.0, 0.25, 1.0], [0.5, 0.3, 0.2]
    records = []
    for name in TRAINERS:
        for size in (3, 5):
            records.append(
                {
                    "id": name,
                    "preset": name,
                    "rewards": rewards,
                    "reference": reference,
                    "beta": 0.6,
                    "group_size": size,
                }
            )
    status, results = harness.solve(records)
    checks.that(status == 0, "exit status %d" % status)
    for record, result in zip(records, results):
        advantages, coefficient, drops = TRAINERS[record["id"]]
        left = gradient(advantages, coefficient, drops, record, result["policy"])
        checks.that(
            max(map(abs, left)) < 1e-11,
            "%s, groups of %d: gradient %r at %r"
            % (record["id"], record["group_size"], left, result["policy"]),
        )
        moved = gradient(advantages, coefficient, drops, record, [0.4, 0.35, 0.25])
        checks.that(max(map(abs, moved)) > 1e-3, "%s: the gradient sees nothing" % record["id"])
    records = [
        {
            "id": name,
            "preset": name,
            "rewards": rewards,
            "reference": reference,
            "beta": 0.6,
            "group_size": 4,
        }
        for name in WITHOUT_EFFECT
    ]
    _, results = harness.solve(records)
    for record, result in zip(records, results):
        checks.that(
            result["policy"] == [0.0, 0.0, 1.0] and result["stable"],
            "%s: %r" % (record["id"], result),
        )
        # From the reference the best outcome is pushed up, and the KL term adds nothing:
        # E[dk1/dlogits] = 0.
        push = gradient(WITHOUT_EFFECT[record["id"]], lambda l: 1.0, False, record, reference)
        checks.that(push[2] > 0.0 > push[0], "%s: pushed to %r" % (record["id"], push))


# ---- versions -----------------------------------------------------------------------------------


def versions(checks):
    """The newest convention not above a version, and the newest of all."""
    for asked, name in (
        ("trl", "trl-1.10"),
        ("trl-1.16", "trl-1.10"),
        ("trl-1.16.0", "trl-1.10"),
        ("trl-1.10.0", "trl-1.10"),
        ("trl-1.9.2", "trl-1.9"),
        ("trl-0.20", "trl-1.9"),
        ("nemo", "nemo-2026-06"),
        ("nemo-2026-06-23", "nemo-2026-05"),
        ("nemo-2026-07-01", "nemo-2026-06"),
    ):
        status, out, err = harness.run(["presets", "--format", "jsonl", asked])
        told = json.loads(out) if status == 0 else {"name": err}
        checks.that(told["name"] == name, "%s is %s: expected %s" % (asked, told["name"], name))
    checks.that(told["from"] == "2026-06-24", "from which version: %s" % told)
    for asked in ("trl-0.1", "trl-", "trl-new", "trlx", "nemo-2024"):
        status, _, _ = harness.run(["presets", asked])
        checks.that(status == 2, "%s is no preset" % asked)


# ---- precedence ---------------------------------------------------------------------------------


def precedence(checks):
    base = {"rewards": [0, 0.4, 1], "reference": [0.5, 0.3, 0.2]}

    def policy(record, *options):
        status, results = harness.solve([dict(base, **record)], *options)
        checks.that(status == 0, "%s %s: %s" % (record, options, results))
        return results[0].get("policy")

    explicit = {
        "model": "group",
        "group_size": 8,
        "ddof": 1,
        "epsilon": 1e-4,
        "penalty": "direct_kl",
        "beta": 0.5,
    }
    checks.that(
        policy(explicit) == policy({}, "--preset", "trl-1.10", "--beta", "0.5"),
        "a preset is its settings",
    )
    checks.that(
        policy(explicit) == policy({"beta": 0.5}, "--preset", "trl-1.10", "--beta", "9"),
        "the record first",
    )
    checks.that(
        policy(dict(explicit, group_size=4))
        == policy({}, "--preset", "trl-1.10", "--beta", "0.5", "--group-size", "4"),
        "then options",
    )
    checks.that(
        policy(explicit) == policy({"preset": "trl-1.10", "beta": 0.5}, "--preset", "paper"),
        "record's preset",
    )
    none = {k: v for k, v in explicit.items() if k not in ("ddof", "epsilon")}
    checks.that(
        policy(dict(none, scale="none"))
        == policy({}, "--preset", "trl-1.10", "--scale", "none", "--beta", "0.5"),
        "another scale leaves out epsilon and ddof",
    )
    limit = {"model": "limit", "epsilon": 1e-4, "penalty": "direct_kl", "beta": 5}
    checks.that(
        policy(limit) == policy({"model": "limit"}, "--preset", "trl-1.10", "--beta", "5"),
        "a limit",
    )
    margins = {"margins": [[0, 0.5], [-0.5, 0]], "preset": "trl-1.9", "beta": 1}
    pairwise = {
        "margins": margins["margins"],
        "model": "pairwise",
        "penalty": "reverse_kl",
        "beta": 1,
    }
    _, results = harness.solve([margins, pairwise])
    checks.that(results[0]["policy"] == results[1]["policy"], "margins: %r" % results)
    checks.that(policy({}, "--preset", "trl-1.9") == [0.0, 0.0, 1.0], "off by default")
    others = policy({"scale": "std_of_others", "beta": 1}, "--preset", "trl-1.9")
    checks.that(
        others
        == policy(
            {"scale": "std_of_others", "baseline": "leave_one_out", "beta": 1},
            "--preset",
            "trl-1.9",
        ),
        "the std of others has one baseline: %s" % others,
    )
    # TRL's RLOO takes the KL off the reward before the baseline: RLHF's policy, however the
    # advantages are scaled then.
    for change in (
        {},
        {"scale": "std"},
        {"scale": "batch_std_of_advantages"},
        {"baseline": "mean"},
        {"scale": "mean"},
    ):
        p = policy(dict(change, beta=0.5), "--preset", "trl-rloo")
        tilt = [q * math.exp(r / 0.5) for q, r in zip(base["reference"], base["rewards"])]
        checks.that(
            max(abs(a - b / math.fsum(tilt)) for a, b in zip(p, tilt)) < 1e-12,
            "trl-rloo, %s: %s" % (change, p),
        )
    for record, options, words in (
        ({}, ["--preset", "paper"], ["beta is missing"]),
        ({"beta": 1}, ["--preset", "slime"], ["group_size is missing", "group of one"]),
        ({"beta": 1, "preset": "trl-0.1"}, [], ["preset", "grpoalign presets"]),
        ({"beta": 0}, ["--preset", "trl-1.9"], ["beta", "the penalty none"]),
        ({"beta": 1, "penalty": "alpha"}, ["--preset", "trl-1.9"], ["alpha is missing"]),
        ({"beta": 1, "alpha": 1}, ["--preset", "trl-1.9"], ["alpha belongs"]),
        (
            {"beta": 1, "scale": "mean", "baseline": "leave-one-out"},
            ["--preset", "trl-1.9"],
            ["baseline mean"],
        ),
        (
            {"beta": 1, "scale": "std-of-others", "baseline": "mean"},
            ["--preset", "trl-1.9"],
            ["leave_one_out"],
        ),
        (
            {"beta": 1, "scale": "mean", "rewards": [-1, 0, 2]},
            ["--preset", "trl-1.9"],
            ["rewards[0]", ">= 0"],
        ),
        (
            {"beta": 1, "model": "limit", "zero_variance": "drop"},
            ["--preset", "trl-1.9"],
            ["zero_variance"],
        ),
    ):
        status, results = harness.solve([dict(base, **record)], *options)
        message = results[0].get("error", "")
        checks.that(
            status == 1 and all(word in message for word in words),
            "%s %s: %s" % (record, options, results),
        )


# ---- the list, and explanations -----------------------------------------------------------------


def listing(checks):
    status, out, err = harness.run(["presets"])
    rows = {row["name"]: row for row in lines_of(out)}
    checks.that(status == 0 and not err, "presets: %s" % err)
    checks.that(
        set(rows)
        == set(TRAINERS) | set(WITHOUT_EFFECT) | {"verl-abs", "verl-kl-in-reward", "ms-swift-rf++"},
        sorted(rows),
    )
    for row in rows.values():
        silent = row["penalty"] == "none"
        checks.that(
            not (silent or row["beta"] == 0) or row["warning"], "%s warns of nothing" % row["name"]
        )
    status, out, _ = harness.run(["presets", "--format", "table", "trl-1.9", "trl-1.10"])
    checks.that(
        status == 0 and "KL(pi_ref||pi)" in out and "pi ~ pi_ref exp(u/beta)" in out and "!" in out,
        out,
    )
    checks.that(harness.run(["presets", "nobody"])[0] == 2, "an unknown preset")


def explanations(checks):
    """The beta of another convention must give the same policy there."""
    base = {
        "model": "group",
        "rewards": [0, 1, 1],
        "reference": [0.7, 0.2, 0.1],
        "group_size": 6,
        "beta": 0.8,
    }
    others = {
        "population std (ddof 0)": {"ddof": 0},
        "sample std (ddof 1)": {"ddof": 1},
        "the mean of the others as baseline (leave one out)": {"baseline": "leave_one_out"},
        "the mean of the whole group as baseline": {"baseline": "mean"},
        "groups without spread kept": {"zero_variance": "keep"},
        "unscaled rewards, leave one out or large groups, the same penalty": {
            "scale": "none",
            "baseline": "leave_one_out",
            "ddof": None,
            "epsilon": None,
            "epsilon_place": None,
            "zero_variance": None,
        },
        "RLHF: pi ~ pi_ref exp(r/beta)": {
            "scale": "none",
            "model": "limit",
            "penalty": "direct_kl",
            "group_size": None,
            "ddof": None,
            "epsilon": None,
            "baseline": None,
        },
    }
    seen = set()
    for change in (
        {"ddof": 1, "epsilon": 0.01},
        {"ddof": 0},
        {"ddof": 1, "epsilon": 0.02, "epsilon_place": "inside"},
        {"scale": "none"},
        {"scale": "none", "baseline": "leave_one_out"},
        {"scale": "mean"},
        {"scale": "std_of_others", "baseline": "leave_one_out"},
        {"zero_variance": "drop", "ddof": 1},
        {"zero_variance": "drop", "scale": "none"},
        {"penalty": "kl_in_reward"},
    ):
        for penalty in ("reverse_kl", "direct_kl"):
            record = dict(base, **change)
            record.setdefault("penalty", penalty)
            status, out, err = harness.run(["explain"], (json.dumps(record) + "\n").encode())
            checks.that(status == 0 and not err, "explain %s: %s%s" % (record, out, err))
            explained = lines_of(out)[0]
            for same in explained["equivalents"]:
                there = dict(record, beta=same["beta"])
                if "epsilon" in same:
                    there["epsilon"] = same["epsilon"]
                there.update(others[same["convention"]])
                there = {k: v for k, v in there.items() if v is not None}
                _, (a, b) = harness.solve([record, there])
                checks.that(
                    "policy" in b
                    and max(abs(p - q) for p, q in zip(a["policy"], b["policy"])) < 1e-9,
                    "%s is not %s: %s %s" % (record, there, a.get("policy"), b),
                )
                seen.add(same["convention"])
    checks.that(seen == set(others), "never explained: %s" % (set(others) - seen))
    status, out, _ = harness.run(
        ["explain", "--format", "table", "--preset", "tunix"],
        (json.dumps({"rewards": [0, 1]}) + "\n").encode(),
    )
    checks.that(status == 0 and "no effect" in out and "no penalty" in out, out)


if __name__ == "__main__":
    CHECKS = harness.Checks()
    numbers(CHECKS)
    versions(CHECKS)
    arithmetic(CHECKS)
    precedence(CHECKS)
    listing(CHECKS)
    explanations(CHECKS)
    sys.exit(CHECKS.close())
