"""Dask needs no adapter: the line of the README."""

from __future__ import annotations

import numpy as np
import pytest

dd = pytest.importorskip("dask.dataframe", reason="dask[dataframe] is not installed")

import pandas as pd

import embed


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_partitions_give_the_same_vectors(model: embed.Embedder, scheduler: str) -> None:
    texts = ["a river", "a mountain", "the sea", "a lake"]
    frame = dd.from_pandas(pd.DataFrame({"text": texts}), npartitions=2)
    vectors = frame["text"].map_partitions(
        lambda part: pd.Series(list(model.encode(part)), part.index), meta=("vector", object)
    )
    made = np.stack(list(vectors.compute(scheduler=scheduler)))
    assert made.tobytes() == model.encode(texts).tobytes()
