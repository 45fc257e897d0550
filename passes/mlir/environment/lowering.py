"""From any stage of MLIR down to LLVM IR: the default lowering, which every schedule ends in.

The lowering has three parts, each of which leaves alone what is done already, so that a program may enter at any stage:

1. `decompose`: operations that no lowering pass knows (softmax, winograd, pack and unpack, convolutions that are
   aggregates) become simpler ones.
2. `bufferize`: tensors become memrefs; the results of functions become arguments behind the others ("out parameters").
   Arguments that are tensors stay values: they are never written to.
3. `lower`: loops for what is left of linalg, then control flow, vectors, math, memrefs and functions become the LLVM
   dialect.

`mlir` is imported here and in the worker that calls this file, never in the calling process: MLIR's parser, verifier
and passes may crash.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from mlir import ir
from mlir.dialects import linalg, llvm
from mlir.dialects.transform import interpreter
from mlir.passmanager import PassManager

from foretune.passes.mlir.environment import rewrites
from foretune.passes.mlir.grammar.options import LoweringOptions
from foretune.passes.mlir.grammar.types import functions_of, identity_layout, walk

_DECOMPOSED = ("linalg.softmax",)
_PACKING = (("linalg.pack", "lower_pack"), ("linalg.unpack", "lower_unpack"))

BUFFERIZE = (
    "eliminate-empty-tensors",
    "one-shot-bufferize{bufferize-function-boundaries=true allow-return-allocs-from-loops=true"
    " function-boundary-type-conversion=identity-layout-map}",
    "canonicalize",
    "cse",
    "buffer-results-to-out-params{hoist-static-allocs=true modify-public-functions=true}",
    "canonicalize",
    "cse",
    "func.func(buffer-hoisting,buffer-loop-hoisting)",
    "buffer-deallocation-pipeline",
    "canonicalize",
    "cse",
)
"""Pipeline that takes tensors to memrefs. Buffers are freed by ownership, which refuses programs that mix tensors and
`memref.dealloc`.
"""

_TOSA = (
    "func.func(tosa-optional-decompositions,tosa-infer-shapes,tosa-make-broadcastable,tosa-to-linalg-named,tosa-layerwise-constant-fold)",
    "func.func(tosa-to-linalg,tosa-to-arith,tosa-to-tensor,tosa-to-scf)",
    "canonicalize",
    "cse",
)


TO_LOOPS = ("func.func(convert-linalg-to-loops)",)
"""What becomes of structured operations that no schedule has touched."""


def lowering_pipeline(options: LoweringOptions) -> tuple[str, ...]:
    """The passes that take a module of memrefs and loops to the LLVM dialect."""
    return (
        "func.func(lower-vector-mask)",
        "func.func(lower-vector-multi-reduction{lowering-strategy=inner-reduction})",
        "convert-vector-to-scf{full-unroll=true}",
        "canonicalize",
        "expand-strided-metadata",
        "lower-affine",
        "loop-invariant-code-motion",
        "cse",
        "convert-scf-to-cf",
        "canonicalize",
        (
            f"convert-vector-to-llvm{{vector-contract-lowering={options.contract}"
            f" vector-transpose-lowering={options.transpose}"
            f" reassociate-fp-reductions={'true' if options.reductions == 'tree' else 'false'}}}"
        ),
        "convert-math-to-llvm",
        "convert-math-to-libm",
        "convert-complex-to-llvm",
        "finalize-memref-to-llvm",
        "convert-index-to-llvm",
        "convert-arith-to-llvm",
        "convert-func-to-llvm",
        "convert-cf-to-llvm",
        "convert-ub-to-llvm",
        "reconcile-unrealized-casts",
    )


class NotLowered(ValueError):
    """The default lowering leaves something that LLVM does not have."""


def run_pipeline(module: ir.Module, passes: tuple[str, ...] | list[str]) -> None:
    """Runs passes over a module.

    Raises:
        mlir.ir.MLIRError, ValueError: a pass fails, or a name or an option is unknown.
    """
    if passes:
        _manager(f"builtin.module({','.join(passes)})", module.context).run(module.operation)


def _manager(pipeline: str, context: ir.Context) -> PassManager:
    """The pass manager of a pipeline, kept as long as modules of its context come: making one takes longer than most
    runs of it.
    """
    global _managers
    if _managers[0] is not context:
        _managers = (context, {})
    known = _managers[1]
    if pipeline not in known:
        if len(known) >= _MOST_MANAGERS:  # options of actions make many
            known.clear()
        known[pipeline] = PassManager.parse(pipeline, context)
    return known[pipeline]


_MOST_MANAGERS = 200
_managers: tuple[ir.Context | None, dict[str, PassManager]] = (None, {})


def run_script(module: ir.Module, script: str) -> None:
    """Applies a transform module, whose first operation is the named sequence to be run.

    Raises:
        mlir.ir.MLIRError, ValueError: the script is refused or fails.
    """
    transform = ir.Module.parse(script, module.context)
    interpreter.apply_named_sequence(module.operation, transform.body.operations[0], transform)


def has_tensors(module: ir.Module) -> bool:
    """Whether any value is a tensor."""
    return _any(
        module.operation,
        lambda op: any(isinstance(v.type, (ir.RankedTensorType, ir.UnrankedTensorType)) for v in _values(op)),
    )


def _values(op: Any) -> list[Any]:
    return [
        *op.results,
        *op.operands,
        *(a for region in op.regions for block in region.blocks for a in block.arguments),
    ]


def _any(root: Any, holds: Any) -> bool:
    found = False

    def look(op: Any) -> ir.WalkResult:
        nonlocal found
        found = found or holds(op)
        return ir.WalkResult.INTERRUPT if found else ir.WalkResult.ADVANCE

    root.walk(look)
    return found


def operation_names(module: ir.Module) -> list[str]:
    """The names of all operations, inner ones first."""
    names: list[str] = []

    def look(op: Any) -> ir.WalkResult:
        names.append(op.name)
        return ir.WalkResult.ADVANCE

    walk(module, look)
    return names


def decompose(module: ir.Module, packing: bool = True) -> None:
    """Step 1; `packing`: pack and unpack, too."""
    names = set(operation_names(module))
    if any(name.startswith("tosa.") for name in names):
        run_pipeline(module, _TOSA)
        names = set(operation_names(module))
    if _any(module.operation, _is_elementwise_on_tensors):
        run_pipeline(module, ["func.func(convert-elementwise-to-linalg)"])
        names = set(operation_names(module))
    lines = []
    for name in _DECOMPOSED:
        if name in names:
            lines += [
                f'%{len(lines)} = transform.structured.match ops{{["{name}"]}} in %r : (!transform.any_op) ->'
                " !transform.any_op"
            ]
            lines += [
                f"%{len(lines)} = transform.structured.decompose_interface %{len(lines) - 1} : (!transform.any_op) ->"
                " !transform.any_op"
            ]
    for name, lowers in _PACKING if packing else ():
        if name in names:
            lines += [
                f'%p{len(lines)} = transform.structured.match ops{{["{name}"]}} in %r : (!transform.any_op) ->'
                f' !transform.op<"{name}">'
            ]
            lines += [
                f'transform.foreach %p{len(lines) - 1} : !transform.op<"{name}"> {{ ^bb0(%one:'
                f' !transform.op<"{name}">): {_LOWER[lowers]} }}'
            ]
    if lines:
        run_script(module, NAMED_SEQUENCE.format("\n".join(lines)))
        run_pipeline(module, ["canonicalize", "cse"])


def _is_elementwise_on_tensors(op: Any) -> bool:
    """Whether arithmetic of single numbers is applied to tensors."""
    return (
        op.name.startswith(("arith.", "math."))
        and op.name != "arith.constant"
        and len(op.results) == 1
        and isinstance(op.results[0].type, ir.RankedTensorType)
    )


def without_aggregates(module: Any) -> Any:
    """The module, or a copy of it in which operations that stand for many loops (softmax, TOSA) are taken apart; its
    own operations stay.
    """
    if not _any(module.operation, lambda op: op.name in _DECOMPOSED or op.name.startswith("tosa.")):
        return module
    copy = ir.Module.parse(str(module), module.operation.context)
    decompose(copy, packing=False)
    return copy


def simplify(module: ir.Module) -> None:
    """Folds what any compiler folds, and puts functions where they are called: what is left is what runs."""
    functions = [op for op in functions_of(module) if len(op.operation.regions[0].blocks)]
    several = len(functions) > 1 and not all(map(is_private, functions))  # or nothing would be left
    run_pipeline(
        module, [*(("inline",) if several else ()), "canonicalize", "cse", *(("symbol-dce",) if several else ())]
    )


_LOWER = {
    "lower_pack": (
        '%a, %b, %c = transform.structured.lower_pack %one : (!transform.op<"linalg.pack">)'
        ' -> (!transform.op<"tensor.pad">, !transform.op<"tensor.expand_shape">, !transform.op<"linalg.transpose">)'
    ),
    "lower_unpack": (
        '%a, %b, %c, %d = transform.structured.lower_unpack %one : (!transform.op<"linalg.unpack">) ->'
        ' (!transform.op<"tensor.empty">, !transform.op<"linalg.transpose">, !transform.op<"tensor.collapse_shape">,'
        ' !transform.op<"tensor.extract_slice">)'
    ),
}

NAMED_SEQUENCE = (
    "module attributes {{transform.with_named_sequence}} {{ transform.named_sequence @__transform_main(%r:"
    " !transform.any_op) {{\n{}\ntransform.yield }} }}"
)
"""A transform module around the lines of a script, in which `%r` is the payload's root."""


def protect_arguments(module: ir.Module) -> None:
    """Marks tensors that are arguments of public functions as not to be written to."""
    no = ir.BoolAttr.get(False, module.context)
    with module.context:
        for op in functions_of(module):
            if op.operation.regions[0].blocks and not is_private(op):
                arguments = op.operation.regions[0].blocks[0].arguments
                old = list(op.arg_attrs) if len(op.arg_attrs) else [ir.DictAttr.get({})] * len(arguments)
                op.arg_attrs = [
                    (
                        ir.DictAttr.get({**{a.name: a.attr for a in attrs}, "bufferization.writable": no})
                        if isinstance(v.type, ir.RankedTensorType)
                        else attrs
                    )
                    for attrs, v in zip(old, arguments)
                ]


def is_private(function: Any) -> bool:
    return (
        "sym_visibility" in function.operation.attributes
        and str(function.operation.attributes["sym_visibility"]) == '"private"'
    )


def bufferize(module: ir.Module) -> None:
    """Step 2; where there are no tensors, only memrefs that are returned become arguments."""
    if has_tensors(module):
        protect_arguments(module)
        run_pipeline(module, BUFFERIZE)
    elif _returns_buffers(module):
        run_pipeline(module, ["buffer-results-to-out-params{hoist-static-allocs=true modify-public-functions=true}"])


def _returns_buffers(module: ir.Module) -> bool:
    """Whether functions return memrefs, all of which can be arguments instead, as the results of tensors become."""
    returned = [
        t
        for op in functions_of(module)
        for t in op.type.results
        if isinstance(t, (ir.MemRefType, ir.UnrankedMemRefType))
    ]
    return bool(returned) and all(
        isinstance(t, ir.MemRefType) and t.has_static_shape and t.layout == identity_layout(t) for t in returned
    )


def sparse_type(module: ir.Module) -> str:
    """A sparse tensor's type; empty where there is none."""
    found: list[str] = []

    def holds(op: Any) -> bool:
        found.extend(
            str(v.type)
            for v in _values(op)
            if isinstance(v.type, ir.RankedTensorType) and "sparse" in str(v.type.encoding or "")
        )
        return bool(found)

    return found[0] if _any(module.operation, holds) else ""


def lower(module: ir.Module, options: LoweringOptions = LoweringOptions()) -> None:
    """Takes a module from any stage to the LLVM dialect.

    Raises:
        mlir.ir.MLIRError, ValueError: something cannot be lowered; the message tells what.
    """
    erase_transforms(module)
    decompose(module)
    bufferize(module)
    to_llvm_dialect(module, options)


def warm_up(context: ir.Context) -> None:
    """Lowers a small module, so that what MLIR loads once is there before children are forked, with the pass managers
    of the default lowering.
    """
    lower(ir.Module.parse(SMALL, context))


SMALL = """func.func @main(%a: tensor<4x4xf32>, %b: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %e = tensor.empty() : tensor<4x4xf32>
  %m = linalg.matmul ins(%a, %b : tensor<4x4xf32>, tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) -> tensor<4x4xf32>
  return %m : tensor<4x4xf32>
}"""


def finish(module: ir.Module, entry: str, options: LoweringOptions = LoweringOptions()) -> None:
    """Step 3, with the entry callable as `_mlir_ciface_ENTRY`."""
    for op in functions_of(module):
        if op.sym_name.value == entry:
            op.operation.attributes["llvm.emit_c_interface"] = ir.UnitAttr.get(module.context)
    to_llvm_dialect(module, options)


def to_llvm_dialect(module: ir.Module, options: LoweringOptions = LoweringOptions()) -> None:
    """Step 3, of a module without tensors."""
    if kind := _memory_space(module):
        raise NotLowered(f"{kind} lies in a memory space of its own, as a GPU has, which is not lowered here")
    if _any(module.operation, lambda op: op.name.startswith("bufferization.")):
        run_pipeline(module, ["convert-bufferization-to-memref"])
    _copy_by_loops(module)
    run_pipeline(module, TO_LOOPS)
    rewrites.widen_booleans(module)
    if _any(module.operation, _is_library_math):  # vectors must be taken apart before they are lowered
        run_pipeline(module, _MATH)
    run_pipeline(module, lowering_pipeline(options))


def _memory_space(module: ir.Module) -> str:
    """The type of a memref whose memory space is no number, which nothing for a CPU lowers; empty without any."""
    found: list[str] = []

    def holds(op: Any) -> bool:
        found.extend(
            str(v.type)
            for v in _values(op)
            if isinstance(v.type, (ir.MemRefType, ir.UnrankedMemRefType))
            and v.type.memory_space is not None
            and not isinstance(v.type.memory_space, ir.IntegerAttr)
        )
        return bool(found)

    return found[0] if _any(module.operation, holds) else ""


def publish(module: ir.Module, names: Collection[str]) -> None:
    """Makes functions callable from outside."""
    for op in functions_of(module):
        if op.sym_name.value in names and is_private(op):
            del op.operation.attributes["sym_visibility"]


def drop_dead_functions(module: ir.Module) -> None:
    """Removes private functions that nothing calls, and keeps the others inside the module, so that LLVM may inline and
    then remove them.
    """
    run_pipeline(module, ["symbol-dce"])
    with module.context:
        for op in module.body.operations:
            if op.operation.name == "func.func" and len(op.operation.regions[0].blocks) and is_private(op):
                op.operation.attributes["llvm.linkage"] = ir.Attribute.parse("#llvm.linkage<internal>")


def erase_transforms(module: ir.Module) -> None:
    """Removes transform scripts that a program brings along, and globals that nothing reads; they are no part of what
    it computes.
    """
    globals_read = _any(
        module.operation, lambda op: op.name.startswith("ml_program.") and op.name != "ml_program.global"
    )
    for op in [
        op
        for op in module.body.operations
        if op.operation.name.startswith("transform.") or (op.operation.name == "ml_program.global" and not globals_read)
    ]:
        op.operation.erase()
    if "transform.with_named_sequence" in module.operation.attributes:
        del module.operation.attributes["transform.with_named_sequence"]


_MATH = ("convert-math-to-llvm", "convert-math-to-libm")
_NO_INTRINSICS = frozenset(f"math.{name}" for name in ("acosh", "asinh", "atanh", "cbrt", "erf", "erfc"))


def _is_library_math(op: Any) -> bool:
    """Whether an operation on vectors has no intrinsic of LLVM's, so that only the C library computes it, element by
    element.
    """
    return op.name in _NO_INTRINSICS and isinstance(op.results[0].type, ir.VectorType)


def _copy_by_loops(module: ir.Module) -> None:
    """Copies between memrefs of which one has holes become `linalg.copy`: the lowering of `memref.copy` calls a library
    for them.
    """
    copies: list[Any] = []

    def look(op: Any) -> ir.WalkResult:
        if op.name == "memref.copy" and any(
            isinstance(v.type, ir.MemRefType) and v.type.layout != identity_layout(v.type) for v in op.operands
        ):
            copies.append(op)
        return ir.WalkResult.ADVANCE

    walk(module, look)
    for op in copies:
        with ir.InsertionPoint(op), op.location:
            linalg.copy(op.operands[0], outs=[op.operands[1]])
        op.erase()


def to_llvm_ir(module: ir.Module) -> str:
    """The text of LLVM IR of a module in the LLVM dialect.

    Raises:
        NotLowered: something is left that has no translation.
    """
    left = sorted(name for name in set(operation_names(module)) if not name.startswith(("llvm.", "builtin.module")))
    if left:  # the translation itself would crash on some of them
        raise NotLowered(f"the default lowering leaves operations that LLVM does not have: {', '.join(left[:8])}")
    return cast("Any", llvm).translate_module_to_llvmir(module.operation)
