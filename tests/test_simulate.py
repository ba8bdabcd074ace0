"""Simulated rows: their noise is the one declared, every form comes back from them, and intervals hold the truth."""

import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import simlaw as sl
from simlaw.cli import cli
from simlaw.errors import SimlawError
from simlaw.fitting import fit
from simlaw.law import AbstractPenalty, QuantizedLaw
from simlaw.laws import FORMS, Chinchilla, Overtrained, StepPenalty
from simlaw.observations import loss_observations, penalty_observations, seed_noise, usable
from simlaw.published import kumar2024, ouyang2024
from simlaw.simulate import TYPICAL, Noise, noise_of, simulate, simulate_delta
from simlaw.table import read_table
from simlaw.uncertainty import bootstrap, interval
from tests.conftest import ROOT

BASE = {"E": 1.8, "A": 400.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
WEIGHTS = {"P_w": (3.0, 4.0, 6.0, math.inf)}
BITS = {"P_post": (3.0, 4.0, 5.0, 6.0)}
EACH = {"P_post": tuple(range(1, 9))}
ROLES = {"g_w": 2.7, "n_w": 0.3, "g_a": 2.2, "n_a": 1.4, "g_kv": 0.96, "n_kv": 2.4}
THREE = {"P_w": (3.0, 5.0, 8.0, math.inf), "P_a": (4.0, 6.0, 9.0, math.inf), "P_kv": (4.0, 5.0, 6.0, math.inf)}
POST = {"C_T": 0.06, "gD": 0.5, "gN": 0.34, "g_post": 0.6, "b": 1.1}
#: Of every form: its truth, the variables beside N and D, and what is given, since others do the same work.
TRUTHS = {
    "Chinchilla": (BASE, {}, ()),
    "DataConstrained": ({**BASE, "R_D": 15.0, "R_N": 5.0}, {"U": (5e6, 4e7, 3e8, 6e9)}, ()),
    "JointPower": ({"N_c": 1e13, "D_c": 1e13, "alpha_N": 0.08, "alpha_D": 0.1}, {}, ()),
    "Overtrained": ({"E": 1.8, "a": 160.0, "b": 370.0, "eta": 0.27}, {}, ()),
    "PrecisionWeights": ({**BASE, "g_w": 2.7, "n_w": 0.3}, WEIGHTS, ()),
    "PrecisionShifted": ({**BASE, "g_w": 2.7, "s_w": 0.8}, WEIGHTS, ()),
    "PrecisionTokens": ({**BASE, "g_w": 2.7, "n_w": 0.3}, WEIGHTS, ()),
    "PrecisionAdded": ({**BASE, "C": 0.6, "g_w": 2.0}, WEIGHTS, ()),
    "PrecisionExponential": ({**BASE, **ROLES, **POST}, {**THREE, "P_post": (3.0, 4.0, 5.0, math.inf)}, ("b",)),
    "PrecisionUnified": (
        {**BASE, **ROLES, **POST, "C_w": 0.5, "C_a": 1.0, "C_kv": 2.0},
        {**THREE, "P_post": (2.0, 3.0, 4.0, math.inf)},
        ("b",),
    ),
    "PrecisionFloat": (
        {**BASE, "g_inverse": 1e-4, "delta": 3.2, "nu": 2.9},
        {"X": (1.0, 2.0, 4.0, 5.0), "M": (0.0, 1.0, 3.0, 5.0), "G": (32.0, 128.0, 512.0)},
        (),
    ),
    "EffectiveFree": (
        {**BASE, **{f"eff_{bits}": 0.1 * bits for bits in range(1, 9)}},
        {"P_w": (*range(1, 9), math.inf)},
        (),
    ),
    "EffectiveGaussian": (
        {**BASE, "limit": 0.9, "slope": 0.5, "curve": 1.2},
        {"error": (1e-4, 1e-3, 0.01, 0.1)},
        ("A",),
    ),
    "EffectiveCompression": (BASE, {"eff": (0.3, 0.6, 1.0)}, ()),
    "StepPenalty": ({"C_T": 0.03, "gD": 0.5, "gN": 0.35}, BITS, ()),
    "ExponentialPenalty": ({"C_T": 0.2, "gD": 0.5, "gN": 0.35, "g_post": 0.6}, BITS, ()),
    "PowerPenalty": ({"C_T": 5.0, "gD": 0.4, "gN": 0.3, "g_post": 5.5}, BITS, ()),
    "FreePenalty": ({"gD": 0.5, "gN": 0.3, **{f"delta_{bits}": 4.0**-bits for bits in range(1, 9)}}, EACH, ()),
    "GroupPenalty": ({"k": 0.16, "gD": 0.07, "gN": 0.22, "gG": 0.78}, {"G": (16.0, 64.0, 256.0)}, ()),
}


def rows(axes, count, seed=0):
    """Points of a design, the axes drawn apart from each other: few rows hold many parameters."""
    rng = np.random.default_rng(seed)
    sizes, tokens = np.geomspace(1e6, 1e9, 7), np.geomspace(2e7, 2e10, 7)
    return {name: rng.choice(values, count).astype(float) for name, values in {"N": sizes, "D": tokens, **axes}.items()}


def test_every_form_has_a_truth_to_find():
    assert set(TRUTHS) == set(FORMS)


@pytest.mark.parametrize("name", TRUTHS)
def test_every_form_comes_back_from_rows_without_noise(name):
    values, axes, given = TRUTHS[name]
    truth = FORMS[name](**values)
    x = rows(axes, 12 * len(values))
    seen = simulate(truth, x, [str(i) for i in range(len(x["N"]))], noise=Noise(trunk=1e-10, relative=1e-6))
    found = fit(FORMS[name], seen, fixed={key: values[key] for key in given}, starts=12)
    assert found.health in ("VALID", "STARTS_DISAGREE")
    for key, value in values.items():
        assert found.law.values[key] == pytest.approx(value, rel=1e-4), key
