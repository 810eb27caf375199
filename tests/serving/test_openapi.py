"""The OpenAPI document: its examples are answered, and Schemathesis finds no violation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gclrec.serving.endpoints import ENDPOINTS
from gclrec.serving.messages import Problem
from gclrec.serving.openapi import document
from tests.recall.folded_run import FoldedRun

from .client import Client
from .test_server import serving


def test_every_address_and_example_is_there(client: Client, run: FoldedRun) -> None:
    found = client.get("/openapi.json").json
    assert found == document()
    assert {(path, method) for path, methods in found["paths"].items() for method in methods} == {
        (each.path, each.method.lower()) for each in ENDPOINTS
    }
    examples = 0
    for path, methods in found["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        for example in content.get("application/json", {}).get("examples", {}).values():
            answer = client.post(path, example["value"])
            # Users and items of the examples need not be in this run, but the requests are well formed.
            assert answer.status in (200, 404, 409)
            examples += 1
    assert examples >= 8
    problem = found["components"]["schemas"]["Problem"]
    assert set(problem["properties"]) == set(Problem.__struct_fields__)


def test_schemathesis_finds_no_violation(run: FoldedRun, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    with serving(run.path, "--no-log-requests") as (_, url):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", "all"),
                *("--max-examples", "5", "--seed", "1", "--phases", "examples,coverage,fuzzing"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
