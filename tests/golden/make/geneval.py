import json, random, math, itertools, time
import mpmath
import oracle as O

R = random.Random(4242)
O.setprec(400)
mpf = mpmath.mpf
T = time.time()


def weights(K, kind):
    if kind == "dir":
        B = 2**40
        c = sorted(R.randrange(0, B + 1) for _ in range(K - 1))
        c = [0] + c + [B]
        return [(c[i + 1] - c[i]) / B for i in range(K)]
    if kind == "zeros":
        w = weights(max(1, K - R.randint(1, K - 1)), "dir")
        w = w + [0.0] * (K - len(w))
        R.shuffle(w)
        return w
    if kind == "conc":
        e = R.choice([1e-9, 2**-30, 1e-4, 1e-12])
        v = weights(K - 1, "dir") if K > 2 else [1.0]
        w = [e * x for x in v]
        w.append(1 - e)
        R.shuffle(w)
        return w
    if kind == "onehot":
        w = [0.0] * K
        w[R.randrange(K)] = 1.0
        return w
    if kind == "tiny":
        w = [10.0 ** -R.choice([20, 100, 300, 50]) for _ in range(K - 1)] + [1.0]
        R.shuffle(w)
        return w


def levels(K, kind):
    lv = sorted(round(R.uniform(-2, 2), 3) for _ in range(K))
    while len(set(lv)) < K:
        lv = sorted(round(R.uniform(-2, 2), 3) for _ in range(K))
    if kind == "near9":
        lv[1] = lv[0] * (1 + 1e-9)
    if kind == "near13":
        lv[1] = lv[0] * (1 + 1e-13)
    if kind == "near6top":
        lv[-1] = lv[-2] * (1 + 1e-6)
    if kind == "ints":
        lv = [float(i) for i in range(K)]
    if kind == "big":
        lv = [x * 1e150 for x in lv]
    if kind == "small":
        lv = [x * 1e-150 for x in lv]
    if kind == "offset":
        lv = [1e6 + x for x in lv]
    if kind == "mixed":
        lv = sorted([0.0] + [10.0 ** -R.uniform(0, 12) for _ in range(K - 1)])
    if R.random() < 0.4:
        R.shuffle(lv)
    assert len(set(lv)) == K
    return lv


specs = []
WK = ["dir", "dir", "zeros", "conc", "tiny", "dir", "onehot", "conc"]
LK = ["plain", "near9", "ints", "near13", "big", "mixed", "near6top", "plain", "small", "offset"]
i = 0
for K in range(2, 9):
    for G in (2, 3, 5, 8):
        for rep in range(3 if K <= 5 else 2):
            specs.append((K, G, WK[i % 8], LK[i % 10]))
            i += 1
for G in (16, 50, 100, 128, 200):
    for wk in ("dir", "conc", "tiny"):
        specs.append((2, G, wk, LK[i % 10]))
        i += 1
for G, wk in (
    (16, "dir"),
    (32, "conc"),
    (64, "dir"),
    (100, "zeros"),
    (128, "conc"),
    (200, "dir"),
    (200, "conc"),
    (100, "tiny"),
    (64, "conc"),
    (150, "dir"),
):
    specs.append((3, G, wk, LK[i % 10]))
    i += 1
out = []
worst = 0
w2 = 0
for n, (K, G, wk, lk) in enumerate(specs):
    S = levels(K, lk)
    W = weights(K, wk)
    m = max(abs(x) for x in S)
    eps = R.choice([0.0, 0.0, 0.0, 1e-6, 1e-4, 0.1]) * (m if lk in ("big", "small") else 1.0)
    dd = R.choice([0, 0, 1])
    w = [mpf(x) for x in W]
    s = mpmath.fsum(w)
    w = [x / s for x in w]
    a, sa = O.expect(S, w, G, mpf(eps), dd)
    z = mpmath.fsum(w[j] * a[j] for j in range(K))
    worst = max(worst, float(abs(z)))
    if K ** (G - 1) <= 3000:  # ordered enumeration, independent of the counts
        x = [mpf(v) for v in S]
        for mm in range(K):
            t = mpf(0)
            for o in itertools.product(range(K), repeat=G - 1):
                g = [x[mm]] + [x[j] for j in o]
                if all(v == g[0] for v in g):
                    continue
                p = mpf(1)
                for j in o:
                    p *= w[j]
                me = mpmath.fsum(g) / G
                sd = mpmath.sqrt(mpmath.fsum((v - me) ** 2 for v in g) / (G - dd))
                t += p * (g[0] - me) / (sd + mpf(eps))
            w2 = max(w2, float(abs(t - a[mm])))
    noise = mpf(2) ** -250
    out.append(
        {
            "id": "eval-%03d" % n,
            "support": S,
            "weights": W,
            "group_size": G,
            "epsilon": eps,
            "ddof": dd,
            "advantage": [0.0 if abs(a[j]) <= noise * sa[j] else O.tofloat(a[j]) for j in range(K)],
            "note": "%s weights, %s levels (weights normalised exactly by their sum)" % (wk, lk),
        }
    )
with open("expectation.jsonl", "w") as f:
    for r in out:
        f.write(json.dumps(r) + "\n")
print(len(out), "zero-sum max", worst, "ordered enumeration max diff", w2, time.time() - T)
