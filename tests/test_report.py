"""Numbers as people read them, and golden texts."""

import math

import pytest

from simlaw.report import columns, count, duration, fit_text, power_of_ten, precision, size, with_error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (count(26624), "26.6k"),
        (count(999.6), "1k"),
        (count(10_485_760), "10.5M"),
        (count(3e12), "3T"),
        (count(7), "7"),
        (size(29_000), "29 kB"),
        (size(941.4), "941 bytes"),
        (size(16e6), "16 MB"),
        (size(1e12), "1 TB"),
        (count(1e20), "1e+20"),
        (precision(4.0), "int4"),
        (precision(math.inf), "16 bit"),
        (power_of_ten(1e12), "1e12"),
        (power_of_ten(8.4e11), "8.4e11"),
        (duration(40), "40 s"),
        (duration(210), "3.5 min"),
        (duration(7600), "2.1 h"),
    ],
)
def test_numbers(text, expected):
    assert text == expected


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.5248, 0.0203, "0.525 ± 0.020"),
        (3936.2, 2096.0, "3936 ± 2096"),
        (0.0034, 0.0033, "0.0034 ± 0.0033"),
        (1.5, 0.0, "1.5"),
        (477.8258, float("nan"), "477.8"),
        (2.0e6, 1.0e6, "2e+06 ± 1e+06"),
        (-0.0123, 0.0456, "-0.012 ± 0.046"),
    ],
)
def test_values_are_rounded_by_their_errors(value, error, expected):
    assert with_error(value, error) == expected


def test_columns():
    assert columns(("name", "n"), [("a", "1"), ("long one", "23")]) == "  name       n\n  a          1\n  long one  23"


def test_a_fit_speaks_of_its_health_first():
    text = fit_text(
        form="Chinchilla",
        health="VALID",
        sentence="96% of 24 starts agree",
        numbers=[("E", 1.8172, 0.0257), ("alpha", 0.34731, None)],
        facts=[("rows", "240 from 240 trunks")],
    )
    assert text == (
        "Chinchilla: VALID (96% of 24 starts agree)\n"
        "  E      1.817 ± 0.026\n"
        "  alpha  0.3473\n"
        "  rows   240 from 240 trunks"
    )
