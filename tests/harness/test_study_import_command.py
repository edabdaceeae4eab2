"""`dissectbench study import` prints counts by file and rule, and writes reviews."""

import json

from result_rows import result_row, write_rows
from small_study import small_study

from dissectbench.harness import cli


def test_counts_of_every_rule_are_printed(tmp_path, capsys):
    study = small_study(tmp_path / "study", units=4, images=2)
    rows = [result_row(study, n) for n in range(3)]
    rows.append({**rows[0], "AssignmentId": "A9", "AssignmentStatus": "Rejected"})
    path = write_rows(tmp_path / "batch.csv", rows)
    assert cli.main(["study", "import", str(study.path), str(path)]) == 0
    printed = capsys.readouterr().out
    assert "mturk, source mturk, 4 rows, 4 new" in printed
    assert "4 rows, 3 judgements of units" in printed
    assert "dropped, rejected assignments: 1" in printed
    review = tmp_path / "review.csv"
    command = ["study", "import", str(study.path), str(path), "--json", "--review", str(review)]
    assert cli.main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["dropped"]["rejected"] == 1
    assert report["files"][0]["imported_before"]
    assert report["review"] == {"approve": 3, "reject": 0}
    assert review.exists()


def test_a_review_needs_one_file(tmp_path, capsys):
    study = small_study(tmp_path / "study", units=4, images=2)
    files = [str(write_rows(tmp_path / f"{n}.csv", [result_row(study, n)])) for n in range(2)]
    assert cli.main(["study", "import", str(study.path), *files, "--review", "r.csv"]) == 2
    assert "exactly one file" in capsys.readouterr().err
