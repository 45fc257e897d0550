"""What operations of the dialects amount to, for counting: a closed table from name to category."""

from __future__ import annotations

CATEGORIES = (
    "fadd",
    "fmul",
    "fdiv",
    "fminmax",
    "fcmp",
    "fmisc",
    "sqrt",
    "libm",
    "fma",
    "iadd",
    "imul",
    "idiv",
    "ilogic",
    "ishift",
    "iminmax",
    "icmp",
    "select",
    "cast",
    "constant",
    "load",
    "store",
    "address",
    "branch",
    "call",
    "alloc",
    "free",
    "copy",
    "vshape",
    "vreduce",
    "vcontract",
    "loop",
    "other",
)
"""Names of the categories, in the order of counts."""

_GROUPS = {
    "fadd": "arith.addf arith.subf llvm.fadd llvm.fsub",
    "fmul": "arith.mulf llvm.fmul",
    "fdiv": "arith.divf arith.remf llvm.fdiv llvm.frem",
    "fminmax": (
        "arith.maximumf arith.minimumf arith.maxnumf arith.minnumf llvm.intr.maximum llvm.intr.minimum llvm.intr.maxnum"
        " llvm.intr.minnum"
    ),
    "fcmp": "arith.cmpf llvm.fcmp",
    "fmisc": (
        "arith.negf math.absf math.copysign math.floor math.ceil math.trunc math.round math.roundeven llvm.fneg"
        " llvm.intr.fabs llvm.intr.copysign llvm.intr.floor llvm.intr.ceil"
    ),
    "sqrt": "math.sqrt math.rsqrt llvm.intr.sqrt",
    "libm": (
        "math.exp math.exp2 math.expm1 math.log math.log2 math.log10 math.log1p math.tanh math.sin math.cos math.tan"
        " math.erf math.powf math.fpowi math.ipowi math.atan math.atan2 math.cbrt math.sinh math.cosh math.asin"
        " math.acos llvm.intr.exp llvm.intr.exp2 llvm.intr.log llvm.intr.log2 llvm.intr.log10 llvm.intr.pow"
        " llvm.intr.sin llvm.intr.cos llvm.intr.tanh llvm.intr.powi llvm.intr.tan llvm.intr.sinh llvm.intr.cosh"
        " llvm.intr.asin llvm.intr.acos llvm.intr.atan llvm.intr.atan2"
    ),
    "fma": "math.fma vector.fma llvm.intr.fmuladd llvm.intr.fma",
    "iadd": "arith.addi arith.subi llvm.add llvm.sub arith.addui_extended",
    "imul": "arith.muli llvm.mul arith.mulsi_extended arith.mului_extended",
    "idiv": (
        "arith.divsi arith.divui arith.remsi arith.remui arith.ceildivsi arith.floordivsi arith.ceildivui llvm.sdiv"
        " llvm.udiv llvm.srem llvm.urem"
    ),
    "ilogic": (
        "arith.andi arith.ori arith.xori llvm.and llvm.or llvm.xor math.ctpop math.ctlz math.cttz llvm.intr.ctpop"
        " llvm.intr.ctlz"
    ),
    "ishift": "arith.shli arith.shrsi arith.shrui llvm.shl llvm.ashr llvm.lshr",
    "iminmax": (
        "arith.maxsi arith.minsi arith.maxui arith.minui math.absi llvm.intr.smax llvm.intr.smin llvm.intr.umax"
        " llvm.intr.umin llvm.intr.abs"
    ),
    "icmp": "arith.cmpi llvm.icmp index.cmp",
    "select": "arith.select llvm.select",
    "cast": (
        "arith.index_cast arith.index_castui arith.extf arith.truncf arith.extsi arith.extui arith.trunci arith.sitofp"
        " arith.uitofp arith.fptosi arith.fptoui arith.bitcast builtin.unrealized_conversion_cast llvm.sext llvm.zext"
        " llvm.trunc llvm.fpext llvm.fptrunc llvm.sitofp llvm.uitofp llvm.fptosi llvm.fptoui llvm.bitcast llvm.ptrtoint"
        " llvm.inttoptr index.casts index.castu llvm.freeze"
    ),
    "constant": (
        "arith.constant llvm.mlir.constant llvm.mlir.undef llvm.mlir.poison llvm.mlir.zero ub.poison index.constant"
        " llvm.mlir.addressof vector.constant_mask"
    ),
    "load": (
        "memref.load affine.load tensor.extract vector.load vector.transfer_read affine.vector_load vector.gather"
        " vector.maskedload vector.expandload llvm.load llvm.intr.masked.load llvm.intr.masked.gather memref.prefetch"
    ),
    "store": (
        "memref.store affine.store tensor.insert vector.store vector.transfer_write affine.vector_store vector.scatter"
        " vector.maskedstore vector.compressstore llvm.store llvm.intr.masked.store llvm.intr.masked.scatter"
        " memref.atomic_rmw"
    ),
    "address": (
        "affine.apply affine.min affine.max memref.subview memref.reinterpret_cast memref.cast memref.collapse_shape"
        " memref.expand_shape memref.extract_strided_metadata memref.view memref.extract_aligned_pointer_as_index"
        " memref.memory_space_cast memref.transpose tensor.extract_slice tensor.insert_slice tensor.collapse_shape"
        " tensor.expand_shape tensor.cast tensor.empty tensor.reshape memref.reshape memref.dim tensor.dim"
        " memref.get_global bufferization.to_tensor bufferization.to_buffer bufferization.materialize_in_destination"
        " affine.linearize_index affine.delinearize_index llvm.getelementptr llvm.insertvalue llvm.extractvalue"
        " index.add index.sub index.mul affine.prefetch"
    ),
    "branch": (
        "scf.if affine.if cf.cond_br cf.br cf.switch llvm.cond_br llvm.br llvm.switch scf.index_switch scf.while"
        " scf.condition scf.execute_region"
    ),
    "call": "vector.print func.call func.call_indirect llvm.call",
    "alloc": "memref.alloc memref.alloca bufferization.alloc_tensor llvm.alloca",
    "free": "memref.dealloc bufferization.dealloc",
    "copy": (
        "memref.copy tensor.pad llvm.intr.memcpy llvm.intr.memmove llvm.intr.memset tensor.generate tensor.splat"
        " tensor.from_elements tensor.concat linalg.pack linalg.unpack"
    ),
    "vshape": (
        "vector.broadcast vector.extract vector.insert vector.shuffle vector.transpose vector.shape_cast"
        " vector.extract_strided_slice vector.insert_strided_slice vector.splat vector.from_elements vector.to_elements"
        " vector.extractelement vector.insertelement vector.bitcast vector.create_mask vector.mask vector.interleave"
        " vector.deinterleave vector.step vector.type_cast llvm.shufflevector llvm.extractelement llvm.insertelement"
        " vector.flat_transpose vector.yield llvm.intr.vector.interleave2"
    ),
    "vreduce": (
        "vector.reduction vector.multi_reduction vector.scan llvm.intr.vector.reduce.fadd llvm.intr.vector.reduce.fmul"
        " llvm.intr.vector.reduce.fmax llvm.intr.vector.reduce.fmin llvm.intr.vector.reduce.fmaximum"
        " llvm.intr.vector.reduce.fminimum llvm.intr.vector.reduce.add llvm.intr.vector.reduce.mul"
        " llvm.intr.vector.reduce.smax llvm.intr.vector.reduce.smin llvm.intr.vector.reduce.umax"
        " llvm.intr.vector.reduce.umin llvm.intr.vector.reduce.and llvm.intr.vector.reduce.or"
        " llvm.intr.vector.reduce.xor"
    ),
    "vcontract": "vector.contract vector.outerproduct vector.matrix_multiply llvm.intr.matrix.multiply",
}

CATEGORY_OF = {name: CATEGORIES.index(group) for group, names in _GROUPS.items() for name in names.split()}
"""Operation's name -> index of its category."""

SKIPPED = frozenset(
    (
        "func.return",
        "llvm.return",
        "scf.yield",
        "affine.yield",
        "linalg.yield",
        "linalg.index",
        "builtin.module",
        "func.func",
        "llvm.func",
        "memref.global",
        "llvm.mlir.global",
        "memref.assume_alignment",
        "cf.assert",
        "llvm.intr.assume",
        "scf.forall.in_parallel",
        "tensor.yield",
        "llvm.unreachable",
        "scf.reduce.return",
    )
)
"""Operations that stand for nothing by themselves."""

LOOPS = frozenset(("scf.for", "affine.for", "scf.parallel", "affine.parallel", "scf.forall"))

KNOWN_DIALECTS = frozenset(
    (
        "builtin",
        "func",
        "linalg",
        "affine",
        "scf",
        "arith",
        "tensor",
        "memref",
        "vector",
        "math",
        "cf",
        "llvm",
        "bufferization",
        "ub",
        "index",
        "transform",
    )
)
"""Dialects that graphs are made of; operations of others are refused."""
