"""LLVM IR to machine code in memory: optimised assembly, objects from assembly, and functions to call.

Assembly is what labels are read from, and objects are assembled from the same text, so that what is counted is what
runs. Used inside worker processes only: code of unknown programs runs here.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import cast

from foretune.passes.llvm.capi import Llvm, LlvmError

_ASSEMBLY, _OBJECT = 0, 1
_AGGRESSIVE, _PIC, _DEFAULT_CODE_MODEL = 3, 2, 0
_TRIPS = "function(print<scalar-evolution>)"

_FUNCTIONS = {
    "LLVMCreateMemoryBufferWithMemoryRangeCopy": (c_void_p, [c_char_p, c_size_t, c_char_p]),
    "LLVMDisposeMemoryBuffer": (None, [c_void_p]),
    "LLVMGetBufferStart": (c_void_p, [c_void_p]),
    "LLVMGetBufferSize": (c_size_t, [c_void_p]),
    "LLVMSetModuleDataLayout": (None, [c_void_p, c_void_p]),
    "LLVMCreateTargetDataLayout": (c_void_p, [c_void_p]),
    "LLVMSetTargetMachineAsmVerbosity": (None, [c_void_p, c_int]),
    "LLVMTargetMachineEmitToMemoryBuffer": (c_int, [c_void_p, c_void_p, c_int, c_void_p, c_void_p]),
    "LLVMModuleCreateWithNameInContext": (c_void_p, [c_char_p, c_void_p]),
    "LLVMSetModuleInlineAsm2": (None, [c_void_p, c_char_p, c_size_t]),
    "LLVMDisposeModule": (None, [c_void_p]),
    "LLVMOrcCreateLLJIT": (c_void_p, [c_void_p, c_void_p]),
    "LLVMOrcDisposeLLJIT": (c_void_p, [c_void_p]),
    "LLVMOrcLLJITGetMainJITDylib": (c_void_p, [c_void_p]),
    "LLVMOrcLLJITGetGlobalPrefix": (ctypes.c_char, [c_void_p]),
    "LLVMOrcLLJITAddObjectFile": (c_void_p, [c_void_p, c_void_p, c_void_p]),
    "LLVMOrcLLJITLookup": (c_void_p, [c_void_p, c_void_p, c_char_p]),
    "LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess": (c_void_p, [c_void_p, ctypes.c_char, c_void_p, c_void_p]),
    "LLVMOrcJITDylibAddGenerator": (None, [c_void_p, c_void_p]),
}


class Codegen(Llvm):
    """One libLLVM in one process, with code generators for several processors of this machine's kind.

    Args:
        library: path of libLLVM.
    """

    def __init__(self, library: Path) -> None:
        super().__init__(library)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._triple = self._text(self._library.LLVMGetDefaultTargetTriple())
        self._machines: dict[str, tuple[int, int]] = {}

    def compile(self, ir: str, cpu: str = "", pipeline: str = "default<O3>") -> str:
        """Assembly of LLVM IR.

        Args:
            ir: text of a module.
            cpu: processor to compile for, as LLVM names it; this machine's own by default.
            pipeline: passes to run first; empty for none.

        Raises:
            LlvmError: the IR is not valid, or code cannot be generated.
        """
        return self._translate(ir, cpu, pipeline, _ASSEMBLY).decode()

    def compile_with_trips(self, ir: str, cpu: str = "", pipeline: str = "default<O3>") -> tuple[str, str]:
        """As `compile`, with comments that name the blocks of the optimised IR, and what scalar evolution says of its
        loops.
        """
        module, machine = self._read_ir(ir, cpu)
        try:
            self.run_passes(module, f"{pipeline},function(instnamer)", machine)
            said = _written_to_stderr(lambda: self.run_passes(module, _TRIPS, machine))
            self._library.LLVMSetTargetMachineAsmVerbosity(machine, True)
            return self._emit(module, machine, _ASSEMBLY).decode(), said
        finally:
            self._library.LLVMSetTargetMachineAsmVerbosity(machine, False)
            self._library.LLVMDisposeModule(module)

    def compile_object(self, ir: str) -> bytes:
        """An object file of LLVM IR for this machine, without any passes; see `compile`."""
        return self._translate(ir, "", "", _OBJECT)

    def _translate(self, ir: str, cpu: str, pipeline: str, kind: int) -> bytes:
        module, machine = self._read_ir(ir, cpu)
        try:
            if pipeline:
                self.run_passes(module, pipeline, machine)
            return self._emit(module, machine, kind)
        finally:
            self._library.LLVMDisposeModule(module)

    def _read_ir(self, ir: str, cpu: str) -> tuple[int, int]:
        """(a verified module for a processor, its code generator)."""
        module = self._read_text(ir)
        machine, layout = self._machine(cpu)
        self._library.LLVMSetTarget(module, self._triple.encode())
        self._library.LLVMSetModuleDataLayout(module, layout)
        try:
            self.verify(module)
        except LlvmError:
            self._library.LLVMDisposeModule(module)
            raise
        return module, machine

    def assemble(self, assembly: str) -> bytes:
        """An object file from assembly.

        Raises:
            LlvmError: it cannot be assembled.
        """
        machine, layout = self._machine("")
        module = self._library.LLVMModuleCreateWithNameInContext(b"assembly", self._context)
        self._library.LLVMSetTarget(module, self._triple.encode())
        self._library.LLVMSetModuleDataLayout(module, layout)
        text = assembly.encode()
        self._library.LLVMSetModuleInlineAsm2(module, text, len(text))
        try:
            return self._emit(module, machine, _OBJECT)
        finally:
            self._library.LLVMDisposeModule(module)

    def load(self, *objects: bytes) -> LoadedCode:
        """Links objects into this process, with its own C library.

        Raises:
            LlvmError: they cannot be linked.
        """
        return LoadedCode(self, objects)

    def _read_text(self, ir: str) -> int:
        data = ir.encode()
        buffer = self._library.LLVMCreateMemoryBufferWithMemoryRangeCopy(data, len(data), b"module")
        module, message = c_void_p(), c_void_p()
        if self._library.LLVMParseIRInContext(self._context, buffer, byref(module), byref(message)):
            raise LlvmError(self._text(message.value))
        return cast("int", module.value)  # LLVM has set it

    def _machine(self, cpu: str) -> tuple[int, int]:
        if cpu not in self._machines:
            target, message = c_void_p(), c_void_p()
            if self._library.LLVMGetTargetFromTriple(self._triple.encode(), byref(target), byref(message)):
                raise LlvmError(self._text(message.value))
            features = b"" if cpu else self._text(self._library.LLVMGetHostCPUFeatures()).encode()
            name = (cpu or self.cpu).encode()
            machine = self._library.LLVMCreateTargetMachine(
                target, self._triple.encode(), name, features, _AGGRESSIVE, _PIC, _DEFAULT_CODE_MODEL
            )
            if not machine:
                raise LlvmError(f"no code generator for the processor {cpu}")
            self._machines[cpu] = (machine, self._library.LLVMCreateTargetDataLayout(machine))
        return self._machines[cpu]

    def _emit(self, module: int, machine: int, kind: int) -> bytes:
        message, out = c_void_p(), c_void_p()
        if self._library.LLVMTargetMachineEmitToMemoryBuffer(machine, module, kind, byref(message), byref(out)):
            raise LlvmError(self._text(message.value))
        data = ctypes.string_at(self._library.LLVMGetBufferStart(out), self._library.LLVMGetBufferSize(out))
        self._library.LLVMDisposeMemoryBuffer(out)
        return data


class LoadedCode:
    """Objects linked into this process; closes as a context."""

    def __init__(self, codegen: Codegen, objects: tuple[bytes, ...]) -> None:
        self._codegen, self._library = codegen, codegen._library
        self._jit = c_void_p()
        self._check(self._library.LLVMOrcCreateLLJIT(byref(self._jit), None))
        try:
            library = self._library.LLVMOrcLLJITGetMainJITDylib(self._jit)
            generator = c_void_p()
            prefix = self._library.LLVMOrcLLJITGetGlobalPrefix(self._jit)
            self._check(
                self._library.LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(byref(generator), prefix, None, None)
            )
            self._library.LLVMOrcJITDylibAddGenerator(library, generator)
            for data in objects:
                buffer = self._library.LLVMCreateMemoryBufferWithMemoryRangeCopy(data, len(data), b"object")
                self._check(self._library.LLVMOrcLLJITAddObjectFile(self._jit, library, buffer))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LoadedCode:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlinks the code; addresses in it are void then."""
        if self._jit:
            self._library.LLVMOrcDisposeLLJIT(self._jit)
            self._jit = c_void_p()

    def address(self, name: str) -> int:
        """Of a symbol.

        Raises:
            LlvmError: it is not there, or something that it needs is not.
        """
        found = c_uint64()
        self._check(self._library.LLVMOrcLLJITLookup(self._jit, byref(found), name.encode()))
        return found.value

    def _check(self, error: int | None) -> None:
        if error:
            raise LlvmError(self._codegen._text(self._library.LLVMGetErrorMessage(error)))


def _written_to_stderr(work: Callable[[], object]) -> str:
    """What LLVM writes to this process's standard error meanwhile; its C API has no other way to ask an analysis."""
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            work()
        finally:
            os.dup2(before, 2)
            os.close(before)
        file.seek(0)
        return file.read().decode(errors="replace")
