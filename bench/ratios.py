"""How fast the library is beside what a user would write instead, as lines of JSON. Both sides of a
ratio are run in turns on one core, their medians are divided, and their answers are compared.

    python3 bench/ratios.py LIBRARY COMMAND [NAME...]      (needs numpy, scipy and orjson)

"unit" is "x" for how many times as fast as the baseline, and "x bound" for the time over a bound.
"accuracy" is the largest difference of the two answers, or the residual of ours. README.md says what
each bound is.
"""

import ctypes
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
from scipy import linalg, optimize

from library import DIRECT_KL, REVERSE_KL, Handles, address

TURNS = 5


class Bulk(ctypes.Structure):
    _fields_ = (
        [("struct_size", ctypes.c_uint32), ("model", ctypes.c_int32)]
        + [
            (name, ctypes.c_int64)
            for name in ("contexts", "outcomes", "reward_count", "group_size", "beta_count")
        ]
        + [("reference_kind", ctypes.c_int32), ("reserved", ctypes.c_int32)]
        + [
            (name, ctypes.c_void_p)
            for name in ("offsets", "rewards", "reference", "beta", "penalty", "options")
        ]
    )


class Columns(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("reserved", ctypes.c_int32),
        ("failed", ctypes.c_int64),
    ] + [
        (name, ctypes.c_void_p)
        for name in (
            "policy advantage status index method stable unique iterations residual policy_error "
            "normaliser expected_reward expected_reward_reference kl_ref_policy kl_policy_ref "
            "entropy"
        ).split()
    ]


class BulkOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("threads", ctypes.c_int32),
        ("max_iterations", ctypes.c_int32),
        ("stability", ctypes.c_int32),
        ("tolerance", ctypes.c_double),
        ("progress", ctypes.c_void_p),
        ("user", ctypes.c_void_p),
    ]


RANKED, GROUP, LIMIT = 1, 2, 3


class Library(Handles):
    def bulk(self, model, rewards, reference, beta, group_size=0, threads=1):
        """policies and advantages as arrays, and the call that fills them"""
        contexts, outcomes = rewards.shape
        policy, advantage = numpy.empty_like(rewards), numpy.empty_like(rewards)
        betas = numpy.array([beta])
        bulk, columns, options = Bulk(), Columns(), BulkOptions()
        for struct, function in (
            (bulk, self.lib.grpoalign_bulk_init),
            (columns, self.lib.grpoalign_columns_init),
            (options, self.lib.grpoalign_bulk_options_init),
        ):
            function(ctypes.byref(struct), ctypes.c_uint32(ctypes.sizeof(struct)))
        bulk.model, bulk.contexts, bulk.outcomes = model, contexts, outcomes
        bulk.reward_count, bulk.group_size = rewards.size, group_size
        bulk.rewards, bulk.reference, bulk.beta = map(address, (rewards, reference, betas))
        bulk.penalty = self.penalties[REVERSE_KL]
        columns.policy, columns.advantage = address(policy), address(advantage)
        options.threads = threads
        keep = (rewards, reference, betas, policy, advantage)

        def call():
            if (
                self.lib.grpoalign_solve_bulk(
                    ctypes.byref(bulk), ctypes.byref(columns), ctypes.byref(options), None
                )
                < 0
                or columns.failed
                or not keep
            ):
                raise RuntimeError("the bulk call failed")

        return policy, advantage, call


def in_turns(first, second, turns=TURNS):
    """Median seconds of two calls, and what they returned last."""
    times = ([], [])
    answers = [None, None]
    for _ in range(turns):
        for side, call in enumerate((first, second)):
            began = time.perf_counter()
            answers[side] = call()
            times[side].append(time.perf_counter() - began)
    return [statistics.median(t) for t in times] + answers


def tell(name, unit, ours, baseline, baseline_name, n, accuracy):
    ratio = baseline / ours if unit == "x" else ours / baseline
    print(
        json.dumps(
            {
                "name": name,
                "ratio": float("%.4g" % ratio),
                "unit": unit,
                "ours": ours,
                "baseline": baseline,
                "baseline_name": baseline_name,
                "n": n,
                "accuracy": float("%.2g" % accuracy),
            }
        ),
        flush=True,
    )


def tell_speed_up(name, call, policy, other, other_name):
    """A bulk call that fills `policy`, beside what returns the same policies."""
    ours, theirs, _, answer = in_turns(call, other)
    tell(name, "x", ours, theirs, other_name, len(policy), numpy.abs(policy - answer).max())


def contexts(count, n, two_levels=False):
    random = numpy.random.default_rng(7)
    rewards = random.random((count, n))
    if two_levels:
        rewards = (rewards < 0.4).astype(float)
        rewards[:, 0], rewards[:, 1] = 0.0, 1.0
    reference = 0.1 + random.random((count, n))
    return rewards, reference / reference.sum(axis=1, keepdims=True)


# ---- bulk ----------------------------------------------------------------------------------------
#
# Large groups under the reverse KL: with gaps g from the best reward and one unknown e > 0 the policy
# is R rho/(g + e), R = 1/sum rho/(g + e), and stationary where its std is R/beta.


def excess(e, gap, rho, beta):
    inverse = rho / (gap + e)
    r = 1.0 / inverse.sum()
    mean = r * (inverse * gap).sum()
    return r * (inverse * (gap - mean) ** 2).sum() - (r / beta) ** 2


def limit_by_brentq(rewards, reference, beta):
    policy = numpy.empty_like(rewards)
    for k in range(len(rewards)):
        gap = rewards[k].max() - rewards[k]
        e = optimize.brentq(excess, 1e-9, 1e6, (gap, reference[k], beta), xtol=1e-15, rtol=1e-14)
        p = reference[k] / (gap + e)
        policy[k] = p / p.sum()
    return policy


def limit_by_newton(rewards, reference, beta, piece=2048):
    """All contexts of a piece at once, as long as any of them moves."""
    policy = numpy.empty_like(rewards)
    inverse_beta = 1.0 / beta
    for at in range(0, len(rewards), piece):
        rho = reference[at : at + piece]
        gap = rewards[at : at + piece]
        gap = gap.max(axis=1, keepdims=True) - gap
        mean = numpy.einsum("ij,ij->i", rho, gap)
        squares = (mean[:, None] - gap) ** 2
        top = numpy.einsum("ij,ij->i", rho, gap == 0.0)
        e = mean / ((1.0 + inverse_beta**2) / top - 1.0)
        for _ in range(40):
            inverse = 1.0 / (gap + e[:, None])
            part = rho * inverse
            r = 1.0 / part.sum(axis=1)
            v = numpy.einsum("ij,ij->i", part, squares) / (mean + e)
            by_e = numpy.einsum("ij,ij->i", part, inverse) * r * r
            step = r * (inverse_beta**2 - v) / ((1.0 + inverse_beta**2) * by_e - 1.0)
            e = e - step
            if numpy.abs(step).max() <= 1e-14 * e.max():
                break
        policy[at : at + piece] = part * r[:, None]
    return policy


def limit(library, names):
    beta, n = 0.5, 16
    rewards, reference = contexts(100000, n)
    policy, _, call = library.bulk(LIMIT, rewards, reference, beta)
    if "limit_bulk_vs_scipy" in names:
        some = 1000  # of the same contexts; the time is that of all
        ours, theirs, _, other = in_turns(
            call, lambda: limit_by_brentq(rewards[:some], reference[:some], beta), 3
        )
        tell(
            "limit_bulk_vs_scipy",
            "x",
            ours,
            theirs * len(rewards) / some,
            "scipy.optimize.brentq for each context (1000 of them, scaled)",
            len(rewards),
            numpy.abs(policy[:some] - other).max(),
        )
    if "limit_bulk_vs_numpy" in names:
        tell_speed_up(
            "limit_bulk_vs_numpy",
            call,
            policy,
            lambda: limit_by_newton(rewards, reference, beta),
            "NumPy Newton over pieces of 2048 contexts",
        )
    if "bulk_scaling" in names:
        _, _, two = library.bulk(LIMIT, rewards, reference, beta, threads=2)
        ours, theirs, _, _ = in_turns(two, call, 9)
        again = policy.copy()
        call()
        tell(
            "bulk_scaling",
            "x",
            ours,
            theirs,
            "the same call with one thread",
            len(rewards),
            numpy.abs(policy - again).max(),
        )


def binary_by_newton(rewards, reference, beta, size):
    """One unknown p = P(success): p - p (1 - p) c(p)/beta = its reference."""
    n = size - 1
    counts = numpy.arange(1, size)
    # a success among c of G: sqrt((G - c)/c), a failure: -sqrt(c/(G - c))
    success = numpy.append(numpy.sqrt((size - counts) / counts), 0.0)
    failure = numpy.append(0.0, -numpy.sqrt(counts / (size - counts)))
    weights = numpy.array([math.comb(n, k) for k in range(size)], dtype=float) * (success - failure)
    powers = numpy.polynomial.Polynomial([0.0])
    for k in range(size):
        powers += (
            weights[k]
            * numpy.polynomial.Polynomial([0, 1]) ** k
            * (numpy.polynomial.Polynomial([1, -1]) ** (n - k))
        )
    equation = (
        numpy.polynomial.Polynomial([0, 1])
        - numpy.polynomial.Polynomial([0, 1, -1]) * powers / beta
    )
    f, slope = equation.coef[::-1], equation.deriv().coef[::-1]
    q = numpy.einsum("ij,ij->i", rewards, reference)
    low, high, p = q.copy(), numpy.ones_like(q), 0.5 * (1.0 + q)
    for _ in range(60):
        value = numpy.polyval(f, p) - q
        low, high = numpy.where(value < 0.0, p, low), numpy.where(value < 0.0, high, p)
        following = p - value / numpy.polyval(slope, p)
        inside = (following > low) & (following < high)
        following = numpy.where(inside, following, 0.5 * (low + high))
        if numpy.abs(following - p).max() < 1e-15:
            break
        p = following
    up, down = p / q, (1.0 - p) / (1.0 - q)
    return reference * numpy.where(rewards > 0.5, up[:, None], down[:, None])


def binary(library, _names):
    beta, size = 1.0, 8
    rewards, reference = contexts(100000, 16, True)
    policy, _, call = library.bulk(GROUP, rewards, reference, beta, size)
    tell_speed_up(
        "binary_bulk_vs_numpy",
        call,
        policy,
        lambda: binary_by_newton(rewards, reference, beta, size),
        "NumPy: the one unknown of all contexts by guarded Newton",
    )


def ranked_by_sorting(rewards, reference, beta):
    """Without ties: the cumulated policy F has ((1 + beta) F - F^2)/beta = cumulated reference; the
    best outcome takes what is left."""
    order = numpy.argsort(rewards, axis=-1)
    below = numpy.cumsum(numpy.take_along_axis(reference, order, -1), axis=-1)
    half = 0.5 * (1.0 + beta)
    cumulated = beta * below / (half + numpy.sqrt(half * half - beta * below))
    cumulated[..., -1] = 1.0
    policy = numpy.empty_like(rewards)
    numpy.put_along_axis(policy, order, numpy.diff(cumulated, axis=-1, prepend=0.0), -1)
    return policy


def ranked(library, names):
    beta = 0.5
    if "ranked_bulk_vs_numpy" in names:
        rewards, reference = contexts(100000, 16)
        policy, _, call = library.bulk(RANKED, rewards, reference, beta)
        tell_speed_up(
            "ranked_bulk_vs_numpy",
            call,
            policy,
            lambda: ranked_by_sorting(rewards, reference, beta),
            "NumPy argsort, cumsum, gather and scatter",
        )
    if "ranked_vs_sort" in names:
        rewards, reference = contexts(1, 1000000)
        rewards, reference = rewards[0].copy(), reference[0].copy()

        def ours_now():
            return library.solve_once(library.ranked(rewards), reference, REVERSE_KL, beta)

        ours, theirs, policy, _ = in_turns(ours_now, lambda: numpy.sort(rewards))
        other = ranked_by_sorting(rewards[None], reference[None], beta)[0]
        tell(
            "ranked_vs_sort",
            "x bound",
            ours,
            theirs,
            "numpy.sort of the rewards",
            rewards.size,
            numpy.abs(policy - other).max(),
        )


# ---- single problems -----------------------------------------------------------------------------


def direct(library, _names):
    random = numpy.random.default_rng(3)
    rewards, reference, beta = random.random(1000), random.dirichlet(numpy.ones(1000)), 0.04
    model = library.group(rewards, 8)
    problem = library.problem(model, reference, DIRECT_KL)
    evaluate, evaluation, policy, _ = in_turns(
        lambda: library.solve(problem, beta, 1000),
        lambda: library.advantage(model, reference),
        3,
    )
    logits = numpy.log(policy / reference) - library.advantage(model, policy) / beta
    likely = policy > 1e-200
    spread = logits[likely].max() - logits[likely].min()
    tell(
        "direct_vs_evaluations",
        "x bound",
        evaluate,
        evaluation,
        "one evaluation of the advantages; accuracy: of the logits",
        1000,
        spread,
    )


def cyclic(n):
    """Rock, paper, scissors over n outcomes, noisy."""
    place = numpy.arange(n)
    distance = (place[None, :] - place[:, None]) % n
    sign = numpy.where(distance == 0, 0.0, numpy.where(distance < (n + 1) // 2, 1.0, -1.0))
    noise = numpy.random.default_rng(1).random((n, n))
    margins = sign * (0.5 + 0.5 * noise)
    return numpy.ascontiguousarray(numpy.triu(margins, 1) - numpy.triu(margins, 1).T)


def pairwise(library, names):
    n, beta = 2000, 0.01
    margins = cyclic(n)
    reference = numpy.random.default_rng(2).dirichlet(numpy.ones(n))
    model = library.pairwise(margins)
    for name, penalty in (
        ("pairwise_vs_lu", REVERSE_KL),
        ("pairwise_direct_vs_lu", DIRECT_KL),
    ):
        if name not in names:
            continue
        problem = library.problem(model, reference, penalty)
        shifted = margins + n * numpy.eye(n)
        ours, theirs, policy, _ = in_turns(
            lambda: library.solve(problem, beta, n),
            lambda: linalg.lu_factor(shifted, check_finite=False),
            3,
        )
        u = (margins @ policy) / beta
        u -= policy @ u
        off = (
            policy * (1.0 - u) - reference
            if penalty == REVERSE_KL
            else policy * numpy.exp(policy @ numpy.log(policy / reference))
            - reference * numpy.exp(u)
        )
        tell(name, "x bound", ours, theirs, "one dgetrf (scipy)", n, numpy.abs(off).max())


def peak(path, n):
    """Run by itself, prints kilobytes: the peak so far, what is held now, and the peak after."""
    library = Library(path)
    margins = cyclic(n)
    reference = numpy.full(n, 1.0 / n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[1]) * resource.getpagesize() / 1024
    model = library.pairwise(margins)
    library.solve(library.problem(model, reference, REVERSE_KL), 0.01, n)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([before, now, after]))


def pairwise_memory(path):
    n = 2000
    out = subprocess.run(
        [sys.executable, __file__, path, "--peak", str(n)], stdout=subprocess.PIPE, check=True
    ).stdout
    before, now, after = json.loads(out)
    matrix = n * n * 8.0
    grown = max(0.0, after - now) * 1024.0
    unseen = " (a floor: the peak was the input's making)" if after <= before else ""
    tell(
        "pairwise_memory",
        "x bound",
        (grown + matrix) / 1e6,
        matrix / 1e6,
        "the input matrix, MB; ours with the caller's own" + unseen,
        n,
        0.0,
    )


def points_of_all(library, _names):
    random = numpy.random.default_rng(4)

    rewards, reference = random.random(100), random.dirichlet(numpy.ones(100))
    problem = library.problem(library.group(rewards, 8), reference, DIRECT_KL)

    def points():
        found = library.make(library.lib.grpoalign_points_new, problem, ctypes.c_double(0.3), None)
        library.lib.grpoalign_points_free(found)

    ours, theirs, _, _ = in_turns(points, lambda: library.solve(problem, 0.3, 100), 3)
    tell("points_vs_solve", "x bound", ours, theirs, "its solve", 100, 0.0)


def homotopy(margins, reference, beta):
    """Newton on the logits along falling beta, as quantal response equilibria are traced."""
    n = len(reference)
    logits = numpy.log(reference)
    at = max(4.0 * beta, 4.0)
    while True:
        for _ in range(50):
            policy = numpy.exp(logits - logits.max())
            policy /= policy.sum()
            off = logits - numpy.log(reference) - (margins @ policy) / at
            off -= off.mean()
            slopes = policy[:, None] * (numpy.eye(n) - policy[None, :])
            matrix = numpy.eye(n) - margins @ slopes / at
            step = numpy.linalg.solve(matrix, off)
            logits = logits - step
            if numpy.abs(step - step.mean()).max() < 1e-12:
                break
        if at <= beta:
            return policy
        at = max(beta, at / 1.5)


def pairwise_peer(library, _names):
    n, beta = 300, 0.05
    margins = cyclic(n)
    reference = numpy.random.default_rng(2).dirichlet(numpy.ones(n))
    problem = library.problem(library.pairwise(margins), reference, DIRECT_KL)
    ours, theirs, policy, other = in_turns(
        lambda: library.solve(problem, beta, n), lambda: homotopy(margins, reference, beta), 3
    )
    tell(
        "pairwise_vs_peer",
        "x",
        ours,
        theirs,
        "NumPy homotopy and Newton on the logits",
        n,
        numpy.abs(policy - other).max(),
    )


# ---- the command ---------------------------------------------------------------------------------


def command(path, library_folder):
    import orjson

    rewards, reference = contexts(100000, 16)
    with tempfile.TemporaryDirectory() as folder:
        records = os.path.join(folder, "records.jsonl")
        with open(records, "wb") as file:
            for k in range(len(rewards)):
                file.write(
                    orjson.dumps(
                        {
                            "id": k,
                            "model": "limit",
                            "rewards": rewards[k].tolist(),
                            "reference": reference[k].tolist(),
                            "penalty": "reverse_kl",
                            "beta": 0.5,
                        }
                    )
                    + b"\n"
                )
        env = dict(os.environ, LD_LIBRARY_PATH=library_folder)
        answers = os.path.join(folder, "answers.jsonl")

        def ours_now():
            with open(answers, "wb") as out:
                subprocess.run([path, "solve", records], stdout=out, env=env, check=True)

        ours_now()
        with open(answers, "rb") as file:
            known = [orjson.loads(line) for line in file]
        good = sum(answer["status"] == "ok" for answer in known)

        def theirs_now():
            with open(records, "rb") as file, open(os.path.join(folder, "x"), "wb") as out:
                for line, answer in zip(file, known):
                    orjson.loads(line)
                    out.write(orjson.dumps(answer) + b"\n")

        ours, theirs, _, _ = in_turns(ours_now, theirs_now, 3)
    tell(
        "command_vs_orjson",
        "x bound",
        ours,
        theirs,
        "orjson reads the same lines and writes the same answers; accuracy: of 1 that are ok",
        good,
        1.0 - good / len(rewards),
    )


GROUPS = (
    (limit, ("limit_bulk_vs_scipy", "limit_bulk_vs_numpy", "bulk_scaling")),
    (binary, ("binary_bulk_vs_numpy",)),
    (ranked, ("ranked_bulk_vs_numpy", "ranked_vs_sort")),
    (direct, ("direct_vs_evaluations",)),
    (pairwise, ("pairwise_vs_lu", "pairwise_direct_vs_lu")),
    (points_of_all, ("points_vs_solve",)),
    (pairwise_peer, ("pairwise_vs_peer",)),
)


def main(path, command_path, wanted):
    library = Library(path)
    for function, names in GROUPS:
        asked = [name for name in names if not wanted or name in wanted]
        if asked:
            function(library, asked)
    if not wanted or "pairwise_memory" in wanted:
        pairwise_memory(path)
    if not wanted or "command_vs_orjson" in wanted:
        command(command_path, os.path.dirname(path))


if __name__ == "__main__":
    if "--peak" in sys.argv:
        peak(sys.argv[1], int(sys.argv[3]))
    else:
        main(sys.argv[1], sys.argv[2], sys.argv[3:])
