"""The telling line of errors, as tools write them."""

from __future__ import annotations

import pytest

from foretune.support.text import telling_line

TRACEBACK = """Failed deserializing node Node(target='x')
 Original exception Traceback (most recent call last):
  File "a.py", line 3, in f
    g()
    ^^^
KeyError: 'first'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 9, in h
ValueError: the second is what reached us
"""
INDUCTOR = """backend='inductor' raised:
LoweringException: AssertionError: sizes differ
  target: aten.view.default
  args[0]: TensorBox(...)

Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace (please do this especially if you're reporting a bug to PyTorch). For even more context, set TORCH_LOGS="+dynamo"
"""  # noqa: E501
COMPILER = """C++ compile error

Command:
g++ /tmp/x.cpp -o /tmp/x.so

Output:
/tmp/x.cpp: In function 'void kernel()':
/tmp/x.cpp:4:17: error: 'foo' was not declared in this scope
/tmp/x.cpp:9:1: error: expected '}' at end of input
"""
TVM = """Traceback (most recent call last):
  3: tvm::transform::Pass::operator()(tvm::IRModule) const
  2: 0x00007f00aa
  File "/src/bound.cc", line 10
InternalError: Check failed: (extent > 0) is false: extent is 0
"""
DYNAMO = """TypeError when making fake tensor call
  Explanation: 
  Hint: Your code may result in an error when running in eager.

from user code:
   File "x.py", line 27, in <lambda>
    m("x")
    ^^^^^^

Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace
"""
CRASH = """opt: /src/LoopPass.cpp:40: void run(): Assertion `L->isValid()' failed.
PLEASE submit a bug report to https://example.org and include the crash backtrace.
Stack dump:
0.\tProgram arguments: opt -passes=x
 #0 0x000055 llvm::sys::PrintStackTrace
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TRACEBACK, "ValueError: the second is what reached us"),
        (INDUCTOR, "LoweringException: AssertionError: sizes differ"),
        (COMPILER, "/tmp/x.cpp:4:17: error: 'foo' was not declared in this scope"),
        (TVM, "InternalError: Check failed: (extent > 0) is false: extent is 0"),
        (DYNAMO, "TypeError when making fake tensor call"),
        (CRASH, "opt: /src/LoopPass.cpp:40: void run(): Assertion `L->isValid()' failed."),
        ("a single line", "a single line"),
        ("", ""),
        ("\n  \n", ""),
    ],
)
def test_texts(text, line):
    assert telling_line(text) == line


def test_exceptions():
    assert telling_line(KeyError("k")) == "'k'" and telling_line(MemoryError()) == "MemoryError"
    assert telling_line(RuntimeError("first\nsecond")) == "first"
    assert len(telling_line(RuntimeError("long " * 1000))) == 400
