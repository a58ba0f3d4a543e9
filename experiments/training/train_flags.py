"""The flags of experiments.train, and the one place that checks them, together."""

import importlib.util
import math

from absl import flags

from cb_keras import functional, fused, long_tail, weights
from experiments.cli import UserError, check_loadable, local_path
from experiments.datasets import check_name, data_flags
from experiments.runs.run_files import run_name
from experiments.training import machine

LOSS = flags.DEFINE_enum("loss", "softmax", ["softmax", "sigmoid", "focal"], "Loss.")
CB_POWER = flags.DEFINE_float("cb_power", 1.0, "Power of the class-balanced term; 0: plain loss.")
CB_BETA = flags.DEFINE_float("cb_beta", 0.9999, "Beta of the effective number, in [0, 1].")
GAMMA = flags.DEFINE_float("gamma", 1.0, "Focusing parameter of the focal loss, >= 0.")
LONG_TAIL = flags.DEFINE_enum(
    "long_tail",
    None,
    ["exponential", "natural"],
    "exponential: cut the training set to Cui's profile; natural: use all of it as it is. Default: "
    "natural for tfds:NAME unless --imbalance_factor is given, exponential for all else.",
)
IMBALANCE_FACTOR = flags.DEFINE_float(
    "imbalance_factor", 0.02, "Smallest / largest class size, in (0, 1]; 1: balanced."
)
TRAIN_EPOCHS = flags.DEFINE_integer("train_epochs", 200, "Epochs.")
EVAL_EPOCHS = flags.DEFINE_integer("eval_epochs", 2, "Epochs between evaluations.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images per training step.")
LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.1, "Learning rate after the warm-up.")
WARMUP_EPOCHS = flags.DEFINE_float("warmup_epochs", 5, "Epochs of linear warm-up from 0.")
LR_BOUNDARIES = flags.DEFINE_list(
    "lr_boundaries", ["0.8", "0.9"], "Fractions of the run at which the rate drops."
)
LR_DECAY = flags.DEFINE_float("lr_decay", 0.01, "Factor of the rate at each boundary.")
BALANCED_LR_DECAY = flags.DEFINE_float(
    "balanced_lr_decay",
    None,
    "Used instead of --lr_decay where the training set is balanced (preset cui2019: 0.1).",
)
MOMENTUM = flags.DEFINE_float("momentum", 0.9, "Momentum of SGD, in [0, 1).")
WEIGHT_DECAY = flags.DEFINE_float("weight_decay", 2e-4, "L2 penalty: weight_decay * sum(w^2) / 2.")
DEPTH = flags.DEFINE_integer("depth", 32, "Depth of the ResNet, 6n + 2.")
AUGMENTATION = flags.DEFINE_enum(
    "augmentation",
    "auto",
    ["auto", "none", "crop", "crop_flip"],
    "Random crop of the zero-padded image, random left-right flip; auto suits the data set.",
)
SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the long tail, the weights, the order and the augmentation."
)
PRECISION = flags.DEFINE_enum(
    "precision", "float32", ["float32", "mixed_bfloat16", "mixed_float16"], "Policy of the layers."
)
JIT_COMPILE = flags.DEFINE_enum(
    "jit_compile",
    "auto",
    ["auto", "true", "false"],
    "XLA; auto: on with a GPU, off without, where it is slower for this network.",
)
FUSED_OP = flags.DEFINE_enum(
    "fused_op",
    "auto",
    ["auto", "on", "off"],
    "Native op for the loss; auto: where it is built and XLA is off. Same values either way.",
)
DETERMINISTIC = flags.DEFINE_bool(
    "deterministic",
    False,
    "Only operations that give the same bits every time. A GPU needs it for that, and is slower "
    "with it; the CPU gives the same bits without.",
)
STRATEGY = flags.DEFINE_enum(
    "strategy", "none", ["none", "mirrored"], "mirrored: all devices of this machine."
)
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Run directory; default: a name made of the flags, under runs/."
)
RESUME = flags.DEFINE_bool("resume", False, "Continue the run in --output_dir.")
PLOTS = flags.DEFINE_bool("plots", True, "Draw pictures at the end; needs matplotlib.")

# What may differ between a run and its continuation.
_NOT_RECORDED = ("data_dir", "download", "output_dir", "resume", "plots")
_PATHS = ("data_dir", "output_dir")
_TOO_MANY = 2**31


def checked_settings():
    """Values of all flags as a dict, checked together before anything is loaded.

    Raises:
        UserError: Lists every flag that is out of range or contradicts another.
    """
    settings = checked(given_settings())
    given = [name for name in _PATHS if settings[name] is not None]
    settings |= {name: str(local_path(f"--{name}", settings[name])) for name in given}
    if settings["output_dir"] is None:
        settings["output_dir"] = f"runs/{run_name(settings)}"
    return settings


def given_settings():
    """Values of all flags as a dict, as they were given; `--long_tail` as it takes effect."""
    given = {holder.name: holder.value for holder in _holders()}
    return _with_long_tail(given, flags.FLAGS["imbalance_factor"].present)


def checked(settings):
    """The settings, checked together.

    Raises:
        UserError: Lists every setting that is out of range or contradicts another.
    """
    problems = [*_range_problems(settings), *_contradictions(settings), *_path_problems(settings)]
    problems += machine.keras_problems()
    # Else every schedule is wrong too, which says nothing new.
    if 1 <= settings["train_epochs"] < _TOO_MANY:
        problems += _schedule_problems(settings)
    if problems:
        raise UserError("\n  ".join(problems))
    return {**settings, "lr_boundaries": [float(b) for b in settings["lr_boundaries"]]}


def protocol_defaults():
    """The settings of the published protocol, which are the defaults of the recorded flags."""
    defaults = {holder.name: holder.default for holder in _holders()}
    return recorded(_with_long_tail(defaults, factor_given=False))


def command_line(settings):
    """The flags that give experiments.train these settings, as a list; defaults are left out."""
    pairs = [(h.name, _text(settings[h.name]), _text(h.default)) for h in _holders()]
    return [f"--{name}={text}" for name, text, default in pairs if text not in (default, None)]


def _with_long_tail(settings, factor_given):
    """The settings with a value for `--long_tail`: nobody's own data are cut without being asked.

    It is settled here, once, so that a run records what was done, whatever the default is later.
    """
    if settings["long_tail"] is not None:
        return settings
    whole = settings["dataset"].startswith("tfds:") and not factor_given
    return {**settings, "long_tail": "natural" if whole else "exponential"}


def recorded(settings):
    """The settings that make the run what it is: those a continuation must share."""
    return {name: value for name, value in settings.items() if name not in _NOT_RECORDED}


def _range_problems(s):
    yield from _refused(
        ("cb_beta", weights.check_beta),
        ("cb_power", weights.check_power),
        ("gamma", functional.check_gamma),
        ("imbalance_factor", long_tail.check_imbalance_factor),
        ("dataset", check_name),
        settings=s,
    )
    for name in ("train_epochs", "eval_epochs", "batch_size", "eval_batch_size"):
        if s[name] < 1:
            yield f"--{name} must be at least 1, got {s[name]}."
        elif s[name] >= _TOO_MANY:
            yield f"--{name} must be below 2^31, got {s[name]}."
    for name in ("learning_rate", "lr_decay", "balanced_lr_decay"):
        if s[name] is not None and not 0 < s[name] < math.inf:
            yield f"--{name} must be a finite number > 0, got {s[name]}."
    if not 0 <= s["momentum"] < 1:
        yield f"--momentum must be in [0, 1), got {s['momentum']}; usual is 0.9."
    if not 0 <= s["weight_decay"] < math.inf:
        yield f"--weight_decay must be a finite number >= 0, got {s['weight_decay']}."
    if s["depth"] < 8 or (s["depth"] - 2) % 6:
        yield f"--depth must be 6n + 2 (8, 14, 20, 26, 32, ...), got {s['depth']}."
    if not 0 <= s["seed"] < 2**31:
        yield f"--seed must be in [0, 2^31), got {s['seed']}."


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
    elif boundaries and s["warmup_epochs"] > boundaries[0] * s["train_epochs"]:
        yield (
            f"--warmup_epochs={s['warmup_epochs']:g} does not end before the first of "
            f"--lr_boundaries, epoch {boundaries[0] * s['train_epochs']:g} of "
            f"--train_epochs={s['train_epochs']}; shorten the warm-up."
        )
    elif s["warmup_epochs"] >= s["train_epochs"]:
        yield f"--warmup_epochs={s['warmup_epochs']:g} does not end before the run does."


def _contradictions(s):
    if s["loss"] != "focal" and s["gamma"] != 1.0:
        yield f"--gamma={s['gamma']} has no effect on --loss={s['loss']}; it belongs to focal."
    # Not `present`: a flagfile of one's own may name the default, and go with either kind of tail.
    own_factor = s["imbalance_factor"] != IMBALANCE_FACTOR.default
    if s["long_tail"] == "natural" and own_factor:
        yield "--imbalance_factor has no effect with --long_tail=natural; leave one of them out."
    if s["fused_op"] == "on":
        if s["jit_compile"] == "true":
            yield "--fused_op=on can't be used with --jit_compile=true: XLA can't call the op."
        elif not fused.available():
            yield f"--fused_op=on can't be honoured; {fused.status()}"
    if s["plots"] and importlib.util.find_spec("matplotlib") is None:
        yield "--plots needs matplotlib: pip install 'cb_keras[plots]', or pass --plots=false."


def _path_problems(s):
    for name in _PATHS:
        try:
            path = local_path(f"--{name}", s[name])
            if name == "output_dir":
                check_loadable("--output_dir", path or "runs")  # as checked_settings names it
        except UserError as error:
            yield str(error)


def _refused(*checks, settings):
    for name, check in checks:
        try:
            check(settings[name])
        except ValueError as error:
            yield f"--{name}: {error}"


def _text(value):
    if isinstance(value, list):
        return ",".join(map(str, value))
    if value is None:  # not "None", which is a name like any other
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _holders():
    return [
        value
        for value in (*vars(data_flags).values(), *globals().values())
        if isinstance(value, flags.FlagHolder)
    ]
