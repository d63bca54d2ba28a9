"""Tables with vectors."""

from __future__ import annotations

import hashlib

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

import numpy as np
import pyarrow as pa

import embed
from embed._arrow import embedded, finished, hashed


def test_a_table_keeps_its_columns_and_failed_rows(model: embed.Embedder) -> None:
    table = pa.table({"error": ["old", "old", "old"], "text": ["one", "", "two"], "id": [1, 2, 3]})
    made = embedded(table, model, "text", "document", "error")
    assert made.column_names == ["text", "id", "vector", "space", "variant", "tokens", "error", "hash"]
    assert made.column("vector").type == pa.list_(pa.float32(), 384)
    assert made.column("error").to_pylist() == [None, "invalid_input: the text is empty", None]
    vectors = made.column("vector").to_pylist()
    assert vectors[1] is None
    assert np.array([vectors[0], vectors[2]], np.float32).tobytes() == model.encode(["one", "two"]).tobytes()
    empty = embedded(table.slice(0, 0), model, "text", "document", "error")
    assert (len(empty), empty.schema) == (0, made.schema)


def test_a_row_is_known_by_its_text_its_role_and_the_variant(model: embed.Embedder) -> None:
    texts = pa.table({"id": [1, 2, 3, 4], "text": ["one", "", None, "one"]})
    made = embedded(texts, model, "text", "document", "error")
    assert made.column("hash").to_pylist() == hashed(texts, "text", "document").column("hash").to_pylist()
    one, empty, none, again = made.column("hash").to_pylist()
    assert one == again == hashlib.sha256(b"document\none").hexdigest()
    assert (empty, none) == (hashlib.sha256(b"document\n").hexdigest(), None)
    assert hashed(texts, "text", "query").column("hash")[0].as_py() != one

    assert finished(made, model.variant, ["id"]).column("id").to_pylist() == [1, 4]
    assert len(finished(made, model.variant + ";v=2", ["id"])) == 0
    changed = texts.set_column(1, "text", [["one", "", None, "two"]])
    keys = ["id", "hash"]
    missing = hashed(changed, "text", "document").join(finished(made, model.variant, keys), keys, join_type="left anti")
    assert sorted(missing.column("id").to_pylist()) == [2, 3, 4]


def test_rows_of_two_widths_are_lists(model: embed.Embedder) -> None:
    from embed._arrow import vectors

    rows = [np.zeros(2, np.float32), None, np.ones(3, np.float32)]
    assert vectors(rows, 2).to_pylist() == [[0.0, 0.0], None, [1.0, 1.0, 1.0]]
