"""Tables of Arrow with a column of texts, and those of their rows beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ._embedder import Embedder, Role, Truncate

if TYPE_CHECKING:
    from ._row import Row

COLUMNS = ("vector", "space", "variant", "tokens", "error")
"""What is added to a table. A row has all but the last, or only that: the error's kind and message."""


def embedded(table: pa.Table, embedder: Embedder, column: str, role: Role, truncate: Truncate) -> pa.Table:
    """The table with `COLUMNS`, in place of those of these names. A row without a text, or with one that can't be embedded, is
    kept with its error.

    Raises:
        EmbedError: The whole call has failed.
    """
    texts = table.column(column).to_pylist()
    return appended(table, embedder.encode_rows(texts, role=role, truncate=truncate), embedder.dimension)


def appended(table: pa.Table, rows: list[Row], dimension: int) -> pa.Table:
    """The table with `COLUMNS` of these rows. Their vectors are lists of a fixed size if all have this dimension."""
    errors = [None if row.error is None else f"{row.error.kind}: {row.error}" for row in rows]
    columns = {
        "vector": vectors([row.vector for row in rows], dimension),
        "space": pa.array([row.space for row in rows], pa.string()),
        "variant": pa.array([row.variant for row in rows], pa.string()),
        "tokens": pa.array([row.tokens for row in rows], pa.int32()),
        "error": pa.array(errors, pa.string()),
    }
    kept = [name for name in table.column_names if name not in columns]
    table = table.select(kept)
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def vectors(rows: list[np.ndarray | None], dimension: int) -> pa.Array:
    """A column of vectors, null where there is none."""
    mask = pa.array([row is None for row in rows], pa.bool_())
    if any(row is not None and len(row) != dimension for row in rows):
        return pa.array([None if row is None else row.tolist() for row in rows], pa.list_(pa.float32()))
    empty = np.zeros(dimension, np.float32)
    flat = np.concatenate([empty if row is None else row for row in rows]) if rows else empty[:0]
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), dimension, mask=mask)
