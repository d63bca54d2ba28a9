"""The command `embed`: the program in this package, with the ONNX Runtime of the package `onnxruntime`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ._library import VARIABLE, runtime_library


def main() -> None:
    """Becomes the program, with the arguments of this process."""
    name = "embed.exe" if sys.platform == "win32" else "embed"
    program = Path(__file__).with_name("bin") / name
    if not program.is_file():
        sys.exit("embed: this build of the package `embed-stack` has the module alone, without the command")
    if library := runtime_library():
        os.environ[VARIABLE] = library
    arguments = [str(program), *sys.argv[1:]]
    if sys.platform == "win32":
        sys.exit(subprocess.run(arguments, check=False).returncode)
    os.execv(program, arguments)
