"""All subjects."""

from __future__ import annotations

from tests.fuzz import language, logs, stored

SUBJECTS = [*logs.SUBJECTS, *stored.SUBJECTS, *language.SUBJECTS]
