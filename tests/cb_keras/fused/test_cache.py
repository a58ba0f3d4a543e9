"""The cache folder of the fused op: where it is, whose libraries are loaded, what a build leaves.

Stand-ins for the toolchain and for compiling; the description and the seal are the real ones.
"""

import os
import pathlib
import pwd
import types

import pytest

from cb_keras.fused import cache as fused_cache
from cb_keras.fused.sources import builder as find_builder

BUILDER = find_builder()
DESCRIPTION = {"tensorflow": "2.21.0", "sources": "0" * 16, "sanitizers": ""}
TOOLCHAIN = types.SimpleNamespace(key="key", description=DESCRIPTION)
OTHER_USER = 12345


def make_library(path, description=DESCRIPTION):
    path.write_bytes(b"ELF" + BUILDER.mark(description) + b" code " * 99)
    BUILDER.seal(path)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o755)
    monkeypatch.setenv("CB_KERAS_CACHE", str(folder))
    return folder


@pytest.fixture
def builder():
    """A builder that counts its builds in `built`."""
    built = []

    def build(toolchain, output):
        built.append(make_library(output))

    return types.SimpleNamespace(describe=BUILDER.describe, build=build, built=built)


def found(own="/nowhere"):
    libraries, reasons = fused_cache.libraries(BUILDER, pathlib.Path(own), DESCRIPTION)
    return [path for path, _ in libraries], reasons


def give_away(path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(path, OTHER_USER, -1)


@pytest.mark.parametrize(
    ("chosen", "xdg", "expected"),
    [
        (None, None, "/home/me/.cache/cb_keras"),
        ("", "", "/home/me/.cache/cb_keras"),
        ("/a/b", "/xdg", "/a/b"),
        ("~/libraries", "/xdg", "/home/me/libraries"),
        (None, "/xdg", "/xdg/cb_keras"),
        (None, "xdg", "/home/me/.cache/cb_keras"),  # the XDG specification: to be ignored
        (None, "~/xdg", "/home/me/.cache/cb_keras"),
    ],
)
def test_the_folder_is_the_chosen_one_else_that_of_xdg_else_that_of_the_home(
    chosen, xdg, expected, monkeypatch
):
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in (("CB_KERAS_CACHE", chosen), ("XDG_CACHE_HOME", xdg)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert str(fused_cache.folder()) == expected


@pytest.mark.parametrize("chosen", ["gs://bucket/cache", "file:///cache", "s3:/bucket"])
def test_a_url_is_refused_by_its_value(chosen, monkeypatch):
    monkeypatch.setenv("CB_KERAS_CACHE", chosen)
    with pytest.raises(fused_cache.CacheError, match=f"must be a folder .* the URL '{chosen}'"):
        fused_cache.folder()


@pytest.mark.parametrize("chosen", ["cache", "./cache", "../cache", "$HOME/cache"])
def test_a_relative_folder_is_refused_whatever_the_working_directory(chosen, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    monkeypatch.setenv("CB_KERAS_CACHE", chosen)
    with pytest.raises(
        fused_cache.CacheError, match=r"absolute path or start with ~, got '.*cache'"
    ):
        fused_cache.folder()


def test_without_a_home_the_folder_is_asked_for(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    monkeypatch.setenv("CB_KERAS_CACHE", "")
    with pytest.raises(fused_cache.CacheError, match=r"home .* not known; set CB_KERAS_CACHE"):
        fused_cache.folder()


def test_a_library_of_this_user_is_found_after_the_package_s_own(cache, tmp_path):
    library, own = make_library(cache / "a.so"), make_library(tmp_path / "own.so")
    assert found(own) == ([own, library], [])


def test_the_package_s_own_library_is_trusted_wherever_it_lies(cache, tmp_path):
    own = make_library(tmp_path / "own.so")
    own.chmod(0o777)
    tmp_path.chmod(0o777)
    assert found(own) == ([own], [])


@pytest.mark.parametrize("what", ["the file", "the folder", "the file behind a link"])
def test_a_library_of_another_user_is_not_loaded_and_the_reason_names_the_user(what, cache):
    library = make_library(cache / "a.so")
    if what == "the file behind a link":
        (cache / "elsewhere").mkdir()
        library = library.rename(cache / "elsewhere" / "a.so")
        (cache / "a.so").symlink_to(library)
    give_away(cache if what == "the folder" else library)
    libraries, (reason,) = found()
    assert libraries == []
    assert reason.startswith(f"{cache / 'a.so'} is not loaded: ")
    assert f"belongs to user {OTHER_USER}, neither to this user (0) nor to root" in reason


@pytest.mark.parametrize(
    ("file", "folder", "above", "culprit"),
    [
        (0o666, 0o755, 0o755, "cache/a.so"),
        (0o644, 0o777, 0o755, "cache"),
        (0o644, 0o755, 0o777, ""),
        (0o644, 0o1777, 0o1777, None),  # the sticky bit, as /tmp has it
        (0o664, 0o775, 0o775, None),  # a group of one's own
    ],
)
def test_a_library_that_everybody_could_replace_is_not_loaded(
    file, folder, above, culprit, cache, tmp_path
):
    library = make_library(cache / "a.so")
    for path, mode in ((library, file), (cache, folder), (tmp_path, above)):
        path.chmod(mode)
    libraries, reasons = found()
    if culprit is None:
        assert (libraries, reasons) == ([library], [])
    else:
        assert libraries == []
        assert f"everybody can write to {tmp_path / culprit} (" in reasons[0]


def test_what_is_named_like_a_library_but_is_none_hides_no_library(cache):
    library = make_library(cache / "z.so")
    (cache / "folder.so").mkdir()
    (cache / "dangling.so").symlink_to(cache / "nothing")
    (cache / "circle.so").symlink_to("circle.so")
    os.mkfifo(cache / "pipe.so")
    (cache / "text.so").write_text("text")
    libraries, reasons = found()
    assert libraries == [library]
    assert reasons == [f"{cache / 'text.so'} is damaged or not a library of this version"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(2, "gone"), []),
        (OSError(5, "I/O error"), ["a.so can't be read (I/O error)"]),
    ],
    ids=["deleted since", "unreadable"],
)
def test_a_library_that_cannot_be_read_hides_no_other(error, expected, cache, monkeypatch):
    bad, good = make_library(cache / "a.so"), make_library(cache / "b.so")
    read_bytes = pathlib.Path.read_bytes

    def read(path):
        if path == bad:
            raise error
        return read_bytes(path)

    monkeypatch.setattr(pathlib.Path, "read_bytes", read)
    libraries, reasons = found()
    assert libraries == [good]
    assert reasons == [f"{cache}/{reason}" for reason in expected]


def test_only_what_could_be_loaded_is_read_for_its_digest(cache, monkeypatch):
    library = make_library(cache / "a.so")
    make_library(cache / "b.so", {**DESCRIPTION, "tensorflow": "2.20.0"})
    hashed = []
    monkeypatch.setattr(BUILDER, "is_whole", lambda content: not hashed.append(content))
    assert found() == ([library], [])
    assert hashed == [library.read_bytes()]


@pytest.mark.parametrize("damage", ["cut", "changed", "longer"])
def test_a_damaged_library_of_this_version_is_not_loaded_and_is_told(damage, cache):
    library, good = make_library(cache / "a.so"), make_library(cache / "b.so")
    content = library.read_bytes()
    damaged = {
        "cut": content[: len(content) // 2],
        "changed": content.replace(b"code", b"cold", 1),
        "longer": content + b"\n",
    }
    library.write_bytes(damaged[damage])
    reason = f"{library} is damaged or not a library of this version"
    assert found() == ([good], [reason])


def test_what_is_built_is_not_built_again_even_where_nothing_can_be_written(cache, builder):
    library = make_library(cache / "key.so")
    (cache / "key.lock").mkdir()  # the lock can't be had
    assert fused_cache.build(builder, TOOLCHAIN) == library
    assert builder.built == []


@pytest.mark.parametrize(
    "damage", ["absent", "cut", "empty", "changed", "other", "given away", "open"]
)
def test_what_would_not_be_loaded_is_built_again(damage, cache, builder):
    library = make_library(cache / "key.so")
    content = library.read_bytes()
    if damage == "absent":
        library.unlink()
    elif damage == "cut":
        library.write_bytes(content[:-1])
    elif damage == "empty":
        library.write_bytes(b"")
    elif damage == "changed":
        library.write_bytes(content.replace(b"code", b"cold", 1))
    elif damage == "other":
        make_library(library, {**DESCRIPTION, "sources": "1" * 16})
    elif damage == "given away":
        library.unlink()
        give_away(make_library(library))
    else:
        library.chmod(0o666)
    fused_cache.build(builder, TOOLCHAIN)
    assert builder.built == [library]


def test_a_build_removes_what_killed_builds_of_the_same_library_left(cache, builder):
    for name in (".building.key.abc", ".building.another.abc"):
        (cache / name).mkdir()
        (cache / name / "rows.o").touch()
    fused_cache.build(builder, TOOLCHAIN)
    left = {path.name for path in cache.iterdir()}
    assert left == {"key.so", "key.lock", ".building.another.abc"}


def test_a_file_system_without_locks_is_built_on_and_nothing_is_removed(
    cache, builder, monkeypatch
):
    def flock(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    (cache / ".building.key.abc").mkdir()  # of another process, it may be
    fused_cache.build(builder, TOOLCHAIN)
    assert builder.built == [cache / "key.so"]
    assert (cache / ".building.key.abc").is_dir()


@pytest.mark.parametrize("why", ["mode", "owner"])
def test_a_folder_whose_libraries_would_not_be_loaded_is_refused_before_a_build(
    why, cache, builder
):
    give_away(cache) if why == "owner" else cache.chmod(0o777)
    expected = f"{cache} .*set CB_KERAS_CACHE to a folder that this user alone can write to"
    with pytest.raises(fused_cache.CacheError, match=expected):
        fused_cache.build(builder, TOOLCHAIN)
    assert builder.built == []


def test_under_any_umask_what_is_built_is_loaded(tmp_path, builder, monkeypatch):
    monkeypatch.setenv("CB_KERAS_CACHE", str(tmp_path / "new" / "cache"))
    before = os.umask(0)
    try:
        library = fused_cache.build(builder, TOOLCHAIN)
    finally:
        os.umask(before)
    assert found() == ([library], [])
