"""Independent oracle. Solve in gmpy2.mpfr (fast multiprecision), verify in mpmath with plain
definitions."""

import json, math, sys, itertools, time
import gmpy2, mpmath
from gmpy2 import mpfr, exp, log, sqrt

ctx = gmpy2.get_context()
ctx.emax = gmpy2.get_emax_max()
ctx.emin = gmpy2.get_emin_min()
M = mpmath.mp


class Skip(Exception):
    pass


def setprec(P):
    ctx.precision = int(P)
    M.prec = int(P)


def to_mp(x):
    if x == 0:
        return mpmath.mpf(0)
    m, e = x.as_mantissa_exp()
    return mpmath.ldexp(mpmath.mpf(int(m)), int(e))


def lu_solve(A, B):
    """A n x n (list of rows, destroyed), B list of rhs vectors; returns solutions, sign and
    log|det|"""
    n = len(A)
    nb = len(B)
    sgn = 1
    # row equilibration
    for i in range(n):
        m = max(abs(v) for v in A[i])
        if m == 0:
            raise ZeroDivisionError
        im = 1 / m
        A[i] = [v * im for v in A[i]]
        for b in B:
            b[i] = b[i] * im
    for k in range(n):
        p = max(range(k, n), key=lambda i: abs(A[i][k]))
        if A[p][k] == 0:
            raise ZeroDivisionError
        if p != k:
            A[p], A[k] = A[k], A[p]
            sgn = -sgn
            for b in B:
                b[p], b[k] = b[k], b[p]
        Ak = A[k]
        piv = Ak[k]
        if piv < 0:
            sgn = -sgn
        for i in range(k + 1, n):
            Ai = A[i]
            if Ai[k] != 0:
                f = Ai[k] / piv
                for j in range(k + 1, n):
                    Ai[j] = Ai[j] - f * Ak[j]
                for b in B:
                    b[i] = b[i] - f * b[k]
    for b in B:
        for i in range(n - 1, -1, -1):
            s = b[i]
            Ai = A[i]
            for j in range(i + 1, n):
                s -= Ai[j] * b[j]
            b[i] = s / Ai[i]
    return B, sgn


# ---------------------------------------------------------------- parsing
def nval(rec):
    for k in ("margins", "wins", "rewards", "distribution"):
        if k in rec:
            return len(rec[k])


def parse_ref(rec, num=mpfr, ex=exp, lg=log):
    n = nval(rec)
    if "reference" in rec:
        r = [num(v) for v in rec["reference"]]
    elif "reference_logprobs" in rec:
        r = [ex(num(v)) for v in rec["reference_logprobs"]]
    else:
        r = [num(1)] * n
    s = sum(r, num(0))
    return [v / s for v in r]


def margins_of(rec, num=mpfr):
    if "margins" in rec:
        return [[num(v) for v in row] for row in rec["margins"]]
    if "wins" in rec:
        w = rec["wins"]
        n = len(w)
        return [
            [
                (
                    (num(w[i][j]) - num(w[j][i])) / (num(w[i][j]) + num(w[j][i]))
                    if w[i][j] + w[j][i] > 0
                    else num(0)
                )
                for j in range(n)
            ]
            for i in range(n)
        ]
    r = rec["rewards"]
    n = len(r)
    return [[num((r[i] > r[j]) - (r[i] < r[j])) for j in range(n)] for i in range(n)]


def levels_of(rec):
    """group model: (levels as floats, N x K distribution as floats), unused levels dropped, equal
    levels merged"""
    if "support" in rec:
        S, D = rec["support"], rec["distribution"]
        lv = sorted(set(S))
        DD = [
            [sum((mpfr(row[k]) for k in range(len(S)) if S[k] == x), mpfr(0)) for x in lv]
            for row in D
        ]
        keep = [j for j in range(len(lv)) if any(row[j] > 0 for row in DD)]
        return [lv[j] for j in keep], [[row[j] for j in keep] for row in DD]
    r = rec["rewards"]
    lv = sorted(set(r))
    return lv, [[mpfr(1 if x == v else 0) for x in lv] for v in r]


def compositions(n, k):
    if k == 1:
        yield (n,)
        return
    for i in range(n + 1):
        for r in compositions(n - i, k - 1):
            yield (i,) + r


# ---------------------------------------------------------------- models for the solver: eval(pi)
class Pairwise:
    def __init__(s, G):
        s.G = G
        s.n = len(G)

    def eval(s, pi):
        n = s.n
        J = [[s.G[o][p] * pi[p] for p in range(n)] for o in range(n)]
        u = [sum(row, mpfr(0)) for row in J]
        return u, J

    def umax(s):
        return max([abs(v) for r in s.G for v in r] + [mpfr("1e-3")])


class Group:
    """std-scaled, K levels, enumeration over count vectors of the whole group"""

    def __init__(s, lv, D, G, eps, ddof):
        s.D = D
        s.n = len(D)
        s.K = K = len(lv)
        s.G = G
        x = [mpfr(v) for v in lv]
        eps = mpfr(eps)
        s.rows = []
        fact = [gmpy2.fac(i) for i in range(G + 1)]
        for c in compositions(G, K):
            if max(c) == G:
                continue
            mean = sum((c[m] * x[m] for m in range(K)), mpfr(0)) / G
            var = sum((c[m] * (x[m] - mean) ** 2 for m in range(K)), mpfr(0)) / (G - ddof)
            sd = sqrt(var) + eps
            mult = mpfr(fact[G - 1])
            for m in range(K):
                mult = mult / fact[c[m]]
            C = [mult * c[m] * (x[m] - mean) / sd for m in range(K)]
            s.rows.append((c, C))

    def umax(s):
        return sqrt(mpfr(s.G))

    def eval(s, pi):
        K, D, n, G = s.K, s.D, s.n, s.G
        w = [sum((pi[o] * D[o][m] for o in range(n)), mpfr(0)) for m in range(K)]
        pw = []
        for m in range(K):
            t = [mpfr(1)]
            for i in range(G):
                t.append(t[-1] * w[m])
            pw.append(t)
        b = [mpfr(0)] * K
        db = [[mpfr(0)] * K for _ in range(K)]
        for c, C in s.rows:
            q = None
            for m in range(K):
                if c[m]:
                    q = pw[m][c[m]] if q is None else q * pw[m][c[m]]
            for m in range(K):
                if c[m]:
                    t = q * C[m]
                    b[m] += t
                    r = db[m]
                    for j in range(K):
                        if c[j]:
                            r[j] += t * c[j]
        a = [b[m] / w[m] for m in range(K)]
        da = [
            [db[m][j] / w[m] - (a[m] if j == m else 0) for j in range(K)] for m in range(K)
        ]  # d a_m / d log w_j
        u = [sum((D[o][m] * a[m] for m in range(K)), mpfr(0)) for o in range(n)]
        E = [
            [
                sum((D[o][m] * da[m][j] for m in range(K) if D[o][m] != 0), mpfr(0)) / w[j]
                for j in range(K)
            ]
            for o in range(n)
        ]
        J = [
            [
                sum((E[o][j] * D[p][j] for j in range(K) if D[p][j] != 0), mpfr(0)) * pi[p]
                for p in range(n)
            ]
            for o in range(n)
        ]
        return u, J


# ---------------------------------------------------------------- F(y, kappa, lb)
def system(model, pen, lref, y, kap, lb):
    n = model.n
    be = exp(lb)
    pi = [exp(v) for v in y]
    u, Ju = model.eval(pi)
    rows = []
    F = []
    if pen == "reverse_kl":  # be*ref/pi - kap + u = 0
        for o in range(n):
            t = be * exp(lref[o] - y[o])
            F.append(t - kap + u[o])
            r = list(Ju[o])
            r[o] = r[o] - t
            rows.append(r + [mpfr(-1), t])
    else:  # be*(y-lref) + kap - u = 0
        for o in range(n):
            t = be * (y[o] - lref[o])
            F.append(t + kap - u[o])
            r = [-v for v in Ju[o]]
            r[o] = r[o] + be
            rows.append(r + [mpfr(1), t])
    F.append(sum(pi, mpfr(0)) - 1)
    rows.append(pi + [mpfr(0), mpfr(0)])
    return F, rows, pi, u


def newton_fixed(model, pen, lref, y, kap, lb, tolbits, maxit=60, cap=None):
    """Newton at fixed beta; returns y, kap, sign of det"""
    n = model.n
    tol = mpfr(2) ** (-tolbits)
    last = None
    for it in range(maxit):
        F, R, pi, u = system(model, pen, lref, y, kap, lb)
        A = [r[: n + 1] for r in R]
        (d,), sgn = lu_solve(A, [[-f for f in F]])
        # step size measured in log pi; for negligible outcomes relative to |y|
        st = max(abs(d[i]) / (1 + abs(y[i]) * mpfr("1e-3")) for i in range(n))
        if cap is not None and st > cap:
            return None
        y = [y[i] + d[i] for i in range(n)]
        kap = kap + d[n]
        if st < tol:
            return y, kap, sgn, it
        if last is not None and st > last * 4 and st > 10:
            return None
        last = st
    return None


# ---------------------------------------------------------------- arclength continuation from beta
def follow(model, pen, ref, beta, stats, dpi_max=0.03, dlb_max=0.3, beyond=None, maxsteps=20000):
    n = model.n
    lref = [log(r) for r in ref]
    ltar = log(mpfr(beta))
    P = ctx.precision
    lb = max(ltar, log(2000 * model.umax()))
    y = list(lref)
    u, _ = model.eval([exp(v) for v in y])
    kap = exp(lb) if pen == "reverse_kl" else mpfr(0)
    z = newton_fixed(model, pen, lref, y, kap, lb, P // 2)
    if z is None:
        raise Skip("start failed")
    y, kap, sgn0, _ = z
    stats["steps"] = 0
    stats["folds"] = 0
    stats["crossings"] = 0
    found = None
    if lb == ltar:
        found = (y, kap)
        stats["crossings"] = 1
        if beyond is None:
            return y, kap
    ds = mpfr("0.05")
    X = y + [kap, lb]
    told = None

    # coordinates: scaled so that huge |y| of negligible outcomes do not dominate
    def weights(X):
        w = [1 / (1 + abs(X[i]) / 30) ** 2 for i in range(n)]
        return w + [mpfr(0), mpfr(1)]

    def tangent(X, told):
        F, R, pi, u = system(model, pen, lref, X[:n], X[n], X[n + 1])
        w = weights(X)
        if told is None:
            c = [mpfr(0)] * (n + 1) + [mpfr(-1)]
        else:
            c = [w[i] * told[i] for i in range(n + 2)]
        A = [list(r) for r in R] + [c]
        (t,), sg = lu_solve(A, [[mpfr(0)] * (n + 1) + [mpfr(1)]])
        nr = sqrt(sum(w[i] * t[i] * t[i] for i in range(n + 2)))
        t = [v / nr for v in t]
        return t, w

    def correct(X, t, w, ds, tolbits):
        Y = [X[i] + ds * t[i] for i in range(n + 2)]
        Y0 = list(Y)
        c = [w[i] * t[i] for i in range(n + 2)]
        tol = mpfr(2) ** (-tolbits)
        last = None
        for it in range(9):
            F, R, pi, u = system(model, pen, lref, Y[:n], Y[n], Y[n + 1])
            A = [list(r) for r in R] + [list(c)]
            rhs = [-f for f in F] + [-sum(c[i] * (Y[i] - Y0[i]) for i in range(n + 2))]
            (d,), sg = lu_solve(A, [rhs])
            st = max(abs(d[i]) * sqrt(w[i]) for i in range(n + 2))
            if st > 2:
                return None
            if last is not None and st > last / 2 and st > tol:
                return None
            Y = [Y[i] + d[i] for i in range(n + 2)]
            if st < tol:
                return Y, it
            last = st
        return None

    t, w = tangent(X, None)
    if t[n + 1] > 0:
        raise Skip("tangent")
    while True:
        stats["steps"] += 1
        if stats["steps"] > maxsteps:
            raise Skip("too many steps")
        # limits
        pi = [exp(v) for v in X[:n]]
        r = max([abs(t[n + 1]) / dlb_max] + [pi[i] * abs(t[i]) / dpi_max for i in range(n)])
        h = min(ds, 1 / r)
        try:
            z = correct(X, t, w, h, 60)
        except ZeroDivisionError:
            z = None
        ok = z is not None
        if ok:
            Y, it = z
            try:
                t2, w2 = tangent(Y, t)
            except ZeroDivisionError:
                ok = False
        if ok:
            cosang = sum(w[i] * t[i] * t2[i] for i in range(n + 2)) / sqrt(
                sum(w[i] * t2[i] * t2[i] for i in range(n + 2))
            )
            dp = max(abs(exp(Y[i]) - pi[i]) for i in range(n))
            if cosang < 0.8 or dp > 2 * dpi_max:
                ok = False
        if not ok:
            ds = h / 3
            if ds < mpfr("1e-40"):
                raise Skip("step underflow")
            continue
        fold = t2[n + 1] > 0 and t[n + 1] < 0 or t2[n + 1] < 0 and t[n + 1] > 0
        if fold:
            stats["folds"] += 1
            if found is None and beyond is None:
                raise Skip("fold before beta")
        cross = (X[n + 1] - ltar) * (Y[n + 1] - ltar) <= 0
        if cross and not fold:
            stats["crossings"] += 1
            if found is None and stats["folds"] == 0:
                # locate: bisect / secant in h
                a, fa, b, fb = mpfr(0), X[n + 1] - ltar, h, Y[n + 1] - ltar
                Z = Y
                for it in range(60):
                    if abs(fb) < mpfr("1e-9"):
                        break
                    m = b - fb * (b - a) / (fb - fa) if it % 3 else (a + b) / 2
                    zz = correct(X, t, w, m, 60)
                    if zz is None:
                        raise Skip("locate")
                    fm = zz[0][n + 1] - ltar
                    Z = zz[0]
                    if fm * fa <= 0:
                        b, fb = m, fm
                    else:
                        a, fa = m, fm
                    if abs(fm) < mpfr("1e-9"):
                        break
                z = newton_fixed(model, pen, lref, Z[:n], Z[n], ltar, P * 2 // 3, cap=mpfr("0.01"))
                if z is None:
                    stats["polish_fallback"] = 1
                    raise Skip("polish")
                found = (z[0], z[1])
                stats["sgn"] = (sgn0, z[2])
                if sgn0 != z[2]:
                    raise Skip("det sign changed")
                if beyond is None:
                    return found
        if beyond is not None and Y[n + 1] < ltar - beyond:
            if found is None:
                raise Skip("fold before beta")
            return found
        if found is not None and Y[n + 1] > log(2000 * model.umax()) + 3:
            return found
        X, t, w = Y, t2, w2
        if it <= 4:
            ds = h * mpfr("1.6")
        elif it >= 7:
            ds = h / 2
        else:
            ds = h


# ---------------------------------------------------------------- pairwise reverse: interior point
def pairwise_reverse(Gm, ref, beta):
    n = len(Gm)
    be = mpfr(beta)
    P = ctx.precision
    w0 = [be * r for r in ref]
    pi = [mpfr(1) / n] * n
    u = [sum((Gm[o][p] * pi[p] for p in range(n)), mpfr(0)) for o in range(n)]
    lam = 2 * max([abs(v) for v in u] + [mpfr(1) / 2])
    s = [lam - v for v in u]
    mu = max(pi[o] * s[o] for o in range(n))
    mu = max(mu, max(w0))
    floor = min(w0)

    def step(w):
        nonlocal pi, s, lam
        # pi ds + s dpi = w - pi s ; ds = dlam - G dpi + res ; sum dpi = 1 - sum pi
        res = [lam - sum((Gm[o][p] * pi[p] for p in range(n)), mpfr(0)) - s[o] for o in range(n)]
        A = []
        b = []
        for o in range(n):
            r = [-pi[o] * Gm[o][p] for p in range(n)]
            r[o] = r[o] + s[o]
            A.append(r + [pi[o]])
            b.append(w[o] - pi[o] * s[o] - pi[o] * res[o])
        A.append([mpfr(1)] * n + [mpfr(0)])
        b.append(1 - sum(pi, mpfr(0)))
        (d,), _ = lu_solve(A, [b])
        ds = [d[n] - sum((Gm[o][p] * d[p] for p in range(n)), mpfr(0)) + res[o] for o in range(n)]
        al = mpfr(1)
        for o in range(n):
            if d[o] < 0:
                al = min(al, -mpfr("0.9") * pi[o] / d[o])
            if ds[o] < 0:
                al = min(al, -mpfr("0.9") * s[o] / ds[o])
        st = max(max(abs(d[o]) / pi[o], abs(ds[o]) / s[o]) for o in range(n))
        pi = [pi[o] + al * d[o] for o in range(n)]
        s = [s[o] + al * ds[o] for o in range(n)]
        lam = lam + al * d[n]
        return al, st

    it = 0
    while True:
        w = [max(v, mu) for v in w0]
        for k in range(60):
            al, st = step(w)
            it += 1
            if al == 1 and st < 0.3:
                break
        if mu <= floor:
            break
        mu = mu / 4
    for k in range(200):
        al, st = step(w0)
        it += 1
        if st < mpfr(2) ** (-(P * 2 // 3)):
            break
    else:
        raise Skip("ipm")
    return pi


def pairwise_direct(Gm, ref, beta):
    n = len(Gm)
    mod = Pairwise(Gm)
    lref = [log(r) for r in ref]
    P = ctx.precision
    ltar = log(mpfr(beta))
    lb = max(ltar, log(mpfr(1000)))
    z = newton_fixed(mod, "direct_kl", lref, list(lref), mpfr(0), lb, 60)
    y, kap = z[0], z[1]
    h = mpfr("0.5")
    cnt = 0
    while lb > ltar:
        cnt += 1
        if cnt > 20000 or h < mpfr("1e-30"):
            raise Skip("direct pairwise")
        F, R, pi, u = system(mod, "direct_kl", lref, y, kap, lb)
        try:
            (t,), _ = lu_solve([r[: n + 1] for r in R], [[-r[n + 1] for r in R]])
        except ZeroDivisionError:
            raise Skip("sing")
        hh = min(h, lb - ltar)
        y1 = [y[i] - hh * t[i] for i in range(n)]
        k1 = kap - hh * t[n]
        z = None
        if max(y1) < 1:
            try:
                z = newton_fixed(mod, "direct_kl", lref, y1, k1, lb - hh, 60, maxit=12)
            except ZeroDivisionError:
                z = None
        if z is None:
            h = hh / 2
            continue
        y, kap = z[0], z[1]
        lb = lb - hh
        if lb - ltar < mpfr("1e-25"):
            lb = ltar
        if z[3] <= 6:
            h = min(h * mpfr("1.5"), mpfr(1))
    z = newton_fixed(mod, "direct_kl", lref, y, kap, ltar, P * 2 // 3)
    if z is None:
        raise Skip("polish")
    return [exp(v) for v in z[0]]


# ---------------------------------------------------------------- one-unknown problems
def root_log(h, a, b, fa, fb, tolbits):
    """root of h on [a,b] (sign change), result to ~tolbits; bisection then safeguarded secant"""
    if (fa > 0) == (fb > 0):
        w = (b - a) * mpfr("0.37")
        a, b = a - w, b + w
        fa, fb = h(a), h(b)
        if (fa > 0) == (fb > 0):
            raise Skip("bracket lost at full precision")
    for _ in range(30):
        m = (a + b) / 2
        fm = h(m)
        if fm == 0:
            return m
        if (fm > 0) == (fa > 0):
            a, fa = m, fm
        else:
            b, fb = m, fm
    tol = mpfr(2) ** (-tolbits)
    x0, f0, x1, f1 = a, fa, b, fb
    if abs(f0) < abs(f1):
        x0, f0, x1, f1 = x1, f1, x0, f0
    for k in range(400):
        if f1 == f0:
            return x1
        x = x1 - f1 * (x1 - x0) / (f1 - f0)
        if not (min(a, b) <= x <= max(a, b)):
            x = (a + b) / 2
        fx = h(x)
        if fx == 0:
            return x
        if (fx > 0) == (fa > 0):
            a, fa = x, fx
        else:
            b, fb = x, fx
        if abs(x - x1) < tol * max(1, abs(x)):
            return x
        x0, f0, x1, f1 = x1, f1, x, fx
    raise Skip("root_log")


def scale_policy_reverse(ref, r, x, rng):
    """pi = d ref/(c - r), c - rmax = rng*e^x"""
    rm = max(r)
    e = rng * exp(x)
    t = [ref[o] / (e + (rm - r[o])) for o in range(len(r))]
    d = 1 / sum(t, mpfr(0))
    return [d * v for v in t], d


def scale_policy_direct(lref, r, th):
    z = [lref[o] + th * r[o] for o in range(len(r))]
    m = max(z)
    e = [exp(v - m) for v in z]
    s = sum(e, mpfr(0))
    return [v / s for v in e]


def scan_roots(h, xs):
    """all sign changes over the increasing grid xs; (list of brackets, values)"""
    v = [h(x) for x in xs]
    br = [
        (xs[i], xs[i + 1], v[i], v[i + 1])
        for i in range(len(xs) - 1)
        if (v[i] > 0) != (v[i + 1] > 0)
    ]
    return br, v


def refine(H, xs):
    """H on the grid xs, with the local extrema between nodes located by golden section and added as
    nodes"""
    v = [H(x) for x in xs]
    add = {}
    g = (sqrt(mpfr(5)) - 1) / 2
    for i in range(1, len(xs) - 1):
        for sg in (1, -1):
            if (
                sg * v[i] <= sg * v[i - 1]
                and sg * v[i] <= sg * v[i + 1]
                and (v[i] != v[i - 1] or v[i] != v[i + 1])
            ):
                lo, hi = xs[i - 1], xs[i + 1]
                c, d = hi - g * (hi - lo), lo + g * (hi - lo)
                fc, fd = H(c), H(d)
                for _ in range(45):
                    if sg * fc < sg * fd:
                        hi, d, fd = d, c, fc
                        c = hi - g * (hi - lo)
                        fc = H(c)
                    else:
                        lo, c, fc = c, d, fd
                        d = lo + g * (hi - lo)
                        fd = H(d)
                add[c] = fc
    for x, f in zip(xs, v):
        add[x] = f
    xs = sorted(add)
    return xs, [add[x] for x in xs]


def two_level_delta(lv, G, eps, ddof):
    """function (p, q) -> delta = a_1 - a_0"""
    De = mpfr(lv[1]) - mpfr(lv[0])
    eps = mpfr(eps)
    co = []
    for j in range(G - 1):
        k = j + 1
        A1 = De * (1 - mpfr(k) / G) / (De * sqrt(mpfr(k) * (G - k) / G / (G - ddof)) + eps)
        co.append(gmpy2.bincoef(G - 1, j) * A1)

    def delta(p, q):
        # sum co_j p^j q^(G-2-j); Horner in the smaller ratio
        if p <= q:
            x = p / q
            s = mpfr(0)
            for c in reversed(co):
                s = s * x + c
            return s * q ** (G - 2)
        x = q / p
        s = mpfr(0)
        for c in co:
            s = s * x + c
        return s * p ** (G - 2)

    return delta


def solve_scalar(ref, rbar, pen, beta, gain, glo, ghi, info, extra=None, ngrid=600):
    """u = gain(pi) * (rbar - mu).  reverse: pi = d ref/(c-rbar), beta = gain*d ;  direct: pi ~ ref
    e^{theta rbar}, beta = gain/theta. glo, ghi: bounds of gain (glo may be 0). Finds the root on
    the branch from pi_ref (first), counts the roots."""
    be = mpfr(beta)
    P = ctx.precision
    n = len(ref)
    rm, rn = max(rbar), min(rbar)
    rng = rm - rn
    if rng == 0:
        return list(ref)
    if pen == "reverse_kl":

        def H(x):
            pi, d = scale_policy_reverse(ref, rbar, x, rng)
            return log(gain(pi) * d) - log(be)  # decreasing as x decreases (if one root)

        # x large: beta large
        hi = mpfr(1)
        ctx.precision = P
        while H(hi) <= 5:
            hi += 5
        lo = mpfr(-1)
        # the smallest: d ~ rng e^x/ref_top -> 0
        ltop = min(log(ref[o]) for o in range(n))
        lo = ltop - 60
        k = 0
        while H(lo) >= -5:
            lo -= 20
            k += 1
            if k > 200:
                raise Skip("reverse lo")
        N = max(ngrid, int(float(hi - lo) / 0.25)) if ngrid >= 600 else ngrid
        xs = [lo + (hi - lo) * i / N for i in range(N + 1)]
        br, v = scan_roots(H, xs)
        info["nroots"] = len(br)
        info["folded"] = any(v[i + 1] <= v[i] for i in range(N) if xs[i] >= br[-1][0])
        br = br[-1]  # first met from x = +inf
        ctx.precision = P
        x = root_log(H, br[0], br[1], H(br[0]), H(br[1]), P * 3 // 4)
        info["x"] = x
        pi, d = scale_policy_reverse(ref, rbar, x, rng)
        return pi
    lref = [log(r) for r in ref]
    rb = [(v - rm) / rng for v in rbar]  # theta in units of 1/rng

    def H(x):
        th = exp(x)
        pi = scale_policy_direct(lref, rb, th)
        return log(gain(pi) * rng) - x - log(be)  # >0: beta(theta) above the wanted one

    ctx.precision = 160
    xlo = log(glo * rng / be * mpfr("0.2371")) if glo > 0 else None
    xhi = log(ghi * rng / be * mpfr("4.3717")) if ghi is not None else None
    # scan range in x = log theta
    a = mpfr(-10)
    while H(a) <= 3:
        a -= 3
    if xlo is not None and xlo > a:
        a0 = xlo
    gmin = None
    b = xhi if xhi is not None else None
    if b is None:
        # no finite bound: go until clearly collapsed (gain*rng -> infinity) : theta*mingap >
        # 2000+|lref|
        sv = sorted(set(rb))
        gap = sv[-1] - sv[-2]
        b = log((3000 + 2 * max(abs(v) for v in lref)) / gap)
        if b < a + 5:
            b = a + 5
    N = max(ngrid, int(float(b - a) / 0.02)) if ngrid >= 600 else ngrid
    xs = [a + (b - a) * i / N for i in range(N + 1)]
    # add a linear-in-theta grid where the policy changes (|log-odds| moderate)
    if extra is None:
        tmax = exp(b)
        span = min(tmax, 4000 + 4 * max(abs(v) for v in lref))
        K = 800
        xs = sorted(
            set(
                xs
                + [
                    log(span * i / K)
                    for i in range(1, K + 1)
                    if log(span * i / K) > a and log(span * i / K) < b
                ]
            )
        )
    else:
        xs = sorted(set(xs + [x for x in extra if a < x < b]))
    tr = set()
    for i in range(n):
        for j in range(i):
            dr = rb[i] - rb[j]
            if dr == 0:
                continue
            th = (lref[j] - lref[i]) / dr
            for k in range(-60, 61):
                t = th + mpfr(k) / abs(dr)
                if t > 0:
                    lt = log(t)
                    if a < lt < b:
                        tr.add(lt)
    if len(tr) < 3000:
        xs = sorted(set(xs) | tr)
    xs, v = refine(H, xs)
    br = [
        (xs[i], xs[i + 1], v[i], v[i + 1])
        for i in range(len(xs) - 1)
        if (v[i] > 0) != (v[i + 1] > 0)
    ]
    info["nroots"] = len(br)
    info["minbeta_over_beta"] = float(min(exp(t) for t in v))
    # the fold on the branch from the reference: first local minimum of beta(theta)
    f1 = next(
        (
            i
            for i in range(1, len(v) - 1)
            if v[i] < v[i - 1] and v[i] < v[i + 1] and v[i + 1] - v[i] > mpfr(2) ** -100
        ),
        None,
    )
    info["firstfold_over_beta"] = float(exp(v[f1])) if f1 is not None else None
    ctx.precision = P
    if not br:
        info["betamin_over_beta"] = float(exp(min(v)))
        info["collapse"] = True
        return None
    i1 = xs.index(br[0][0])
    B = [v[i] + 0 for i in range(i1 + 2)]
    info["folded"] = any(B[i + 1] >= B[i] for i in range(len(B) - 1) if i + 1 <= i1)
    br = br[0]
    ctx.precision = P
    x = root_log(H, br[0], br[1], H(br[0]), H(br[1]), P * 3 // 4)
    info["x"] = x
    return scale_policy_direct(lref, rb, exp(x))


# ---------------------------------------------------------------- dispatch
def prec_for(rec):
    ctx.precision = 200
    ref = parse_ref(rec)
    m = max(float(-log(r)) / math.log(2) for r in ref)
    be = rec["beta"]
    return int(
        420
        + 2.2 * m
        + 4 * abs(math.log2(be))
        + (20 * rec.get("group_size", 0) ** 0.5 if rec["model"] == "group" else 0)
    )


def solve(rec, info, multi=False):
    """returns pi (mpfr list) on the branch from pi_ref, at ctx.precision"""
    P = prec_for(rec)
    setprec(P)
    info["prec"] = P
    ref = parse_ref(rec)
    n = len(ref)
    be = mpfr(rec["beta"])
    pen = rec["penalty"]
    if n == 1:
        return [mpfr(1)]
    mdl = rec["model"]
    if mdl == "pairwise":
        Gm = margins_of(rec)
        return (
            pairwise_reverse(Gm, ref, be) if pen == "reverse_kl" else pairwise_direct(Gm, ref, be)
        )
    eps = rec.get("epsilon", 0.0)
    sc = rec.get("scale", "std")
    if mdl == "limit":
        r = [mpfr(v) for v in rec["rewards"]]
        va = [mpfr(v) for v in rec.get("reward_variances", [0.0] * n)]
        if sc == "none":
            return solve_scalar(ref, r, pen, be, lambda pi: mpfr(1), mpfr(1), mpfr(1), info)
        e = mpfr(eps)

        def gain(pi):
            s2 = sum((pi[o] * va[o] for o in range(n)), mpfr(0))
            for i in range(n):
                for j in range(i):
                    s2 += pi[i] * pi[j] * (r[i] - r[j]) ** 2
            return 1 / (sqrt(s2) + e)

        rng = max(r) - min(r)
        smax = rng / 2 + sqrt(max(va)) + e
        smin = sqrt(min(va)) + e
        info["limit"] = True
        return solve_scalar(
            ref,
            r,
            pen,
            be,
            gain,
            1 / smax if smax > 0 else mpfr(0),
            1 / smin if smin > 0 else None,
            info,
        )
    G = rec["group_size"]
    ddof = rec.get("ddof", 0)
    lv, D = levels_of(rec)
    K = len(lv)
    rbar = [sum((D[o][m] * mpfr(lv[m]) for m in range(K)), mpfr(0)) for o in range(n)]
    if K == 1:
        return list(ref)
    if sc == "none":
        k = 1 - mpfr(1) / G
        return solve_scalar(ref, rbar, pen, be, lambda pi: k, k, k, info)
    if K == 2:
        de = two_level_delta(lv, G, eps, ddof)
        d = [D[o][1] for o in range(n)]

        def gain(pi):
            p = sum((pi[o] * d[o] for o in range(n)), mpfr(0))
            q = sum((pi[o] * D[o][0] for o in range(n)), mpfr(0))
            return de(p, q)

        # bounds of delta over p
        ctx.precision = 160
        vals = [
            de(1 / (1 + exp(mpfr(x) / 4)), 1 / (1 + exp(-mpfr(x) / 4))) for x in range(-120, 121)
        ]
        glo, ghi = min(vals), max(vals)
        extra = None
        small = G >= 200
        if pen == "direct_kl":
            # grid where the log-odds of the policy move
            ctx.precision = 160
            l = [log(v) for v in ref]
            dd = [v for v in d]
            rg = max(dd) - min(dd)
            if rg == 0:
                ctx.precision = P
                return list(ref)
            if all(v in (0, 1) for v in dd):
                lo = log(sum((ref[o] for o in range(n) if d[o] == 1), mpfr(0))) - log(
                    sum((ref[o] for o in range(n) if d[o] == 0), mpfr(0))
                )
                extra = [
                    log(t - lo) for t in [mpfr(i) / 10 for i in range(-300, 301)] if t - lo > 0
                ]
        ctx.precision = P
        return solve_scalar(
            ref, d, pen, be, gain, glo, ghi, info, extra, ngrid=(300 if small else 600)
        )
    mod = Group(lv, D, G, eps, ddof)
    st = info
    y, kap = follow(mod, pen, ref, be, st, beyond=(mpfr(3) if multi else None))
    if multi and st["crossings"] > 1:
        st["nroots"] = st["crossings"]
    return [exp(v) for v in y]


# ---------------------------------------------------------------- verification with mpmath, plain
def mp_advantage(rec, pi):
    """u at pi by definition (mpmath); also the scale of the terms, for noise flushing"""
    mpf = mpmath.mpf
    n = len(pi)
    mdl = rec["model"]
    if n == 1 and mdl != "group":
        return [mpf(0)], [mpf(1)]
    if mdl == "pairwise":
        Gm = margins_of(rec, mpf)
        return [mpmath.fsum(Gm[o][j] * pi[j] for j in range(n)) for o in range(n)], [
            mpmath.fsum(abs(Gm[o][j]) * pi[j] for j in range(n)) for o in range(n)
        ]
    eps = mpf(rec.get("epsilon", 0.0))
    sc = rec.get("scale", "std")
    if mdl == "limit":
        r = [mpf(v) for v in rec["rewards"]]
        va = [mpf(v) for v in rec.get("reward_variances", [0.0] * n)]
        mu = mpmath.fsum(pi[o] * r[o] for o in range(n)) / mpmath.fsum(pi)
        dev = [mpmath.fsum(pi[j] * (r[o] - r[j]) for j in range(n)) for o in range(n)]
        sca = [mpmath.fsum(pi[j] * abs(r[o] - r[j]) for j in range(n)) for o in range(n)]
        if sc == "none":
            return dev, sca
        if len(set(rec["rewards"])) == 1:
            return [mpf(0)] * n, [mpf(1)] * n
        sd = mpmath.sqrt(mpmath.fsum(pi[o] * ((r[o] - mu) ** 2 + va[o]) for o in range(n))) + eps
        return [x / sd for x in dev], [x / sd for x in sca]
    G = rec["group_size"]
    ddof = rec.get("ddof", 0)
    if "support" in rec:
        S = rec["support"]
        D = [[mpf(x) for x in row] for row in rec["distribution"]]
    else:
        S = sorted(set(rec["rewards"]))
        D = [[mpf(1 if x == v else 0) for x in S] for v in rec["rewards"]]
    K = len(S)
    w = [mpmath.fsum(pi[o] * D[o][m] for o in range(n)) for m in range(K)]
    a, sa = expect(S, w, G, eps, ddof, sc)
    return [mpmath.fsum(D[o][m] * a[m] for m in range(K)) for o in range(n)], [
        mpmath.fsum(D[o][m] * sa[m] for m in range(K)) for o in range(n)
    ]


def expect(S, w, G, eps, ddof, sc="std"):
    """a_m = E[(x_m - mean)/(std+eps)], one member at m, G-1 iid from w. Enumeration of the counts
    of the others."""
    mpf = mpmath.mpf
    K = len(S)
    x = [mpf(v) for v in S]
    if sc == "none" and K > 2 and math.comb(G + K - 2, K - 1) > 20000:
        mu = mpmath.fsum(w[m] * x[m] for m in range(K))
        k = 1 - mpf(1) / G
        return [k * mpmath.fsum(w[j] * (x[m] - x[j]) for j in range(K)) for m in range(K)], [
            mpf(1)
        ] * K
    fac = [mpmath.mpf(math.factorial(i)) for i in range(G)]
    pw = [[w[m] ** i for i in range(G)] for m in range(K)]  # 0**0 = 1
    a = [[] for _ in range(K)]
    for c in compositions(G - 1, K):
        pr = fac[G - 1]
        for m in range(K):
            pr = pr * pw[m][c[m]] / fac[c[m]]
        if pr == 0:
            continue
        for m in range(K):
            cc = list(c)
            cc[m] += 1
            used = set(S[j] for j in range(K) if cc[j])
            if len(used) == 1:
                continue
            mean = mpmath.fsum(cc[j] * x[j] for j in range(K)) / G
            if sc == "none":
                A = x[m] - mean
            else:
                sd = mpmath.sqrt(
                    mpmath.fsum(cc[j] * (x[j] - mean) ** 2 for j in range(K)) / (G - ddof)
                )
                A = (x[m] - mean) / (sd + eps)
            a[m].append(pr * A)
    return [mpmath.fsum(t) for t in a], [mpmath.fsum(abs(v) for v in t) for t in a]


def verify(rec, pi_f, info):
    """substitute back. returns policy floats, advantage floats"""
    P = info["prec"]
    M.prec = P
    mpf = mpmath.mpf
    pi = [to_mp(v) for v in pi_f]
    assert all(v > 0 for v in pi)
    ref = parse_ref(rec, mpf, mpmath.exp, mpmath.log)
    u, su = mp_advantage(rec, pi)
    be = mpf(rec["beta"])
    n = len(pi)
    r0 = abs(mpmath.fsum(pi) - 1)
    if rec["penalty"] == "reverse_kl":
        res = max(abs(pi[o] * (1 - u[o] / be) / ref[o] - 1) for o in range(n))
    else:
        z = [mpmath.log(pi[o]) - mpmath.log(ref[o]) - u[o] / be for o in range(n)]
        zm = mpmath.fsum(pi[o] * z[o] for o in range(n))
        res = max(abs(v - zm) for v in z)
    zs = abs(mpmath.fsum(pi[o] * u[o] for o in range(n))) / (max(su) + mpf(10) ** -300)
    info["res"] = float(max(res, r0))
    info["zerosum"] = float(zs)
    if not (res < mpf(10) ** -30 and r0 < mpf(10) ** -40 and zs < mpf(10) ** -40):
        raise Skip(
            "verification failed res=%s sum=%s zs=%s"
            % (mpmath.nstr(res, 3), mpmath.nstr(r0, 3), mpmath.nstr(zs, 3))
        )
    noise = mpf(2) ** (-(P // 2))
    uf = [0.0 if abs(u[o]) <= noise * su[o] else tofloat(u[o]) for o in range(n)]
    return [tofloat(v) for v in pi], uf


def tofloat(v):
    c = ctx.precision
    s, m, e, b = v._mpf_
    if not m:
        return 0.0
    x = gmpy2.mpfr(int(m) * (-1 if s else 1), max(int(b), 60))
    with gmpy2.context(ctx, precision=max(int(b), 60)) as cc:
        x = (
            gmpy2.mul_2exp(gmpy2.mpfr(int(m)), int(e))
            if e >= 0
            else gmpy2.div_2exp(gmpy2.mpfr(int(m)), -int(e))
        )
        f = float(x)
    return -f if s else f


def answer(rec, multi=False):
    info = {}
    rec = json.loads(
        json.dumps({k: v for k, v in rec.items() if k not in ("policy", "advantage", "note")})
    )
    pi = solve(rec, info, multi)
    if pi is None:
        return None, None, info
    setprec(info["prec"])
    p, u = verify(rec, pi, info)
    info["pi"] = pi
    return p, u, info


if __name__ == "__main__":
    worst = [0, 0, 0]
    t0 = time.time()
    for l in open(sys.argv[1]):
        r = json.loads(l)
        t = time.time()
        try:
            p, u, info = answer(r)
        except Skip as e:
            print(r["id"], "SKIP", e)
            continue
        if p is None:
            print(r["id"], "none", info)
            continue
        e1 = max(abs(a - b) for a, b in zip(p, r["policy"]))
        e2 = max(abs(a - b) for a, b in zip(u, r["advantage"]))
        e3 = max(abs(a - b) / b for a, b in zip(p, r["policy"]) if b > 0)
        worst = [max(x, y) for x, y in zip(worst, (e1, e2, e3))]
        flag = "" if max(e1, e2) < 1e-15 and e3 < 3e-16 else " <----"
        print(
            r["id"],
            "%.1e %.1e %.1e res %.1e t %.2f" % (e1, e2, e3, info["res"], time.time() - t),
            info.get("nroots", ""),
            info.get("folded", ""),
            info.get("steps", ""),
            flag,
        )
    print("worst", worst, time.time() - t0)
