"""No request makes the rating page fail: every route, with random methods, paths, headers and bodies."""

import json
import socket
import string
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rating_server import Rater, address, serving
from small_study import small_study

from dissectbench.results.studies.server.limits import WrongTokens
from dissectbench.results.studies.server.panels import PANELS, study_path
from dissectbench.results.studies.server.results import results_csv
from dissectbench.results.studies.server.store import read_rows
from dissectbench.results.studies.server.tokens import admin_token, slug

FUZZ = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
KINDS = ("rating", "correlation")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    studies = [small_study(folder / kind, kind=kind, units=3, seed=n) for n, kind in enumerate(KINDS)]
    with serving(*studies, wrong_tokens=WrongTokens(tries=1_000_000)) as port:
        yield port, studies


def status(port, request, *, complete=True):
    """Sends bytes and returns the status of the reply; 0 if the server closes the connection instead.

    A request that may be incomplete is followed by the end of the connection, as the server would wait.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        if not complete:
            connection.shutdown(socket.SHUT_WR)
        reply = b""
        try:
            while part := connection.recv(65536):
                reply += part
        except ConnectionResetError:
            pass
    return int(reply.split(b" ", 2)[1]) if reply else 0


def message(method, target, body=b"", headers=()):
    lines = [f"{method} {target} HTTP/1.1".encode("utf-8", "surrogatepass"), b"Host: localhost"]
    lines += [b"Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


METHODS = st.sampled_from(
    ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "X"]
)
TEXT = st.text(max_size=30)
# Percent-encoded bytes of any kind, and text that is not.
PIECE = st.one_of(
    st.text(string.ascii_letters + string.digits + "./-_~%", max_size=12),
    st.binary(max_size=8).map(quote),
    st.sampled_from(["..", "%2e%2e", "%00", "%2f", "\\", "9" * 5000, "-1", "0", "1e9", "%F0%9F%99%82"]),
)
QUERY = st.one_of(st.just(""), st.binary(max_size=40).map(lambda raw: "?" + quote(raw, safe="&=%")))
FORM_TYPE = b"Content-Type: application/x-www-form-urlencoded"


def bases(studies):
    paths = ["/", "/health", "/favicon.ico", "/p/", "/s/", "/a/"]
    for study in studies:
        rater, admin = address(study), f"/a/{slug(study)}/{admin_token(study)}/"
        pages = ("", "consent", "instructions", "task/", "task/1", "answer", "done", "images/")
        paths += [rater + page for page in pages]
        paths += [admin, admin + "results.csv", admin + "raters.csv", f"/p/{slug(study)}/"]
        paths += [study_path(study, panel).partition("?")[0] for panel in PANELS]
    return paths


@FUZZ
@given(data=st.data())
def test_random_methods_paths_queries_headers_and_bodies(served, data):
    port, studies = served
    path = data.draw(st.sampled_from(bases(studies))) + data.draw(st.one_of(st.just(""), PIECE))
    values = st.binary(max_size=40).filter(lambda value: not {13, 10} & set(value))
    names = st.sampled_from([b"Content-Type", b"Cookie", b"X-Forwarded-For", b"Range", b"If-None-Match"])
    headers = [
        name + b": " + value for name, value in data.draw(st.lists(st.tuples(names, values), max_size=3))
    ]
    body = data.draw(st.one_of(st.just(b""), st.binary(max_size=200)))
    code = status(port, message(data.draw(METHODS), path + data.draw(QUERY), body, headers))
    assert code < 500
    assert status(port, message("GET", "/health")) == 200


@FUZZ
@given(data=st.data())
def test_random_answers_in_valid_forms_are_stored_as_they_are_or_refused(served, data):
    port, studies = served
    study = data.draw(st.sampled_from(studies))
    rater = Rater(port, address(study, data.draw(st.integers(100, 10_000))))
    rater.join()
    valid = rater.values()
    names = st.sampled_from([*rater.fields(), *valid, "comment", "rating_99", "fits", "x"])
    values = st.one_of(TEXT, st.sampled_from(["1", "5", "0", "none", "yes", "nan", "inf", "-1", "1e400"]))
    form = {**rater.fields(), **valid, **data.draw(st.dictionaries(names, values, max_size=4))}
    body = urlencode(form, errors="surrogatepass").encode()
    before = len(read_rows(study)[1])
    code = status(port, message("POST", address_of(rater) + "answer", body, [FORM_TYPE]))
    assert code in (303, 403, 409, 422)
    rows = read_rows(study)[1]
    assert len(rows) - before <= (code == 303)
    for row in rows:
        allowed = {"", *map(str, range(1, 6)), "none", "yes", "no"}
        assert all(value in allowed for name, value in row.values.items() if name != "comment")
        assert row.seconds >= 0
    assert results_csv(study)
    json.dumps([row.values for row in rows], allow_nan=False)


def address_of(rater):
    return "/".join(rater.start.split("/")[:4]) + "/"


@FUZZ
@given(raw=st.binary(max_size=200))
def test_random_bytes_instead_of_a_request(served, raw):
    port, _ = served
    assert status(port, raw, complete=False) < 500
    assert status(port, message("GET", "/health")) == 200


@FUZZ
@given(panel=st.sampled_from(list(PANELS)), value=st.one_of(TEXT, st.from_regex(r"[0-9A-Za-z]{4,70}")))
def test_random_participants_of_panels(served, panel, value):
    port, [study, _] = served
    target = study_path(study, panel).partition("?")[0]
    query = urlencode({PANELS[panel].participant: value, "STUDY_ID": value}, errors="surrogatepass")
    assert status(port, message("GET", f"{target}?{query}")) in (303, 400)
