"""Haystack: pipelines that are written down, and run."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("haystack", reason="haystack-ai is not installed")

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

import embed
from embed.haystack import EmbedDocumentEmbedder, EmbedTextEmbedder

TEXTS = ["Mount Fuji is 3776 m high.", "Preheat the oven."]


def test_a_pipeline_finds_what_was_asked(model: embed.Embedder) -> None:
    indexing = EmbedDocumentEmbedder()
    indexing.warm_up()
    made = indexing.run(documents=[Document(content=text) for text in TEXTS])
    assert [document.embedding for document in made["documents"]] == model.encode(TEXTS).tolist()
    assert made["meta"] == {"space": model.space}

    store = InMemoryDocumentStore()
    store.write_documents(made["documents"])
    pipeline = Pipeline()
    pipeline.add_component("asked", EmbedTextEmbedder())
    pipeline.add_component("found", InMemoryEmbeddingRetriever(store, top_k=1))
    pipeline.connect("asked.embedding", "found.query_embedding")
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["embed.haystack"])
    for each in (pipeline, again):
        retriever: Any = each.get_component("found")
        retriever.document_store = store
        [document] = each.run({"asked": {"text": "富士山の高さ"}})["found"]["documents"]
        assert document.content == TEXTS[0]


def test_a_component_is_written_down() -> None:
    component = EmbedTextEmbedder("all-minilm-l6-v2", precision="f32", truncate="end")
    written = component.to_dict()
    assert written["init_parameters"] == {
        "model": "all-minilm-l6-v2",
        "truncate": "end",
        "precision": "f32",
        "threads": None,
        "home": None,
        "pull": False,
    }
    assert EmbedTextEmbedder.from_dict(written).to_dict() == written
