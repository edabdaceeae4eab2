"""The shipped configurations of metrics."""

import subprocess
import sys
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf

from dissectbench.harness.config import shipped

FILES = sorted((shipped() / "metric").glob("*.yaml"))


def load(file: Path):
    encoder = OmegaConf.load(shipped() / "encoder" / "tinyworld.yaml")
    return OmegaConf.create({"device": "cpu", "encoder": encoder, "metric": OmegaConf.load(file)}).metric


def test_metrics_of_the_packaged_model_name_it():
    for file in FILES:
        for metric in map(instantiate, load(file).values()):
            if "minilm" in metric.name:
                assert all("all-MiniLM-L6-v2" in model for model in metric.models().values())


def test_metrics_without_a_prefix_use_the_published_models():
    def named(stem):
        return next(
            iter(instantiate(next(iter(load(shipped() / "metric" / stem).values()))).models().values())
        )

    assert named("mpnet_cosine.yaml") == "all-mpnet-base-v2"
    assert named("clip_cosine.yaml") == "ViT-B-16-quickgelu/openai"
    assert named("bertscore_f1.yaml").startswith("roberta-large_L17_no-idf_")


def test_importing_metrics_imports_no_heavy_library():
    modules = ["accuracy", "bertscore", "cosine", "pairs", "scoring"]
    code = f"import sys, {', '.join(f'dissectbench.metrics.{module}' for module in modules)}\n"
    code += (
        "from dissectbench.harness.foundation.sentence_encoders import SentenceTransformerEncoder\n"
        "SentenceTransformerEncoder(), dissectbench.metrics.bertscore.BERTScore()\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'bert_score', 'pandas', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
