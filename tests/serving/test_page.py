"""The page: nothing from elsewhere, scripts that parse, and a browser that uses it, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from tests.recall.folded_run import FoldedRun

from .client import Client
from .conftest import attributes_of
from .test_server import serving

PAGE = files("gclrec.serving").joinpath("page", "index.html").read_text(encoding="utf-8")
SCRIPT = re.search(r"<script>(.*?)</script>", PAGE, re.DOTALL)[1]


class Elements(HTMLParser):
    """Collects tags with their attributes, and tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "input", "option"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_needs_nothing_from_elsewhere(client: Client) -> None:
    answer = client.get("/")
    assert answer.content.decode() == PAGE
    assert answer.headers["content-type"].startswith("text/html")
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    assert not re.search(r"https?://|@import|url\(", PAGE)
    page = Elements()
    page.feed(PAGE)
    assert page.open == []
    assert all(
        values.get("href", "data:").startswith("data:") and "src" not in values for _, values in page.found
    )


def test_every_id_that_the_script_uses_is_there_once() -> None:
    page = Elements()
    page.feed(PAGE)
    ids = [values["id"] for _, values in page.found if "id" in values]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'\bat\("([\w-]+)"\)', SCRIPT)) <= set(ids)
    labelled = {values.get("aria-labelledby") for _, values in page.found} - {None}
    assert labelled <= set(ids)


def test_the_script_calls_addresses_that_exist(client: Client) -> None:
    paths = set(re.findall(r'call\("(/v1/[a-z-]+)', SCRIPT))
    assert paths == {
        "/v1/users",
        "/v1/recommend",
        "/v1/recommend-for",
        "/v1/similar",
        "/v1/items",
        "/v1/run",
        "/v1/map",
    }
    known = {path.replace("/{id}", "") for path in client.get("/openapi.json").json["paths"]}
    assert paths <= known


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_parses(tmp_path: Path) -> None:
    (tmp_path / "page.js").write_text(SCRIPT)
    done = subprocess.run(["node", "--check", str(tmp_path / "page.js")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_uses_it(run: FoldedRun, tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    table = tmp_path / "films.parquet"
    attributes_of(run).write_parquet(table)
    user = str(run.users.ids[3])
    errors: list[str] = []
    with serving(run.path, "--item-attributes", table) as (_, url), api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for width, height, scheme in ((1280, 900, "light"), (390, 844, "dark")):
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(url)
            page.fill("#user", user)
            page.click("#ask button")
            page.wait_for_selector("#list li:nth-child(10)")
            assert page.locator("#history li").count() == len(
                run.known("train", "valid", "test")[3].nonzero()[0]
            )
            page.click("#list li:first-child >> text=Why?")
            numbers = [
                float(each) for each in page.locator("#list li:first-child .parts .figure").all_inner_texts()
            ]
            score = float(page.locator("#list li:first-child > .row > .figure").inner_text())
            assert abs(sum(numbers) - score) < 0.001
            page.click("#list li:nth-child(2) >> text=Similar")
            page.wait_for_selector(".similar li")
            page.fill("#search", "film 58")
            page.click("#find button")
            page.click("#found button")
            page.wait_for_selector("#added button")
            page.locator("#list-about", has_text="folded in").wait_for()
            page.select_option("#colour", "genres")
            page.locator("#legend", has_text="comedy").wait_for()
            page.fill("#filter", "year =")
            page.click("#ask button")
            page.wait_for_selector("#error:not([hidden])")
            assert "position 7" in page.inner_text("#error")
            assert page.evaluate("document.documentElement.scrollWidth") == width
            page.close()
        browser.close()
    assert errors == []
