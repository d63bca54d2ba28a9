"""scikit-learn's own checks of an estimator, and a pipeline."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import embed
from embed.sklearn import EmbedTransformer

TEXTS = ["Mount Fuji is high.", "Everest is higher.", "Preheat the oven.", "Whisk the eggs."]


@parametrize_with_checks([EmbedTransformer()])  # type: ignore[untyped-decorator]
def test_the_checks_of_scikit_learn(estimator: EmbedTransformer, check: Any) -> None:
    check(estimator)


def test_a_pipeline_learns_and_is_cloned_and_stored(model: embed.Embedder) -> None:
    transformer = EmbedTransformer(model)
    assert clone(transformer).model is model
    assert transformer.transform(TEXTS).tobytes() == model.encode(TEXTS).tobytes()
    assert transformer.transform(np.asarray(TEXTS)).tobytes() == model.encode(TEXTS).tobytes()
    assert len(transformer.get_feature_names_out()) == 384
    classifier = make_pipeline(EmbedTransformer(), LogisticRegression()).fit(TEXTS, [0, 0, 1, 1])
    questions = ["富士山の高さ", "how to bake a cake"]
    assert list(classifier.predict(questions)) == [0, 1]
    again = pickle.loads(pickle.dumps(classifier))
    assert list(again.predict(questions)) == [0, 1]


def test_what_is_no_column_of_texts_is_refused() -> None:
    with pytest.raises(embed.InvalidInputError, match="put it in a list"):
        EmbedTransformer().fit("letters")
    with pytest.raises(embed.InvalidInputError, match="one column, not a table"):
        EmbedTransformer().fit(np.asarray([TEXTS]))
