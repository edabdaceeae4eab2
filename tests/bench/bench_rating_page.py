"""Latency of the rating page: 200 raters answer 50 tasks each while the server is killed five times.

An answer counts as acknowledged when the redirect arrives, after the commit. Bound: 99 % within 250 ms.
Raters take 2 to 6 seconds per task, which is several times faster than people.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import numpy as np
from rating_load import ServerProcess, check_nothing_is_lost, rate_under_load
from small_study import small_study

RATERS, TASKS, BOUND = 200, 50, 0.25
KILLS = [30.0, 60.0, 90.0, 120.0, 150.0]
FASTEST, SLOWEST = 2.0, 6.0


def main() -> None:
    """Measures the time from the sending of an answer to its acknowledgement."""
    generator = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        study = small_study(
            Path(folder) / "study", units=TASKS - 2, checks=2, images=4, raters_per_task=RATERS
        )
        server = ServerProcess(study, Path(folder) / "log")
        server.start()
        begin = time.perf_counter()
        try:
            load = asyncio.run(
                rate_under_load(
                    study,
                    server,
                    raters=RATERS,
                    kills=KILLS,
                    think=lambda: generator.uniform(FASTEST, SLOWEST),
                    images="--images" in sys.argv,
                )
            )
        finally:
            server.stop(signal.SIGTERM)
        elapsed = time.perf_counter() - begin
        stored = check_nothing_is_lost(study, load)
    seconds = np.array(load.seconds)
    percentile = float(np.quantile(seconds, 0.99))
    details = {
        "stored": stored,
        "acknowledged": len(load.acknowledged),
        "kills": len(KILLS),
        "unanswered": load.unanswered,
        "statuses": load.statuses,
        "answers_per_second": round(stored / elapsed, 1),
        "median": round(float(np.median(seconds)), 4),
        "page_median": round(float(np.median(load.page_seconds)), 4),
        "within_bound": round(float((seconds <= BOUND).mean()), 5),
        "slowest": round(float(seconds.max()), 3),
    }
    name = (
        f"rating page, {RATERS} raters x {TASKS} tasks, killed {len(KILLS)} times: 99 % of answers within"
    )
    ok = percentile <= BOUND and stored == RATERS * TASKS and not load.statuses
    result = {"name": name, "ratio": round(percentile, 3), "bound": BOUND, "ok": ok, "details": details}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
