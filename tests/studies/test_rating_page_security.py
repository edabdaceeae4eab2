"""What the rating page never does: leave the image folder, show what is private, log tokens."""

import re
import shutil
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from rating_server import Rater, address, request, serving, until
from small_study import FIRST_UNIT, LAYERS, METHODS, TARGET, small_study

from dissectbench.results.studies.server.limits import WrongTokens
from dissectbench.results.studies.server.panels import study_path
from dissectbench.results.studies.server.tokens import admin_token, rater_token, slug


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = small_study(tmp_path_factory.mktemp("study") / "alder_layer4", units=3, repeats=1)
    # Neither a link nor a file of another kind is an image.
    (study.images / "linked.jpg").symlink_to(study.path / "key.csv")
    shutil.copy(study.path / "key.csv", study.images / "notes.csv")
    return study


@pytest.fixture(scope="module")
def port(study):
    with serving(study, wrong_tokens=WrongTokens(tries=1_000_000)) as port:
        yield port


@pytest.fixture(scope="module")
def image(study):
    return next(iter(study.tasks.values())).images[0]


def raw(port, target):
    """Sends a request target as it is, without any normalisation, and returns the status and the body."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        reply = b""
        while part := connection.recv(65536):
            reply += part
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../key.csv",
            "..%2fkey.csv",
            "%2e%2e/key.csv",
            "%2e%2e%2fkey.csv",
            "..%5ckey.csv",
            "....//key.csv",
        ),
        *("../images/../secret.json", "./../page.sqlite3", "%252e%252e%252fkey.csv", "..%c0%afkey.csv"),
        *("/etc/passwd", "%2fetc%2fpasswd", "//etc/passwd", "file:///etc/passwd", "~/.bashrc"),
        *(
            "linked.jpg",
            "notes.csv",
            "",
            ".",
            "..",
            "key.csv",
            "%00",
            "IMAGE%00",
            "IMAGE/",
            "IMAGE%2f..",
            "%ff",
        ),
    ],
)
def test_no_path_leaves_the_image_folder(port, study, image, name):
    target = (address(study) + "images/" + name.replace("IMAGE", image)).encode()
    status, body = raw(port, target)
    assert status in (400, 404)
    for secret in (b"method_of", b"root:", b"salt", b"SQLite"):
        assert secret not in body


def test_images_are_sent_as_they_are_and_may_be_cached(port, study, image):
    reply = request(port, address(study) + "images/" + image)
    assert reply.content == (study.images / image).read_bytes()
    assert reply.headers["content-type"] == "image/jpeg"
    assert "immutable" in reply.headers["cache-control"]
    # Images are for raters only.
    assert request(port, f"/s/{slug(study)}/{'0' * 48}/images/{image}").status == 404


def every_page(port, study):
    """The replies of every route to a rater who goes through the study, and to wrong requests."""
    replies = [request(port, path) for path in ("/", "/health", "/favicon.ico", "/nothing", "/s/x/y/")]
    replies += [request(port, address(study)[:-1]), request(port, address(study) + "done")]
    panel = study_path(study, "prolific").partition("?")[0]
    replies += [request(port, panel), request(port, panel + "?PROLIFIC_PID=5f1e0c0a2b3c4d5e6f708192")]
    rater = Rater(port, address(study, 7))
    replies += [rater.go(rater.start), rater.go("consent", {}), rater.go(rater.start)]
    replies += [rater.go("consent", rater.fields()), rater.go("task/1"), rater.answer(best="")]
    rater.go(rater.start + "task/1")
    while rater.task:
        replies.append(rater.answer())
    replies += [
        rater.go(rater.start + path)
        for path in ("task/1", "task/999", "instructions", "images/x", "done")
    ]
    replies += [
        request(port, address(study, 7) + "answer", {}),
        request(port, address(study, 7) + "answer"),
    ]
    for task in study.tasks.values():
        replies += [request(port, address(study, 7) + "images/" + image) for image in task.images]
    return replies


def test_raters_see_nothing_of_methods_layers_units_targets_or_keys(port, study):
    secrets = (study.path / "secret.json").read_text(encoding="utf-8")
    hidden = [*METHODS, *LAYERS, TARGET, *(str(FIRST_UNIT + k) for k in range(3)), study.path.name]
    hidden += [*re.findall(r"[0-9a-f]{64}", secrets), admin_token(study)]
    replies = every_page(port, study)
    assert {200, 204, 303, 400, 403, 404, 405, 422} <= {reply.status for reply in replies}
    for reply in replies:
        everything = f"{reply.headers}".encode() + reply.content
        for text in hidden:
            assert text.encode() not in everything, text
        # Nor what a task is for. The style and the script have words of their own.
        shown = re.sub(rb"<(style|script)>.*?</\1>", b"", reply.content, flags=re.S)
        for role in (b"attention", b"gold", b"repeat"):
            assert role not in shown


def test_every_reply_has_the_security_headers(port, study):
    for reply in every_page(port, study):
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cache-control"] in ("no-store", "private, max-age=31536000, immutable")
        assert "server" not in reply.headers
        assert "set-cookie" not in reply.headers


def test_all_addresses_are_relative_so_that_a_proxy_may_serve_them_under_any_path(port, study):
    for reply in every_page(port, study):
        addresses = re.findall(r'(?:href|src|action)="([^"]+)"', reply.content.decode("latin-1"))
        addresses += [reply.headers["location"]] if reply.status == 303 else []
        for target in addresses:
            assert not target.startswith("/")
            assert "://" not in target


def test_raters_behind_a_proxy_have_limits_of_their_own(tmp_path):
    study = small_study(tmp_path / "study", units=1)
    with serving(study, wrong_tokens=WrongTokens(tries=2, seconds=1000)) as port:
        wrong = f"/s/{slug(study)}/{'0' * 48}/"
        statuses = [request(port, wrong, x_forwarded_for="203.0.113.1").status for _ in range(3)]
        assert statuses == [404, 404, 429]
        assert request(port, wrong, x_forwarded_for="203.0.113.2").status == 404
        # What the client itself claims, left of the address that the proxy added, does not count.
        assert request(port, wrong, x_forwarded_for="203.0.113.9, 203.0.113.1").status == 429


def test_a_form_is_accepted_only_from_the_rater_it_was_sent_to(port, study):
    anna, ben = Rater(port, address(study, 20)), Rater(port, address(study, 21))
    anna.join()
    ben.join()
    form = {**anna.fields(), **anna.values()}
    for stolen in (form, {**form, "form": ""}, {**form, "form": "é"}, {**form, "task_id": "unknown"}):
        assert request(port, address(study, 21) + "answer", stolen).status == 403
    others = [task for task in study.tasks if task != anna.task]
    assert request(port, address(study, 20) + "answer", {**form, "task_id": others[0]}).status == 403
    assert request(port, address(study, 20) + "answer", {**form, "design": "0" * 64}).status == 409
    assert request(port, address(study, 21) + "consent", {"form": anna.fields()["form"]}).status == 403


def test_nothing_is_shown_or_stored_before_the_consent(port, study):
    start = address(study, 30)
    for page in ("instructions", "task/1", "done"):
        reply = request(port, start + page)
        assert reply.status == 303
        assert urllib.parse.urljoin(start + page, reply.headers["location"]) == start


@pytest.mark.parametrize("token", ["", "x", "é", "0" * 48, "0" * 47, "Z" * 48])
def test_wrong_tokens_are_not_found(port, study, token):
    quoted = urllib.parse.quote(token)
    for path in (
        f"/s/{slug(study)}/{quoted}/",
        f"/a/{slug(study)}/{quoted}/",
        f"/a/x/{quoted}/raters.csv",
    ):
        assert request(port, path).status == 404
    assert request(port, f"/p/{slug(study)}/prolific/{quoted}?PROLIFIC_PID=abcdefgh12").status == 404


def test_tokens_of_one_purpose_are_not_valid_for_another(port, study):
    rater, admin = rater_token(study, study.rater("link", "1")), admin_token(study)
    assert request(port, f"/a/{slug(study)}/{rater}/").status == 404
    assert request(port, f"/s/{slug(study)}/{admin}/").status == 404
    assert request(port, f"/a/{slug(study)}/{admin}/").status == 200
    for page in ("results.csv", "raters.csv"):
        assert request(port, f"/a/{slug(study)}/{rater}/{page}").status == 404
        assert request(port, f"/a/{slug(study)}/{admin}/{page}").status == 200


def test_bodies_have_limits(port, study):
    path = address(study) + "answer"
    form = "application/x-www-form-urlencoded"

    def status(body, content_type=form, **headers):
        return request(port, path, method="POST", content_type=content_type, **headers).status

    assert request(port, path, {"comment": "x" * 70_000}).status == 413
    assert request(port, path, {f"field{k}": "" for k in range(100)}).status == 400
    assert request(port, path, {"a": "b"}, content_type="multipart/form-data; boundary=x").status == 415
    assert request(port, path, {"a": "b"}, content_type="application/json").status == 415
    assert status("") == 403


def test_addresses_with_many_wrong_tokens_are_refused_for_a_while(tmp_path):
    study = small_study(tmp_path / "study", units=1)
    now = [0.0]
    with serving(study, wrong_tokens=WrongTokens(tries=5, seconds=10, clock=lambda: now[0])) as port:
        wrong = f"/s/{slug(study)}/{'0' * 48}/"
        assert [request(port, wrong).status for _ in range(7)] == [404] * 5 + [429] * 2
        # The limit would be none if a right guess were still accepted.
        assert request(port, address(study)).status == 429
        assert request(port, "/health").status == 200
        now[0] = 11.0
        assert request(port, address(study)).status == 200
        assert [request(port, wrong).status for _ in range(2)] == [404, 429]


def test_the_limit_counts_networks_of_ipv6_and_forgets_old_addresses():
    limit = WrongTokens(tries=1, seconds=10, clock=lambda: 0.0)
    limit.count("2001:db8:0:1::1")
    assert limit.blocked("2001:db8:0:1::2")
    assert not limit.blocked("2001:db8:0:2::1")
    limit.count("203.0.113.1")
    assert not limit.blocked("203.0.113.2")
    for k in range(limit._MOST_ADDRESSES):
        limit.count(f"address {k}")
    assert not limit.blocked("203.0.113.1")


def test_no_token_and_no_participant_is_logged(tmp_path):
    study = small_study(tmp_path / "study", units=1)
    command = [
        sys.executable,
        "-m",
        "dissectbench.harness",
        "study",
        "serve",
        str(study.path),
        "--port",
        "0",
    ]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen([*command, "--verbose"], stdout=file, stderr=subprocess.STDOUT)
    try:
        until(lambda: "admin page" in log.read_text())
        printed = log.read_text()
        port = int(re.findall(r"http://127\.0\.0\.1:(\d+)", printed)[0])
        rater = Rater(port, address(study))
        rater.join()
        rater.finish()
        request(port, f"/s/{slug(study)}/{'0' * 48}/")
        request(port, study_path(study, "prolific").partition("?")[0] + "?PROLIFIC_PID=5f1e0c0a2b3c4d5e")
        raw(port, b"\x00\xff" + address(study).encode())
        raw(port, address(study).encode() + b" \xff")
    finally:
        process.terminate()
        process.wait(20)
    later = log.read_text()[len(printed) :]
    for secret in (address(study).split("/")[3], "0" * 48, "5f1e0c0a2b3c4d5e", slug(study)):
        assert secret not in later
    assert admin_token(study) in printed
    assert Path(study.path / "page.sqlite3").stat().st_mode & 0o077 == 0
