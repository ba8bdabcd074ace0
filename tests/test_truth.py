"""Published fits of public run tables, to the digits that they hold.

The tables are other people's measurements and are not part of the project: without them these tests are skipped.
"""

import csv

import numpy as np
import pytest

import simlaw as sl
from simlaw.fitting.fit import fit
from simlaw.fitting.uncertainty import bootstrap
from simlaw.laws import Chinchilla, DataConstrained
from simlaw.published import besiroglu2024, hoffmann2022, muennighoff2023
from tests.conftest import ROOT

DATA = ROOT.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the public run tables are not at {DATA}")


def read(path):
    with (DATA / path).open(newline="") as file:
        return list(csv.DictReader(file))


def chinchilla():
    """The 240 points that Besiroglu et al. kept: all but the five largest losses."""
    rows = read("chinchilla/svg_extracted_data.csv")
    n, c, loss = (np.array([float(row[name]) for row in rows]) for name in ("Model Size", "Training FLOP", "loss"))
    keep = loss < np.sort(loss)[-5]
    columns = {"N": n[keep], "D": (c / 6 / n)[keep], "loss": loss[keep]}
    return sl.load_table(columns, N="N", D="D", loss="loss")


def huber_sum(law, seen):
    r = np.abs(np.log(law.evaluate(seen.x)) - np.log(seen.y))
    return float(np.sum(np.where(r > 1e-3, 1e-3 * (r - 5e-4), r * r / 2)))


def test_the_chinchilla_optimum_is_reached_and_certified():
    seen = chinchilla()
    assert len(seen.y) == 240
    found = fit(Chinchilla, seen)
    assert found.health == "VALID"
    assert found.agreeing > 0.9
    assert found.objective == pytest.approx(1.0182740178e-3, rel=1e-8)
    for name, (value, digits) in {
        "A": (477.83, 0.01),
        "B": (2143.4, 0.1),
        "E": (1.81722, 1e-5),
        "alpha": (0.34731, 1e-5),
        "beta": (0.36717, 1e-5),
    }.items():
        assert getattr(found.law, name) == pytest.approx(value, abs=digits), name


def test_published_values_have_the_objectives_that_others_found():
    seen = chinchilla()
    assert huber_sum(besiroglu2024.law, seen) == pytest.approx(1.018645e-3, rel=1e-6)
    assert huber_sum(hoffmann2022.law, seen) == pytest.approx(1.23116e-3, rel=1e-5)
    assert huber_sum(fit(Chinchilla, seen).law, seen) == pytest.approx(fit(Chinchilla, seen).objective, rel=1e-12)


def test_chinchilla_errors_are_besiroglus():
    seen = chinchilla()
    found = fit(Chinchilla, seen, bootstrap(seen.trunk, seen.x["N"], draws=4000))
    for name, error in {"A": 124.52, "B": 1293.28, "E": 0.0257, "alpha": 0.0154, "beta": 0.0206}.items():
        assert found.error[name] == pytest.approx(error, rel=0.15), name


def test_a_mean_instead_of_the_sum_stops_early_elsewhere_and_not_here():
    # with the mean of the Huber terms, optimizers that stop at a small gradient report success 5.7 x above the optimum
    # (E 2.209); the certificate here is a cosine, which no scale of the objective changes
    seen = chinchilla()
    found = fit(Chinchilla, seen)
    halved = fit(Chinchilla, seen, seed=1)
    assert pytest.approx(halved.law.E, rel=1e-5) == found.law.E
    assert abs(found.law.E - 2.209) > 0.3
    stopped = Chinchilla(E=2.209, A=5000.0, B=1e9, alpha=0.49, beta=1.186)
    best = fit(Chinchilla, seen, fixed={"E": 2.209, "alpha": 0.49, "beta": 1.186})
    assert best.objective > 5 * found.objective
    assert huber_sum(stopped, seen) >= best.objective


def test_muennighoffs_repeats():
    rows = read("datablations/runs_fit182.csv")
    names = {"N": "N_params", "D": "D_total_tokens", "U": "U_unique_tokens", "loss": "val_loss_nats"}
    columns = {key: [float(row[name]) for row in rows] for key, name in names.items()}
    columns["run"] = [row["run"] for row in rows]
    seen = sl.load_table(columns, N="N", D="D", U="U", loss="loss", trunk="run")
    assert len(seen.y) == 182
    assert huber_sum(muennighoff2023.law, seen) == pytest.approx(0.0158259353, rel=1e-7)
    fixed = {name: float(value) for name, value in muennighoff2023.law.values.items() if name not in ("R_D", "R_N")}
    near = fit(DataConstrained, seen, fixed=fixed, bounds={"R_D": (10, 20), "R_N": (4, 7)})
    assert near.health == "VALID"
    assert near.objective <= 0.0158259353 * (1 + 1e-9)
    assert near.law.R_D == pytest.approx(15.387756, rel=2e-3)  # noqa: SIM300
    assert near.law.R_N == pytest.approx(5.309743, rel=2e-3)  # noqa: SIM300
    # the published minimum is one of several, and not the lowest; a fit that looks everywhere says so
    free = fit(DataConstrained, seen, fixed=fixed)
    assert free.health == "STARTS_DISAGREE"
    assert free.objective < near.objective * (1 - 1e-3)
    assert free.law.R_D > 50


@pytest.mark.parametrize(
    ("name", "a", "b", "alpha", "beta", "e", "objective"),
    [
        ("hot", 5.36134, 15.41599, 0.292869, 0.712872, 0.762264, 0.0019816),
        ("cool_end", 5.41972, 12.51390, 0.300273, 0.580241, 0.729786, 0.0019641),
        ("lr_ablation_hot", 5.83815, 14.30732, 0.325467, 0.651264, 0.791125, 0.0019730),
        ("slim_chinchilla", 4.06900, 10.98117, 0.213776, 0.526007, 0.468450, 0.00012044),
    ],
)
def test_gemstones_approach_3(name, a, b, alpha, beta, e, objective):
    path = DATA / "gemstones" / f"wandb_df_for_fitting_{name}.jsonl"
    seen = sl.load_table(path, N="params_active_precise", D="tokens", loss="final_loss")
    theirs = Chinchilla(E=np.exp(e), A=np.exp(a), B=np.exp(b), alpha=alpha, beta=beta)
    assert huber_sum(theirs, seen) == pytest.approx(objective, rel=1e-4)
    found = fit(Chinchilla, seen, bounds={"A": (1e-12, 1e30), "B": (1e-12, 1e30)}, starts=60)
    assert found.objective <= huber_sum(theirs, seen) * (1 + 1e-9)
    assert found.health == "VALID"
