"""Runs every benchmark in a process of its own and writes `bench.json`.

Each `bench_*.py` prints one JSON object (or a list of them) when it is run: name, ratio, bound, ok,
details. Ratios compare two ways of doing the same work in the same process; nothing here is timed
against a clock of another day. `python tests/bench/bench.py pass memory` runs only those named.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def measure(path: Path) -> list[dict[str, Any]]:
    """Runs one benchmark; what it prints is its result."""
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        return [{"name": path.stem, "ok": False, "details": {"error": done.stderr[-2000:]}}]
    found = json.loads(done.stdout)
    return found if isinstance(found, list) else [found]


def main(names: list[str]) -> int:
    """Measures, prints a line per result, and writes them all."""
    chosen = [
        p for p in sorted(HERE.glob("bench_*.py")) if not names or p.stem.removeprefix("bench_") in names
    ]
    results = []
    for path in chosen:
        for result in measure(path):
            results.append(result)
            verdict = "ok  " if result["ok"] else "FAIL"
            print(f"{verdict} {result['name']}: {result.get('ratio')} (bound {result.get('bound')})")
            print("     " + json.dumps(result.get("details", {}))[:600])
    machine = {"platform": platform.platform(), "python": platform.python_version()}
    Path("bench.json").write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")
    return 0 if all(result["ok"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
