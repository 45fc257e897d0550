"""Exported programs from files: what only computes is read, and what would execute something is refused before it
can.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable

import pytest
import torch
from torch import nn

from foretune.compiler.exported.reader import load_exported
from foretune.compiler.exported.symbols import check_expression
from foretune.errors import DataError

MODEL, WEIGHTS, CONSTANTS = (
    "models/model.json",
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
SAMPLE = "data/sample_inputs/model.pt"


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A file of a small program."""
    path = tmp_path_factory.mktemp("exported") / "plain.pt2"
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    torch.export.save(torch.export.export(model, (torch.randn(2, 4),)), path)
    return path


@pytest.fixture
def changed(plain, tmp_path):
    """Makes a copy of the file with parts replaced, taken out (None) or added."""

    def make(change: Callable[[str, bytes], bytes | None] = lambda name, data: data, **added: bytes):
        path = tmp_path / "changed.pt2"
        with zipfile.ZipFile(plain) as archive, zipfile.ZipFile(path, "w") as copy:
            for info in archive.infolist():
                root, _, name = info.filename.partition("/")
                if (data := change(name, archive.read(info))) is not None:
                    copy.writestr(f"{root}/{name}", data)
            for name, data in added.items():
                copy.writestr(f"{root}/{name}", data)
        return path

    return make


def replaced(part: str, old: str, new: str) -> Callable[[str, bytes], bytes]:
    def change(name: str, data: bytes) -> bytes:
        if name != part:
            return data
        assert old.encode() in data
        return data.replace(old.encode(), new.encode())

    return change


class Mixed(nn.Module):
    """Tied, transposed and empty weights, constants, infinities, keyword arguments, containers."""

    def __init__(self):
        super().__init__()
        self.transposed = nn.Parameter(torch.randn(4, 4).t())
        self.register_buffer("empty", torch.zeros(0))
        self.constant = torch.arange(4.0)
        self.layers = nn.ModuleDict({"a-b": nn.Linear(4, 4), "c": nn.Linear(4, 4)})
        self.layers["c"].weight = self.layers["a-b"].weight

    def forward(self, x, *, scale, more):
        y = self.layers["a-b"](x @ self.transposed + self.constant) + self.layers["c"](x)
        y = torch.where(y > 0, y, torch.full_like(y, float("-inf")))
        return {"y": y * scale, "z": [more["k"], torch.einsum("ij,ij->i", x, x)]}


class Dynamic(nn.Module):
    def forward(self, x, y):
        return torch.cat([x, y]).flatten().view(2 * x.shape[0], -1).softmax(0)


class Branch(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            y = x + 1
        return torch.cond(x.sum() > 0, lambda v: v + 1, lambda v: v - 1, (y,))


class Counted(nn.Module):
    def forward(self, x):
        return x.nonzero().float().sum(0)


ROWS = torch.export.Dim("rows", min=2, max=64)
PROGRAMS = {
    "mixed": (Mixed(), (torch.randn(3, 4),), {"scale": 2.0, "more": {"k": torch.ones(2)}}, None),
    "dynamic": (Dynamic(), (torch.randn(4, 8), torch.randn(4, 8)), {}, {"x": {0: ROWS}, "y": {0: ROWS}}),
    "branch": (Branch(), (torch.randn(4, 4),), {}, None),
    "counted": (Counted(), (torch.randn(4, 4),), {}, None),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_come_back_as_they_were(name, tmp_path):
    model, args, kwargs, shapes = PROGRAMS[name]
    torch.export.save(torch.export.export(model, args, kwargs, dynamic_shapes=shapes), tmp_path / "p.pt2")
    program = load_exported(tmp_path / "p.pt2")
    torch.testing.assert_close(program.module(check_guards=False)(*args, **kwargs), model(*args, **kwargs))
    torch.testing.assert_close(program.example_inputs, (args, kwargs))


def test_custom_operators_are_asked_for(tmp_path):
    with torch.library._scoped_library("foretune_reader_test", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
        torch.library.register_fake("foretune_reader_test::twice", torch.empty_like, lib=library)

        class Twice(nn.Module):
            def forward(self, x):
                return torch.ops.foretune_reader_test.twice(x)

        torch.export.save(torch.export.export(Twice(), (torch.ones(2),)), tmp_path / "p.pt2")
        with pytest.raises(DataError, match=r"calls the operator 'torch\.ops\.foretune_reader_test\.twice\.default'"):
            load_exported(tmp_path / "p.pt2")
        program = load_exported(tmp_path / "p.pt2", namespaces=["foretune_reader_test"])
        assert program.module(check_guards=False)(torch.ones(2)).tolist() == [2.0, 2.0]


def test_pickled_parts_are_not_unpickled(changed, tmp_path):
    trap = saved(Trap(tmp_path / "sprung"))
    pickled = replaced(WEIGHTS, '"use_pickle": false', '"use_pickle": true')
    objects = {
        "config": {"c": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}}
    }
    scripts = json.dumps(objects).replace("opaque_obj_0", "custom_obj_0")
    for make in (
        lambda: changed(lambda name, data: trap if name == SAMPLE else data),
        lambda: changed(lambda name, data: trap if name.endswith("weight_0") else pickled(name, data)),
        lambda: changed(**{"data/weights/model.pt": trap}),
        lambda: changed(**{"data/constants/model.pt": trap}),
        lambda: changed(
            lambda name, data: json.dumps(objects).encode() if name == CONSTANTS else data,
            **{"data/constants/opaque_obj_0": pickle.dumps(Trap(tmp_path / "sprung"))},
        ),
        lambda: changed(
            lambda name, data: scripts.encode() if name == CONSTANTS else data, **{"data/constants/custom_obj_0": trap}
        ),
    ):
        with pytest.raises(DataError, match=r"changed\.pt2 is refused: .*(tensor|execute)"):
            load_exported(make())
    assert not (tmp_path / "sprung").exists()


def test_plain_pickled_weights_are_read(changed, plain):
    weight = load_exported(plain).state_dict["0.weight"]
    config = {}

    def change(name, data):
        if name == WEIGHTS:
            config.update(json.loads(data)["config"])
            config["0.weight"]["use_pickle"] = True
            return json.dumps({"config": config}).encode()
        return saved(weight) if name.endswith("/weight_0") else data

    torch.testing.assert_close(load_exported(changed(change)).state_dict["0.weight"], weight)


SYSTEM = "__import__('os').mkdir('sprung')"
TEXTS = [
    (MODEL, '"torch.ops.aten.linear.default"', '"torch.os.mkdir"', "no operator of PyTorch's dispatcher"),
    (MODEL, '"torch.ops.aten.linear.default"', '"torch.ops.load_library"', "no operator of PyTorch's dispatcher"),
    (
        MODEL,
        '"torch.ops.aten.linear.default"',
        '"torch.ops.aten.from_file.default"',
        "not among those that only compute",
    ),
    (
        MODEL,
        '"torch.ops.aten.linear.default"',
        '"torch.ops.symm_mem.one_shot_all_reduce.default"',
        "not among those that only compute",
    ),
    (MODEL, '"torch.ops.aten.linear.default"', '"torch.ops.aten.nothing_of_this_name.default"', "there is no operator"),
    (
        MODEL,
        '"torch.ops.aten.linear.default"',
        '"torch.ops.higher_order.call_torchbind"',
        "not among those that only compute",
    ),
    (MODEL, '"torch.ops.aten.linear.default"', '"_operator.methodcaller"', "no operator of PyTorch's dispatcher"),
    (MODEL, '"p_0_weight"', f'"p={SYSTEM}"', "is no name of a value"),
    (MODEL, '"parameter_name": "0.weight"', '"parameter_name": "0\\").x,' + SYSTEM + '#"', "is no name of a parameter"),
    (
        MODEL,
        '{"as_int": 2}, {"as_int": 4}',
        '{"as_expr": {"expr_str": "' + SYSTEM + '", "hint": null}}, {"as_int": 4}',
        "symbolic size",
    ),
    (
        MODEL,
        '\\"builtins.tuple\\", \\"context\\": \\"null\\"',
        '\\"collections.defaultdict\\", \\"context\\": {}',
        "structure of inputs is damaged",
    ),
    (
        MODEL,
        '\\"context\\": \\"null\\"',
        '\\"context\\": \\"{\\\\\\"__enum__\\\\\\": true, \\\\\\"fqn\\\\\\": \\\\\\"this:x\\\\\\"}\\"',
        "neither plain words nor",
    ),
    (
        MODEL,
        '\\"context\\": \\"[]\\"',
        '\\"context\\": \\"[\\\\\\"x=' + SYSTEM.replace("'", "") + '\\\\\\"]\\"',
        "is no name",
    ),
    (MODEL, '"as_tensor": {"name": "input"}', '"as_custom_obj": {"name": "input", "class_fqn": "x"}', "custom object"),
    (MODEL, '"verifiers": ["', '"verifiers": ["x', "stands where none belongs"),
    (WEIGHTS, '"weight_0"', '"../../weight_0"', "is no tensor"),
    (WEIGHTS, '{"as_int": 3}, {"as_int": 4}', '{"as_int": 3000000000}, {"as_int": 4}', "does not fit into"),
    (WEIGHTS, '{"as_int": 3}, {"as_int": 4}', '{"as_int": -3}, {"as_int": 4}', "does not fit into"),
    (WEIGHTS, '"dtype": 7', '"dtype": NaN', "NaN is no number"),
    (WEIGHTS, '"dtype": 7', '"dtype": 7' + "0" * 5000, "more than 64 bits"),
    ("archive_version", "0", "9", "archive_version is"),
]


@pytest.mark.parametrize(("part", "old", "new", "reason"), TEXTS)
def test_texts_that_would_be_executed_are_refused(changed, tmp_path, monkeypatch, part, old, new, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=reason):
        load_exported(changed(replaced(part, old, new)))
    assert not (tmp_path / "sprung").exists()


def test_guards_are_left_out(changed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = load_exported(changed(replaced(MODEL, '"guards_code": []', f'"guards_code": ["{SYSTEM}"]')))
    assert program.module()(torch.zeros(2, 4)).shape == (2, 3) and not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ("data/aotinductor/model/kernel.so", "compiled code"),
        ("models/other.json", "is not read"),
        ("../../outside", "leads out of the archive"),
        ("models/model.json", "stands twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_other_members_are_refused(changed, added, reason):
    with pytest.raises(DataError, match=reason):
        load_exported(changed(**{added: b"x"}))


def test_links_bombs_and_depth_are_refused(changed, tmp_path):
    link = zipfile.ZipInfo("p/data/weights/weight_0")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.pt2", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with zipfile.ZipFile(tmp_path / "bomb.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p/models/model.json", bytes(100 << 20))
    for path, reason in (
        (tmp_path / "link.pt2", "is a link"),
        (tmp_path / "bomb.pt2", "times as long"),
        (changed(lambda name, data: b"[" * 100_000 if name == MODEL else data), "nested"),
        (changed(lambda name, data: b'{"a":' * 300 + b"1" + b"}" * 300 if name == MODEL else data), "nested"),
    ):
        with pytest.raises(DataError, match=reason):
            load_exported(path)


def test_damaged_bytes_never_raise_anything_else(plain, tmp_path):
    whole, draw = plain.read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole[: draw.choice([len(whole), draw.randrange(len(whole))])])
        for _ in range(draw.choice([1, 3, 10])):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        (tmp_path / "damaged.pt2").write_bytes(damaged)
        try:
            load_exported(tmp_path / "damaged.pt2")
        except DataError as error:
            assert "damaged.pt2" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "s0",
        "2*s0 + 1",
        "Max(2, s0)",
        "(s0//8)",
        "Mod(u0, 8) < 3",
        "-1*s77**2",
        "Symbol('s17', positive=True, integer=True)",
        "Add(Mul(Integer(-1), Symbol('s0')), FloorDiv(Symbol('s1'), Integer(4)))",
        "Pow(Symbol('s0'), Integer(-1))",
        "Float('1.5', precision=53)",
    ],
)
def test_arithmetic_is_read(text):
    check_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "os.system('x')",
        "s0.__class__",
        "(lambda: 1)()",
        "[s0 for s0 in s1]",
        "'s0'",
        "open('x')",
        "9**9**9**9",
        "Pow(Pow(9, 9), 9)",
        "u99999999999",
        "Symbol('x; y')",
        "Symbol('s0', positive=print(1))",
        "Float('nan')",
        "f'{s0}'",
        "s0 if s0 else s1",
        "s0[0]",
        "Max(*s0)",
        "+".join(["s0"] * 5000),
        "",
        "(" * 500,
    ],
)
def test_everything_else_is_not(text):
    with pytest.raises(DataError, match="symbolic size"):
        check_expression(text)
