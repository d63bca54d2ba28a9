"""What the tests share: real models, real texts, the command."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import embed

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def articles() -> list[str]:
    """The Universal Declaration of Human Rights: 30 articles in 15 languages."""
    lines = (REPOSITORY / "crates/embed-testkit/data/udhr.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


@pytest.fixture(scope="session")
def model() -> embed.Embedder:
    return embed.Embedder.load("multilingual-e5-small")


@pytest.fixture(scope="session")
def command() -> str:
    """The program whose rows are the expected ones. `cargo xtask ci --only python` builds it."""
    program = os.environ.get("EMBED_COMMAND")
    if not program:
        pytest.skip("EMBED_COMMAND names no program `embed` to compare with")
    return program
