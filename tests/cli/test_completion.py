"""``gclrec completion``: what the tab key offers in bash, and that every shell gets a script."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

from gclrec.contrast import SSL
from gclrec.settings.methods import METHODS

from .conftest import Outcome


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_what_bash_offers(gclrec: Callable[..., Outcome]) -> None:
    script = gclrec("completion", "bash").out

    def offered(*words: str) -> set[str]:
        line = " ".join(words)
        typed = f"COMP_WORDS=({line or ' '}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; _gclrec"
        done = subprocess.run(
            ["bash", "-c", f'{script}\n{typed}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
            capture_output=True,
            text=True,
            check=True,
        )
        return set(done.stdout.split())

    assert {"train", "temperature", "tune"} <= offered("gclrec", "t")
    assert offered("gclrec", "tra") == {"train"}
    assert "--learning-rate" in offered("gclrec", "train", "--lea")
    assert offered("gclrec", "train", "--aug", "edge") == {"edge_drop", "edge_perturb"}
    assert offered("gclrec", "tune", "--method", "sgl") == {
        name for name in METHODS if name.startswith("sgl")
    }
    assert offered("gclrec", "compare", "--ssl", "m") == {name for name in SSL if name.startswith("m")}
    # What the script knows changes nothing about how flags are parsed: a wrong name has its own message.
    assert "'sgll' is not one of auto, gcl" in gclrec("train", "--method", "sgll").error


@pytest.mark.parametrize("shell", ["zsh", "fish", "powershell"])
def test_other_shells_have_a_script(shell: str, gclrec: Callable[..., Outcome]) -> None:
    outcome = gclrec("completion", shell)
    assert outcome.code == 0
    for word in ("recommend", "learning-rate", "xsimgcl", "edge_perturb"):
        assert word in outcome.out


def test_another_shell_is_refused(gclrec: Callable[..., Outcome]) -> None:
    assert "tcsh" in gclrec("completion", "tcsh").error
