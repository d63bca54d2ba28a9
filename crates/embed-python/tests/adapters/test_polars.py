"""Polars: no adapter, the line of the README."""

from __future__ import annotations

import pytest

pl = pytest.importorskip("polars", reason="polars is not installed")

import embed


def test_a_column_of_vectors(model: embed.Embedder) -> None:
    texts = ["one", "two", "three"]
    width = pl.Array(pl.Float32, model.dimension)
    frame = pl.DataFrame({"text": texts}).with_columns(vector=pl.col("text").map_batches(model.encode, return_dtype=width))
    assert frame["vector"].to_numpy().tobytes() == model.encode(texts).tobytes()
