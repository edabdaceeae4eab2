"""Finding, downloading and hashing the files of pretrained models."""

import http.server
import os
import threading
from pathlib import Path

import pytest
from hub_cache import FIRST, SECOND, add_revision

from dissectbench.harness.errors import InputError
from dissectbench.harness.weights import (
    hub_commit,
    settings_digest,
    snapshot,
    weights_digest,
    with_commit,
    with_revision,
)


def serve(monkeypatch, status: int, headers: dict[str, str]) -> None:
    """Replaces the Hub by a local server that gives the same response to every request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    point_hub_at(monkeypatch, f"http://127.0.0.1:{server.server_port}")


def point_hub_at(monkeypatch, endpoint: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_averysecrettoken")


def test_a_local_folder_is_returned_unchanged(tmp_path):
    assert snapshot(str(tmp_path)) == tmp_path


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "model.bin").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        snapshot(str(tmp_path / "model.bin"))


@pytest.mark.parametrize("name", ["./missing", "/missing/folder", "~/missing-folder", "a/b/c"])
def test_a_missing_path_is_not_looked_up_on_the_hub(name, hub_cache):
    with pytest.raises(InputError, match="no such folder"):
        snapshot(name)


def test_a_folder_of_an_installed_package_is_found_without_importing_it():
    folder = snapshot("package:dissectbench.harness/conf")
    assert (folder / "__init__.py").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("package:no_such_package_here/weights", "no package 'no_such_package_here'"),
        ("package:no_such.inner/weights", "no package 'no_such.inner'"),
        ("package:dissectbench.harness/no-such-folder", "has no file or folder 'no-such-folder'"),
    ],
)
def test_the_error_names_a_missing_package_or_folder(name, message):
    with pytest.raises(InputError, match=message):
        snapshot(name)


def test_a_model_in_the_cache_needs_no_network(hub_cache):
    folder = add_revision(hub_cache, "org/model", {"model.safetensors": "x", "config.json": "{}"})
    assert snapshot("org/model").resolve() == folder.resolve()


@pytest.mark.parametrize(
    ("files", "patterns"),
    [
        ({"config.json": "{}"}, None),
        ({"model.safetensors": "x"}, ["model.safetensors", "config.json"]),
        ({"model.safetensors": "x"}, ["*.json"]),
    ],
)
def test_an_incomplete_snapshot_in_the_cache_is_not_used(hub_cache, files, patterns):
    add_revision(hub_cache, "org/model", files)
    with pytest.raises(InputError, match=r"org/model is not (in|complete in) ") as caught:
        snapshot("org/model", patterns=patterns)
    assert "hf download org/model --local-dir" in str(caught.value)


def test_the_error_without_network_says_what_to_download(hub_cache, monkeypatch):
    point_hub_at(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(InputError, match="the Hub cannot be reached") as caught:
        snapshot("org/model")
    assert "hf download org/model" in str(caught.value)
    assert str(hub_cache) in str(caught.value)


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (403, {"X-Error-Code": "GatedRepo"}, "is gated"),
        (404, {"X-Error-Code": "RepoNotFound"}, "the Hub has no model org/model"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "org/model has no revision v1 on the Hub"),
        (500, {"X-Error-Message": "https://host/file?X-Signature=verysecret"}, "cannot be reached"),
    ],
)
def test_the_error_after_a_response_of_the_hub_contains_no_secrets(
    hub_cache, monkeypatch, status, headers, message
):
    serve(monkeypatch, status, headers)
    with pytest.raises(InputError, match=message) as caught:
        snapshot("org/model", revision="v1")
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.fixture
def two_revisions(hub_cache) -> Path:
    """A model with two commits: the first is called v1, the second is main."""
    add_revision(hub_cache, "org/model", {"model.safetensors": "old"}, commit=FIRST, ref="v1")
    add_revision(hub_cache, "org/model", {"model.safetensors": "new"}, commit=SECOND, ref="main")
    return hub_cache


@pytest.mark.parametrize(
    ("revision", "content"),
    [(None, "new"), ("main", "new"), (SECOND, "new"), ("v1", "old"), (FIRST, "old")],
)
def test_a_revision_is_a_branch_a_tag_or_a_commit(two_revisions, revision, content):
    folder = snapshot("org/model", revision=revision)
    assert (folder / "model.safetensors").read_text() == content
    assert folder.name == hub_commit(folder) == (SECOND if content == "new" else FIRST)


def test_a_revision_that_is_not_cached_is_named_when_offline(two_revisions, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"org/model \(revision v2\) is not in .*OFFLINE") as caught:
        snapshot("org/model", revision="v2")
    assert "hf download org/model --revision v2 --local-dir" in str(caught.value)


def test_a_revision_has_no_effect_on_folders_and_packages(tmp_path):
    assert snapshot(str(tmp_path), revision="v1") == tmp_path
    package = "package:dissectbench.harness/conf"
    assert snapshot(package, revision="v1") == snapshot(package)
    assert with_commit("digest", tmp_path) == "digest"
    for name in (str(tmp_path), package):
        assert with_revision("label", name, "v1") == "label"


def test_labels_and_fingerprints_of_hub_models_name_the_revision(two_revisions):
    assert with_revision("model", "org/model", "v1") == "model@v1"
    assert with_revision("model", "org/model", None) == "model"
    assert with_commit("digest", snapshot("org/model", revision="v1")) == f"{FIRST}:digest"


def test_a_folder_called_snapshots_outside_the_cache_has_no_commit(tmp_path):
    assert hub_commit(tmp_path / "snapshots" / FIRST) is None
    assert hub_commit(tmp_path / "models--org--model" / "snapshots" / "v1") is None


def test_an_address_instead_of_a_name_does_not_leak_its_token(hub_cache):
    for name in ("https://me:hf_averysecrettoken@host/org/model", "hf_averysecrettoken@x"):
        with pytest.raises(InputError) as caught:
            snapshot(name)
        assert "averysecret" not in str(caught.value)


def test_the_digest_depends_on_contents_and_names_of_weight_files_alone(tmp_path):
    for folder in ("a", "b", "c", "d"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "b" / "config.json").write_text("{}")
    (tmp_path / "c" / "model.safetensors").write_bytes(b"wEights")
    (tmp_path / "d" / "model.safetensors").rename(tmp_path / "d" / "other.safetensors")
    digests = [weights_digest(tmp_path / folder) for folder in ("a", "b", "c", "d")]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_the_digest_changes_with_the_file(tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(b"one")
    before = weights_digest(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert weights_digest(file) != before


def test_an_unchanged_file_is_read_once(tmp_path, monkeypatch):
    from dissectbench.harness import weights

    file = tmp_path / "model.bin"
    file.write_bytes(b"once")
    before = weights_digest(file)
    monkeypatch.setattr(weights, "file_digest", lambda path: pytest.fail("read again"))
    assert weights_digest(file) == before


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match="no weights in"):
        weights_digest(tmp_path)


def test_the_digest_of_settings_ignores_hidden_folders(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = settings_digest(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "download.json").write_text("{}")
    assert settings_digest(tmp_path) == before
    (tmp_path / "tokenizer.json").write_text("{}")
    assert settings_digest(tmp_path) != before
