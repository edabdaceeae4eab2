"""The revision of Hub models: chosen in the configuration, shown in tables, part of the fingerprint."""

import json
from typing import Any

import numpy as np
import pytest
from hub_cache import FIRST, SECOND, add_revision
from small_models import SMALL_CLIP, write_open_clip

from dissectbench.harness.config import build, compose

CHOICES = [
    ("captioner", "blip"),
    ("captioner", "blip2"),
    ("encoder", "huggingface"),
    ("generator", "diffusers"),
    ("language_model", "transformers"),
]
METRICS = ["mpnet_cosine", "bertscore_f1", "bertscore_precision", "bertscore_recall"]


def model(group: str, choice: str, revision: str | None) -> Any:
    name = "hf-hub:org/model" if choice == "open_clip" else "org/model"
    settings = [f"{group}={choice}", f"{group}.model={name}", f"{group}.revision={revision or 'null'}"]
    return build(compose(["method=clip_dissect", *settings]).config[group], group)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_fingerprint_and_name_follow_the_revision(hub_cache, group, choice):
    files = {"config.json": "{}", "model_index.json": "{}", "modules.json": "[]"}
    for commit, ref, weights in ((FIRST, "v1", "old"), (SECOND, "main", "new")):
        weight_files = {"model.safetensors": weights, "unet/model.safetensors": weights}
        add_revision(hub_cache, "org/model", {**files, **weight_files}, commit=commit, ref=ref)
    main, tag, commit = (model(group, choice, revision) for revision in (None, "v1", FIRST))
    assert main.fingerprint().startswith(f"{SECOND}:")
    assert tag.fingerprint() == commit.fingerprint()
    assert tag.fingerprint().startswith(f"{FIRST}:")
    assert tag.fingerprint().split(":")[1] != main.fingerprint().split(":")[1]
    assert [part.name.partition("@")[2] for part in (main, tag, commit)] == ["", "v1", FIRST]


@pytest.mark.parametrize("choice", METRICS)
def test_the_identity_and_the_models_of_a_metric_name_the_revision(hub_cache, choice):
    for commit, ref in ((FIRST, "v1"), (SECOND, "main")):
        files = {"config.json": "{}", "model.safetensors": ref}
        add_revision(hub_cache, "org/model", files, commit=commit, ref=ref)

    def metric(revision: str) -> Any:
        node = f"metric.{choice}" + (".encoder" if choice == "mpnet_cosine" else "")
        settings = [f"metric=[{choice}]", f"{node}.model=org/model", f"{node}.revision={revision}"]
        return build(compose(settings).config.metric[choice], "metric")

    main, tag = metric("null"), metric("v1")
    assert main.identity()["fingerprint"].startswith(f"{SECOND}:")
    assert tag.identity()["fingerprint"].startswith(f"{FIRST}:")
    [[main_model], [tag_model]] = [list(part.models().values()) for part in (main, tag)]
    assert "@" not in main_model
    assert tag_model.startswith("model@v1")


def test_another_revision_has_other_weights(hub_cache, tmp_path):
    for commit, ref, seed in ((FIRST, "v1", 0), (SECOND, "main", 1)):
        folder = write_open_clip(tmp_path / ref, SMALL_CLIP, seed=seed)
        add_revision(hub_cache, "org/model", folder, commit=commit, ref=ref)
    main, tag = (model("encoder", "open_clip", revision) for revision in (None, "v1"))
    assert main.name == "hf-hub:org/model"
    assert tag.name == "hf-hub:org/model@v1"
    assert main.fingerprint().startswith(f"{SECOND}:")
    assert tag.fingerprint().startswith(f"{FIRST}:")
    embeddings = [part.encode_texts(["a red boat"]) for part in (main, tag)]
    assert np.abs(embeddings[0] - embeddings[1]).max() > 0.01


def test_weights_of_an_open_clip_architecture_have_a_revision(hub_cache):
    for commit, ref in ((FIRST, "v1"), (SECOND, "main")):
        files = {"open_clip_model.safetensors": ref}
        add_revision(hub_cache, "timm/vit_base_patch16_clip_224.openai", files, commit=commit, ref=ref)
    choice = ["method=clip_dissect", "encoder=clip_vit_b16", "encoder.device=cpu"]
    encoder = build(compose([*choice, "encoder.revision=v1"]).config.encoder, "encoder")
    assert encoder.name == "ViT-B-16-quickgelu/openai@v1"
    assert encoder.fingerprint().startswith(f"{FIRST}:")


def test_the_identity_of_a_method_names_the_commit(hub_cache, tmp_path):
    add_revision(hub_cache, "org/model", write_open_clip(tmp_path / "clip", SMALL_CLIP), commit=SECOND)
    settings = ["method=clip_dissect", "encoder=open_clip", "encoder.model=hf-hub:org/model"]
    method = build(compose(settings).config.method.clip_dissect, "method")
    assert SECOND in json.dumps(method.identity())
