"""What goes wrong is an exception of one hierarchy, or the error of a row."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path

import numpy as np
import pytest

import embed


def test_each_kind_has_its_class() -> None:
    kinds = {
        "config",
        "dimension_mismatch",
        "input_too_long",
        "internal",
        "invalid_input",
        "model_not_found",
        "overloaded",
        "protocol",
        "rate_limited",
        "space_mismatch",
        "timeout",
        "unauthorized",
        "unavailable",
    }
    assert {error.kind for error in embed.EmbedError.__subclasses__()} == kinds


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", embed.InvalidInputError, "the text is empty (row: 1)"),
        (None, embed.InvalidInputError, "a text is a str, not NoneType (row: 1)"),
        (3.5, embed.InvalidInputError, "a text is a str, not float (row: 1)"),
        (b"bytes", embed.InvalidInputError, "a text is a str, not bytes (row: 1)"),
        ("secret \ud800", embed.InvalidInputError, "half of a surrogate pair, which is no character (row: 1)"),
        ("secret " * 2000, embed.InputTooLongError, "limit: 512"),
    ],
)
def test_what_is_wrong_with_a_text_stays_with_it(
    model: embed.Embedder, text: object, error: type[embed.EmbedError], message: str
) -> None:
    texts: list[str] = ["before", text, "after"]  # type: ignore[list-item]
    with pytest.raises(error) as raised:
        model.encode(texts)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)
    assert (raised.value.retry, raised.value.retry_after) == ("permanent", None)
    with pytest.raises(error):
        asyncio.run(model.aencode(texts))

    expected = model.encode(["before", "after"])
    matrix = model.encode(texts, on_error="none")
    assert matrix.shape == (3, 384)
    assert np.isnan(matrix[1]).all()
    assert np.delete(matrix, 1, axis=0).tobytes() == expected.tobytes()
    before, wrong, after = model.encode_rows(texts)
    assert (type(wrong.error), wrong.vector, before.error, after.error) == (error, None, None, None)


def test_a_matrix_of_failures_has_the_width_of_the_model(model: embed.Embedder) -> None:
    matrix = model.encode(["", ""], on_error="none")
    assert matrix.shape == (2, 384) and np.isnan(matrix).all()


def test_a_text_that_is_too_long_is_cut_when_asked(model: embed.Embedder) -> None:
    [row] = model.encode_rows(["a word " * 2000], truncate="end")
    assert row.truncated and row.tokens == 512
    assert row.total_tokens is not None and row.total_tokens > 4000
    [row] = model.encode_rows(["a word " * 2000], truncate="chunk-mean")
    assert not row.truncated and row.vector is not None


def test_arguments_that_make_no_sense_are_refused(model: embed.Embedder) -> None:
    with pytest.raises(embed.InvalidInputError, match="a role is one of query, document"):
        model.encode(["a"], role="passage")  # type: ignore[arg-type]
    with pytest.raises(embed.InvalidInputError, match="a truncation is one of"):
        model.encode(["a"], truncate="middle")  # type: ignore[arg-type]
    with pytest.raises(embed.InvalidInputError, match="on_error is one of raise, none"):
        model.encode(["a"], on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(embed.InvalidInputError, match="a timeout is a number of seconds"):
        model.encode(["a"], timeout=-1)
    with pytest.raises(embed.InvalidInputError, match="put it in a list"):
        model.encode_rows("letters")
    with pytest.raises(embed.InvalidInputError, match="a batch has 1 text or more"):
        model.stream(["a"], batch=0)
    with pytest.raises(TypeError):
        model.encode(7)  # type: ignore[arg-type]


def test_a_timeout_is_one_of_python_too(model: embed.Embedder) -> None:
    with pytest.raises(TimeoutError) as raised:
        model.encode(["a"], timeout=0)
    assert isinstance(raised.value, embed.TimeoutError)
    assert raised.value.retry == "temporary"


def test_a_model_that_is_not_there_names_the_fix(tmp_path: Path) -> None:
    with pytest.raises(embed.ModelNotFoundError, match="`pull=True` fetches it"):
        embed.Embedder.load("multilingual-e5-small", home=tmp_path)
    with pytest.raises(embed.ModelNotFoundError, match="known are multilingual-e5-small"):
        embed.Embedder.load("no-such-model")
    with pytest.raises(embed.ConfigError, match="threads must be more than 0"):
        embed.Embedder.load("multilingual-e5-small", threads=0)
    with pytest.raises(embed.ModelNotFoundError, match="`pull=True` fetches it"):
        embed.Embedder.hybrid(home=tmp_path)


def test_settings_that_are_wrong_are_named_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "embed.toml"
    file.write_text('[cache]\ntire = "memory"\n')
    with pytest.raises(embed.ConfigError, match=r"embed\.toml:2"):
        embed.Embedder.from_config(file)


def test_errors_cross_processes(model: embed.Embedder) -> None:
    [row] = model.encode_rows([""])
    again = pickle.loads(pickle.dumps(row.error))
    assert type(again) is embed.InvalidInputError
    assert (str(again), again.kind, again.retry) == ("the text is empty", "invalid_input", "permanent")
    error = embed.RateLimitedError("slowly", "temporary", 1.5)
    again = pickle.loads(pickle.dumps(error))
    assert (again.retry, again.retry_after) == ("temporary", 1.5)
