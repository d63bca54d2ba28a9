"""Spark: a function of a column of texts, with one model in each worker process.

>>> from embed.spark import embed_udf
>>> rows = spark.read.parquet("passages/").withColumn("row", embed_udf("multilingual-e5-small")("text"))
>>> rows.select("id", "text", "row.*").write.parquet("vectors/")

`missing` leaves out what an earlier run has done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql.functions import col, concat, lit, pandas_udf, sha2

from ._adapter import LoadArguments, loaded
from ._arrow import HASH, hash_of
from ._embedder import Embedder, Role, Truncate

if TYPE_CHECKING:
    from typing_extensions import Unpack

SCHEMA = "vector array<float>, space string, variant string, tokens int, error string, hash string"
"""What a text becomes. A row has the error's kind and message, or all of the others; its text's hash it has in any case."""

_LOADED: dict[tuple[object, ...], Embedder] = {}


def embed_udf(
    model: str = "multilingual-e5-small",
    *,
    role: Role = "document",
    truncate: Truncate = "error",
    **arguments: Unpack[LoadArguments],
) -> Callable[..., Any]:
    """A function of a column of texts that gives a column of structures: `SCHEMA`. A row that can't be embedded is kept with
    its error. The model is loaded once by each Python worker, which Spark keeps.

    Args:
        model: The name of a model.
        role: As for `Embedder.encode`.
        truncate: As for `Embedder.encode`.
        arguments: As for `Embedder.load`; ``threads`` is 1 if nothing is said, since Spark runs a worker for each of its cores.

    Raises:
        EmbedError: In the workers, as `Embedder.load` and `Embedder.encode_rows`.
    """
    arguments.setdefault("threads", 1)

    def run(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        embedder = _of_this_worker(model, arguments)
        for texts in batches:
            # Where there is no text, pandas has a not-a-number.
            given = texts.astype(object).where(texts.notna(), None)
            rows = embedder.encode_rows(given, role=role, truncate=truncate)
            yield pd.DataFrame(
                {
                    "vector": [row.vector for row in rows],
                    "space": [row.space for row in rows],
                    "variant": [row.variant for row in rows],
                    "tokens": pd.array([row.tokens for row in rows], dtype="Int32"),
                    "error": [None if row.error is None else f"{row.error.kind}: {row.error}" for row in rows],
                    "hash": [hash_of(text, role) for text in given],
                }
            )

    # Spark reads what kind of function it is from these, which must be types and not strings.
    run.__annotations__ = {"batches": Iterator[pd.Series], "return": Iterator[pd.DataFrame]}
    made: Callable[..., Any] = pandas_udf(run, SCHEMA)
    return made


def missing(
    rows: DataFrame,
    done: DataFrame | None,
    variant: str,
    *,
    on: Sequence[str] = (),
    column: str = "text",
    role: Role = "document",
) -> DataFrame:
    """The rows that have no vector of this variant in the output of earlier runs; what becomes of them belongs into the same
    folder. A row is known by the hash of its text and role, and by more columns if there are several with one text:

    >>> done = spark.read.parquet("vectors/")
    >>> rows = missing(spark.read.parquet("passages/"), done, model.variant, on=["id"])
    >>> rows = rows.withColumn("row", embed_udf("multilingual-e5-small")("text")).select("id", "text", "row.*")
    >>> rows.write.mode("append").parquet("vectors/")

    A row that has failed is missing, and is tried again; the row with its error stays where it was written.

    Args:
        rows: All rows.
        done: What earlier runs have written, with the fields of `SCHEMA` as columns; nothing at the first.
        variant: That of the model, `Embedder.variant`.
        on: Columns of both that a row is known by besides its hash.
        column: The column with the texts.
        role: As for `embed_udf`.
    """
    rows = rows.withColumn(HASH, sha2(concat(lit(f"{role}\n"), col(column)), 256))
    if done is None:
        return rows
    keys = [*on, HASH]
    there = done.filter((col("variant") == variant) & col("error").isNull()).select(*keys)
    return rows.join(there, keys, "left_anti")


def _of_this_worker(model: str, arguments: LoadArguments) -> Embedder:
    key = (model, *sorted(arguments.items()))
    if key not in _LOADED:
        _LOADED[key] = loaded(model, arguments)
    return _LOADED[key]
