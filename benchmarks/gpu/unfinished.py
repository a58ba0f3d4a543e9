"""Trainings that have begun and not ended travel back, and go on in the next call or elsewhere."""

import pathlib
import tarfile

FILE = "unfinished.tar"
MOST_BYTES = 15 * 2**20
_LEFT_OUT = ("checkpoint/previous.npz", "tensorboard")  # what going on does not need


def save(folders, file):
    """Writes the archive of those run directories that have a checkpoint; no file without any.

    Args:
        folders: Dict of name to directory, the most important first: what would make the archive
            larger than `MOST_BYTES` is left out, and said.
        file: Path of the archive.
    """
    file.unlink(missing_ok=True)
    kept, left, size = [], [], 0
    for name, folder in folders.items():
        if not (folder / "checkpoint" / "state.npz").exists():
            continue
        own = sum(part.stat().st_size for part in _parts(folder))
        fits = size + own <= MOST_BYTES
        (kept if fits else left).append(name)
        size += own if fits else 0
    if kept:
        with tarfile.open(file, "w") as archive:
            for name in kept:
                for part in _parts(folders[name]):
                    archive.add(part, pathlib.PurePath(name, part.relative_to(folders[name])))
    for names, words in ((kept, "kept for the next call"), (left, f"too large for {file.name}")):
        if names:
            print(f"not ended, {words}: {', '.join(names)}", flush=True)


def take(file, folder):
    """Unpacks the runs of an archive into `folder`, but those that are there, and none without it.

    Returns:
        Their names.
    """
    if not file.exists():
        return []
    with tarfile.open(file) as archive:
        members = {}
        for member in archive:
            members.setdefault(pathlib.PurePath(member.name).parts[0], []).append(member)
        names = [name for name in members if not (folder / name).exists()]
        for name in names:
            archive.extractall(folder, members[name], filter="data")
    return names


def _parts(folder):
    files = sorted(part for part in folder.rglob("*") if part.is_file())
    return [f for f in files if not f.relative_to(folder).as_posix().startswith(_LEFT_OUT)]
