"""Front ends: what becomes an MLIR program with an entry function. `.mlir` files here; PyTorch modules in
`torch_frontend`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foretune.errors import DataError, OptionError
from foretune.passes.mlir.environment.session import MlirSession
from foretune.passes.mlir.environment.signature import Signature

_MAX_BYTES = 32 << 20


@dataclass(frozen=True)
class MlirProgram:
    """A program to be tuned.

    Attributes:
        name: for people.
        text: the module, as MLIR prints it, with known extents.
        signature: of the entry function.
        hash: of text and entry; 16 hexadecimal digits.
    """

    name: str
    text: str
    signature: Signature
    hash: str

    @classmethod
    def of(
        cls,
        session: MlirSession,
        name: str,
        source: str,
        entry: str | None = None,
        sizes: Sequence[int] = (),
        values: Sequence[int] = (),
    ) -> MlirProgram:
        """Parses and verifies a module.

        Args:
            session: whose workers do it.
            name: for people.
            source: text of the module.
            entry: the function to be run; by default the only public one.
            sizes: extents for the `?` in the types of the entry's arguments, from left to right.
            values: of the entry's arguments that are integers or indices, from left to right; by default those are
                derived from what loops access.

        Raises:
            DataError, OptionError: the module is not valid, or has no such function, or one that cannot be run.
        """
        inspected = session.inspect(source) if not sizes else session.specialise(source, entry, sizes)
        signature = inspected.entry(entry).with_values(values)
        told = f"\0{list(values)}" if values else ""
        digest = hashlib.sha256(f"{inspected.text}\0{signature.name}{told}".encode()).hexdigest()[:16]
        return cls(name, inspected.text, signature, digest)


def load_program(
    session: MlirSession, path: Path, entry: str | None = None, sizes: Sequence[int] = (), values: Sequence[int] = ()
) -> MlirProgram:
    """Reads a `.mlir` file.

    Raises:
        OptionError: there is no such file.
        DataError: as `MlirProgram.of`; the message names the file.
    """
    if not path.is_file():
        raise OptionError(f"there is no file {path}")
    if path.stat().st_size > _MAX_BYTES:
        raise DataError(f"{path} has {path.stat().st_size >> 20} MiB; a module may have {_MAX_BYTES >> 20} MiB")
    try:
        source = path.read_text()
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text of MLIR; bytecode is not read: print it with `mlir-opt` first") from None
    try:
        return MlirProgram.of(session, path.stem, source, entry, sizes, values)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
