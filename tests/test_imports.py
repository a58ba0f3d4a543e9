"""Who may import whom: the one-way order of the rooms, read from the source of every file."""

import ast
import dataclasses
import functools
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Room: the rooms it may import from. `tests` may import from all.
ROOMS = {
    "cb_keras": {"cb_keras"},
    "experiments": {"experiments", "cb_keras"},
    "benchmarks": {"benchmarks", "experiments", "cb_keras"},
    "ops": {"ops"},
    "setup": {"setup", "ops"},
}
# Programs are run, not imported; what two of them need is in a module of its own.
PROGRAMS = {
    *("experiments.train", "experiments.evaluate", "experiments.demo", "experiments.sweep"),
    *("experiments.report", "experiments.decision_boundary"),
}
# The library from top ("" is its __init__) to bottom: a module imports from rows below its own.
LAYERS = [
    {""},
    {"losses"},
    {"fused"},
    {"functional"},
    {
        *("_version", "callbacks", "long_tail", "metrics", "optimizers", "resnet", "schedules"),
        "weights",
    },
    {"_progress", "layers", "scored"},
    {"examples"},
    {"checks"},
    {"counts", "private_api"},
]
# What the library imports in these modules alone, and there inside functions, so that it runs on
# every backend and costs nothing next to Keras. A name with a dot is a package's own package.
GUARDED = {
    "tensorflow": {
        "cb_keras.fused.gradients",  # the native op is TensorFlow's
        "cb_keras.fused.library",
        "cb_keras.fused.op",
        "cb_keras.fused.tracing",
        "cb_keras.private_api",
        "cb_keras.checks.labels",  # only TensorFlow has sizes that are known at run time alone
        "cb_keras.layers",  # so is the fused batch normalisation
        "cb_keras.weights",  # tf.function compiles the class weights
    },
    "jax": {"cb_keras.weights"},  # so does jax.jit
    # No public names: one file, whose version test says what changed.
    "tensorflow.python": {"cb_keras.private_api"},
    "keras.src": {"cb_keras.private_api"},
} | {name: set() for name in ("absl", "jinja2", "matplotlib", "sklearn", "tensorflow_datasets")}
# A function that torch.compile compiles has no values to look at.
GUARDED["torch"] = {"cb_keras.checks.activation"}
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve"}


@dataclasses.dataclass(frozen=True)
class Import:
    """`target` is the full dotted name, `a.b.c` for `from a.b import c`."""

    target: str
    line: int
    lazy: bool

    @property
    def top(self):
        return self.target.split(".")[0]


@dataclasses.dataclass(frozen=True)
class File:
    path: str
    source: str

    @property
    def module(self):
        return self.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")

    @property
    def room(self):
        return self.module.split(".")[0]

    @functools.cached_property
    def tree(self):
        return ast.parse(self.source)

    @functools.cached_property
    def imports(self):
        return list(self._imports(self.tree, lazy=False))

    def _imports(self, node, lazy):
        for child in ast.iter_child_nodes(node):
            for target in self._targets(child):
                yield Import(target, child.lineno, lazy)
            in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from self._imports(child, lazy or in_function)

    def _targets(self, node):
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                is_package = self.path.endswith("/__init__.py")
                package = self.module.split(".") + (["__init__"] if is_package else [])
                base = package[: -node.level] + base
            return [".".join([*base, alias.name]) for alias in node.names]
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = getattr(node.func, "attr", getattr(node.func, "id", None))
            return [node.args[0].value] if function in ("import_module", "__import__") else []
        return []


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
        if file.room != "tests" and ".".join(i.target.split(".")[:2]) in PROGRAMS:
            yield i.line, f"imports the program {i.target}"


def guarded_package(target):
    """The package of GUARDED that `target` is in, the innermost one, or None."""
    packages = [p for p in GUARDED if f"{target}.".startswith(f"{p}.")]
    return max(packages, key=len, default=None)


def the_library_imports_guarded_packages_in_listed_functions_only(file):
    for i in file.imports:
        package = guarded_package(i.target)
        if file.room == "cb_keras" and package:
            if file.module not in GUARDED[package]:
                yield i.line, f"imports {package}, and is not listed in GUARDED"
            elif not i.lazy:
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


RULES = (
    rooms_import_one_way,
    the_library_imports_downwards,
    programs_are_imported_by_tests_only,
    the_library_imports_guarded_packages_in_listed_functions_only,
    nothing_outside_the_tests_hides_names_or_unpickles,
)
ONE_WAY, DOWNWARDS, PROGRAM, GUARD, HIDDEN = RULES


@functools.cache
def repository():
    paths = [ROOT / "setup.py"]
    for room in (*ROOMS, "tests"):
        paths += sorted((ROOT / room).rglob("*.py"))
    return [File(path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths]


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
    files = repository()
    assert {"cb_keras", "experiments.train", "benchmarks.timing"} <= {f.module for f in files}
    assert [f"{f.path}:{line}: {what}" for f in files for line, what in rule(f)] == []


def test_modules_do_not_import_each_other_in_a_circle():
    order = import_order(repository())
    assert (
        order.index("cb_keras.weights") < order.index("cb_keras.losses") < order.index("cb_keras")
    )


def test_the_list_of_guarded_imports_names_no_module_that_has_none():
    files = {file.module: file for file in repository()}
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
        (DOWNWARDS, "cb_keras/metrics.py", "from .losses.focal import a"),
        (DOWNWARDS, "cb_keras/losses/__init__.py", "from .. import losses, resnet_cifar"),
        (DOWNWARDS, "cb_keras/functional/focal.py", "import cb_keras"),
        (DOWNWARDS, "cb_keras/unheard_of.py", ""),
        (PROGRAM, "benchmarks/speed.py", "from experiments.train import main"),
        (PROGRAM, "experiments/sweep.py", "importlib.import_module('experiments.train')"),
        (GUARD, "cb_keras/weights.py", "import tensorflow as tf"),
        (
            GUARD,
            "cb_keras/fused/op.py",
            "try:\n    from tensorflow import raw_ops\nfinally:\n    pass",
        ),
        (GUARD, "cb_keras/metrics.py", "def call(self):\n    import tensorflow"),
        (GUARD, "cb_keras/losses/ldam.py", "def call(self):\n    from torch.nn import Module"),
        (GUARD, "cb_keras/layers.py", "def call(self):\n    from tensorflow.python import a"),
        (GUARD, "cb_keras/losses/base.py", "from keras.src import backend"),
        (HIDDEN, "experiments/sweep.py", "from os.path import *"),
        (HIDDEN, "benchmarks/speed.py", "sys.path.insert(0, '..')"),
        (HIDDEN, "ops/build.py", "def load():\n    from pickle import loads"),
    ],
)
def test_the_rule_refuses_a_bad_file(rule, path, source):
    assert len(list(rule(File(path, source)))) == 1


def test_a_circle_is_refused_unless_an_import_waits_for_its_function():
    there = File("experiments/there.py", "from experiments.back import a")
    with pytest.raises(graphlib.CycleError, match=r"experiments\.there.*experiments\.back"):
        import_order([there, File("experiments/back.py", "from experiments import there")])
    lazy = File("experiments/back.py", "def a():\n    from experiments import there")
    assert import_order([there, lazy])[-1] == "experiments.there"
