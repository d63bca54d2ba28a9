"""Tables of Arrow with a column of texts, and those of their rows beside it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ._embedder import Embedder, Role, Truncate

if TYPE_CHECKING:
    from ._row import Row

COLUMNS = ("vector", "space", "variant", "tokens", "error", "hash")
"""What is added to a table. A row has the error's kind and message, or all of the others; its text's hash it has in any case."""

HASH = "hash"


def hash_of(text: str | None, role: Role) -> str | None:
    """SHA-256, in hexadecimal digits, of the role, a line feed and the text: what a vector of one variant depends on."""
    return None if text is None else hashlib.sha256(f"{role}\n{text}".encode()).hexdigest()


def hashed(table: pa.Table, column: str, role: Role) -> pa.Table:
    """The table with the column `HASH`, in place of one of this name."""
    hashes = pa.array([hash_of(text, role) for text in table.column(column).to_pylist()], pa.string())
    return table.select([name for name in table.column_names if name != HASH]).append_column(HASH, hashes)


def finished(table: pa.Table, variant: str, keys: list[str]) -> pa.Table:
    """The `keys` of the rows with a vector of this variant."""
    has_vector = (pc.field("variant") == variant) & pc.field("error").is_null()
    return table.filter(has_vector).select(keys)


def embedded(table: pa.Table, embedder: Embedder, column: str, role: Role, truncate: Truncate) -> pa.Table:
    """The table with `COLUMNS`, in place of those of these names. A row without a text, or with one that can't be embedded, is
    kept with its error.

    Raises:
        EmbedError: The whole call has failed.
    """
    texts = table.column(column).to_pylist()
    table = appended(table, embedder.encode_rows(texts, role=role, truncate=truncate), embedder.dimension)
    return hashed(table, column, role)


def appended(table: pa.Table, rows: list[Row], dimension: int) -> pa.Table:
    """The table with `COLUMNS` of these rows, but for their hash. Their vectors are lists of a fixed size if all have this dimension."""
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
