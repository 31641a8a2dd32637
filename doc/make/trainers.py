"""The table and figure of doc/trainers.md, on real rollouts.   Usage: trainers.py GRPOALIGN
HUMANEVAL.csv FIGURE.svg

Prints, for each preset at several betas, the mean expected reward over the prompts of a file of
rollouts."""

import json
import math
import subprocess
import sys

import figures

PRESETS = (
    "trl-1.9",
    "trl-1.10",
    "trl-rloo",
    "nemo-2026-05",
    "nemo-2026-06",
    "open-instruct",
    "drgrpo",
    "verl-kl-in-reward",
)
BETAS = [10 ** (k / 8) for k in range(-16, 9)]


def mean_reward(command, rollouts, preset, beta, *options):
    """Mean expected reward, and how many of the prompts have several stationary policies or a
    collapse."""
    done = subprocess.run(
        [
            command,
            "solve",
            "--format",
            "jsonl",
            "--rollouts",
            rollouts,
            "--outcome",
            "outcome",
            "--count",
            "count",
            "--preset",
            preset,
            "--beta",
            repr(beta),
        ]
        + list(options),
        stdout=subprocess.PIPE,
        check=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return math.fsum(r["expected_reward"] for r in results) / len(results), sum(
        r["status"] == "not_unique" for r in results
    )


def main(command, rollouts, figure):
    print(
        "| preset, groups of 8 | "
        + " | ".join("β = %g" % b for b in (0.01, 0.1, 1.0))
        + " |\n|---|---|---|---|"
    )
    lines = []
    for k, preset in enumerate(PRESETS):
        points = [
            (b, mean_reward(command, rollouts, preset, b, "--group-size", "8")[0]) for b in BETAS
        ]
        lines.append(
            (
                points,
                "lines lc '%s' lw 2.5 %s" % (figures.COLOURS[k % 5], "dt 2" if k >= 5 else ""),
                preset,
            )
        )
        row = [
            mean_reward(command, rollouts, preset, b, "--group-size", "8") for b in (0.01, 0.1, 1.0)
        ]
        print(
            "| `%s` | " % preset
            + " | ".join("%.3f%s" % (p, " (%d)" % several if several else "") for p, several in row)
            + " |"
        )
    figures.draw(
        figure,
        "regularisation β",
        "mean expected reward",
        lines,
        "set logscale x\nset format x '10^{%L}'",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
