"""What a user would otherwise reach for: general root finders on the stationarity equations of
pairwise preferences

    pi_i (1 - (a_i - pi.a)/beta) = ref_i,   a = M pi,   M = P - P^T random,   ref ~ Dirichlet(1),

all started at ref with tolerance 1e-12, beside this library. A solver succeeds when its answer is
finite, positive, sums to 1 within 1e-8 and has residual below 1e-8. Prints successes and the median
milliseconds of each.

    python3 bench/peers.py LIBRARY [--quick]      (needs numpy and scipy)
"""

import sys
import time
import warnings

import numpy
from scipy import optimize

from library import REVERSE_KL, Handles

BETAS = (0.5, 0.1, 0.04, 0.01)
SIZES = ((5, 10), (50, 10), (500, 3))


def residual(margins, reference, beta, policy):
    advantage = margins @ policy
    return policy * (1.0 - (advantage - policy @ advantage) / beta) - reference


def succeeded(margins, reference, beta, policy):
    return (
        policy is not None
        and bool(numpy.all(numpy.isfinite(policy)))
        and policy.min() > 0.0
        and abs(policy.sum() - 1.0) < 1e-8
        and numpy.abs(residual(margins, reference, beta, policy)).max() < 1e-8
    )


def picard(margins, reference, beta):
    policy = reference.copy()
    for _ in range(10000):
        advantage = margins @ policy
        following = reference / (1.0 - (advantage - policy @ advantage) / beta)
        if numpy.abs(following - policy).max() < 1e-12 or not numpy.all(numpy.isfinite(following)):
            return following
        policy = following
    return policy


def steffensen(margins, reference, beta):
    def step(policy):
        advantage = margins @ policy
        return reference / (1.0 - (advantage - policy @ advantage) / beta)

    return optimize.fixed_point(step, reference, xtol=1e-12, maxiter=2000)


def root(method):
    options = {"fatol": 1e-12} if method in ("krylov", "anderson", "df-sane") else {}

    def solve(margins, reference, beta):
        return optimize.root(
            lambda x: residual(margins, reference, beta, x),
            reference,
            method=method,
            tol=1e-12,
            options=dict(options),
        ).x

    return solve


def instances(n, count):
    for seed in range(count):
        random = numpy.random.default_rng(1000 * n + seed)
        wins = random.random((n, n))
        yield numpy.ascontiguousarray(wins - wins.T), random.dirichlet(numpy.ones(n))


def main(path, quick):
    solvers = [("Picard", picard), ("fixed_point", steffensen)]
    solvers += [
        (method, root(method)) for method in ("hybr", "lm", "krylov", "anderson", "df-sane")
    ]
    library = Handles(path)

    def ours(margins, reference, beta):
        return library.solve_once(library.pairwise(margins), reference, REVERSE_KL, beta)

    solvers.append(("grpoalign", ours))
    print("%4s %6s " % ("n", "beta") + " ".join("%20s" % name for name, _ in solvers))
    for n, count in SIZES[:2] if quick else SIZES:
        for beta in BETAS:
            cells = []
            for name, solver in solvers:
                if name == "lm" and n > 100:  # its dense Jacobians by differences take minutes
                    cells.append("%20s" % "-")
                    continue
                good, times = 0, []
                for margins, reference in instances(n, count):
                    began = time.perf_counter()
                    try:
                        policy = solver(margins, reference, beta)
                    except (
                        ValueError,
                        RuntimeError,
                        FloatingPointError,
                        numpy.linalg.LinAlgError,
                        optimize.nonlin.NoConvergence,
                    ):
                        policy = None
                    times.append(1e3 * (time.perf_counter() - began))
                    good += succeeded(margins, reference, beta, policy)
                cells.append("%6d/%d %9.3g ms" % (good, count, numpy.median(times)))
            print("%4d %6g " % (n, beta) + " ".join("%20s" % cell for cell in cells), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    numpy.seterr(all="ignore")
    main(sys.argv[1], "--quick" in sys.argv)
