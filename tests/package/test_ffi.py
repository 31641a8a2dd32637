"""The library through a foreign-function interface, as other languages call it: advantages of 40
digits, struct layouts, and a solve.   Arguments: shared library, tests/golden/expectation.jsonl."""

import ctypes
import json
import sys

import harness


class RewardOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("scale", ctypes.c_int32),
        ("ddof", ctypes.c_int32),
        ("expectation", ctypes.c_int32),
        ("epsilon", ctypes.c_double),
    ]


class Error(ctypes.Structure):
    _fields_ = [
        ("status", ctypes.c_int32),
        ("argument", ctypes.c_int32),
        ("index", ctypes.c_int64),
        ("message", ctypes.c_char * 240),
    ]


def doubles(values):
    return (ctypes.c_double * len(values))(*values)


def main(library, path):
    checks = harness.Checks()
    lib = ctypes.CDLL(library)
    lib.grpoalign_status_name.restype = lib.grpoalign_version_string.restype = ctypes.c_char_p
    checks.that(ctypes.sizeof(Error) == 256 and ctypes.sizeof(RewardOptions) == 24, "layouts")
    checks.that(lib.grpoalign_status_name(-7) == b"antisymmetry", "name of a status")
    size = ctypes.c_int64
    worst = {"auto": 0.0, "quadrature": 0.0, "enumeration": 0.0, "bernstein": 0.0}
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file if line.strip()]
    for record in records:
        levels, error, model = record["support"], Error(), ctypes.c_void_p()
        k = len(levels)
        for method, name in enumerate(("auto", "bernstein", "enumeration", "quadrature")):
            if (
                name == "bernstein"
                and k != 2
                or name == "enumeration"
                and record["group_size"] ** (k - 1) > 1e7
            ):
                continue
            options = RewardOptions()
            lib.grpoalign_reward_options_init(
                ctypes.byref(options), ctypes.c_uint32(ctypes.sizeof(options))
            )
            options.ddof, options.epsilon, options.expectation = (
                record["ddof"],
                record["epsilon"],
                method,
            )
            status = lib.grpoalign_model_new_group(
                doubles(levels),
                size(k),
                size(record["group_size"]),
                ctypes.byref(options),
                ctypes.byref(model),
                ctypes.byref(error),
            )
            checks.that(status == 0, "%s, %s: %s" % (record["id"], name, error.message.decode()))
            if status != 0:
                continue
            advantage = (ctypes.c_double * k)()
            status = lib.grpoalign_model_advantage(
                model, doubles(record["weights"]), size(k), advantage, ctypes.byref(error)
            )
            checks.that(status == 0, "%s, %s: %s" % (record["id"], name, error.message.decode()))
            lib.grpoalign_model_free(model)
            off = max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(advantage, record["advantage"]))
            worst[name] = max(worst[name], off)
            # Both sums round sqrt(group size) terms of size sqrt(group size) at most.
            checks.that(off <= 1e-13, "%s, %s: off by %g" % (record["id"], name, off))
    print(
        "%d records; largest errors %s"
        % (len(records), ", ".join("%s %.1e" % pair for pair in worst.items()))
    )
    return checks.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
