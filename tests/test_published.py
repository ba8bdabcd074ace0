"""Published laws: every test vector, to the digits that are known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.published import (
    PUBLISHED,
    besiroglu2024,
    chen2025_w4a4,
    gadre2024,
    hoffmann2022,
    kumar2024,
    kumar2024_float,
    muennighoff2023,
    ouyang2024,
    quest2025,
    sun2025,
)


@pytest.mark.parametrize(
    ("n", "expected"), [(30e6, (4.101, 3.851, 3.720)), (220e6, (3.577, 3.327, 3.197))], ids=["30M", "220M"]
)
def test_kumar_loss_of_bf16(n, expected):
    assert kumar2024.loss(N=n, D=[1.5e9, 6e9, 26e9]).round(3).tolist() == list(expected)


@pytest.mark.parametrize(
    ("n", "expected"), [(30e6, (0.5858, 0.1078, 0.0198)), (220e6, (0.2952, 0.0543, 0.0100))], ids=["30M", "220M"]
)
def test_kumar_penalty_with_its_offset(n, expected):
    penalty = kumar2024.loss(N=n, D=26e9, P_post=[3, 4, 5]) - kumar2024.loss(N=n, D=26e9)
    assert penalty.round(4).tolist() == list(expected)


def test_kumar_int3_falls_and_rises_again():
    loss = kumar2024.loss(N=30e6, D=[1.5e9, 3e9, 6e9, 13e9, 26e9], P_post=3)
    assert loss.round(3).tolist() == [4.239, 4.150, 4.129, 4.183, 4.306]


def test_kumar_at_equal_memory():
    sizes = {3: 220e6, 4: 165e6, 5: 132e6, 6: 110e6, 8: 82.5e6}
    for d, expected in ((6e9, (3.467, 3.403, 3.422, 3.456, 3.522)), (1e12, (4.972, 3.524, 3.260, 3.237, 3.290))):
        found = [float(kumar2024.loss(N=n, D=d, P_post=bits)) for bits, n in sizes.items()]
        assert found == pytest.approx(expected, abs=1.5e-3)


def share(law=kumar2024, **bits):
    """N_eff / N at some training precisions, from the law itself."""
    alone = law.loss(N=1e7, D=1e300, **bits) - law.law.E
    return (alone / (law.loss(N=1e7, D=1e300) - law.law.E)) ** (-1 / law.law.alpha)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (4, (0.6964, 0.3314, 0.8276, 0.1910)),
        (6, (0.8563, 0.7295, 0.9786, 0.6113)),
        (8, (0.9320, 0.8906, 0.9974, 0.8278)),
    ],
)
def test_kumar_effective_shares(bits, expected):
    found = (share(P_w=bits), share(P_a=bits), share(P_kv=bits), share(P_w=bits, P_a=bits, P_kv=bits))
    assert [round(float(x), 4) for x in found] == list(expected)


def test_kumar_best_tied_precision_is_7_bits_because_offsets_are_added():
    bits = np.linspace(3, 16, 130_001)
    tied = share(P_w=bits, P_a=bits, P_kv=bits)
    assert bits[np.argmax(tied / bits)] == pytest.approx(7.002, abs=5e-4)
    assert tied.max() < 1
    assert float(share(P_w=7.002, P_a=7.002, P_kv=7.002)) == pytest.approx(0.7407, abs=5e-5)


def test_kumar_activations_at_3_bits_are_held_at_the_floor():
    # the published share is -0.051 there, which is where training diverges
    assert float(share(P_a=3)) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("n", "b", "expected"),
    [
        (30e6, 1.1277, (5.325e9, 2.878e10, 1.556e11)),
        (220e6, 1.1277, (1.054e10, 5.698e10, 3.080e11)),
        (30e6, 0.0, (1.638e10, 8.856e10, 4.787e11)),
    ],
)
def test_kumar_critical_data_is_where_more_of_it_begins_to_hurt(n, b, expected):
    law = replace(kumar2024.law, b=b)
    for bits, critical in zip((3, 4, 5), expected, strict=True):
        lift = law.beta * law.B * n**law.gN * math.exp(bits / law.g_post - b) / (law.gD * law.C_T)
        found = lift ** (1 / (law.gD + law.beta))
        assert found == pytest.approx(critical, rel=5e-4)
        near = law.loss(N=n, D=found * np.array([0.97, 1.0, 1.03]), P_post=bits)
        assert near.argmin() == 1


@pytest.mark.parametrize(
    ("scales", "expected"), [((2.6745, 2.2102, 0.9578), 3.469), ((1.9475,) * 3, 3.708)], ids=["three", "their mean"]
)
def test_kumar_without_offsets_would_be_best_below_4_bits(scales, expected):
    bits = np.linspace(2, 16, 140_001)
    effective = np.prod([1 - np.exp(-bits / scale) for scale in scales], axis=0)
    assert bits[np.argmax(effective / bits)] == pytest.approx(expected, abs=1e-3)
    bare = replace(kumar2024.law, n_w=0.0, n_a=0.0, n_kv=0.0, g_w=scales[0], g_a=scales[1], g_kv=scales[2])
    at = dict.fromkeys(("P_w", "P_a", "P_kv"), expected)
    loss = bare.loss(N=1e7, D=1e300, **at) - bare.E
    full = bare.loss(N=1e7, D=1e300) - bare.E
    assert (loss / full) ** (-1 / bare.alpha) == pytest.approx(np.interp(expected, bits, effective), rel=1e-6)


def test_kumar_float_differs_in_the_weights_alone():
    assert float(share(kumar2024_float, P_w=4)) == pytest.approx(1 - math.exp(-4 / 2.8111 + 0.1240), rel=1e-9)
    assert share(kumar2024_float, P_a=4) == share(P_a=4)


def test_chinchilla_budgets():
    law = hoffmann2022.law
    g = (law.alpha * law.A / (law.beta * law.B)) ** (1 / (law.alpha + law.beta))
    c = 6 * 67e9 * 1.5e12
    assert g * (c / 6) ** (law.beta / (law.alpha + law.beta)) == pytest.approx(40e9, rel=0.1)
    assert pytest.approx(482.01, abs=0.01) == besiroglu2024.law.A
    assert pytest.approx(2085.43, abs=0.01) == besiroglu2024.law.B
    assert pytest.approx(1.8169, abs=5e-5) == besiroglu2024.law.E


def test_sun():
    assert sun2025.loss(N=679e6, D=100e9, X=[8, 4, 2], M=[7, 3, 1], G=128).round(5).tolist() == [
        2.61177,
        2.61225,
        2.65039,
    ]
    law = sun2025.law
    for (x, m), expected in {(8, 7): 1.730e15, (4, 3): 2.733e13, (2, 1): 3.928e11}.items():
        steps = (x + 0.5) ** law.delta * (m + 0.5) ** law.nu
        critical = (law.B / law.g_inverse * (1e9) ** law.alpha * steps / np.log2(128)) ** (1 / (2 * law.beta))
        assert critical == pytest.approx(expected, rel=5e-4)
        near = sun2025.loss(N=1e9, D=critical * np.array([0.9, 1.0, 1.1]), X=x, M=m, G=128)
        assert near.argmin() == 1


def test_chen():
    assert chen2025_w4a4.penalty(N=595e6, D=100e9, G=[32, 64, 128, 256]).round(4).tolist() == [
        0.0441,
        0.0508,
        0.0573,
        0.0635,
    ]
    assert float(chen2025_w4a4.law.base.loss(N=595e6, D=100e9)) == pytest.approx(2.741, abs=5e-4)

    # whole laws, by the product's own road: the group's size is the penalty's, and no precision is a variable
    assert float(chen2025_w4a4.loss(N=595e6, D=100e9, G=32)) == pytest.approx(2.741 + 0.0441, abs=5e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_law_answers_with_the_variables_that_its_parts_take(name):
    law = PUBLISHED[name]
    most = {"N": 1e8, "D": 1e10, "U": 1e9, "G": 128, "X": 4, "M": 3, "P_w": 4, "P_a": 4, "P_kv": 4, "P_post": 4}
    needs = {variable for part in law.parts for variable in part.needs}
    takes = needs | {variable for part in law.parts for variable in part.takes}
    whole = law.loss(**{variable: most[variable] for variable in takes})
    assert np.isfinite(whole)
    assert np.isfinite(law.loss(**{variable: most[variable] for variable in needs}))


def test_ouyang():
    assert ouyang2024.penalty(N=8e9, D=15e12, P_post=[2, 3, 4]).round(4).tolist() == [18.0075, 1.9388, 0.3988]
    assert float(ouyang2024.loss(N=12e9, D=300e9)) == pytest.approx(2.72556, abs=5e-6)


def test_muennighoff():
    assert float(muennighoff2023.loss(N=6.34e9, D=242e9, U=25e9)) == pytest.approx(2.2256440889984477, rel=1e-7)
    assert float(muennighoff2023.loss(N=8.67e9, D=178e9, U=25e9)) == pytest.approx(2.2269634075087867, rel=1e-7)


def test_gadre():
    law = gadre2024.law
    n, m = 1.4e9, 640
    expected = 1.836648 + 166.211 * n**-0.272851 + 366.687 * 6 ** (-0.272851 / 2) * (m * n) ** -0.272851
    assert float(law.loss(N=n, D=m * n)) == pytest.approx(expected, rel=1e-12)


def test_quest_is_best_at_4_bits():
    shares = {bits: float(getattr(quest2025.law, f"eff_{bits}")) / bits for bits in (1, 2, 3, 4, 8)}
    assert max(shares, key=lambda bits: shares[bits]) == 4
    assert shares[4] * 16 == pytest.approx(2.77, abs=0.005)
    with pytest.raises(SimlawError, match="EffectiveFree does not know eff_5, eff_6, eff_7"):
        quest2025.loss(N=1e8, D=1e10, P_w=5)


def test_every_law_says_where_it_is_from():
    for name, law in PUBLISHED.items():
        assert "arXiv" in law.source, name
        assert law.counts, name
        assert set(law.ranges) <= {"N", "D", "U", "G", "X", "M", "P_w", "P_a", "P_kv", "P_post"}, name


def test_a_law_of_the_penalty_is_not_one_of_the_loss():
    with pytest.raises(SimlawError, match="Chinchilla is a law of the whole loss: take the difference of two losses"):
        hoffmann2022.penalty(N=1e9, D=1e10)
