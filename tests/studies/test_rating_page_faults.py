"""The server is killed at random moments under load: acknowledged answers stay, none is stored twice."""

import asyncio
import random
import signal
import sqlite3

import pytest
from rating_load import ServerProcess, check_nothing_is_lost, rate_under_load
from rating_server import Rater, address, request, serving
from small_study import small_study

from dissectbench.results.studies.server import PageSettings
from dissectbench.results.studies.server.operations import submit, visit
from dissectbench.results.studies.server.store import NotStoredError, Store, read_rows


@pytest.mark.slow
def test_killed_at_random_moments_the_server_loses_no_acknowledged_answer(tmp_path):
    study = small_study(tmp_path / "study", units=12, checks=1, images=1, raters_per_task=20)
    server = ServerProcess(study, tmp_path / "log")
    server.start()
    generator = random.Random(5)
    kills = [4.0 + 5 * k + 2 * generator.random() for k in range(3)]
    try:
        load = asyncio.run(
            rate_under_load(study, server, raters=20, kills=kills, think=lambda: 2.5 * random.random())
        )
    finally:
        server.stop(signal.SIGTERM)
    assert load.unanswered
    assert not load.statuses
    # An answer that was stored without an acknowledgement is not asked for again.
    assert check_nothing_is_lost(study, load) == 20 * 13
    assert len(load.acknowledged) > 20 * 11
    # 20 raters who answer everything: no task has more answers than raters.
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_an_operation_that_fails_leaves_no_trace_and_spares_the_others(tmp_path):
    study = small_study(tmp_path / "study", units=2)
    first, second = list(study.tasks)[:2]

    async def use(store):
        await store.run(visit("r", 0.0))

        def failing(connection, ledger):
            submit("r", first, {"best": "1"}, 1.0, 0.0)(connection, ledger)
            raise RuntimeError("after the answer was written")

        outcomes = await asyncio.gather(
            store.run(failing), store.run(submit("r", second, {}, 1.0, 0.0)), return_exceptions=True
        )
        assert isinstance(outcomes[0], RuntimeError)
        assert outcomes[1] == 1
        return await store.run(lambda _connection, ledger: ledger.answers_of("r"))

    store = Store(study, PageSettings())
    assert asyncio.run(use(store)) == 1
    store.close()
    assert [row.task for row in read_rows(study)[1]] == [second]


def test_a_full_disk_is_reported_and_the_server_continues(tmp_path):
    study = small_study(tmp_path / "study", units=2)
    task = next(iter(study.tasks))

    async def use(store):
        await store.run(visit("r", 0.0))
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(NotStoredError, match="full"):
            await store.run(submit("r", task, {"comment": "x" * 100_000}, 1.0, 0.0))
        store._connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
        assert await store.run(submit("r", task, {"comment": "y"}, 1.0, 0.0)) == 1

    store = Store(study, PageSettings())
    asyncio.run(use(store))
    store.close()
    [row] = read_rows(study)[1]
    assert row.values == {"comment": "y"}


def test_a_rater_reads_that_an_answer_was_not_stored(tmp_path, monkeypatch):
    study = small_study(tmp_path / "study", units=2)
    with serving(study) as port:
        rater = Rater(port, address(study))
        rater.join()

        def failing(*_arguments):
            raise sqlite3.OperationalError("database or disk is full")

        form = {**rater.fields(), **rater.values()}
        with monkeypatch.context() as patch:
            patch.setattr(Store, "_apply", failing)
            reply = request(port, address(study) + "answer", form)
        assert reply.status == 503
        assert "could not store" in reply.text
        assert request(port, address(study) + "answer", form).status == 303
