"""grpoalign sweep and grpoalign flow: the grid is what solve gives, rows are whole, plots are drawn
or not touched."""

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import harness

BINARY = {"id": 'q, "1"', "model": "group", "rewards": [0, 1], "reference": [0.9, 0.1]}
GRADED = {"id": 7, "model": "group", "rewards": [0, 0.3, 1], "reference": [0.6, 0.3, 0.1]}


def sweep(records, *options, **how):
    lines = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records)
    return harness.run([how.get("command", "sweep")] + list(options), lines.encode())


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def the_grid(checks):
    options = [
        "--beta",
        "0.05:2:log5",
        "--group-size",
        "4,16",
        "--penalty",
        "reverse-kl,direct-kl",
        "--scale",
        "std,none",
    ]
    status, out, err = sweep([BINARY, GRADED], *options)
    rows = rows_of(out)
    checks.that(
        status == 0 and err == "" and len(rows) == 5 * 8 * (2 + 3),
        "CSV: %d rows %s" % (len(rows), err),
    )
    checks.that({r["id"] for r in rows} == {BINARY["id"], "7"}, "ids %s" % {r["id"] for r in rows})
    records = []
    for r in rows:
        record = dict(
            BINARY if r["id"] == BINARY["id"] else GRADED,
            beta=float(r["beta"]),
            penalty=r["penalty"],
            group_size=int(r["group_size"]),
            scale=r["scale"],
        )
        records.append(record)
    _, results = harness.solve(records)
    worst = max(
        abs(float(r["policy"]) - s["policy"][int(r["outcome"])]) for r, s in zip(rows, results)
    )
    checks.that(worst < 1e-12, "the grid differs from solve by %g" % worst)
    checks.that(all(r["status"] in ("ok", "not_unique") for r in rows), "statuses")
    status, out, _ = sweep([BINARY, GRADED], "--format", "jsonl", *options)
    lines = [json.loads(line) for line in out.splitlines()]
    checks.that(
        len(lines) == 80 and all(line["from_reference"] for line in lines), "JSONL: %d" % len(lines)
    )
    checks.that(
        {(line["group_size"], line["penalty"], line["scale"]) for line in lines if line["id"] == 7}
        == {
            (g, p, s) for g in (4, 16) for p in ("reverse_kl", "direct_kl") for s in ("std", "none")
        },
        "cells",
    )
    status, out, _ = sweep([BINARY, GRADED], "--summary", "--threads", 3, *options)
    checks.that(
        len(rows_of(out)) == 80
        and [r["id"] for r in rows_of(out)] == [BINARY["id"]] * 40 + ["7"] * 40,
        "summary",
    )


def all_points(checks):
    status, out, _ = sweep(
        [BINARY],
        "--beta",
        "0.3,0.7",
        "--group-size",
        32,
        "--penalty",
        "direct-kl",
        "--all",
        "--summary",
    )
    rows = rows_of(out)
    checks.that(
        [(r["beta"], r["point"], r["stable"], r["from_reference"]) for r in rows]
        == [
            ("0.3", "0", "true", "true"),
            ("0.7", "0", "true", "true"),
            ("0.7", "1", "false", "false"),
            ("0.7", "2", "true", "false"),
        ],
        "all: %s" % rows,
    )
    checks.that(
        [(r["points"], r["complete"]) for r in rows] == [("1", "true")] + 3 * [("3", "true")],
        "counts: %s" % rows,
    )
    # Where nothing is stationary, the end of training.
    limit = {"model": "limit", "penalty": "direct_kl", "rewards": [0, 1], "reference": [0.9, 0.1]}
    status, out, _ = sweep([limit], "--beta", "0.3,1", "--all", "--summary")
    rows = rows_of(out)
    checks.that(
        [
            (r["status"], r["beta"], r["point"], r["points"], r["expected_reward"] == "1.0")
            for r in rows
        ]
        == [
            ("collapsed", "0.3", "", "0", True),
            ("ok", "1.0", "0", "2", False),
            ("ok", "1.0", "1", "2", False),
        ],
        "none: %s" % rows,
    )


def binary_axes(checks):
    pair = {"model": "pairwise", "rewards": [0, 1]}
    status, out, _ = sweep(
        [pair],
        "--beta",
        "0.4",
        "--margin",
        "0.4,0.8",
        "--reference-probability",
        "0.04,0.25",
        "--penalty",
        "reverse-kl",
    )
    rows = [r for r in rows_of(out) if r["outcome"] == "1"]
    checks.that(len(rows) == 4, "binary axes: %d rows" % len(rows))
    for r in rows:
        p, gamma, q = float(r["policy"]), float(r["margin"]), float(r["reference_probability"])
        t = 0.4 / gamma
        expected = 0.5 * (1 - t + ((1 - t) ** 2 + 4 * t * q) ** 0.5)
        checks.that(abs(p - expected) < 1e-14, "(14): %r" % r)
        checks.that(
            gamma != 0.4 or abs(p - q**0.5) < 1e-14, "the root of pi_ref at beta = gamma: %r" % r
        )
    status, out, _ = sweep(
        [GRADED], "--beta", "1", "--margin", "0.4", "--penalty", "reverse-kl", "--group-size", 4
    )
    row = rows_of(out)[0]
    checks.that(
        status == 1 and row["status"] == "contradiction" and "--margin" in row["error"],
        "margins of three: %s" % row,
    )


def bad_input(checks):
    status, out, err = sweep(
        [BINARY, "nonsense", dict(GRADED, rewards=[1])],
        "--beta",
        "1",
        "--group-size",
        4,
        "--penalty",
        "reverse-kl",
    )
    fields = list(csv.reader(io.StringIO(out)))
    checks.that(
        status == 1 and len({len(f) for f in fields}) == 1,
        "rows of one width: %s" % {len(f) for f in fields},
    )
    checks.that(
        [f[1] for f in fields[1:]] == ["ok", "ok", "json", "shape"],
        "statuses %s" % [f[1] for f in fields],
    )
    for options, word in (
        (["--beta", "1:0.1:log4"], "--beta"),
        (["--beta", "0:1:log4"], "--beta"),
        (["--beta", "a"], "--beta"),
        (["--beta", "1:2:log1"], "--beta"),
        (["--group-size", "1"], "--group-size"),
        (["--penalty", "kl"], "--penalty"),
        (["--penalty", "reverse-kl,reverse-kl"], "--penalty"),
        (["--scale", "std,"], "--scale"),
        (["--margin", "2"], "--margin"),
        (["--plot", "a.png"], ".svg"),
        (["--show", "profit"], "--show"),
        (["--beta", "1", "--plot", "a.svg"], "several values"),
        (["--format", "table"], "csv"),
    ):
        status, out, err = sweep([BINARY], *options)
        checks.that(status == 2 and word in err and out == "", "%s: %d %s" % (options, status, err))
    status, out, err = sweep(
        [{"model": "limit", "rewards": [0, 1]}],
        "--beta",
        "1",
        "--group-size",
        "4",
        "--penalty",
        "direct-kl",
    )
    checks.that(status == 1 and "group_size" in out, "a group size with the limit: %s" % out)


def plots(checks, folder):
    path = os.path.join(folder, "it's a plot.svg")
    options = [
        "--beta",
        "0.2:2:log5",
        "--group-size",
        "4,32",
        "--penalty",
        "direct-kl",
        "--summary",
    ]
    status, out, err = sweep([BINARY], "--plot", path, *options)
    checks.that(status == 0 and len(rows_of(out)) == 10, "plot: status %d %s" % (status, err))
    text = open(path, encoding="utf-8").read()
    xml.etree.ElementTree.fromstring(text)
    checks.that(
        "stroke-dasharray" in text and "unstable" in text and "G = 32" in text,
        "what the plot shows",
    )
    status, out, err = sweep([BINARY, dict(BINARY, id="two")], "--plot", path, *options)
    checks.that(
        status == 1 and "--mean" in err and open(path, encoding="utf-8").read() == text,
        "two contexts: %s" % err,
    )
    status, out, err = sweep([BINARY, dict(BINARY, id="two")], "--plot", path, "--mean", *options)
    checks.that(status == 0 and open(path, encoding="utf-8").read() != text, "the mean: %s" % err)
    before = os.environ["PATH"]
    os.environ["PATH"] = folder
    try:
        status, out, err = sweep([BINARY], "--plot", path, *options)
    finally:
        os.environ["PATH"] = before
    checks.that(status == 1 and "gnuplot" in err, "without gnuplot: %d %s" % (status, err))
    status, out, err = sweep([BINARY], "--plot", os.path.join(folder, "no", "such.svg"), *options)
    checks.that(
        status == 2
        and "such.svg" in err
        and "No such file" in err
        and "<svg" not in err
        and out == "",
        "a folder that is not there: %s" % err,
    )
    checks.that(
        os.listdir(folder) == [os.path.basename(path)], "left behind: %s" % os.listdir(folder)
    )


def flows(checks, folder):
    record = dict(GRADED, group_size=6, penalty="reverse_kl", beta=0.3)
    status, out, err = sweep([record], command="flow")
    way = json.loads(out)
    _, (solved,) = harness.solve([record])
    checks.that(
        status == 0 and way["status"] == "ok" and way["steps"] == len(way["time"]) - 1,
        "flow: %s" % err,
    )
    checks.that(
        max(abs(a - b) for a, b in zip(way["end"]["policy"], solved["policy"])) < 1e-10,
        "the end is solve's",
    )
    checks.that(
        way["time"] == sorted(way["time"])
        and abs(way["expected_reward"][0] - 0.19) < 1e-12
        and abs(way["expected_reward"][-1] - solved["expected_reward"]) < 1e-5,
        "the way",
    )
    status, out, _ = sweep(
        [record], "--format", "csv", "--policies", "--end-time", 2, command="flow"
    )
    rows = rows_of(out)
    checks.that(
        status == 0
        and float(rows[-1]["time"]) == 2
        and rows[0]["status"] == "not_converged"
        and abs(sum(float(r["policy"]) for r in rows[-3:]) - 1) < 1e-12,
        "until a time",
    )
    status, out, _ = sweep(
        [dict(BINARY, group_size=32, penalty="direct_kl", beta=0.7)],
        "--start",
        "0.05,0.95",
        command="flow",
    )
    checks.that(
        abs(json.loads(out)["end"]["policy"][1] - 0.99589) < 1e-5, "another start, another end"
    )
    status, out, _ = sweep([record], "--start", "0.5,0.5", command="flow")
    checks.that(status == 1 and "--start" in out, "a start of two: %s" % out)
    status, out, _ = sweep(
        [{"model": "limit", "rewards": [0, 1], "penalty": "direct_kl", "beta": 0.1}], command="flow"
    )
    checks.that(json.loads(out)["status"] == "collapsed", "collapse")
    path = os.path.join(folder, "flow.svg")
    status, out, err = sweep(
        [record, dict(record, id="a_b", beta=1)],
        "--plot",
        path,
        "--show",
        "policy:2",
        command="flow",
    )
    text = open(path, encoding="utf-8").read()
    checks.that(
        status == 0 and "a_b" in text and "probability of outcome 2" in text,
        "plot of the flow: %s" % err,
    )


def metrics(checks, folder):
    """A proxy's and the true reward: along beta in every record, and in one plot."""
    record = dict(
        GRADED,
        group_size=6,
        penalty="direct_kl",
        metrics={"true_worth": [0.3] * (len(GRADED["rewards"]) - 1) + [-1]},
    )
    worth = record["metrics"]["true_worth"]
    path = os.path.join(folder, "proxy.svg")
    show = "expected_reward,metric:true_worth"
    grid = ["--beta", "0.2:2:log3", "--format", "jsonl"]
    status, out, err = sweep([record], "--plot", path, "--show", show, *grid)
    rows = [json.loads(line) for line in out.splitlines()]
    checks.that(status == 0 and len(rows) == 3, "metrics: %d, %s" % (status, err))
    for row in rows:
        truth = sum(p * w for p, w in zip(row["policy"], worth))
        told = row["metrics"]["true_worth"]["policy"]
        checks.that(abs(told - truth) < 1e-14, "metric %g, expected %g" % (told, truth))
        checks.that(0 < row["silent"] < 1, "silent %s" % row.get("silent"))
    text = open(path, encoding="utf-8").read()
    checks.that(text.count("true_worth") >= 2, "the plot names the metric as it is written")
    checks.that(text.count("expected reward") >= 2, "the plot names both quantities")
    for show, word in (("metric:other", "does not have"), ("entropy,metric:other", "not have")):
        status, out, _ = sweep([record], "--plot", path, "--show", show, *grid)
        checks.that(status == 1 and word in out, "--show %s: %s" % (show, out))
    checks.that(open(path, encoding="utf-8").read() == text, "the plot stays")
    for show in ("", "metric:", "entropy,", ",".join(["entropy"] * 7), "entropy" + "x" * 600):
        status, out, err = sweep([record], "--show", show, *grid)
        checks.that(status == 2 and out == "" and "--show" in err, "--show %s: %s" % (show, err))


def plots_not_written(checks, folder):
    """What cannot be drawn leaves the file as it was, whatever went wrong, and says so."""
    path = os.path.join(folder, "kept.svg")
    with open(path, "w", encoding="utf-8") as file:
        file.write("before")
    flow = dict(GRADED, group_size=6, penalty="reverse_kl", beta=0.3)
    margins = {
        "model": "pairwise",
        "margins": [[0, 0.5], [-0.5, 0]],
        "penalty": "direct_kl",
        "beta": 0.4,
    }
    grid = ["--beta", "0.2:2:log3"]
    cases = (
        ("flow", [dict(flow, beta=-1)], []),
        ("flow", [flow], ["--show", "policy:9"]),
        ("flow", [], []),
        ("flow", [dict(flow, rewards=[1, 1, 1])], []),
        ("flow", [margins], []),
        ("flow", ["x", flow], ["--strict"]),
        ("sweep", [flow], ["--show", "policy:9"] + grid),
        ("sweep", [], grid),
        ("sweep", [margins], grid),
        (
            "sweep",
            [{"model": "pairwise", "rewards": [0, 1], "penalty": "direct_kl", "beta": 1}],
            ["--margin", "0.1,0.2"],
        ),
        ("sweep", [dict(flow, rewards=[1, 1, 1])], ["--show", "kl_ref_policy"] + grid),
    )
    for command, records, options in cases:
        status, out, err = sweep(records, "--plot", path, *options, command=command)
        name = "%s %s %s" % (command, records, options)
        checks.that(
            status == 1
            and "not written" in err
            and open(path, encoding="utf-8").read() == "before",
            "%s: %d %s" % (name, status, err),
        )
        checks.that(
            margins not in records or ("no reward" in out and "kl_policy_ref" in out),
            "%s: %s" % (name, out),
        )
    status, out, err = sweep([margins], "--plot", path, "--show", "policy:0", *grid)
    checks.that(
        status == 0 and "<svg" in open(path, encoding="utf-8").read(),
        "margins can show policy:0: %s" % err,
    )
    status, out, err = sweep([margins], "--show", "policy:9", "--beta", "1")
    checks.that(status == 0, "--show without a plot: %s" % out)
    with open(path, "w", encoding="utf-8") as file:
        file.write("before")
    for command, options in (("flow", []), ("sweep", grid)):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run(
                [harness.COMMAND, command, "--plot", path] + options,
                input=json.dumps(flow).encode(),
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
            )
        err = done.stderr.decode()
        checks.that(
            done.returncode == 1
            and "No space left" in err
            and "not written" in err
            and open(path, encoding="utf-8").read() == "before",
            "%s to a full disk: %s" % (command, err),
        )
    for command, options in (("flow", []), ("sweep", grid)):
        bad = os.path.join(folder, "directory.svg")
        os.makedirs(bad, exist_ok=True)
        status, out, err = sweep([flow], "--plot", bad, *options, command=command)
        checks.that(
            status == 2 and "directory.svg" in err and "Is a directory" in err and out == "",
            "a directory: %s" % err,
        )
    checks.that(
        sorted(os.listdir(folder)) == ["directory.svg", "kept.svg"],
        "left behind: %s" % os.listdir(folder),
    )


def plot_files(checks, folder):
    """The file a plot is drawn in first has a name of its own, and the permissions that any new
    file gets."""
    path = os.path.join(folder, "a.svg")
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write("somebody's")
    before = os.umask(0o027)
    try:
        status, _, err = sweep(
            [BINARY],
            "--beta",
            "0.2:2:log3",
            "--group-size",
            4,
            "--penalty",
            "direct-kl",
            "--plot",
            path,
        )
    finally:
        os.umask(before)
    checks.that(
        status == 0 and os.stat(path).st_mode & 0o777 == 0o640,
        "permissions: %o %s" % (os.stat(path).st_mode, err),
    )
    checks.that(
        open(path + ".part", encoding="utf-8").read() == "somebody's", "a file of somebody else's"
    )
    checks.that(
        sorted(os.listdir(folder)) == ["a.svg", "a.svg.part"],
        "left behind: %s" % os.listdir(folder),
    )


def every_setting(checks):
    """Any penalty and scale may stand in a list; what belongs to the std is left out where there is
    none."""
    status, out, err = sweep(
        [BINARY],
        "--beta",
        "0.3",
        "--group-size",
        4,
        "--penalty",
        "reverse-kl,chi-squared,none",
        "--scale",
        "none,std,mean",
        "--ddof",
        1,
        "--epsilon",
        "1e-4",
        "--summary",
        "--format",
        "csv",
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    checks.that(status == 0 and len(rows) == 9, "nine cells: %s%s" % (out, err))
    checks.that(
        {(r["scale"], r["penalty"]) for r in rows}
        == {(s, p) for s in ("none", "std", "mean") for p in ("reverse_kl", "chi_squared", "none")},
        "cells: %s" % out,
    )
    odd = 'tab\t, "quotes", line\r\nend \\u0041 \x01 ä'
    status, out, _ = sweep(
        [dict(BINARY, id=odd)], "--beta", "0.3", "--group-size", 4, "--penalty", "none", "--summary"
    )
    checks.that(
        [r["id"] for r in csv.DictReader(io.StringIO(out, newline=""))] == [odd],
        "an odd id comes back: %r" % out,
    )
    for scales in ("none", "mean,none", "none,mean"):
        record = dict(BINARY, epsilon=1e-4, ddof=1, epsilon_place="inside")
        status, out, err = sweep(
            [record],
            "--beta",
            "0.3",
            "--group-size",
            4,
            "--penalty",
            "reverse-kl",
            "--scale",
            scales,
            "--summary",
        )
        rows = rows_of(out)
        checks.that(
            status == 0 and [r["scale"] for r in rows] == scales.split(","),
            "%s: %s%s" % (scales, out, err),
        )
        plain = [
            dict(
                BINARY,
                group_size=4,
                penalty="reverse_kl",
                beta=0.3,
                scale=s,
                **({} if s == "none" else {"epsilon": 1e-4})
            )
            for s in scales.split(",")
        ]
        _, alone = harness.solve(plain)
        checks.that(
            [float(r["expected_reward"]) for r in rows] == [r["expected_reward"] for r in alone],
            "%s: %s" % (scales, out),
        )
    status, out, err = sweep(
        [BINARY],
        "--beta",
        "0.3",
        "--group-size",
        4,
        "--penalty",
        "reverse-kl",
        "--scale",
        "std,none,std-of-others,mean",
        "--summary",
    )
    checks.that(
        status == 0
        and [r["scale"] for r in rows_of(out)] == ["std", "none", "std_of_others", "mean"],
        out + err,
    )
    # A preset's epsilon stays with its own scale.
    status, out, err = sweep(
        [BINARY], "--beta", "0.3", "--preset", "trl-1.9", "--scale", "none,std,mean", "--summary"
    )
    _, alone = harness.solve(
        [dict(BINARY, scale=s) for s in ("none", "std", "mean")],
        "--preset",
        "trl-1.9",
        "--beta",
        "0.3",
    )
    checks.that(
        [float(r["expected_reward"]) for r in rows_of(out)]
        == [r["expected_reward"] for r in alone],
        out + err,
    )
    for option, value, word in (
        ("--group-size", "2.5", "integers"),
        ("--penalty", "reverse-kl,foo", "chi_squared"),
        ("--scale", "std,std", "each once"),
    ):
        status, _, err = sweep([BINARY], option, value)
        checks.that(status == 2 and word in err, "%s %s: %s" % (option, value, err))


if __name__ == "__main__":
    CHECKS = harness.Checks()
    for part in (the_grid, all_points, binary_axes, bad_input, every_setting):
        part(CHECKS)
    for part in (plots, metrics, plots_not_written, plot_files, flows):
        with tempfile.TemporaryDirectory() as FOLDER:
            part(CHECKS, FOLDER)
    sys.exit(CHECKS.close())
