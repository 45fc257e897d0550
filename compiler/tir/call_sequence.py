"""A Relax function without branches as a sequence of kernel calls, which C makes without TVM's virtual machine.

The machine allocates each tensor anew and looks at each parameter, about half a microsecond an instruction: in a small
model more than its kernels take. Here all sizes are known, so that tensors are laid out once, in the storage that TVM's
planner gave them; a call puts in the addresses of inputs and outputs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch.utils.dlpack import from_dlpack

from foretune.compiler.observed.ranges import profiled, range_name
from foretune.compiler.tir._tvm import tvm

ALIGNMENT = 64
"""Bytes that TVM's kernels assume."""

_PAGE, _APART = 4096, 3 * ALIGNMENT  # tensors at the same offset in a page would hinder each other in the cache
_SYMBOL = "__tvm_ffi_{}"  # a kernel in the compiled library
_TENSOR_POINTER = 7  # type index of a DLTensor, in TVM's c_api.h


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Argument(ctypes.Structure):
    _fields_ = [("type_index", ctypes.c_int32), ("padding", ctypes.c_uint32), ("value", ctypes.c_void_p)]


class _Call(ctypes.Structure):
    _fields_ = [
        ("kernel", ctypes.c_void_p),
        ("arguments", ctypes.POINTER(_Argument)),
        ("num_arguments", ctypes.c_int64),
    ]


class _Place(ctypes.Structure):
    _fields_ = [("pointer", ctypes.c_void_p), ("address", ctypes.c_int64)]


@dataclass(frozen=True)
class Memory:
    """Where a tensor's elements are: in an input, an output, the workspace, or a constant.

    Attributes:
        kind: `input`, `output`, `workspace` or `constant`.
        place: number of the input or output; offset in the workspace in bytes.
        constant: its value.
    """

    kind: str
    place: int = 0
    constant: torch.Tensor | None = field(default=None, compare=False)

    @property
    def held(self) -> torch.Tensor:
        """The value of a constant."""
        return cast("torch.Tensor", self.constant)


@dataclass(frozen=True)
class Buffer:
    """A contiguous tensor of fixed shape."""

    memory: Memory
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class CallSequence:
    """What a function does.

    Attributes:
        inputs: its parameters.
        calls: (name of a kernel, its arguments).
        made: outputs that get memory of their own in each call, as they are allocated.
        results: what it returns; views of outputs, inputs or constants.
        workspace_bytes: memory for what is in between.
    """

    inputs: tuple[Buffer, ...]
    calls: tuple[tuple[str, tuple[Buffer, ...]], ...]
    made: tuple[Buffer, ...]
    results: tuple[Buffer, ...]
    workspace_bytes: int


class _NotASequence(Exception):
    pass


def call_sequence_of(mod: tvm.IRModule) -> CallSequence | None:
    """The calls of `main`, after memory was planned; None where it has something that is no call of a kernel on tensors
    of known sizes.
    """
    try:
        return _Reader(mod).read()
    except _NotASequence:
        return None


class _Reader:
    """Reads the bindings of `main` one by one."""

    def __init__(self, mod: tvm.IRModule) -> None:
        self._mod, self._main = mod, mod["main"]
        self._buffers: dict = {}  # variable -> its buffer
        self._storages: dict = {}  # variable -> offset in the workspace
        self._bytes = 0
        self._tuples: dict = {}
        self._calls: list[tuple[str, tuple[Buffer, ...]]] = []
        self._made: list[Buffer] = []

    def read(self) -> CallSequence:
        from tvm import relax

        inputs = []
        for i, parameter in enumerate(self._main.params):
            inputs.append(Buffer(Memory("input", i), *_shape_and_dtype(parameter.ty)))
            self._buffers[parameter] = inputs[-1]
        body = self._main.body
        if not isinstance(body, relax.SeqExpr):
            raise _NotASequence
        for block in body.blocks:
            for binding in block.bindings:
                if not isinstance(binding, relax.VarBinding):
                    raise _NotASequence
                self._bind(binding.var, binding.value)
        results = self._elements(body.body)
        if any(result.memory.kind == "workspace" for result in results):
            raise _NotASequence
        return CallSequence(tuple(inputs), tuple(self._calls), tuple(self._made), tuple(results), self._bytes)

    def _elements(self, value) -> list[Buffer]:
        from tvm import relax

        if isinstance(value, relax.Tuple):
            return [self._buffer(element) for element in value.fields]
        return self._tuples[value] if value in self._tuples else [self._buffer(value)]

    def _bind(self, variable, value) -> None:
        from tvm import relax

        if isinstance(value, relax.Tuple):
            self._tuples[variable] = self._elements(value)
        elif isinstance(value, relax.TupleGetItem) and value.tuple_value in self._tuples:
            self._buffers[variable] = self._tuples[value.tuple_value][value.index]
        elif isinstance(value, relax.Var | tvm.ir.GenericConst):
            self._buffers[variable] = self._buffer(value)
        elif isinstance(value, relax.Call):
            self._call(variable, value)
        else:
            raise _NotASequence

    def _call(self, variable, call) -> None:
        if isinstance(call.op, tvm.ir.GlobalVar):
            if not isinstance(self._mod[call.op], tvm.tirx.PrimFunc):
                raise _NotASequence
            self._calls.append((call.op.name_hint, tuple(self._buffer(a) for a in call.args)))
            return
        name = getattr(call.op, "name", "")
        if name == "relax.memory.alloc_storage":
            self._storages[variable] = self._reserve(_numbers(call.args[0].values)[0])
        elif name == "relax.memory.alloc_tensor":
            offset = self._storages[call.args[0]] + int(call.args[1].value)
            self._buffers[variable] = Buffer(Memory("workspace", offset), *_shape_and_dtype(variable.ty))
        elif name == "relax.builtin.alloc_tensor":
            made = Buffer(Memory("output", len(self._made)), *_shape_and_dtype(variable.ty))
            self._made.append(made)
            self._buffers[variable] = made
        elif name == "relax.reshape":
            self._buffers[variable] = Buffer(self._buffer(call.args[0]).memory, *_shape_and_dtype(variable.ty))
        elif name not in ("relax.memory.kill_tensor", "relax.memory.kill_storage"):
            raise _NotASequence

    def _reserve(self, num_bytes: int) -> int:
        offset = self._bytes
        self._bytes += -(-num_bytes // ALIGNMENT) * ALIGNMENT + (_APART if num_bytes >= _PAGE else 0)
        return offset

    def _buffer(self, value: Any) -> Buffer:
        if isinstance(value, tvm.ir.GenericConst):
            data = cast("Any", value).value  # an attribute of C++, which TVM's stubs do not have
            constant = aligned(from_dlpack(data).contiguous())
            return Buffer(Memory("constant", constant=constant), tuple(constant.shape), str(data.dtype))
        if value not in self._buffers:
            raise _NotASequence
        return self._buffers[value]


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy where kernels could not read it."""
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor


def _shape_and_dtype(type_) -> tuple[tuple[int, ...], str]:
    shape = getattr(type_, "shape", None)
    if shape is None or not type_.dtype:
        raise _NotASequence
    return _numbers(shape.values), str(type_.dtype)


def _numbers(values) -> tuple[int, ...]:
    if not all(isinstance(v, tvm.tirx.IntImm) for v in values):
        raise _NotASequence
    return tuple(int(v) for v in values)


class BoundCalls:
    """A call sequence with the kernels of a library, ready to be run on tensors; for one call at a time.

    Args:
        sequence: what is called.
        library: the kernels.
        launcher: C functions, `foretune_call_all` among them.

    Raises:
        AttributeError: the library has no such kernel.
    """

    def __init__(self, sequence: CallSequence, library: ctypes.CDLL, launcher: ctypes.CDLL) -> None:
        self._sequence, self._library = sequence, library
        self._workspace = torch.empty(sequence.workspace_bytes, dtype=torch.uint8)
        num_inputs = len(sequence.inputs)
        self._addresses = (ctypes.c_void_p * max(1, num_inputs + len(sequence.made)))()
        self._expected = [(torch.Size(b.shape), getattr(torch, b.dtype)) for b in sequence.inputs]
        self._expected_first = self._expected
        self._last: list[torch.Tensor] = []
        self._made = [(b.shape, getattr(torch, b.dtype)) for b in sequence.made]
        self._results = [(r.memory, r.shape, self._as_it_is(r)) for r in sequence.results]
        self._kept: list = []  # what C looks at
        self._places: list[_Place] = []
        self._tensors: dict[Buffer, _DLTensor] = {}
        calls = (_Call * max(1, len(sequence.calls)))()
        for call, (name, arguments) in zip(calls, sequence.calls):
            cells = (_Argument * max(1, len(arguments)))()
            for cell, argument in zip(cells, arguments):
                cell.type_index, cell.value = _TENSOR_POINTER, ctypes.addressof(self._tensor(argument))
            call.kernel = ctypes.cast(getattr(library, _SYMBOL.format(name)), ctypes.c_void_p).value
            call.arguments, call.num_arguments = cells, len(arguments)
            self._kept.append(cells)
        places = (_Place * max(1, len(self._places)))(*self._places)
        self._kept += [calls, places]
        self._run = launcher.foretune_call_all
        pointer = ctypes.c_void_p
        self._run.argtypes = (pointer, ctypes.c_int64, pointer, ctypes.c_int64, pointer)
        self._arguments = (
            ctypes.addressof(calls),
            len(sequence.calls),
            ctypes.addressof(places),
            len(self._places),
            ctypes.addressof(self._addresses),
        )

    def keep_last(self, inputs: Sequence[torch.Tensor]) -> bool:
        """Sets the last inputs of all later calls; whether they are of the shapes and types that were compiled."""
        first = len(self._expected) - len(inputs)
        self._last = list(inputs)
        self._expected_first = self._expected[:first]
        for i, tensor in enumerate(inputs, first):
            self._addresses[i] = tensor.data_ptr()
        return first >= 0 and [(t.shape, t.dtype) for t in inputs] == self._expected[first:]

    def __call__(self, inputs: Sequence[torch.Tensor], in_ranges: bool = False) -> list[torch.Tensor] | None:
        """Outputs for contiguous, aligned inputs; None where they are not of the shapes and types that were compiled,
        or where a kernel failed.

        Args:
            inputs: those before the ones that `keep_last` has.
            in_ranges: whether PyTorch's profiler is told of each kernel.
        """
        if [(t.shape, t.dtype) for t in inputs] != self._expected_first:
            return None
        made = [torch.empty(shape, dtype=dtype) for shape, dtype in self._made]
        addresses = self._addresses
        for i, tensor in enumerate(inputs):
            addresses[i] = tensor.data_ptr()
        for i, tensor in enumerate(made, len(self._expected)):
            addresses[i] = tensor.data_ptr()
        if self._call_in_ranges() if in_ranges else self._run(*self._arguments):
            return None
        found = []
        for memory, shape, as_it_is in self._results:
            whole = made[memory.place] if memory.kind == "output" else self._given(memory, inputs)
            found.append(whole if as_it_is else whole.view(shape))
        return found

    def _call_in_ranges(self) -> int:
        """Calls the kernels one by one, each in a range of PyTorch's profiler; the number of the call that failed, or
        0.
        """
        first, _, *addresses = self._arguments
        for number, (name, _) in enumerate(self._sequence.calls):
            with profiled(range_name("kernel", [name])):
                if self._run(first + number * ctypes.sizeof(_Call), 1, *addresses):
                    return number + 1
        return 0

    def _given(self, memory: Memory, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        if memory.constant is not None:
            return memory.constant
        return [*inputs, *self._last][memory.place]

    def _as_it_is(self, result: Buffer) -> bool:
        return result in self._sequence.made or result in self._sequence.inputs

    def _tensor(self, buffer: Buffer) -> _DLTensor:
        """The tensor as kernels see it; equal buffers share one."""
        if buffer in self._tensors and buffer.memory.kind != "constant":
            return self._tensors[buffer]
        dtype = tvm.DataType(buffer.dtype)
        shape = (ctypes.c_int64 * max(1, len(buffer.shape)))(*buffer.shape)
        strides = (ctypes.c_int64 * max(1, len(buffer.shape)))()
        step = 1
        for k in reversed(range(len(buffer.shape))):
            strides[k], step = step, step * buffer.shape[k]
        tensor = _DLTensor(None, 1, 0, len(buffer.shape), dtype.type_code, dtype.bits, dtype.lanes, shape, strides, 0)
        memory = buffer.memory
        if memory.kind == "workspace":
            tensor.data = self._workspace.data_ptr() + memory.place
        elif memory.kind == "constant":
            tensor.data = memory.held.data_ptr()
            self._kept.append(memory.held)
        else:
            number = memory.place + (len(self._sequence.inputs) if memory.kind == "output" else 0)
            self._places.append(_Place(ctypes.addressof(tensor) + _DLTensor.data.offset, number))
        self._kept += [shape, strides, tensor]
        self._tensors[buffer] = tensor
        return tensor
