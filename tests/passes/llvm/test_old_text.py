"""Text of older LLVM is read."""

from __future__ import annotations

import pytest

from foretune.passes.llvm.program import Selection, load
from foretune.passes.llvm.sources import readable, upgrade

OLD = """
%struct.pair = type { i32, i32 }
%"class.std::name" = type { i8 }
@table = constant { [3 x i8*] } zeroinitializer
declare void @fill(%struct.pair* noalias sret, %struct.pair* byval align 4)
declare void @name(%"class.std::name"* nonnull sret align 8)
define i8** @entry() {
  ret i8** getelementptr inbounds ({ [3 x i8*] }, { [3 x i8*] }* @table, i64 0, inrange i32 0, i64 2)
}
"""


def test_types_and_hints_of_older_text():
    new = upgrade(OLD)
    assert (
        "noalias sret(%struct.pair)," in new
        and "byval(%struct.pair) align 4" in new
        and 'nonnull sret(%"class.std::name") align 8' in new
    )
    assert "inrange" not in new and upgrade(new) == new


@pytest.mark.parametrize(
    "text", ["define void @f(ptr sret(i32) %x) {\n ret void\n}\n", '@s = constant [9 x i8] c"inrange i"\n', ""]
)
def test_newer_text_stays_the_file_that_it_is(tmp_path, text):
    (tmp_path / "new.ll").write_text(text)
    assert readable(tmp_path / "new.ll", tmp_path / "built") == tmp_path / "new.ll"


def test_modules_of_older_text_are_looked_at(measurer, tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "old.ll").write_bytes(OLD.encode() + b"; \xff\n")
    [program] = load([str(tmp_path / "modules")], tmp_path / "built", selection=Selection(without_main=True))
    [same] = load([str(tmp_path / "modules" / "old.ll")], tmp_path / "built")
    assert measurer.prepare(program, run=False).features and program.hash == same.hash
