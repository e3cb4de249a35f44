"""Locks where a file system has none, and writes that fail: no hang, but the true cause and what helps.

The tests run as any user, root too: a folder that is not writable is a file in its place, or `deny` makes
the system's calls fail in it.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from filelock import Timeout
from PIL import Image
from reproduction import rows, runs
from timing import timed

from glimpse_env.datasets import archive, store
from glimpse_env.runtime import files, terminal
from glimpse_env.sensors import feature_cache

NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO]
ROOT = Path(__file__).parents[2]
Deny = Callable[..., None]

unix = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the path of an open file")


@pytest.fixture
def lockless(monkeypatch) -> Callable[[int, Path | None], None]:
    """Let locking fail in a folder (None = everywhere), as on file systems without locks."""
    import fcntl

    real = fcntl.flock

    def arrange(number: int, folder: Path | None) -> None:
        def flock(stream, operation):
            descriptor = stream if isinstance(stream, int) else stream.fileno()
            if folder is None or Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(folder):
                raise OSError(number, os.strerror(number))
            real(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", flock)

    return arrange


@pytest.fixture
def deny(monkeypatch) -> Deny:
    """Let calls that write fail in a folder, as the system's do."""

    def arrange(
        number: int, folder: Path, calls: tuple[str, ...] = ("open", "mkdir", "unlink", "replace", "touch")
    ):
        for name in calls:
            real = getattr(Path, name)

            def fail(self, *given, _real=real, _name=name, **more):
                reads = _name == "open" and (given or ("r",))[0] in ("r", "rb")
                known = _name == "mkdir" and self.is_dir()
                if self.absolute().is_relative_to(folder) and not reads and not known:
                    raise OSError(number, os.strerror(number), str(self))
                return _real(self, *given, **more)

            monkeypatch.setattr(Path, name, fail)

    return arrange


@pytest.fixture
def photographs(tmp_path, monkeypatch) -> Path:
    """Six pictures in two classes, and a cache folder."""
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "glimpse_env.datasets.sources.paths.MANY", 3
    )  # a folder of so many photographs has a store
    for number in range(6):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9, 3), 40 * number, np.uint8)).save(path)
    return tmp_path / "data"


def open_photographs(folder: Path) -> store.Store:
    """Open their store."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    return store.open_store("six", folder, names, 8, "stretch")


def open_table(file: Path) -> torch.Tensor:
    """Open a table of five images, whose features are their indices."""
    return feature_cache.open_or_build(
        file, (5, 1, 2), lambda part: part[:, None, None].expand(-1, 1, 2), 2, "bank"
    )


@unix
@pytest.mark.parametrize("number", NO_LOCKS)
@pytest.mark.parametrize("everywhere", [False, True])
def test_where_there_are_no_locks_all_that_uses_them_works_and_warns(
    lockless, photographs, tmp_path, caplog, number, everywhere, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    lockless(number, None if everywhere else tmp_path / "cache")
    assert open_photographs(photographs).images[:, 0, 0, 0].tolist() == [0, 80, 160, 40, 120, 200]
    assert open_table(tmp_path / "cache" / "bank.npy")[:, 0, 1].tolist() == [0, 1, 2, 3, 4]
    rows.add(tmp_path / "cache" / "rows.jsonl", [])
    timed.append(tmp_path / "cache" / "times.jsonl", {"a": 1})
    done: list[int] = []
    runs.share_work({tmp_path / "cache" / "run": 1}, done.append, lambda _: True)
    assert done == [1]
    left = [path.name for path in (tmp_path / "cache").iterdir() if "lock" not in path.name]
    assert sorted(name.rpartition("-")[2] for name in left if ".images" not in name) == [
        "bank.npy",
        "times.jsonl",
    ]
    assert len(left) == 3  # no partial file
    with pytest.raises(archive.tarfile.TarError):  # the file is no archive: the lock was not in the way
        (tmp_path / "cache" / "a.tar").write_bytes(b"no archive")
        md5 = "b8e8a6e2f0a2c1f9ed8a3f4a7c2a4f59"
        monkeypatch.setattr("torchvision.datasets.utils.check_integrity", lambda *_: True)
        about = archive.Archive(
            "a", "A", ("a",), (), 2, lambda *_: pytest.fail(""), (("http://localhost/a.tar", md5),)
        )
        archive.fetch(about, tmp_path / "cache")
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 6
    advice = "do not start two processes" if everywhere else "do not start processes on two machines"
    for warning in warnings:
        assert f"the file system of {tmp_path}/cache has no locks ({os.strerror(number)})" in warning
        assert advice in warning


@unix
def test_the_processes_of_one_machine_exclude_each_other_where_the_file_system_has_no_locks(
    lockless, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    lockless(errno.ENOLCK, tmp_path / "nfs")
    with files.lock(tmp_path / "nfs" / "a.lock") as everywhere:
        assert everywhere is False
        with pytest.raises(Timeout), files.lock(tmp_path / "nfs" / "a.lock", wait=False):
            pass
        with files.lock(tmp_path / "nfs" / "b.lock", wait=False):
            pass
        waiting = threading.Thread(target=lambda: files.lock(tmp_path / "nfs" / "a.lock").__enter__())
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


@unix
def test_builders_that_nothing_keeps_apart_build_the_same(lockless, photographs, tmp_path):
    lockless(errno.ENOLCK, None)
    built: list[torch.Tensor] = []
    both = threading.Barrier(3)

    def build() -> None:
        both.wait()
        built.append(open_photographs(photographs).images)
        built.append(open_table(tmp_path / "cache" / "bank.npy"))

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(built) == 6
    for values in built:
        expected = [0, 80, 160, 40, 120, 200] if values.ndim == 4 else [0, 1, 2, 3, 4]
        assert values.flatten(1)[:, 0].tolist() == expected
    assert not [path for path in (tmp_path / "cache").iterdir() if "partial" in path.name]


def test_a_lock_is_exclusive_and_free_after_an_error(tmp_path, caplog):
    file = tmp_path / "folder" / "a.lock"
    for _ in range(2):
        with pytest.raises(KeyError), files.lock(file, wait=False) as everywhere:
            assert everywhere is True
            with pytest.raises(Timeout), files.lock(file, wait=False):
                pass
            raise KeyError
    assert not caplog.records


def test_locks_and_atomic_writes_are_made_in_one_place():
    sources = [
        path for room in ("glimpse_env", "agents", "benchmarks") for path in (ROOT / room).rglob("*.py")
    ]
    users = [path.name for path in sources if re.search(r"FileLock|os\.fsync|fcntl", path.read_text())]
    assert sorted(users) == [
        "feature_cache.py",
        "files.py",
    ]  # feature_cache appends to a file that it resumes


CAUSES = {
    errno.ENOSPC: "free some space in {folder}, or write to another folder",
    errno.EDQUOT: "free some space in {folder}, or write to another folder",
    errno.EROFS: "{folder} is on a read-only file system: write to another folder",
    errno.EACCES: "make {folder} writable for this user, or write to another folder",
    errno.EPERM: "make {folder} writable for this user, or write to another folder",
    errno.EIO: "write to another folder",
}


@pytest.mark.parametrize("number", CAUSES)
def test_a_write_that_fails_names_the_file_the_cause_and_the_remedy(tmp_path, deny, number, monkeypatch):
    target = tmp_path / "run" / "result.json"
    target.parent.mkdir()
    deny(number, target.parent)
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)  # root may do everything
    expected = f"{target} cannot be written ({os.strerror(number)}): " + CAUSES[number].format(
        folder=target.parent
    )
    for write in (lambda: files.write_json(target, {}), lambda: files.check_writable(target)):
        with pytest.raises(OSError, match=re.escape(expected) + "$") as caught:
            write()
        assert caught.value.errno == number
        assert str(caught.value) == expected == terminal.format_error(caught.value)
    with pytest.raises(SystemExit) as ended, terminal.foreseen("agent.py"):
        files.write_bytes(target, b"")
    assert str(ended.value) == f"agent.py: {expected}"
    with (
        pytest.raises(OSError, match=re.escape(CAUSES[number].format(folder=target.parent))),
        files.lock(target),
    ):
        pass


@pytest.mark.parametrize("inner", ["a.json", "b/a.json", "b/c/a.json"])
def test_a_file_in_place_of_a_folder_is_named(tmp_path, inner):
    (tmp_path / "run").write_text("")
    for write in (
        lambda path: files.write_json(path, {}),
        files.check_writable,
        lambda path: files.lock(path).__enter__(),
    ):
        with pytest.raises(
            OSError, match=f"{tmp_path}/run is a file where a folder is needed: move it away, or"
        ):
            write(tmp_path / "run" / inner)


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    for write in (lambda path: files.write_json(path, {}), files.check_writable):
        with pytest.raises(OSError, match=f"{tmp_path} is a folder where a file is needed: move it away, or"):
            write(tmp_path)


def test_an_error_that_no_writer_of_ours_raised_is_explained(tmp_path):
    known = OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "events"))
    assert terminal.format_error(known).endswith(
        f"{tmp_path} is on a read-only file system: write to another folder"
    )
    without_name = terminal.format_error(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    remedy = f"free some space in {tmp_path}, or write to another folder"
    assert without_name == f"{tmp_path} cannot be used (No space left on device): {remedy}"
    assert terminal.format_error(ValueError("a word")) == "a word"
    assert "timed out" in terminal.format_error(TimeoutError("timed out"))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_stale_cache_that_is_read_only_says_so_and_a_good_one_is_used(
    photographs, tmp_path, deny, number, monkeypatch
):
    table = tmp_path / "cache" / "bank.npy"
    open_photographs(photographs)
    open_table(table)
    deny(number, tmp_path / "cache")
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
    assert len(open_photographs(photographs).images) == 6
    assert len(open_table(table)) == 5
    os.utime(photographs / "a" / "0.png", (1, 1))
    remedy = (
        "(is on a read-only file system: |writable for this user, or )set the environment variable GLIMPSE"
    )
    with pytest.raises(
        OSError, match=rf"image store of six cannot be written to .*, which is stale.*{remedy}"
    ) as caught:
        open_photographs(photographs)
    assert caught.value.errno == number
    assert "GB" not in str(caught.value)
    with pytest.raises(OSError, match=rf"bank cannot be written to .*, which is damaged or stale.*{remedy}"):
        feature_cache.open_or_build(table, (6, 1, 2), lambda _: pytest.fail("computed"), 2, "bank")


def test_a_stale_file_that_another_program_holds_is_named(photographs, tmp_path, deny):
    """On Windows a mapped file can be neither removed nor replaced."""
    open_photographs(photographs)
    os.utime(photographs / "a" / "0.png", (1, 1))
    deny(errno.EACCES, tmp_path / "cache", ("unlink", "replace"))
    with pytest.raises(
        OSError, match=r"another program has .*\.images open, or it is protected: close that program, or"
    ):
        open_photographs(photographs)
    (tmp_path / "run.json").write_text("")
    deny(errno.EACCES, tmp_path / "run.json", ("unlink",))
    deny(errno.EACCES, tmp_path, ("replace",))
    with pytest.raises(OSError, match=r"another program has run\.json open"):
        files.write_json(tmp_path / "run.json", {})


def test_gymnasium_make_ends_in_one_sentence_where_the_cache_cannot_be_written(
    photographs, tmp_path, deny, monkeypatch
):
    (tmp_path / "cache").write_text("")
    arguments = {"dataset": str(photographs), "image_size": 8, "glimpse_size": 4, "max_glimpses": 2}
    with pytest.raises(
        OSError, match=f"{tmp_path}/cache is a file where a folder is needed: .*GLIMPSE_CACHE"
    ):
        gymnasium.make("GlimpseEnv-v0", **arguments)
    (tmp_path / "cache").unlink()
    deny(errno.ENOSPC, tmp_path / "cache")
    with pytest.raises(
        OSError,
        match=r"needs .* GB in .*cache \(No space left.*free some space in .*, or set .*GLIMPSE_CACHE",
    ):
        gymnasium.make("GlimpseEnv-v0", **arguments)
