"""The actions as a list for people: passes, flags and macros, their tiers, and the reasons for these."""

from __future__ import annotations

from typing import Any

from foretune.passes.llvm.tables import FLAGS, LEFT_FLAGS, LEFT_PASSES, PASSES, PassKind
from foretune.passes.llvm.tuning.macros import MACROS

_USED, _OPT_IN, _RELAXED, _LEFT = "used", "opt-in", "with a tolerance", "left the grammar"


def list_steps() -> list[dict[str, Any]]:
    """A row for each step: `step`, `kind`, `tier`, `intents`, `settings` and `reason`."""
    rows = [
        _row(macro.name, "macro", macro.intents, str(macro.sequence), "; ".join(macro.sequence.held_back), macro.why)
        for macro in MACROS.values()
    ]
    rows += [_pass_row(name, kind) for name, kind in PASSES.items()]
    rows += [
        _row(
            f"-{name}",
            "flag",
            kind.intents,
            " ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in kind.values),
            kind.opt_in,
        )
        for name, kind in FLAGS.items()
    ]
    left = [
        *((name, "pass", reason) for name, reason in LEFT_PASSES.items()),
        *((f"-{name}", "flag", reason) for name, reason in LEFT_FLAGS.items()),
    ]
    return rows + [
        {"step": name, "kind": kind, "tier": _LEFT, "intents": [], "settings": "", "reason": reason}
        for name, kind, reason in left
    ]


def _pass_row(name: str, kind: PassKind) -> dict[str, Any]:
    row = _row(name, "pass", kind.intents, _settings(kind), kind.opt_in)
    reason = "it changes what a program computes; passes tune --tolerance relaxes -O3 and all candidates alike"
    return {**row, "tier": _RELAXED, "reason": reason} if kind.relaxes else row


def _row(step: str, kind: str, intents: tuple[str, ...], settings: str, opt_in: str, why: str = "") -> dict[str, Any]:
    return {
        "step": step,
        "kind": kind,
        "tier": _OPT_IN if opt_in else _USED,
        "intents": list(intents),
        "settings": settings,
        "reason": opt_in or why,
    }


def _settings(kind: PassKind) -> str:
    words = [f"[no-]{name}" for name in kind.switches]
    words += [f"{name}={'|'.join(map(str, values))}" for name, values in dict(kind.numbers).items()]
    words += [f"{name}=PASS" for name in kind.places]
    return " ".join([*words, *("|".join(known) for known in dict(kind.words).values())])
