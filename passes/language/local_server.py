"""The process that serves the embedded language model on loopback: `python -m foretune.passes.language.local_server`.

It reads one line of JSON, answers with the endpoint's URL, and ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from foretune.support.optional import missing

CONTEXT_TOKENS = 8192


def main() -> None:
    """Serves until standard input ends."""
    hello = json.loads(sys.stdin.readline())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the library talks on standard output
    try:
        server = _serve(hello["model"], hello["num_threads"], hello["adapter"])
        reply = {"url": server.listening_address + "/v1"}
    except ImportError:
        server, reply = None, {"error": str(missing("xllamacpp", "the local language model"))}
    except Exception as error:  # whatever the library raises is told to the parent
        server, reply = None, {"error": f"the local language model does not start: {type(error).__name__}: {error}"}
    out.write(json.dumps(reply) + "\n")
    out.flush()
    if server is not None:
        sys.stdin.read()
    os._exit(0)  # the library's threads do not end by themselves


def _serve(model: str, num_threads: int, adapter: str | None) -> Any:
    import xllamacpp as library

    xllamacpp: Any = library  # a compiled module without stubs
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = 1
    params.cpuparams.n_threads = num_threads
    params.cpuparams_batch.n_threads = num_threads
    params.hostnames = ["127.0.0.1"]
    params.warmup = False
    if adapter is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter, 1.0)]
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
