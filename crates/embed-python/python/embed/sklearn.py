"""scikit-learn: texts to vectors as a step of a pipeline.

>>> from embed.sklearn import EmbedTransformer
>>> from sklearn.linear_model import LogisticRegression
>>> from sklearn.pipeline import make_pipeline
>>> classifier = make_pipeline(EmbedTransformer("multilingual-e5-small"), LogisticRegression())
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ._adapter import LoadArguments, loaded
from ._embedder import Embedder, OnError, Precision, Role, Truncate
from ._errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self


class EmbedTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of texts into vectors. It learns nothing, so it needs no `fit`; the model is loaded when it is used first,
    and again where a copy of it arrives in another process."""

    def __init__(
        self,
        model: str | Embedder = "multilingual-e5-small",
        *,
        role: Role = "document",
        truncate: Truncate = "error",
        on_error: OnError = "raise",
        precision: Precision = "int8",
        threads: int | None = None,
        home: str | PathLike[str] | None = None,
        pull: bool = False,
    ) -> None:
        """The parameters are those of `Embedder.load` and `Embedder.encode`; those of a load hold for the name of a model and
        not for an embedder, which is loaded already."""
        self.model = model
        self.role: Role = role
        self.truncate: Truncate = truncate
        self.on_error: OnError = on_error
        self.precision: Precision = precision
        self.threads = threads
        self.home = home
        self.pull = pull

    def fit(self, X: Iterable[str], y: object = None) -> Self:
        """Looks at the texts only to refuse what are none; loads the model."""
        _texts(X)
        self._embedder()
        return self

    def transform(self, X: Iterable[str]) -> NDArray[np.float32]:
        """An array of ``float32`` of shape ``(texts, dimension)``.

        Raises:
            EmbedError: As `Embedder.encode`.
        """
        texts = _texts(X)
        return self._embedder().encode(texts, role=self.role, truncate=self.truncate, on_error=self.on_error)

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """A name for each number of a vector."""
        return np.asarray([f"embed{index}" for index in range(self._embedder().dimension)], dtype=object)

    def _embedder(self) -> Embedder:
        if isinstance(self.model, Embedder):
            return self.model
        arguments: LoadArguments = {
            "precision": self.precision,
            "threads": self.threads,
            "home": self.home,
            "pull": self.pull,
        }
        key = (self.model, *arguments.values())
        known: tuple[object, Embedder] | None = getattr(self, "_loaded", None)
        if known is None or known[0] != key:
            known = (key, loaded(self.model, arguments))
            self._loaded = known
        return known[1]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_loaded"}

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _texts(given: Iterable[str]) -> Iterable[str]:
    if isinstance(given, str):
        raise InvalidInputError("these are the letters of one text; put it in a list")
    if np.ndim(given) > 1 if isinstance(given, np.ndarray) else hasattr(given, "columns"):
        raise InvalidInputError("the texts are one column, not a table; choose it, as a ColumnTransformer does")
    return given
