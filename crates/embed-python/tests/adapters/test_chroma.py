"""Chroma: a collection that is written down and opened again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("chromadb", reason="chromadb is not installed")

import chromadb
from chromadb.config import Settings

import embed
from embed.chroma import EmbedFunction

TEXTS = ["Mount Fuji is 3776 m high.", "Preheat the oven."]


def test_roles_are_kept(model: embed.Embedder) -> None:
    function = EmbedFunction(model)
    assert np.stack(function(TEXTS)).tobytes() == model.encode(TEXTS).tobytes()
    assert np.stack(function.embed_query(TEXTS)).tobytes() == model.encode(TEXTS, role="query").tobytes()
    assert not function.is_legacy()
    with pytest.raises(embed.InvalidInputError, match="another space"):
        function.validate_config_update(function.get_config(), {"space": "other"})


def test_a_collection_knows_its_function_again(tmp_path: Path) -> None:
    settings = Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(str(tmp_path), settings)
    function = EmbedFunction("multilingual-e5-small", precision="f32")
    # Its types want a function of texts and images alike.
    collection = client.create_collection("passages", embedding_function=function)  # type: ignore[arg-type]
    collection.add(ids=["fuji", "oven"], documents=TEXTS)
    opened = chromadb.PersistentClient(str(tmp_path), settings).get_collection("passages")
    found = opened.query(query_texts=["富士山の高さ"], n_results=1)
    assert found["ids"] == [["fuji"]]
    assert "embed.chroma" in sys.modules
