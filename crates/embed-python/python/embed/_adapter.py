"""What the adapters share."""

from __future__ import annotations

from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypedDict

from ._embedder import Embedder, Precision
from ._errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LoadArguments(TypedDict, total=False):
    """The arguments of `Embedder.load` besides the model."""

    precision: Precision
    threads: int | None
    home: str | PathLike[str] | None
    pull: bool


def loaded(model: str | Embedder, arguments: LoadArguments) -> Embedder:
    """The embedder itself, or a model that is loaded now."""
    if isinstance(model, str):
        return Embedder.load(model, **arguments)
    if arguments:
        raise InvalidInputError("the embedder is loaded already; its precision, threads, home and pull are chosen then")
    return model


def written(embedder: Embedder) -> dict[str, Any]:
    """The arguments with which `loaded` makes it again, as JSON can hold them."""
    constructor, arguments, chosen = embedder._recipe
    if constructor != "load":
        raise InvalidInputError("only a model of `Embedder.load` can be written into a configuration")
    home = chosen.get("home")
    return {"model": arguments[0], **chosen, "home": None if home is None else fspath(home)}


def lists(matrix: NDArray[np.float32]) -> list[list[float]]:
    """The rows as lists of Python's numbers, which are the same numbers."""
    rows: list[list[float]] = matrix.tolist()
    return rows
