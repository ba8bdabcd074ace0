"""Numbers as people read them, and golden texts."""

import math
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import simlaw as sl
from simlaw.observations import loss_observations
from simlaw.report import (
    FitReport,
    TableReport,
    columns,
    count,
    duration,
    power_of_ten,
    precision,
    size,
    span,
    with_error,
)
from tests.planted import planted


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


REPORT = FitReport(
    form="Chinchilla",
    health="VALID",
    sentence="96% of 24 starts agree",
    numbers=[("E", 1.8172, 0.0257), ("alpha", 0.34731, None)],
    facts=[("rows", "240 from 240 trunks")],
)


def test_a_fit_speaks_of_its_health_first():
    assert REPORT.text() == (
        "Chinchilla: VALID (96% of 24 starts agree)\n"
        "  E      1.817 ± 0.026\n"
        "  alpha  0.3473\n"
        "  rows   240 from 240 trunks"
    )


def test_a_table_without_rows_is_its_sentences():
    assert TableReport(tables=[(("a",), ())], sentences=("nothing.",)).text() == "nothing."
    assert TableReport(tables=[(("a",), [("1",)])], sentences=("so",)).text() == "  a\n  1\n\nso"


class Page(HTMLParser):
    """What a page says, tag by tag; raises where a tag is closed that is not open."""

    def __init__(self, html):
        super().__init__()
        self.open, self.said, self.tags = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


def test_html_says_what_the_text_says_health_first():
    page = Page(REPORT.html())
    text = REPORT.text().replace(":", "").replace("(", "").replace(")", "").split()
    said = " ".join(page.said).replace("✓", "").split()
    assert [word for word in said if word not in ("parameters", "fit")] == text
    assert page.said[:3] == ["Chinchilla", " ", "✓ VALID"]
    assert {tag for tag, _ in page.tags} == {
        *("div", "p", "strong", "span"),
        *("table", "caption", "tbody", "tr", "th", "td"),
    }
    assert "NOT_IDENTIFIED" in (sick := replace(REPORT, health="NOT_IDENTIFIED").html())
    assert "✗" in sick


def test_the_badge_stands_out_from_its_colour():
    for health in ("VALID", "AT_BOUND"):
        style = next(attrs["style"] for tag, attrs in Page(replace(REPORT, health=health).html()).tags if tag == "span")
        assert "color:#ffffff" in style
        shade = style.split("background:#")[1][:6]
        r, g, b = (int(shade[i : i + 2], 16) / 255 for i in (0, 2, 4))
        luminance = 0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2
        assert 1.05 / (luminance + 0.05) > 4.5  # the contrast that the web's guidelines ask of text


def test_html_escapes_what_it_says():
    rows = [("<b>", "a & b")]
    for html in (
        TableReport(tables=[(("<i>",), rows)], sentences=("1 < 2 & 3",)).html(),
        replace(REPORT, form="<b>", sentence="<b>", numbers=[("<b>", 1.0, None)], facts=rows).html(),
    ):
        page = Page(html)
        assert not {"b", "i"} & {tag for tag, _ in page.tags}
        assert "<b>" in page.said


def test_all_that_a_notebook_shows_is_html():
    runs = loss_observations(planted(log_loss=0.01))
    found = sl.fit([sl.laws.Chinchilla, sl.laws.Overtrained], runs, bootstrap=0)
    shown = (
        found,
        found.contest,
        sl.allocate(found, flops=1e12),
        sl.decide(sl.published.kumar2024, bytes=82.5e6, flops=1.7e19),
    )
    for value in shown:
        said = " ".join(" ".join(Page(value._repr_html_()).said).split())
        assert str(value).split("\n")[-1] in said
        assert repr(value) == str(value)
    assert found.health in found._repr_html_()
    assert "AICc" in found._repr_html_()


def test_a_range_of_bits_may_end_at_no_quantization():
    assert span(3, 8) == "3 to 8"
    assert span(3, math.inf) == "3 to unquantized"
