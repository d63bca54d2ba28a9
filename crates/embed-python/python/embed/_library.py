"""Finds the ONNX Runtime library that the package `onnxruntime` has installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

VARIABLE = "ORT_DYLIB_PATH"

_PATTERNS = {"win32": "onnxruntime.dll", "darwin": "libonnxruntime.*dylib"}


def runtime_library() -> str | None:
    """The path of the library, found and not copied. ``None`` if the variable ``ORT_DYLIB_PATH`` names another one, which
    wins, or if there is none; then it is looked for in the data folder and on the system.

    The package isn't imported for it.
    """
    if os.environ.get(VARIABLE):
        return None
    spec = importlib.util.find_spec("onnxruntime")
    pattern = _PATTERNS.get(sys.platform, "libonnxruntime.so*")
    for folder in (spec and spec.submodule_search_locations) or ():
        for library in sorted(Path(folder, "capi").glob(pattern)):
            return str(library)
    return None
