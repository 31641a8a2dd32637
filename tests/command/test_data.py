"""Every prompt of every rollout set and every matrix of preferences under the shared data, through
the command: each residual is at most 1e-9 or the status explains. Prints the summary table."""

import collections
import csv
import json
import os
import sys
import tempfile
import time

import harness

BETAS = (0.001, 0.04, 1)
PENALTIES = ("reverse-kl", "direct-kl")
ROLLOUTS = (
    (
        "humaneval, 0/1",
        "c-humaneval-codegen16b/outcomes.csv",
        ["--outcome", "outcome", "--count", "count"],
    ),
    (
        "humaneval, share of tests",
        "c-humaneval-codegen16b/outcomes.csv",
        ["--outcome", "outcome", "--reference", "ref_prob", "--reward", "frac_tests"],
    ),
    ("game24", "c-game24-gpt4/outcomes_cot.csv", ["--outcome", "answer", "--count", "count"]),
    ("gsm8k", "c-gsm8k-gpt3/rewards.csv", []),
    ("qwen-math, reward model", "c-qwen-math-rm/rewards.csv", ["--reward", "rm_score"]),
    (
        "qwen-math, by answer",
        "c-qwen-math-rm/rewards.csv",
        ["--reward", "rm_score", "--outcome", "answer_id"],
    ),
    ("tot-text", "c-tot-text-gpt4/rewards_cot.csv", []),
)
BATTLES = (
    (
        "llmfao, per prompt",
        ["a-llmfao/pairs_crowd.csv", "a-llmfao/pairs_gpt3.csv", "a-llmfao/pairs_gpt4.csv"],
        ["--prompt", "prompt"],
    ),
    (
        "llmfao, summed",
        [
            "a-llmfao/pairs_crowd_allprompts.csv",
            "a-llmfao/pairs_gpt3_allprompts.csv",
            "a-llmfao/pairs_gpt4_allprompts.csv",
        ],
        [],
    ),
    ("pandalm", ["a-pandalm/pairs.csv", "a-pandalm/pairs_allprompts.csv"], []),
    ("preflib", ["b-preflib/pairs.csv", "b-preflib/pairs_rankedonly.csv"], ["--prompt", "prompt"]),
)
LARGEST_RESIDUAL = 1e-9
# Qualified results: the residual of the first is still held to the bound, the second has none.
EXPLAINED = ("ok", "not_unique", "collapsed")


class Sweep:
    def __init__(self):
        self.checks = harness.Checks()
        self.table = []

    def add(self, name, runs):
        counts, worst, slowest, solves = collections.Counter(), 0.0, 0.0, 0
        for arguments, expected in runs:
            began = time.monotonic()
            status, out, err = harness.run(["solve", "--format", "jsonl"] + arguments)
            took = time.monotonic() - began
            results = [json.loads(line) for line in out.splitlines()]
            self.checks.that(status == 0, "%s: exit status %d %s" % (arguments, status, err))
            self.checks.that(
                len(results) == expected if expected else results,
                "%s: %d results" % (arguments, len(results)),
            )
            slowest, solves = max(slowest, took / max(1, len(results))), solves + len(results)
            for result in results:
                counts[result["status"]] += 1
                where = "%s %s: " % (" ".join(map(str, arguments)), result["id"])
                if result["status"] not in EXPLAINED:
                    self.checks.that(
                        False, where + json.dumps(result.get("error", result["status"]))
                    )
                    continue
                if result["status"] != "collapsed":
                    worst = max(worst, result["residual"])
                    self.checks.that(
                        result["residual"] <= LARGEST_RESIDUAL,
                        where + "residual %g" % result["residual"],
                    )
                total = sum(result["policy"])
                self.checks.that(
                    abs(total - 1) < 1e-12 and min(result["policy"]) >= 0,
                    where + "sum %.17g" % total,
                )
        self.table.append((name, solves, dict(counts), worst, slowest))

    def show(self):
        print(
            "%-28s %7s  %-40s %9s %12s" % ("set", "solves", "statuses", "residual", "ms per solve")
        )
        for name, solves, counts, worst, slowest in self.table:
            told = ", ".join(
                "%d %s" % (counts[s], s) for s in sorted(counts, key=counts.get, reverse=True)
            )
            print("%-28s %7d  %-40s %9.1e %12.3f" % (name, solves, told, worst, 1e3 * slowest))
        print("%-28s %7d" % ("all", sum(row[1] for row in self.table)))


def models():
    for size in (2, 8, 64):
        for scale in ("std", "none"):
            yield ["--model", "group", "--group-size", size, "--scale", scale]
    for scale in ("std", "none"):
        yield ["--model", "limit", "--scale", scale]
    yield ["--model", "group", "--group-size", 8, "--scale", "batch-std"]
    yield ["--model", "limit", "--scale", "batch-std-of-advantages"]


def settings():
    for model in models():
        for penalty in PENALTIES:
            for beta in BETAS:
                yield model + ["--penalty", penalty, "--beta", beta]


def prompts_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return len({row["prompt"] for row in csv.DictReader(file)})


def noisy_records(path):
    """The five draws of every judgement: a distribution over the scores 1 to 10."""
    contexts = collections.OrderedDict()
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            contexts.setdefault(row["prompt"], []).append(
                [int(float(row["s%d" % k])) for k in range(1, 6) if row["s%d" % k]]
            )
    for prompt, draws in contexts.items():
        levels = list(range(1, 11))
        yield {
            "id": prompt,
            "support": levels,
            "distribution": [[d.count(level) / len(d) for level in levels] for d in draws],
        }, {
            "id": prompt,
            "rewards": [sum(d) / len(d) for d in draws],
            "reward_variances": [
                sum((x - sum(d) / len(d)) ** 2 for x in d) / len(d) for d in draws
            ],
        }


def main():
    sweep = Sweep()
    for name, path, arguments in ROLLOUTS:
        where = harness.need_shared("data", *path.split("/"))
        prompts = prompts_of(where)
        sweep.add(
            name, [(["--rollouts", where] + arguments + setting, prompts) for setting in settings()]
        )
    noisy = list(noisy_records(harness.need_shared("data", "c-tot-text-gpt4", "rewards_cot.csv")))
    with tempfile.TemporaryDirectory() as folder:
        group, limit = os.path.join(folder, "group.jsonl"), os.path.join(folder, "limit.jsonl")
        for path, which in ((group, 0), (limit, 1)):
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(pair[which]) + "\n" for pair in noisy)
        sweep.add(
            "tot-text, noisy",
            [
                ([limit if "limit" in setting else group] + setting, len(noisy))
                for setting in settings()
            ],
        )
    for name, paths, arguments in BATTLES:
        wheres = [harness.need_shared("data", *path.split("/")) for path in paths]
        sweep.add(
            name,
            [
                (["--battles", where] + arguments + ["--penalty", penalty, "--beta", beta], None)
                for where in wheres
                for penalty in PENALTIES
                for beta in BETAS
            ],
        )
    sweep.show()
    return sweep.checks.close()


if __name__ == "__main__":
    sys.exit(main())
