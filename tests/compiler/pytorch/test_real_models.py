"""The torch.compile backend on what real models do: state, aliases, strides, types, gradients, threads, copies."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foretune.compiler.pytorch.backend import compile_reports


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    torch.manual_seed(0)


def unguarded(folder):
    return {"trials": 0, "looks": 0, "database": str(folder / "records.db"), "progress": False, "guard": False}


@pytest.fixture(params=[True, False], ids=["guarded", "tvm"])
def options(request, tmp_path):
    return {**unguarded(tmp_path), "guard": request.param}


def compiled_and_plain(program, options, **more):
    """The program compiled, and a copy of it that is not."""
    plain = copy.deepcopy(program)
    return torch.compile(program, backend="foretune", options=options, **more), plain


def assert_same(actual, expected, tolerance=1e-3):
    if isinstance(expected, (tuple, list)):
        assert type(actual) is type(expected) and len(actual) == len(expected)
        for a, e in zip(actual, expected):
            assert_same(a, e, tolerance)
    elif isinstance(expected, torch.Tensor):
        assert (
            actual.shape == expected.shape and actual.dtype == expected.dtype and actual.stride() == expected.stride()
        )
        torch.testing.assert_close(
            actual,
            expected,
            rtol=tolerance,
            atol=tolerance * max(1e-3, expected.abs().max().item() if expected.numel() else 0),
            equal_nan=True,
        )
    else:
        assert actual == expected


class Mlp(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, width))

    def forward(self, x):
        return self.body(x)


PROGRAMS = {
    "scalar tensor": (lambda x: torch.tanh(x) * 2 + 1, lambda: [torch.tensor(0.3)]),
    "size zero": (lambda x: (torch.relu(x) @ x.t(), x.sum()), lambda: [torch.randn(0, 5)]),
    "integers": (
        lambda x, i: F.embedding(i, x) * 2 + i.unsqueeze(-1),
        lambda: [torch.randn(10, 4), torch.randint(10, (6,))],
    ),
    "integer arithmetic": (lambda i: (i * 3 + 1) // 2 % 5, lambda: [torch.arange(-20, 20)]),
    "booleans": (lambda x, m: torch.where(m, x, -x).exp(), lambda: [torch.randn(8, 8), torch.rand(8, 8) > 0.5]),
    "double": (lambda x: torch.softmax(x * 3, -1) @ x, lambda: [torch.randn(6, 6, dtype=torch.float64)]),
    "half": (lambda x: torch.softmax(x * 3, -1) + x, lambda: [torch.randn(16, 16).half()]),
    "bfloat16": (lambda x: torch.softmax(x * 3, -1) + x, lambda: [torch.randn(16, 16).bfloat16()]),
    "complex": (lambda x: (x * x.conj()).real + x.abs(), lambda: [torch.randn(8, dtype=torch.complex64)]),
    "transposed": (lambda x: torch.relu(x) * 2 + x.sum(0), lambda: [torch.randn(12, 7).t()]),
    "expanded": (lambda x: torch.sigmoid(x) + x, lambda: [torch.randn(1, 5).expand(4, 5)]),
    "strided and offset": (lambda x: torch.exp(x) - x, lambda: [torch.randn(10, 30)[1::2, 3:20:3]]),
    "channels last": (
        lambda x: F.avg_pool2d(torch.relu(x) + 1, 2),
        lambda: [torch.randn(2, 8, 8, 8).contiguous(memory_format=torch.channels_last)],
    ),
    "transposed output": (lambda x: torch.relu(x + 1).t(), lambda: [torch.randn(6, 9)]),
    "output is an input": (lambda x: (x, torch.relu(x) + 1), lambda: [torch.randn(6, 9)]),
    "output is a view of an input": (lambda x: (x[1:], torch.exp(x).sum(0)), lambda: [torch.randn(6, 9)]),
    "outputs alias": (lambda x: (lambda y: (y, y.view(-1), y.t()))(torch.relu(x) + 1), lambda: [torch.randn(6, 9)]),
    "same input twice": (lambda x, y: torch.exp(x) * y + 1, lambda: [torch.ones(4, 4)] * 2),
    "numbers and none": (lambda x: (torch.relu(x) + x.shape[0], x.shape[1], None), lambda: [torch.randn(3, 4)]),
    "random": (lambda x: x + torch.rand_like(x) * 0, lambda: [torch.randn(8, 8)]),
    "constant": (lambda x: torch.arange(8.0) * x + torch.ones(8), lambda: [torch.randn(8, 8)]),
    "sort and index": (lambda x: x[torch.argsort(x[:, 0])].cumsum(0), lambda: [torch.randn(8, 8)]),
    "nan and infinity": (lambda x: torch.log(x) + 1 / x, lambda: [torch.tensor([[-1.0, 0.0, 2.0, float("inf")]])]),
    "data dependent size": (lambda x: torch.relu(x[x > 0]) + 1, lambda: [torch.randn(20)]),
}


@pytest.mark.parametrize("guard", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["tvm", "guarded"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name, guard, tmp_path):
    options = {**unguarded(tmp_path), "guard": guard}
    function, make = PROGRAMS[name]
    inputs = make()
    compiled = torch.compile(function, backend="foretune", options=options)
    with torch.no_grad():
        expected = function(*inputs)
        for _ in range(2):
            assert_same(compiled(*inputs), expected, 2e-2 if name in ("half", "bfloat16") else 1e-3)


def test_inputs_changed_in_place(options):
    def step(cache, x):
        cache[:, 1] = x
        x.mul_(2)
        return torch.softmax(cache, -1) + x.unsqueeze(1)

    compiled = torch.compile(step, backend="foretune", options=options)
    cache, x = torch.randn(4, 3, 8), torch.randn(4, 8)
    ours, theirs = (cache.clone(), x.clone()), (cache.clone(), x.clone())
    for _ in range(3):
        assert_same(compiled(*ours), step(*theirs))
        assert_same(ours, theirs)


def test_buffers_that_change(options):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.register_buffer("steps", torch.zeros(1))
            self.register_buffer("mean", torch.zeros(8))

        def forward(self, x):
            self.steps += 1
            y = torch.tanh(self.linear(x))
            self.mean = 0.9 * self.mean + 0.1 * y.mean(0)
            return y - self.mean / self.steps

    compiled, plain = compiled_and_plain(Counter(), options)
    with torch.no_grad():
        for _ in range(4):
            x = torch.randn(5, 8)
            assert_same(compiled(x), plain(x))
    assert_same([compiled.steps, compiled.mean], [plain.steps, plain.mean])


def test_running_statistics_that_change_unseen(options):
    compiled, plain = compiled_and_plain(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval(), options
    )
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert_same(compiled(x), plain(x))
        for model in (compiled._orig_mod, plain):
            y = model[0](x)
            F.batch_norm(y, model[1].running_mean, model[1].running_var, training=True)
        assert_same(compiled(x), plain(x))


def test_tied_weights(options):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(20, 16), nn.Linear(16, 20, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, i):
            return self.head(torch.tanh(self.embedding(i)))

    compiled, plain = compiled_and_plain(Tied().eval(), options)
    i = torch.randint(20, (3, 4))
    with torch.no_grad():
        assert_same(compiled(i), plain(i))
        for model in (compiled, plain):
            model.embedding.weight.mul_(2)
        assert_same(compiled(i), plain(i))


def test_training_goes_the_same_way(options):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(F.relu(self.norm(self.conv(x))).mean((2, 3)))

    compiled, plain = compiled_and_plain(Net(), options)
    x, labels = torch.randn(4, 3, 8, 8), torch.randint(4, (4,))
    for _ in range(3):
        losses = []
        for model in (compiled, plain):
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        assert_same(*losses)
    assert_same(compiled.norm.running_mean, plain.norm.running_mean)
    for ours, theirs in zip(compiled.parameters(), plain.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    compiled.eval(), plain.eval()
    with torch.no_grad():
        assert_same(compiled(x), plain(x))


def test_gradients_of_inputs(options):
    compiled, plain = compiled_and_plain(Mlp(), options)
    ours, theirs = (torch.ones(3, 32, requires_grad=True) for _ in range(2))
    compiled(ours).square().sum().backward()
    plain(theirs).square().sum().backward()
    assert_same(ours.grad, theirs.grad)


@pytest.mark.parametrize("dynamic", [None, True])
def test_dynamic_shapes(options, dynamic, caplog):
    compiled, plain = compiled_and_plain(Mlp().eval(), options, dynamic=dynamic)
    num_before = len(compile_reports())
    with torch.no_grad():
        for rows in (3, 5, 17, 1, 4):
            x = torch.randn(rows, 32)
            assert_same(compiled(x), plain(x))
    reasons = [report.choice.refused.get("tvm", "") for report in compile_reports()[num_before:]]
    assert any("shapes are dynamic: s" in reason for reason in reasons)


def test_graph_breaks(options):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Mlp(), Mlp()

        def forward(self, x):
            y = self.first(x).t()
            torch._dynamo.graph_break()
            y = y.t().contiguous().view(-1, 32)
            return self.second(y) if y.sum() > 0 else self.second(-y)

    compiled, plain = compiled_and_plain(Broken().eval(), options)
    num_before = len(compile_reports())
    with torch.no_grad():
        x = torch.randn(4, 32)
        assert_same(compiled(x), plain(x))
    assert len(compile_reports()) - num_before >= 2


def test_a_whole_graph_is_asked_for(options):
    compiled, plain = compiled_and_plain(Mlp().eval(), options, fullgraph=True)
    with torch.no_grad():
        assert_same(compiled(torch.ones(4, 32)), plain(torch.ones(4, 32)))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradient_modes(options, context):
    compiled, plain = compiled_and_plain(Mlp().eval(), options)
    for _ in range(2):
        with context():
            x = torch.randn(4, 32)
            actual, expected = compiled(x), plain(x)
        assert actual.requires_grad == expected.requires_grad
        assert_same(actual.detach(), expected.detach())


def test_weights_made_in_inference_mode(options):
    with torch.inference_mode():
        compiled, plain = compiled_and_plain(Mlp().eval(), options)
        x = torch.randn(4, 32)
        for _ in range(2):
            assert_same(compiled(x), plain(x))
            for model in (compiled, plain):
                model.body[0].weight.mul_(0.5)


def test_autocast(options):
    compiled, plain = compiled_and_plain(Mlp().eval(), options)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        x = torch.randn(4, 32)
        assert_same(compiled(x), plain(x), 5e-2)


def test_autocast_turned_off_inside(options):
    def partly(x):
        with torch.autocast("cpu", enabled=False):
            product = x @ x.t()
        return product.sinh() + 1, torch.fft.fft(
            x @ x.t()
        ).real  # an operator that stays with PyTorch, and so the products around it

    x = torch.randn(16, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, expected = torch.compile(partly, backend="foretune", options=options)(x), partly(x)
    assert found[0].dtype == torch.float32
    assert_same(found[0], expected[0], 1e-4)


def test_several_threads_call_at_once(options):
    compiled, plain = compiled_and_plain(Mlp().eval(), options)
    inputs = [torch.randn(16, 32) for _ in range(4)]
    with torch.no_grad():
        expected = [plain(x) for x in inputs]
        compiled(inputs[0])
    wrong = []

    def call(i):
        with torch.no_grad():
            for _ in range(50):
                if not torch.allclose(compiled(inputs[i]), expected[i], atol=1e-4):
                    wrong.append(i)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_copies_and_pickles(options):
    model = Mlp().eval()
    model.compile(backend="foretune", options=options)
    x = torch.randn(4, 32)
    with torch.no_grad():
        expected = model(x)
        for other in (
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            copy.deepcopy(torch.compile(model, backend="foretune", options=options)),
        ):
            assert_same(other(x), expected)


def test_random_operators_go_to_inductor_without_a_contest(options):
    def program(x):
        return torch.relu(F.dropout(x, 0.5) + torch.rand(4, 64))

    compiled = torch.compile(program, backend="foretune", options=options)
    x = torch.ones(4, 64)
    first, second = compiled(x), compiled(x)
    assert not torch.equal(first, second)
    with torch._inductor.config.patch(fallback_random=True):  # PyTorch's own numbers, which can be compared
        torch._dynamo.reset()
        torch.manual_seed(1)
        expected = program(x)
        torch.manual_seed(1)
        assert torch.equal(compiled(x), expected)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("mask", ["none", "padding", "causal"])
def test_encoder_layers_are_not_one_operator(tmp_path, norm_first, mask):
    options = unguarded(tmp_path)
    layer = nn.TransformerEncoderLayer(16, 2, 32, norm_first=norm_first, activation="gelu", batch_first=True).eval()
    x = torch.randn(2, 5, 16)
    masks = {
        "none": {},
        "padding": {"src_key_padding_mask": torch.tensor([[False] * 5, [False] * 3 + [True] * 2])},
        "causal": {"src_mask": nn.Transformer.generate_square_subsequent_mask(5)},
    }[mask]
    compiled, plain = compiled_and_plain(layer, options)
    with torch.no_grad():
        assert_same(compiled(x, **masks), plain(x, **masks))
    report = compile_reports()[-1]
    assert report.num_regions >= 1 and not any("encoder_layer" in name for name in report.eager_operators)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_one_row_is_written_into_a_cache(options, dim):
    def write(cache, place, row):
        return cache.index_copy(dim, place, row) * 2

    shape = [4, 5, 6]
    shape[dim] = 1
    compiled, plain = compiled_and_plain(write, options)
    for place in (0, 3):
        inputs = torch.randn(4, 5, 6), torch.tensor([place]), torch.randn(shape)
        assert_same(compiled(*inputs), plain(*inputs))
