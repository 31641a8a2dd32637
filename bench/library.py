"""The shared library through ctypes, as the benchmarks call it: handles, and one solve."""

import ctypes

import numpy

REVERSE_KL, DIRECT_KL = b"reverse_kl", b"direct_kl"


def address(array):
    return array.ctypes.data_as(ctypes.c_void_p)


class Handles:
    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.penalties = {}
        for name in (REVERSE_KL, DIRECT_KL):
            kind = self.lib.grpoalign_penalty_find(name)
            self.penalties[name] = self.make(self.lib.grpoalign_penalty_new, kind, None)

    @staticmethod
    def make(function, *arguments):
        handle, error = ctypes.c_void_p(), ctypes.create_string_buffer(256)
        if function(*arguments, ctypes.byref(handle), error) < 0:
            raise RuntimeError(error.raw[16:].split(b"\0")[0].decode())
        return handle

    def problem(self, model, reference, penalty):
        before = self.make(
            self.lib.grpoalign_reference_new,
            address(reference),
            ctypes.c_int64(reference.size),
            None,
        )
        made = self.make(
            self.lib.grpoalign_problem_new, model, self.penalties[penalty], before, None
        )
        self.lib.grpoalign_reference_free(before)
        return made

    def group(self, rewards, size):
        return self.make(
            self.lib.grpoalign_model_new_group,
            address(rewards),
            ctypes.c_int64(rewards.size),
            ctypes.c_int64(size),
            None,
        )

    def pairwise(self, margins):
        n = ctypes.c_int64(len(margins))
        return self.make(self.lib.grpoalign_model_new_pairwise, address(margins), n, n, None)

    def ranked(self, rewards):
        return self.make(
            self.lib.grpoalign_model_new_ranked,
            address(rewards),
            ctypes.c_int64(rewards.size),
            None,
        )

    def solve(self, problem, beta, n):
        solution = self.make(self.lib.grpoalign_solve, problem, ctypes.c_double(beta), None)
        policy = numpy.empty(n)
        self.lib.grpoalign_solution_policy(solution, address(policy), ctypes.c_int64(n), None)
        self.lib.grpoalign_solution_free(solution)
        return policy

    def solve_once(self, model, reference, penalty, beta):
        """The policy of a model, which is freed."""
        problem = self.problem(model, reference, penalty)
        policy = self.solve(problem, beta, reference.size)
        self.lib.grpoalign_problem_free(problem)
        self.lib.grpoalign_model_free(model)
        return policy

    def advantage(self, model, policy):
        out = numpy.empty_like(policy)
        if (
            self.lib.grpoalign_model_advantage(
                model, address(policy), ctypes.c_int64(policy.size), address(out), None
            )
            < 0
        ):
            raise RuntimeError("no advantages")
        return out
