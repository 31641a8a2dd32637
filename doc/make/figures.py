"""The figures of doc/figures, by grpoalign sweep and gnuplot.   Usage: figures.py GRPOALIGN
FOLDER"""

import csv
import io
import itertools
import json
import math
import os
import subprocess
import sys

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
PAIR = {"model": "pairwise", "rewards": [0, 1], "penalty": "reverse_kl"}
PROXY = {
    "model": "group",
    "rewards": [0.1, 0.5, 0.7, 1],
    "reference": [0.5, 0.3, 0.19, 0.01],
    "metrics": {"true worth": [0, 0.5, 1, 0.2]},
}
PASS = {"model": "group", "rewards": [0, 1], "reference": [0.9, 0.1]}


def sweep(command, record, *options):
    done = subprocess.run(
        [command, "sweep"] + [str(o) for o in options],
        input=json.dumps(record).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return [
        row
        for row in csv.DictReader(io.StringIO(done.stdout.decode()))
        if row.get("outcome", "1") == "1"
    ]


def draw(path, x_label, y_label, lines, settings=""):
    """lines: (points, how gnuplot is to draw them, title)."""
    script = [
        "set terminal svg size 900,560 dynamic enhanced font 'Helvetica,16' background '#ffffff'",
        "set encoding utf8",
        "set output '%s'" % path,
        "set border 3 lw 1.2",
        "set tics nomirror out",
        "set grid lc '#dddddd' lw 0.8 lt 1",
        "set key outside right top Left reverse spacing 1.25 samplen 2.5",
        "set xlabel '%s'" % x_label,
        "set ylabel '%s'" % y_label,
        "set yrange [-0.02:1.02]",
        settings,
    ]
    plots = []
    for k, (points, how, title) in enumerate(lines):
        script += ["$d%d << EOD" % k] + ["%.10g %.10g" % p for p in points] + ["EOD"]
        plots.append("$d%d with %s title '%s'" % (k, how, title))
    script += ["plot " + ", ".join(plots), "set output"]
    subprocess.run(["gnuplot"], input="\n".join(script).encode(), check=True)


def line(k, more=""):
    return "lines lc '%s' lw 2.5 %s" % (COLOURS[k], more)


def pairs_by_beta(command, path):
    """Groups of two: p against beta/gamma, its bound max(1 - beta/gamma, pi_ref), and the square
    root of pi_ref at beta = gamma."""
    lines = []
    for k, p in enumerate((0.01, 0.1, 0.3, 0.6)):
        rows = sweep(command, PAIR, "--beta", "0.01:3:lin300", "--reference-probability", p)
        lines.append(
            ([(float(r["beta"]), float(r["policy"])) for r in rows], line(k), "π_{ref} = %g" % p)
        )
    for k, p in enumerate((0.01, 0.1, 0.3, 0.6)):
        lines.append(
            (
                [(1.0, math.sqrt(p))],
                "points lc '%s' pt 7 ps 1.2" % COLOURS[k],
                "√π_{ref} at β = γ" if k == 0 else "",
            )
        )
        bound = [(i / 100, max(1 - i / 100, p)) for i in range(1, 301)]
        lines.append(
            (
                bound,
                line(k, "dt 3").replace("2.5", "1.5"),
                "max(1 − β/γ, π_{ref})" if k == 0 else "",
            )
        )
    draw(path, "β/γ", "probability of the preferred answer", lines)


def pairs_by_margin(command, path):
    """Groups of two: p against the confidence margin at several betas."""
    lines = []
    for k, beta in enumerate((0.05, 0.2, 0.5, 1, 3)):
        rows = sweep(
            command, PAIR, "--beta", beta, "--reference-probability", 0.1, "--margin", "-1:1:lin401"
        )
        lines.append(
            ([(float(r["margin"]), float(r["policy"])) for r in rows], line(k), "β = %g" % beta)
        )
    for k, beta in enumerate((0.05, 0.2, 0.5, 1)):
        lines.append(
            (
                [(beta, math.sqrt(0.1))],
                "points lc '%s' pt 7 ps 1.2" % COLOURS[k],
                "√π_{ref} at γ = β" if k == 0 else "",
            )
        )
    draw(path, "confidence margin γ", "probability of the answer", lines)


def large_groups(command, path):
    """The limit of large groups: p against beta, its bound 1/(1 + beta^2), and finite groups beside
    it."""
    lines = []
    for k, size in enumerate((2, 4, 8, 32)):
        rows = sweep(
            command,
            dict(PASS, penalty="reverse_kl"),
            "--beta",
            "0.01:10:log200",
            "--group-size",
            size,
        )
        lines.append(
            ([(float(r["beta"]), float(r["policy"])) for r in rows], line(k), "G = %d" % size)
        )
    rows = sweep(
        command, dict(PASS, model="limit", penalty="reverse_kl"), "--beta", "0.01:10:log200"
    )
    lines.append(
        (
            [(float(r["beta"]), float(r["policy"])) for r in rows],
            "lines lc '#000000' lw 2.5",
            "G → ∞",
        )
    )
    betas = [0.01 * 1000 ** (i / 200) for i in range(201)]
    lines.append(
        ([(b, 1 / (1 + b * b)) for b in betas], "lines lc '#000000' lw 1.5 dt 3", "1/(1 + β^2)")
    )
    draw(
        path,
        "regularisation β",
        "probability of success",
        lines,
        "set logscale x\nset format x '10^{%L}'",
    )


def two_tokens(gap, penalty):
    """P(the better of two tokens), each 1/2 in the reference, whose values differ by beta gap."""
    if penalty == "direct_kl":
        return 1 / (1 + math.exp(-gap))
    level = (1 + gap + math.sqrt(1 + gap * gap)) / 2  # 1/level + 1/(level - gap) = 2
    return 0.5 / (level - gap)


def coins(flips, beta, penalty):
    """P(head) of fair coins, the reward being the mean of `flips` of them: prefixes are numbers of
    flips and heads. Advantages are rewards over sigma, which is the one unknown; from the largest.
    None where there is no root."""

    def sigma_of(sigma):
        value = [heads / (flips * sigma) for heads in range(flips + 1)]
        chances = []
        for t in reversed(range(flips)):  # from the leaves up
            head = [two_tokens((value[h + 1] - value[h]) / beta, penalty) for h in range(t + 1)]
            value = [p * value[h + 1] + (1 - p) * value[h] for h, p in enumerate(head)]
            chances.append(head)
        mass = [1.0]
        for head in reversed(chances):  # and down again
            mass = [
                (mass[h - 1] * head[h - 1] if h > 0 else 0)
                + (mass[h] * (1 - head[h]) if h < len(head) else 0)
                for h in range(len(mass) + 1)
            ]
        mean = sum(m * h for h, m in enumerate(mass)) / flips
        return math.sqrt(sum(m * (h / flips - mean) ** 2 for h, m in enumerate(mass))), mean

    def off(log_sigma):
        sigma = sigma_of(math.exp(log_sigma))[0]
        return math.log(sigma) - log_sigma if sigma > 0 else -math.inf

    high = math.log(0.5 / math.sqrt(flips))
    low, end, at_high = high, high - 5, off(high)
    while True:
        low -= 0.03
        at_low = off(low)
        if at_low > 0:
            break
        if low < end or at_low == -math.inf:
            return None
        high, at_high = low, at_low
    while high - low > 1e-11:  # false position, the end that stays at half its value
        middle = low - at_low * (high - low) / (at_high - at_low)
        here = off(middle)
        if here > 0:
            low, at_low, at_high = middle, here, at_high / 2
        else:
            high, at_high, at_low = middle, here, at_low / 2
        if abs(here) < 1e-13:
            return sigma_of(math.exp(middle))[1]
    return sigma_of(math.exp(low))[1]


def solve(command, record):
    done = subprocess.run(
        [command, "solve"],
        input=json.dumps(record).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout.decode())


def tokens(command, path):
    """Fair coins whose mean is the reward, limit model: P(head) under a KL per token, beside one
    decision and equal decisions."""
    beta = 0.5
    most = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 32, 40, 50, 64, 80, 100]
    most += [150, 250, 400, 650, 1000]
    curves = {"reverse_kl": [], "direct_kl": []}
    for flips in most:
        for penalty, points in curves.items():
            head = coins(flips, beta, penalty)
            if head is None:
                continue
            points.append((flips, head))
            if flips <= 10:  # the whole tree
                leaves = list(itertools.product((0, 1), repeat=flips))
                record = {"model": "limit", "penalty": penalty, "beta": beta, "tokens": leaves}
                record["rewards"] = [sum(leaf) / flips for leaf in leaves]
                assert abs(solve(command, record)["expected_reward"] - head) < 1e-10
            if flips in (1, 20, 100, 1000):
                print("%d flips, %s per token: P(head) = %.10f" % (flips, penalty, head))
    equal, one = [], []
    for flips in most:
        logs = [
            math.lgamma(flips + 1) - math.lgamma(h + 1) - math.lgamma(flips - h + 1)
            for h in range(flips + 1)
        ]
        record = {"model": "limit", "penalty": "reverse_kl", "beta": beta}
        record["rewards"] = [h / flips for h in range(flips + 1)]
        record["reference_logprobs"] = logs
        one.append((flips, solve(command, record)["expected_reward"]))
        found = solve(command, dict(record, decisions=flips))
        if found["status"] != "collapsed":
            equal.append((flips, found["expected_reward"]))
            if flips in (1, 20, 100, 1000):
                print(
                    "%d flips, %d equal decisions: P(head) = %.10f"
                    % ((flips, flips) + equal[-1][1:])
                )
    print("equal decisions collapse for", sorted(set(most) - {flips for flips, _ in equal}))
    draw(
        path,
        "flips in a completion",
        "probability of a head",
        [
            (one, "lines lc '#888888' lw 2.5 dt 3", "one decision, KL(π_{ref}‖π)"),
            (curves["reverse_kl"], line(0), "KL(π_{ref}‖π) at every token"),
            (curves["direct_kl"], line(1), "KL(π‖π_{ref}) at every token"),
            (
                [point for point in equal if point[0] > 1],
                "points lc '%s' pt 7 ps 0.7" % COLOURS[2],
                "α = 1 − 1/T",
            ),
        ],
        "set logscale x\nset yrange [0.48:1]",
    )


def curve(command, path, record, *options):
    """What the command draws by itself."""
    subprocess.run(
        [command, "sweep", "--summary", "--plot", path] + [str(o) for o in options],
        input=json.dumps(record).encode(),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def main(command, folder):
    def name(stem):
        return os.path.join(folder, stem + ".svg")

    pairs_by_beta(command, name("pairs-by-beta"))
    pairs_by_margin(command, name("pairs-by-margin"))
    large_groups(command, name("large-groups"))
    tokens(command, name("tokens"))
    curve(
        command,
        name("several-points"),
        PASS,
        "--beta",
        "0.3:2:log40",
        "--group-size",
        "8,16,32,128",
        "--penalty",
        "direct-kl",
    )
    curve(
        command,
        name("penalties"),
        PASS,
        "--beta",
        "0.01:10:log40",
        "--group-size",
        8,
        "--penalty",
        "reverse-kl,direct-kl",
        "--scale",
        "std,none",
    )
    curve(
        command,
        name("collapse"),
        dict(PASS, model="limit"),
        "--beta",
        "0.3:10:log40",
        "--penalty",
        "direct-kl,reverse-kl",
    )
    curve(
        command,
        name("proxy"),
        PROXY,
        "--beta",
        "0.05:50:log60",
        "--preset",
        "trl-1.10",
        "--show",
        "expected_reward,metric:true worth",
    )
    subprocess.run(
        [command, "flow", "--plot", name("flow")],
        stdout=subprocess.DEVNULL,
        check=True,
        input="".join(
            json.dumps(
                dict(
                    PASS,
                    id="G = %d, %s" % (size, label),
                    group_size=size,
                    penalty=penalty,
                    beta=0.5,
                )
            )
            + "\n"
            for size in (4, 32)
            for penalty, label in (("reverse_kl", "KL(π_ref‖π)"), ("direct_kl", "KL(π‖π_ref)"))
        ).encode(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
