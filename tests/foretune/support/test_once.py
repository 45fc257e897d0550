"""A warning is said once a process."""

from __future__ import annotations

import logging

from foretune.support.once import warn_once


def test_a_text_is_a_warning_once(caplog):
    log = logging.getLogger("foretune.tests")
    with caplog.at_level(logging.INFO, log.name):
        for name in ("a", "b", "a"):
            warn_once(log, "%s stays with PyTorch: %d of %d", name, 1, 2)
        warn_once(log, "100 % as it is")
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, "a stays with PyTorch: 1 of 2"),
        (logging.WARNING, "b stays with PyTorch: 1 of 2"),
        (logging.INFO, "a stays with PyTorch: 1 of 2"),
        (logging.WARNING, "100 % as it is"),
    ]
