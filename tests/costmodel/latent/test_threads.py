"""Work shared among threads comes back in order, errors included, and PyTorch's own number of threads stays."""

from __future__ import annotations

import threading

import pytest
import torch

from foretune.costmodel.latent.threads import in_threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order(two_threads):
    barrier = threading.Barrier(2, timeout=30)

    def square(item: int) -> tuple[int, int, int]:
        if item < 2:
            barrier.wait()  # the first two are worked on at the same time
        return item * item, torch.get_num_threads(), threading.get_ident()

    results = in_threads(square, range(9))
    assert [r[0] for r in results] == [i * i for i in range(9)]
    assert {r[1] for r in results} == {1} and len({r[2] for r in results}) == 2
    assert torch.get_num_threads() == 2


def test_an_error_is_raised(two_threads):
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda item: 1 // item, [1, 0])
    assert torch.get_num_threads() == 2


def test_one_item_stays_in_this_thread(two_threads):
    assert in_threads(lambda item: threading.get_ident(), [0]) == [threading.get_ident()]
