"""Programs run under a schedule, beside their default lowering."""

from __future__ import annotations

from foretune.record import Status


def run_beside_default(session, source, schedule):
    """The run of a scheduled program, whose outputs are those of the default lowering."""
    kept = session.file(".npz")
    assert session.run(session.build(source, "main"), keep=kept).status is Status.OK
    build = session.build(source, "main", schedule)
    assert build.status is Status.OK, build.error
    run = session.run(build, reference=kept)
    assert run.status is Status.OK, run.error
    return run
