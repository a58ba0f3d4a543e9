"""Who may import whom: the one-way order of the rooms, read from the source of every file."""

import ast
import graphlib

import pytest

from tests.source_files import File, native_files, python_files

# Room: the rooms it may import from. `tests` may import from all.
ROOMS = {
    "cb_keras": {"cb_keras"},
    "experiments": {"experiments", "cb_keras"},
    "benchmarks": {"benchmarks", "experiments", "cb_keras"},
    "ops": {"ops"},
    "setup": {"setup", "ops"},
}
# The rooms of experiments from top to bottom. Above them are the programs, the files next to them:
# those are run, not imported, and what two of them need is in a room.
EXPERIMENTS = [
    *("boundary", "reporting", "sweeps", "training", "exports", "datasets", "runs", "backbones"),
    *("methods", "cli"),
]
# The rooms of experiments that are there at once and without TensorFlow, and whether a function of
# theirs may import it. tests/test_import_cost.py imports them.
LIGHT = {"reporting": False, "runs": False, "backbones": True, "methods": True, "cli": True}
HEAVY = {"tensorflow", "keras", "cb_keras"}
# The library from top ("" is its __init__) to bottom: a module imports from rows below its own.
LAYERS = [
    {""},
    {"losses"},
    {"fused"},
    {"callbacks", "posthoc", "resnet", "weight_schedules"},
    {"layers"},
    {"functional"},
    {
        *("_version", "long_tail", "metrics", "optimizers", "sampling", "schedules", "volumes"),
        "weights",
    },
    {"_progress", "scored"},
    {"counting", "examples"},
    {"checks"},
    {"_forks", "counts", "tracing"},
    {"private_api"},
]
# What the library imports in these modules alone, and there inside functions, so that it runs on
# every backend and costs nothing next to Keras. A name with a dot is a package's own package.
GUARDED = {
    "tensorflow": {
        "cb_keras.fused.gradients",  # the native op is TensorFlow's
        "cb_keras.fused.library",
        "cb_keras.fused.doors.tensorflow",
        "cb_keras.fused.doors.tensorflow_plain",
        "cb_keras.tracing",
        "cb_keras.checks.class_ids",  # its graphs can assert what its eager tensors show
        "cb_keras.checks.multi_hot",
        "cb_keras.checks.seen",
        "cb_keras.private_api",
        "cb_keras.checks.labels",  # only TensorFlow has sizes that are known at run time alone
        "cb_keras.layers",  # so is the fused batch normalisation
        "cb_keras.counting.streams",  # tf.data
        "cb_keras.weights",  # tf.function compiles the class weights
    },
    "jax": {
        "cb_keras.fused.doors.jax",
        "cb_keras.fused.doors.jax_calls",
        "cb_keras.fused.doors.jax_primitives",
        "cb_keras.private_api",
        "cb_keras.weights",  # jax.jit does too
        "cb_keras.checks.seen",
    },
    # No public names: one file, whose version test says what changed.
    "tensorflow.python": {"cb_keras.private_api"},
    "jax._src": {"cb_keras.private_api"},
    "keras.src": {"cb_keras.private_api"},
} | {name: set() for name in ("absl", "jinja2", "matplotlib", "sklearn", "tensorflow_datasets")}
# A function that torch.compile compiles has no values to look at.
GUARDED["torch"] = {
    "cb_keras.fused.doors.torch",
    "cb_keras.fused.doors.torch_compiled",
    "cb_keras.fused.doors.torch_plain",
    "cb_keras.fused.doors.torch_derivatives",
    "cb_keras.fused.doors.torch_kernels",
    "cb_keras.fused.doors.torch_memory",
    "cb_keras.fused.doors.torch_threads",
    "cb_keras.private_api",
    "cb_keras.checks.activation",
    "cb_keras.checks.seen",
    "cb_keras.counting.streams",  # a DataLoader is PyTorch's
    "cb_keras.weights",  # made in its inference mode a constant could not be trained with
}
# Imported as a whole where their framework runs, and nowhere else.
_DOORS = ("jax", "jax_calls", "jax_primitives")
_DOORS += ("torch", "torch_compiled", "torch_derivatives", "torch_kernels", "torch_plain")
_DOORS += ("torch_memory", "torch_threads")
DOORS = {f"cb_keras.fused.doors.{name}" for name in _DOORS}
LONGEST_FILE = 400
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve"}


def rooms_import_one_way(file):
    allowed = ROOMS.get(file.room, {*ROOMS, "tests"})
    for i in file.imports:
        if i.top in {*ROOMS, "tests"} and i.top not in allowed:
            yield i.line, f"{file.room} may import from {sorted(allowed)}, not {i.target}"


def the_library_imports_downwards(file):
    def part_and_row(module):
        part = [*module.split("."), ""][1]
        return part, next((r for r, parts in enumerate(LAYERS) if part in parts), None)

    if file.room != "cb_keras":
        return
    own, own_row = part_and_row(file.module)
    if own_row is None:
        yield 1, f"{file.module} has no place in LAYERS"
        return
    for i in file.imports:
        if i.top == "cb_keras":
            part, row = part_and_row(i.target)
            if part != own and (row is None or row <= own_row):
                yield i.line, f"{i.target} is not below {file.module} in LAYERS"


def programs_are_imported_by_tests_only(file):
    for i in file.imports:
        if file.room != "tests" and _place_in_experiments(i.target) == -1:
            yield i.line, f"imports the program {i.target}"


def guarded_package(target):
    """The package of GUARDED that `target` is in, the innermost one, or None."""
    packages = [p for p in GUARDED if f"{target}.".startswith(f"{p}.")]
    return max(packages, key=len, default=None)


def experiments_import_downwards(file):
    own = _place_in_experiments(file.module)
    if own is None:
        return
    if own == -1 and file.path.count("/") > 1:
        yield 1, f"{file.module} is in a room that has no place in EXPERIMENTS"
        return
    for i in file.imports:
        place = _place_in_experiments(i.target)
        if place is not None and -1 < place < own:
            yield i.line, f"{i.target} is not below {file.module} in EXPERIMENTS"


def _place_in_experiments(module):
    """Number of a module's room in EXPERIMENTS, -1 for a program, None outside of experiments."""
    package, room, *_ = [*module.split("."), ""]
    if package != "experiments":
        return None
    if not room:  # the package itself, which is imported before all of its rooms
        return len(EXPERIMENTS)
    return EXPERIMENTS.index(room) if room in EXPERIMENTS else -1


def light_rooms_do_without_tensorflow(file):
    room = [*file.module.split("."), ""][1]
    if file.room != "experiments" or room not in LIGHT:
        return
    for i in file.imports:
        if i.top in HEAVY and not (i.lazy and LIGHT[room]):
            where = "outside a function" if LIGHT[room] else f"in {room}"
            yield i.line, f"imports {i.target} {where}"


def no_test_module_is_imported(file):
    for i in file.imports:
        if i.top == "tests" and any(part.startswith("test_") for part in i.target.split(".")):
            yield i.line, f"imports {i.target}; what two test modules share is in cases.py"


def the_library_imports_guarded_packages_in_listed_functions_only(file):
    for i in file.imports:
        package = guarded_package(i.target)
        if file.room == "cb_keras" and package:
            if file.module not in GUARDED[package]:
                yield i.line, f"imports {package}, and is not listed in GUARDED"
            elif not i.lazy and file.module not in DOORS:
                yield i.line, f"imports {package} outside a function"


def nothing_outside_the_tests_hides_names_or_unpickles(file):
    if file.room == "tests":
        return
    for i in file.imports:
        if i.target.endswith(".*") or i.target == "sys.path" or i.top in PICKLES:
            yield i.line, f"imports {i.target}"
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path":
            yield node.lineno, "touches sys.path"


def files_are_short(file):
    lines = len(file.source.splitlines())
    if lines > LONGEST_FILE:
        yield lines, f"is longer than {LONGEST_FILE} lines; a second subject gets a file of its own"


RULES = (
    rooms_import_one_way,
    the_library_imports_downwards,
    programs_are_imported_by_tests_only,
    experiments_import_downwards,
    light_rooms_do_without_tensorflow,
    the_library_imports_guarded_packages_in_listed_functions_only,
    nothing_outside_the_tests_hides_names_or_unpickles,
    no_test_module_is_imported,
    files_are_short,
)
ONE_WAY, DOWNWARDS, PROGRAM, ROOM, WITHOUT, GUARD, HIDDEN, TEST, SHORT = RULES


def import_order(files):
    """The modules, each after those it imports at module level; raises CycleError."""
    modules = {file.module for file in files}

    def project_module(target):
        while target and target not in modules:
            target = target.rpartition(".")[0]
        return target

    graph = {f.module: {project_module(i.target) for i in f.imports if not i.lazy} for f in files}
    return list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_of_the_repository_keeps_the_rule(rule):
    files = python_files() + (native_files() if rule is SHORT else [])
    assert {"cb_keras", "experiments.train", "benchmarks.timing"} <= {f.module for f in files}
    assert [f"{f.path}:{line}: {what}" for f in files for line, what in rule(f)] == []


def test_modules_do_not_import_each_other_in_a_circle():
    order = import_order(python_files())
    assert (
        order.index("cb_keras.weights") < order.index("cb_keras.losses") < order.index("cb_keras")
    )


def test_the_list_of_guarded_imports_names_no_module_that_has_none():
    files = {file.module: file for file in python_files()}
    for package, modules in GUARDED.items():
        for module in modules & set(files):
            assert package in {guarded_package(i.target) for i in files[module].imports}, module


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (ONE_WAY, "cb_keras/weights.py", "from experiments import plots"),
        (ONE_WAY, "cb_keras/fused/op.py", "def find():\n    import ops.build"),
        (ONE_WAY, "experiments/plots.py", "import json, benchmarks.timing"),
        (DOWNWARDS, "cb_keras/weights.py", "from cb_keras import functional"),
        (DOWNWARDS, "cb_keras/metrics/f1.py", "from ..losses.focal import a"),
        (DOWNWARDS, "cb_keras/losses/__init__.py", "from .. import losses, resnet_cifar"),
        (DOWNWARDS, "cb_keras/functional/focal.py", "import cb_keras"),
        (DOWNWARDS, "cb_keras/unheard_of.py", ""),
        (PROGRAM, "benchmarks/speed.py", "from experiments.train import main"),
        (PROGRAM, "experiments/sweep.py", "importlib.import_module('experiments.train')"),
        (PROGRAM, "experiments/training/history.py", "from experiments import a_new_program"),
        (ROOM, "experiments/runs/lock.py", "from experiments.training import machine"),
        (ROOM, "experiments/reporting/page.py", "def a():\n    from ..boundary.picture import b"),
        (ROOM, "experiments/cli.py", "from experiments import methods"),
        (ROOM, "experiments/__init__.py", "from .cli import UserError"),
        (ROOM, "experiments/unheard_of/files.py", ""),
        (WITHOUT, "experiments/methods/__init__.py", "from cb_keras import losses"),
        (WITHOUT, "experiments/cli.py", "import tensorflow as tf"),
        (WITHOUT, "experiments/runs/lock.py", "def a():\n    import tensorflow"),
        (WITHOUT, "experiments/reporting/page.py", "def a():\n    from keras import ops"),
        (GUARD, "cb_keras/weights.py", "import tensorflow as tf"),
        (
            GUARD,
            "cb_keras/fused/op.py",
            "try:\n    from tensorflow import raw_ops\nfinally:\n    pass",
        ),
        (GUARD, "cb_keras/metrics/f1.py", "def call(self):\n    import tensorflow"),
        (GUARD, "cb_keras/losses/ldam.py", "def call(self):\n    from torch.nn import Module"),
        (GUARD, "cb_keras/layers.py", "def call(self):\n    from tensorflow.python import a"),
        (GUARD, "cb_keras/losses/base.py", "from keras.src import backend"),
        (HIDDEN, "experiments/sweep.py", "from os.path import *"),
        (HIDDEN, "benchmarks/speed.py", "sys.path.insert(0, '..')"),
        (HIDDEN, "ops/build.py", "def load():\n    from pickle import loads"),
        (TEST, "tests/ops/test_build.py", "from tests.ops.test_library import library"),
        (TEST, "tests/experiments/kills.py", "from .runs import test_record"),
        (SHORT, "ops/cuda/tile.cuh", "\n" * 401),
    ],
)
def test_the_rule_refuses_a_bad_file(rule, path, source):
    assert len(list(rule(File(path, source)))) == 1


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (ROOM, "experiments/train.py", "from experiments.boundary import a, b"),
        (ROOM, "experiments/reporting/page.py", "from experiments.reporting import charts"),
        (ROOM, "experiments/runs/lock.py", "from experiments.cli.errors import UserError"),
        (WITHOUT, "experiments/methods/ldam.py", "def make():\n    from cb_keras import losses"),
        (TEST, "tests/ops/test_build.py", "from tests.ops.cases import library"),
        (SHORT, "ops/cuda/tile.cuh", "\n" * 400),
    ],
)
def test_the_rule_lets_a_good_file_pass(rule, path, source):
    assert list(rule(File(path, source))) == []


def test_a_circle_is_refused_unless_an_import_waits_for_its_function():
    there = File("experiments/there.py", "from experiments.back import a")
    with pytest.raises(graphlib.CycleError, match=r"experiments\.there.*experiments\.back"):
        import_order([there, File("experiments/back.py", "from experiments import there")])
    lazy = File("experiments/back.py", "def a():\n    from experiments import there")
    assert import_order([there, lazy])[-1] == "experiments.there"
