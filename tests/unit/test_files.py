"""Files are written whole or not at all, whoever is killed, and what is left is cleared."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from snn2hw import files
from snn2hw.errors import InputError
from snn2hw.files import HIDDEN, check_writable, new_file, new_folder, scratch
from snn2hw.store import folders

BEGIN = """
import os, signal, sys
from pathlib import Path
from snn2hw.files import new_file, new_folder, scratch
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
folder = Path(sys.argv[1])
"""
# Killed after the old folder has been moved away, before the new one is in its place.
BETWEEN = """
replace, calls = Path.replace, []
def counted(self, to):
    calls.append(to)
    if len(calls) == 2:
        {}
    return replace(self, to)
Path.replace = counted
with new_folder(folder / "b") as made:
    (made / "x").write_text("new")
"""


def child(folder, script, **how):
    return subprocess.Popen([sys.executable, "-c", BEGIN + script, str(folder)], **how)


def killed(folder, script):
    assert child(folder, script).wait(60) == -signal.SIGKILL


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen in 30 seconds")


@pytest.fixture(params=[0o022, 0o027, 0o077, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_and_folders_have_the_modes_that_the_user_wants(tmp_path, umask):
    with new_file(tmp_path / "a") as new:
        new.write_text("x")
    with new_folder(tmp_path / "b") as new:
        files.write_json(new / "c.json", {})
    modes = {n: (tmp_path / n).stat().st_mode & 0o777 for n in ("a", "b", "b/c.json")}
    assert modes == {"a": 0o666 & ~umask, "b": 0o777 & ~umask, "b/c.json": 0o666 & ~umask}


def test_a_failure_leaves_what_was_there(tmp_path):
    def fill(folder):
        (folder / "x").write_text("new")
        raise ZeroDivisionError

    for make in (new_file, new_folder):
        with pytest.raises(ZeroDivisionError), make(tmp_path / "a"):
            raise ZeroDivisionError
    assert names(tmp_path) == []
    (tmp_path / "b").mkdir()
    (tmp_path / "b/x").write_text("old")
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "b") as new:
        fill(new)
    assert (tmp_path / "b/x").read_text() == "old"
    assert names(tmp_path) == ["b"]


@pytest.mark.parametrize(
    "script",
    [
        'with new_file(folder / "a.npz") as new: new.write_bytes(bytes(9000)); kill()',
        'with new_folder(folder / "b") as new: (new / "x").write_bytes(bytes(9000)); kill()',
        "with scratch(folder) as new: (new / 'x').mkdir(); kill()",
    ],
)
def test_the_next_one_clears_what_a_killed_one_left(tmp_path, script):
    killed(tmp_path, script)
    left, lock = names(tmp_path)
    assert left.startswith(HIDDEN)
    assert lock == f"{left}.lock"
    files.write_json(tmp_path / "other.json", {})
    assert names(tmp_path) == ["other.json"]


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    script = """
with new_file(folder / "slow") as new:
    new.write_text("begun, ")
    print("there", flush=True)
    sys.stdin.read()
    with new.open("a") as file: file.write("ended")
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with child(tmp_path, script, **pipes) as slow:
        assert slow.stdout.readline() == "there\n"
        for i in range(3):
            files.write_json(tmp_path / f"{i}.json", {})
        slow.communicate("", timeout=60)
    assert (tmp_path / "slow").read_text() == "begun, ended"
    assert names(tmp_path) == ["0.json", "1.json", "2.json", "slow"]


def test_a_writer_inside_another_leaves_it_alone(tmp_path):
    with new_folder(tmp_path / "a") as outer:
        files.write_json(tmp_path / "b.json", {})
        files.write_json(outer / "c.json", {})
    assert names(tmp_path) == ["a", "b.json"]
    assert names(tmp_path / "a") == ["c.json"]


def test_many_at_once_lose_nothing(tmp_path):
    script = 'for i in range(40): open(folder / "log", "a").close()\n'
    script += 'for i in range(40):\n with new_file(folder / f"{os.getpid()}-{i}") as new:'
    script += ' new.write_text("x")'
    running = [child(tmp_path, script) for _ in range(6)]
    assert [p.wait(120) for p in running] == [0] * 6
    assert len(names(tmp_path)) == 6 * 40 + 1


def test_a_kill_between_two_renames_loses_nothing(tmp_path):
    place = tmp_path / "builds" / "b"
    place.mkdir(parents=True)
    (place / "x").write_text("old")
    killed(place.parent, BETWEEN.format("kill()"))
    assert not place.exists()
    assert folders.find("builds", "b", tmp_path) == place  # a reader puts it back
    assert (place / "x").read_text() == "old"
    assert names(place.parent) == ["b"]
    killed(place.parent, BETWEEN.format("kill()"))
    files.write_json(place.parent / "other.json", {})  # and so does a writer
    assert (place / "x").read_text() == "old"
    with new_folder(place) as new:
        (new / "x").write_text("new")
    assert (place / "x").read_text() == "new"
    assert names(place.parent) == ["b", "other.json"]


def test_a_reader_waits_for_one_that_is_between_two_renames(tmp_path):
    place = tmp_path / "builds" / "b"
    place.mkdir(parents=True)
    (place / "x").write_text("old")
    with child(place.parent, BETWEEN.format("import time; time.sleep(1)")):
        wait_for(lambda: not place.exists())
        assert folders.find("builds", "b", tmp_path) == place
        assert (place / "x").read_text() == "new"


def test_an_error_in_the_exchange_keeps_the_old_folder(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    replace = Path.replace

    def refuse(self, to):
        if Path(to) == tmp_path / "b" and self.name == "new":
            raise OSError(errno.EIO, "no", str(self))
        return replace(self, to)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="no"), new_folder(tmp_path / "b"):
        pass
    assert names(tmp_path) == ["b"]


def test_a_folder_of_a_lower_layer_is_copied_away(tmp_path, monkeypatch):
    """An overlay answers EXDEV to who renames a folder of the container's image."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b/x").write_text("old")
    (tmp_path / "b/link").symlink_to("gone")  # what links lead to is not copied
    replace = Path.replace

    def refuse(self, to):
        if self == tmp_path / "b":
            raise OSError(errno.EXDEV, "cross-device", str(self))
        return replace(self, to)

    monkeypatch.setattr(Path, "replace", refuse)
    with new_folder(tmp_path / "b") as new:
        (new / "x").write_text("new")
    assert (tmp_path / "b/x").read_text() == "new"
    assert names(tmp_path) == ["b"]


def test_without_locks_files_are_written_and_nothing_is_cleared(tmp_path, monkeypatch):
    killed(tmp_path, 'with new_file(folder / "a"): kill()')

    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(files.FileLock, "acquire", refuse)
    files.write_json(tmp_path / "b.json", {})
    left, lock, written = names(tmp_path)
    assert left.startswith(HIDDEN)
    assert lock == f"{left}.lock"
    assert written == "b.json"


def test_a_lock_without_a_folder_is_removed_unless_it_is_held(tmp_path):
    """A kill may come between the lock and the folder, or between their removals."""
    lock = tmp_path / f"{HIDDEN}0.lock"
    with FileLock(lock):
        files.write_json(tmp_path / "a.json", {})
        assert lock.exists()
    files.write_json(tmp_path / "a.json", {})
    assert names(tmp_path) == ["a.json"]


def test_who_locks_a_file_that_was_removed_takes_another_name(tmp_path, monkeypatch):
    """Between opening and locking its file somebody may take it for a left one."""
    flock, removed = fcntl.flock, []

    def removing(fd, how):
        if not removed:
            removed.extend(tmp_path.glob(f"{HIDDEN}*"))
            removed[0].unlink()
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", removing)
    with scratch(tmp_path) as hidden:
        assert f"{hidden.name}.lock" != removed[0].name
        with pytest.raises(TimeoutError):
            FileLock(f"{hidden}.lock").acquire(timeout=0)
    assert names(tmp_path) == []


def test_a_lock_that_is_never_got_ends(tmp_path, monkeypatch):
    """``filelock`` says the same where no file can be made and where somebody has it."""

    def taken(*_, **__):
        raise TimeoutError

    monkeypatch.setattr(files.FileLock, "acquire", taken)
    with pytest.raises(OSError, match=os.strerror(errno.EAGAIN)), scratch(tmp_path):
        pass
    assert names(tmp_path) == []


def test_a_folder_in_which_the_system_makes_no_file():
    where = Path("/proc" if Path("/proc/self").exists() else "/dev/fd")
    with pytest.raises(InputError, match=r"a\.npz cannot be written: (?!Resource temp)"):
        check_writable(where / "a.npz")


def test_a_folder_is_never_there_without_its_lock(tmp_path, monkeypatch):
    mkdir, made = Path.mkdir, []

    def watched(self, *how, **more):
        mkdir(self, *how, **more)
        if self.name.startswith(HIDDEN):
            made.append(self)
            with pytest.raises(TimeoutError):
                FileLock(f"{self}.lock").acquire(timeout=0)

    monkeypatch.setattr(Path, "mkdir", watched)
    files.write_json(tmp_path / "a.json", {})
    assert len(made) == 1


@pytest.mark.parametrize("moment", ["mkdir", "rmtree"])
def test_an_interrupt_in_the_midst_of_it_leaves_nothing(tmp_path, moment):
    """A signal comes between any two lines, also those that make and remove hidden folders."""
    script = f"""
import shutil
owner, whole = {dict(mkdir="Path", rmtree="shutil")[moment]}, []
def interrupted(*a, **k):
    if "mkdir" == "{moment}": whole[0](*a, **k)
    if a[0].name.startswith(".snn2hw-"):
        setattr(owner, "{moment}", whole[0])
        raise KeyboardInterrupt
whole.append(getattr(owner, "{moment}"))
setattr(owner, "{moment}", interrupted)
with new_file(folder / "a", make_folder=False) as new: new.touch()
"""
    running = child(tmp_path, script, stderr=subprocess.PIPE, text=True)
    assert "KeyboardInterrupt" in running.communicate(timeout=60)[1]
    assert names(tmp_path) in ([], ["a"])


def test_a_hidden_folder_that_cannot_be_made_leaves_no_lock(tmp_path, monkeypatch):
    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "no space", str(self))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OSError, match="no space"), new_file(tmp_path / "a", make_folder=False):
        pass
    assert names(tmp_path) == []


def test_strange_hidden_things_are_left_alone(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/x").write_text("x")
    (tmp_path / f"{HIDDEN}link").symlink_to(tmp_path / "precious")
    (tmp_path / f"{HIDDEN}file").write_text("x")
    if os.getuid() == 0:
        (tmp_path / f"{HIDDEN}theirs").mkdir()
        os.chown(tmp_path / f"{HIDDEN}theirs", 12345, 12345)
    before = names(tmp_path)
    files.write_json(tmp_path / "a.json", {})
    assert names(tmp_path) == [*before[:-1], "a.json", "precious"]
    assert names(tmp_path / "precious") == ["x"]


def told(make, path):
    """Return what the system said of a file, after looking for signs of a temporary one."""
    with pytest.raises(OSError) as caught, make(path) as new:  # noqa: PT011
        new.write_bytes(bytes(100_000))
    assert caught.value.filename == str(path)
    assert HIDDEN not in str(caught.value)
    return caught.value.errno


def test_errors_name_the_file_itself(tmp_path):
    def strict(path):
        return new_file(path, make_folder=False)

    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    assert told(strict, tmp_path / "nowhere/a") == errno.ENOENT
    assert told(strict, tmp_path / "file/a") == errno.ENOTDIR
    assert told(new_file, tmp_path / ("n" * 300)) == errno.ENAMETOOLONG
    assert told(new_file, tmp_path / "folder") == errno.EISDIR
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
    try:
        assert told(new_file, tmp_path / "large") == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["file", "folder"]


def test_a_name_as_long_as_the_system_allows(tmp_path):
    for name in ("ä" * 127, "n" * 255, "lock", "new", "old"):
        files.write_json(tmp_path / name, {})
        with new_folder(tmp_path / "in" / name) as new:
            (new / "x").touch()
    assert len(names(tmp_path)) == 6
    assert len(names(tmp_path / "in")) == 5


def test_what_cannot_be_written_is_known_before(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (tmp_path / "nowhere/a.npz", f"there is no folder {tmp_path / 'nowhere'}"),
        (tmp_path, "it is a folder"),
        (tmp_path / "pipe", "it is no plain file"),
        (Path("/dev/null"), "it is no plain file"),
        (tmp_path / ("n" * 300), "File name too long"),
    ):
        with pytest.raises(InputError) as caught:
            check_writable(path)
        assert caught.value.message.endswith(f" cannot be written: {why}.")
        assert str(path) in caught.value.message
    check_writable(tmp_path / "a")
    assert names(tmp_path) == ["pipe"]


def test_the_cache_is_where_the_variables_say(monkeypatch):
    for name in ("SNN2HW_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/h")
    assert files.cache_folder() == Path("/h/.cache/snn2hw")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert files.cache_folder() == Path("/x/snn2hw")
    monkeypatch.setenv("SNN2HW_CACHE", "/s")
    assert files.cache_folder() == Path("/s")


def test_a_home_that_nobody_knows_is_asked_for(monkeypatch):
    for name in ("SNN2HW_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(_):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(InputError, match=r"Set SNN2HW_CACHE to a folder, or set HOME\."):
        files.cache_folder()
    with pytest.raises(InputError, match=r"^~/x cannot be found.* Set HOME"):
        files.expanded("~/x")
    with pytest.raises(InputError, match=r"^~nobody-has-this-name/x cannot be found"):
        files.expanded("~nobody-has-this-name/x")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert files.cache_folder() == Path("/x/snn2hw")


@pytest.mark.parametrize(
    "content", ["", "\n", ".\n", "..\n", "../builds\n", "/\n", "latest\n", "gone\n", "a\0b\n"]
)
def test_a_pointer_to_nothing_plain_is_refused(tmp_path, content):
    (tmp_path / "builds").mkdir()
    (tmp_path / "builds/latest").write_text(content)
    with pytest.raises(InputError, match="which is not there"):
        folders.find("builds", None, tmp_path)


def test_a_pointer_that_is_no_file_is_none(tmp_path):
    (tmp_path / "builds").mkdir()
    for make in (os.mkfifo, os.mkdir):  # reading the pipe would never end
        make(tmp_path / "builds/latest")
        with pytest.raises(InputError, match="There is no build"):
            folders.find("builds", None, tmp_path)
        getattr(os, "rmdir" if make is os.mkdir else "unlink")(tmp_path / "builds/latest")


@pytest.mark.parametrize("name", ["a", " a ", "a\nb", os.fsdecode(b"\xff\xfe"), "a\x1b[31m"])
def test_the_newest_is_found_whatever_its_name(tmp_path, name):
    path = tmp_path / "builds" / name
    path.mkdir(parents=True)
    folders.set_latest(path)
    assert folders.find("builds", None, tmp_path) == path
