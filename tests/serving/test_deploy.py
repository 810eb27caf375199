"""The container: its requirements are those of the package, and the service imports nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gclrec.common.files import read_toml
from tests.recall.folded_run import folded_run

ROOT = Path(__file__).resolve().parents[2]
ASK = """
import sys
from pathlib import Path
from gclrec.__main__ import app
from gclrec.cli import serve
from gclrec.serving.messages import HistoryRequest, RecommendRequest
from gclrec.serving.server import Setup
setup = Setup(sys.argv[1], sys.argv[1] + ".state")
from gclrec.serving.service import load_served
served = load_served(setup.options)
setup.application(served)
users = served.recommender.users.ids.to_list()
served.recommend(RecommendRequest(users=users, explain=2, filter="interactions > 1", attributes=True))
served.recommend_for(HistoryRequest(items=served.recommender.items.ids.head(3).to_list(), k=5))
served.item_map("", None)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def names_of(requirements: list[str]) -> dict[str, str]:
    """Return requirements by name, without markers."""
    split = (re.match(r"([\w-]+)(?:\[.*\])?(.*)", each.partition(";")[0].strip()) for each in requirements)
    return {found[1]: found[2].strip() for found in split}


@pytest.mark.skipif(not (ROOT / "deploy").is_dir(), reason="the package is installed without its repository")
def test_requirements_of_the_container(tmp_path: Path) -> None:
    project = read_toml(ROOT / "pyproject.toml")["project"]
    lines = (ROOT / "deploy" / "requirements.txt").read_text().splitlines()
    wanted = names_of([line for line in lines if not line.startswith("#")])
    all_of_them = names_of([*project["dependencies"], *project["optional-dependencies"]["serve"]])
    assert {name: all_of_them.get(name) for name in wanted} == wanted
    assert set(names_of(project["optional-dependencies"]["serve"])) <= set(wanted)
    made = folded_run(tmp_path / "run")
    (made.path / "config.toml").write_text('encoder = "lightgcn"\n')
    done = subprocess.run([sys.executable, "-c", ASK, str(made.path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = {"torch-geometric": "torch_geometric", "faiss-cpu": "faiss", "tomli-w": "tomli_w"}
    left_out = {modules.get(name, name) for name in set(all_of_them) - set(wanted)} - {"tomli"}
    assert {"torch", "matplotlib", "networkx"} <= left_out
    assert left_out & set(done.stdout.split()) == set()
