"""Charts: what is drawn lies where the numbers say, and what cannot be drawn is left out."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gclrec.report.charts import HEIGHT, WIDTH, Effect, Series, chart, forest, number

numbers = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))


def drawn(svg: str) -> ET.Element:
    return ET.fromstring(svg)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30), st.booleans())
def test_everything_lies_inside(points: list[tuple[float, float]], zero: bool) -> None:
    x, y = ([point[n] for point in points] for n in (0, 1))
    root = drawn(chart([Series(x, y, name="a")], label="l", x_label="x", y_label="y", zero=zero))
    circles = root.findall(".//circle")
    assert len(circles) == len(points)
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= HEIGHT
    assert len([t for t in root.findall("text") if "tick" in t.attrib["class"]]) <= 20


def test_places_are_to_scale() -> None:
    svg = chart([Series([1, 2, 4], [0.0, 10.0, 20.0])], label="", x_label="", y_label="")
    at = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in drawn(svg).findall(".//circle")]
    assert (at[2][0] - at[1][0]) == pytest.approx(2 * (at[1][0] - at[0][0]), abs=0.2)
    assert (at[0][1] - at[1][1]) == pytest.approx(at[1][1] - at[2][1], abs=0.2)
    assert at[0][1] > at[2][1]  # upwards
    log = chart([Series([0.01, 0.1, 1], [1, 2, 3])], label="", x_label="", y_label="", log_x=True)
    across = [float(c.attrib["cx"]) for c in drawn(log).findall(".//circle")]
    assert across[2] - across[1] == pytest.approx(across[1] - across[0], abs=0.2)
    names = [t.text for t in drawn(log).findall("text") if "mid" in t.attrib["class"]]
    assert {"0.01", "0.1", "1"} <= set(names)


def test_what_is_not_a_number_is_left_out() -> None:
    series = Series(
        [1, 2, 3], [1.0, math.nan, 3.0], [0.5, 0.5, math.inf], [1.5, 1.5, 4.0], notes=["a", "b", "c"]
    )
    root = drawn(chart([series, Series([], [])], label="", x_label="", y_label=""))
    assert [t.text for t in root.findall(".//title")] == ["1.0000 [0.5000, 1.5000] a"]
    assert chart([Series([], []), Series([1], [math.nan])], label="", x_label="", y_label="") == ""
    assert forest([], label="", x_label="") == ""


def test_intervals_and_bands() -> None:
    points = {"x": [1.0, 2.0], "y": [1.0, 2.0], "low": [0.0, 1.0], "high": [2.0, 3.0]}
    bars = drawn(chart([Series(**points)], label="", x_label="", y_label=""))
    assert len(bars.findall(".//path")) == 2
    band = drawn(chart([Series(**points, band=True)], label="", x_label="", y_label=""))
    assert len(band.findall(".//polygon")) == 1
    assert not band.findall(".//path")


def test_text_is_escaped() -> None:
    svg = chart([Series([1], [1], name="<b>")], label='"&', x_label="<i>", y_label="&", x_names={1.0: "<u>"})
    root = drawn(svg)
    assert root.attrib["aria-label"] == '"&'
    assert {"<i>", "&", "<u>"} <= {t.text for t in root.findall("text")}


def test_forest_fills_what_is_sure() -> None:
    svg = forest(
        [
            Effect("all", 0.1, 0.05, 0.15, sure=True),
            Effect("tail", -0.1, -0.3, 0.1, sure=False),
            Effect("few", 0.02, None, None, sure=False),
        ],
        label="",
        x_label="difference",
    )
    root = drawn(svg)
    circles = root.findall(".//circle")
    assert [c.attrib.get("class") for c in circles] == [None, "open", "open"]
    assert len(root.findall(".//path")) == 2
    zero = next(float(line.attrib["x1"]) for line in root.findall("line") if line.attrib["class"] == "zero")
    assert float(circles[0].attrib["cx"]) > zero > float(circles[1].attrib["cx"])


@pytest.mark.parametrize("values", [[0.0, 1.0], [-0.0004, 0.0003], [12_000, 98_000], [5, 5], [0, 0]])
def test_ticks_are_round_and_few(values: list[float]) -> None:
    root = drawn(chart([Series([0, 1], values)], label="", x_label="", y_label="", signed=True))
    names = [t.text or "" for t in root.findall("text") if "end" in t.attrib["class"]]
    assert 2 <= len(names) <= 8
    for name in names:
        assert re.fullmatch(r"[+-]?[\d,]+(\.\d+)?", name)
        digits = name.lstrip("+-").replace(",", "").replace(".", "").strip("0")
        assert len(digits) <= 3, name


def test_numbers_have_the_digits_a_reader_needs() -> None:
    assert [number(v) for v in (0, 0.12345, 3.14159, 12345.6, 0.0000123)] == [
        "0.0000", "0.1235", "3.1416", "12,346", "1.23e-05",
    ]  # fmt: skip
    assert number(0.5, signed=True) == "+0.5000"
