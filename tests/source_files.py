"""The source files of the repository and what they import, for the rules that they must keep."""

import ast
import dataclasses
import functools
import pathlib

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = ("cb_keras", "experiments", "benchmarks", "ops", "tests")
_NATIVE = (".cc", ".h", ".cu", ".cuh")


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


@functools.cache
def python_files():
    """Every Python file of the repository."""
    paths = [ROOT / "setup.py"]
    for folder in FOLDERS:
        paths += sorted((ROOT / folder).rglob("*.py"))
    return [_read(path) for path in paths]


@functools.cache
def native_files():
    """Every C++ and CUDA file of the repository's own; they have no `imports`."""
    paths = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")))
    own = (path for path in paths if "third_party" not in path.parts)
    return [_read(path) for path in own if path.suffix in _NATIVE]


def _read(path):
    return File(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
