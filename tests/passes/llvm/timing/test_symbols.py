"""Functions are found by the names that a person writes."""

from __future__ import annotations

import subprocess

import pytest

from foretune.errors import OptionError
from foretune.passes.llvm.timing.symbols import Function, find_function

CPP = """
namespace ns {
struct Tree { int depth(int n) const; int operator()(int n) const; };
__attribute__((noinline)) int Tree::depth(int n) const { return n + 1; }
__attribute__((noinline)) int Tree::operator()(int n) const { return n + 2; }
template <typename T> __attribute__((noinline)) T twice(T x) { return x + x; }
}
static __attribute__((noinline)) int hidden(int x) { return x * 3; }
int over(int x) { return hidden(x); }
int over(double x) { return hidden((int)x); }
extern "C" int elsewhere(int);
int main() { return ns::Tree().depth(1) + ns::Tree()(1) + ns::twice<int>(2) + (int)ns::twice<double>(3.0) + over(1)
    + over(2.0) + elsewhere(2); }
"""


@pytest.fixture(scope="module")
def module(toolchain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("symbols")
    (folder / "a.cpp").write_text(CPP)
    words = ("-O1", "-c", "-emit-llvm", "-Xclang", "-disable-llvm-passes", folder / "a.cpp", "-o", folder / "a.bc")
    subprocess.run([toolchain.tool("clang++"), *words], check=True)
    text = subprocess.run([toolchain.tool("opt"), "-S", folder / "a.bc"], check=True, capture_output=True, text=True)
    return text.stdout, (folder / "a.bc").read_bytes()


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("ns::Tree::depth", "_ZNK2ns4Tree5depthEi"),
        ("ns::Tree::depth(int) const", "_ZNK2ns4Tree5depthEi"),
        ("_ZNK2ns4Tree5depthEi", "_ZNK2ns4Tree5depthEi"),
        ("ns::Tree::operator()", "_ZNK2ns4TreeclEi"),
        ("ns::twice<double>", "_ZN2ns5twiceIdEET_S1_"),
        ("hidden", "_ZL6hiddeni"),
        ("over( int )", "_Z4overi"),
        ("main", "main"),
    ],
)
def test_names(module, name, symbol):
    assert find_function(*module, name).symbol == symbol


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("over", r"names 2 functions \(over\(int\), over\(double\)\): write one of them with its parameters"),
        ("ns::twice", "names 2 functions"),
        ("ns::Tree::dept", r"has no function ns::Tree::dept .*it has ns::Tree::depth"),
        ("elsewhere", "it is called, but defined elsewhere"),
        ("", "has no function"),
    ],
)
def test_what_is_not_one_function(module, name, told):
    with pytest.raises(OptionError, match=told):
        find_function(*module, name)


def test_names_of_rust():
    names = Function("_ZN3app3sum17h0123456789abcdefE", "app::sum::h0123456789abcdef").names
    assert "app::sum" in names and "app::sum::h0123456789abcdef" in names
