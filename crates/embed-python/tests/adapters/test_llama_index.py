"""LlamaIndex: the check that its integrations have, its methods, and an index."""

from __future__ import annotations

import pytest

pytest.importorskip("llama_index.core", reason="llama-index-core is not installed")

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import IngestionPipeline

import embed
from embed.llama_index import EmbedEmbedding

TEXTS = ["Mount Fuji is 3776 m high.", "Preheat the oven."]


def test_class() -> None:
    assert BaseEmbedding.__name__ in [base.__name__ for base in EmbedEmbedding.__mro__]
    assert EmbedEmbedding.class_name() == "EmbedEmbedding"


async def test_roles_are_kept(model: embed.Embedder) -> None:
    embedding = EmbedEmbedding(model, embed_batch_size=1)
    documents = model.encode(TEXTS).tolist()
    query = model.encode(TEXTS[0], role="query").tolist()
    assert embedding.get_text_embedding(TEXTS[0]) == documents[0]
    assert embedding.get_text_embedding_batch(TEXTS) == documents
    assert await embedding.aget_text_embedding(TEXTS[0]) == documents[0]
    assert await embedding.aget_text_embedding_batch(TEXTS) == documents
    assert embedding.get_query_embedding(TEXTS[0]) == query
    assert await embedding.aget_query_embedding(TEXTS[0]) == query
    assert embedding.to_payload()["model_name"] == "multilingual-e5-small"


def test_an_index_finds_what_was_asked(model: embed.Embedder) -> None:
    embedding = EmbedEmbedding(model)
    nodes = IngestionPipeline(transformations=[embedding]).run(documents=[Document(text=text) for text in TEXTS])
    index = VectorStoreIndex(nodes, embed_model=embedding)
    [found] = index.as_retriever(similarity_top_k=1).retrieve("富士山の高さ")
    assert found.node.get_content() == TEXTS[0]
