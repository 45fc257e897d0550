"""The JSON text of an exported program, checked and cleaned.

PyTorch makes Python source of the names in it, looks operators up by attribute, has sympy evaluate sizes, imports
modules that structures of inputs name, and compiles guards. So each piece of text must be of the kind that its place
asks for: an identifier, a known operator, arithmetic. Guards and notes for people are left out; the shapes that they
guard are checked by the sizes of the inputs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

import torch

from foretune.compiler.exported.json_data import parse_json
from foretune.compiler.exported.symbols import check_expression
from foretune.compiler.torch_private import OpOverload, pytree
from foretune.errors import DataError

NAMESPACES = frozenset({"aten", "prims", "quantized_decomposed", "torchvision"})  # whose operators only compute
_TOUCHING_FILES = frozenset({"from_file", "save", "_print", "warn"})  # of aten
_HIGHER_ORDER = frozenset(
    {
        "cond",
        "while_loop",
        "map_impl",
        "scan",
        "associative_scan",
        "wrap_with_set_grad_enabled",
        "wrap_with_autocast",
        "invoke_subgraph",
        "out_dtype",
    }
)
_OPERATOR = re.compile(r"torch\.ops\.(\w+)\.(\w+)(?:\.(\w+))?")
_PYTHON_OPERATORS = frozenset(
    [
        "eq",
        "ne",
        "le",
        "ge",
        "lt",
        "gt",
        "neg",
        "pos",
        "mul",
        "add",
        "sub",
        "floordiv",
        "mod",
        "pow",
        "truediv",
        "and_",
        "or_",
        "lshift",
        "rshift",
        "getitem",
    ]
)
_SYMBOLIC = frozenset(
    {
        "math.trunc",
        "math.ceil",
        "math.floor",
        *(f"torch.sym_{n}" for n in ("not", "int", "float", "ite", "max", "min", "sqrt", "sum")),
    }
)
_NAMES = frozenset({"name", "as_name", "forward_arg_names", "field_names", "user_input_name"})
_PATHS = frozenset({"parameter_name", "buffer_name", "tensor_constant_name", "fqn"})
_PATH = re.compile(r"[^\"'\\\x00-\x1f\x7f]{0,500}")
_FREE_TEXT = frozenset({"as_string", "as_strings", "torch_version"})
_NUMBERS = frozenset({"as_float", "as_floats", "as_float_lists", "real", "imag"})
_DIALECTS = frozenset({"ATEN", "TRAINING", "EDGE", ""})
_REFUSED = {"as_custom_obj": "a custom object", "custom_obj": "a custom object", "token": "an effect token"}
_LEFT_OUT = {"metadata": {}, "guards_code": []}


def cleaned_program(data: bytes, namespaces: Collection[str] = ()) -> bytes:
    """The program without what is only for people or is compiled to Python.

    Args:
        data: the JSON text in the archive.
        namespaces: of operators that it may call beside `NAMESPACES`.

    Raises:
        DataError: it is damaged, or has a text that PyTorch would execute.
    """
    program = parse_json(data, "the program")
    if not isinstance(program, dict) or not isinstance(program.get("graph_module"), dict):
        raise DataError("the program has no graph")
    return json.dumps(_Cleaner(NAMESPACES | set(namespaces)).clean(program, "")).encode()


class _Cleaner:
    def __init__(self, namespaces: frozenset[str]) -> None:
        self._namespaces = namespaces

    def clean(self, value: Any, key: str) -> Any:
        """The value that stands under a name in an object, or in a list under it."""
        if isinstance(value, str):
            self._check_text(value, key)
            return value
        if isinstance(value, list):
            return [self.clean(item, key) for item in value]
        if isinstance(value, dict):
            return self._cleaned_object(value, key)
        return value

    def _cleaned_object(self, value: dict[str, Any], key: str) -> dict[str, Any]:
        made = {}
        for name, item in value.items():
            if name in _REFUSED or (name == "custom_obj_values" and item):
                raise DataError(
                    f"the program has {_REFUSED.get(name, 'custom objects')}, which only Python's pickle could make;"
                    " export it without"
                )
            if key == "range_constraints":
                check_expression(name)
            elif not (
                name.isidentifier() or (key in ("opset_version", "treespec_namedtuple_fields") and _is_path(name))
            ):
                raise DataError(f"{name[:80]!r} is no name")
            made[name] = _LEFT_OUT[name] if name in _LEFT_OUT else self.clean(item, name)
        return made

    def _check_text(self, text: str, key: str) -> None:
        if key in _NAMES:
            if text and not text.isidentifier():
                raise DataError(f"{text[:80]!r} is no name of a value")
        elif key in _PATHS:
            if not _PATH.fullmatch(text):
                raise DataError(f"{text[:80]!r} is no name of a parameter or buffer")
        elif key in ("target", "as_operator"):
            self._check_operator(text)
        elif key == "expr_str":
            check_expression(text)
        elif key in ("in_spec", "out_spec"):
            check_structure(text, is_signature=key == "in_spec")
        elif not (
            key in _FREE_TEXT
            or (key in _NUMBERS and text in ("Infinity", "-Infinity", "NaN"))
            or (key == "verifiers" and text in _DIALECTS)
            or (key == "type" and text.isidentifier())
        ):
            raise DataError(f"the text {text[:80]!r} stands where none belongs, at {key!r}")

    def _check_operator(self, text: str) -> None:
        if text in _SYMBOLIC or (
            text.startswith("_operator.") and text.removeprefix("_operator.") in _PYTHON_OPERATORS
        ):
            return
        found = _OPERATOR.fullmatch(text)
        if not (found and found[1] == "higher_order" and not found[3] and found[2] in _HIGHER_ORDER):
            operator_named(text, self._namespaces)


def operator_named(text: str, namespaces: Collection[str] = NAMESPACES) -> OpOverload:
    """The operator of PyTorch's dispatcher that a text names, such as `torch.ops.aten.add.Tensor`.

    Args:
        text: its name.
        namespaces: that it may be of.

    Raises:
        DataError: there is no such operator, or it may do more than compute.
    """
    if (found := _OPERATOR.fullmatch(text)) is None:
        raise DataError(f"{text[:80]!r} is no operator of PyTorch's dispatcher")
    namespace, name, overload = found.groups()
    if namespace not in namespaces or (namespace == "aten" and name in _TOUCHING_FILES):
        raise DataError(
            f"the program calls the operator {text[:80]!r}, which is not among those that only compute (of"
            f" {', '.join(sorted(namespaces))}); name MODULE:FUNCTION in place of the file, or export"
            " without it"
        )
    packet = getattr(getattr(torch.ops, namespace), name, None)
    operator = getattr(packet, overload or "default", None)
    if not isinstance(operator, OpOverload):
        raise DataError(
            f"there is no operator {text[:80]!r} in PyTorch {torch.__version__}; import what registers it first"
        )
    return operator


def _is_path(text: str) -> bool:
    return all(part.isidentifier() for part in text.replace(":", ".").replace("<locals>", "locals").split("."))


def check_structure(text: str, is_signature: bool) -> None:
    """Checks the structure of inputs or outputs, in PyTorch's own JSON form.

    Args:
        text: of the structure.
        is_signature: whether it is that of (positional arguments, keyword arguments), whose names go into Python
            source.

    Raises:
        DataError: it has a container that PyTorch does not know, or one that would have a module imported.
    """
    parsed = parse_json(text, "a structure of inputs")
    if not (isinstance(parsed, list) and len(parsed) == 2 and isinstance(parsed[1], dict)):
        raise DataError("a structure of inputs is damaged")
    _check_container(parsed[1])
    if is_signature:
        for child in parsed[1]["children_spec"][1:2]:
            if child["type"] == "builtins.dict" and not all(
                isinstance(k, str) and k.isidentifier() for k in json.loads(child["context"])
            ):
                raise DataError("a keyword argument of the program is no name")


def _check_container(node: Any) -> None:
    if not isinstance(node, dict) or not isinstance(children := node.get("children_spec"), list):
        raise DataError("a structure of inputs is damaged")
    kind, context = node.get("type"), node.get("context")
    if isinstance(kind, str) and isinstance(context, str):
        _check_context(kind, context)
    elif (kind, context, children) != (None, None, []):
        raise DataError("a structure of inputs is damaged")
    for child in children:
        _check_container(child)


def _check_context(kind: str, context: str) -> None:
    known = pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE
    if kind == "collections.namedtuple":
        if context not in known:
            raise DataError(
                f"the program's inputs or outputs are {context[:80]!r}, which is not registered here; import its module"
                " first"
            )
        return
    if (
        kind not in known
        or kind == pytree.NO_SERIALIZED_TYPE_NAME_FOUND
        or pytree.SUPPORTED_SERIALIZED_TYPES[known[kind]].from_dumpable_context
    ):
        raise DataError(f"the program's inputs or outputs are a {kind[:80]!r}, which is not read from files")
    keys = parse_json(context, "a structure of inputs")
    if not (keys is None or isinstance(keys, int) or (isinstance(keys, list) and all(map(_is_key, keys)))) or (
        kind == "builtins.dict" and not isinstance(keys, list)
    ):
        raise DataError(f"the keys of a {kind} in the program's inputs or outputs are neither plain words nor numbers")


def _is_key(key: Any) -> bool:
    return isinstance(key, int) or (isinstance(key, str) and _PATH.fullmatch(key) is not None)
