"""The modes under which a thread runs PyTorch, which a contest in another thread must run under as well."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch


def modes_of_this_thread() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """What enters the calling thread's modes in another thread, where a graph would be another program without them.

    A new thread has gradients on, and neither inference mode nor autocast.
    """
    gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    casts, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    @contextlib.contextmanager
    def enter() -> Iterator[None]:
        with (
            torch.inference_mode() if inference else contextlib.nullcontext(),
            torch.set_grad_enabled(gradients),
            torch.autocast("cpu", dtype=dtype) if casts else contextlib.nullcontext(),
        ):
            yield

    return enter
