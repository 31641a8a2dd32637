"""The command under stress: programs that wait for each answer, options given twice, signals, full
disks, lines that would fill the memory, and requests without an end."""

import glob
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

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
SANITIZED = os.environ.get("GRPOALIGN_SANITIZED") == "1"


def lines_of(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


# ---- results leave at once -----------------------------------------------------------------------


def dialogue(checks):
    """A program that asks one record at a time and waits for the answer gets it, with any number of
    threads."""
    for threads in (1, 2, 3, 16):
        process = subprocess.Popen(
            [COMMAND, "solve", "--format", "jsonl", "--threads", str(threads)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        got = []
        for number in range(40):
            process.stdin.write(lines_of([dict(GOOD, id=number)]))
            if not select.select([process.stdout], [], [], 20)[0]:
                break
            got.append(json.loads(process.stdout.readline())["id"])
        checks.that(
            got == list(range(40)), "%d threads: %d of 40 answers came" % (threads, len(got))
        )
        process.stdin.close()
        process.stdout.close()
        checks.that(
            process.wait() == 0, "%d threads: exit status %d" % (threads, process.returncode)
        )


def slow_before_fast(checks):
    """A record that takes long holds back those behind it, and no longer than it takes; the order
    stays."""
    slow = dict(GOOD, id="slow", group_size=100000)
    process = subprocess.Popen(
        [
            COMMAND,
            "simulate",
            "--format",
            "jsonl",
            "--threads",
            "3",
            "--timeout",
            "2",
            "--steps",
            "5",
            "--groups",
            "20",
        ],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdin.write(lines_of([slow] + [dict(GOOD, id=k, group_size=2) for k in range(5)]))
    got = []
    while len(got) < 6 and select.select([process.stdout], [], [], 60)[0]:
        got.append(json.loads(process.stdout.readline() or b'{"id": "end"}')["id"])
    checks.that(got == ["slow"] + list(range(5)), "after a slow record: %s" % got)
    process.stdin.close()
    process.wait()


# ---- options given twice -------------------------------------------------------------------------


def repeated_options(checks):
    for given in (
        ["--beta", "1", "--beta", "2"],
        ["--threads", "2", "--threads", "2"],
        ["--strict", "--strict"],
        ["--preset", "trl-1.9", "--preset", "trl-1.9"],
        ["--beta", "1", "--bet", "2"],
        ["--rollouts", "a.csv", "--reward", "x", "--reward", "y"],
        ["--battles", "a.csv", "--weight", "x", "--weight", "y"],
    ):
        status, out, err = run(["solve"] + given, b"")
        checks.that(
            status == 2
            and out == ""
            and given[-1 if given[-1][0] == "-" else -2][:5] in err
            and "twice" in err,
            "%s: %d %s" % (given, status, err),
        )
    status, _, err = run(["simulate", "--steps", "5", "--steps", "6"], b"")
    checks.that(status == 2 and "--steps" in err, "an option of one command, twice: %s" % err)


def several_tables(checks):
    """Rows of one prompt, or of one tournament, are one context whatever file they stand in."""
    chosen = ["--model", "group", "--group-size", 8, "--penalty", "reverse-kl", "--beta", 0.3]
    with tempfile.TemporaryDirectory() as folder:

        def put(name, text):
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            return path

        def table(kind, paths, *options):
            arguments = [word for path in paths for word in ("--" + kind, path)]
            status, out, _ = run(["solve", "--format", "jsonl"] + arguments + list(options))
            return status, [json.loads(line) for line in out.splitlines()]

        first = "prompt,answer,reward\np,a,0\nq,a,1\np,a,0\n"
        second = "answer,reward,prompt\nb,1,p\na,0,p\nb,0,q\nc,1,r\nd,0,r\n"
        whole = "prompt,answer,reward\np,a,0\nq,a,1\np,a,0\np,b,1\np,a,0\nq,b,0\nr,c,1\nr,d,0\n"
        parts = [put("1.csv", first), put("2.csv", second)]
        status, apart = table("rollouts", parts, "--outcome", "answer", *chosen)
        _, together = table("rollouts", [put("all.csv", whole)], "--outcome", "answer", *chosen)
        checks.that(
            status == 0 and apart == together and [r["id"] for r in apart] == ["p", "q", "r"],
            "rollouts of two files: %s and %s" % (apart, together),
        )
        status, bad = table(
            "rollouts",
            parts + [put("3.csv", "prompt,answer,reward\nq,a,high\n")],
            "--outcome",
            "answer",
            *chosen
        )
        checks.that(
            status == 1
            and "3.csv:2: " in bad[1]["error"]
            and [r["status"] for r in bad] == ["ok", "value", "ok"],
            "a bad cell names its file: %s" % bad,
        )
        status, bad = table("rollouts", [parts[0], put("4.csv", "prompt,answer\nq,a\n")], *chosen)
        checks.that(
            status == 1 and len(bad) == 1 and "4.csv:1: " in bad[0]["error"],
            "a bad header names its file: %s" % bad,
        )
        status, bad = table("rollouts", [parts[0], os.path.join(folder, "none.csv")], *chosen)
        checks.that(status == 2 and bad == [], "a file that is not there: %d %s" % (status, bad))

        keep = ["--penalty", "direct-kl", "--beta", 0.3]
        games = [
            put("5.csv", "model_a,model_b,winner\nx,y,model_a\ny,z,tie\n"),
            put("6.csv", "i,j,wins_i,wins_j,ties\nz,x,3,1,0\nx,y,0,1,1\n"),
        ]
        status, apart = table("battles", games, *keep)
        _, together = table(
            "battles",
            [put("7.csv", "i,j,wins_i,wins_j,ties\nx,y,1,1,1\ny,z,0,0,1\nz,x,3,1,0\n")],
            *keep
        )
        checks.that(
            status == 0 and apart == together and len(apart) == 1,
            "battles of two files: %s and %s" % (apart, together),
        )


# ---- signals and full disks ----------------------------------------------------------------------


def whole_lines(path):
    """How many whole records a file holds; -1 when one is cut."""
    with open(path, "rb") as file:
        text = file.read()
    if text and not text.endswith(b"\n"):
        return -1
    try:
        return len([json.loads(line) for line in text.splitlines()])
    except ValueError:
        return -1


def signals(checks):
    """A program told to end leaves whole records in the file, and its exit status tells of the
    signal."""
    records = [
        dict(GOOD, id=k, rewards=[j / 9 for j in range(10)], reference=None, group_size=4)
        for k in range(20000)
    ]
    records = [
        {key: value for key, value in record.items() if value is not None} for record in records
    ]
    with tempfile.TemporaryDirectory() as folder:
        source, out = os.path.join(folder, "in.jsonl"), os.path.join(folder, "out.jsonl")
        with open(source, "wb") as file:
            file.write(lines_of(records))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for threads in ("1", "3"):
                with open(out, "wb") as file:
                    process = subprocess.Popen(
                        [COMMAND, "solve", "--format", "jsonl", "--threads", threads, source],
                        stdout=file,
                    )
                    deadline = time.time() + 30
                    while os.path.getsize(out) == 0 and time.time() < deadline:
                        time.sleep(0.01)
                    time.sleep(0.05)
                    process.send_signal(number)
                    status = process.wait(timeout=30)
                count = whole_lines(out)
                checks.that(
                    status == -number,
                    "signal %d, %s threads: exit status %d" % (number, threads, status),
                )
                checks.that(
                    0 < count < len(records),
                    "signal %d, %s threads: %d whole records" % (number, threads, count),
                )
    ignored = subprocess.Popen(
        [COMMAND, "solve", "--format", "jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    ignored.stdin.write(lines_of([GOOD]))
    ignored.stdin.flush()
    ignored.stdout.readline()
    ignored.send_signal(signal.SIGINT)
    out, _ = ignored.communicate(lines_of([GOOD]), timeout=30)
    checks.that(
        ignored.returncode == 0 and len(out.splitlines()) == 1, "a signal that was ignored stays so"
    )


def reader_that_waits(checks):
    """A reader that does not read keeps nobody from ending the program."""
    records = lines_of([dict(GOOD, id=k) for k in range(3000)])
    with tempfile.TemporaryFile() as file:
        file.write(records)
        file.seek(0)
        process = subprocess.Popen(
            [COMMAND, "solve", "--format", "jsonl"], stdin=file, stdout=subprocess.PIPE
        )
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            status = "none"
        checks.that(status == -signal.SIGTERM, "a blocked writer: exit status %s" % status)


def plots(checks):
    """The file that a plot is drawn into goes when the program is told to end."""
    with tempfile.TemporaryDirectory() as folder:
        slow = os.path.join(folder, "gnuplot")
        with open(slow, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\ntouch %s/drawing\nexec sleep 20\n" % folder)
        os.chmod(slow, 0o755)
        drawing, plot = os.path.join(folder, "drawing"), os.path.join(folder, "plot.svg")
        process = subprocess.Popen(
            [COMMAND, "sweep", "--beta", "0.1,0.2,0.3", "--plot", plot],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=dict(os.environ, PATH=folder + ":" + os.environ["PATH"]),
            start_new_session=True,
        )
        process.stdin.write(lines_of([GOOD]))
        process.stdin.close()
        deadline = time.time() + 30
        while not os.path.exists(drawing) and time.time() < deadline:
            time.sleep(0.01)
        checks.that(
            len(glob.glob(plot + ".*")) == 1,
            "a plot is drawn beside its place: %s" % os.listdir(folder),
        )
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=30)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the gnuplot has gone with it
        checks.that(
            status == -signal.SIGTERM and glob.glob(plot + "*") == [],
            "a plot cut short: status %d, left %s" % (status, glob.glob(plot + "*")),
        )


def full_disk(checks):
    """An output that takes no more is an error that says so, whatever the command."""
    for arguments in (
        ["solve", "--format", "jsonl"],
        ["solve", "--format", "table"],
        ["sweep", "--beta", "0.1,0.2"],
        ["points", "--format", "jsonl", "--threads", "2"],
    ):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [COMMAND] + arguments,
                input=lines_of([GOOD] * 3),
                stdout=full,
                stderr=subprocess.PIPE,
            )
        checks.that(
            done.returncode == 1 and done.stderr.decode().count("No space left") == 1,
            "%s: %d %s" % (arguments, done.returncode, done.stderr),
        )
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        limit = "ulimit -f 4; trap '' XFSZ; exec %s solve --format jsonl > %s" % (COMMAND, out)
        done = subprocess.run(
            ["sh", "-c", limit], input=lines_of([GOOD] * 100), stderr=subprocess.PIPE
        )
        checks.that(
            done.returncode == 1 and b"File too large" in done.stderr,
            "a file that may not grow: %s" % done,
        )


# ---- requests without an end ---------------------------------------------------------------------


def results_of(arguments, text):
    start = time.time()
    status, out, err = run(arguments + ["--format", "jsonl"], text)
    return status, [json.loads(line) for line in out.splitlines()], err, time.time() - start


def timeouts(checks):
    """A context that takes too long is cancelled, whatever is asked of it, and the others go on."""
    three = dict(GOOD, rewards=[0, 0.4, 1], reference=[0.3, 0.3, 0.4])
    for arguments in (
        ["solve"],
        ["points"],
        ["flow"],
        ["explain"],
        ["simulate"],
        ["sweep", "--beta", "0.1,0.2"],
        ["sweep", "--all"],
        ["solve", "--scale", "batch-std"],
    ):
        status, results, _, _ = results_of(arguments + ["--timeout", "1e-9"], lines_of([three]))
        checks.that(
            status == 1
            and [r["status"] for r in results] == ["cancelled"]
            and "--timeout" in results[0]["error"],
            "%s: %s" % (arguments, results),
        )
    endless = {
        "id": "endless",
        "model": "group",
        "group_size": 2**31 - 1,
        "penalty": "direct_kl",
        "beta": 0.1,
        "rewards": [0, 1, 2, 3, 4, 5, 6, 7.5],
    }
    for threads in (1, 2):
        status, results, _, took = results_of(
            ["points", "--timeout", 2, "--threads", threads], lines_of([endless, GOOD])
        )
        checks.that(
            [r["id"] for r in results] == ["endless", "good"] and results[1]["status"] == "ok",
            "after an endless context, %d threads: %s" % (threads, results),
        )
        checks.that(took < 20, "an endless context with a timeout of 2 s takes %g s" % took)
    status, results, _, took = results_of(
        ["simulate", "--steps", 1000000000, "--timeout", 0.5], lines_of([GOOD, three])
    )
    checks.that(
        status == 1 and [r["status"] for r in results] == ["cancelled"] * 2 and took < 10,
        "a billion steps: %s after %g s" % (results, took),
    )
    status, results, _, took = results_of(
        ["simulate", "--timeout", 0.5],
        lines_of([dict(GOOD, scale="std_of_others", baseline="leave_one_out", group_size=1000000)]),
    )
    checks.that(
        results[0]["status"] == "cancelled" and took < 20,
        "groups of a million: %s after %g s" % (results, took),
    )
    # A batch waits for its last context, and its time begins then.
    process = subprocess.Popen(
        [COMMAND, "solve", "--format", "jsonl", "--scale", "batch-std", "--timeout", "0.5"],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdin.write(lines_of([GOOD]))
    time.sleep(1)
    out, _ = process.communicate(lines_of([three]))
    checks.that(
        [json.loads(line)["status"] for line in out.splitlines()] == ["ok"] * 2,
        "a batch that waits: %s" % out,
    )
    for value in ("0", "-1", "soon", "nan"):
        status, _, err = run(["solve", "--timeout", value], b"")
        checks.that(status == 2 and "seconds" in err, "--timeout %s: %d %s" % (value, status, err))


def costs(checks):
    """What takes long is told beforehand, on standard error; what does not is not."""
    endless = {
        "model": "group",
        "group_size": 2**31 - 1,
        "penalty": "direct_kl",
        "beta": 0.1,
        "rewards": [0, 1, 2, 3, 4, 5, 6, 7.5],
    }
    levels = [i / 999 for i in range(1000)]
    random = {
        "model": "group",
        "group_size": 8,
        "penalty": "direct_kl",
        "beta": 0.1,
        "support": levels,
        "distribution": [[0.001] * 1000] * 500,
    }
    players = {"penalty": "direct_kl", "beta": 0.1, "margins": [[0] * 2000] * 2000}
    for arguments, record in (
        (["points"], endless),
        (["points"], random),
        (["flow"], players),
        (["simulate", "--steps", "1000000000"], GOOD),
        (["sweep", "--beta", "0.1:1:log1000", "--group-size", "10:20000:log100"], GOOD),
    ):
        with tempfile.TemporaryFile() as file:
            file.write(lines_of([record]))
            file.seek(0)
            process = subprocess.Popen(
                [COMMAND] + arguments, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            told = (
                process.stderr.readline().decode()
                if select.select([process.stderr], [], [], 60)[0]
                else ""
            )
            process.kill()
            process.communicate()
        checks.that(
            told.startswith("grpoalign %s: (standard input):1: it may take about " % arguments[0])
            and "--timeout" in told,
            "%s: told %r" % (arguments, told),
        )
    for arguments in (
        ["solve"],
        ["points", "--folds", "0.1:1"],
        ["flow"],
        ["sweep", "--beta", "0.1:1:log20"],
        ["simulate"],
        ["simulate", "--steps", "1000000000", "--timeout", "0.1"],
    ):
        _, _, err = run(arguments, lines_of([GOOD]))
        checks.that(err == "", "%s is said to be long: %s" % (arguments, err))


# ---- simulations that go astray ------------------------------------------------------------------


def astray(checks):
    """What training reaches is a policy, and its intervals lie within [0, 1]; or it has
    diverged."""
    record = {
        "rewards": [0, 1],
        "reference": [0.8181, 0.1819],
        "preset": "trl-1.9",
        "group_size": 8,
    }
    short = ["simulate", "--steps", 1000, "--repetitions", 8]
    for beta in (1, 20, 35, 50, 100, 500, 1000):
        status, (result,), _, _ = results_of(short, lines_of([dict(record, beta=beta)]))
        if result["status"] == "diverged":
            checks.that(
                beta > 10
                and status == 1
                and set(result["reached"] + result["low"] + result["high"]) == {None}
                and "--learning-rate" in result["error"],
                "beta %g: %s" % (beta, result),
            )
            continue
        rows = list(zip(result["low"], result["reached"], result["high"]))
        checks.that(
            all(0 <= low <= reached <= high <= 1 for low, reached, high in rows)
            and abs(sum(result["reached"]) - 1) < 1e-9,
            "beta %g: %s" % (beta, rows),
        )
    checks.that(
        results_of(short, lines_of([dict(record, beta=500)]))[1][0]["status"] == "diverged",
        "beta 500 has diverged",
    )
    # Near the edge of the simplex extrapolation leads beyond it; what is told stays within.
    edge = dict(record, beta=0.04, rewards=[0, 0.5, 1], reference=[0.3, 0.3, 0.4])
    for seed in range(1, 9):
        _, (result,), _, _ = results_of(
            ["simulate", "--steps", 60, "--groups", 4, "--repetitions", 3, "--seed", seed],
            lines_of([edge]),
        )
        rows = list(zip(result["low"], result["reached"], result["high"]))
        checks.that(
            result["status"] == "ok"
            and all(0 <= low <= reached <= high <= 1 for low, reached, high in rows)
            and abs(sum(result["reached"]) - 1) < 1e-9,
            "seed %d: %s" % (seed, rows),
        )
    status, out, _ = run(short + ["--format", "table"], lines_of([dict(record, beta=500)]))
    checks.that(status == 1 and "diverged" in out, "a table says so: %s" % out)


# ---- lines that would fill the memory ------------------------------------------------------------


def heavy_lines(checks):
    """Memory is bounded by what a line makes of its bytes, whichever key it stands under, and the
    next record is solved."""
    good = lines_of([GOOD])
    nests = b"[" * 60 + b"]" * 60
    cases = {
        "brackets": (
            b'{"points": [' + b",".join([nests] * (17 * 2**20 // 121)) + b"]}",
            "too_large",
        ),
        "one deep nest": (b'{"points": ' + b"[" * (17 << 20), "too_large"),
        "arrays": (b'{"policy": [' + b"[]," * (5 << 20) + b"[]]}", "too_large"),
        "objects": (b'{"policy": [' + b"{}," * (3 << 20) + b"{}]}", "too_large"),
        "strings": (b'{"policy": [' + b'"",' * (5 << 20) + b'""]}', "too_large"),
        "keys": (
            b'{"points": {' + b",".join(b'"%d":1' % k for k in range(3 << 20)) + b"}}",
            "too_large",
        ),
        "numbers": (b'{"policy": [' + b"0.5," * (16 << 20) + b"1]}", "too_large"),
        "nothing heavy in a string": (
            b'{"id": "' + b"[{," * (1 << 20) + b'\\\\\\""}',
            "contradiction",
        ),
        "many numbers": (b'{"policy": [' + b"0.5," * (9 << 20) + b"1]}", "contradiction"),
        "an answer": (b'{"points": [{"policy": [0.5]}]}', "contradiction"),
    }
    for name, (line, expected) in cases.items():
        process = subprocess.Popen(
            [COMMAND, "solve", "--format", "jsonl"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        process.stdin.write(line + b"\n" + good)
        process.stdin.flush()
        results = [json.loads(process.stdout.readline()) for _ in range(2)]
        with open("/proc/%d/status" % process.pid, encoding="ascii") as file:
            peak = [int(row.split()[1]) for row in file if row.startswith("VmHWM")][0] / 1024
        process.communicate()
        checks.that([r["status"] for r in results] == [expected, "ok"], "%s: %s" % (name, results))
        # The sanitizers' own memory is none of the command's.
        checks.that(
            SANITIZED or peak < 650,
            "%s: peak memory %d MiB for a line of %d" % (name, peak, len(line) >> 20),
        )


if __name__ == "__main__":
    CHECKS = harness.Checks()
    for part in (
        dialogue,
        slow_before_fast,
        repeated_options,
        several_tables,
        signals,
        reader_that_waits,
        plots,
        full_disk,
        timeouts,
        costs,
        astray,
        heavy_lines,
    ):
        part(CHECKS)
    sys.exit(CHECKS.close())
