"""Chroma: an embedding function, which a collection writes down and makes again.

>>> import chromadb
>>> from embed.chroma import EmbedFunction
>>> function = EmbedFunction("multilingual-e5-small")
>>> collection = chromadb.Client().create_collection("passages", embedding_function=function)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from chromadb.api.types import Documents, EmbeddingFunction, Embeddings, Space
from chromadb.utils.embedding_functions import register_embedding_function

from ._adapter import LoadArguments, loaded, written
from ._embedder import Embedder, Role, Truncate
from ._errors import InvalidInputError

if TYPE_CHECKING:
    from typing_extensions import Unpack


@register_embedding_function
class EmbedFunction(EmbeddingFunction[Documents]):
    """Chroma's `EmbeddingFunction`: what is added is a document, what is asked is a query."""

    def __init__(
        self, model: str | Embedder, *, truncate: Truncate = "error", **arguments: Unpack[LoadArguments]
    ) -> None:
        """Takes a loaded embedder, or the name of a model and the arguments of `Embedder.load`.

        Raises:
            EmbedError: As `Embedder.load`, and when it is called as `Embedder.encode`.
        """
        self.embedder = loaded(model, arguments)
        self.truncate: Truncate = truncate

    def __call__(self, input: Documents) -> Embeddings:
        """A vector for each document."""
        return self._encode(input, "document")

    def embed_query(self, input: Documents) -> Embeddings:
        """A vector for each query."""
        return self._encode(input, "query")

    def _encode(self, texts: Documents, role: Role) -> Embeddings:
        return cast(Embeddings, list(self.embedder.encode(texts, role=role, truncate=self.truncate)))

    @staticmethod
    def name() -> str:
        """The name under which a collection writes it down."""
        return "embed"

    def default_space(self) -> Space:
        """How a collection compares the vectors."""
        return "cosine"

    def get_config(self) -> dict[str, Any]:
        """What `build_from_config` makes it of again."""
        return {"space": self.embedder.space, "truncate": self.truncate, **written(self.embedder)}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> EmbedFunction:
        """Loads what a collection has written down.

        Raises:
            EmbedError: As `Embedder.load`.
        """
        return EmbedFunction(**{name: value for name, value in config.items() if name != "space"})

    def validate_config_update(self, old_config: dict[str, Any], new_config: dict[str, Any]) -> None:
        """Refuses a model of another space: its vectors can't be compared with those of the collection."""
        if old_config.get("space") != new_config.get("space"):
            raise InvalidInputError("the vectors of the collection are of another space; make a new one")
