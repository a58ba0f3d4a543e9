"""What a source of data sets is: a value that `datasets` asks by name."""

import dataclasses
from collections.abc import Callable

from experiments.datasets.data import Data
from experiments.runs import tails


def _nothing(name):
    """Nothing about a name can be checked before its data are loaded."""
    del name


@dataclasses.dataclass(frozen=True)
class Source:
    """A kind of data set that `--dataset` names.

    Attributes:
        names: How `--dataset` names its data sets, in words: "cifar10, cifar100", "tfds:NAME".
        accepts: Function of a name that says whether it names a data set of this source.
        load: Function of `(name, data_dir, download)`, and of `choices` by name, that returns
            `Data`; it imports what it needs itself.
        full_name: Function of `(name, data_dir)` that returns the `Data.name` of what `load` would
            read now, or None where nothing is there.
        title: What `--help` says after the names.
        form: What an error message says after the names about their form.
        long_tail: The `--long_tail` of its data sets where nobody says: nobody's own data are cut
            without being asked.
        choices: What else may be said about how its data are read, of `image_size`, `channels`,
            `test_fraction` and `split_seed`.
        canonical: Function of a name that returns the one that is the same everywhere, such as
            with an absolute path.
        check: Function of a name that raises ValueError where its data can't be there.
        needs: Names of the packages that read it, where not all installations have them.
    """

    names: str
    accepts: Callable[[str], bool]
    load: Callable[..., Data]
    full_name: Callable[[str, str | None], str | None]
    title: str = ""
    form: str = ""
    long_tail: str = tails.EXPONENTIAL
    choices: tuple[str, ...] = ()
    canonical: Callable[[str], str] = str
    check: Callable[[str], None] = _nothing
    needs: tuple[str, ...] = ()
