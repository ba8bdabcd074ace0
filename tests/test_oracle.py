"""The oracle for P: its risk is that of the simulated model, and what fits find in its tables is what is known."""

import itertools

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.fitting.contest import contest
from simlaw.fitting.fit import fit
from simlaw.laws import EffectiveFree, PrecisionAdded, PrecisionTokens, PrecisionWeights
from simlaw.observations import Observations
from simlaw.oracle import QuantizedRegression, regression_table

SIZES = np.array([16.0, 64.0, 256.0])
FULL = np.full(3, np.inf)
FORMS = (PrecisionWeights, PrecisionTokens, PrecisionAdded)


def bits(p):
    return np.full(3, float(p))


def simulated_risk(problem, n, d, p, runs):
    """The same model with every sample drawn: the risk of each run, from its final weights."""
    rng = np.random.default_rng(0)
    i = np.arange(1.0, problem.directions + 1)
    variance, w = i**-problem.spectrum, np.sqrt(i ** (problem.spectrum - problem.source))
    grid = np.full(n, variance[:n].mean()) if problem.kind == "additive" else variance[:n]
    k = 4.0**-p * grid
    v = np.zeros((runs, n))
    for step in range(d):
        x = rng.normal(size=(runs, problem.directions)) * np.sqrt(variance)
        z = x[:, :n] + rng.normal(size=(runs, n)) * np.sqrt(k)
        y = x @ w + np.sqrt(problem.noise) * rng.normal(size=runs)
        eta = problem.rate / variance.sum() * (1 - step / d)
        v += eta * (y - np.sum(v * z, axis=1))[:, None] * z
    off = w[:n] - v
    return problem.noise + np.sum(variance[n:] * w[n:] ** 2) + off**2 @ variance[:n] + v**2 @ k


@pytest.mark.parametrize("kind", ["additive", "multiplicative"])
@pytest.mark.parametrize("p", [1.0, 3.0])
def test_the_exact_risk_is_that_of_simulated_runs(kind, p):
    problem = QuantizedRegression(kind=kind, directions=24, spectrum=1.5, source=1.5, noise=0.5)
    runs = simulated_risk(problem, 8, 60, p, 4000)
    exact = problem.risk(np.array([8.0]), 60, np.array([p]))[0]
    error = runs.std() / np.sqrt(len(runs))
    assert error < 0.004 * exact
    assert abs(runs.mean() - exact) < 3.5 * error


@pytest.mark.parametrize("kind", ["additive", "multiplicative"])
def test_with_ever_more_samples_the_risk_comes_to_its_limit(kind):
    problem = QuantizedRegression(kind=kind, directions=64)
    sizes = np.array([4.0])
    above = [
        float((problem.risk(sizes, d, bits(3)[:1]) / problem.limit(sizes, bits(3)[:1]) - 1)[0]) for d in (1000, 10_000)
    ]
    assert above[0] > above[1] > 0
    assert above[1] < 0.01


def test_full_precision_is_the_same_in_both_kinds_and_follows_the_exponent_of_the_source():
    kinds = [QuantizedRegression(kind=kind) for kind in ("additive", "multiplicative")]
    assert np.array_equal(kinds[0].limit(SIZES, FULL), kinds[1].limit(SIZES, FULL))
    gap = kinds[0].limit(SIZES, FULL) - 1.0
    assert np.allclose(gap, 1 / (SIZES + 0.5) - 1 / (65_536 + 0.5), rtol=5e-4)
    assert np.allclose(kinds[0].effective_size(SIZES, FULL), SIZES, rtol=1e-9)


def test_additive_noise_lowers_the_effective_size_and_more_so_in_larger_models():
    problem = QuantizedRegression(kind="additive")
    shares = [problem.effective_size(SIZES, bits(p)) / SIZES for p in (2, 3, 4, 6)]
    assert (np.diff(shares, axis=0) > 0).all()
    assert (np.diff(shares, axis=1) < 0).all()
    # where it leads, N_eff goes as (N 4^P)^(1/a): with a = 2, two bits fewer are a quarter of it
    hidden = [problem.effective_size(np.array([4096.0]), bits(p)[:1])[0] for p in (1, 3)]
    assert hidden[1] / hidden[0] == pytest.approx(4, rel=0.05)


def test_multiplicative_noise_keeps_what_size_has_to_gain_and_adds_an_error_to_every_size():
    problem = QuantizedRegression(kind="multiplicative")
    everything = np.full(3, float(problem.directions))
    for p in (2, 4):
        noise = 4.0**-p
        gain = problem.limit(SIZES, bits(p)) - problem.limit(everything[:1], bits(p)[:1])
        full = problem.limit(SIZES, FULL) - problem.limit(everything[:1], FULL[:1])
        assert np.allclose(gain / full, 1 / (1 + noise), rtol=1e-6)
        added = problem.limit(everything[:1], bits(p)[:1])[0] - problem.limit(everything[:1], FULL[:1])[0]
        assert added == pytest.approx(noise / (1 + noise) * np.pi**2 / 6, rel=1e-3)


@pytest.mark.parametrize("kind", ["additive", "multiplicative"])
def test_data_count_for_less_only_where_label_noise_leads(kind):
    problem = QuantizedRegression(kind=kind)

    def excess(n, d, p):
        sizes, precision = np.array([float(n)]), np.array([float(p)])
        return (problem.risk(sizes, d, precision) - problem.limit(sizes, precision))[0]

    assert excess(16, 8192, 2) > 1.05 * excess(16, 8192, np.inf)
    assert excess(512, 512, 2) < excess(512, 512, np.inf)


def test_a_fit_finds_the_known_shares_of_the_size():
    problem = QuantizedRegression(kind="additive")
    bits = np.array([2.0, 3.0, 4.0, 5.0, 6.0, np.inf])
    n = 64.0
    # at D = infinity the risk is noise + A / N_eff^alpha, and its slope in log N is known too
    near = 1.0 / (np.array([n, n / 4]) + 0.5)
    alpha = float(np.log(near[1] / near[0]) / np.log(4))
    sizes = np.full(6, n)
    y = problem.limit(sizes, bits)
    seen = Observations(
        x={"N": sizes, "D": np.full(6, 1e15), "P_w": bits},
        y=y,
        sigma=1e-6 * y,
        trunk=tuple(map(str, bits)),
        left_out={},
    )
    held = {"E": 1.0, "A": float(near[0] * n**alpha), "alpha": alpha, "B": 1.0, "beta": 1.0}
    found = fit(EffectiveFree, seen, fixed=held)
    known = problem.effective_size(sizes, bits) / n
    shares = [float(found.law.values[f"eff_{p}"]) for p in (2, 3, 4, 5, 6)]
    assert np.allclose(shares, known[:5], rtol=0.01)


def behind(found):
    return {type(entry.fit.law): entry.behind for entry in found.entries}


def excess_table(kind, bits, noise=0.0):
    """What more data would take away, above 1: small models, where label noise leads and precision costs data."""
    problem, rng = QuantizedRegression(kind=kind, directions=4096), np.random.default_rng(0)
    tokens, sizes = (4096, 8192, 16_384), np.array([8.0, 16.0])
    grid = [(n, d, p) for d in tokens for n in sizes for p in bits]
    n, d, p = (np.array(axis, float) for axis in zip(*grid, strict=True))
    y = np.concatenate([problem.excess(n[d == one], one, p[d == one]) for one in tokens])
    y = 1.0 + y * np.exp(noise * rng.normal(size=len(y)))
    trunk = tuple(f"{a:g}-{b:g}" for a, b in zip(n, p, strict=True))
    x = {"N": n, "D": d, "P_w": p}
    return problem, Observations(x=x, y=y, sigma=np.full(len(y), np.nan), trunk=trunk, left_out={})


@pytest.mark.parametrize("kind", ["additive", "multiplicative"])
def test_a_fit_finds_the_known_shares_of_the_data_where_label_noise_leads(kind):
    bits = (1.0, 2.0, 3.0, np.inf)
    problem, seen = excess_table(kind, bits)
    found = fit(PrecisionTokens, seen, fixed={"E": 1.0})
    one = np.array([16.0])
    for p in bits[:-1]:
        known = problem.effective_tokens(one, 8192, np.array([p]), beyond=3)[0] / 8192
        share = 1 - np.exp(-p / found.law.values["g_w"] + found.law.values["n_w"])
        assert 0.3 < known < 1
        assert share == pytest.approx(known, rel=0.04)


@pytest.mark.parametrize("loses", ["data", "parameters"])
def test_a_contest_tells_lost_data_from_lost_parameters(loses):
    # what one size has to gain from data, and what all have to gain from size, each with its known loss by precision
    problem = QuantizedRegression(kind="additive", directions=4096)
    one, bits = np.array([16.0]), np.array([2.0, 3.0, np.inf])
    rows = []
    for n, d, p in itertools.product((16.0, 32.0, 64.0, 128.0), (2048, 4096, 8192, 16_384), bits):
        size, precision, full = np.array([n]), np.array([p]), np.array([np.inf])
        limit = problem.limit(size, precision if loses == "parameters" else full)[0]
        more = problem.excess(one, d, precision if loses == "data" else full)[0]
        rows.append((n, d, p, limit + more))
    n, d, p, y = (np.array(column) for column in zip(*rows, strict=True))
    trunk = tuple(f"{a:g}-{b:g}" for a, b in zip(n, p, strict=True))
    seen = Observations(
        x={"N": n, "D": d.astype(float), "P_w": p}, y=y, sigma=np.full(len(y), np.nan), trunk=trunk, left_out={}
    )
    found = contest(FORMS, seen, None, (), fixed={}, bounds={})
    truth = {"data": PrecisionTokens, "parameters": PrecisionWeights}[loses]
    assert type(found.chosen.fit.law) is truth
    assert found.decided


@pytest.fixture(scope="module")
def contests():
    found = {}
    for kind in ("additive", "multiplicative"):
        table = regression_table(QuantizedRegression(kind=kind), tokens=(512, 1024, 2048, 4096), noise=0.002)
        found[kind] = contest(FORMS, table, None, (), fixed={}, bounds={})
    return found


def test_a_contest_tells_that_additive_noise_acts_on_the_size(contests):
    found = contests["additive"]
    assert type(found.chosen.fit.law) is PrecisionWeights
    assert found.decided
    assert behind(found)[PrecisionTokens] > 6


def test_a_contest_tells_that_multiplicative_noise_adds_an_error(contests):
    found = contests["multiplicative"]
    assert type(found.chosen.fit.law) is PrecisionAdded
    assert found.decided
    assert behind(found)[PrecisionWeights] > 6


def test_where_the_lowest_bits_are_left_out_the_contest_is_undecided():
    table = regression_table(
        QuantizedRegression(kind="additive"),
        tokens=(512, 1024, 2048, 4096),
        bits=(4, 5, 6, np.inf),
        noise=0.01,
    )
    assert not contest(FORMS, table, None, (), fixed={}, bounds={}).decided


def test_a_table_is_exact_without_noise_and_repeats_with_it():
    problem = QuantizedRegression(kind="additive", directions=64)
    small = {"sizes": (4, 8), "tokens": (16, 32), "bits": (2, np.inf)}
    exact = regression_table(problem, **small)
    assert np.isnan(exact.sigma).all()
    assert exact.y[0] == problem.risk(np.array([4.0]), 16, np.array([2.0]))[0]
    noisy = [regression_table(problem, **small, seeds=200, noise=0.01, seed=3) for _ in range(2)]
    assert np.array_equal(noisy[0].y, noisy[1].y)
    assert len(set(noisy[0].trunk)) == len(noisy[0].y) == 1600
    means = np.log(noisy[0].y).reshape(2, 2, 2, 200).mean(axis=-1)
    assert np.allclose(means.ravel(), np.log(exact.y), atol=4 * 0.01 / np.sqrt(200))


def test_what_the_problem_does_not_hold_is_refused():
    with pytest.raises(SimlawError, match="there are 64 directions; raise `directions`"):
        QuantizedRegression(kind="additive", directions=64).limit(np.array([65.0]), np.array([3.0]))
    with pytest.raises(SimlawError, match="both exponents are above 1, or a sum diverges"):
        QuantizedRegression(kind="additive", source=1.0)
