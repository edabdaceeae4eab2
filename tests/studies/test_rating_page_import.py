"""Answers of the rating page are imported like any result file."""

import json

import pytest
from rating_server import Rater, address, serving
from small_study import small_study

from dissectbench.harness.cli import main
from dissectbench.results.studies import judge, read_answers
from dissectbench.results.studies.server.store import read_rows


@pytest.mark.parametrize("kind", ["rating", "correlation"])
def test_answers_of_the_page_are_imported_unchanged_and_once(tmp_path, kind, capsys):
    study = small_study(tmp_path / "study", kind=kind, units=4, checks=1)
    path = tmp_path / "answers.csv"
    answers = ["study", "answers", str(study.path), "--out", str(path)]
    with serving(study) as port:
        for number in (1, 2):
            rater = Rater(port, address(study, number))
            rater.join()
            rater.answer(comment='é 🙂, "quoted"\nsecond line; =1+1')
            if number == 1:
                # While the server runs, and once more below with the further answers.
                assert main(answers) == 0
                assert main(["study", "import", str(study.path), str(path)]) == 0
            rater.finish()
    assert main(answers) == 0
    for _ in range(2):
        assert main(["study", "import", str(study.path), str(path)]) == 0
    stored, imported = read_rows(study)[1], read_answers(study)
    assert [row.task_id for row in imported] == [row.task for row in stored]
    assert len(imported) == 10
    for row, original in zip(imported, stored, strict=True):
        assert dict(row.values) == {name: text for name, text in original.values.items() if text}
        assert (row.source, row.status) == ("page", "submitted")
        assert row.rater == study.rater("page", original.rater)
        assert row.seconds == pytest.approx(original.seconds)
        assert row.submitted.startswith("20")
    judgements = judge(study, imported)
    assert len(judgements.accepted) == 8
    assert not judgements.failed_raters
    capsys.readouterr()
    assert main(["study", "import", str(study.path), str(path), "--json"]) == 0
    json.loads(capsys.readouterr().out)
