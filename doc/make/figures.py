"""The figures of doc/figures, by grpoalign sweep and gnuplot.   Usage: figures.py GRPOALIGN
FOLDER"""

import csv
import io
import json
import math
import os
import subprocess
import sys

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
PAIR = {"model": "pairwise", "rewards": [0, 1], "penalty": "reverse_kl"}
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
