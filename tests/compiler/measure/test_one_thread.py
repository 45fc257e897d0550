"""PyTorch on one thread where planning asks for it, and nowhere else in the process."""

from __future__ import annotations

import threading

import pytest
import torch

from foretune.compiler.measure.one_thread import one_torch_thread


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def in_another_thread(function):
    """What a function returns in a thread that begins now."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_it_holds_inside_and_ends():
    with one_torch_thread():
        assert torch.get_num_threads() == 1
        with one_torch_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_threads_that_begin_meanwhile_are_left_alone():
    inside, outside = threading.Event(), threading.Event()

    @one_torch_thread()
    def plan():
        inside.set()
        outside.wait(30)
        return torch.get_num_threads()

    found = []
    planner = threading.Thread(target=lambda: found.append(plan()))
    planner.start()
    assert inside.wait(30)
    begun = [torch.get_num_threads(), in_another_thread(torch.get_num_threads)]
    server = threading.Thread(
        target=lambda: (
            begun.append(torch.get_num_threads()),
            outside.wait(30),
            planner.join(),
            begun.append(torch.get_num_threads()),
        )
    )
    server.start()
    outside.set()
    planner.join()
    server.join()
    assert begun == [2, 2, 2, 2] and found == [1]


def test_what_the_program_sets_meanwhile_stays():
    inside, outside = threading.Event(), threading.Event()

    def plan():
        with one_torch_thread():
            inside.set()
            outside.wait(30)

    planner = threading.Thread(target=plan)
    planner.start()
    assert inside.wait(30)
    torch.set_num_threads(3)
    outside.set()
    planner.join()
    assert torch.get_num_threads() == 3 and in_another_thread(torch.get_num_threads) == 3


def test_an_error_ends_it():
    with pytest.raises(KeyError), one_torch_thread():
        raise KeyError
    assert torch.get_num_threads() == 2
