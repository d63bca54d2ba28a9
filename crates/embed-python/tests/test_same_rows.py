"""Rows are those of the command to the bit, whoever asks."""

from __future__ import annotations

import asyncio
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import embed


@pytest.mark.parametrize("precision", ["int8", "f32"])
@pytest.mark.parametrize("role", ["document", "query"])
def test_rows_are_those_of_the_command(
    command: str,
    articles: list[str],
    tmp_path: Path,
    precision: Literal["int8", "f32"],
    role: Literal["document", "query"],
) -> None:
    texts = articles if role == "document" else articles[::7]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    arguments = ["encode", "--precision", precision, "--role", role, "--input", str(file), "--truncate", "end"]
    output = subprocess.run([command, *arguments], check=True, capture_output=True, text=True).stdout
    written = [json.loads(line) for line in output.splitlines()]
    expected = np.array([row["embedding"] for row in written], dtype=np.float32)

    model = embed.Embedder.load("multilingual-e5-small", precision=precision)
    matrix = model.encode(texts, role=role, truncate="end")
    rows = model.encode_rows(texts, role=role, truncate="end")
    assert matrix.dtype == np.float32
    assert matrix.shape == expected.shape == (len(texts), 384)
    assert matrix.tobytes() == expected.tobytes()
    assert np.stack([row.vector for row in rows if row.vector is not None]).tobytes() == expected.tobytes()
    assert {row.space for row in rows} == {model.space} == {row["space"] for row in written}


def test_neighbours_threads_tasks_and_batches_change_no_vector(model: embed.Embedder, articles: list[str]) -> None:
    texts = articles[::5]
    expected = model.encode(texts)
    alone = np.stack([model.encode(text) for text in texts[:10]])
    assert alone.tobytes() == expected[:10].tobytes()

    with ThreadPoolExecutor(4) as threads:
        of_threads = list(threads.map(model.encode, [texts] * 4))
    assert all(matrix.tobytes() == expected.tobytes() for matrix in of_threads)

    async def tasks() -> list[np.ndarray]:
        return await asyncio.gather(*(model.aencode(texts[at::3]) for at in range(3)))

    for at, matrix in enumerate(asyncio.run(tasks())):
        assert matrix.tobytes() == np.ascontiguousarray(expected[at::3]).tobytes()

    streamed = [row.vector for row in model.stream(iter(texts), batch=7)]
    assert np.stack([vector for vector in streamed if vector is not None]).tobytes() == expected.tobytes()


async def test_rows_of_asyncio_are_the_same(model: embed.Embedder, articles: list[str]) -> None:
    texts = [articles[0], "", articles[1]]
    rows = model.encode_rows(texts)
    for row, other in zip(rows, await model.aencode_rows(texts), strict=True):
        assert (row.tokens, row.space, row.variant, str(row.error)) == (
            other.tokens,
            other.space,
            other.variant,
            str(other.error),
        )
        assert (row.vector is None) == (other.vector is None)
        if row.vector is not None and other.vector is not None:
            assert row.vector.tobytes() == other.vector.tobytes()


def test_a_stream_reads_no_further_than_its_batch(model: embed.Embedder) -> None:
    read = 0

    def texts() -> object:
        nonlocal read
        for read in range(1, 1_000_000):
            yield f"text {read}"

    rows = model.stream(texts(), batch=8)  # type: ignore[arg-type]
    for taken in range(1, 30):
        assert next(rows).error is None
        assert read <= (taken + 7) // 8 * 8


def test_a_stream_shows_a_bar(model: embed.Embedder, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(model.stream(["one", "two", "three"], batch=2, progress=True))) == 3
    assert "3/3" in capsys.readouterr().err


def test_the_array_is_the_buffer_that_was_written(model: embed.Embedder) -> None:
    matrix = model.encode(["one", "two"])
    assert matrix.flags.c_contiguous and matrix.flags.writeable
    assert matrix.base is not None
    assert model.encode([]).shape == (0, 384)
    assert model.encode("one").shape == (384,)
    assert model.encode(iter(["one", "two"])).tobytes() == matrix.tobytes()
