"""The settings of a training, checked together before anything is loaded."""

import contextlib
import functools
import importlib.util
import math

from experiments import backbones, datasets, exports, methods
from experiments.cli import UserError, check_loadable, local_path
from experiments.datasets import data_flags, image_size
from experiments.runs import sampling, schema, tails
from experiments.runs.naming import run_name
from experiments.training import first_stage, flags, machine, recipe_flags

_PATHS = ("backbone_weights", "data_dir", "first_stage", "output_dir", "same_data_as")
_TOO_MANY = 2**31
_OF_STEPS = ("lr_boundaries", "lr_decay", "balanced_lr_decay")  # of the rate's, not of a cosine's


def checked_settings():
    """Values of all flags as a dict, checked together before anything is loaded.

    Raises:
        UserError: Lists every flag that is out of range or contradicts another.
    """
    settings = checked(flags.given_settings())
    given = [name for name in _PATHS if settings[name] is not None]
    settings |= {name: str(local_path(f"--{name}", settings[name])) for name in given}
    if settings["output_dir"] is None:
        settings["output_dir"] = f"runs/{run_name(settings)}"
    return settings


def checked(settings, first=None):
    """The settings, checked together.

    Args:
        settings: Settings of experiments.train.
        first: Those of the first stage of a second one, where it may not be trained yet.

    Raises:
        UserError: Lists every setting that is out of range or contradicts another.
    """
    settings = backbones.settled(settings)
    settings = {**settings, "sampler": sampling.canonical(settings["sampler"])}
    problems = [*methods.problems(settings), *_range_problems(settings)]
    problems += backbones.problems(settings)
    problems += [*_contradictions(settings), *_path_problems(settings), *_data_problems(settings)]
    problems += first_stage.problems(settings, first)
    problems += recipe_flags.problems(settings)
    problems += machine.keras_problems()
    problems += exports.problems(settings["exports"], machine.backend())
    if machine.backend() == "jax":
        problems += _jax_problems(settings)
    # Else every schedule is wrong too, which says nothing new.
    if 1 <= settings["train_epochs"] < _TOO_MANY:
        problems += _schedule_problems(settings)
    if problems:
        raise UserError("\n  ".join(problems))
    return {**settings, "lr_boundaries": [float(b) for b in settings["lr_boundaries"]]}


def _range_problems(s):
    from cb_keras import checks

    by_library = {
        "imbalance_factor": checks.check_imbalance_factor,
        "dataset": datasets.check_name,
        "momentum": checks.check_momentum,
        "weight_decay": checks.check_weight_decay,
        "sampler": sampling.check,
    }
    for name in ("learning_rate", "lr_decay", "balanced_lr_decay"):
        if s[name] is not None:
            by_library[name] = functools.partial(checks.check_positive, name)
    for name, check in by_library.items():
        try:
            check(s[name])
        except ValueError as error:
            yield f"--{name}: {error}"
    for name in ("train_epochs", "eval_epochs", "batch_size", "eval_batch_size"):
        if s[name] < 1:
            yield f"--{name} must be at least 1, got {s[name]}."
        elif s[name] >= _TOO_MANY:
            yield f"--{name} must be below 2^31, got {s[name]}."
    for name in ("seed", "long_tail_seed"):
        if s[name] is not None and not 0 <= s[name] < 2**31:
            yield f"--{name} must be in [0, 2^31), got {s[name]}."


def _schedule_problems(s):
    if not 0 <= s["warmup_epochs"] < math.inf:
        yield f"--warmup_epochs must be a finite number >= 0, got {s['warmup_epochs']}."
    try:
        boundaries = [float(b) for b in s["lr_boundaries"]]
    except ValueError:
        boundaries = [math.nan]
    if any(not 0 < b < 1 for b in boundaries) or boundaries != sorted(boundaries):
        yield (
            "--lr_boundaries must be ascending fractions of the run in (0, 1), such as 0.8,0.9; "
            f"got {','.join(s['lr_boundaries'])}."
        )
    elif s["lr_schedule"] == "cosine":
        yield from _cosine_problems(s, boundaries)
    elif boundaries and s["warmup_epochs"] > boundaries[0] * s["train_epochs"]:
        yield (
            f"--warmup_epochs={s['warmup_epochs']:g} does not end before the first of "
            f"--lr_boundaries, epoch {boundaries[0] * s['train_epochs']:g} of "
            f"--train_epochs={s['train_epochs']}; shorten the warm-up."
        )
    elif s["warmup_epochs"] >= s["train_epochs"]:
        yield _too_long_a_warmup(s)


def _cosine_problems(s, boundaries):
    """Refuses what only the steps have; not their defaults, which a preset may name."""
    if s["warmup_epochs"] >= s["train_epochs"]:
        yield _too_long_a_warmup(s)
    given = {**s, "lr_boundaries": boundaries}
    usual = {name: flags.default(name) for name in _OF_STEPS}
    usual["lr_boundaries"] = [float(b) for b in usual["lr_boundaries"]]
    for name in _OF_STEPS:
        if given[name] != usual[name]:
            yield (
                f"--{name} has no effect with --lr_schedule=cosine, whose rate has no steps; leave "
                "it out, or where a preset gives it, give its default."
            )


def _too_long_a_warmup(s):
    return f"--warmup_epochs={s['warmup_epochs']:g} does not end before the run does."


def _contradictions(s):
    from cb_keras import fused

    # Not `present`: a flagfile of one's own may name the default, and go with either kind of tail.
    own_factor = s["imbalance_factor"] != flags.default("imbalance_factor")
    if tails.is_natural(s) and own_factor:
        yield "--imbalance_factor has no effect with --long_tail=natural; leave one of them out."
    if tails.is_natural(s) and s["long_tail_seed"] is not None:
        yield "--long_tail_seed has no effect with --long_tail=natural; leave one of them out."
    if s["fused_op"] == "on":
        if not fused.available():
            yield f"--fused_op=on can't be honoured; {fused.status()}"
        elif s["jit_compile"] == "true" and not fused.compiles():
            yield (
                "--fused_op=on can't be used with --jit_compile=true: the op's library has nothing "
                f"that XLA can call on this device; {fused.status()}"
            )
    if s["plots"] and importlib.util.find_spec("matplotlib") is None:
        yield "--plots needs matplotlib: pip install 'cb_keras[plots]', or pass --plots=false."


def _jax_problems(s):
    """What only TensorFlow can do."""
    other = "or set KERAS_BACKEND=tensorflow"
    if s["strategy"] != "none":
        yield (
            f"--strategy={s['strategy']} is TensorFlow's, and KERAS_BACKEND is jax, which trains "
            f"on one device here: leave it out, {other}."
        )
    if s["jit_compile"] == "false":
        yield (
            "--jit_compile=false can't be used with KERAS_BACKEND=jax, whose steps are always "
            f"compiled: leave it out, {other}."
        )
    needs = datasets.needs(s["dataset"])
    if missing := [name for name in needs if importlib.util.find_spec(name) is None]:
        yield (
            f"--dataset={s['dataset']} is read with {' and '.join(missing)}, not installed here: "
            "use digits, folder:PATH or npz:FILE, or pip install 'cb_keras[experiments]'."
        )


def _data_problems(s):
    yield from data_flags.problems(s)
    if not 0 <= s["validation_fraction"] < 1:
        yield (
            "--validation_fraction must be in [0, 1), such as 0.1; got "
            f"{s['validation_fraction']:g}."
        )
    try:
        size = image_size.parsed(s["image_size"])
        own = datasets.choices_of(s["dataset"])
    except ValueError as error:
        if not str(error).startswith("unknown data set"):  # which is told already
            yield f"--image_size: {error}"
        return
    if size and "image_size" not in own:
        yield (
            f"--image_size={s['image_size']} has no effect on --dataset={s['dataset']}; it belongs "
            "to folder:PATH."
        )
    if size:
        with contextlib.suppress(ValueError):  # an unknown network, which is told already
            try:
                backbones.of(s).check_images(s["backbone"], (*size, 3))
            except UserError as error:
                yield str(error)


def _path_problems(s):
    for name in _PATHS:
        try:
            path = local_path(f"--{name}", s[name])
            if name == "output_dir":
                check_loadable("--output_dir", path or "runs")  # as checked_settings names it
            if name == "same_data_as" and path and not (path / schema.CONFIG).is_file():
                yield f"--{name}={s[name]} has no {schema.CONFIG}; give a run directory."
        except UserError as error:
            yield str(error)
