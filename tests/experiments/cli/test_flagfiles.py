"""Flagfiles as any editor saves them, and those that can't be read."""

import pytest

from experiments.cli import UserError, with_flagfiles


def test_a_flagfile_of_a_windows_editor_is_read(tmp_path, monkeypatch):
    lines = ["--loss=focal", "# text", "  --flagfile=~/b.flags", "// text", "", "--x=ä"]
    (tmp_path / "a.flags").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    (tmp_path / "b.flags").write_bytes("--gamma=2\r\n".encode("utf-8-sig"))
    monkeypatch.setenv("HOME", str(tmp_path))
    read = ["--loss=focal", "--gamma=2", "--x=ä"]
    flag = f"--flagfile={tmp_path / 'a.flags'}"
    assert with_flagfiles(["--a=1", flag, "b"]) == ["--a=1", *read, "b"]
    assert with_flagfiles([*flag.split("="), "--", flag]) == [*read, "--", flag]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("--a=1".encode("utf-16"), "is UTF-16 or UTF-32; save it as UTF-8."),
        (b"--a=\xff", "is not UTF-8 text (byte 4); save it as UTF-8."),
        (b"--flagfile=FILE", "holds itself; take that line out of it."),
        (b"--flagfile=", "--flagfile is empty; name a local path"),
        (b"--flagfile", "--flagfile is empty; name a local path"),
        (b"--flagfile=missing.flags", "missing.flags can't be read (No such file or directory)"),
    ],
)
def test_a_flagfile_that_can_not_be_read_is_refused_in_words(tmp_path, content, words):
    path = tmp_path / "a.flags"
    path.write_bytes(content.replace(b"FILE", str(path).encode()))
    with pytest.raises(UserError) as caught:
        with_flagfiles([f"--flagfile={path}"])
    assert words in str(caught.value)


def test_a_program_reads_its_flagfiles_so(program, tmp_path):
    (tmp_path / "a.flags").write_text("--verbosity=1\n", encoding="utf-8-sig")
    body = "from absl import flags; print(flags.FLAGS.verbosity)"
    done = program(body, f"--flagfile={tmp_path / 'a.flags'}")
    assert (done.stdout, done.stderr) == ("1\n", "")
    done = program(body, "--flagfile=")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --flagfile is empty")


def test_a_program_knows_which_flags_its_command_line_has_itself(program, tmp_path):
    (tmp_path / "a.flags").write_text("--verbosity=1\n--nologtostderr\n")
    names = ["verbosity", "logtostderr", "stderrthreshold"]
    body = f"print([bool(cli.is_only_in_a_flagfile(name)) for name in {names}])"
    file = f"--flagfile={tmp_path / 'a.flags'}"
    assert program(body, file).stdout == "[True, True, False]\n"
    assert program(body, *file.split("="), "-verbosity", "0").stdout == "[False, True, False]\n"
    assert program(body, "--logtostderr", file).stdout == "[True, False, False]\n"
