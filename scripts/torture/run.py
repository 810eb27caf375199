"""Run a campaign: what is done to gclrec on purpose, and how it ends.

    python scripts/torture/run.py kill --rounds 20 --seed 0
    python scripts/torture/run.py fuzz --count 10000 --seed 0
    python scripts/torture/run.py ranks --rounds 20 --seed 0
    python scripts/torture/run.py serve --seconds 1200 --seed 0 --run runs/gowalla

The exit code is 1 if anything ended badly. What each campaign does is told in its module and in
docs/studies/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import concurrency
import kill
import limits
import ranks
import serving
import signals
from rounds import COMMANDS


def main() -> int:
    """Run the campaign that is named, print its faults and its counts."""
    if sys.argv[1:2] == ["fuzz"]:
        return subprocess.call([sys.executable, str(Path(__file__).with_name("fuzz.py")), *sys.argv[2:]])
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "campaign", choices=["kill", "limits", "signals", "concurrency", "ranks", "serve", "fuzz"]
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=(), choices=COMMANDS, help="for kill and limits")
    parser.add_argument("--seconds", type=float, default=60, help="for serve")
    parser.add_argument("--run", type=Path, help="for serve: a run folder, which is changed")
    parser.add_argument("--workers", type=int, default=1, help="for serve")
    given = parser.parse_args()
    if given.campaign == "serve":
        served = serving.campaign(given.seconds, given.seed, run=given.run, workers=given.workers)
        print(json.dumps(served))
        return int(bool(served["faults"]))
    if given.campaign in ("kill", "limits"):
        by_command = {"kill": kill, "limits": limits}[given.campaign].campaign(
            given.rounds, given.seed, given.only
        )
        print(json.dumps(by_command, indent=2))
        return int(any(count.get("faults") for count in by_command.values()))
    others = {"signals": signals, "concurrency": concurrency, "ranks": ranks}
    found = others[given.campaign].campaign(given.rounds, given.seed)
    print(json.dumps(found))
    return int(bool(found["faults"]))


if __name__ == "__main__":
    sys.exit(main())
