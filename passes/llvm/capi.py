"""LLVM's C API through ctypes: read a module, run passes over it, count what is in it, and generate code.

Used inside worker processes only (`worker.py`): a bad pass sequence may crash or hang, and command-line flags of LLVM
hold for a whole process.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator, Mapping, Sequence
from ctypes import byref, c_char_p, c_int, c_longlong, c_size_t, c_uint, c_ulonglong, c_void_p
from pathlib import Path
from typing import cast

_TARGETS = {"x86_64": "X86", "AMD64": "X86", "aarch64": "AArch64", "arm64": "AArch64"}
_AGGRESSIVE, _PIC, _DEFAULT_CODE_MODEL = 3, 2, 0
_RETURN_STATUS = 2
_EXTERNAL = 0  # linkage
_POINTER_KIND = 12
_BRANCH = 2  # opcode
_WIDEST = 64  # bits of a constant that is read
_OF_FUNCTION = 0xFFFFFFFF  # the index of a function's own attributes
_FILE_KINDS = {".s": 0, ".o": 1}
_FAST_MATH = {"reassoc": 1, "nnan": 2, "ninf": 4, "nsz": 8, "arcp": 16, "contract": 32, "afn": 64}

# name -> (result, arguments)
_FUNCTIONS = {
    "LLVMContextCreate": (c_void_p, []),
    "LLVMContextSetDiscardValueNames": (None, [c_void_p, c_int]),
    "LLVMCreateMemoryBufferWithContentsOfFile": (c_int, [c_char_p, c_void_p, c_void_p]),
    "LLVMParseIRInContext": (c_int, [c_void_p, c_void_p, c_void_p, c_void_p]),
    "LLVMVerifyModule": (c_int, [c_void_p, c_int, c_void_p]),
    "LLVMWriteBitcodeToFile": (c_int, [c_void_p, c_char_p]),
    "LLVMDisposeMessage": (None, [c_void_p]),
    "LLVMGetTargetFromTriple": (c_int, [c_char_p, c_void_p, c_void_p]),
    "LLVMGetTarget": (c_char_p, [c_void_p]),
    "LLVMSetTarget": (None, [c_void_p, c_char_p]),
    "LLVMGetDefaultTargetTriple": (c_void_p, []),
    "LLVMGetHostCPUName": (c_void_p, []),
    "LLVMGetHostCPUFeatures": (c_void_p, []),
    "LLVMCreateTargetMachine": (c_void_p, [c_void_p, c_char_p, c_char_p, c_char_p, c_int, c_int, c_int]),
    "LLVMGetDataLayoutStr": (c_char_p, [c_void_p]),
    "LLVMCreateTargetDataLayout": (c_void_p, [c_void_p]),
    "LLVMSetModuleDataLayout": (None, [c_void_p, c_void_p]),
    "LLVMCloneModule": (c_void_p, [c_void_p]),
    "LLVMTargetMachineEmitToFile": (c_int, [c_void_p, c_void_p, c_char_p, c_int, c_void_p]),
    "LLVMCreatePassBuilderOptions": (c_void_p, []),
    "LLVMRunPasses": (c_void_p, [c_void_p, c_char_p, c_void_p, c_void_p]),
    "LLVMGetErrorMessage": (c_void_p, [c_void_p]),
    "LLVMParseCommandLineOptions": (None, [c_int, c_void_p, c_char_p]),
    "LLVMGetFirstFunction": (c_void_p, [c_void_p]),
    "LLVMGetNextFunction": (c_void_p, [c_void_p]),
    "LLVMGetFirstBasicBlock": (c_void_p, [c_void_p]),
    "LLVMGetNextBasicBlock": (c_void_p, [c_void_p]),
    "LLVMGetFirstInstruction": (c_void_p, [c_void_p]),
    "LLVMGetNextInstruction": (c_void_p, [c_void_p]),
    "LLVMGetBasicBlockTerminator": (c_void_p, [c_void_p]),
    "LLVMGetNumSuccessors": (c_uint, [c_void_p]),
    "LLVMGetSuccessor": (c_void_p, [c_void_p, c_uint]),
    "LLVMGetInstructionOpcode": (c_int, [c_void_p]),
    "LLVMGetNumOperands": (c_int, [c_void_p]),
    "LLVMGetOperand": (c_void_p, [c_void_p, c_uint]),
    "LLVMIsConstant": (c_int, [c_void_p]),
    "LLVMIsAFunction": (c_void_p, [c_void_p]),
    "LLVMGetCalledValue": (c_void_p, [c_void_p]),
    "LLVMTypeOf": (c_void_p, [c_void_p]),
    "LLVMGetTypeKind": (c_int, [c_void_p]),
    "LLVMGetValueName2": (c_void_p, [c_void_p, c_void_p]),
    "LLVMGetStringAttributeAtIndex": (c_void_p, [c_void_p, c_uint, c_char_p, c_uint]),
    "LLVMGetStringAttributeValue": (c_void_p, [c_void_p, c_void_p]),
    "LLVMCreateStringAttribute": (c_void_p, [c_void_p, c_char_p, c_uint, c_char_p, c_uint]),
    "LLVMAddAttributeAtIndex": (None, [c_void_p, c_uint, c_void_p]),
    "LLVMValueIsBasicBlock": (c_int, [c_void_p]),
    "LLVMGlobalGetValueType": (c_void_p, [c_void_p]),
    "LLVMGetReturnType": (c_void_p, [c_void_p]),
    "LLVMCountParams": (c_uint, [c_void_p]),
    "LLVMGetParam": (c_void_p, [c_void_p, c_uint]),
    "LLVMPrintTypeToString": (c_void_p, [c_void_p]),
    "LLVMGetLinkage": (c_int, [c_void_p]),
    "LLVMGetVersion": (None, [c_void_p, c_void_p, c_void_p]),
    "LLVMCountIncoming": (c_uint, [c_void_p]),
    "LLVMGetIncomingValue": (c_void_p, [c_void_p, c_uint]),
    "LLVMGetIncomingBlock": (c_void_p, [c_void_p, c_uint]),
    "LLVMIsAInstruction": (c_void_p, [c_void_p]),
    "LLVMIsAConstantInt": (c_void_p, [c_void_p]),
    "LLVMConstIntGetSExtValue": (c_longlong, [c_void_p]),
    "LLVMGetIntTypeWidth": (c_uint, [c_void_p]),
    "LLVMIsConditional": (c_int, [c_void_p]),
    "LLVMGetCondition": (c_void_p, [c_void_p]),
    "LLVMGetICmpPredicate": (c_int, [c_void_p]),
    "LLVMGetMDKindIDInContext": (c_uint, [c_void_p, c_char_p, c_uint]),
    "LLVMGetMetadata": (c_void_p, [c_void_p, c_uint]),
    "LLVMSetMetadata": (None, [c_void_p, c_uint, c_void_p]),
    "LLVMGetMDNodeNumOperands": (c_uint, [c_void_p]),
    "LLVMGetMDNodeOperands": (None, [c_void_p, c_void_p]),
    "LLVMGetMDString": (c_void_p, [c_void_p, c_void_p]),
    "LLVMMDStringInContext2": (c_void_p, [c_void_p, c_char_p, c_size_t]),
    "LLVMMDNodeInContext2": (c_void_p, [c_void_p, c_void_p, c_size_t]),
    "LLVMValueAsMetadata": (c_void_p, [c_void_p]),
    "LLVMMetadataAsValue": (c_void_p, [c_void_p, c_void_p]),
    "LLVMTemporaryMDNode": (c_void_p, [c_void_p, c_void_p, c_size_t]),
    "LLVMMetadataReplaceAllUsesWith": (None, [c_void_p, c_void_p]),
    "LLVMGetEnumAttributeKindForName": (c_uint, [c_char_p, c_size_t]),
    "LLVMCreateEnumAttribute": (c_void_p, [c_void_p, c_uint, c_ulonglong]),
    "LLVMGetEnumAttributeAtIndex": (c_void_p, [c_void_p, c_uint, c_uint]),
    "LLVMGetNamedFunction": (c_void_p, [c_void_p, c_char_p]),
    "LLVMCanValueUseFastMathFlags": (c_int, [c_void_p]),
    "LLVMGetFastMathFlags": (c_uint, [c_void_p]),
    "LLVMSetFastMathFlags": (None, [c_void_p, c_uint]),
    "LLVMInt1TypeInContext": (c_void_p, [c_void_p]),
    "LLVMInt32TypeInContext": (c_void_p, [c_void_p]),
    "LLVMConstInt": (c_void_p, [c_void_p, c_ulonglong, c_int]),
}


class LlvmError(Exception):
    """LLVM refused something, in its own words."""


class Llvm:
    """One libLLVM, in one process, for this machine's processor.

    Args:
        library: path of libLLVM.
    """

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        target = _TARGETS.get(platform.machine())
        if target is None:
            raise LlvmError(f"no code generator is known for processors of type {platform.machine()}")
        for part in ("TargetInfo", "Target", "TargetMC", "AsmPrinter", "AsmParser"):
            getattr(self._library, f"LLVMInitialize{target}{part}")()
        self._context = self._library.LLVMContextCreate()

    @property
    def version(self) -> tuple[int, int, int]:
        """Of the library."""
        parts = [c_uint() for _ in range(3)]
        self._library.LLVMGetVersion(*map(byref, parts))
        major, minor, patch = (p.value for p in parts)
        return major, minor, patch

    @property
    def cpu(self) -> str:
        """The processor's name, as LLVM knows it."""
        return self._text(self._library.LLVMGetHostCPUName())

    def set_flags(self, flags: Sequence[str]) -> None:
        """Sets LLVM's own command-line flags, for the rest of this process; an unknown one ends it with a message on
        stderr.
        """
        words = [b"foretune", *(flag.encode() for flag in flags)]
        self._library.LLVMParseCommandLineOptions(len(words), (c_char_p * len(words))(*words), None)

    def read(self, path: Path) -> int:
        """A module from a file of bitcode or text.

        Raises:
            LlvmError: it cannot be read, or is not valid.
        """
        buffer, module, message = c_void_p(), c_void_p(), c_void_p()
        if self._library.LLVMCreateMemoryBufferWithContentsOfFile(str(path).encode(), byref(buffer), byref(message)):
            raise LlvmError(self._text(message.value))
        if self._library.LLVMParseIRInContext(self._context, buffer, byref(module), byref(message)):
            raise LlvmError(self._text(message.value))
        found = cast("int", module.value)  # LLVM has set it
        self.verify(found)
        return found

    def verify(self, module: int) -> None:
        """Raises `LlvmError` if a module is not valid."""
        message = c_void_p()
        if self._library.LLVMVerifyModule(module, _RETURN_STATUS, byref(message)):
            raise LlvmError(self._text(message.value))

    def add_features(self, module: int, features: str) -> None:
        """Adds features of the processor, such as `-prefer-256-bit`, to those that each function asks for; as `opt
        -mattr=` does.
        """
        key = b"target-features"
        for function in self.functions(module):
            known = self._library.LLVMGetStringAttributeAtIndex(function, _OF_FUNCTION, key, len(key))
            length = c_uint()
            before = (
                ctypes.string_at(self._library.LLVMGetStringAttributeValue(known, byref(length)), length.value)
                if known
                else b""
            )
            value = before + b"," * bool(before) + features.encode()
            attribute = self._library.LLVMCreateStringAttribute(self._context, key, len(key), value, len(value))
            self._library.LLVMAddAttributeAtIndex(function, _OF_FUNCTION, attribute)

    def machine(self, module: int, cpu: str | None = None) -> int:
        """A code generator for a module, at its highest level; functions may ask for another processor in their
        attributes.

        Args:
            module: where it has no data layout yet, it gets the code generator's.
            cpu: name of a processor of this machine's kind; None for the one that this process runs on.

        Raises:
            LlvmError: the module is for another kind of machine.
        """
        triple = self._library.LLVMGetTarget(module)
        if not triple:
            triple = self._text(self._library.LLVMGetDefaultTargetTriple()).encode()
            self._library.LLVMSetTarget(module, triple)
        target, message = c_void_p(), c_void_p()
        if self._library.LLVMGetTargetFromTriple(triple, byref(target), byref(message)):
            raise LlvmError(self._text(message.value))
        features = self._text(self._library.LLVMGetHostCPUFeatures()) if cpu is None else ""
        machine = self._library.LLVMCreateTargetMachine(
            target, triple, (cpu or self.cpu).encode(), features.encode(), _AGGRESSIVE, _PIC, _DEFAULT_CODE_MODEL
        )
        if not self._library.LLVMGetDataLayoutStr(module):
            self._library.LLVMSetModuleDataLayout(module, self._library.LLVMCreateTargetDataLayout(machine))
        return machine

    def clone(self, module: int) -> int:
        """A copy of a module: code generation spends the one that it is given."""
        return self._library.LLVMCloneModule(module)

    def run_passes(self, module: int, pipeline: str, machine: int) -> None:
        """Runs a pipeline, written as for `opt -passes=`.

        Raises:
            LlvmError: a name or an option in it is unknown.
        """
        error = self._library.LLVMRunPasses(
            module, pipeline.encode(), machine, self._library.LLVMCreatePassBuilderOptions()
        )
        if error:
            raise LlvmError(self._text(self._library.LLVMGetErrorMessage(error)))

    def emit(self, module: int, machine: int, path: Path) -> None:
        """Writes assembly (`.s`) or an object file (`.o`); the module is spent by that.

        Raises:
            LlvmError: code cannot be generated.
        """
        message = c_void_p()
        if self._library.LLVMTargetMachineEmitToFile(
            machine, module, str(path).encode(), _FILE_KINDS[path.suffix], byref(message)
        ):
            raise LlvmError(self._text(message.value))

    def write_bitcode(self, module: int, path: Path) -> None:
        """Writes a module.

        Raises:
            LlvmError: the file cannot be written.
        """
        if self._library.LLVMWriteBitcodeToFile(module, str(path).encode()):
            raise LlvmError(f"cannot write {path}")

    # -- looking at a module ---------------------------------------------------------------------

    def functions(self, module: int) -> Iterator[int]:
        """The functions of a module that have a body."""
        return (f for f in self._chain(module, "Function") if self._library.LLVMGetFirstBasicBlock(f))

    def blocks(self, function: int) -> Iterator[int]:
        """The basic blocks of a function, the entry first."""
        return self._chain(function, "BasicBlock")

    def instructions(self, block: int) -> Iterator[int]:
        """The instructions of a block."""
        return self._chain(block, "Instruction")

    def successors(self, block: int) -> list[int]:
        """Where a block may go on."""
        end = self._library.LLVMGetBasicBlockTerminator(block)
        return [self._library.LLVMGetSuccessor(end, i) for i in range(self._library.LLVMGetNumSuccessors(end))]

    def opcode(self, instruction: int) -> int:
        """The number of an instruction's opcode in the C API."""
        return self._library.LLVMGetInstructionOpcode(instruction)

    def operands(self, value: int) -> list[int]:
        """What an instruction works on."""
        return [self._library.LLVMGetOperand(value, i) for i in range(self._library.LLVMGetNumOperands(value))]

    def is_constant(self, value: int) -> bool:
        """Whether a value is a constant."""
        return bool(self._library.LLVMIsConstant(value))

    def type_kind(self, value: int) -> int:
        """The kind of a value's type, as the C API numbers it."""
        return self._library.LLVMGetTypeKind(self._library.LLVMTypeOf(value))

    def operand_kind(self, value: int) -> str:
        """What an operand is: a label, a function, a constant, a pointer or another variable."""
        if self._library.LLVMValueIsBasicBlock(value):
            return "label"
        if self._library.LLVMIsAFunction(value):
            return "function"
        if self._library.LLVMIsConstant(value):
            return "constant"
        return "pointer" if self.type_kind(value) == _POINTER_KIND else "variable"

    def callee(self, call: int) -> int | None:
        """The function that a call names; None of calls through pointers."""
        return self._library.LLVMIsAFunction(self._library.LLVMGetCalledValue(call))

    def name(self, value: int) -> str:
        """The name of a value."""
        length = c_size_t()
        start = self._library.LLVMGetValueName2(value, byref(length))
        return ctypes.string_at(start, length.value).decode(errors="replace")

    def is_public(self, function: int) -> bool:
        """Whether other modules can call a function."""
        return self._library.LLVMGetLinkage(function) == _EXTERNAL

    def signature(self, function: int) -> tuple[str, list[str]]:
        """(type of the result, types of the parameters), as LLVM writes them."""
        kinds = [
            self._library.LLVMTypeOf(self._library.LLVMGetParam(function, i))
            for i in range(self._library.LLVMCountParams(function))
        ]
        result = self._library.LLVMGetReturnType(self._library.LLVMGlobalGetValueType(function))
        return self._text(self._library.LLVMPrintTypeToString(result)), [
            self._text(self._library.LLVMPrintTypeToString(kind)) for kind in kinds
        ]

    # -- loops: what runs how often --------------------------------------------------------------

    def terminator(self, block: int) -> int | None:
        """The instruction that ends a block."""
        return self._library.LLVMGetBasicBlockTerminator(block)

    def condition(self, branch: int) -> int | None:
        """What a conditional branch asks; None of other instructions."""
        is_branch = self.opcode(branch) == _BRANCH
        return self._library.LLVMGetCondition(branch) if is_branch and self._library.LLVMIsConditional(branch) else None

    def predicate(self, comparison: int) -> int:
        """The number of an integer comparison's predicate in the C API."""
        return self._library.LLVMGetICmpPredicate(comparison)

    def is_instruction(self, value: int) -> bool:
        """Whether a value is made by an instruction."""
        return bool(self._library.LLVMIsAInstruction(value))

    def constant(self, value: int) -> int | None:
        """The number that an integer constant is; None of other values, and of wide ones."""
        if not self._library.LLVMIsAConstantInt(value):
            return None
        wide = self._library.LLVMGetIntTypeWidth(self._library.LLVMTypeOf(value)) > _WIDEST
        return None if wide else self._library.LLVMConstIntGetSExtValue(value)

    def incoming(self, phi: int) -> list[tuple[int, int]]:
        """(block, value that comes from there) of a phi."""
        return [
            (self._library.LLVMGetIncomingBlock(phi, i), self._library.LLVMGetIncomingValue(phi, i))
            for i in range(self._library.LLVMCountIncoming(phi))
        ]

    def has_metadata(self, instruction: int, kind: str) -> bool:
        """Whether an instruction has metadata of a kind."""
        return bool(self._library.LLVMGetMetadata(instruction, self._kind(kind)))

    def metadata_names(self, instruction: int, kind: str) -> list[str]:
        """The first strings of the nodes in an instruction's metadata, as `llvm.loop` has its attributes."""
        node = self._library.LLVMGetMetadata(instruction, self._kind(kind))
        names: list[str] = []
        for operand in self._node(node) if node else ():
            first = next(iter(self._node(operand)), None) if operand and operand != node else None
            if first and (name := self._string(first)):
                names.append(name)
        return names

    def set_branch_weights(self, branch: int, weights: Sequence[int]) -> None:
        """Says how often a branch takes each of its ways."""
        library, context = self._library, self._context
        name, number = b"branch_weights", library.LLVMInt32TypeInContext(context)
        parts = [library.LLVMMDStringInContext2(context, name, len(name))]
        parts += [library.LLVMValueAsMetadata(library.LLVMConstInt(number, weight, 0)) for weight in weights]
        node = library.LLVMMetadataAsValue(context, self._new_node(parts))
        library.LLVMSetMetadata(branch, self._kind("prof"), node)

    def add_loop_attributes(self, latch: int, attributes: Mapping[str, int | bool]) -> None:
        """Adds attributes such as `llvm.loop.unroll.count` to those of the loop that a branch goes round."""
        library, context = self._library, self._context
        old = library.LLVMGetMetadata(latch, self._kind("llvm.loop"))
        kept = [library.LLVMValueAsMetadata(part) for part in (self._node(old) if old else ()) if part and part != old]
        for name, value in attributes.items():
            is_switch = isinstance(value, bool)
            kind = library.LLVMInt1TypeInContext(context) if is_switch else library.LLVMInt32TypeInContext(context)
            number = library.LLVMValueAsMetadata(library.LLVMConstInt(kind, int(value), 0))
            kept.append(self._new_node([library.LLVMMDStringInContext2(context, name.encode(), len(name)), number]))
        placeholder = library.LLVMTemporaryMDNode(context, None, 0)  # the first operand of a loop's node is itself
        node = self._new_node([placeholder, *kept])
        library.LLVMMetadataReplaceAllUsesWith(placeholder, node)
        library.LLVMSetMetadata(latch, self._kind("llvm.loop"), library.LLVMMetadataAsValue(context, node))

    def _new_node(self, parts: Sequence[int]) -> int:
        return self._library.LLVMMDNodeInContext2(self._context, (c_void_p * len(parts))(*parts), len(parts))

    def add_fast_math(self, instruction: int, names: Sequence[str]) -> None:
        """Allows what fast-math flags such as `reassoc` allow, of an instruction that may have them."""
        if names and self._library.LLVMCanValueUseFastMathFlags(instruction):
            known = self._library.LLVMGetFastMathFlags(instruction)
            self._library.LLVMSetFastMathFlags(instruction, known | sum(_FAST_MATH[name] for name in set(names)))

    # -- attributes of functions -----------------------------------------------------------------

    def function(self, module: int, name: str) -> int | None:
        """The function of a name; None where there is none."""
        return self._library.LLVMGetNamedFunction(module, name.encode())

    def has_attribute(self, function: int, name: str) -> bool:
        """Whether a function has an attribute such as `noinline`."""
        kind = self._library.LLVMGetEnumAttributeKindForName(name.encode(), len(name))
        return bool(self._library.LLVMGetEnumAttributeAtIndex(function, _OF_FUNCTION, kind))

    def add_attribute(self, function: int, name: str, value: int = 0) -> None:
        """Gives a function an attribute."""
        kind = self._library.LLVMGetEnumAttributeKindForName(name.encode(), len(name))
        attribute = self._library.LLVMCreateEnumAttribute(self._context, kind, value)
        self._library.LLVMAddAttributeAtIndex(function, _OF_FUNCTION, attribute)

    def _kind(self, name: str) -> int:
        return self._library.LLVMGetMDKindIDInContext(self._context, name.encode(), len(name))

    def _node(self, node: int) -> list[int | None]:
        """The operands of a metadata node; none of what is no node."""
        number = self._library.LLVMGetMDNodeNumOperands(node)
        found = (c_void_p * number)()
        if number:
            self._library.LLVMGetMDNodeOperands(node, found)
        return list(found)

    def _string(self, value: int) -> str:
        length = c_uint()
        start = self._library.LLVMGetMDString(value, byref(length))
        return ctypes.string_at(start, length.value).decode(errors="replace") if start else ""

    def _chain(self, parent: int, kind: str) -> Iterator[int]:
        following = getattr(self._library, f"LLVMGetNext{kind}")
        current = getattr(self._library, f"LLVMGetFirst{kind}")(parent)
        while current:
            yield current
            current = following(current)

    def _text(self, message: int | None) -> str:
        """A message of LLVM's, which is freed."""
        if not message:
            return ""
        text = ctypes.string_at(message).decode(errors="replace")
        self._library.LLVMDisposeMessage(message)
        return text
