"""grpoalign tune and grpoalign fit: what they find is what solve gives there."""

import json
import sys

import harness

GRADED = {
    "id": "graded",
    "model": "group",
    "group_size": 8,
    "penalty": "reverse_kl",
    "rewards": [0, 0.5, 1],
    "reference": [0.6, 0.3, 0.1],
}
MARGINS = {
    "id": "margins",
    "margins": [[0, 0.4, -0.2], [-0.4, 0, 0.6], [0.2, -0.6, 0]],
    "penalty": "direct_kl",
    "reference": [0.5, 0.25, 0.25],
}
DROPPED = dict(GRADED, id="dropped", zero_variance="drop", penalty="direct_kl")
SUPPORT = {
    "id": "random",
    "model": "group",
    "group_size": 4,
    "support": [0, 1],
    "distribution": [[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]],
    "penalty": "direct_kl",
}
METRIC = [0.0, 1.0, 0.25]


def ask(command, records, *options):
    lines = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records)
    status, out, err = harness.run(
        [command, "--format", "jsonl"] + list(options), lines.encode("utf-8")
    )
    return status, [json.loads(line) for line in out.splitlines()], err


def expected(name, result):
    if name == "metric:true":
        return sum(p * v for p, v in zip(result["policy"], METRIC))
    return result[name]


def planted_betas(checks):
    """solve at a beta, tune to what it gives there, and the same policy comes back."""
    for record in (GRADED, MARGINS, DROPPED, SUPPORT):
        for beta in (0.3, 1.0, 4.0):
            _, (there,) = harness.solve([dict(record, beta=beta)])
            for name in ("kl_policy_ref", "kl_ref_policy", "expected_reward", "metric:true"):
                if name == "expected_reward" and there["expected_reward"] is None:
                    continue
                value = expected(name, there)
                asked = dict(record, metrics={"other": [1, 2, 3], "true": METRIC})
                status, (found,), err = ask("tune", [asked], "--target", "%s=%r" % (name, value))
                checks.that(
                    status == 0 and err == "" and found["status"] in ("ok", "not_unique"),
                    "%s, %s: %s %s" % (record["id"], name, found.get("status"), err),
                )
                # The largest beta that meets it may be a larger one.
                checks.that(
                    abs(found["value"] - value) < 1e-12 and found["beta"] > beta * (1 - 1e-9),
                    "%s, %s: %r at %r" % (record["id"], name, found["value"], found["beta"]),
                )
                _, (again,) = harness.solve([dict(asked, beta=found["beta"])])
                same = {k: v for k, v in found.items() if k not in ("beta", "value")}
                checks.that(same == again, "%s, %s: not what solve gives" % (record["id"], name))


def fits(checks):
    for record in (GRADED, MARGINS, DROPPED, SUPPORT):
        _, (there,) = harness.solve([dict(record, beta=0.8)])
        observed = [1000.0 * p for p in there["policy"]]
        status, (found,), err = ask("fit", [dict(record, observed=observed)])
        checks.that(
            status == 0 and err == "" and found["status"] in ("ok", "not_unique"),
            "fit of %s: %s %s" % (record["id"], found, err),
        )
        checks.that(
            abs(found["beta"] / 0.8 - 1) < 1e-7 and 0 < found["beta_se"] < 0.5,
            "fit of %s: %r +- %r" % (record["id"], found["beta"], found["beta_se"]),
        )
        checks.that(
            abs(found["log_likelihood"] - found["log_likelihood_most"]) < 1e-6
            and found["log_likelihood_reference"] < found["log_likelihood"],
            "fit of %s: likelihoods" % record["id"],
        )
        _, (again,) = harness.solve([dict(record, beta=found["beta"])])
        checks.that(again["policy"] == found["policy"], "fit of %s: policy" % record["id"])


def unreachable(checks):
    status, (far, before), _ = ask(
        "tune", [GRADED, dict(GRADED, penalty="direct_kl")], "--target", "kl_policy_ref=2.5"
    )
    for found in (far, before):
        checks.that(
            status == 0 and found["status"] == "unreachable" and 2.2 < found["value"] < 2.303,
            "unreachable: %s" % found,
        )
    status, (found,), _ = ask("tune", [MARGINS], "--target", "kl_ref_policy=0")
    checks.that(found["status"] == "unreachable" and found["value"] < 1e-20, "no KL: %s" % found)
    status, (same, best), _ = ask(
        "fit", [dict(GRADED, observed=[60, 30, 10]), dict(GRADED, observed=[0, 0, 5])]
    )
    for found in (same, best):
        checks.that(
            status == 0 and found["status"] == "unreachable" and found["beta_se"] is None,
            "fit at an end: %s" % found,
        )
    checks.that(same["beta"] > 1e4 and best["beta"] < 1e-4, "the wrong ends")


def faults(checks):
    tune = ["--target", "entropy=0.5"]
    cases = [
        ("tune", dict(GRADED, beta=1), tune, "contradiction", "beta is what tune looks for"),
        ("tune", GRADED, tune + ["--beta", "1"], "contradiction", "beta is what tune looks for"),
        ("fit", dict(GRADED, beta=1), [], "contradiction", "beta is what fit looks for"),
        ("tune", MARGINS, ["--target", "expected_reward=1"], "contradiction", "no reward"),
        ("tune", GRADED, ["--target", "metric:x=1"], "contradiction", "metric"),
        ("tune", dict(GRADED, metrics=[1, 2, 3]), tune, "shape", "metrics is no object"),
        ("tune", dict(GRADED, metrics={"x": [1, 2]}), tune, "shape", "2 numbers"),
        ("tune", dict(GRADED, metrics={"x": [1, 2, "3"]}), tune, "shape", '"x"[2]'),
        ("tune", dict(GRADED, metrics={"x": 3}), tune, "shape", "no array"),
        ("tune", dict(GRADED, metrics={"x": [1, 2, 3], "y": [1]}), tune, "shape", '"y" has 1'),
        ("tune", dict(GRADED, penalty="none"), tune, "unsupported", "without a penalty"),
        ("tune", dict(GRADED, scale="batch_std"), tune, "unsupported", "batch"),
        ("fit", GRADED, [], "contradiction", "observed is missing"),
        ("fit", dict(GRADED, observed=[1, 2]), [], "shape", "observed has 2"),
        ("fit", dict(GRADED, observed=[1, -2, 1]), [], "argument", "observed[1]"),
        ("fit", dict(GRADED, observed=[0, 0, 0]), [], "argument", "sum > 0"),
        (
            "fit",
            dict(GRADED, reference=[0.5, 0.5, 0], observed=[1, 2, 1]),
            [],
            "probability",
            "observed[2]",
        ),
    ]
    for command, record, options, status, message in cases:
        code, (found,), err = ask(command, [record], *options)
        checks.that(
            code == 1 and found["status"] == status and message in found["error"] and err == "",
            "%s %s: %s %s" % (command, options, found, err),
        )
    for options in (
        [],
        ["--target", "entropy"],
        ["--target", "entropy=x"],
        ["--target", "entropy=-1"],
        ["--target", "metric:=1"],
        ["--target", "policy=1"],
        ["--target", "entropy=1", "--beta-range", "2:1"],
    ):
        code, out, err = harness.run(["tune"] + options, b"")
        checks.that(code == 2 and out == "" and "--" in err, "usage %s: %s" % (options, err))


def ranges_tables_and_threads(checks):
    record = {
        "model": "limit",
        "scale": "none",
        "penalty": "direct_kl",
        "rewards": [0, 0.6, 1],
        "reference": [0.9, 0.09, 0.01],
        "metrics": {"a=b": [0, 1, 0]},
    }
    target = ["--target", "metric:a=b=0.2"]
    _, (upper,), _ = ask("tune", [record], *target)
    _, (lower,), _ = ask(
        "tune", [record], "--beta-range", "1e-3:%r" % (0.5 * upper["beta"]), *target
    )
    checks.that(
        lower["status"] == upper["status"] == "ok" and lower["beta"] < 0.5 * upper["beta"],
        "a metric that rises and falls: %s %s" % (upper, lower),
    )
    many = [
        dict(GRADED, id=k, reference=[0.9 - 0.02 * k, 0.09 + 0.02 * k, 0.01]) for k in range(20)
    ]
    one = ask("tune", many, "--target", "kl_policy_ref=0.3")
    two = ask("tune", many, "--target", "kl_policy_ref=0.3", "--threads", "2")
    checks.that(one == two and len(one[1]) == 20, "threads change the answers")
    lines = json.dumps(dict(GRADED, observed=[11, 28, 61])).encode() + b"\n"
    for command, options in (("tune", ["--target", "entropy=0.5"]), ("fit", [])):
        code, out, err = harness.run([command, "--format", "table"] + options, lines)
        checks.that(
            code == 0 and err == "" and "beta" in out and "outcome" in out and "status" in out,
            "%s as a table: %s %s" % (command, out, err),
        )
        code, out, _ = harness.run([command, "--help"])
        checks.that(code == 0 and "grpoalign " + command in out, "%s --help" % command)
    code, (found,), _ = ask("tune", [GRADED], "--target", "entropy=0.5", "--timeout", "1e-9")
    checks.that(code == 1 and found["status"] == "cancelled", "no time: %s" % found)


def main():
    checks = harness.Checks()
    planted_betas(checks)
    fits(checks)
    unreachable(checks)
    faults(checks)
    ranges_tables_and_threads(checks)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
