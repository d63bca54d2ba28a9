"""Spark with two worker processes of Java: Parquet in, Parquet out."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed")
if not shutil.which("java"):
    pytest.skip("Spark needs Java", allow_module_level=True)

from pyspark.sql import SparkSession

import embed
from corpus import PART, ROWS, Corpus, check_runs_again
from embed.spark import embed_udf, missing


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local-cluster[2,1,2048]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", str(max(16, PART // 4)))
        # A file a task, or one worker may wait for the large last task of the other.
        .config("spark.sql.files.minPartitionNum", str(-(-ROWS // PART)))
        .getOrCreate()
    )
    yield session
    session.stop()


def test_each_row_comes_once_and_equal_to_the_bit(
    spark: Any, model: embed.Embedder, articles: list[str], tmp_path: Path
) -> None:
    corpus = Corpus(tmp_path, model, articles)

    def job(out: str) -> None:
        row = embed_udf("multilingual-e5-small", truncate="end")("text")
        spark.read.parquet(*corpus.files).withColumn("row", row).select("id", "row.*").write.parquet(out)

    corpus.check(job)


def test_a_job_that_is_run_again_does_only_what_is_missing(
    spark: Any, model: embed.Embedder, articles: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "vectors"

    def run(texts: list[str], again: bool) -> list[int]:
        done = spark.read.parquet(str(folder)) if again else None
        rows = spark.createDataFrame(list(enumerate(texts)), "id int, text string")
        rows = missing(rows, done, model.variant, on=["id"])
        numbers = sorted(row["id"] for row in rows.collect())
        made = rows.withColumn("row", embed_udf("multilingual-e5-small")("text")).select("id", "text", "row.*")
        made.write.mode("append").parquet(str(folder))
        return numbers

    check_runs_again(model, articles, folder, run)
