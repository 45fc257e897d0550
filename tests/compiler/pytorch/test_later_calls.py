"""What a kernel that was chosen on one input owes to later calls: own memory, checked indices, weights as they are now,
effects once.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch
import torch.multiprocessing
from torch import nn
from torch.nn import functional as F

from foretune import explain
from foretune.compiler.pytorch.backend import FROZEN, Backend, compile_reports
from foretune.compiler.pytorch.options import BackendOptions


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    torch.manual_seed(0)


@pytest.fixture
def compiled(tmp_path):
    """Compiles with TVM alone, without a contest."""
    options = {"trials": 0, "looks": 0, "database": str(tmp_path / "records.db"), "progress": False, "guard": False}
    return lambda f, **more: torch.compile(f, backend="foretune", options={**options, **more})


def outcome(f, *args):
    try:
        return f(*args)
    except Exception as error:
        return type(error)


# -- memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copy",
    [
        lambda x: x.clone(),
        lambda x: torch.cat([x]),
        lambda x: torch.stack([x]),
        lambda x: x + 0,
        lambda x: x * 1,
        lambda x: x.to(torch.float32, copy=True),
        lambda x: x.repeat(1, 1),
        lambda x: F.pad(x, (0, 0)),
        lambda x: x.flip(0).flip(0),
    ],
    ids=["clone", "cat", "stack", "plus 0", "times 1", "to", "repeat", "pad", "flip"],
)
def test_copies_have_memory_of_their_own(compiled, copy):
    run = compiled(lambda x: (torch.tanh(x) * 2, copy(x)))
    x = torch.randn(6, 8)
    kept = x.clone()
    _, copied = run(x)
    copied.add_(1)
    assert torch.equal(x, kept) and torch.equal(copied.view(6, 8), kept + 1)


@pytest.mark.parametrize(
    "parts",
    [
        lambda y: (y, y[0]),
        lambda y: (y, *y.chunk(2)),
        lambda y: y.unbind(0),
        lambda y: (y.narrow(0, 1, 2), y),
        lambda y: (y, y.t()),
        lambda y: (y.view(-1), y[1:].view(-1)),
        lambda y: (y, y),
    ],
    ids=["row", "chunks", "unbound", "narrow", "transposed", "views", "twice"],
)
def test_views_of_outputs_stay_views(compiled, parts):
    def program(x):
        return parts(torch.tanh(x) * 2 + 1)

    def shared(outputs):
        return [[a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr() for b in outputs] for a in outputs]

    x = torch.randn(6, 8)
    found, expected = compiled(program)(x), program(x)
    assert shared(found) == shared(expected)
    for outputs in (found, expected):
        outputs[0].zero_()
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b)


def test_an_old_state_is_not_the_new_one(compiled):
    def average(state, x):
        old = state.clone()
        state.mul_(0.9).add_(x)
        return old, state * 2

    state = torch.ones(8, 8)
    old, twice = compiled(average)(state, torch.ones(8, 8))
    assert torch.equal(old, torch.ones(8, 8)) and torch.allclose(twice, 2 * state)


def test_prepared_weights_are_not_given_out(compiled):
    model = nn.Linear(4, 4)
    run = compiled(lambda x: (model(x), model.weight.t() * 2))
    with torch.no_grad():
        x = torch.randn(2, 4)
        for _ in range(2):
            _, doubled = run(x)
            assert torch.allclose(doubled, model.weight.t() * 2)
            doubled.zero_()


# -- indices ------------------------------------------------------------------------------------------

TABLE = torch.arange(40.0).view(10, 4)


@pytest.mark.parametrize(
    ("program", "good", "bad"),
    [
        (lambda i: TABLE[i] * 2, [1, 2], ([-1, -10], [1, 10], [1, -11])),
        (lambda i: TABLE[i, i - 1] * 2, [1, 2], ([-1, -2], [1, 5])),
        (lambda i: F.embedding(i, TABLE) + 1, [1, 2], ([1, 10], [0, -1], [0, 1 << 40])),
        (lambda i: F.embedding(i + 1, TABLE) + 1, [1, 2], ([1, 9], [0, -2])),
        (lambda i: TABLE.index_select(0, i) * 2, [1, 2], ([-1, 0], [1, 10])),
        (lambda i: TABLE.gather(0, i.view(1, -1).expand(3, 2)) * 2, [1, 2], ([-1, 0], [1, 10])),
        (lambda i: torch.take(TABLE, i) * 2, [1, 2], ([-1, -40], [1, 40])),
        (lambda i: TABLE.scatter(0, i.view(1, 2), 5.0) * 2, [1, 2], ([-1, 0], [1, 10])),
        (lambda i: TABLE.index_copy(0, i[:1], torch.ones(1, 4)) * 2, [1, 2], ([-1, 0], [10, 0])),
        (lambda i: F.cross_entropy(TABLE[:2], i) * 1.5, [1, 2], ([-1, 0], [1, 4], [-100, 1])),
        (lambda i: F.embedding(torch.arange(2), TABLE) * i.view(2, 1), [1, 2], ([-1, 4],)),
    ],
    ids=[
        "rows",
        "elements",
        "embedding",
        "computed",
        "index_select",
        "gather",
        "take",
        "scatter",
        "index_copy",
        "cross_entropy",
        "positions",
    ],
)
def test_negative_indices_wrap_and_illegal_ones_raise(compiled, program, good, bad):
    run = compiled(program)
    for values in (good, *bad):
        i = torch.tensor(values)
        expected, found = outcome(program, i), outcome(run, i)
        if isinstance(expected, type):
            assert found is expected
        else:
            torch.testing.assert_close(found, expected)


# -- weights ------------------------------------------------------------------------------------------


def through_numpy(p):
    p.detach().numpy()[1:-1] *= 2


def in_another_process(p):
    child = torch.multiprocessing.get_context("fork").Process(target=through_numpy, args=(p,))
    child.start()
    child.join()


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.data.mul_(2),
        lambda p: p.data[1:-1].add_(1),
        through_numpy,
        in_another_process,
        lambda p: setattr(p, "data", p.data * 2),
        lambda p: torch.no_grad()(p.mul_)(2),
        lambda p: torch.from_numpy(p.detach().numpy()).sub_(1),
    ],
    ids=["data", "middle rows", "numpy", "process", "new data", "no_grad", "from numpy"],
)
def test_prepared_weights_follow_every_change(compiled, change):
    model = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.BatchNorm1d(16), nn.Linear(16, 16)).eval().share_memory()
    run, x = compiled(model), torch.randn(4, 16)
    with torch.no_grad():
        run(x)
        assert compile_reports()[-1].num_static_inputs
        for p in (*model.parameters(), *model.buffers()):
            if p.dim():
                change(p)
        torch.testing.assert_close(run(x), model(x), rtol=1e-4, atol=1e-4)


def test_assigned_weights_are_used(compiled):
    model, other = nn.Linear(8, 8), nn.Linear(8, 8)
    run, x = compiled(model), torch.randn(4, 8)
    with torch.no_grad():
        run(x)
        model.load_state_dict(other.state_dict(), assign=True)
        torch.testing.assert_close(run(x), other(x))


def test_frozen_weights_are_a_promise_that_explain_tells(compiled):
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    x = torch.randn(4, 16)
    with torch.no_grad():
        frozen = compiled(model, freeze=True)
        torch.testing.assert_close(frozen(x), model(x), rtol=1e-4, atol=1e-5)
        assert "by your promise" in str(explain(model))
        model[0].weight.mul_(2)  # PyTorch counts this one
        torch.testing.assert_close(frozen(x), model(x), rtol=1e-4, atol=1e-5)


def test_frozen_inductor_folds_and_packs(tmp_path):
    from torch._inductor.utils import run_and_get_code

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    backend = Backend(BackendOptions(trials=0, looks=0, progress=False, database=tmp_path / "records.db"), only=FROZEN)
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        found, codes = run_and_get_code(torch.compile(model, backend=backend.compile), x)
        torch.testing.assert_close(found, model(x), rtol=1e-4, atol=1e-5)
    assert any("mkldnn._convolution_pointwise" in code for code in codes)


# -- values -------------------------------------------------------------------------------------------

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    "program",
    [
        lambda x: x - x,
        lambda x: (x + 3) - x,
        lambda x: (x + 1e8) - 1e8,
        lambda x: x * 0,
        lambda x: (x == x) * 2,
        lambda x: (x != x.clone()) * 2,
        lambda x: (~(x < 1)) * 2,
        lambda x: ((x < 1) | (x >= 1)) * 2,
        lambda x: x / x,
        lambda x: torch.where(x > 0, x, -x),
        lambda x: 0 - x,
        lambda x: x.max() + x,
        lambda x: x.std() + x,
        lambda x: (x * 2).amax(0) + 1,
        lambda x: F.max_pool1d(x[None], 2) * 2,
        lambda x: x.bool() ^ (x > 1),
    ],
    ids=[
        "x-x",
        "x+3-x",
        "x+c-c",
        "x*0",
        "x==x",
        "x!=x",
        "not less",
        "less or not",
        "x/x",
        "abs",
        "0-x",
        "max",
        "std",
        "amax",
        "max_pool",
        "bool",
    ],
)
def test_floats_are_no_real_numbers(compiled, program):
    run = compiled(program)
    run(torch.linspace(0.1, 2, 16).view(2, 8))
    hostile = torch.tensor(
        [NAN, INF, -INF, -0.0, 0.0, 1e-40, 1e20, -1e20, 3.4e38, 7.0, -7.0, 1.0, -1.0, 0.5, 1e-20, 2.0]
    )
    for x in (hostile.view(2, 8), -hostile.view(2, 8), torch.full((2, 8), -INF)):
        torch.testing.assert_close(run(x), program(x), equal_nan=True, rtol=1e-4, atol=1e-6)


def test_integers_wrap_around(compiled):
    def program(x):
        return x + 1 > x, x * 3 - x * 2, -x < 0, (x - 1).abs() >= 0

    run = compiled(program)
    for x in (torch.tensor([1, 2]), torch.tensor([2**63 - 1, -(2**63)])):
        for found, expected in zip(run(x), program(x)):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("as_float", [False, True])
def test_queries_without_any_key_give_zero(compiled, as_float):
    def attend(q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    q, k, v = (torch.randn(1, 2, 8, 16) for _ in range(3))
    mask = torch.ones(8, 8, dtype=torch.bool).tril()
    empty = mask.clone()
    empty[3] = False
    run = compiled(attend)
    for m in (mask, empty):
        m = torch.zeros(8, 8).masked_fill(~m, -INF) if as_float else m
        torch.testing.assert_close(run(q, k, v, m), attend(q, k, v, m), rtol=1e-4, atol=1e-5)


def test_groups_of_queries_share_keys(compiled):
    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True, is_causal=True)

    q, k, v = torch.randn(1, 6, 8, 16), torch.randn(1, 2, 8, 16), torch.randn(1, 2, 8, 16)
    with torch.no_grad():
        torch.testing.assert_close(compiled(attend)(q, k, v), attend(q, k, v), rtol=1e-4, atol=1e-5)
    assert compile_reports()[-1].num_regions


@pytest.mark.parametrize(
    "operation", [lambda a, b: a // b, lambda a, b: a % b, lambda a, b: torch.fmod(a, b)], ids=["//", "%", "fmod"]
)
def test_integers_divided_by_zero_raise(compiled, operation):
    run = compiled(lambda a, b: operation(a, b) * 2)
    a = torch.arange(8)
    run(a, torch.full((8,), 3))
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run(a, torch.zeros(8, dtype=torch.long))


# -- effects ------------------------------------------------------------------------------------------

CALLS: list[int] = []


@torch.library.custom_op("foretune_tests::note", mutates_args=())
def note(x: torch.Tensor) -> torch.Tensor:
    CALLS.append(1)
    return x.clone()


@note.register_fake
def _(x):
    return torch.empty_like(x)


@pytest.mark.parametrize("guard", [False, True])
def test_an_operator_of_the_users_runs_once_a_call(compiled, guard):
    def program(x):
        return torch.tanh(torch.ops.foretune_tests.note(x @ x)) * 2

    CALLS.clear()
    run, x = compiled(program, guard=guard), torch.randn(8, 8)
    for count in (1, 2):
        torch.testing.assert_close(run(x), torch.tanh(x @ x) * 2)
        assert len(CALLS) == count
    assert "foretune_tests::note" in compile_reports()[-1].choice.refused["tvm"]


def test_dropout_in_training_goes_to_inductor(compiled):
    model = nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.5), nn.Linear(32, 4)).train()
    compiled(model, guard=True)(torch.randn(4, 16)).sum().backward()
    report = compile_reports()[-1]
    assert (
        report.choice.name == "inductor"
        and "random" in report.choice.refused["tvm"]
        and model[0].weight.grad is not None
    )


@pytest.mark.parametrize("guard", [False, True])
def test_conditions_fall_back_with_a_reason(compiled, guard):
    def program(x):
        return torch.cond(x.sum() > 0, lambda x: x.sin() @ x, lambda x: x.cos() @ x, (x,))

    run = compiled(program, guard=guard)
    for x in (torch.ones(8, 8), -torch.ones(8, 8)):
        torch.testing.assert_close(run(x), program(x))
    assert "control flow" in compile_reports()[-1].choice.refused["tvm"]


def test_collectives_of_two_processes(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, torch, torch.distributed as dist
        import torch.distributed._functional_collectives as collectives
        torch.set_num_threads(1)
        rank = int(sys.argv[1])
        dist.init_process_group("gloo", init_method="file://{tmp_path}/store", rank=rank, world_size=2)
        def f(x):
            return collectives.all_reduce(torch.tanh(x @ x), "sum", dist.group.WORLD) * 2 + x
        x = torch.full((8, 8), 0.01 * (rank + 1))
        run = torch.compile(f, backend="foretune", options=dict(trials=0, looks=0, progress=False, database="{tmp_path}/" + sys.argv[1]))
        with torch.no_grad():
            for _ in range(2):
                torch.testing.assert_close(run(x), f(x))
        dist.destroy_process_group()
    """)  # noqa: E501
    )
    ranks = [
        subprocess.Popen([sys.executable, str(script), str(rank)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=240)
        assert rank.returncode == 0, errors
