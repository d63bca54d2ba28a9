"""LangChain: embeddings of documents and queries, each with its role.

>>> from embed.langchain import EmbedEmbeddings
>>> embeddings = EmbedEmbeddings("multilingual-e5-small")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings

from ._adapter import LoadArguments, lists, loaded
from ._embedder import Embedder, Truncate

if TYPE_CHECKING:
    from typing_extensions import Unpack


class EmbedEmbeddings(Embeddings):
    """LangChain's `Embeddings`; the async methods run on no executor."""

    def __init__(
        self, model: str | Embedder, *, truncate: Truncate = "error", **arguments: Unpack[LoadArguments]
    ) -> None:
        """Takes a loaded embedder, or the name of a model and the arguments of `Embedder.load`.

        Args:
            model: The embedder, or the name of a model.
            truncate: What to do with a text that is too long, as for `Embedder.encode`.
            arguments: As for `Embedder.load`.

        Raises:
            EmbedError: As `Embedder.load`, and from the methods as `Embedder.encode`.
        """
        self.embedder = loaded(model, arguments)
        self.truncate: Truncate = truncate

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, to be found."""
        return lists(self.embedder.encode(texts, role="document", truncate=self.truncate))

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text, to search with."""
        return lists(self.embedder.encode([text], role="query", truncate=self.truncate))[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`; cancelled with its task."""
        return lists(await self.embedder.aencode(texts, role="document", truncate=self.truncate))

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`; cancelled with its task."""
        return lists(await self.embedder.aencode([text], role="query", truncate=self.truncate))[0]
