"""Values that are no amount, no plan and no table: one sentence each, and no traceback."""

import re

import pytest

import simlaw as sl
from simlaw.errors import SimlawError
from tests.planted import planted

#: Calls that a person might make, and the beginning of what they are told.
CALLS = {
    "sl.allocate(B, flops='1e20')": "flops='1e20': it must be a number above 0",
    "sl.allocate(B, flops=None)": "flops=None: it must be a number above 0",
    "sl.allocate(B, flops=[1e20])": "flops=[1e+20]: it must be a number above 0",
    "sl.allocate(B, flops=1e20, serve_tokens='1e9')": "serve_tokens='1e9': it must be a number above 0, or 0",
    "sl.allocate(K, flops=1e20, P_w='4')": "P_w='4': give one number, the same for all that is compared",
    "sl.allocate(K, flops=1e20, P_w=[3, 4])": "P_w=[3, 4]: give one number, the same for all that is compared",
    "sl.allocate(B, flops=1e20, N=1e9)": "N=1000000000.0: allocate finds N itself: leave it out",
    "sl.critical_data(K, N='1e9')": "N='1e9': it must be a number above 0",
    "sl.critical_data(K, N=[1e9])": "N=[1000000000.0]: it must be a number above 0",
    "sl.critical_data(K, N=1e9, P_post=None)": "P_post=None: give one number, the same for all that is compared",
    "sl.critical_data(K, N=1e9, D=1e9)": "D=1000000000.0: critical_data looks for D itself: leave it out",
    "sl.crossover(K, {'N': '1'}, {'N': 1e6})": "N='1': it must be a number above 0",
    "sl.crossover(K, 3, {'N': 1e6})": "the plan 3 has no N: give its parameters and its precisions",
    "sl.crossover(K, {'N': 2e6, 'P_post': 'x'}, {'N': 1e6})": "P_post='x': give one number, the same for all",
    "sl.crossover(K, {'N': 2e6}, {'N': 1e6}, along='FLOPs')": "along='FLOPs': plans cross along 'D', training tokens, ",
    "sl.crossover(K, {'N': 2e6}, {'N': 1e6}, along='X')": "along='X': plans cross along 'D', training tokens, or 'C', ",
    "sl.crossover(K, {'N': 2e6}, {'N': 1e6}, along=None)": "along=None: plans cross along 'D', training tokens, or 'C'",
    "sl.Cache(batch='8', context=1)": "Cache: batch='8': it must be a number above 0",
    "sl.Cache(batch=8, context=None)": "Cache: context=None: it must be a number above 0",
    "sl.Shape(factor=None)": "Shape: factor=None: it must be a number above 0",
    "sl.Shape(kv_share=[1])": "Shape: kv_share=[1]: it must be a number above 0",
    "sl.next_runs(F, P, Q, count=1.5)": "count=1.5: it must be a whole number of runs, 1 or more",
    "sl.next_runs(F, P, Q, count='3')": "count='3': it must be a whole number of runs, 1 or more",
    "sl.next_runs(F, P, Q, noise='a')": "noise='a': it must be a number above 0",
    "sl.next_runs(F, P, Q, bits='345')": "bits='345': give one number above 0, or a list of them",
    "sl.next_runs(F, P, Q, most=[1e9])": "most=[1000000000.0]: it must be a number above 0",
    "sl.next_runs(F, P, Q, candidates=[1e5])": "candidates=[100000.0]: give pairs of parameters and tokens",
    "sl.next_runs(F, P, {'N': None, 'D': 1e6})": "N=None: it must be a number above 0",
    "sl.next_runs(F, 'P', Q)": "the plan 'P' lacks N or D: give its parameters, its tokens and its precisions",
    "sl.regret(sl.laws.Chinchilla, T, sl.LargestC())": "regret takes rows as load_table gives them, and this is a",
    "sl.regret_of_table(3, sl.LargestC())": "regret_of_table takes a table of simlaw's own, and this is a int:",
    "sl.CostTable(name='a', source='b', unlisted='x')": "cost table 'a': unlisted is 'x': give a rate, or 'bits'",
    "sl.CostTable(name='a', source='b', unlisted=None)": "cost table 'a': unlisted=None: it must be a number above 0",
    "sl.cost_table({'name': 'a', 'source': 'b', 'unlisted': [1]})": "cost table 'a': unlisted=[1]: it must be a number",
    "sl.cost_table({'name': 'a', 'source': 'b', 'train': 3})": "cost table 'a': train is 3: give rates by format",
    "sl.cost_table({'name': 'a', 'source': 'b', 'serve': {'fp8': 'half'}})": "cost table 'a': serve['fp8']='half': it",
    "sl.cost_table({'name': 'a', 'source': 'b', 'byte': True})": "cost table 'a': byte=True: it must be a number",
}

TABLE = planted(log_loss=0.003, bits=(), seeds=2)
NAMES = {
    "sl": sl,
    "B": sl.published.besiroglu2024,
    "K": sl.published.kumar2024,
    "T": TABLE,
    "F": sl.fit(sl.laws.Chinchilla, TABLE, bootstrap=20),
    "P": {"N": 3e4, "D": 2e6},
    "Q": {"N": 1e4, "D": 6e6},
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("call", CALLS)
def test_what_is_wrong_is_said_in_a_sentence(call):
    with pytest.raises(SimlawError, match=f"^{re.escape(CALLS[call])}"):
        eval(call, NAMES)
