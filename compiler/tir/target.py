"""TVM targets: detected from this machine, or checked against what TVM knows."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.plain import host_with, plain
from foretune.errors import TargetError
from foretune.support.text import telling_line
from foretune.target import HardwareFeatures, Target, measure_host, num_usable_cores


def detect_target() -> Target:
    """The CPU of this machine, with measured hardware features."""
    return replace(unmeasured_target("auto"), hardware=measure_host())


def unmeasured_target(text: str) -> Target:
    """A target without features of the hardware, which only cost models ask for.

    Args:
        text: as in `parse_target`.

    Raises:
        TargetError: the text is malformed.
    """
    if text == "auto":
        return Target.from_dict({"kind": "llvm", "mcpu": host_processor(), "num-cores": num_usable_cores()})
    target = Target.parse(text)
    if target.kind != "llvm":
        raise TargetError(f"only CPU targets (kind 'llvm') are built so far, but got kind {target.kind!r} in {text!r}")
    if "num-cores" not in dict(target.attrs):
        target = Target.from_dict({**target.to_dict(), "num-cores": num_usable_cores()})
    return target


def host_processor() -> str:
    """LLVM's name of this machine's processor."""
    from tvm.target import codegen

    return str(codegen.llvm_get_system_cpu())


def parse_target(text: str) -> Target:
    """Parses a target and has TVM check it.

    Args:
        text: `auto` for this machine, or a target in TVM's JSON form or as a bare kind.

    Raises:
        TargetError: the text is malformed, or TVM does not know the target.
    """
    if text == "auto":
        return detect_target()
    target = unmeasured_target(text)
    tvm_target(target)
    return Target(target.kind, target.attrs, host_with(_num_cores(target)))


def target_from_tvm(target: tvm.target.Target, hardware: HardwareFeatures | None = None) -> Target:
    """TVM's target object as a target.

    Args:
        target: of any kind.
        hardware: of the device; by default this machine's where its code could run here, otherwise unknown.
    """
    found = Target.from_dict(plain(target.export()))
    if hardware is None:
        local = found.kind == "llvm" and architecture(found) == architecture()
        hardware = host_with(_num_cores(found)) if local else HardwareFeatures()
    return replace(found, hardware=hardware)


def _num_cores(target: Target) -> int:
    return int(cast("int", dict(target.attrs).get("num-cores", num_usable_cores())))


def architecture(target: Target | None = None) -> str:
    """Architecture that a target's code is for, such as `x86_64`; by default this machine's."""
    from tvm.target import codegen

    triple = dict(target.attrs).get("mtriple") if target is not None else None
    return str(triple or codegen.llvm_get_system_triple()).split("-")[0]


def tvm_target(target: Target) -> tvm.target.Target:
    """The target as TVM's object.

    Raises:
        TargetError: TVM does not know the kind, an option or the processor.
    """
    from tvm.target import codegen

    attrs = dict(target.attrs)
    mcpu, triple = attrs.get("mcpu"), str(attrs.get("mtriple", codegen.llvm_get_system_triple()))
    if target.kind == "llvm" and mcpu is not None and not codegen.llvm_is_valid_cpu(str(mcpu), triple):
        raise TargetError(
            f"unknown processor mcpu={mcpu!r} for {triple}; this machine's is {codegen.llvm_get_system_cpu()!r}"
        )
    try:
        return tvm.target.Target(target.to_dict())
    except (ValueError, TypeError, RuntimeError) as error:
        raise TargetError(f"TVM rejects target {target}: {telling_line(error)}") from error
