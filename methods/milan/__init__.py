"""MILAN: exemplars, captioner, reranking by pointwise mutual information."""
