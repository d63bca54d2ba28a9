"""Text in any language to vectors, in the process.

>>> import embed
>>> model = embed.Embedder.load("multilingual-e5-small")
>>> vectors = model.encode(["Mount Fuji is 3776 m high.", "Preheat the oven."])
>>> vectors.shape, vectors.dtype
((2, 384), dtype('float32'))

A vector depends on its text, its role and the truncation only, never on the other texts of a call.

Adapters are imported by name and need their framework only then: `embed.langchain`, `embed.llama_index`, `embed.sklearn`,
`embed.chroma`, `embed.haystack`.
"""

from ._embed import VERSION as __version__
from ._embedder import Embedder
from ._errors import (
    ConfigError,
    DimensionMismatchError,
    EmbedError,
    InputTooLongError,
    InternalError,
    InvalidInputError,
    ModelNotFoundError,
    OverloadedError,
    ProtocolError,
    RateLimitedError,
    SpaceMismatchError,
    TimeoutError,
    UnauthorizedError,
    UnavailableError,
)
from ._row import Row, similarity

__all__ = [
    "ConfigError",
    "DimensionMismatchError",
    "EmbedError",
    "Embedder",
    "InputTooLongError",
    "InternalError",
    "InvalidInputError",
    "ModelNotFoundError",
    "OverloadedError",
    "ProtocolError",
    "RateLimitedError",
    "Row",
    "SpaceMismatchError",
    "TimeoutError",
    "UnauthorizedError",
    "UnavailableError",
    "__version__",
    "similarity",
]
