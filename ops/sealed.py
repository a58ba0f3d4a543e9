"""What a built library says of itself, and how it is known to be whole."""

import hashlib
import json
import os
import pathlib
import re

_MARK = b"cb_keras ops library: "  # then a JSON object that describes the build, then NUL


def digest(content):
    """Digest of what JSON can hold: 16 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_files(paths, folder):
    """Digest of files and of their places in a folder: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def mark(description):
    """The bytes by which a library says what it is."""
    return _MARK + json.dumps(description).encode() + b"\0"


def info(description):
    """A C++ source that puts the description into a library."""
    text = mark(description)[:-1].decode()
    # The double declaration gives a constant external linkage, so that it stays in the library.
    return (
        'extern "C" { extern const char kCbkBuild[];\n'
        f"const char kCbkBuild[] = {json.dumps(text)}; }}\n"
    )


def description_in(content):
    """What the bytes of a library say of it, a dict, whether or not they are whole; or None.

    Its keys are those of the `description` of a toolchain.
    """
    found = re.search(re.escape(_MARK) + rb"(\{[^\0]*\})\0", content)
    if not found:
        return None
    try:
        return json.loads(found.group(1))
    except ValueError:
        return None


def is_whole(content):
    """Whether the bytes of a library are those that `seal` has seen."""
    size = len(content) - len(_end(b""))
    return size >= 0 and content[size:] == _end(memoryview(content)[:size])


def describe(library):
    """The description inside a built library, read without loading it; None if it is not whole."""
    content = pathlib.Path(library).read_bytes()
    return description_in(content) if is_whole(content) else None


def seal(library):
    """Ends the file with a digest of all that is in it, and waits until it is on the disk."""
    content = library.read_bytes()
    with open(library, "ab") as file:
        file.write(_end(content))
        file.flush()
        os.fsync(file.fileno())
    library.chmod(0o755 & library.stat().st_mode)  # a file that others can write to is not loaded


def _end(content):
    """The end of a library's file: one without it was cut off or changed."""
    return f"\n{hashlib.sha256(content).hexdigest()} ends this cb_keras ops library\n".encode()
