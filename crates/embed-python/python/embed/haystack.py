"""Haystack: components that embed documents and queries.

>>> from embed.haystack import EmbedDocumentEmbedder, EmbedTextEmbedder
>>> indexing = EmbedDocumentEmbedder("multilingual-e5-small")
>>> asking = EmbedTextEmbedder("multilingual-e5-small")
"""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict

from ._adapter import LoadArguments, lists, loaded
from ._embedder import Embedder, Precision, Truncate


class _Component:
    """A model that is loaded by `warm_up`, or when it is used first."""

    def __init__(
        self,
        model: str = "multilingual-e5-small",
        *,
        truncate: Truncate = "error",
        precision: Precision = "int8",
        threads: int | None = None,
        home: str | PathLike[str] | None = None,
        pull: bool = False,
    ) -> None:
        """The parameters are those of `Embedder.load`, and `truncate` of `Embedder.encode`."""
        self.model = model
        self.truncate: Truncate = truncate
        self._arguments: LoadArguments = {"precision": precision, "threads": threads, "home": home, "pull": pull}
        self._embedder: Embedder | None = None

    def warm_up(self) -> None:
        """Loads the model.

        Raises:
            EmbedError: As `Embedder.load`.
        """
        self._loaded()

    def _loaded(self) -> Embedder:
        if self._embedder is None:
            self._embedder = loaded(self.model, self._arguments)
        return self._embedder

    def to_dict(self) -> dict[str, Any]:
        """The component as a pipeline writes it down."""
        home = self._arguments.get("home")
        arguments = {**self._arguments, "home": None if home is None else str(home)}
        return default_to_dict(self, model=self.model, truncate=self.truncate, **arguments)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """The component that was written down."""
        return default_from_dict(cls, data)


@component
class EmbedTextEmbedder(_Component):
    """Embeds a query."""

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """The vector of a text, to search with, and its space.

        Raises:
            EmbedError: As `Embedder.encode`.
        """
        embedder = self._loaded()
        [embedding] = lists(embedder.encode([text], role="query", truncate=self.truncate))
        return {"embedding": embedding, "meta": {"space": embedder.space}}


@component
class EmbedDocumentEmbedder(_Component):
    """Embeds documents."""

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """The documents with their vectors, and the space of these.

        Raises:
            EmbedError: As `Embedder.encode`.
        """
        embedder = self._loaded()
        texts = [document.content or "" for document in documents]
        vectors = lists(embedder.encode(texts, truncate=self.truncate))
        embedded = [replace(document, embedding=vector) for document, vector in zip(documents, vectors, strict=True)]
        return {"documents": embedded, "meta": {"space": embedder.space}}
