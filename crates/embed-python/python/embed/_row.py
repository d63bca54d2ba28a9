"""Rows: a vector with what is known about it, or the error of a text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import _embed
from ._errors import EmbedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Row:
    """The outcome of one text: either `vector` and what belongs to it, or `error`."""

    vector: NDArray[np.float32] | None = field(default=None, repr=False)
    """The vector, of shape ``(dimension,)``. It is a view of the array that the rows of its call share, and keeps it alive;
    ``row.vector.copy()`` doesn't."""
    tokens: int | None = None
    """Tokens that are in the vector, special ones and prefix included, where the model counts them."""
    total_tokens: int | None = None
    """Tokens of the whole text; more than `tokens` if it was cut."""
    truncated: bool = False
    """Whether the text was cut."""
    model: str | None = None
    """The name of the model that computed the vector."""
    space: str | None = None
    """The space of the vector: vectors of one space may be compared, those of two may not."""
    variant: str | None = None
    """Which exact numbers these are: the space, and with it the weights, their precision, the tokenizer."""
    route: str | None = None
    """The route that a router took."""
    tier: str | None = None
    """The tier of the cache that the vector came from."""
    error: EmbedError | None = None
    """Why there is no vector."""


def similarity(left: Row, right: Row) -> float:
    """The cosine of the angle between two vectors, from -1 to 1.

    Raises:
        SpaceMismatchError: They are of two spaces, where a number would say nothing.
        EmbedError: One of the rows has failed: its error.
    """
    for row in (left, right):
        if row.error is not None:
            raise row.error
    return _embed.similarity((left.vector, left.space), (right.vector, right.space))


def made(answer: _embed.Rows) -> list[Row]:
    """The rows of an answer of the compiled half."""
    values, rows = answer
    return [_row(values, row) for row in rows]


def _row(values: NDArray[np.float32], row: _embed.Stored | EmbedError) -> Row:
    if isinstance(row, EmbedError):
        return Row(error=row)
    (start, end), tokens, truncated, (model, space, variant), (route, tier) = row
    used, total = tokens or (None, None)
    return Row(values[start:end], used, total, truncated, model, space, variant, route, tier)
