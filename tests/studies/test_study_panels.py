"""Links for raters, URLs of panels, completion codes and return addresses."""

import csv
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from rating_server import Rater, request, serving
from small_study import FIRST_UNIT, LAYERS, METHODS, TARGET, small_study

from dissectbench.harness import exit_codes
from dissectbench.harness.cli import main
from dissectbench.harness.commands.study_export import TARGETS
from dissectbench.results.studies.server.panels import PANELS, participant, return_url, study_path
from dissectbench.results.studies.server.settings import PageSettings, read_settings
from dissectbench.results.studies.server.tokens import (
    code_prefix,
    completion_code,
    panel_code,
    rater_of,
    rater_token,
)

IDS = {"prolific": "5f1e0c0a2b3c4d5e6f708192", "connect": "C0FFEE12345678", "sona": "48151"}


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path / "study", units=3)


@pytest.mark.parametrize("panel", PANELS)
def test_a_participant_of_a_panel_answers_and_returns(study, panel):
    settings = "return_url: https://panel.example.org/done?code={code}&id={%s}\n"
    (study.path / "page.yaml").write_text(settings % PANELS[panel].participant)
    path = study_path(study, panel)
    url = path.partition("?")[0] + f"?{PANELS[panel].participant}={IDS[panel]}&SESSION_ID=s1&evil=x"
    with serving(study) as port:
        rater = Rater(port, url)
        rater.go(url)
        assert f"the identification that {PANELS[panel].title} sent" in rater.page.replace("\n", " ")
        rater.go("consent", rater.fields())
        rater.go("task/1")
        rater.answer()
        # The panel's link leads to the same place again.
        again = Rater(port, url)
        again.go(url)
        assert again.task == rater.task
        rater.finish()
        expected = f"https://panel.example.org/done?code={panel_code(study, panel)}&amp;id={IDS[panel]}"
        assert f'href="{expected}"' in rater.page
    answers, raters = study.path / "answers.csv", study.path / "raters.csv"
    assert (
        main(["study", "answers", str(study.path), "--out", str(answers), "--raters", str(raters)]) == 0
    )
    with raters.open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["source"], row["participant"]) == (panel, IDS[panel])
    assert row["WorkerId"] == study.rater(panel, IDS[panel])
    assert IDS[panel] not in answers.read_text()


@pytest.mark.parametrize(
    "value", ["", "x", "a b c d e f g h", "../../etc", "1" * 200, "{{%PROLIFIC_PID%}}"]
)
def test_a_url_that_identifies_nobody_is_refused(study, value):
    for panel in PANELS:
        assert participant(panel, {PANELS[panel].participant: value}) is None


def test_a_study_url_of_a_panel_is_secret(study):
    with serving(study) as port:
        path = study_path(study, "sona").partition("?")[0]
        assert request(port, path + "?survey_code=48151").status == 303
        assert request(port, path[:-1] + "?survey_code=48151").status == 404
        other = path.replace("/sona/", "/prolific/")
        assert request(port, other + "?PROLIFIC_PID=5f1e0c0a2b3c4d5e").status == 404


def test_values_in_return_addresses_are_encoded(study):
    settings = PageSettings(return_url="https://x.example/{survey_code}?{unknown}&{code}")
    url = return_url(study, settings, "sona", {"survey_code": 'a"&/?{code}'})
    assert url == f"https://x.example/a%22%26%2F%3F%7Bcode%7D?&{panel_code(study, 'sona')}"
    assert return_url(study, PageSettings(), "prolific", {}).startswith("https://app.prolific.com/")


def test_completion_codes_are_verified(study, capsys):
    rater = study.rater("link", "1")
    code = completion_code(study, rater)
    assert code_prefix(study, f" {code.lower().replace('-', ' ')} ") == rater[:6]
    for forged in (
        code[:-1] + ("A" if code[-1] != "A" else "B"),
        "",
        "é",
        "000000-AAAAAAAAAA",
        code + "A",
    ):
        assert code_prefix(study, forged) is None
    # Nobody has finished here: a genuine code of an unknown rater is no proof of work.
    assert main(["study", "verify", str(study.path), code, "--json"]) == exit_codes.FAILED_UNITS
    [verdict] = json.loads(capsys.readouterr().out)["codes"]
    assert "no rater of the database" in verdict["text"]
    assert main(["study", "verify", str(study.path), panel_code(study, "connect").lower()]) == 0
    assert "CloudResearch Connect" in capsys.readouterr().out


def test_codes_of_another_study_are_not_valid(study, tmp_path):
    other = small_study(tmp_path / "other", units=3, seed=1)
    rater = study.rater("link", "1")
    assert code_prefix(other, completion_code(study, rater)) is None
    assert panel_code(other, "sona") != panel_code(study, "sona")
    assert rater_of(other, rater_token(study, rater)) is None


def test_links_lead_to_the_page_and_more_links_keep_the_first(study, tmp_path, capsys):
    command = [
        "study",
        "export",
        str(study.path),
        "--to",
        "links",
        "--url",
        "https://rate.example.org/x/",
    ]
    assert main([*command, "--raters", "2", "--out", str(tmp_path / "two")]) == 0
    assert main([*command, "--raters", "5", "--json"]) == 0
    [path] = json.loads(capsys.readouterr().out.split("\n", 1)[1])["files"]
    with Path(path).open(newline="") as file:
        five = list(csv.DictReader(file))
    with (tmp_path / "two" / "links.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == five[:2]
    assert all(row["link"].startswith("https://rate.example.org/x/s/") for row in five)
    with serving(study) as port:
        assert request(port, urlsplit(five[4]["link"]).path.removeprefix("/x")).status == 200


@pytest.mark.parametrize("panel", PANELS)
def test_the_settings_of_a_panel_are_complete_and_name_no_method(study, panel, tmp_path):
    out = tmp_path / "out"
    command = ["study", "export", str(study.path), "--to", panel, "--out", str(out)]
    assert main([*command, "--url", "https://rate.example.org"]) == 0
    content = json.loads((out / f"{panel}.json").read_text(encoding="utf-8"))
    address = content.get("external_study_url") or content["study_url"]
    assert address == "https://rate.example.org" + study_path(study, panel)
    assert content["total_available_places"] == 3
    with (out / "tasks.csv").open(encoding="utf-8", newline="") as file:
        assert [row["task_id"] for row in csv.DictReader(file)] == list(study.tasks)
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(out.iterdir()))
    assert panel_code(study, panel) in text
    for hidden in (*METHODS, *LAYERS, TARGET, str(FIRST_UNIT)):
        assert hidden not in text


def test_prolific_replaces_its_parameters(study):
    query = study_path(study, "prolific").partition("?")[2]
    assert query == "PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}"
    assert study_path(study, "sona").endswith("?survey_code=%SURVEY_CODE%")
    assert "?" not in study_path(study, "connect")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "links", "--raters", "2"], "--url"),
        (["--to", "links", "--url", "https://x.example"], "--raters"),
        (["--to", "sona", "--url", "rate.example.org"], "not the address"),
        (["--to", "links", "--url", "https://x.example", "--raters", "0"], "at least 1"),
    ],
)
def test_an_export_without_what_it_needs_says_so(study, arguments, message, capsys):
    assert main(["study", "export", str(study.path), *arguments]) == exit_codes.INVALID_INPUT
    assert message in capsys.readouterr().err


def test_every_target_is_a_choice_of_the_command(capsys):
    with pytest.raises(SystemExit):
        main(["study", "export", "--help"])
    [choices] = re.findall(r"--to \{([^}]+)\}", "".join(capsys.readouterr().out.split("\n")))
    assert set(re.sub(r"\s", "", choices).split(",")) == set(TARGETS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks_per_rate: 3", "did you mean tasks_per_rater"),
        ("tasks_per_rater: 0", "at least 1"),
        ("tasks_per_rater: many", "expected int"),
        ("contact: [a]", "expected str"),
        ("- a", "lines NAME: VALUE"),
        ("a: b: c", "not the settings"),
    ],
)
def test_wrong_settings_of_the_page_are_explained(study, text, message):
    from dissectbench.harness.errors import InputError

    (study.path / "page.yaml").write_text(text)
    with pytest.raises(InputError, match=r"page\.yaml|tasks_per_rater") as error:
        read_settings(study)
    assert message in str(error.value)


def test_settings_of_the_page_change_how_many_tasks_a_rater_gets(study):
    (study.path / "page.yaml").write_text(
        "tasks_per_rater: 2\ntimeout_minutes: 5\ncontact: a@example.org"
    )
    assert read_settings(study) == PageSettings(2, 5.0, contact="a@example.org")
    (study.path / "page.yaml").write_text("")
    assert read_settings(study) == PageSettings()
