"""PyTorch on one thread, while something is planned between measurements."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from foretune.costmodel.latent.threads import threads_of_this_thread


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Has PyTorch compute on one thread where this thread calls it; as a decorator, too.

    Its other threads go on spinning for a while when their work is done, when kernels are to be timed; where the
    machine is busy they wait for each other, which makes a search ten times as long. The model is too small to gain
    from them.
    """
    with threads_of_this_thread(1):
        yield
