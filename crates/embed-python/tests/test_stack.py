"""Routers, caches, spaces, and what an embedder is besides its vectors."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import embed

SETTINGS = """
[[model]]
name = "all-minilm-l6-v2"
languages = ["en"]

[[model]]
name = "multilingual-e5-small"

[routes]
en = "all-minilm-l6-v2"
"*" = "multilingual-e5-small"
"""

ENGLISH = "The height of Mount Fuji is known to every child."
JAPANESE = "富士山の高さは3776メートルです。"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> embed.Embedder:
    file = tmp_path_factory.mktemp("settings") / "embed.toml"
    file.write_text(SETTINGS)
    return embed.Embedder.from_config(file)


def test_two_spaces_are_never_compared(stack: embed.Embedder) -> None:
    english, japanese = stack.encode_rows([ENGLISH, JAPANESE])
    assert english.vector is not None and japanese.vector is not None
    assert len(english.vector) == len(japanese.vector) == 384
    assert (english.route, japanese.route) == ("all-minilm-l6-v2", "multilingual-e5-small")
    with pytest.raises(embed.SpaceMismatchError, match="vectors of two spaces can't be compared"):
        embed.similarity(english, japanese)
    with pytest.raises(embed.SpaceMismatchError, match="several spaces can't be one matrix"):
        stack.encode([ENGLISH, JAPANESE])
    with pytest.raises(embed.SpaceMismatchError, match="several spaces can't be one matrix"):
        stack.encode([ENGLISH, "", JAPANESE], on_error="none")


def test_a_route_gives_one_space(stack: embed.Embedder, model: embed.Embedder) -> None:
    matrix = stack.encode([ENGLISH, JAPANESE], route="multilingual-e5-small")
    assert matrix.tobytes() == model.encode([ENGLISH, JAPANESE]).tobytes()


def test_similarity_is_the_cosine(model: embed.Embedder) -> None:
    query, document = model.encode_rows([ENGLISH, JAPANESE])
    assert query.vector is not None and document.vector is not None
    assert embed.similarity(query, document) == pytest.approx(float(query.vector @ document.vector), abs=1e-5)
    [failed] = model.encode_rows([""])
    with pytest.raises(embed.InvalidInputError):
        embed.similarity(query, failed)


def test_the_second_time_a_row_is_of_the_cache(stack: embed.Embedder) -> None:
    [computed], [stored] = stack.encode_rows(["once and again"]), stack.encode_rows(["once and again"])
    assert (computed.tier, stored.tier) == (None, "memory")
    assert computed.vector is not None and stored.vector is not None
    assert computed.vector.tobytes() == stored.vector.tobytes()
    stack.finish()


def test_hybrid_has_two_spaces() -> None:
    english, japanese = embed.Embedder.hybrid(threads=1).encode_rows([ENGLISH, JAPANESE])
    assert english.space != japanese.space


def test_an_embedder_is_loaded_again_where_it_arrives(model: embed.Embedder) -> None:
    again = pickle.loads(pickle.dumps(model))
    assert repr(again) == repr(model) == "Embedder.load('multilingual-e5-small', precision='int8', pull=False)"
    assert (again.space, again.variant, again.name) == (model.space, model.variant, "multilingual-e5-small")
    assert (again.dimension, again.max_tokens) == (384, 512)
    assert np.array_equal(again.encode([ENGLISH]), model.encode([ENGLISH]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_says_what_to_do(model: embed.Embedder) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            model.encode(["a"])
            os.write(writing, b"embedded")
        except BaseException as error:  # noqa: BLE001
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.read().startswith("ConfigError: a process forked from one that has loaded a model can't embed")
    os.waitpid(child, 0)
