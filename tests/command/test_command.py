"""The command as a user meets it: formats, options, bad input, tables, streams."""

import json
import math
import os
import subprocess
import sys
import tempfile

import harness
from harness import COMMAND, run, solve

GOOD = {
    "id": "good",
    "model": "group",
    "group_size": 8,
    "penalty": "reverse_kl",
    "beta": 0.3,
    "rewards": [0, 1],
    "reference": [0.9, 0.1],
}
KEYS = {
    "id",
    "status",
    "policy",
    "advantage",
    "normaliser",
    "residual",
    "policy_error",
    "iterations",
    "factorizations",
    "method",
    "stable",
    "unique",
    "expected_reward",
    "expected_reward_reference",
    "kl_ref_policy",
    "kl_policy_ref",
    "entropy",
}


def changed(**keys):
    record = dict(GOOD, **keys)
    return {key: value for key, value in record.items() if value is not None}


PAIRWISE = {
    "id": "p",
    "model": "pairwise",
    "penalty": "reverse_kl",
    "beta": 0.1,
    "margins": [[0, 0.5], [-0.5, 0]],
}


def PLAYED(wins, **keys):
    """Preferences counted, with other keys."""
    return dict({"id": "p", "penalty": "reverse_kl", "beta": 0.1, "wins": wins}, **keys)


# (record or line, what the error must mention)
BAD = [
    (changed(rewards=[0, 1, 2]), ["reference", "3"]),
    (changed(rewards=[]), ["rewards", "empty"]),
    (changed(rewards="high"), ["rewards", "array"]),
    (changed(rewards=[0, "x"]), ["rewards[1]", "number"]),
    (changed(rewards=[0, None]), ["rewards[1]", "null"]),
    (changed(rewards=None), ["rewards", "support"]),
    (changed(reference=[0.9, 0.2]), ["reference", "sum to 1"]),
    (changed(reference=[1.1, -0.1]), ["reference[0]"]),
    (changed(reference=[1.05, -0.05]), ["reference[0]"]),
    (changed(reference=[0.5, 0.5, 0.0]), ["reference", "3"]),
    (changed(reference_logprobs=[-1, -1]), ["reference_logprobs", "contradict"]),
    (changed(reference=None, reference_logprobs=[0, "a"]), ["reference_logprobs[1]"]),
    (changed(beta=-1), ["beta", "> 0"]),
    (changed(beta=0), ["beta", "> 0"]),
    (changed(beta="big"), ["beta", "number"]),
    (changed(beta=None), ["beta", "missing"]),
    (changed(beta=1e200), ["beta"]),
    (changed(penalty=None), ["penalty", "missing"]),
    (changed(penalty="kl"), ["penalty", "reverse_kl"]),
    (changed(penalty=3), ["penalty", "reverse_kl"]),
    (changed(model=None), ["model", "missing"]),
    (changed(model="groups"), ["model", "pairwise"]),
    (changed(group_size=None), ["group_size", "missing"]),
    (changed(group_size=1), ["group_size", "2"]),
    (changed(group_size=2.5), ["group_size", "integer"]),
    (changed(group_size=10**12), ["group_size"]),
    (changed(group_size="8"), ["group_size", "integer"]),
    (changed(model="limit"), ["group_size"]),
    (changed(model="pairwise"), ["group_size"]),
    (changed(model="limit", group_size=None, ddof=1), ["ddof"]),
    (changed(epsilon=-1), ["epsilon", ">= 0"]),
    (changed(ddof=2), ["ddof", "0 or 1"]),
    (changed(scale="median"), ["scale", "std"]),
    (changed(scale="none", epsilon=0.1), ["epsilon", "none"]),
    (changed(margins=[[0, 1], [-1, 0]]), ["margins", "rewards"]),
    (changed(rewards=None, margins=[[0, 1], [-1, 0]]), ["margins", "pairwise"]),
    (changed(support=[0, 1], distribution=[[1, 0], [0, 1]]), ["rewards", "support"]),
    (changed(rewards=None, support=[0, 1]), ["distribution", "missing"]),
    (changed(rewards=None, distribution=[[1, 0], [0, 1]]), ["support", "missing"]),
    (
        changed(rewards=None, support=[0, 1], distribution=[[0.5, 0.4], [0, 1]]),
        ["distribution[0]", "sum to 1"],
    ),
    (
        changed(rewards=None, support=[0, 1], distribution=[[0.5, 0.5], [2, -1]]),
        ["distribution[1][0]"],
    ),
    (
        changed(rewards=None, support=[0, 1], distribution=[[0.5, 0.5], [1]]),
        ["distribution[1]", "2"],
    ),
    (
        changed(rewards=None, support=[0, 1, 2], distribution=[[0.5, 0.5], [1, 0]]),
        ["support", "distribution"],
    ),
    (changed(reward_variances=[0, 0]), ["reward_variances", "limit"]),
    (
        changed(model="limit", group_size=None, reward_variances=[0, -1]),
        ["reward_variances[1]", ">= 0"],
    ),
    (changed(colour="red"), ["unknown key", "colour"]),
    (changed(id=[1]), ["id"]),
    (dict(PAIRWISE, margins=[[0, 0.5], [0.5, 0]]), ["margins[1][0]", "minus"]),
    (dict(PAIRWISE, margins=[[0.1, 0.5], [-0.5, 0]]), ["margins[0][0]", "expected 0"]),
    (dict(PAIRWISE, margins=[[0, 0.5], [-0.5, 1e-9]]), ["margins[1][1]", "expected 0"]),
    (PLAYED([[0, 1], [2, 3]]), ["wins[1][1]", "expected 0"]),
    (PLAYED([[0, 1], [2, 0]], ties=[[0, 1], [2, 0]]), ["ties[1][0]", "ties[0][1]"]),
    (PLAYED([[0, 1], [2, 0]], ties=[[1, 1], [1, 0]]), ["ties[0][0]", "expected 0"]),
    (PLAYED([[0, 1], [2, 0]], ties=[[0, -1], [-1, 0]]), ["ties[0][1]", ">= 0"]),
    (PLAYED([[0, 1], [2, 0]], ties=[[0, 1, 2], [1, 0, 3]]), ["ties", "square"]),
    (PLAYED([[0, 1], [2, 0]], ties=[[0]]), ["ties", "1 rows", "2"]),
    (dict(PAIRWISE, ties=[[0, 1], [1, 0]]), ["ties", "wins"]),
    (PLAYED([[0, 1], [2, 0]], model="limit"), ["pairwise"]),
    (dict(PAIRWISE, margins=[[0, 1.5], [-1.5, 0]]), ["margins", "[-1, 1]"]),
    (dict(PAIRWISE, margins=[[0, 0.5]]), ["margins", "square"]),
    (dict(PAIRWISE, margins=[[0, 0.5], [-0.5]]), ["margins[1]", "2"]),
    (dict(PAIRWISE, margins=[0, 1]), ["margins[0]", "row"]),
    (dict(PAIRWISE, margins=[]), ["margins", "empty"]),
    (dict(PAIRWISE, wins=[[0, 1], [1, 0]]), ["margins", "wins"]),
    (
        {k: v for k, v in dict(PAIRWISE, wins=[[0, -1], [1, 0]]).items() if k != "margins"},
        ["wins[0][1]", ">= 0"],
    ),
    (dict(PAIRWISE, scale="none"), ["scale", "pairwise"]),
    (dict(PAIRWISE, epsilon=0.1), ["epsilon", "pairwise"]),
    ('{"id": "x", "rewards": [0, NaN]}', ["JSON"]),
    ('{"id": "x", "rewards": [0, Infinity]}', ["JSON"]),
    ('{"id": "x", "rewards": [0, 1e999]}', ["JSON"]),
    ('{"id": "x", "rewards": [0, 1', ["JSON"]),
    ('{"id": "x", "id": "y"}', ["duplicate"]),
    ("[1, 2]", ["object"]),
    ("3", ["JSON"]),
    ("nonsense", ["JSON"]),
    ('{"id": "x"} {"id": "y"}', ["JSON"]),
]


def bad_records(checks):
    """Each gives an error in place that names file, line and what was expected; the good ones
    around it are solved."""
    lines = []
    for record, _ in BAD:
        lines += [json.dumps(GOOD), record if isinstance(record, str) else json.dumps(record)]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "mixed.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        for threads in (1, 3):
            status, out, err = run(["solve", "--format", "jsonl", "--threads", threads, path])
            results = [json.loads(line) for line in out.splitlines()]
            checks.that(
                status == 1 and err == "" and len(results) == len(lines),
                "bad records: status %d, %d of %d results" % (status, len(results), len(lines)),
            )
            for number, (record, words) in enumerate(BAD):
                good, bad = results[2 * number], results[2 * number + 1]
                checks.that(
                    good["status"] == "ok", "the good record before %s: %s" % (record, good)
                )
                error = bad.get("error", "")
                checks.that(
                    set(bad) == {"id", "status", "error"} and bad["status"] not in ("ok", ""),
                    "%s gives %s" % (record, bad),
                )
                checks.that(
                    error.startswith("%s:%d: " % (path, 2 * number + 2)),
                    "%s: place in %s" % (record, error),
                )
                checks.that(
                    all(word in error for word in words),
                    "%s: %s not in: %s" % (record, words, error),
                )
                checks.that(
                    "\n" not in error and "log_prob" not in error.split("reference_logprobs")[0],
                    "%s: %s" % (record, error),
                )
        status, out, err = run(["solve", "--format", "jsonl", "--strict", path])
        checks.that(
            status == 1 and len(out.splitlines()) == 2,
            "--strict stops at the first bad record: %s" % out,
        )


def records(checks):
    status, results = solve(
        [
            GOOD,
            changed(id=7),
            changed(id=None),
            changed(id='é"\\ \t'),
            changed(id=1234567890123456789),
        ]
    )
    checks.that(
        status == 0
        and [r["id"] for r in results] == ["good", 7, None, 'é"\\ \t', 1234567890123456789],
        "ids come back: %s" % [r["id"] for r in results],
    )
    checks.that(
        set(results[0]) >= KEYS and results[0]["status"] == "ok",
        "keys of a result: %s" % sorted(results[0]),
    )
    # p - f(p)/beta = p_ref at G = 8 (doc/theory.md, section 3.5)
    checks.that(
        abs(results[0]["policy"][1] - 0.8835871515) < 1e-10,
        "binary answer %s" % results[0]["policy"],
    )
    checks.that(results[0]["stable"] is True and results[0]["unique"] is True, "stable and unique")
    again = json.loads(json.dumps(results[0]))
    checks.that(again == results[0], "numbers read back")
    status, results = solve([changed(policy=[9, 9], advantage="x")])
    checks.that(status == 0, "answers in the input are ignored")
    # Wins: margins of what was played, 0 where nothing was.
    wins = {
        "model": "pairwise",
        "penalty": "reverse_kl",
        "beta": 0.1,
        "wins": [[0, 3, 0], [1, 0, 2], [0, 2, 0]],
    }
    margins = {
        "model": "pairwise",
        "penalty": "reverse_kl",
        "beta": 0.1,
        "margins": [[0, 0.5, 0], [-0.5, 0, 0], [0, 0, 0]],
    }
    status, results = solve([wins, margins])
    checks.that(status == 0 and results[0]["policy"] == results[1]["policy"], "wins are margins")
    # Ties count half to each, and preferences are pairwise without a word.
    status, results = solve(
        [
            PLAYED([[0, 6, 0], [1, 0, 0], [0, 0, 0]], ties=[[0, 1, 0], [1, 0, 3], [0, 3, 0]]),
            PLAYED([[0, 6.5, 0], [1.5, 0, 1.5], [0, 1.5, 0]]),
            dict(PAIRWISE, margins=[[0, 5 / 8, 0], [-5 / 8, 0, 0], [0, 0, 0]]),
            PLAYED([[0, 1e308], [0, 0]], ties=[[0, 1.5e308], [1.5e308, 0]]),
            dict(PAIRWISE, margins=[[0, 0.4], [-0.4, 0]]),
        ]
    )
    checks.that(
        status == 0
        and results[0]["policy"] == results[1]["policy"] == results[2]["policy"]
        and abs(results[3]["policy"][0] - results[4]["policy"][0]) < 1e-12,
        "ties: %s" % results,
    )
    bare = {key: value for key, value in PAIRWISE.items() if key != "model"}
    checks.that(solve([bare])[1] == solve([PAIRWISE])[1], "margins are pairwise without a word")
    checks.that(solve([bare], "--model", "limit")[0] == 1, "margins are not for another model")
    # A large integer, denormals, and a reference with a zero.
    status, results = solve(
        [
            changed(rewards=[0, 10**30]),
            changed(rewards=[0, 5e-324]),
            changed(rewards=[0, 1, 2], reference=[0.5, 0.5, 0]),
        ]
    )
    checks.that(
        status == 0 and all(abs(r["policy"][1] - 0.8835871515) < 1e-10 for r in results[:2]),
        "scale does not matter: %s" % results[:2],
    )
    checks.that(results[2]["policy"][2] == 0, "an outcome without reference stays at 0")
    # Blank lines, CRLF, a byte order mark, no newline at the end.
    text = (
        b"\xef\xbb\xbf\r\n" + json.dumps(GOOD).encode() + b"\r\n   \n" + json.dumps(GOOD).encode()
    )
    status, out, _ = run(["solve", "--format", "jsonl", "-"], text)
    checks.that(
        status == 0 and len(out.splitlines()) == 2,
        "blank lines, CRLF and a byte order mark: %s" % out,
    )
    for text, what in ((b"", "empty input"), (b"\n \n", "blank input")):
        status, out, _ = run(["solve", "--format", "jsonl"], text)
        checks.that(
            status == 1 and "no record" in out and json.loads(out)["id"] is None,
            "%s: %s" % (what, out),
        )
    status, out, _ = run(
        ["solve", "--format", "jsonl"], b'{"id": "\xff\xfe"}\n' + json.dumps(GOOD).encode() + b"\n"
    )
    checks.that(
        status == 1 and json.loads(out.splitlines()[1])["status"] == "ok", "invalid UTF-8: %s" % out
    )
    status, out, _ = run(
        ["solve", "--format", "jsonl"], b'{"id": "a\0b"}\n' + json.dumps(GOOD).encode() + b"\n"
    )
    checks.that(
        status == 1 and json.loads(out.splitlines()[1])["status"] == "ok", "NUL byte: %s" % out
    )


def options(checks):
    bare = {"id": 1, "rewards": [0, 1], "reference": [0.9, 0.1]}
    chosen = ["--model", "group", "--group-size", "8", "--penalty", "reverse-kl", "--beta", "0.3"]
    status, results = solve([bare], *chosen)
    expected = solve([GOOD])[1][0]["policy"]
    checks.that(status == 0 and results[0]["policy"] == expected, "options fill up a record")
    status, results = solve([dict(bare, beta=3)], *chosen)
    checks.that(
        results[0]["policy"] == solve([changed(beta=3)])[1][0]["policy"],
        "a record's key beats an option",
    )
    status, results = solve([changed(epsilon=0.1, ddof=1, scale="std")])
    other = solve([GOOD], "--epsilon", "0.1", "--ddof", "1", "--scale", "std")[1]
    checks.that(results[0]["policy"] == other[0]["policy"], "epsilon, ddof and scale as options")
    status, results = solve(
        [dict(bare, model="limit")], "--group-size", "8", "--penalty", "direct-kl", "--beta", "1"
    )
    checks.that(
        status == 1 and "group_size" in results[0]["error"], "an option that contradicts a record"
    )
    for arguments in (
        ["solve", "--beta"],
        ["solve", "--beta", "x"],
        ["solve", "--beta", "-1"],
        ["solve", "--colour"],
        ["solve", "--model", "grup"],
        ["solve", "--format", "xml"],
        ["solve", "--threads", "0"],
        ["solve", "--group-size", "1"],
        ["solve", "--group-size", "8x"],
        ["solve", "/no/such/file"],
        ["solve", "/"],
        ["solve", "--reward", "r"],
        ["solve", "--rollouts", "a", "--battles", "b"],
        ["solve", "--rollouts", "/no/such/file"],
        ["solve", "--preset", "nobody"],
        ["sovle"],
        [],
    ):
        status, out, err = run(arguments, b"")
        checks.that(
            status == 2 and out == "" and err.startswith(("grpoalign", "usage")),
            "%s: %d %s" % (arguments, status, err),
        )
    for arguments in (["--help"], ["--version"], ["solve", "--help"]):
        status, out, err = run(arguments)
        checks.that(status == 0 and "grpoalign" in out and err == "", "%s: %s" % (arguments, out))
    status, out, _ = run(["--version"])
    checks.that("CBLAS" in out and "LAPACKE" in out, "--version names the libraries: %s" % out)
    status, out, _ = run(["solve", "--format", "table"], (json.dumps(GOOD) + "\n").encode())
    checks.that(
        status == 0 and "KL(pi_ref||pi)" in out and "0.883587" in out and "ok" in out,
        "table: %s" % out,
    )
    status, out, _ = run(["solve", "--format", "table"], b"{}\n")
    checks.that(status == 1 and "model is missing" in out, "table of an error: %s" % out)
    many = {"model": "limit", "penalty": "reverse_kl", "beta": 0.5, "rewards": list(range(100))}
    status, out, _ = run(["solve", "--format", "table"], (json.dumps(many) + "\n").encode())
    checks.that("and 80 more" in out, "a long table is cut: %s" % out[-300:])


def order(checks):
    """Output order is input order whatever the threads."""
    lines = [
        changed(
            id=i,
            group_size=2 + i % 7,
            rewards=[j / (1 + i % 3) for j in range(2 + i % 5)],
            reference=None,
            beta=0.01 * (1 + i % 11),
        )
        for i in range(300)
    ]
    one = solve(lines, "--threads", "1")
    four = solve(lines, "--threads", "4")
    checks.that(
        one[0] == four[0] == 0 and [r["id"] for r in four[1]] == list(range(300)),
        "order with 4 threads",
    )
    checks.that(
        [r["policy"] for r in one[1]] == [r["policy"] for r in four[1]],
        "the same answers with 4 threads",
    )


def rollouts(checks):
    chosen = ["--model", "group", "--group-size", "8", "--penalty", "reverse-kl", "--beta", "0.3"]

    def table(text, *arguments):
        with tempfile.NamedTemporaryFile("wb", suffix=".csv") as file:
            file.write(text if isinstance(text, bytes) else text.encode("utf-8"))
            file.flush()
            status, out, err = run(
                ["solve", "--format", "jsonl", "--rollouts", file.name] + list(arguments)
            )
            return status, [json.loads(line) for line in out.splitlines()], err

    # Nine wrong answers and a right one, quotes, a newline in a field, CRLF, and two prompts that
    # take turns.
    text = "prompt,completion,reward\r\n" + "".join(
        "%s,%s,%s\r\n" % row
        for row in [('"a ""b""\nc"', "wrong", 0), ("other", "x", 1)]
        + [('"a ""b""\nc"', "wrong", 0)] * 8
        + [('"a ""b""\nc"', '"right, really"', 1)]
    )
    status, results, err = table(text, "--outcome", "completion", *chosen)
    checks.that(
        status == 0 and [r["id"] for r in results] == ['a "b"\nc', "other"],
        "prompts: %s %s" % (results, err),
    )
    checks.that(
        results[0]["outcomes"] == ["wrong", "right, really"]
        and abs(results[0]["policy"][1] - 0.8835871515) < 1e-10,
        "frequencies are the reference: %s" % results[0],
    )
    status, results, _ = table(
        "prompt,n,r\np,90,0\np,10,1\n", "--count", "n", "--reward", "r", *chosen
    )
    checks.that(abs(results[0]["policy"][1] - 0.8835871515) < 1e-10, "counts: %s" % results)
    status, results, _ = table(
        "q,lp,r\np,%.17g,0\np,%.17g,1\n" % (math.log(0.9) - 3, math.log(0.1) - 3),
        "--prompt",
        "q",
        "--logprob",
        "lp",
        "--reward",
        "r",
        *chosen
    )
    checks.that(
        abs(results[0]["policy"][1] - 0.8835871515) < 1e-10, "log-probabilities: %s" % results
    )
    status, results, _ = table("prompt,p,reward\np,0.9,0\np,0.1,1\n", "--reference", "p", *chosen)
    checks.that(abs(results[0]["policy"][1] - 0.8835871515) < 1e-10, "probabilities: %s" % results)
    # One completion judged twice with different rewards: its reward is random.
    noisy = "prompt,c,reward\np,a,0\np,a,1\np,b,1\np,b,1\n"
    status, results, _ = table(noisy, "--outcome", "c", *chosen)
    as_record = solve([{"support": [0, 1], "distribution": [[0.5, 0.5], [0, 1]]}], *chosen)[1]
    checks.that(results[0]["policy"] == as_record[0]["policy"], "random rewards: %s" % results)
    limit = ["--model", "limit", "--penalty", "reverse-kl", "--beta", "0.3"]
    status, results, _ = table(noisy, "--outcome", "c", *limit)
    as_record = solve([{"rewards": [0.5, 1], "reward_variances": [0.25, 0]}], *limit)[1]
    checks.that(results[0]["policy"] == as_record[0]["policy"], "mean and variance: %s" % results)
    # Bad tables.
    for text, arguments, words in (
        ("", [], ["empty"]),
        ("prompt,reward\n", [], ["no row"]),
        ("prompt,score\na,1\n", [], ["reward"]),
        ("prompt,reward,reward\na,1,1\n", [], ["twice"]),
        ("prompt,reward\na,high\n", [], [":2:", "high", "number"]),
        ("prompt,reward\na,\n", [], [":2:", "number"]),
        ("prompt,reward\na,nan\n", [], [":2:", "nan"]),
        ("prompt,reward\na,1,2\n", [], [":2:", "3 fields"]),
        ("prompt,reward\na\n", [], [":2:", "1 field"]),
        ('prompt,reward\n"a,1\nb,2\n', [], ["quotes"]),
        ('prompt,reward\n"a"b,1\n', [], ["quote"]),
        ("prompt,reward\na\0b,1\n", [], ["NUL"]),
        ("prompt,reward,n\na,1,-1\n", ["--count", "n"], [":2:", ">= 0"]),
        ("prompt,reward,n\na,1,0\n", ["--count", "n"], ["count"]),
        (
            "prompt,reward,o,p\na,1,x,0.5\na,0,x,0.6\n",
            ["--outcome", "o", "--reference", "p"],
            ["one value"],
        ),
        ("prompt,reward,p\na,1,0.5\na,0,0.6\n", ["--reference", "p"], ["sum to 1"]),
    ):
        status, results, err = table(text, *(arguments + chosen))
        error = results[0].get("error", "") if results else ""
        checks.that(
            status == 1 and all(word in error for word in words),
            "%r: %d %s %s" % (text, status, results, err),
        )
    status, results, _ = table("prompt,reward\na,1\nb,high\na,0\nc,1\nc,0\n", *chosen)
    checks.that(
        status == 1 and [r["status"] == "ok" for r in results] == [True, False, True],
        "others are solved: %s" % results,
    )


def battles(checks):
    def table(text, *arguments):
        with tempfile.NamedTemporaryFile("wb", suffix=".csv") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            status, out, err = run(
                [
                    "solve",
                    "--format",
                    "jsonl",
                    "--penalty",
                    "reverse-kl",
                    "--beta",
                    "0.1",
                    "--battles",
                    file.name,
                ]
                + list(arguments)
            )
            return status, [json.loads(line) for line in out.splitlines()], err

    rows = (
        "model_a,model_b,winner\n"
        + "x,y,model_a\n" * 6
        + "y,x,model_a\n"
        + "x,y,tie\n"
        + "y,z,tie (bothbad)\n" * 3
    )
    status, results, err = table(rows)
    # x beats y 6 to 1 with one tie: 5/8; y and z tie; x and z never met.
    expected = solve(
        [
            {
                "model": "pairwise",
                "penalty": "reverse_kl",
                "beta": 0.1,
                "margins": [[0, 5 / 8, 0], [-5 / 8, 0, 0], [0, 0, 0]],
            }
        ]
    )[1]
    checks.that(
        status == 0
        and results[0]["outcomes"] == ["x", "y", "z"]
        and results[0]["policy"] == expected[0]["policy"],
        "battles: %s %s" % (results, err),
    )
    counts = "i,j,wins_i,wins_j,ties\nx,y,6,1,1\ny,z,0,0,3\n"
    checks.that(table(counts)[1][0]["policy"] == expected[0]["policy"], "counts")
    weighted = "model_a,model_b,winner,weight\nx,y,model_a,6\nx,y,model_b,1\nx,y,tie,1\ny,z,tie,3\n"
    checks.that(table(weighted)[1][0]["policy"] == expected[0]["policy"], "weights")
    per = "q,i,j,wins_i,wins_j\n1,x,y,6,1\n2,x,y,1,6\n"
    status, results, _ = table(per, "--prompt", "q")
    checks.that(
        [r["id"] for r in results] == ["1", "2"]
        and results[0]["policy"] == results[1]["policy"][::-1],
        "prompts",
    )
    for text, words in (
        ("a,b\n1,2\n", ["header"]),
        ("model_a,model_b,winner\nx,y,nobody\n", [":2:", "nobody"]),
        ("model_a,model_b,winner\nx,x,tie\n", [":2:", "itself"]),
        ("i,j,wins_i,wins_j,ties\nx,y,-1,0,0\n", [":2:", ">= 0"]),
    ):
        status, results, _ = table(text)
        checks.that(
            status == 1 and all(word in results[0]["error"] for word in words),
            "%r: %s" % (text, results),
        )
    status, results, _ = table(counts, "--model", "limit")
    checks.that(status == 1 and "pairwise" in results[0]["error"], "battles with another model")


def explained(checks):
    """What adds up is said as it is, not as what it would be without."""
    group = {"model": "group", "group_size": 4, "rewards": [1, 0.5, 0]}
    tokens = [["a", "a"], ["a", "b"], ["b"]]
    table = {"success": [1, 0.5], "failure": [-0.5, -1]}
    direct = {"penalty": "direct_kl", "beta": 0.5}
    unscaled = dict(group, scale="none", **direct)
    lines = [
        dict(group, tokens=tokens, **direct),
        dict(group, weights=[1, 2, 1], **direct),
        dict(group, penalty={"reverse_kl": 0.1, "direct_kl": 0.2}),
        dict(group, rewards=[[1, 0.5, 0], [0, 0, 1]], aggregation="normalize_then_sum", **direct),
        {"rewards": [1, 1, 0], "group_table": table, **direct},
        dict(group, penalty="reverse_kl", beta=0.5, decisions=4),
        unscaled,
        dict(unscaled, tokens=tokens),
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    status, out, _ = run(["explain", "--format", "jsonl"], text)
    said = [json.loads(line) for line in out.splitlines()]
    checks.that(status == 0 and len(said) == len(lines), "explain: %s" % said)
    for one, key, words in (
        (0, "stationary", "at every prefix"),
        (1, "stationary", "w (u - beta g(l))"),
        (2, "stationary", "sum of beta_k g_k(l)"),
        (3, "advantage", "sum over rewards"),
        (4, "advantage", "group_table"),
        (5, "stationary", "(c - u/(4 beta))^4 pi = pi_ref"),
        (6, "stationary", "pi ~ pi_ref exp("),
    ):
        checks.that(words in said[one][key], "explain: %s of %s" % (key, said[one]))
    checks.that(said[2]["beta"] is None, "explain: a sum of penalties has a beta")
    checks.that(said[4]["equivalents"] == [], "explain: a table has another std")
    rlhf = [any("RLHF" in e["convention"] for e in one["equivalents"]) for one in said]
    checks.that(rlhf[6:] == [True, False], "explain: RLHF's policy is one decision")


def streams(checks):
    """A line of a gigabyte is refused in bounded memory and the next record is solved."""
    good = json.dumps(GOOD).encode() + b"\n"
    process = subprocess.Popen(
        [COMMAND, "solve", "--format", "jsonl"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    piece = b"0," * (1 << 19)
    process.stdin.write(b'{"rewards": [')
    for _ in range(1024):
        process.stdin.write(piece)
    process.stdin.write(b"\n" + good)
    process.stdin.flush()
    results = [json.loads(process.stdout.readline()) for _ in range(2)]
    with open("/proc/%d/status" % process.pid, encoding="ascii") as file:
        peak = [int(line.split()[1]) for line in file if line.startswith("VmHWM")][0] / 1024
    process.stdin.close()
    status = process.wait()
    checks.that(
        status == 1 and results[0]["status"] == "too_large" and results[1]["status"] == "ok",
        "a line of a gigabyte: %s" % results,
    )
    # The sanitizers' own memory is none of the command's.
    if os.environ.get("GRPOALIGN_SANITIZED") != "1":
        checks.that(peak < 800, "peak memory %d MiB" % peak)
    values = b'{"rewards": [' + b"0," * (21 << 20) + b"0]}\n"
    status, out, _ = run(["solve", "--format", "jsonl"], values + good)
    results = [json.loads(line) for line in out.splitlines()]
    checks.that(
        status == 1 and results[0]["status"] == "too_large" and results[1]["status"] == "ok",
        "too many values",
    )
    status = subprocess.run(
        "%s solve --format jsonl >/dev/full" % COMMAND,
        shell=True,
        input=good,
        stderr=subprocess.PIPE,
    )
    checks.that(
        status.returncode == 1 and b"cannot write" in status.stderr, "a full disk: %s" % status
    )


if __name__ == "__main__":
    CHECKS = harness.Checks()
    for part in (bad_records, records, options, order, rollouts, battles, explained, streams):
        part(CHECKS)
    sys.exit(CHECKS.close())
