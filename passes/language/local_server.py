"""The process that serves the embedded language model on loopback: `python -m foretune.passes.language.local_server`.

It answers a greeting with the endpoint's URL, and ends with its standard input.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from foretune.support.optional import missing
from foretune.workers.messages import Reply, Request
from foretune.workers.serve import Service, serve

CONTEXT_TOKENS = 8192


@dataclass(frozen=True)
class Serving(Reply):
    """`url` of the endpoint; the status is `unsupported` where a package is missing, `failed` where the server does not
    start.
    """

    url: str = ""


@dataclass(frozen=True)
class ServeModel(Request[Serving]):
    """The greeting: the `model`'s file, `num_threads` of the server, and an `adapter`'s file or None."""

    model: str
    num_threads: int
    adapter: str | None


def start(hello: ServeModel) -> Service:
    """The server, running; it has nothing more to answer on the pipe."""
    try:
        server = _serve(hello.model, hello.num_threads, hello.adapter)
        return Service(Serving(url=server.listening_address + "/v1"), {}, kept=server)
    except ImportError:
        return Service(Serving("unsupported", str(missing("xllamacpp", "the local language model"))), {})
    except Exception as error:  # whatever the library raises is told to the parent
        told = f"the local language model does not start: {type(error).__name__}: {error}"
        return Service(Serving("failed", told), {})


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
    serve({ServeModel: start})
    os._exit(0)  # the library's threads do not end by themselves
