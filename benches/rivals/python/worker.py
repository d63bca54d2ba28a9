"""One contender in a process of its own, driven over its standard input. See ../../worker/README.md.

    worker.py NAME MODELS TOKENIZER.json [TEXT]
    libraries.py NAME MODELS TOKENIZER.json [TEXT]

With a text, it embeds that as a query, prints the row and ends: for the time from start to first vector.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import contenders

# Libraries print to the standard output as they like; the answers must stay alone on theirs.
ANSWERS = sys.stdout
sys.stdout = sys.stderr


def answer(message: dict[str, object]) -> None:
    print(json.dumps(message), file=ANSWERS, flush=True)


def read_texts(path: str) -> list[str]:
    return [json.loads(line)["text"] for line in Path(path).read_text("utf-8").splitlines()]


def perform(contender: contenders.Contender, order: dict[str, object]) -> dict[str, object]:
    if order["op"] == "choose":
        contender.choose(str(order["choice"]))
        return {"setting": contender.setting}
    texts, role = read_texts(str(order["texts"])), str(order["role"])
    match order["op"]:
        case "vectors":
            rows = contender.embed(texts, role)
            Path(str(order["out"])).write_bytes(rows.astype("<f4").tobytes())
            return {}
        case "batch":
            began = time.perf_counter()
            contender.embed(texts, role)
            return {"seconds": time.perf_counter() - began}
        case "calls":
            return calls(contender, texts, role, int(str(order["callers"])))
    raise ValueError(f"there is no operation called {order['op']}")


def calls(contender: contenders.Contender, texts: list[str], role: str, callers: int) -> dict[str, object]:
    """One text a call, from so many callers at a time."""

    def call(text: str) -> float:
        began = time.perf_counter()
        contender.embed([text], role)
        return (time.perf_counter() - began) * 1000

    began = time.perf_counter()
    if callers == 1:
        latencies = [call(text) for text in texts]
    else:
        with ThreadPoolExecutor(callers) as pool:
            latencies = list(pool.map(call, texts))
    return {"seconds": time.perf_counter() - began, "latencies_ms": latencies}


Load = Callable[[str, Path, Path], contenders.Contender]


def main(load: Load, name: str, models: str, tokenizer: str, first: str | None = None) -> None:
    try:
        contender = load(name, Path(models), Path(tokenizer))
        if first is not None:
            print(json.dumps(contender.embed([first], "query")[0].tolist()), file=ANSWERS, flush=True)
            return
        answer({"setting": contender.setting, "choices": contender.choices()})
    except Exception as error:  # noqa: BLE001: whatever it is, the driver is to hear of it
        answer({"error": f"{type(error).__name__}: {error}"})
        return
    for line in sys.stdin:
        try:
            answer(perform(contender, json.loads(line)))
        except Exception as error:  # noqa: BLE001
            answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main(contenders.load, *sys.argv[1:])
