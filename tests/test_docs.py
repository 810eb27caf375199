"""docs/ builds as a site without a warning: every link, formula and entry of the menu is right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from draw_diagrams import pictures

import gclrec

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(DOCS.parent)})
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_in_the_site_and_its_menu(site: Path) -> None:
    menu = (site / "index.html").read_text(encoding="utf-8")
    for page in PAGES:
        address = page.relative_to(DOCS).with_suffix(".html").as_posix()
        assert (site / address).is_file()
        assert address == "index.html" or f'href="{address}"' in menu, address
    assert (site / "searchindex.js").is_file()


def test_formulas_are_rendered(site: Path) -> None:
    page = (site / "concepts" / "augmentations.html").read_text(encoding="utf-8")
    formulas = (DOCS / "concepts" / "augmentations.md").read_text(encoding="utf-8").count("$$ ")
    assert page.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">') == formulas > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_out_of_the_site_name_files(page: Path) -> None:
    """Sphinx checks links between pages; what a page names in the repository has to be there too."""
    for name in re.findall(
        r"`((?:scripts|docs|gclrec|tests|deploy)/[\w./-]+\.\w+)`", page.read_text(encoding="utf-8")
    ):
        assert (DOCS.parent / name).exists(), name


def test_the_pictures_are_those_of_the_code() -> None:
    """The floors are read off the tests of the layout."""
    for name, text in pictures().items():
        path = DOCS / "images" / name
        assert path.read_text(encoding="utf-8") == text, "run: python scripts/draw_diagrams.py"


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "api.html").read_text(encoding="utf-8")
    for name in gclrec.__all__:
        assert re.search(rf'id="gclrec\.{name}"|id="gclrec\.[\w.]+\.{name}"', page), name


@pytest.mark.parametrize("text", ["README.md", "docs/index.md"])
def test_both_entrances_lead_to_every_tutorial(text: str) -> None:
    page = (DOCS.parent / text).read_text(encoding="utf-8")
    for tutorial in (DOCS / "tutorials").glob("*.md"):
        assert f"tutorials/{tutorial.name})" in page


def test_the_readme_links_to_files() -> None:
    page = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"""(?:\]\(|srcset="|src=")([^)"#:]+)[)"#]""", page):
        assert (DOCS.parent / name).is_file(), name


def test_the_citation_is_of_this_version() -> None:
    assert f"version: {gclrec.__version__}\n" in (DOCS.parent / "CITATION.cff").read_text(encoding="utf-8")
