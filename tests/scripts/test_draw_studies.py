"""The figures of docs/studies are drawn from the tables of its pages."""

from __future__ import annotations

from pathlib import Path

from draw_studies import STUDIES, draw_plane, draw_times, geometry, times


def test_the_plane_has_the_rows_of_the_table(tmp_path: Path) -> None:
    rows = {name: figures for name, *figures in geometry()}
    assert len(rows) >= 20
    assert "popularity" not in rows  # its vectors are all the same
    assert f"| {rows['lightgcn'][0]} |" in (STUDIES / "methods-compared.md").read_text(encoding="utf-8")
    draw_plane(tmp_path / "plane.svg")
    drawn = (tmp_path / "plane.svg").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in drawn for name in rows)


def test_curves_rise_and_are_drawn(tmp_path: Path) -> None:
    curves = times()
    assert len(curves) >= 6
    for points in curves.values():
        seconds = [second for second, _ in points]
        assert len(points) >= 3
        assert seconds == sorted(seconds)
    draw_times(tmp_path / "times.svg")
    assert "<!-- yelp2018 -->" in (tmp_path / "times.svg").read_text(encoding="utf-8")
