import random, json, math, time, sys
import numpy as np
import gmpy2
from gmpy2 import mpfr
import oracle as O
from oracle import Skip

R = random.Random(20240607)
out = []
collapse = []
skipped = []
BETAS = [1e-8, 1e-6, 1e-4, 1e-2, 0.3, 1.0, 10.0, 1e3, 1e6]
LN10 = math.log(10)
T0 = time.time()


def rnd(x, k=6):
    return round(x, k)


def dirichlet(n, a=1.0, k=6):
    while True:
        v = [R.gammavariate(a, 1) for _ in range(n)]
        s = sum(v)
        v = [max(1, round(x / s * 10**k)) for x in v]
        d = 10**k - sum(v)
        i = max(range(n), key=lambda i: v[i])
        v[i] += d
        if v[i] > 0:
            return [x / 10**k for x in v]


def logp(masses):
    """log-probs of given log10 masses, rounded; normalised by the reader"""
    return [round(m * LN10, 4) for m in masses]


def refs(n, kind):
    if kind == "none":
        return {}
    if kind == "uniform":
        return {"reference": [1 / n] * n} if R.random() < 0.5 else {}
    if kind == "dir":
        return {"reference": dirichlet(n)}
    if kind == "skew":
        return {"reference": dirichlet(n, 0.3)}
    if kind == "tiny300":
        m = [math.log10(x) for x in dirichlet(n)]
        for i in R.sample(range(n), max(1, n // 2) if n > 1 else 0):
            m[i] = -300 + R.random() * 3
        if all(x < -200 for x in m):
            m[R.randrange(n)] = 0.0
        return {"reference_logprobs": logp(m)}
    if kind == "tiny100":
        m = [math.log10(x) for x in dirichlet(n)]
        for i in R.sample(range(n), n - 1):
            m[i] = -R.choice([20, 100, 20, 100, 7, 200])
        return {"reference_logprobs": logp(m)}
    if kind == "tiny20":
        v = dirichlet(n)
        for i in R.sample(range(n), max(1, n // 2) if n > 1 else 0):
            v[i] = R.choice([1e-20, 1e-100, 3e-17, 1e-12])
        s = sum(v)
        j = max(range(n), key=lambda i: v[i])
        v[j] = v[j] + (1 - s)
        return {"reference": v}
    if kind == "ladder":
        m = [-300.0 * i / (n - 1) for i in range(n)] if n > 1 else [0.0]
        R.shuffle(m)
        return {"reference_logprobs": logp(m)}


REFK = ["uniform", "skew", "tiny300", "tiny100", "tiny20", "dir", "ladder"]
cnt = {}


def add(cat, rec, note, multi=False):
    cnt[cat] = cnt.get(cat, 0)
    k = "%s-%03d" % (cat, cnt[cat])
    rec = {"id": k, **rec}
    t = time.time()
    try:
        p, u, info = O.answer(rec, multi)
    except (Skip, ZeroDivisionError) as e:
        skipped.append((k, str(e), note, rec))
        return None
    dt = time.time() - t
    if dt > 20:
        print("slow", k, dt, rec["model"], info.get("steps"), file=sys.stderr)
    if p is None:
        cnt[cat] += 1
        rec["note"] = "%s; no finite solution: beta / beta_crit = %.6g" % (
            note,
            1 / info["betamin_over_beta"],
        )
        collapse.append(rec)
        return info
    if info.get("nroots", 1) > 1:
        note += "; several (%d stationary policies seen%s)" % (
            info["nroots"],
            "" if rec["model"] == "limit" or "steps" not in info else " on the branch",
        )
    if info.get("folded"):
        note += "; first root (a fold was passed before this beta: smallest theta>0)"
    rec["policy"] = p
    rec["advantage"] = u
    rec["note"] = note
    cnt[cat] += 1
    out.append((rec, info, dt))
    return info


def pen(i):
    return ["reverse_kl", "direct_kl"][i % 2]


# ------------------------------------------------------------ 1 pairwise margins
def asym(n, f):
    G = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i):
            v = f(i, j)
            if v:
                G[i][j] = v
                G[j][i] = -v
    return G


def make_margins(kind, n):
    if kind == "dense":
        return asym(n, lambda i, j: rnd(R.uniform(-1, 1), 3))
    if kind == "cyclic":
        return asym(
            n,
            lambda i, j: (
                (1 if (i - j) % n <= n // 2 else -1) * rnd(R.uniform(0.2, 1), 3)
                if (2 * (i - j)) % n
                else 0.0
            ),
        )
    if kind == "tournament":
        return asym(n, lambda i, j: R.choice([-1.0, 1.0]))
    if kind == "rps":
        b = rnd(R.uniform(0.1, 1), 3) if R.random() < 0.5 else 1.0
        return asym(3, lambda i, j: b if (i - j) % 3 == 1 else -b)
    if kind == "sparse":
        return asym(n, lambda i, j: rnd(R.uniform(-1, 1), 3) if R.random() < 0.3 else 0.0)
    if kind == "ties":
        return asym(n, lambda i, j: R.choice([-1.0, 0.0, 0.0, 1.0, 0.5, -0.5]))
    if kind == "dup":
        m = max(2, (n + 1) // 2)
        B = asym(m, lambda i, j: rnd(R.uniform(-1, 1), 3))
        ix = list(range(m)) + [R.randrange(m) for _ in range(n - m)]
        return [[B[i][j] for j in ix] for i in ix]
    if kind == "tinymargin":
        return asym(n, lambda i, j: float("%.3g" % (R.choice([-1, 1]) * 10 ** R.uniform(-14, 0))))
    if kind == "bt":
        s = [R.gauss(0, 2) for _ in range(n)]
        return asym(n, lambda i, j: round(math.tanh((s[i] - s[j]) / 2), 6))


i = 0
for kind in ["dense", "cyclic", "tournament", "rps", "sparse", "ties", "dup", "tinymargin", "bt"]:
    for b in BETAS:
        for pn in ("reverse_kl", "direct_kl"):
            n = 3 if kind == "rps" else R.randint(2, 10)
            rk = REFK[i % 7]
            i += 1
            add(
                "pairmargins",
                {
                    "model": "pairwise",
                    "penalty": pn,
                    "beta": b,
                    "margins": make_margins(kind, n),
                    **refs(n, rk),
                },
                "pairwise %s, reference %s" % (kind, rk),
            )
for k in range(4):
    n = R.randint(3, 6)
    W = [[0] * n for _ in range(n)]
    for a in range(n):
        for c in range(a):
            if R.random() < 0.7:
                tot = R.choice([8, 64, 1024])
                W[a][c] = R.randint(0, tot)
                W[c][a] = tot - W[a][c]
    add(
        "pairmargins",
        {
            "model": "pairwise",
            "penalty": pen(k),
            "beta": R.choice([1e-4, 0.1, 1.0]),
            "wins": W,
            **refs(n, "skew"),
        },
        "pairwise wins (dyadic totals)",
    )
# exact corner cases: beta equal to a margin
for g, b in ((1.0, 1.0), (0.5, 0.5), (1.0, 1.0000000001), (1.0, 0.9999999999)):
    for lp in (-690.7, -230.0, -46.0):
        add(
            "pairmargins",
            {
                "model": "pairwise",
                "penalty": "reverse_kl",
                "beta": b,
                "margins": [[0.0, g], [-g, 0.0]],
                "reference_logprobs": [lp, 0.0],
            },
            "pairwise N=2, beta at the corner beta = margin, tiny reference on the winner",
        )
print("1", len(out), time.time() - T0, len(skipped))
# ------------------------------------------------------------ 2 pairwise rewards
i = 0
for b in BETAS:
    for rk in ["uniform", "skew", "tiny300", "tiny20", "ladder"]:
        for pn in ("reverse_kl", "direct_kl"):
            n = R.randint(2, 10)
            i += 1
            r = (
                [rnd(R.uniform(-2, 2), 3) for _ in range(n)]
                if i % 3
                else [float(R.randint(0, 3)) for _ in range(n)]
            )
            add(
                "pairrewards",
                {"model": "pairwise", "penalty": pn, "beta": b, "rewards": r, **refs(n, rk)},
                "pairwise by reward%s, reference %s" % ("" if i % 3 else " with ties", rk),
            )
print("2", len(out), time.time() - T0, len(skipped))
# ------------------------------------------------------------ 3 group, two levels
PREF = [1e-300, 1e-100, 1e-20, 1e-9, 1e-4, 0.1, 0.3, 0.5, 0.9, 1 - 1e-6, 1 - 1e-12]


def ref2(n, succ, p):
    """split mass p over outcomes succ"""
    sh = dirichlet(n, 1.0)
    a = [i for i in range(n) if succ[i]]
    c = [i for i in range(n) if not succ[i]]
    if p < 1e-15:
        m = [0.0] * n
        sa, sc = sum(sh[i] for i in a), sum(sh[i] for i in c)
        for i in a:
            m[i] = math.log10(sh[i] / sa * 1.0) + math.log10(p)
        for i in c:
            m[i] = math.log10(sh[i] / sc)
        return {"reference_logprobs": logp(m)}
    sa, sc = sum(sh[i] for i in a), sum(sh[i] for i in c)
    return {"reference": [sh[i] / sa * p if succ[i] else sh[i] / sc * (1 - p) for i in range(n)]}


i = 0
for G in [2, 3, 4, 8, 32, 64, 256, 1024]:
    for p in PREF:
        for pn in ("reverse_kl", "direct_kl"):
            i += 1
            if G == 1024 and i % 2 and p not in (0.1, 1e-300):
                continue
            n = R.randint(2, 6)
            succ = [True, False] + [R.random() < 0.5 for _ in range(n - 2)]
            R.shuffle(succ)
            sc = "none" if R.random() < 0.12 else "std"
            eps = R.choice([0.0, 0.0, 1e-6, 1e-4, 0.1])
            dd = R.choice([0, 0, 1])
            b = (
                R.choice(BETAS)
                if pn == "reverse_kl"
                else R.choice([1e-4, 1e-2, 0.1, 0.3, 0.7, 1.0, 2.0, 10.0, 1e3])
            )
            if pn == "reverse_kl" and R.random() < 0.3:
                b = R.choice([0.04, 0.5, 2.0, math.sqrt(G - 1), math.sqrt(G - 1) * 0.9])
            rec = {
                "model": "group",
                "group_size": G,
                "penalty": pn,
                "beta": b,
                "rewards": [1.0 if s else 0.0 for s in succ],
                **ref2(n, succ, p),
            }
            if R.random() < 0.15:
                rec["rewards"] = [-0.35 if s else -1.9 for s in succ]
            if sc == "none":
                rec["scale"] = "none"
            else:
                if eps:
                    rec["epsilon"] = eps
                if dd:
                    rec["ddof"] = dd
            add("group2", rec, "two levels, p_ref=%g" % p)
# the bistable example and relatives
for p in (0.01, 0.03, 0.1, 0.2):
    for b in (0.9, 0.7, 0.6, 0.5):
        for G in (16, 32, 64):
            if G == 32 or R.random() < 0.25:
                add(
                    "group2",
                    {
                        "model": "group",
                        "group_size": G,
                        "penalty": "direct_kl",
                        "beta": b,
                        "rewards": [1.0, 0.0],
                        "reference": [p, 1 - p],
                    },
                    "two levels direct, bistable region",
                )


def dyadic_row(k, extreme=False):
    if k == 2 and extreme:
        e = 2.0 ** -R.choice([20, 35, 50])
        a = [e, 1 - e]
        R.shuffle(a)
        return a
    B = 2**30
    c = sorted(R.randrange(0, B + 1) for _ in range(k - 1))
    c = [0] + c + [B]
    return [(c[j + 1] - c[j]) / B for j in range(k)]


for k in range(60):
    G = R.choice([2, 3, 4, 8, 16, 32, 64, 256] if k % 6 else [1024])
    n = R.randint(2, 6)
    pn = pen(k)
    b = (
        R.choice(BETAS[:-1])
        if pn == "reverse_kl"
        else R.choice([1e-2, 0.1, 0.3, 0.7, 1.0, 2.0, 10.0])
    )
    rec = {
        "model": "group",
        "group_size": G,
        "penalty": pn,
        "beta": b,
        "support": R.choice([[0.0, 1.0], [-1.0, 1.0], [1.0, 0.0]]),
        "distribution": [dyadic_row(2, R.random() < 0.2) for _ in range(n)],
        **refs(n, REFK[k % 7]),
    }
    e = R.choice([0, 0, 1e-6, 1e-4, 0.1])
    if e:
        rec["epsilon"] = e
    if R.random() < 0.3:
        rec["ddof"] = 1
    add(
        "group2d",
        rec,
        "two support levels, random success probabilities, reference %s" % REFK[k % 7],
    )
print("3", len(out), time.time() - T0, len(skipped))


# ------------------------------------------------------------ 4 group, 3..6 levels
def pow_ok(K, G):
    return math.comb(G + K - 1, K - 1) <= 1300


for k in range(170):
    K = R.randint(3, 6)
    G = R.choice([2, 3, 4, 5, 6, 8])
    pn = "reverse_kl" if k % 5 < 3 else "direct_kl"
    if K == 6 and G == 8 and R.random() < 0.7:
        G = 5
    n = R.randint(K, 8)
    kind = ["plain", "neartie9", "neartie13", "scale", "ties", "dist"][k % 6]
    lv = [rnd(R.uniform(-2, 2), 2) for _ in range(K)]
    while len(set(lv)) < K:
        lv = [rnd(R.uniform(-2, 2), 2) for _ in range(K)]
    rk = REFK[R.randrange(7)]
    note = "%s, reference %s" % (kind, rk)
    eps = R.choice([0, 0, 0, 1e-6, 1e-4, 0.1])
    scl = 1.0
    if kind == "neartie9":
        lv[1] = lv[0] * (1 + 1e-9) if lv[0] else 1e-9
    if kind == "neartie13":
        lv[1] = lv[0] * (1 + 1e-13) if lv[0] else 1e-13
    if kind in ("neartie9", "neartie13") and R.random() < 0.5:
        j = max(range(K), key=lambda t: lv[t])
        lv[0], lv[j] = lv[j], lv[0]
        lv[1] = lv[0] * (1 + (1e-9 if kind == "neartie9" else 1e-13))
        note += " (top pair)"
    if kind == "scale":
        scl = R.choice([1e-150, 1e-30, 1e-8, 1e8, 1e30, 1e150])
        lv = [x * scl for x in lv]
        note += ", scale %g" % scl
    rec = {"model": "group", "group_size": G, "penalty": pn}
    rec["beta"] = (
        R.choice(BETAS + [0.04, 0.1, 0.1, 0.5])
        if pn == "reverse_kl"
        else R.choice([0.05, 0.1, 0.3, 0.5, 0.7, 1.0, 2.0, 10.0, 1e3])
    )
    if kind == "dist":
        KK = min(K, R.randint(3, 4))
        n = R.randint(2, 6)
        lv = lv[:KK]
        rec["support"] = lv
        rec["distribution"] = [dyadic_row(KK) for _ in range(n)]
    else:
        r = lv + [R.choice(lv) for _ in range(n - K)]
        R.shuffle(r)
        rec["rewards"] = r
    rec.update(refs(n, rk))
    if R.random() < 0.12:
        rec["scale"] = "none"
        if kind == "scale":
            rec["beta"] *= scl if 1e-100 < scl < 1e100 else 1
    else:
        if eps:
            rec["epsilon"] = eps * scl
        if R.random() < 0.35:
            rec["ddof"] = 1
    add(
        "groupK",
        rec,
        "K levels: " + note,
        multi=(
            pn == "direct_kl"
            and rec.get("scale") is None
            and not ("tiny300" in rk or "ladder" in rk)
        ),
    )
    if k % 30 == 29:
        print("4", k, len(out), time.time() - T0, len(skipped), flush=True)
R = random.Random(77)
for k in range(36):  # direct, small beta or bistable: folds likely
    if k < 18:
        K, G, n = 3, R.choice([3, 5, 8]), R.randint(3, 5)
        lv = [0.0, 1.0, rnd(R.uniform(1.05, 3), 2)]
        rec = {
            "model": "group",
            "group_size": G,
            "penalty": "direct_kl",
            "beta": R.choice([1e-3, 3e-3, 0.01, 0.03, 0.1]),
            "rewards": lv + [R.choice(lv) for _ in range(n - 3)],
            **refs(n, R.choice(["tiny20", "skew", "dir", "tiny100"])),
        }
    else:
        G = R.choice([16, 32])
        lv = [0.0, 1.0, rnd(R.uniform(1.05, 3), 2)]
        q = R.choice([0.02, 0.05, 0.1])
        q2 = R.choice([0.01, 0.02, 0.1])
        rec = {
            "model": "group",
            "group_size": G,
            "penalty": "direct_kl",
            "beta": R.choice([0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
            "rewards": lv,
            "reference": [round(1 - q - q2, 6), q, q2],
        }
    add("groupKd", rec, "K levels direct, bistable region", multi=True)
print("4b", len(out), time.time() - T0, len(skipped))
R = random.Random(99)
# ------------------------------------------------------------ 5 limit
for k in range(90):
    n = R.randint(2, 10)
    rk = REFK[k % 7]
    b = BETAS[k % 9]
    r = [rnd(R.uniform(-1, 1), 3) for _ in range(n)]
    if k % 5 == 4:
        r = [float(R.randint(0, 2)) for _ in range(n)]
    if k % 11 == 3 and n > 2:
        r[1] = r[0] * (1 + 1e-12)
    if len(set(r)) == 1:
        r[0] += 1
    rec = {"model": "limit", "penalty": "reverse_kl", "beta": b, "rewards": r, **refs(n, rk)}
    m = R.randrange(6)
    nt = ""
    if m in (1, 2):
        rec["reward_variances"] = [
            rnd(R.uniform(0, 0.5), 3) if m == 1 else R.choice([0.0, 1e-10, 0.2]) for _ in range(n)
        ]
    if m in (2, 3):
        rec["epsilon"] = R.choice([1e-6, 1e-4, 0.1])
    if m == 4:
        rec["scale"] = "none"
    if m == 5:
        s = R.choice([1e-150, 1e-20, 1e20, 1e150])
        rec["rewards"] = [x * s for x in r]
        nt = ", scale %g" % s
    add("limit_rev", rec, "limit reverse, reference %s%s" % (rk, nt))


def beta_crit(rec):
    """global minimum of beta(theta) (epsilon = 0, no variance)"""
    info = {}
    O.solve({**rec, "beta": 1.0}, info)
    return info["minbeta_over_beta"]


for k in range(60):
    n = R.randint(2, 8)
    rk = REFK[k % 7]
    r = [rnd(R.uniform(-1, 1), 3) for _ in range(n)]
    if k % 5 == 4:
        r = [float(R.randint(0, 2)) for _ in range(n)]
    if len(set(r)) == 1:
        r[0] += 1
    rec = {"model": "limit", "penalty": "direct_kl", "rewards": r, **refs(n, rk)}
    m = k % 4
    if m in (0, 1):
        bc = beta_crit(rec)
        f = [1.0001, 1.01, 1.2, 2.0, 10.0, 1000.0, 0.99, 0.5, 1.001][R.randrange(9)]
        rec["beta"] = float("%.12g" % (bc * f))
        note = "beta ~ %g beta_crit" % f
        if m == 1 and k % 3 == 0:
            rec["epsilon"] = R.choice([1e-6, 1e-4, 0.1])
            note += " (of epsilon = 0), epsilon > 0"
    elif m == 2:
        rec["reward_variances"] = [rnd(R.uniform(0.01, 0.5), 3) for _ in range(n)]
        rec["beta"] = R.choice([0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 1e3, 1e6])
        note = "with variances"
        if R.random() < 0.3:
            rec["epsilon"] = 1e-4
    else:
        rec["scale"] = "none"
        rec["beta"] = R.choice(BETAS)
        note = "unscaled"
    add("limit_dir", rec, "limit direct, reference %s, %s" % (rk, note))


def first_fold(rec):
    info = {}
    O.solve({**rec, "beta": 1.0}, info)
    return info["minbeta_over_beta"], info["firstfold_over_beta"]


made = 0
for k in range(200):  # several humps: beta between the global beta_crit and the first fold
    if made >= 12:
        break
    n = R.randint(3, 5)
    r = sorted(rnd(R.uniform(-1, 1), 3) for _ in range(n))
    if len(set(r)) < n:
        continue
    m = [0.0] + [-R.choice([1, 2, 3, 6]) * i for i in range(1, n)]
    rec = {"model": "limit", "penalty": "direct_kl", "rewards": r, "reference_logprobs": logp(m)}
    bc, bf = first_fold(rec)
    if bf is None or bf < bc * 1.05:
        continue
    rec["beta"] = float("%.12g" % R.choice([bc**0.5 * bf**0.5, bf * 0.999, bf * 1.001, bc * 1.001]))
    made += 1
    add(
        "limit_dir",
        rec,
        "limit direct, several folds: beta_crit = %.9g (global), first fold on the branch from the reference at beta = %.9g"
        % (bc, bf),
    )
for k in range(12):  # certain collapses
    n = R.randint(2, 6)
    r = [rnd(R.uniform(-1, 1), 3) for _ in range(n)]
    rec = {
        "model": "limit",
        "penalty": "direct_kl",
        "rewards": r,
        **refs(n, ["uniform", "skew", "dir", "tiny20"][k % 4]),
    }
    rec["beta"] = float("%.12g" % (beta_crit(rec) * R.choice([0.999, 0.9, 0.5, 0.1, 1e-3])))
    add("collapse", rec, "limit direct below beta_crit")
print("5", len(out), time.time() - T0, len(skipped))
# ------------------------------------------------------------ 6 edges
for pn in ("reverse_kl", "direct_kl"):
    for b in (1e-6, 1.0):
        for base in (
            {"model": "pairwise", "margins": [[0.0]]},
            {"model": "group", "group_size": 4, "rewards": [0.7]},
            {"model": "limit", "rewards": [0.7], "reward_variances": [0.3]},
            {"model": "pairwise", "rewards": [3.0]},
            {
                "model": "group",
                "group_size": 3,
                "support": [0.0, 1.0, 2.0],
                "distribution": [[0.25, 0.5, 0.25]],
            },
        ):
            add("edge", {**base, "penalty": pn, "beta": b, "reference": [1.0]}, "N = 1")
    n = 5
    for b in (1e-8, 0.3, 1e3):
        add(
            "edge",
            {
                "model": "group",
                "group_size": 8,
                "penalty": pn,
                "beta": b,
                "rewards": [0.3] * n,
                **refs(n, "skew"),
            },
            "all rewards equal",
        )
        add(
            "edge",
            {
                "model": "pairwise",
                "penalty": pn,
                "beta": b,
                "rewards": [0.3] * n,
                **refs(n, "tiny20"),
            },
            "all rewards equal",
        )
        add(
            "edge",
            {
                "model": "pairwise",
                "penalty": pn,
                "beta": b,
                "margins": [[0.0] * n for _ in range(n)],
                **refs(n, "tiny300"),
            },
            "all margins zero",
        )
        add(
            "edge",
            {
                "model": "limit",
                "penalty": pn,
                "beta": b,
                "rewards": [0.3] * n,
                "reward_variances": [0.1, 0.2, 0.3, 0.0, 0.5],
                **refs(n, "skew"),
            },
            "all rewards equal, variances",
        )
        add(
            "edge",
            {
                "model": "limit",
                "penalty": pn,
                "beta": b,
                "rewards": [0.3] * n,
                "epsilon": 1e-4,
                **refs(n, "skew"),
            },
            "all rewards equal, limit, epsilon > 0",
        )
        add(
            "edge",
            {"model": "limit", "penalty": pn, "beta": b, "rewards": [-1.3] * n, **refs(n, "skew")},
            "all rewards equal, limit, epsilon = 0: 0/0 taken as 0 (convention)",
        )
        add(
            "edge",
            {
                "model": "group",
                "group_size": 6,
                "penalty": pn,
                "beta": b,
                "support": [0.0, 1.0],
                "distribution": [[0.25, 0.75]] * 3,
                **refs(3, "skew"),
            },
            "identical distributions",
        )
    for b in (1e-4, 0.1, 1.0, 10.0):
        for w in ("best", "worst", "middle"):
            r = [0.2, 1.1, -0.4, 0.6]
            ix = {"best": 1, "worst": 2, "middle": 0}[w]
            ref = [3e-17, 4e-17, 2e-17, 1e-17]
            ref[ix] = 1.0
            for base in (
                {"model": "group", "group_size": R.choice([3, 5]), "rewards": r},
                {"model": "pairwise", "rewards": r},
                {"model": "limit", "rewards": r, "epsilon": 1e-4},
            ):
                if base["model"] == "group" and pn == "direct_kl" and b < 0.1:
                    continue
                add(
                    "edge",
                    {**base, "penalty": pn, "beta": b, "reference": ref},
                    "one outcome (%s) holds all but 1e-16 of the reference" % w,
                )
    add(
        "edge",
        {
            "model": "group",
            "group_size": 12,
            "penalty": pn,
            "beta": 1.0,
            "rewards": [0.0, 1.0, 3.0],
            "reference": [0.2, 0.5, 0.3],
        },
        "group larger than number of levels",
    )
    add(
        "edge",
        {
            "model": "group",
            "group_size": 24,
            "penalty": pn,
            "beta": 3.0,
            "rewards": [0.0, 1.0, 3.0, 1.0],
            "reference": [0.2, 0.4, 0.3, 0.1],
            "ddof": 1,
        },
        "group larger than number of levels",
    )
    add(
        "edge",
        {
            "model": "group",
            "group_size": 40,
            "penalty": pn,
            "beta": 0.5,
            "rewards": [-1.0, 0.0, 1.0],
            "reference": [0.5, 0.499, 0.001],
        },
        "group larger than number of levels",
    )
    add(
        "edge",
        {
            "model": "group",
            "group_size": 2,
            "penalty": pn,
            "beta": 0.2,
            "rewards": [float(i) for i in range(8)],
            "reference": [0.125] * 8,
        },
        "G=2, 8 levels (equals pairwise by reward with |A|=1)",
    )
    add(
        "edge",
        {
            "model": "group",
            "group_size": 2,
            "penalty": pn,
            "beta": 0.2,
            "rewards": [0.0, 1.0, 1.0, 5.0],
            "reference": [0.25] * 4,
            "ddof": 1,
        },
        "G=2, ddof=1",
    )
    add(
        "edge",
        {
            "model": "group",
            "group_size": 4,
            "penalty": pn,
            "beta": 1.0,
            "support": [0.0, 1.0, 2.0, 7.0],
            "distribution": [[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0]],
            "reference": [0.3, 0.3, 0.4],
        },
        "unused support level",
    )
    add(
        "edge",
        {
            "model": "group",
            "group_size": 4,
            "penalty": pn,
            "beta": 1.0,
            "support": [0.0, 1.0, 1.0],
            "distribution": [[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [1.0, 0.0, 0.0]],
            "reference": [0.3, 0.3, 0.4],
        },
        "repeated support level",
    )
print("6", len(out), time.time() - T0, len(skipped))
ids = set()
with open("hard.jsonl", "w") as f:
    for rec, info, dt in out:
        f.write(json.dumps(rec) + "\n")
        assert rec["id"] not in ids
        ids.add(rec["id"])
with open("collapse.jsonl", "w") as f:
    for rec in collapse:
        f.write(json.dumps(rec) + "\n")
with open("skipped.txt", "w") as f:  # branches that folded before the beta wanted
    for s in skipped:
        f.write(repr(s) + "\n")
from collections import Counter

print(Counter(r["id"].split("-")[0] + " " + r["penalty"] for r, _, _ in out))
print("collapse", len(collapse))
print("skipped", Counter((s[0].split("-")[0], s[1][:40]) for s in skipped))
print(
    "several",
    sum("several" in r["note"] for r, _, _ in out),
    "first root",
    sum("first root" in r["note"] for r, _, _ in out),
)
print("max residual", max(i["res"] for _, i, _ in out))
print(
    "reverse with several:",
    [r["id"] for r, i, _ in out if r["penalty"] == "reverse_kl" and i.get("nroots", 1) > 1],
)
print("time", time.time() - T0)
