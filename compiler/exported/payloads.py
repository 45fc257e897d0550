"""Tensors of an exported program: the lists of them, checked, and those that PyTorch pickled."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from typing import Any

import torch

from foretune.compiler.exported.archive import members_of
from foretune.compiler.exported.json_data import parse_json
from foretune.errors import DataError
from foretune.support.text import telling_line

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_VALUES = (int, float, complex, str, bool, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)
_ITEM_BYTES = {  # of PyTorch's numbers of types
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 2,
    7: 4,
    8: 8,
    9: 4,
    10: 8,
    11: 16,
    12: 1,
    13: 2,
    28: 2,
    29: 1,
    30: 1,
    31: 1,
    32: 1,
    33: 1,
    34: 4,
    35: 8,
}
_FILE = re.compile(r"(weight|tensor)_\d{1,9}")
_NAME = re.compile(r"[^\"'\\\x00-\x1f\x7f]{1,500}")
_MOST_VALUES = 10_000


def check_config(data: bytes, what: str, size_of: Callable[[str], int | None]) -> dict[str, bool]:
    """Checks a list of weights or constants.

    Args:
        data: the JSON text in the archive.
        what: `weights` or `constants`.
        size_of: bytes of one of its files; None if there is none of that name.

    Returns:
        File -> whether it is pickled.

    Raises:
        DataError: it is damaged, asks for more than tensors, or a tensor is longer than its file.
    """
    config = parse_json(data, f"the list of {what}")
    if not isinstance(config, dict) or not isinstance(entries := config.get("config"), dict):
        raise DataError(f"the list of {what} is damaged")
    files: dict[str, bool] = {}
    for name, entry in entries.items():
        if not _NAME.fullmatch(name) or not isinstance(entry, dict):
            raise DataError(f"the list of {what} is damaged at {name[:80]!r}")
        file, pickled = entry.get("path_name"), entry.get("use_pickle")
        if not isinstance(file, str) or not _FILE.fullmatch(file):
            raise DataError(
                f"{name!r} of its {what} is no tensor, but {str(file)[:80]!r}; objects are not read from files"
            )
        if (
            not isinstance(pickled, bool)
            or files.setdefault(file, pickled) != pickled
            or not isinstance(entry.get("is_param"), bool)
        ):
            raise DataError(f"the list of {what} is damaged at {name!r}")
        if (size := size_of(file)) is None:
            raise DataError(f"{name!r} of its {what} has no file {file!r}")
        if not pickled and not _fits(entry.get("tensor_meta"), size):
            raise DataError(f"{name!r} of its {what} does not fit into the {size} bytes of {file!r}")
    return files


def _fits(meta: Any, num_bytes: int) -> bool:
    if (
        not isinstance(meta, dict)
        or not isinstance(meta.get("device"), dict)
        or not isinstance(meta.get("requires_grad"), bool)
    ):
        return False
    sizes, strides, [offset] = (
        _integers(meta.get("sizes")),
        _integers(meta.get("strides")),
        _integers([meta.get("storage_offset")]) or [None],
    )
    item_bytes = _ITEM_BYTES.get(dtype) if isinstance(dtype := meta.get("dtype"), int) else None
    if sizes is None or strides is None or offset is None or item_bytes is None or len(sizes) != len(strides):
        return False
    if 0 in sizes:
        return all(size < 1 << 40 for size in sizes)
    return (offset + 1 + sum((size - 1) * stride for size, stride in zip(sizes, strides))) * item_bytes <= num_bytes


def _integers(values: Any) -> list[int] | None:
    if not isinstance(values, list) or not all(isinstance(v, dict) and list(v) == ["as_int"] for v in values):
        return None
    numbers = [v["as_int"] for v in values]
    return numbers if all(type(n) is int and n >= 0 for n in numbers) else None


def repickled(data: bytes, what: str, is_valid: Callable[[Any], bool]) -> bytes:
    """What PyTorch pickled, read without executing anything and pickled again.

    Args:
        data: as `torch.save` writes it.
        what: its name, for messages.
        is_valid: says whether it is of the kind that belongs there.

    Raises:
        DataError: reading it would execute something, or it is damaged or of another kind.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members_of(archive)
        value = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:class|operand|global)[^.]*", str(error))
        needs = f" ({found.group(0)[:80]})" if found else ""
        raise DataError(
            f"{what} hold more than tensors and plain values, and reading that would execute it{needs}"
        ) from None
    except DataError as error:
        raise DataError(f"{what}: {error}") from None
    except Exception as error:  # of many kinds, where bytes are damaged
        raise DataError(f"{what} cannot be read: {type(error).__name__}: {telling_line(error)}") from None
    if not is_valid(value):
        raise DataError(f"{what} hold more than tensors and plain values")
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of PyTorch's own class."""
    return type(value) in _PLAIN


def is_named_tensors(value: Any) -> bool:
    """Whether it is a dictionary from names to tensors."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and _NAME.fullmatch(name) and is_tensor(item) for name, item in value.items()
    )


def is_sample(value: Any) -> bool:
    """Whether it is (positional arguments, keyword arguments), of tensors and plain values in plain containers."""
    if not (type(value) is tuple and len(value) == 2 and type(value[0]) in (tuple, list) and type(value[1]) is dict):
        return False
    level, num_values = [*value], 0
    while level:
        num_values += len(level)
        if num_values > _MOST_VALUES or not all(
            is_tensor(v) or type(v) in _VALUES or type(v) in (tuple, list, dict, torch.Size) for v in level
        ):
            return False
        level = [
            child for v in level for child in (v.values() if type(v) is dict else v if type(v) in (tuple, list) else ())
        ]
    return True
