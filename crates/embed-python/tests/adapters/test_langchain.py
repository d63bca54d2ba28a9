"""LangChain's own standard tests, and what they don't look at."""

from __future__ import annotations

import pytest

pytest.importorskip("langchain_tests", reason="langchain-tests is not installed")

from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

import embed
from embed.langchain import EmbedEmbeddings


class TestUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[EmbedEmbeddings]:
        return EmbedEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, object]:
        return {"model": "multilingual-e5-small"}


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[EmbedEmbeddings]:
        return EmbedEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, object]:
        return {"model": "multilingual-e5-small"}


async def test_roles_are_kept(model: embed.Embedder) -> None:
    embeddings = EmbedEmbeddings(model)
    texts = ["Mount Fuji is 3776 m high.", "Preheat the oven."]
    assert embeddings.embed_documents(texts) == model.encode(texts).tolist()
    assert await embeddings.aembed_documents(texts) == model.encode(texts).tolist()
    assert embeddings.embed_query(texts[0]) == model.encode(texts[0], role="query").tolist()
    assert await embeddings.aembed_query(texts[0]) == embeddings.embed_query(texts[0])
    store = InMemoryVectorStore(embeddings)
    store.add_texts(texts)
    [found] = store.similarity_search("富士山の高さ", k=1)
    assert found.page_content == texts[0]


def test_a_loaded_embedder_takes_no_options_of_a_load(model: embed.Embedder) -> None:
    with pytest.raises(embed.InvalidInputError, match="loaded already"):
        EmbedEmbeddings(model, precision="f32")
