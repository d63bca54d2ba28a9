"""Spark with two worker processes of Java: Parquet in, Parquet out."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed")
if not shutil.which("java"):
    pytest.skip("Spark needs Java", allow_module_level=True)

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
from pyspark.sql import SparkSession

import embed
from embed.spark import embed_udf

# More for a longer run: each is a distinct text.
ROWS = int(os.environ.get("EMBED_TEST_ROWS", "400"))


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local-cluster[2,1,1024]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "64")
        .getOrCreate()
    )
    yield session
    session.stop()


def test_each_row_comes_once_and_equal_to_the_bit(
    spark: Any, model: embed.Embedder, articles: list[str], tmp_path: Path
) -> None:
    texts: list[str | None] = [f"{number}: {articles[number % len(articles)]}" for number in range(ROWS)]
    texts[7], texts[11] = "", None
    for part in range(4):
        mine = range(part, ROWS, 4)
        table = pa.table({"id": list(mine), "text": [texts[at] for at in mine]})
        pa.parquet.write_table(table, tmp_path / f"texts-{part}.parquet")

    read = spark.read.parquet(*(str(tmp_path / f"texts-{part}.parquet") for part in range(4)))
    rows = read.withColumn("row", embed_udf("multilingual-e5-small")("text")).select("id", "row.*")
    rows.write.parquet(str(tmp_path / "vectors"))

    table = pa.dataset.dataset(tmp_path / "vectors", format="parquet").to_table().sort_by("id")
    assert table.column("id").to_pylist() == list(range(ROWS))
    for row, expected in zip(table.to_pylist(), model.encode_rows(texts), strict=True):  # type: ignore[arg-type]
        if expected.vector is None:
            assert row["vector"] is None and row["error"] == f"invalid_input: {expected.error}"
            continue
        assert np.asarray(row["vector"], np.float32).tobytes() == expected.vector.tobytes()
        assert (row["space"], row["variant"], row["tokens"]) == (expected.space, expected.variant, expected.tokens)
