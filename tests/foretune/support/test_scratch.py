"""Folders for working files: gone when they are closed, or with the next one if their process was killed."""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from foretune.support.scratch import ScratchFolder, step_folder

HOLDS = "import sys, time\nfrom foretune.support.scratch import step_folder\nwith step_folder() as folder:\n    {}\n"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_steps_within_steps(own_folder):
    with step_folder() as outer, step_folder() as inner:
        (outer / "a").write_text("")
        with step_folder():
            pass
        assert outer.is_dir() and inner.is_dir() and (outer / "a").exists()
    assert list(own_folder.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_step():
    code = HOLDS.format("print(folder, flush=True)\n    time.sleep(600)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        left = Path(process.stdout.readline().strip())
        with step_folder():
            assert left.is_dir()  # while it lives
        process.kill()
    assert left.is_dir()
    with step_folder():
        assert not left.exists()


def test_a_folder_that_is_being_made_is_left_alone(own_folder):
    (own_folder / "foretune-x-1").mkdir()
    with ScratchFolder("foretune-x-"):
        assert (own_folder / "foretune-x-1").is_dir()


def test_it_goes_when_nothing_refers_to_it(own_folder):
    scratch = ScratchFolder("foretune-x-")
    path = scratch.path
    del scratch
    gc.collect()
    assert not path.exists()
    code = "from foretune.support.scratch import ScratchFolder\nkept = ScratchFolder('foretune-x-')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(own_folder.iterdir()) == []
