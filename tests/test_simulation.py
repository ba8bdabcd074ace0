"""Simulated rows: their noise is the one declared, every form comes back from them, and intervals hold the truth."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from simlaw.cli import cli
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.lawfile import load_law
from simlaw.laws import FORMS, Chinchilla, StepPenalty
from simlaw.observations import loss_observations, penalty_observations, usable
from simlaw.published import kumar2024, ouyang2024
from simlaw.simulation import TYPICAL, Noise, noise_of, simulate, simulate_delta
from simlaw.table import read_table
from tests.conftest import ROOT, said_in_a_notebook

BASE = {"E": 1.8, "A": 400.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
WEIGHTS = {"P_w": (3.0, 4.0, 6.0, math.inf)}
BITS = {"P_post": (3.0, 4.0, 5.0, 6.0)}
EACH = {"P_post": tuple(range(1, 9))}
ROLES = {"g_w": 2.7, "n_w": 0.3, "g_a": 2.2, "n_a": 1.4, "g_kv": 0.96, "n_kv": 2.4}
THREE = {"P_w": (3.0, 5.0, 8.0, math.inf), "P_a": (4.0, 6.0, 9.0, math.inf), "P_kv": (4.0, 5.0, 6.0, math.inf)}
POST = {"C_T": 0.06, "gD": 0.5, "gN": 0.34, "g_post": 0.6, "b": 1.1}
ROLE_BITS = dict.fromkeys(("P_w", "P_a", "P_kv"), (2.0, 3.0, 4.0, 6.0, math.inf))
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
    "EffectiveStep": ({**BASE, "c_w": 0.8, "c_a": 2.0, "c_kv": 0.3}, ROLE_BITS, ()),
    "EffectiveTokens": (
        {**BASE, "g_w": 1.5, "n_w": 0.3, "g_a": 2.0, "n_a": 0.2, "g_kv": 1.0, "n_kv": 0.4},
        ROLE_BITS,
        (),
    ),
    "PrecisionSum": (
        {**BASE, "C_w": 2.0, "g_w": 1.0, "C_a": 3.0, "g_a": 1.4, "C_kv": 1.0, "g_kv": 0.8},
        ROLE_BITS,
        (),
    ),
    "PrecisionGrowing": (
        {**BASE, "gD": 0.1, "gN": 0.2, "C_w": 3.0, "g_w": 0.9, "C_a": 9.0, "g_a": 1.1, "C_kv": 2.0, "g_kv": 0.8},
        ROLE_BITS,
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
    "Downstream": ({"chance": 0.25, "k": 2.5, "gamma": 0.8}, {"L": tuple(np.geomspace(1.8, 4.0, 12))}, ()),
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
    x = {key: one for key, one in rows(axes, 12 * len(values)).items() if key in (*truth.needs, *truth.takes)}
    seen = simulate(truth, x, [str(i) for i in range(12 * len(values))], noise=Noise(trunk=1e-10, relative=1e-6))
    found = fit(FORMS[name], seen, fixed={key: values[key] for key in given}, starts=12)
    assert found.health in ("VALID", "STARTS_DISAGREE")
    for key, value in values.items():
        assert found.law.values[key] == pytest.approx(value, rel=1e-4), key


def design(seeds=4, **axes):
    """Every combination of the axes, `seeds` times; a trunk has one size and seed."""
    grid = {"N": np.geomspace(1e6, 2.56e8, 5), "D": np.geomspace(2e7, 5.12e9, 5), **axes}
    *found, number = (a.ravel() for a in np.meshgrid(*grid.values(), np.arange(seeds), indexing="ij"))
    x = dict(zip(grid, found, strict=True))
    return x, [f"{n:g}-{s}" for n, s in zip(x["N"], number, strict=True)]


STEP = StepPenalty(C_T=0.03, gD=0.5, gN=0.35)


def test_errors_scatter_as_they_are_declared():
    count = 4000
    trunk = [f"{i // 2}" for i in range(2 * count)]
    x = {"N": np.full(2 * count, 1e7), "D": np.full(2 * count, 1e9)}
    law = Chinchilla(**BASE)
    error = np.log(simulate(law, x, trunk, noise=Noise(trunk=0.03, row=0.01)).y / law.loss(N=1e7, D=1e9))
    assert error.std() == pytest.approx(np.hypot(0.03, 0.01), rel=0.04)
    assert (error[::2] - error[1::2]).std() == pytest.approx(np.sqrt(2) * 0.01, rel=0.04)
    bits = {**x, "P_post": np.full(2 * count, 4.0)}
    seen = simulate(STEP, bits, trunk, noise=Noise(trunk=0.0, relative=0.2, per_step=0.01))
    pairs = seen.y.reshape(-1, 2)
    assert seen.y.std() == pytest.approx(seen.sigma[0], rel=0.04)
    assert (pairs[:, 0] - pairs[:, 1]).std() == pytest.approx(np.sqrt(2) * 0.01 / 7, rel=0.04)


def test_rows_repeat_and_another_seed_gives_others():
    x, trunk = design()
    first, again, other = (simulate(Chinchilla(**BASE), x, trunk, noise=TYPICAL, seed=s).y for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other, rtol=1e-9).any()
    back = simulate(Chinchilla(**BASE), {k: v[::-1] for k, v in x.items()}, trunk[::-1], noise=Noise(trunk=0.01)).y
    assert np.allclose(back[::-1], simulate(Chinchilla(**BASE), x, trunk, noise=Noise(trunk=0.01)).y)


def test_a_joined_law_is_the_loss_with_the_penalty_each_with_its_noise():
    x, trunk = design(P_post=np.array([3.0, math.inf]))
    joined, noise = ouyang2024.law, Noise(trunk=0.01, relative=0.2)
    whole = simulate(ouyang2024, x, trunk, noise=noise)
    base = simulate(joined.base, {name: x[name] for name in "ND"}, trunk, noise=noise)
    plain = np.isinf(x["P_post"])
    delta = simulate_delta(
        ouyang2024, {k: v[~plain] for k, v in x.items()}, np.array(trunk)[~plain].tolist(), noise=noise
    )
    assert np.array_equal(whole.y[plain], base.y[plain])
    assert np.allclose((whole.y - base.y)[~plain], delta.y)


def test_the_penalty_of_a_law_of_the_loss_is_what_bits_add():
    x = {"N": np.array([1e8]), "D": np.array([1e10]), "P_post": np.array([4.0])}
    found = simulate_delta(kumar2024, x, ["a"], noise=Noise(trunk=0.0, relative=1e-9)).y[0]
    law = kumar2024.law
    assert found == pytest.approx(law.loss(N=1e8, D=1e10, P_post=4) - law.loss(N=1e8, D=1e10), rel=1e-6)
    with pytest.raises(SimlawError, match="Chinchilla knows no P_post, and so no penalty: join it with"):
        simulate_delta(Chinchilla(**BASE), x, ["a"], noise=TYPICAL)


def test_the_file_of_a_sweep_is_a_law_to_draw_from():
    law = load_law(ROOT / "sweeps" / "quickstart" / "law.json")
    x, trunk = design(P_post=np.array([3.0, math.inf]))
    found = simulate(law, x, trunk, noise=TYPICAL)
    assert np.array_equal(found.y, simulate(law.law, x, trunk, noise=TYPICAL).y)
    x["P_post"] = np.full(len(trunk), 4.0)
    assert simulate_delta(law, x, trunk, noise=TYPICAL).response == "delta"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"trunk": ["a"]}, "the columns differ in length"),
        ({"noise": Noise(trunk=0.0)}, "some rows would have no noise, by which fits weigh them"),
        ({"x": {"N": np.ones(2), "D": np.ones(2), "P_w": np.ones(2)}}, "Chinchilla takes no P_w"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, sentence):
    given = {"x": {"N": np.ones(2), "D": np.ones(2)}, "trunk": ["a", "b"], "noise": TYPICAL, **change}
    with pytest.raises(SimlawError, match=sentence):
        simulate(Chinchilla(**BASE), **given)


def test_what_is_no_law_number_or_list_gets_one_sentence():
    said = said_in_a_notebook(
        "law, noise = sl.laws.Chinchilla(E=1.8, A=4e2, B=2e3, alpha=0.35, beta=0.37), sl.Noise(trunk=0.01)",
        "sl.simulate(law, {'N': [1e6, 1e7], 'D': 1e8}, ['a', 'b'], noise=noise)",
        "sl.simulate(law, {'N': [1e6, 1e7], 'D': ['x', 'y']}, ['a', 'b'], noise=noise)",
        "sl.simulate(law, {'N': [1e6, 1e7], 'D': [1e8, 1e9]}, 'ab', noise=noise)",
        "sl.simulate(law, {'N': [1e6, 1e7], 'D': [1e8, 1e9]}, ['a', 'b'], noise=noise, seed=-1)",
        "sl.simulate('law.json', {'N': [1e6], 'D': [1e8]}, ['a'], noise=noise)",
        "sl.Noise(trunk='a')",
        "sl.simulate(law, {'N': [1e6, 1e7], 'D': [1e8, 1e9]}, ['a', 'b'], noise=noise).y",  # lists do
    )
    assert said == [
        "SimlawError: D is 100000000.0: give a list, with one value for each row",
        "SimlawError: D is ['x', 'y']: give a number for each row",
        "SimlawError: trunk is 'ab': give a list, with one name for each row",
        "SimlawError: seed=-1: it must be a whole number, 0 or more",
        "SimlawError: 'law.json' is no law: give a law with its parameters, a fit, or a published law",
        "SimlawError: the noise trunk is 'a': a standard deviation is 0 or more; mend it",
    ]


def test_a_noise_below_zero_is_refused():
    with pytest.raises(SimlawError, match="the noise row is -1: a standard deviation is 0 or more"):
        Noise(trunk=0.1, row=-1)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The quickstart sweep's table, drawn from its own committed laws."""
    path = tmp_path_factory.mktemp("simulated") / "rows.csv"
    said = CliRunner().invoke(cli, ["simulate", str(ROOT / "sweeps" / "quickstart"), "--out", str(path)])
    assert said.exit_code == 0, said.stderr
    return said, read_table(path)


def test_the_table_of_a_sweep_is_one_that_fits_take(drawn):
    said, table = drawn
    assert said.output.startswith("675 rows in ")
    assert "drawn from Chinchilla + StepPenalty" in said.output
    assert said.stderr == "note: 6 runs are left out: no law knows the learning rate\n"
    law = json.loads((ROOT / "sweeps" / "quickstart" / "law.json").read_text())
    truth = {name: law["penalty"]["parameters"][name] for name in ("gD", "gN")}
    found = fit(StepPenalty, penalty_observations(table))
    assert found.health == "VALID"
    assert found.law.values["gD"] == pytest.approx(truth["gD"], abs=0.05)
    base = fit(Chinchilla, loss_observations(table)).law
    whole = Chinchilla(**law["loss"]["parameters"])
    assert base.loss(N=26_624, D=1.3e6) == pytest.approx(whole.loss(N=26_624, D=1.3e6), rel=0.02)


def test_its_noise_is_that_of_the_committed_table(drawn):
    committed = noise_of(read_table(ROOT / "sweeps" / "quickstart" / "table.csv"))
    again = noise_of(drawn[1])
    assert np.hypot(again.trunk, again.row) == pytest.approx(np.hypot(committed.trunk, committed.row), rel=0.4)
    assert again.per_step == pytest.approx(committed.per_step, rel=0.3)


def test_simulated_rows_are_nobodys_measurements(drawn):
    simulated, measured = drawn[1], read_table(ROOT / "sweeps" / "quickstart" / "table.csv")
    assert {(row["corpus"], row["device"], row["jax_version"]) for row in simulated} == {
        ("simulated", "simulated", None)
    }
    for name in ("run_id", "eval_id", "trunk_id", "corpus_fingerprint"):
        assert not {row[name] for row in simulated} & {row[name] for row in measured}
    with pytest.raises(SimlawError, match="the rows differ in corpus_fingerprint"):
        usable(measured.merged(simulated))


def test_the_same_command_gives_the_same_bytes_and_another_law_another_corpus(tmp_path):
    smoke = str(ROOT / "sweeps" / "smoke")

    def call(out, *more):
        return CliRunner().invoke(cli, ["simulate", smoke, "--out", str(tmp_path / out), *more])

    for out in ("a.csv", "b.csv"):
        assert call(out, "--law", "ouyang2024").exit_code == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    marks = {read_table(tmp_path / "a.csv").rows[0]["corpus_fingerprint"]}
    for more in (("--seed", "1"), ("--row-noise", "0.5")):
        assert call("c.csv", "--law", "ouyang2024", *more).exit_code == 0
        marks.add(read_table(tmp_path / "c.csv").rows[0]["corpus_fingerprint"])
    assert len(marks) == 3


def test_a_loss_and_a_penalty_may_come_from_two_files(tmp_path):
    x, trunk = design(P_post=np.array([3.0, 4.0]))
    fit(Chinchilla, simulate(Chinchilla(**BASE), {k: x[k] for k in "ND"}, trunk, noise=TYPICAL)).save(
        tmp_path / "l.json"
    )
    fit(StepPenalty, simulate(STEP, x, trunk, noise=TYPICAL)).save(tmp_path / "p.json")
    laws = ["--law", str(tmp_path / "l.json"), "--law", str(tmp_path / "p.json")]
    out = str(tmp_path / "rows.csv")
    said = CliRunner().invoke(cli, ["simulate", str(ROOT / "sweeps" / "smoke"), *laws, "--out", out, "--json"])
    facts = json.loads(said.stdout)
    assert facts["rows"] == 126
    assert facts["noise_basis"] == "of smoke's committed table where not given"
    # measured at a thousandth of the size
    assert facts["notes"][0].startswith(
        "the law was measured from 1M to 256M parameters, the design has 832 to 3.33k: "
    )
    twice = CliRunner().invoke(cli, ["simulate", str(ROOT / "sweeps" / "smoke"), *laws[:2] * 2, "--out", out])
    assert twice.exit_code == 2
    assert twice.stderr.startswith(
        "simlaw: --law gives Chinchilla and Chinchilla: give one law of the loss, and at most"
    )


def test_without_a_penalty_the_rows_are_those_as_trained(tmp_path):
    out = tmp_path / "rows.csv"
    said = CliRunner().invoke(
        cli, ["simulate", str(ROOT / "sweeps" / "smoke"), "--law", "besiroglu2024", "--out", str(out)]
    )
    assert said.exit_code == 0
    assert {row["ptq_bits"] for row in read_table(out)} == {None}
    nobody = CliRunner().invoke(cli, ["simulate", str(ROOT / "sweeps" / "smoke"), "--law", "me", "--out", str(out)])
    assert nobody.stderr.startswith("simlaw: 'me' is neither a law file nor a published law: there are kumar2024, ")
