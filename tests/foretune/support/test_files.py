"""Files that are written whole or not at all, and checks before the work."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foretune.errors import DataError
from foretune.support import files
from foretune.support.files import check_writable, remove_half_written, write_atomically


def test_what_can_be_written(tmp_path):
    check_writable(tmp_path / "a.json")
    check_writable(tmp_path / "new" / "folders" / "a.json")
    check_writable(tmp_path, is_folder=True)
    check_writable(tmp_path / "new", is_folder=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "is_folder", "reason"),
    [
        (".", False, "is a folder, but a file is to be written there"),
        ("file", True, "is a file, but a folder is to be written there"),
        ("file/a.json", False, "is not a folder"),
        ("/proc/a.json", False, "choose another folder"),
        ("/proc/new/a.json", False, "choose another folder"),
    ],
)
def test_what_cannot(tmp_path, path, is_folder, reason):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=reason):
        check_writable(tmp_path / path, is_folder)


def test_a_folder_on_a_read_only_medium(tmp_path, monkeypatch):
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(DataError, match="Read-only file system; choose another folder"):
        check_writable(tmp_path / "a.json")


def test_a_full_disk_is_told_as_one_whatever_library_writes(tmp_path):
    def write(path: Path) -> None:
        raise RuntimeError(f"I/O error: {os.strerror(errno.ENOSPC)} (os error 28)")

    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(tmp_path / "a", write)
    assert caught.value.filename == str(tmp_path / "a") and list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from foretune.support.files import write_atomically
def write(path):
    path.write_text("half")
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    print("writing", flush=True)
    sys.stdin.readline()
write_atomically(Path(sys.argv[1]), write)
"""


def test_what_a_killed_process_half_wrote_goes_with_the_next_one(tmp_path):
    path = tmp_path / "a[1].json"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, path, "die"], check=False)
        assert len(list(tmp_path.iterdir())) == 1
    command = [sys.executable, "-c", KILLED, path, "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "writing\n"
        write_atomically(path, lambda temporary: temporary.write_text("whole"))
        assert len(list(tmp_path.iterdir())) == 2  # what another process is writing stays
        other.communicate("go on\n")
    assert path.read_text() == "half" and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_folder_is_cleared_of_all_that_was_half_written(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a", "die"], check=False)
    (tmp_path / ".b.x1.tmp").write_text("of an older release")
    (tmp_path / ".c").write_text("")
    remove_half_written(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".c"]
