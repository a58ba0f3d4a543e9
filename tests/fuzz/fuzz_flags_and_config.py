"""Fuzzes command lines and run directories, guided by the coverage of the project's modules.

python -m tests.fuzz.fuzz_flags_and_config -runs=20000

It needs atheris: pip install 'cb_keras[fuzz]'. Its options are libFuzzer's, such as
-max_total_time=60. Inputs that reach new code are kept in build/fuzz/corpus, one that fails is
written to build/fuzz/ and replayed by giving its path. Those worth keeping belong in
tests/fuzz/corpus, which tests/fuzz/test_corpus.py replays.
"""

import os
import pathlib
import random
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import atheris

with atheris.instrument_imports(include=["experiments", "cb_keras"]):
    from tests import HANG_SECONDS
    from tests.fuzz import mutations, targets

_BUILD = pathlib.Path(__file__).parents[2] / "build" / "fuzz"
_CORPUS = pathlib.Path(__file__).parent / "corpus"
_LARGEST = 200_000


def main():
    """Runs libFuzzer, which ends the process."""
    found = _BUILD / "corpus"
    found.mkdir(parents=True, exist_ok=True)
    start = found / "start"
    for i, data in enumerate(targets.seeds()):
        start.with_suffix(f".{i}").write_bytes(data)
    folder = pathlib.Path(tempfile.mkdtemp(dir=_BUILD, prefix="folder-"))
    options = [
        f"-artifact_prefix={_BUILD}/",
        f"-timeout={HANG_SECONDS}",
        f"-max_len={_LARGEST}",
        "-len_control=0",
    ]
    given = sys.argv[1:]
    corpus = [] if any(not option.startswith("-") for option in given) else [found, _CORPUS]
    arguments = [sys.argv[0], *options, *given, *map(str, corpus)]

    def one(data):
        targets.run(data, folder)

    atheris.Setup(arguments, one, custom_mutator=_mutated)
    atheris.Fuzz()


def _mutated(data, max_size, seed):
    rng = random.Random(seed)
    if rng.random() < 0.3:
        return atheris.Mutate(data, max_size)
    return mutations.mutated(bytes(data), rng)[:max_size]


if __name__ == "__main__":
    main()
