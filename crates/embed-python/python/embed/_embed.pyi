"""The compiled half of the package."""

from asyncio import Future
from collections.abc import Iterable
from os import PathLike
from typing import TypeAlias, TypedDict, final

import numpy as np
from numpy.typing import NDArray

from ._errors import EmbedError

VERSION: str

class LoadOptions(TypedDict):
    precision: str | None
    threads: int | None
    home: str | PathLike[str] | None
    pull: bool
    python: str | None
    library: str | None

class CallOptions(TypedDict):
    role: str
    truncate: str
    route: str | None
    partition: str | None
    timeout: float | None
    gaps: bool

Stored: TypeAlias = tuple[
    tuple[int, int],
    tuple[int, int] | None,
    bool,
    tuple[str, str, str],
    tuple[str | None, str | None],
]
Rows: TypeAlias = tuple[NDArray[np.float32], list[Stored | EmbedError]]
Matrix: TypeAlias = NDArray[np.float32]

@final
class Engine:
    @staticmethod
    def model(name: str, options: LoadOptions) -> Engine: ...
    @staticmethod
    def stack(service: str | None, file: str | PathLike[str] | None, options: LoadOptions) -> Engine: ...
    def matrix(self, texts: Iterable[str], options: CallOptions) -> Matrix: ...
    def rows(self, texts: Iterable[str], options: CallOptions) -> Rows: ...
    def amatrix(self, texts: Iterable[str], options: CallOptions) -> Future[Matrix]: ...
    def arows(self, texts: Iterable[str], options: CallOptions) -> Future[Rows]: ...
    def finish(self) -> None: ...
    def info(self) -> tuple[str, str, str, int, int | None]: ...

def similarity(
    left: tuple[NDArray[np.float32] | None, str | None], right: tuple[NDArray[np.float32] | None, str | None]
) -> float: ...
