"""Charts: points lie where the numbers say, what cannot be drawn is left out, and a page can hold them."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.report.charts import HEIGHT, SERIES, WIDTH, Effect, Series, chart, forest, number

numbers = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))


def drawn(svg: str) -> ET.Element:
    return ET.fromstring(svg.replace(' xmlns="http://www.w3.org/2000/svg"', ""))


def points(root: ET.Element) -> list[tuple[float, float]]:
    return [(float(mark.attrib["x"]), float(mark.attrib["y"])) for mark in root.findall(".//use")]


def tips(root: ET.Element) -> list[str | None]:
    return [title.text for title in root.findall(".//use/title")]


def texts(root: ET.Element, kind: str = "") -> list[str]:
    """Texts of the chart, or those of its ``xtick`` or ``ytick`` groups alone."""
    return [text.text or "" for text in root.findall(f".//g[@class='{kind}']//text" if kind else ".//text")]


def parts(root: ET.Element, kind: str) -> list[ET.Element]:
    return root.findall(f".//g[@class='{kind}']/path")


@settings(deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30), st.booleans())
def test_everything_lies_inside(pairs: list[tuple[float, float]], zero: bool) -> None:
    x, y = ([pair[n] for pair in pairs] for n in (0, 1))
    root = drawn(chart([Series(x, y, name="a")], label="l", x_label="x", y_label="y", zero=zero))
    places = points(root)
    assert len(places) == len(pairs)
    for across, down in places:
        assert 0 <= across <= WIDTH
        assert 0 <= down <= HEIGHT
    assert len(texts(root, "xtick") + texts(root, "ytick")) <= 20
    assert root.attrib["viewBox"] == f"0 0 {WIDTH} {HEIGHT}"


def test_places_are_to_scale() -> None:
    svg = chart([Series([1, 2, 4], [0.0, 10.0, 20.0])], label="", x_label="", y_label="")
    at = points(drawn(svg))
    assert (at[2][0] - at[1][0]) == pytest.approx(2 * (at[1][0] - at[0][0]), abs=0.2)
    assert (at[0][1] - at[1][1]) == pytest.approx(at[1][1] - at[2][1], abs=0.2)
    assert at[0][1] > at[2][1]  # upwards
    log = drawn(chart([Series([0.01, 0.1, 1], [1, 2, 3])], label="", x_label="", y_label="", log_x=True))
    across = [x for x, _ in points(log)]
    assert across[2] - across[1] == pytest.approx(across[1] - across[0], abs=0.2)
    assert {"0.01", "0.1", "1"} <= set(texts(log, "xtick"))


def test_what_is_not_a_number_is_left_out() -> None:
    series = Series(
        [1, 2, 3], [1.0, math.nan, 3.0], [0.5, 0.5, math.inf], [1.5, 1.5, 4.0], notes=["a", "b", "c"]
    )
    root = drawn(chart([series, Series([], [])], label="", x_label="", y_label=""))
    assert tips(root) == ["1.0000 [0.5000, 1.5000] a"]
    assert chart([Series([], []), Series([1], [math.nan])], label="", x_label="", y_label="") == ""
    assert forest([], label="", x_label="") == ""


def test_every_point_tells_its_own_values() -> None:
    """Tooltips are matched to markers by order, across series with and without markers, lines and bands."""
    several = [
        Series([1, 2], [1.0, 2.0], [0.0, 1.0], [2.0, 3.0], name="band", band=True),
        Series([1, 2], [5.0, 6.0], name="bare", marks=False),
        Series([1, 2], [3.0, 4.0], [2.5, 3.5], [3.5, 4.5], name="bars", line=False, faint=True),
    ]
    root = drawn(chart(several, label="", x_label="", y_label=""))
    assert tips(root) == [
        *("band: 1.0000", "band: 2.0000"),
        *("bars: 3.0000 [2.5000, 3.5000]", "bars: 4.0000 [3.5000, 4.5000]"),
    ]
    heights = [down for _, down in points(root)]
    assert heights == sorted(heights, reverse=True)  # 1, 2, 3, 4 from the bottom up


def test_intervals_and_bands() -> None:
    values = {"x": [1.0, 2.0], "y": [1.0, 2.0], "low": [0.0, 1.0], "high": [2.0, 3.0]}
    bars = drawn(chart([Series(**values)], label="", x_label="", y_label=""))
    assert len(parts(bars, "interval")) == 2
    band = drawn(chart([Series(**values, band=True)], label="", x_label="", y_label=""))
    assert len(parts(band, "band")) == 1
    assert not parts(band, "interval")


@pytest.mark.parametrize("name", ["<b>", "<script>alert(1)</script>", "a & b", "$x$", "$", "100 %", "\\frac"])
def test_text_is_escaped(name: str) -> None:
    series = Series([1], [1], name=name)
    svg = chart([series], label=f'"&{name}', x_label=name, y_label="&", x_names={1.0: f"<u>{name}"})
    root = drawn(svg)
    assert root.attrib["aria-label"] == f'"&{name}'
    assert root.attrib["role"] == "img"
    assert {name, "&", f"<u>{name}"} <= set(texts(root))
    assert tips(root) == [f"{name}: 1.0000"]
    assert "<script" not in svg
    assert name in texts(drawn(forest([Effect(name, 1.0, 0.5, 2.0, filled=True)], label="", x_label="")))


@pytest.mark.filterwarnings("error")
def test_text_of_any_script() -> None:
    """Neither a character that the drawing font lacks nor one that XML forbids is in the way."""
    root = drawn(chart([Series([1], [1], name="日本")], label="日本", x_label="日本", y_label="a\x07b"))
    assert {"日本", "a b"} <= set(texts(root))


def test_forest_fills_what_is_sure() -> None:
    svg = forest(
        [
            Effect("all", 0.1, 0.05, 0.15, filled=True),
            Effect("tail", -0.1, -0.3, 0.1, filled=False),
            Effect("few", 0.02, None, None, filled=False),
        ],
        label="",
        x_label="difference",
    )
    root = drawn(svg)
    marks = [g.attrib["class"] for g in root.iter("g") if g.attrib.get("class") in ("filled", "open")]
    assert marks == ["filled", "open", "open"]
    assert "var(--panel)" in root.findall(".//g[@class='open']//use")[0].attrib["style"]
    assert len(parts(root, "interval")) == 2
    zero = float(parts(root, "zero")[0].attrib["d"].split()[1])
    (first, _), (second, _), _ = points(root)
    assert first > zero > second
    assert tips(root) == [
        "all: +0.1000 [+0.0500, +0.1500]",
        "tail: -0.1000 [-0.3000, +0.1000]",
        "few: +0.0200",
    ]
    assert texts(root, "ytick") == ["all", "tail", "few"]


@pytest.mark.parametrize("values", [[0.0, 1.0], [-0.0004, 0.0003], [12_000, 98_000], [5, 5], [0, 0]])
def test_ticks_are_round_and_few(values: list[float]) -> None:
    root = drawn(chart([Series([0, 1], values)], label="", x_label="", y_label="", signed=True))
    names = texts(root, "ytick")
    assert 2 <= len(names) <= 8
    for name in names:
        assert re.fullmatch(r"[+-]?[\d,]+(\.\d+)?", name)
        digits = name.lstrip("+-").replace(",", "").replace(".", "").strip("0")
        assert len(digits) <= 3, name


def test_epochs_have_whole_ticks() -> None:
    root = drawn(chart([Series([1, 2, 3], [0.1, 0.2, 0.3])], label="", x_label="epoch", y_label=""))
    assert texts(root, "xtick") == ["1", "2", "3"]


def test_numbers_have_the_digits_a_reader_needs() -> None:
    assert [number(v) for v in (0, 0.12345, 3.14159, 12345.6, 0.0000123)] == [
        "0.0000", "0.1235", "3.1416", "12,346", "1.23e-05",
    ]  # fmt: skip
    assert number(0.5, signed=True) == "+0.5000"


def test_several_charts_fit_on_one_page() -> None:
    """The same numbers give the same text; styles, ids and colours do not reach beyond their own chart."""
    series = [Series([1, 2], [1.0, 2.0], colour=n, name=str(n)) for n in range(len(SERIES) + 1)]
    one, again, other = (chart(series, label=label, x_label="x", y_label="y") for label in ("a", "a", "b"))
    assert one == again
    ids = [re.findall(r' id="(\w+)"', svg) for svg in (one, other)]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    for text in ("<style", "url(", "<metadata", "<!--", "font"):
        assert text not in one
    assert not set(re.findall(r"#[0-9a-f]{6}\b", one))  # all colours are the page's
    assert {f"var(--c{n})" for n in range(len(SERIES))} <= set(re.findall(r"var\(--c\d\)", one))
    assert one.count("stroke-dasharray") == 1  # the ninth series repeats the first colour


def test_matplotlib_is_loaded_when_something_is_drawn() -> None:
    code = (
        "import sys, gclrec.report.run_report as r; assert 'matplotlib' not in sys.modules\n"
        "r.chart([r.Series([1], [1])], label='', x_label='', y_label='')\n"
        "assert 'matplotlib' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
