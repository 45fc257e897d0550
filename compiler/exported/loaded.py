"""What `foretune.load` returns: a tuned program that runs as its user calls it.

The kernels were made for one set of shapes, types and strides. Calls are brought into that form where that changes
nothing that the caller could see; where a call asks for more (gradients, another size of a dynamic dimension), PyTorch
runs the same program.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.export.graph_signature import InputKind

from foretune.compiler.torch_private import OpOverload, pytree
from foretune.errors import OptionError
from foretune.support.text import telling_line

_SHOWN_INPUTS = 12


class LoadedProgram(nn.Module):
    """A program with its compiled form.

    Weights do not require gradients; inputs may, and PyTorch's own kernels run then.

    Args:
        program: as it was exported.
        module: the program as a module of PyTorch's.
        compile: makes the compiled form of a graph that Dynamo traced; it is called once, with the example inputs.
    """

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        module: nn.Module,
        compile: Callable[[torch.fx.GraphModule, Sequence[Any]], Callable],
    ) -> None:
        super().__init__()
        self.program = module.requires_grad_(False)
        args, kwargs = cast("tuple[tuple[Any, ...], dict[str, Any]]", program.example_inputs)  # others are not read
        self._example, self._structure = pytree.tree_flatten((tuple(args), dict(kwargs)))
        self._num_args, self._names = len(args), tuple(kwargs)
        self._signature = inspect.signature(module.forward)
        self._sizes = _sizes_of(program)
        self._is_dynamic = any(not isinstance(size, int) for sizes in self._sizes for size in sizes or ())
        self._compiled = torch.compile(
            module.forward, backend=_CompiledOnce(compile), fullgraph=True, dynamic=False
        )  # without PyTorch's own checks
        with torch.inference_mode(False), torch.no_grad(), _state_kept(module):
            self._keeps_memory = _changes_tensors(module) or _shares_memory(
                self._compiled(*args, **kwargs), self._example
            )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the program.

        Raises:
            OptionError: the inputs are not of the shapes and types that the program was made for.
        """
        args, kwargs = self._arranged(args, kwargs)
        values = pytree.tree_leaves((args, kwargs))
        is_example = self._check(values)
        if not is_example or self._needs_pytorch(values):
            return self._run_with_pytorch(args, kwargs)
        with torch.inference_mode(False), torch.no_grad():
            prepared = [
                _like(value, example) if isinstance(value, torch.Tensor) else value
                for value, example in zip(values, self._example)
            ]
            if any(new is not old for new, old in zip(prepared, values)):
                args, kwargs = pytree.tree_unflatten(prepared, self._structure)
            return self._compiled(*args, **kwargs)

    def _arranged(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the example has them, in their order, by position or by name."""
        if len(args) == self._num_args and tuple(kwargs) == self._names:
            return args, kwargs
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise OptionError(f"{error}; {self._told()}") from None
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in self._signature.parameters.values()):
            return args, kwargs
        values = list(bound.arguments.items())
        return tuple(value for _, value in values[: self._num_args]), {
            name: bound.arguments[name] for name in self._names if name in bound.arguments
        }

    def _check(self, values: Sequence[Any]) -> bool:
        """Whether all sizes are those of the example."""
        if len(values) != len(self._example):
            raise OptionError(f"got {len(values)} inputs; {self._told()}")
        same = True
        for i, (value, example, sizes) in enumerate(zip(values, self._example, self._sizes)):
            if isinstance(example, torch.Tensor) and isinstance(value, torch.Tensor):
                if (
                    value.dtype != example.dtype
                    or value.device != example.device
                    or value.layout != example.layout
                    or not _fits(value.shape, sizes)
                ):
                    raise OptionError(f"input {i} is {_of(value)}; {self._told()}")
                same = same and value.shape == example.shape
            elif (
                isinstance(example, torch.Tensor)
                or type(value) is not type(example)
                or (value != example and not self._is_dynamic)
            ):
                raise OptionError(f"input {i} is {_of(value)}; {self._told()}")
            else:
                same = same and value == example
        return same

    def _needs_pytorch(self, values: Sequence[Any]) -> bool:
        """Whether the compiled form would not do what the program does."""
        tensors = [value for value in values if isinstance(value, torch.Tensor)]
        if torch.is_autocast_enabled("cpu") or (
            torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        ):
            return True
        if _twins(values) != _twins(self._example) or not all(
            type(tensor) in (torch.Tensor, nn.Parameter) for tensor in tensors
        ):
            return True
        return self._keeps_memory and any(
            tensor.stride() != example.stride() or tensor.is_inference() or tensor.requires_grad
            for tensor, example in zip(values, self._example) if isinstance(tensor, torch.Tensor)
        )  # fmt: skip

    def _run_with_pytorch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._is_dynamic:
            return self.program(*args, **kwargs)
        try:
            return self.program(*args, **kwargs)
        except (
            AssertionError,
            RuntimeError,
        ) as error:  # PyTorch's words for sizes that its ranges or the program exclude
            raise OptionError(f"{telling_line(error)}; {self._told()}") from error

    def _told(self) -> str:
        """What the program was made for, in words."""
        shown = [_of(example, sizes) for example, sizes in zip(self._example, self._sizes)]
        more = f" and {len(shown) - _SHOWN_INPUTS} more" if len(shown) > _SHOWN_INPUTS else ""
        return (
            f"the program was made for {', '.join(shown[:_SHOWN_INPUTS]) or 'no inputs'}{more}; tune it for others with"
            " `foretune tune`"
        )


class _CompiledOnce:
    """A backend that compiles the first graph; Dynamo asks again where a setting of the process has changed, and gets
    the same.
    """

    def __init__(self, compile: Callable[[torch.fx.GraphModule, Sequence[Any]], Callable]) -> None:
        self._compile = compile
        self._made: tuple[str, list[Any], Callable] | None = None

    def __call__(self, gm: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable:
        if self._made is None:
            self._made = gm.code, [_kind(x) for x in inputs], self._compile(gm, inputs)
        code, kinds, run = self._made
        return run if (code, kinds) == (gm.code, [_kind(x) for x in inputs]) else gm.forward


@contextlib.contextmanager
def _state_kept(module: nn.Module) -> Iterator[None]:
    """Undoes what a run does to parameters and buffers, such as counters."""
    kept = (
        [(tensor, tensor.clone(), tensor._version) for tensor in (*module.parameters(), *module.buffers())]
        if _changes_tensors(module)
        else []
    )
    yield
    for tensor, values, version in kept:
        if tensor._version != version:
            tensor.copy_(values)


def _kind(value: Any) -> Any:
    return (value.shape, value.stride(), value.dtype, value.device) if isinstance(value, torch.Tensor) else value


def _like(value: torch.Tensor, example: torch.Tensor) -> torch.Tensor:
    """The same values, as a tensor that the compiled form takes; the tensor itself where that is one."""
    if value.is_inference() or value.stride() != example.stride():
        return torch.empty_strided(example.shape, example.stride(), dtype=example.dtype, device=example.device).copy_(
            value
        )
    return value.detach() if value.requires_grad or type(value) is not torch.Tensor else value


def _sizes_of(program: torch.export.ExportedProgram) -> list[tuple[Any, ...] | None]:
    """The sizes of each input, symbolic ones among them; None for what is no tensor."""
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"]
    kinds = [spec.kind for spec in program.graph_signature.input_specs]
    given = [value for value, kind in zip(values, kinds) if kind is InputKind.USER_INPUT]
    return [tuple(value.shape) if isinstance(value, torch.Tensor) else None for value in given]


def _fits(shape: Sequence[int], sizes: tuple[Any, ...] | None) -> bool:
    return sizes is None or (
        len(shape) == len(sizes)
        and all(not isinstance(size, int) or size == extent for extent, size in zip(shape, sizes))
    )


def _changes_tensors(module: nn.Module) -> bool:
    """Whether one of the operators changes a tensor in place, as an exported program's module does with its inputs and
    buffers.
    """
    targets = [node.target for m in module.modules() if isinstance(m, torch.fx.GraphModule) for node in m.graph.nodes]
    return any(isinstance(target, OpOverload) and target._schema.is_mutable for target in targets)


def _shares_memory(outputs: Any, inputs: Sequence[Any]) -> bool:
    def memory(values: Sequence[Any]) -> set[int]:
        return {
            v.untyped_storage().data_ptr()
            for v in values
            if isinstance(v, torch.Tensor) and v.layout is torch.strided and v.numel()
        }

    return bool(memory(pytree.tree_leaves(outputs)) & memory(inputs))


def _twins(values: Sequence[Any]) -> tuple[int, ...]:
    """For each input the position of the first one that is the same tensor."""
    first: dict[int, int] = {}
    return tuple(first.setdefault(id(v), i) if isinstance(v, torch.Tensor) else i for i, v in enumerate(values))


def _of(value: Any, sizes: tuple[Any, ...] | None = None) -> str:
    if not isinstance(value, torch.Tensor):
        return (
            repr(value)[:80] if isinstance(value, (int, float, str, bool, type(None))) else f"a {type(value).__name__}"
        )
    device = "" if value.device.type == "cpu" else f" on {value.device}"
    return (
        f"a tensor [{', '.join(map(str, sizes if sizes is not None else value.shape))}]"
        f" {str(value.dtype).removeprefix('torch.')}{device}"
    )
