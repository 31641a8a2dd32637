"""Golden answers for the conventions of trainers: ../conventions.jsonl.

    python3 conventions.py             checks the known numbers, then writes ../conventions.jsonl
    python3 conventions.py known       only checks the known numbers
    python3 conventions.py check FILE  puts the policies of a file back into the definitions

Everything follows from the definition of a group's advantages (`advantage` below) by enumeration
with 60 digits; nothing is shared with the library or with oracle.py.  A policy is stationary when

    h_o = u_o - beta kappa_o g(log(pi_o / ref_o))    is the same for every outcome with pi_o > 0,

u_o the expected advantage of outcome o, g the derivative of the penalty, kappa_o = 1 unless groups
with equal rewards are dropped.

The answer is the end of the branch that starts at the reference for large beta and follows beta
down.  A context is kept only if that branch has no fold down to 0.9 beta, the training flow started
at the reference ends there too, and the point is stable.  Two penalties have their own way: with
the KL in the reward the answer is ref exp(r / beta), and under total variation mass moves from the
lowest outcome up.  `advantage` is centred, u - sum pi u; with the KL in the reward it is that of
the raw rewards."""

import json
import math
import os
import random
import sys
from itertools import combinations

import mpmath
from mpmath import mp, mpf

mp.dps = 60
TOL = mpf(10) ** -40


# -------------------------------------------------------------------------------------------------


def advantage(own, others, rec):
    """The advantage of a completion with reward `own` in a group with `others`, as the trainer
    computes it."""
    G = len(others) + 1
    baseline, scale = rec.get("baseline", "mean"), rec.get("scale", "std")
    eps = mpf(rec.get("epsilon", 0))
    group = [own] + others
    if all(x == own for x in others):
        return mpf(0)
    mean = sum(group) / G
    mean_others = sum(others) / (G - 1)
    centred = own - (mean if baseline == "mean" else mean_others)
    if scale == "none":
        return centred
    if scale == "mean":
        assert baseline == "mean" and min(group) >= 0
        return centred / (mean + eps) if mean > 0 else mpf(0)
    if scale == "std_of_others":
        assert (
            baseline == "leave_one_out"
            and "ddof" not in rec
            and rec.get("epsilon_place", "outside") == "outside"
        )
        if G == 2 or all(x == others[0] for x in others):
            return centred
        var = sum((x - mean_others) ** 2 for x in others) / (G - 2)
        return centred / (mpmath.sqrt(var) + eps)
    assert scale == "std"
    var = sum((x - mean) ** 2 for x in group) / (G - rec.get("ddof", 0))
    if rec.get("epsilon_place", "outside") == "inside":
        return centred / mpmath.sqrt(var + eps)
    return centred / (mpmath.sqrt(var) + eps)


def penalty(rec, F):
    """g and its derivative as functions of l = log(pi/ref); F is math or mpmath."""
    p = rec["penalty"]
    a = {"reverse_kl": 0, "chi_squared": 2, "alpha": rec.get("alpha")}.get(p)
    if p == "direct_kl" or a == 1:
        return lambda l: l, lambda l: 1
    if a is not None:
        if F is mpmath:
            a = mpf(a)
        return lambda l: F.expm1((a - 1) * l) / (a - 1), lambda l: F.exp((a - 1) * l)
    if p == "squared_log_ratio":
        return lambda l: l + l * l / 2, lambda l: 1 + l
    if p == "jensen_shannon":
        return lambda l: F.log(2 / (1 + F.exp(-l))) / 2, lambda l: 1 / (1 + F.exp(l)) / 2
    raise ValueError(p)


def compositions(total, parts):
    """All count vectors of the given length and sum."""
    for bars in combinations(range(total + parts - 1), parts - 1):
        prev, out = -1, []
        for b in bars:
            out.append(b - prev - 1)
            prev = b
        out.append(total + parts - 2 - prev)
        yield tuple(out)


def multinomial(n):
    out = math.factorial(sum(n))
    for k in n:
        out //= math.factorial(k)
    return out


def repeat(values, counts):
    return [v for v, c in zip(values, counts) for _ in range(c)]


def reference(rec):
    ref = [mpf(x) for x in rec["reference"]]
    s = sum(ref)
    return [x / s for x in ref]


# ---------------------------------------------------------------------------------------------- ex


class Group:
    def __init__(self, rec):
        self.rec, self.G = rec, rec["group_size"]
        if "support" in rec:
            self.levels = [mpf(x) for x in rec["support"]]
            self.D = [[mpf(x) for x in row] for row in rec["distribution"]]
            self.D = [[x / sum(row) for x in row] for row in self.D]
        else:
            values = sorted(set(rec["rewards"]))
            self.levels = [mpf(x) for x in values]
            self.D = [[mpf(int(r == v)) for v in values] for r in rec["rewards"]]
        K = len(self.levels)
        self.counts = list(compositions(self.G - 1, K))
        self.coef = [multinomial(n) for n in self.counts]
        self.table = [
            [advantage(x, repeat(self.levels, n), rec) for x in self.levels] for n in self.counts
        ]
        self.drop = rec.get("zero_variance", "keep") == "drop"
        assert not (self.drop and "support" in rec)
        self.ftable = [[float(a) for a in row] for row in self.table]
        self.fD = [[float(x) for x in row] for row in self.D]

    def __call__(self, pi, F):
        D, table = (self.fD, self.ftable) if F is math else (self.D, self.table)
        N, K, G = len(D), len(self.levels), self.G
        w = [sum(pi[o] * D[o][m] for o in range(N)) for m in range(K)]
        power = [[w[m] ** k for k in range(G)] for m in range(K)]
        a = [0] * K
        da = [[0] * K for _ in range(K)]  # da[m][j] = d a_m / d w_j
        for n, c, row in zip(self.counts, self.coef, table):
            weight = c
            for m in range(K):
                weight = weight * power[m][n[m]]
            for m in range(K):
                a[m] += weight * row[m]
            for j in range(K):
                if n[j]:
                    d = c * n[j]
                    for m in range(K):
                        d = d * power[m][n[m] - (m == j)]
                    for m in range(K):
                        da[m][j] += d * row[m]
        u = [sum(D[o][m] * a[m] for m in range(K)) for o in range(N)]
        du = [
            [
                sum(
                    D[o][m] * da[m][j] * D[q][j]
                    for m in range(K)
                    for j in range(K)
                    if D[o][m] and D[q][j]
                )
                for q in range(N)
            ]
            for o in range(N)
        ]
        kappa, dkappa = [1] * N, None
        if self.drop:
            kappa, dkappa = [], [[0] * N for _ in range(N)]
            for o in range(N):
                m = max(range(K), key=lambda m: D[o][m])
                kappa.append(1 - power[m][G - 1])
                for q in range(N):
                    if D[q][m]:
                        dkappa[o][q] = -(G - 1) * power[m][G - 2]
        return u, du, kappa, dkappa


class Limit:
    def __init__(self, rec):
        self.rec = rec
        self.r = [mpf(x) for x in rec["rewards"]]
        self.v = [mpf(x) for x in rec.get("reward_variances", [0] * len(self.r))]
        assert "ddof" not in rec and rec.get("zero_variance", "keep") == "keep"

    def __call__(self, pi, F):
        rec, N = self.rec, len(self.r)
        r, v = (
            ([float(x) for x in self.r], [float(x) for x in self.v])
            if F is math
            else (self.r, self.v)
        )
        eps = rec.get("epsilon", 0)
        eps = float(eps) if F is math else mpf(eps)
        mu = sum(p * x for p, x in zip(pi, r))
        dvar = [(x - mu) ** 2 + y for x, y in zip(r, v)]
        var = sum(p * d for p, d in zip(pi, dvar))
        scale = rec.get("scale", "std")
        if scale == "none":
            den, dden = 1, [0] * N
        elif scale == "mean":
            den, dden = mu + eps, r
        elif rec.get("epsilon_place", "outside") == "inside":
            den = F.sqrt(var + eps)
            dden = [d / (2 * den) for d in dvar]
        else:
            den = F.sqrt(var) + eps
            dden = [d / (2 * F.sqrt(var)) for d in dvar]
        u = [(x - mu) / den for x in r]
        du = [[-r[q] / den - u[o] * dden[q] / den for q in range(N)] for o in range(N)]
        return u, du, [1] * N, None


class Pairwise:
    def __init__(self, rec):
        if "margins" in rec:
            M = rec["margins"]
        else:
            M = [[(a > b) - (a < b) for b in rec["rewards"]] for a in rec["rewards"]]
        self.M = [[mpf(x) for x in row] for row in M]
        self.fM = [[float(x) for x in row] for row in M]

    def __call__(self, pi, F):
        M = self.fM if F is math else self.M
        return [sum(m * p for m, p in zip(row, pi)) for row in M], M, [1] * len(M), None


MODELS = {"group": Group, "limit": Limit, "pairwise": Pairwise}


# -------------------------------------------------------------------------------------------------


class Skip(Exception):
    pass


def solve_linear(A, b):
    n = len(b)
    A = [row[:] + [x] for row, x in zip(A, b)]
    for i in range(n):
        k = max(range(i, n), key=lambda k: abs(A[k][i]))
        if A[k][i] == 0:
            raise Skip("singular")
        A[i], A[k] = A[k], A[i]
        for k in range(i + 1, n):
            f = A[k][i] / A[i][i]
            if f:
                for j in range(i, n + 1):
                    A[k][j] -= f * A[i][j]
    x = [0] * n
    for i in reversed(range(n)):
        x[i] = (A[i][n] - sum(A[i][j] * x[j] for j in range(i + 1, n))) / A[i][i]
    return x


def determinant_sign(A):
    A, n, sign = [row[:] for row in A], len(A), 1
    for i in range(n):
        k = max(range(i, n), key=lambda k: abs(A[k][i]))
        if A[k][i] == 0:
            return 0
        if k != i:
            A[i], A[k] = A[k], A[i]
            sign = -sign
        sign = sign if A[i][i] > 0 else -sign
        for k in range(i + 1, n):
            f = A[k][i] / A[i][i]
            for j in range(i, n):
                A[k][j] -= f * A[i][j]
    return sign


class Context:
    def __init__(self, rec):
        self.rec = rec
        self.model = MODELS[rec["model"]](rec)
        self.ref = reference(rec)
        self.fref = [float(x) for x in self.ref]
        self.N = len(self.ref)
        self.alive = list(range(self.N))  # outcomes with pi > 0

    def point(self, theta, F):
        """pi and l at pi proportional to ref exp(theta) on the outcomes alive."""
        ref = self.fref if F is math else self.ref
        top = max(theta[o] for o in self.alive)
        w = [
            ref[o] * F.exp(theta[o] - top) if o in self.alive else ref[o] * 0 for o in range(self.N)
        ]
        Z = sum(w)
        return [x / Z for x in w], [t - top - F.log(Z) for t in theta]

    def height(self, theta, beta, F):
        """h, dh/dtheta (on the outcomes alive), pi, l, u."""
        g, dg = penalty(self.rec, F)
        pi, l = self.point(theta, F)
        u, du, kappa, dkappa = self.model(pi, F)
        S = self.alive
        h = [u[o] - beta * kappa[o] * g(l[o]) for o in S]
        slope = [du[o][:] for o in range(self.N)]
        if dkappa:
            for o in S:
                for q in S:
                    slope[o][q] = slope[o][q] - beta * dkappa[o][q] * g(l[o])
        mean = {o: sum(slope[o][q] * pi[q] for q in S) for o in S}
        dh = []
        for o in S:
            b = beta * kappa[o] * dg(l[o])
            dh.append([pi[q] * (slope[o][q] - mean[o]) - b * ((o == q) - pi[q]) for q in S])
        return h, dh, pi, l, u

    def newton(self, theta, beta, F, steps, tol):
        S = self.alive
        for _ in range(steps):
            h, dh, pi, l, u = self.height(theta, beta, F)
            k = max(range(len(S)), key=lambda k: pi[S[k]])  # gauge: the most probable outcome stays
            rows = [i for i in range(len(S)) if i != k]
            A = [[dh[i][j] - dh[k][j] for j in rows] for i in rows]
            d = solve_linear(A, [h[k] - h[i] for i in rows])
            size = max([abs(x) for x in d], default=0)
            if F is math and size > 3:
                raise Skip("Newton strays")
            theta = theta[:]
            for i, x in zip(rows, d):
                theta[S[i]] += x
            if size < tol:
                return theta, determinant_sign(A) * (-1) ** len(rows)
        raise Skip("Newton does not converge")

    def branch(self):
        """theta of the point that the branch from the reference reaches; leaves self.alive."""
        beta1 = self.rec["beta"]
        beta = max(200 * beta1, 200.0)
        theta, step = [0.0] * self.N, 0.7
        theta, _ = self.newton(theta, beta, math, 50, 1e-10)
        answer = None
        lower = self.rec["penalty"] in ("chi_squared", "alpha") and self.rec.get("alpha", 2) > 1
        while True:
            goal = beta1 if answer is None else 0.9 * beta1
            if beta == goal:
                if answer is not None:
                    break
                answer, alive1, l1 = theta, self.alive[:], self.point(theta, math)[1]
                continue
            trial = max(goal, beta * step)
            try:
                new, sign = self.newton(theta, trial, math, 30, 1e-11)
                move = max(
                    abs(a - b) for a, b in zip(self.point(new, math)[1], self.point(theta, math)[1])
                )
                if sign <= 0 or move > 0.7:
                    raise Skip("fold")
                theta, beta = new, trial
                step = max(0.5, step**1.5) if move < 0.2 else step
                if (
                    lower
                    and min(theta[o] for o in self.alive) - max(theta[o] for o in self.alive) < -9
                ):
                    raise Skip("drop")
            except (Skip, OverflowError, ValueError, ZeroDivisionError) as e:
                if lower and len(self.alive) > 2 and (str(e) == "drop" or step > 0.99):
                    self.alive.remove(min(self.alive, key=lambda o: theta[o]))
                    step = 0.97
                    continue
                step = math.sqrt(step)
                if step > 0.9995:
                    raise Skip("fold")
        self.alive, alive2 = alive1, self.alive
        l2 = self.point(theta, math)[1]
        if alive1 != alive2 or max(abs(l1[o] - l2[o]) for o in alive1) > 0.35 * (
            1 + max(abs(l1[o]) for o in alive1)
        ):
            raise Skip("close to a fold")
        if min(l1[o] for o in alive1) < (-8 if lower else -25):
            raise Skip("extreme")
        if self.rec["penalty"] == "squared_log_ratio" and min(l1) < -0.8:
            raise Skip("close to the end of the penalty's slope")
        return answer

    def flow(self):
        """Where the natural flow dtheta/dt = h - mean h from the reference ends (linearly implicit
        steps)."""
        keep, self.alive = self.alive, list(range(self.N))
        lost = [o for o in range(self.N) if o not in keep]
        try:
            return self.flow_of_all(keep, lost)
        finally:
            self.alive = keep

    def flow_of_all(self, keep, lost):
        beta, S, theta = self.rec["beta"], self.alive, [0.0] * self.N
        dt = 0.02
        for _ in range(3000):
            h, dh, pi, l, u = self.height(theta, beta, math)
            mean = sum(pi[o] * x for o, x in zip(S, h))
            if (
                max(abs(h[o] - mean) for o in keep) < 1e-9
                and max([l[o] for o in lost], default=-99) < -25
            ):
                return theta
            A = [[(i == j) - dt * dh[i][j] for j in range(len(S))] for i in range(len(S))]
            d = solve_linear(A, [dt * (x - mean) for x in h])
            size = max(abs(x) for x in d)
            if size > 0.1:
                dt *= 0.09 / size
                continue
            for o, x in zip(S, d):
                theta[o] += x
            if size < 0.05:
                dt *= 1.5
        raise Skip("the flow goes on")

    def solve(self):
        theta = self.branch()
        a, b = self.point(theta, math)[1], self.point(self.flow(), math)[1]
        if max(abs(a[o] - b[o]) for o in self.alive) > 1e-6:
            raise Skip("the flow from the reference ends elsewhere")
        theta, sign = self.newton(
            [mpf(x) for x in theta], mpf(self.rec["beta"]), mpmath, 12, mpf(10) ** -50
        )
        if sign <= 0:
            raise Skip("unstable")
        h, dh, pi, l, u = self.height(theta, mpf(self.rec["beta"]), mpmath)
        S = self.alive
        A = mp.matrix(len(S), len(S))  # the flow in logits, theta' = pi (h - mean h)
        for i, o in enumerate(S):
            for j in range(len(S)):
                A[i, j] = pi[o] * (dh[i][j] - sum(pi[S[k]] * dh[k][j] for k in range(len(S))))
        mp.dps = 30
        try:
            eig = sorted(mp.eig(A, left=False, right=False), key=abs)
        finally:
            mp.dps = 60
        if any(mpmath.re(e) >= 0 for e in eig[1:]):
            raise Skip("unstable")
        return pi, u


def solve_total_variation(rec):
    """Mass moves from the lowest outcome to the highest until their advantages differ by 2 beta,
    then from the next lowest."""
    ctx = Context(rec)
    if len(set(rec["rewards"])) < ctx.N:
        raise Skip("ties move freely")
    beta, pi = mpf(rec["beta"]), ctx.ref[:]
    order = sorted(range(ctx.N), key=lambda o: rec["rewards"][o])
    top = order[-1]

    def gap(low, t):
        q = pi[:]
        q[low] -= t
        q[top] += t
        u = ctx.model(q, mpmath)[0]
        return u[top] - u[low] - 2 * beta

    for low in order[:-1]:
        full = pi[low]
        values = [gap(low, full * k / 100) for k in range(101)]
        if values[0] <= 0:
            if values[0] > -0.02:
                raise Skip("close to a kink")
            break
        for k in range(1, 101):
            if values[k] >= values[k - 1] * (1 - mpf(10) ** -6):
                raise Skip("the gap does not fall")
            if values[k] <= 0:
                break
        if values[k] <= 0 and k < 98:
            lo, hi = full * (k - 1) / 100, full * k / 100
            for _ in range(190):
                mid = (lo + hi) / 2
                if gap(low, mid) > 0:
                    lo = mid
                else:
                    hi = mid
            pi[low] -= lo
            pi[top] += lo
            break
        if values[100] < 0.05:
            raise Skip("close to a kink")
        pi[top] += full
        pi[low] = mpf(0)
    return pi, ctx.model(pi, mpmath)[0]


def solve(rec):
    if rec["penalty"] == "kl_in_reward":
        pi = [
            p * mpmath.exp(mpf(r) / mpf(rec["beta"]))
            for p, r in zip(reference(rec), rec["rewards"])
        ]
        Z = sum(pi)
        pi = [p / Z for p in pi]
        return pi, MODELS[rec["model"]](rec)(pi, mpmath)[0]
    if rec["penalty"] == "total_variation":
        return solve_total_variation(rec)
    return Context(rec).solve()


# -------------------------------------------------------------------------------------------------


def expected(rec, pi, score):
    """Plain enumeration of groups of (outcome, reward): for each outcome o with pi_o > 0 the
    expectation of the per-sample coefficient A + score(o) of a sample equal to o, divided by pi_o;
    groups without spread are left out where the trainer drops them."""
    G, N = rec["group_size"], len(pi)
    if "support" in rec:
        kinds = [
            (o, mpf(x), pi[o] * mpf(d) / sum(mpf(y) for y in rec["distribution"][o]))
            for o in range(N)
            for x, d in zip(rec["support"], rec["distribution"][o])
        ]
    else:
        kinds = [(o, mpf(x), pi[o]) for o, x in enumerate(rec["rewards"])]
    kinds = [k for k in kinds if k[2] > 0]
    if math.comb(G + len(kinds) - 1, G) > 30000:
        raise Skip("too many groups")
    rewards = [k[1] for k in kinds]
    drop = rec.get("zero_variance", "keep") == "drop"
    out, cache = [mpf(0)] * N, {}
    for n in compositions(G, len(kinds)):
        group = repeat(rewards, n)
        if drop and all(x == group[0] for x in group):
            continue
        p = mpf(multinomial(n))
        for k, c in zip(kinds, n):
            if c:
                p *= k[2] ** c
        for k, c in zip(kinds, n):
            if c:
                others = list(group)
                others.remove(k[1])
                key = (k[1], tuple(sorted(others)))
                if key not in cache:
                    cache[key] = advantage(k[1], others, rec)
                out[k[0]] += p * c / G * (cache[key] + score(k[0]))
    return [x / q if q > 0 else None for x, q in zip(out, pi)]


def residual(rec, pi):
    """The largest violation of stationarity, from the definitions alone."""
    ref, beta, N = reference(rec), mpf(rec["beta"]), len(pi)
    S = [o for o in range(N) if pi[o] > 0]
    norm = abs(sum(pi) - 1)
    if rec["penalty"] == "kl_in_reward":  # the penalised rewards must leave no group with spread
        R = [mpf(r) - beta * mpmath.log(p / q) for r, p, q in zip(rec["rewards"], pi, ref)]
        return max(norm, max(R) - min(R))
    l = [mpmath.log(pi[o] / ref[o]) if pi[o] > 0 else None for o in range(N)]

    def advantages():
        if rec["model"] == "group":
            u = expected(rec, pi, lambda o: 0)
            rest = MODELS["group"](rec)(pi, mpmath)[0] if None in u else u
            return [b if a is None else a for a, b in zip(u, rest)]
        return MODELS[rec["model"]](rec)(pi, mpmath)[0]

    if rec["penalty"] == "total_variation":
        u = advantages()
        tol = mpf(10) ** -30
        low = max((u[o] - beta for o in S if l[o] <= tol), default=mpf("-inf"))
        low = max([low] + [u[o] - beta for o in S if l[o] > tol])  # c >= u - beta for all alive
        high = min(
            [u[o] + beta for o in S if l[o] >= -tol] + [u[o] + beta for o in S if l[o] < -tol]
        )
        bad = max(low - high, 0)
        up = [u[o] - beta for o in S if l[o] > tol]
        down = [u[o] + beta for o in S if l[o] < -tol]
        bad = max([bad] + [abs(x - y) for x in up + down for y in up + down])
        c = (up + down + [low])[0]
        bad = max([bad, low - c, c - high] + [u[o] + beta - c for o in range(N) if o not in S])
        return max(norm, bad)
    g = penalty(rec, mpmath)[0]
    if rec["model"] == "group":
        h = expected(rec, pi, lambda o: -beta * g(l[o]))
    else:
        h = [x - beta * g(y) if y is not None else None for x, y in zip(advantages(), l)]
    mean = sum(pi[o] * h[o] for o in S)
    bad = max(abs(h[o] - mean) for o in S)
    if len(S) < N:  # an outcome at 0 must not pay even there
        a = mpf({"chi_squared": 2}.get(rec["penalty"], rec.get("alpha")))
        u = advantages()
        bad = max([bad] + [u[o] + beta / (a - 1) - mean for o in range(N) if o not in S])
    return max(norm, bad)


# -------------------------------------------------------------------------------------------------


def known():
    failures = 0

    def same(what, got, want, digits):
        nonlocal failures
        got, want = (list(x) if isinstance(x, (list, tuple)) else [x] for x in (got, want))
        err = max(abs(mpf(a) - mpf(b)) for a, b in zip(got, want))
        ok = len(got) == len(want) and err < mpf(10) ** -digits
        failures += not ok
        print("%-8s %-72s %s" % ("agrees" if ok else "DIFFERS", what, mpmath.nstr(err, 3)))

    def policy(**rec):
        rec.setdefault("model", "group")
        rec.setdefault("penalty", "reverse_kl")
        pi, u = solve(rec)
        assert residual(rec, pi) < TOL
        return pi

    def binary(**rec):
        return policy(rewards=[1, 0], **{"beta": 0.3, "reference": [0.1, 0.9], **rec})[0]

    ref, beta = mpf(0.1), mpf(0.3)
    sigma = lambda x: 1 / (1 + mpmath.exp(-x))
    logit = lambda p: mpmath.log(p / (1 - p))
    closed = lambda x: (1 - x + mpmath.sqrt((1 - x) ** 2 + 4 * x * ref)) / 2
    sizes = (2, 4, 8, 16, 64, 512)
    for ddof, want in (
        (0, "0.7405124838 0.8417222172 0.8835871515 0.9081392550 0.9286221230 0.9325743590"),
        (1, "0.6418374170 0.8171549568 0.8744856845 0.9042422013 0.9276649565 0.9324541074"),
    ):
        for G, w in zip(sizes, want.split()):
            same("reverse KL, ddof %d, G = %d" % (ddof, G), binary(group_size=G, ddof=ddof), w, 10)
    for G in (2, 8):
        scaled = mpf(0.3) * mpmath.sqrt(mpf(G) / (G - 1))
        got, want = binary(group_size=G, ddof=1), binary(group_size=G, beta=scaled)
        same("ddof 1 = ddof 0 with beta sqrt(G/(G-1)), G = %d" % G, got, want, 40)
    same("reverse KL, limit", binary(model="limit"), "0.9330600292", 10)
    same("G = 2 closed form", binary(group_size=2), closed(beta), 15)  # 0.1 and 0.9 are doubles
    same("direct KL, G = 2", binary(group_size=2, penalty="direct_kl"), "0.7569644857", 10)
    same(
        "direct KL, G = 2, closed",
        binary(group_size=2, penalty="direct_kl"),
        sigma(logit(ref) + 1 / beta),
        15,
    )
    for G, d, r in (
        (2, "0.3703867736", "0.5162277660"),
        (4, "0.5751208513", "0.6605551275"),
        (8, "0.6724841495", "0.7057251081"),
    ):
        x = 1 - mpf(1) / G
        got = binary(group_size=G, penalty="direct_kl", scale="none")
        same("shift only, direct KL, G = %d" % G, got, d, 10)
        same("shift only, direct KL, G = %d, closed" % G, got, sigma(logit(ref) + x / beta), 15)
        got = binary(group_size=G, scale="none")
        same("shift only, reverse KL, G = %d" % G, got, r, 10)
        same("shift only, reverse KL, G = %d, closed" % G, got, closed(beta / x), 15)
        got = binary(group_size=G, penalty="direct_kl", scale="none", baseline="leave_one_out")
        same("leave one out, direct KL, G = %d" % G, got, "0.7569644857", 10)
    # the large-group threshold of direct KL
    h = lambda x, b: 1 / (b * mpmath.sqrt(x * (1 - x))) - logit(x) + logit(ref)
    for b in (0.5, 1, 2, 3, 5):
        b = mpf(b)
        x = (1 + mpmath.sqrt(1 - 1 / (1 + b * b))) / 2
        hmin = 2 * mpmath.sqrt(1 + b * b) / b - 2 * mpmath.asinh(b) + logit(ref)
        same("direct KL, limit, h_min at beta = %s" % mpmath.nstr(b, 2), h(x, b), hmin, 40)
        grid = min(h(mpf(k) / 4000, b) for k in range(1, 4000))
        same("... and the least value on a grid", grid, hmin, 4)
    same(
        "direct KL, limit, h_min at beta = 1",
        2 * mpmath.sqrt(2) - 2 * mpmath.asinh(1) + logit(ref),
        "-1.1315",
        4,
    )
    same(
        "direct KL, limit, root at beta = 1",
        binary(model="limit", penalty="direct_kl", beta=1),
        "0.4530514193",
        10,
    )
    got = binary(model="limit", penalty="direct_kl", beta=1, epsilon=1e-5, epsilon_place="inside")
    same("... with epsilon = 1e-5 inside", got, "0.4530422409", 10)
    # four outcomes
    four = dict(rewards=[0, 0.4, 1, 1], reference=[0.5, 0.3, 0.15, 0.05], beta=0.5)
    same(
        "four outcomes, KL in the reward",
        policy(penalty="kl_in_reward", group_size=4, **four),
        (0.1890, 0.2524, 0.4190, 0.1397),
        4,
    )
    same(
        "four outcomes, direct KL, G = 2",
        policy(penalty="direct_kl", group_size=2, **four),
        (0.1552, 0.1832, 0.4962, 0.1654),
        4,
    )
    same(
        "four outcomes, direct KL, G = 4",
        policy(penalty="direct_kl", group_size=4, **four),
        (0.0667, 0.0557, 0.6582, 0.2194),
        4,
    )
    same(
        "four outcomes, direct KL, G = 4, ddof 1",
        policy(penalty="direct_kl", group_size=4, ddof=1, **four),
        (0.0965, 0.0882, 0.6115, 0.2038),
        4,
    )
    # a maximal lottery as beta falls
    M = [[0, 0.6, -0.2, 0.1], [-0.6, 0, 0.4, 0.3], [0.2, -0.4, 0, 0.5], [-0.1, -0.3, -0.5, 0]]
    for b, want in (
        (0.5, (0.60163, 0.19184, 0.17099, 0.03555)),
        (0.1, (0.50085, 0.11992, 0.36568, 0.01355)),
        (0.02, (0.36028, 0.14915, 0.48767, 0.0029)),
    ):
        pi = policy(model="pairwise", margins=M, beta=b, reference=four["reference"])
        same("lottery, beta = %s" % b, pi, want, 5)
    # gains of binary groups, D = p (1-p) (P+ - P-)

    def gain(p, G, **rec):
        p = mpf(p)
        rec = dict(rewards=[1, 0], group_size=G, model="group", **rec)
        u = expected(rec, [p, 1 - p], lambda o: 0)
        return p * (1 - p) * (u[0] - u[1]), p * u[0] + (1 - p) * u[1]

    same("D, ddof 0, G = 8, p = .3", gain("0.3", 8)[0], "0.41217153395", 11)
    p = mpf("0.3")
    total = (
        sum(
            math.comb(8, k) * p**k * (1 - p) ** (8 - k) * mpmath.sqrt(k * (8 - k)) for k in range(9)
        )
        / 8
    )
    same("... and as a sum over k", gain("0.3", 8)[0], total, 40)
    nemo = dict(baseline="leave_one_out", scale="std_of_others")
    for G, k, a, b in (
        (4, 1, 1, -0.57735),
        (4, 2, 1.1547, -1.1547),
        (4, 3, 0.57735, -1),
        (8, 1, 1, -0.3780),
        (8, 2, 2.2678, -0.5855),
        (8, 4, 1.069, -1.069),
        (8, 7, 0.3780, -1),
    ):
        right = advantage(mpf(1), [mpf(1)] * (k - 1) + [mpf(0)] * (G - k), nemo)
        wrong = advantage(mpf(0), [mpf(1)] * k + [mpf(0)] * (G - k - 1), nemo)
        same("std of others, G = %d, %d correct" % (G, k), (right, wrong), (a, b), 4)
    same(
        "std of others, G = 2",
        (advantage(mpf(1), [mpf(0)], nemo), advantage(mpf(0), [mpf(1)], nemo)),
        (1, -1),
        40,
    )
    same("std of others, mean advantage at p = .05, G = 8", gain("0.05", 8, **nemo)[1], "-.0506", 4)
    same("std of others, D at p = .05, G = 8", gain("0.05", 8, **nemo)[0], ".0698", 4)
    same("std, D at p = .05, G = 8", gain("0.05", 8)[0], ".1175", 4)
    same("std of others, D at p = .3, G = 8", gain("0.3", 8, **nemo)[0], ".4314", 4)
    same("std, D at p = .3, G = 8", gain("0.3", 8)[0], ".4122", 4)
    for G, want, digits in ((4, "0.4599", 40), (8, "0.642352", 6)):
        got = gain("0.3", G, scale="mean")[0]
        same("mean as scale, D at p = .3, G = %d" % G, got, want, digits)
        same("... = dJ/dlogit with T = G - 1", got, mpf("0.7") * (1 - mpf("0.7") ** (G - 1)), 40)
    # groups without spread dropped
    for G in (2, 3, 8):
        for kind in ("reverse_kl", "direct_kl"):
            for p in (0.15, 0.6):
                for q0 in (0.3, 0.1):
                    rec = dict(
                        model="group",
                        group_size=G,
                        rewards=[1, 0],
                        penalty=kind,
                        beta=0.4,
                        reference=[q0, 1 - q0],
                        zero_variance="drop",
                    )
                    P, ref2 = [mpf(p), 1 - mpf(p)], reference(rec)
                    g = penalty(rec, mpmath)[0]
                    l = [mpmath.log(x / y) for x, y in zip(P, ref2)]
                    h = expected(rec, P, lambda o: -mpf(0.4) * g(l[o]))
                    got = P[0] * P[1] * (h[0] - h[1])
                    D = gain(mpf(p), G)[0]
                    if kind == "reverse_kl":
                        want = D - mpf(0.4) * (P[0] - ref2[0]) * (
                            1 - P[1] * P[0] ** (G - 1) - P[0] * P[1] ** (G - 1)
                        )
                    else:
                        want = D - mpf(0.4) * P[0] * P[1] * (
                            (1 - P[0] ** (G - 1)) * l[0] - (1 - P[1] ** (G - 1)) * l[1]
                        )
                    same(
                        "dropped groups, %s, G = %d, p = %s, ref = %s" % (kind, G, p, q0),
                        got,
                        want,
                        40,
                    )
    # each g is the derivative of a divergence: d/dt D(pi + t (e_1 - e_2)) = g_1 - g_2
    pi, ref3 = [mpf("0.5"), mpf("0.2"), mpf("0.3")], [mpf("0.2"), mpf("0.3"), mpf("0.5")]
    log = mpmath.log
    mid = lambda x, y: (x + y) / 2
    alpha = lambda a: lambda x, y: (x**a * y ** (1 - a) - a * x - (1 - a) * y) / (a * (a - 1))
    for rec, f in (
        ({"penalty": "reverse_kl"}, lambda x, y: y * log(y / x)),
        ({"penalty": "direct_kl"}, lambda x, y: x * log(x / y)),
        ({"penalty": "squared_log_ratio"}, lambda x, y: x * log(x / y) ** 2 / 2),
        ({"penalty": "chi_squared"}, lambda x, y: (x - y) ** 2 / y / 2),
        (
            {"penalty": "jensen_shannon"},
            lambda x, y: (x * log(x / mid(x, y)) + y * log(y / mid(x, y))) / 2,
        ),
        ({"penalty": "alpha", "alpha": 0.5}, alpha(mpf(0.5))),
        ({"penalty": "alpha", "alpha": 1.5}, alpha(mpf(1.5))),
    ):
        g = penalty(rec, mpmath)[0]
        D = lambda t: f(pi[0] + t, ref3[0]) + f(pi[1] - t, ref3[1])
        want = g(log(pi[0] / ref3[0])) - g(log(pi[1] / ref3[1]))
        same(
            "derivative of %s %s" % (rec["penalty"], rec.get("alpha", "")),
            mpmath.diff(D, 0),
            want,
            20,
        )
    rec = dict(
        model="group",
        group_size=32,
        rewards=[1, 0],
        penalty="direct_kl",
        beta=0.7,
        reference=[0.1, 0.9],
    )
    for near, want, digits in ((0.7, "0.7065", 4), (0.877, "0.8775", 4), (0.996, "0.99589", 5)):
        ctx = Context(rec)
        theta = [mpmath.log(near / ctx.ref[0]), mpmath.log((1 - mpf(near)) / ctx.ref[1])]
        theta, sign = ctx.newton(theta, mpf(0.7), mpmath, 40, mpf(10) ** -50)
        same(
            "direct KL, G = 32, beta = 0.7, root %s" % want,
            ctx.point(theta, mpmath)[0][0],
            want,
            digits,
        )
    print("known numbers: %s" % ("all agree" if not failures else "%d differ" % failures))
    assert not failures


# -------------------------------------------------------------------------------------------------

KEYS = (
    "id model group_size baseline scale epsilon epsilon_place ddof zero_variance penalty alpha beta rewards reward_variances support "
    "distribution margins reference policy advantage"
).split()
R = random.Random(20261122)
records, skipped = [], {}


def simplex(n, digits=4, least=0.02):
    while True:
        v = [R.gammavariate(1, 1) for _ in range(n)]
        v = [round(x / sum(v) * 10**digits) for x in v]
        v[v.index(max(v))] += 10**digits - sum(v)
        if min(v) >= least * 10**digits:
            return [x / 10**digits for x in v]


def levels(k):
    if k == 2:
        return R.choice([[0, 1], [0, 1], [0, 1], [0, 0.5]])
    if k == 3:
        return R.choice([[0, 0.5, 1], [0, 1, 1.5], [0, 0.1, 1]])
    return R.choice([[0, 0.25, 0.6, 1], [0, 0.5, 1, 1.5], [0, 0.1, 0.3, 1]])


def outcomes(n, k):
    """Rewards of n outcomes over k levels, each level used."""
    v = levels(k)
    r = v + [R.choice(v) for _ in range(n - k)]
    R.shuffle(r)
    return r


def beta(low=0.05, high=3.0):
    return float("%.3g" % math.exp(R.uniform(math.log(low), math.log(high))))


def record(name, draw, tries=60):
    """Adds the first drawn context whose answer is unambiguous."""
    for _ in range(tries):
        rec = {"id": "", "model": "group", "penalty": "reverse_kl", **draw()}
        try:
            pi, u = solve(rec)
            bad = residual(rec, pi)
        except (Skip, OverflowError) as e:
            skipped[str(e)] = skipped.get(str(e), 0) + 1
            continue
        assert bad < TOL, (name, rec, bad)
        if rec["model"] == "group" and min(pi) > 0:  # u by levels = u by outcomes
            v = expected(rec, pi, lambda o: 0)
            if rec.get("zero_variance", "keep") == "keep":
                assert max(abs(a - b) for a, b in zip(u, v)) < TOL
        mean = sum(p * x for p, x in zip(pi, u))
        rec["id"] = "%s-%03d" % (name, len(records))
        rec["policy"] = [float(x) for x in pi]
        rec["advantage"] = [float(x - mean) if abs(x - mean) > TOL else 0.0 for x in u]
        records.append({k: rec[k] for k in KEYS if k in rec})
        assert len(records[-1]) == len(rec), set(rec) - set(KEYS)
        return
    raise RuntimeError("no unambiguous context found: " + name)


def shape(i):
    """Group size, number of outcomes and of levels: small first, then larger, then binary large."""
    return [
        (2, 2, 2),
        (3, 3, 2),
        (4, 3, 3),
        (8, 4, 3),
        (5, 5, 4),
        (9, 2, 2),
        (6, 4, 4),
        (7, 5, 2),
        (64, 2, 2),
        (3, 5, 3),
        (16, 2, 2),
        (2, 4, 3),
    ][i % 12]


def draw(i, low=0.05, high=3.0, **fixed):
    G, n, k = shape(i)

    def one():
        rec = dict(group_size=G, rewards=outcomes(n, k), reference=simplex(n), beta=beta(low, high))
        rec.update(fixed)
        return rec

    return one


def noisy(G, n, k, low=0.05, high=3.0, **fixed):
    def one():
        v = levels(k)
        rows = [simplex(k, 3, 0) for _ in range(n)]
        if n > 2:
            rows[R.randrange(n)] = [1.0 if j == 0 else 0.0 for j in range(k)]
        rec = dict(
            group_size=G, support=v, distribution=rows, reference=simplex(n), beta=beta(low, high)
        )
        rec.update(fixed)
        return rec

    return one


def generate():
    KL = ("reverse_kl", "direct_kl")
    loo, others = dict(baseline="leave_one_out"), dict(
        baseline="leave_one_out", scale="std_of_others"
    )
    maxrl, drop = dict(scale="mean"), dict(zero_variance="drop")
    for pen in KL:
        tag = pen.split("_")[0]
        P = dict(penalty=pen)
        # the defaults, written out
        for i, c in (
            (2, dict(baseline="mean", scale="std", epsilon_place="outside", zero_variance="keep")),
            (3, dict(baseline="mean", ddof=1, epsilon=1e-4)),
            (8, dict(epsilon_place="outside", epsilon=1e-6)),
        ):
            record("mean-std-" + tag, draw(i, **P, **c))
        # leave-one-out mean
        for i in (0, 2, 3, 4, 8):
            record("loo-none-" + tag, draw(i, scale="none", **loo, **P))
        for i, c in (
            (0, dict(ddof=1)),
            (1, dict(ddof=0)),
            (3, dict(ddof=1, epsilon=1e-4)),
            (4, dict(epsilon=0.1)),
            (10, dict(ddof=1, epsilon=1e-6)),
        ):
            record("loo-std-" + tag, draw(i, **loo, **P, **c))
        # std of the others
        for i, c in (
            (0, {}),
            (1, {}),
            (2, dict(epsilon=1e-6)),
            (3, dict(epsilon=1e-6)),
            (4, dict(epsilon=0.1)),
            (5, {}),
            (8, dict(epsilon=1e-6)),
            (11, dict(epsilon=0.1)),
        ):
            record("std-of-others-" + tag, draw(i, **others, **P, **c))
        # mean as scale
        for i, c in (
            (0, {}),
            (1, dict(epsilon=0.1)),
            (2, {}),
            (3, dict(epsilon=1e-6)),
            (4, dict(epsilon=1e-4)),
            (8, {}),
            (10, {}),
        ):
            record("maxrl-" + tag, draw(i, **maxrl, **P, **c))
        record(
            "maxrl-positive-" + tag,
            lambda: dict(
                group_size=4,
                rewards=[0.2, 1, 0.5, 0.2],
                reference=simplex(4),
                beta=beta(),
                **maxrl,
                **P
            ),
        )
        # epsilon inside the root
        for i, c in (
            (0, dict(epsilon=0.1)),
            (1, dict(epsilon=1e-4, ddof=1)),
            (2, dict(epsilon=0.1, ddof=1)),
            (3, dict(epsilon=0.1)),
            (4, dict(epsilon=1e-6)),
            (8, dict(epsilon=0.1)),
            (9, dict(epsilon=0)),
        ):
            record("inside-" + tag, draw(i, epsilon_place="inside", **P, **c))
        record(
            "inside-loo-" + tag, draw(2, epsilon=0.1, ddof=1, epsilon_place="inside", **loo, **P)
        )
        # groups without spread dropped
        for i, c in (
            (0, {}),
            (1, {}),
            (2, dict(ddof=1)),
            (3, dict(ddof=1, epsilon=1e-4)),
            (4, dict(epsilon=1e-6)),
            (5, {}),
            (8, {}),
            (2, dict(epsilon=0.1, epsilon_place="inside")),
        ):
            record("drop-" + tag, draw(i, **drop, **P, **c))
        for i in (1, 3):
            record("drop-none-" + tag, draw(i, scale="none", **drop, **P))
        record("drop-loo-none-" + tag, draw(2, scale="none", **loo, **drop, **P))
        record("drop-loo-std-" + tag, draw(6, ddof=1, epsilon=1e-6, **loo, **drop, **P))
        for i in (0, 2):
            record("drop-std-of-others-" + tag, draw(i, epsilon=1e-6, **others, **drop, **P))
        for i in (1, 4):
            record("drop-maxrl-" + tag, draw(i, **maxrl, **drop, **P))
        # random rewards
        for G, n, k, name, c in (
            (4, 3, 2, "none", dict(scale="none")),
            (3, 3, 3, "loo-none", dict(scale="none", **loo)),
            (5, 2, 3, "loo-std", dict(ddof=1, epsilon=1e-4, **loo)),
            (4, 3, 3, "std-of-others", others),
            (2, 3, 3, "std-of-others", others),
            (6, 4, 2, "std-of-others", dict(epsilon=1e-6, **others)),
            (4, 3, 3, "maxrl", maxrl),
            (7, 3, 2, "maxrl", dict(epsilon=1e-6, **maxrl)),
            (4, 3, 3, "inside", dict(epsilon=0.1, epsilon_place="inside")),
        ):
            record("random-%s-%s" % (name, tag), noisy(G, n, k, **P, **c))
        # the limit of large groups
        L = dict(model="limit")

        def limit(n, k, variances=False, **c):
            def one():
                rec = dict(
                    rewards=outcomes(n, k), reference=simplex(n), beta=beta(0.1), **L, **P, **c
                )
                if variances:
                    rec["reward_variances"] = [R.choice([0, 0.01, 0.1, 0.25]) for _ in range(n)]
                return rec

            return one

        record("limit-loo-none-" + tag, limit(3, 3, scale="none", **loo))
        record("limit-loo-std-" + tag, limit(4, 3, epsilon=0.1, **loo))
        record("limit-std-of-others-" + tag, limit(3, 3, epsilon=1e-6, **others))
        record("limit-std-of-others-noisy-" + tag, limit(4, 4, True, **others))
        record("limit-maxrl-" + tag, limit(3, 2, **maxrl))
        record("limit-maxrl-" + tag, limit(5, 4, epsilon=0.1, **maxrl))
        record("limit-inside-" + tag, limit(2, 2, epsilon=0.1, epsilon_place="inside"))
        record("limit-inside-noisy-" + tag, limit(4, 3, True, epsilon=1e-4, epsilon_place="inside"))
    # penalties, over the conventions
    cases = [
        (1, {}),
        (2, dict(ddof=1, epsilon=1e-4)),
        (3, dict(scale="none")),
        (4, dict(epsilon=1e-6, **others)),
        (0, maxrl),
        (8, {}),
    ]
    for pen, tag, low in (
        ("squared_log_ratio", "squared", 0.3),
        ("chi_squared", "chi2", 0.2),
        ("jensen_shannon", "js", 0.05),
    ):
        for i, c in cases:
            record(tag, draw(i, low, 3.0 if tag != "squared" else 6.0, penalty=pen, **c))
    for a, i, c in (
        (0, 2, {}),
        (0.5, 3, {}),
        (0.25, 1, dict(ddof=1)),
        (1, 2, dict(scale="none", **loo)),
        (1.5, 4, {}),
        (2, 1, {}),
        (0.5, 4, dict(epsilon=1e-6, **others)),
        (1.5, 3, maxrl),
        (0.75, 8, {}),
        (1.25, 9, dict(epsilon=0.1)),
    ):
        record("alpha", draw(i, penalty="alpha", alpha=a, **c))

    def dropped(make):
        """Only contexts whose answer leaves an outcome at 0."""

        def one():
            rec = make()
            try:
                ctx = Context({"id": "", "model": "group", **rec})
                ctx.branch()
                lost = len(ctx.alive) < ctx.N
            except (Skip, OverflowError):
                lost = False
            return rec if lost else one()

        return one

    record("chi2-lost", dropped(draw(2, 0.3, 1.5, penalty="chi_squared")))
    record("chi2-lost", dropped(draw(4, 0.2, 1.5, penalty="chi_squared", scale="none", **loo)))
    record("alpha-lost", dropped(draw(3, 0.2, 1.5, penalty="alpha", alpha=1.5)))
    for i, c in (
        (2, {}),
        (2, dict(ddof=1, epsilon=1e-4)),
        (6, {}),
        (5, {}),
        (8, {}),
        (2, dict(epsilon=1e-6, **others)),
        (10, maxrl),
    ):

        def moved(make=draw(i, 0.3, 3.0, penalty="total_variation", **c)):
            while True:
                rec = make()
                try:
                    pi = solve_total_variation({"model": "group", **rec})[0]
                except Skip:
                    continue
                if max(abs(p - q) for p, q in zip(pi, reference(rec))) > 0.02:
                    return rec

        record("tv", moved)
    record(
        "tv-stays",
        lambda: dict(
            group_size=4,
            rewards=[0, 0.5, 1],
            reference=simplex(3),
            beta=3.0,
            penalty="total_variation",
        ),
    )
    for i, c in (
        (0, {}),
        (2, dict(ddof=1, epsilon=1e-6)),
        (3, dict(scale="none")),
        (4, dict(scale="none", **loo)),
        (8, {}),
        (5, dict(epsilon=1e-6, **others)),
        (1, dict(epsilon=0.1, epsilon_place="inside")),
    ):
        record("kl-in-reward", draw(i, 0.1, penalty="kl_in_reward", **c))
    record(
        "kl-in-reward-limit",
        lambda: dict(
            model="limit",
            rewards=outcomes(4, 3),
            reference=simplex(4),
            beta=beta(0.1),
            penalty="kl_in_reward",
        ),
    )
    for pen, c in (
        ("squared_log_ratio", {}),
        ("chi_squared", {}),
        ("jensen_shannon", {}),
        ("alpha", dict(alpha=0.5)),
        ("alpha", dict(alpha=1.5)),
    ):

        def pairs(n=4, pen=pen, c=c):
            M = [[0.0] * n for _ in range(n)]
            for i in range(n):
                for j in range(i):
                    M[i][j] = round(R.uniform(-1, 1), 2)
                    M[j][i] = -M[i][j]
            return dict(
                model="pairwise", margins=M, reference=simplex(n), beta=beta(0.1), penalty=pen, **c
            )

        record("pairwise-" + pen.replace("_", "-"), pairs)
        record(
            "limit-" + pen.replace("_", "-"),
            lambda: dict(
                model="limit",
                rewards=outcomes(4, 3),
                reference=simplex(4),
                reward_variances=[0.1, 0, 0.05, 0.2],
                beta=beta(0.3, 6.0),
                epsilon=0.1,
                penalty=pen,
                **c
            ),
        )


def main():
    if sys.argv[1:2] == ["check"]:
        worst = 0
        for line in open(sys.argv[2]):
            rec = json.loads(line)
            if "policy" not in rec or "reference" not in rec:
                continue
            try:
                if (
                    rec["penalty"] not in ("kl_in_reward", "total_variation")
                    and min(rec["policy"]) > 0
                ):
                    ctx = Context(rec)  # polish the rounded policy, then compare
                    theta = [mpmath.log(mpf(p) / q) for p, q in zip(rec["policy"], ctx.ref)]
                    theta, _ = ctx.newton(theta, mpf(rec["beta"]), mpmath, 20, mpf(10) ** -50)
                    _, _, pi, _, u = ctx.height(theta, mpf(rec["beta"]), mpmath)
                else:
                    pi, u = solve(rec)
                bad = residual(rec, pi)
            except Skip as e:
                print(rec["id"], "not checked:", e)
                continue
            mean = sum(p * x for p, x in zip(pi, u))
            err = max(
                [abs(mpf(a) - b) / max(b, mpf(10) ** -300) for a, b in zip(rec["policy"], pi)]
                + [abs(mpf(a) - (b - mean)) for a, b in zip(rec["advantage"], u)]
            )
            worst = max(worst, err)
            if err > 1e-13 or bad > TOL:
                print(
                    rec["id"],
                    "policy or advantage off by",
                    mpmath.nstr(err, 3),
                    "residual",
                    mpmath.nstr(bad, 3),
                )
        print("largest error", mpmath.nstr(worst, 3))
        return
    known()
    if sys.argv[1:2] == ["known"]:
        return
    generate()
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conventions.jsonl")
    with open(path, "w") as f:
        for rec in records:
            f.write(json.dumps(rec) + "\n")
    print(len(records), "records; contexts passed over:", skipped)


main()
