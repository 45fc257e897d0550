"""Programs under measurement that misbehave: what they start is ended, and what they exceed is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foretune.errors import OptionError, UnsupportedError
from foretune.passes.llvm.actions import BASELINE
from foretune.passes.llvm.execution import running
from foretune.passes.llvm.execution.outcome import Input, RunOptions
from foretune.passes.llvm.measure import PassMeasurer, PassMeasureSettings
from foretune.passes.llvm.program import BuildOptions, load_programs
from foretune.support.scratch import ScratchFolder
from tests.passes.llvm.test_measure import load

HEADERS = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <signal.h>\n#include <unistd.h>\n"
SLEEPERS = (
    HEADERS
    + "int main(void) { for (int i = 0; i < 40; i++) if (!fork()) { if (i % 2) setsid(); sleep(600); _exit(0); }"
    ' puts("done"); return 0; }\n'
)
ORPHANS_OF_ORPHANS = (
    HEADERS
    + "int main(void) { if (!fork()) { setsid(); if (!fork()) { setsid(); if (!fork()) sleep(600); sleep(600); }"
    " _exit(0); } return 5; }\n"
)
PRINTS_FOREVER = HEADERS + 'int main(void) { for (;;) puts("0123456789012345678901234567890123456789"); }\n'
PRINTS_IN_A_CHILD = (
    HEADERS + 'int main(void) { if (!fork()) { setsid(); for (;;) puts("0123456789012345678901234567890123456789"); }'
    " sleep(600); }\n"
)
MANY_PROCESSES = (
    HEADERS
    + "int main(void) { for (int i = 0; i < 64; i++) if (!fork()) { sleep(600); _exit(0); } sleep(600); return 0; }\n"
)
MUCH_MEMORY = (
    HEADERS
    + "int main(void) { for (int i = 0; i < 4; i++) if (!fork()) { char *volatile p = malloc(100 << 20); memset(p, 1,"
    " 100 << 20); sleep(600); } sleep(600); }\n"
)
SHARED_MEMORY = (
    HEADERS
    + """int main(void) {
  char *p = malloc(100 << 20); memset(p, 1, 100 << 20);
  for (int i = 0; i < 8; i++) if (!fork()) { usleep(300000); _exit(p[i << 20] - 1); }
  usleep(400000); puts("shared"); return 0; }
"""
)
KILLS_ITSELF = HEADERS + "int main(void) { kill(getpid(), SIGKILL); return 0; }\n"
IGNORES_THE_CLOCK = HEADERS + "int main(void) { signal(SIGXCPU, SIG_IGN); for (volatile long i = 0;; i++); }\n"


def our_processes(folder: Path) -> list[int]:
    """Processes that run a program in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                Path(os.readlink(process / "exe")).is_relative_to(folder)
                and "State:\tZ" not in (process / "status").read_text()
            ):
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("text", "code"), [(SLEEPERS, 0), (ORPHANS_OF_ORPHANS, 5)], ids=["sleepers", "orphans"])
def test_children_that_outlive_a_run_are_ended(measurer, tmp_path, text, code):
    program = load(tmp_path, text)
    ran = measurer._run(program, measurer.build(program, BASELINE).executable).ran
    assert (ran.status, ran.exit) == ("ok", code)
    assert our_processes(measurer._folder) == []


LIMITED = [
    (PRINTS_FOREVER, "run_error", "the program wrote more than 64 MiB"),
    (PRINTS_IN_A_CHILD, "run_error", "the program wrote more than 64 MiB"),
    (MANY_PROCESSES, "run_error", "the program started more than 32 processes"),
    (MUCH_MEMORY, "run_error", "the program's processes took more than 256 MiB together"),
    (SHARED_MEMORY, "ok", ""),
    (KILLS_ITSELF, "run_error", "the program was killed by signal 9"),
    (IGNORES_THE_CLOCK, "run_timeout", "no end within 2 s"),
]


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    LIMITED,
    ids=["prints", "prints in a child", "processes", "memory", "shared", "kills itself", "clock"],
)
def test_limits(measurer, tmp_path, monkeypatch, text, status, reason):
    program = load(tmp_path, text)
    build = measurer.build(program, BASELINE)
    monkeypatch.setattr(
        measurer, "settings", PassMeasureSettings(run_timeout_secs=2, max_processes=32, memory_bytes=256 << 20)
    )
    ran = measurer._run(program, build.executable).ran
    assert (ran.status, ran.error) == (status, reason)
    assert our_processes(measurer._folder) == []


def test_a_run_that_ends_by_the_clock_of_the_processor_is_a_timeout(tmp_path):
    """Where the wall clock does not end it: more time passes for two threads than for the clock."""
    usage = type("Usage", (), {"ru_utime": 2.9, "ru_stime": 0.1})()
    request = running.RunProgram(
        command=("/bin/true",),
        folder=str(tmp_path),
        stdin=os.devnull,
        stdout=str(tmp_path / "out"),
        timeout_secs=2,
        memory_bytes=1 << 30,
        max_processes=8,
    )
    replies = []
    for code, own in (
        (signal.SIGKILL, usage),
        (signal.SIGXCPU, usage),
        (signal.SIGKILL, type("Usage", (), {"ru_utime": 0.1, "ru_stime": 0.0})()),
    ):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(running, "_start", lambda request: 1)
            patched.setattr(running, "_limit", lambda *_: None)
            patched.setattr(running, "_wait", lambda *_, code=code, own=own: running._End(int(code), own))
            replies.append(running.run(request).status)
    assert replies == ["run_timeout", "run_timeout", "run_error"]


KILLED = """
import sys, time
from pathlib import Path
from foretune.passes.llvm.actions import BASELINE
from foretune.passes.llvm.measure import PassMeasurer, PassMeasureSettings
from foretune.passes.llvm.program import load_programs
measurer = PassMeasurer(PassMeasureSettings(run_timeout_secs=300))
program = load_programs(Path(sys.argv[1]), Path(sys.argv[2]))[0]
build = measurer.build(program, BASELINE)
print(measurer._folder, flush=True)
measurer._run(program, build.executable)
"""
HANGS_WITH_A_CHILD = HEADERS + "int main(void) { if (!fork()) { setsid(); sleep(600); } sleep(600); return 0; }\n"


def test_nothing_is_left_of_a_tuner_that_was_killed(toolchain, tmp_path):
    (tmp_path / "program.c").write_text(HANGS_WITH_A_CHILD)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "program.c"), str(tmp_path)]
    tuner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    folder = Path(tuner.stdout.readline().strip())
    deadline = time.monotonic() + 30
    while len(our_processes(folder)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(our_processes(folder)) == 2 and folder.is_dir()
    tuner.kill()
    tuner.communicate()
    with ScratchFolder("foretune-passes-") as scratch:
        assert not folder.exists() and our_processes(folder) == []
        with ScratchFolder("foretune-passes-"):
            assert scratch.path.is_dir()
    assert not scratch.path.exists()


def test_the_sandbox(toolchain, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="needs bubblewrap's `bwrap`, which is not installed"):
        PassMeasurer(PassMeasureSettings(sandbox=True))
    (tmp_path / "bwrap").write_text("#!/bin/sh\n")
    (tmp_path / "bwrap").chmod(0o755)
    command = running.sandboxed(["/x/program", "-n"], Path("/x/run"), [Path("/x/program")])
    assert command[0] == str(tmp_path / "bwrap") and command[-3:] == ["--", "/x/program", "-n"]
    assert {"--unshare-all", "--die-with-parent"} <= set(command)
    assert command[command.index("--bind") : command.index("--bind") + 3] == ["--bind", "/x/run", "/x/run"]


FAKE_BWRAP = """#!/bin/sh
echo "$@" >> {log}
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
PRINTS_A_FILE = (
    HEADERS
    + """int main(int n, char **words) {
  int c; FILE *in = fopen(words[1], "r"), *out = fopen("written", "w");
  while ((c = getc(in)) != EOF) putc(c, out);
  if (!fork()) { sleep(600); _exit(0); }
  return fclose(out); }
"""
)


def test_further_inputs_are_in_the_sandbox_and_written_files_are_compared(toolchain, tmp_path, monkeypatch):
    """Bubblewrap is played by a script, which notes its words and runs the program."""
    log, timed, further = (tmp_path / name for name in ("log", "timed", "further"))
    timed.write_text("1\n")
    further.write_text("2\n")
    (tmp_path / "bwrap").write_text(FAKE_BWRAP.format(log=log))
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "program.c").write_text(PRINTS_A_FILE)
    options = BuildOptions(arguments=(str(timed),), run=RunOptions(checks=(Input((str(further),)),)))
    program = load_programs(tmp_path / "program.c", tmp_path, options)[0]
    with PassMeasurer(PassMeasureSettings(sandbox=True), toolchain) as measurer:
        prepared = measurer.prepare(program)
        assert prepared.expected != prepared.checks[0]
        assert measurer.check(prepared, prepared.baseline) == ""
        assert our_processes(measurer._folder) == []
    runs = log.read_text().splitlines()
    assert len(runs) == 7 and [f"--ro-bind {further} {further}" in run for run in runs] == [False] * 3 + [True] * 4


def test_settings_of_processes():
    with pytest.raises(OptionError, match="`max_processes > 0` must hold"):
        PassMeasureSettings(max_processes=0)
