"""LlamaIndex: an embedding model for indices and pipelines.

>>> from embed.llama_index import EmbedEmbedding
>>> from llama_index.core import Settings
>>> Settings.embed_model = EmbedEmbedding("multilingual-e5-small")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from ._adapter import LoadArguments, lists, loaded
from ._embedder import Embedder, Role, Truncate

if TYPE_CHECKING:
    from typing_extensions import Unpack


class EmbedEmbedding(BaseEmbedding):
    """LlamaIndex's `BaseEmbedding`: texts are documents, queries are queries."""

    truncate: Truncate = "error"
    _embedder: Embedder = PrivateAttr()

    def __init__(
        self,
        model: str | Embedder,
        *,
        truncate: Truncate = "error",
        embed_batch_size: int = 256,
        **arguments: Unpack[LoadArguments],
    ) -> None:
        """Takes a loaded embedder, or the name of a model and the arguments of `Embedder.load`.

        Args:
            model: The embedder, or the name of a model.
            truncate: What to do with a text that is too long, as for `Embedder.encode`.
            embed_batch_size: Texts of one call.
            arguments: As for `Embedder.load`.

        Raises:
            EmbedError: As `Embedder.load`, and from the methods as `Embedder.encode`.
        """
        embedder = loaded(model, arguments)
        fields: dict[str, Any] = {"truncate": truncate, "embed_batch_size": embed_batch_size}
        super().__init__(model_name=embedder.name, **fields)
        self._embedder = embedder

    @classmethod
    def class_name(cls) -> str:
        """The name under which it is written down."""
        return "EmbedEmbedding"

    def _encode(self, texts: list[str], role: Role) -> list[list[float]]:
        return lists(self._embedder.encode(texts, role=role, truncate=self.truncate))

    async def _aencode(self, texts: list[str], role: Role) -> list[list[float]]:
        return lists(await self._embedder.aencode(texts, role=role, truncate=self.truncate))

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._encode([query], "query")[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self._aencode([query], "query"))[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._encode([text], "document")[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aencode([text], "document"))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._encode(texts, "document")

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await self._aencode(texts, "document")
