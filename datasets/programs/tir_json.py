"""TVM's JSON of a module, read without TVM.

Two forms are read: that of TVM up to 0.19 (`{"root", "nodes": [{"type_key", "attrs"}]}`, where every attribute is a
string) and that of later releases (`{"root_index", "nodes": [{"type", "data"}]}`). Nodes are shown under the class and
attribute names of the newest release, which is all that `tir_graph.py` asks for.
"""

from __future__ import annotations

import json
from typing import Any, cast

from foretune.errors import DataError

# class names of old releases -> their names today
_RENAMED = {
    "Block": "SBlock",
    "BlockRealize": "SBlockRealize",
    "BufferLoad": "TensorLoad",
    "BufferRegion": "TensorRegion",
}
_RENAMED_FIELDS = {("TensorLoad", "source"): "buffer", ("TensorRegion", "source"): "buffer"}
# numbers that stand in the field itself; so does the value of an IntImm, up to TVM 0.19
_INLINE = {("FloatImm", "value"): float, ("IterVar", "iter_type"): int, ("For", "kind"): int}
_STRINGS = {"runtime.String", "ffi.String", "ffi.SmallStr"}
_ARRAYS = {"Array", "ffi.Array"}
_MAPS = {"Map", "ffi.Map"}


class JsonNode:
    """One node; attributes are resolved when they are asked for. Nodes are equal if they are the same node."""

    def __init__(self, document: _Document, fields: dict[str, Any], text: str) -> None:
        self._document, self._fields, self._text = document, fields, text

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        kind = type(self).__name__
        fields = self._fields
        if name not in fields:
            name = _RENAMED_FIELDS.get((kind, name), name)
        if name in fields:
            if (kind, name) in _INLINE or (kind == "IntImm" and name == "value" and isinstance(fields[name], str)):
                return _INLINE.get((kind, name), int)(fields[name])
            return self._document.field(fields[name])
        if name == "name" and self._text:
            return self._text
        if name == "ty" and "dtype" in fields:  # up to TVM 0.19, expressions have a dtype
            return fields["dtype"]
        if name != "ty" and "ty" in fields:  # a buffer is a variable whose type knows the shape
            return getattr(self._document.field(fields["ty"]), name)
        raise AttributeError(f"a {kind} node of the JSON has no {name!r}")

    def __str__(self) -> str:
        for name in ("name", "name_hint", "dtype"):
            if name in self._fields:
                return str(getattr(self, name))
        return f"{type(self).__name__}@{id(self):x}"


class _Document:
    def __init__(self, nodes: list[dict[str, Any]]) -> None:
        self._nodes = nodes
        self._made: dict[int, Any] = {}

    def field(self, raw: Any) -> Any:
        """A field's value: an index of a node, or text."""
        if isinstance(raw, bool) or raw is None:
            return raw
        if isinstance(raw, int):
            return self.node(raw)
        return self.node(int(raw)) if raw.isdigit() else raw

    def node(self, index: int) -> Any:
        if not 0 <= index < len(self._nodes):
            raise DataError(f"the JSON of a module refers to node {index} of {len(self._nodes)}")
        if index not in self._made:
            self._made[index] = self._make(self._nodes[index])
        return self._made[index]

    def _make(self, node: dict[str, Any]) -> Any:
        kind = cast("str", node.get("type", node.get("type_key")))
        if kind in ("None", ""):
            return None
        if kind in ("int", "bool", "float"):
            return node["data"]
        if kind in _STRINGS:
            return str(node.get("data", node.get("repr_str", "")))
        if kind in _ARRAYS:
            return [self.node(i) for i in node.get("data", ())]
        if kind in _MAPS:
            values = node.get("data", ())
            if "keys" in node:
                return {key: self.node(i) for key, i in zip(node["keys"], values)}
            return {self.node(k): self.node(v) for k, v in zip(values[::2], values[1::2])}
        name = kind.rsplit(".", 1)[-1]
        data = node.get("data", node.get("attrs", {}))
        text = str(node.get("repr_str", data if isinstance(data, str) else ""))
        return type(_RENAMED.get(name, name), (JsonNode,), {})(self, data if isinstance(data, dict) else {}, text)


class JsonFunction:
    """A PrimFunc: its parameters as buffers, and its body."""

    def __init__(self, node: JsonNode) -> None:
        buffer_map = node.buffer_map if "buffer_map" in node._fields else {}  # up to TVM 0.25, parameters are handles
        self.params = [buffer_map.get(p, p) for p in node.params]
        self.body = node.body


class JsonModule:
    """A module of JSON nodes.

    Attributes:
        tvm_version: that wrote it; empty if it does not say.
    """

    def __init__(self, text: str | bytes) -> None:
        """Reads a module.

        Raises:
            DataError: the text is not the JSON of a TIR module.
        """
        try:
            data = json.loads(text)
            self.tvm_version = str((data.get("metadata") or data.get("attrs") or {}).get("tvm_version", ""))
            root = _Document(data["nodes"]).node(data["root_index"] if "root_index" in data else data["root"])
            self._functions = {str(key.name_hint): JsonFunction(value) for key, value in root.functions.items()}
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise DataError(f"not the JSON of a TIR module: {type(error).__name__}: {error}") from error

    def __getitem__(self, name: str) -> JsonFunction:
        if name not in self._functions:
            raise DataError(f"the module has no function {name!r}, only {sorted(self._functions)}")
        return self._functions[name]
