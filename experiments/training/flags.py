"""The flags of experiments.train, and the settings that they give."""

import contextlib

from absl import flags

from experiments import backbones, datasets, exports, methods
from experiments.backbones import weights
from experiments.cli import UserError
from experiments.datasets import data_flags
from experiments.runs import sampling, tails
from experiments.training import first_stage, recipe_flags

flags.DEFINE_enum(
    "method",
    methods.DEFAULT,
    list(methods.METHODS),
    "; ".join(f"{method.name}: {method.title}" for method in methods.METHODS.values()) + ".",
)
flags.DEFINE_string(
    "first_stage",
    None,
    "Directory of the finished run that a second stage begins with; its data and its network are "
    "those of that run.",
)
flags.DEFINE_enum("loss", "softmax", list(methods.LOSSES), "Loss; --method says which it accepts.")
for _parameter in methods.PARAMETERS.values():
    _parameter.define_flag()

flags.DEFINE_string(
    "image_size",
    None,
    "Size that the images of folder:PATH are resized to, one side or HEIGHTxWIDTH; default: their "
    "own, where all have one.",
)
flags.DEFINE_enum(
    "long_tail",
    None,
    list(tails.KINDS),
    "exponential: cut the training set to Cui's profile; natural: use all of it as it is. Default: "
    "natural for tfds:NAME, folder:PATH and npz:FILE unless --imbalance_factor is given, "
    "exponential for all else.",
)
flags.DEFINE_float(
    "imbalance_factor",
    0.02,
    "Smallest / largest class size after the cut, in (0, 1]; 1: balanced. The largest class keeps "
    "as many images as the smallest of the data set has.",
)
flags.DEFINE_integer(
    "long_tail_seed",
    None,
    "Seed of the choice of the tail's images; default: that of --seed. Given, the runs of several "
    "--seed learn from the same images.",
)
flags.DEFINE_string(
    "sampler",
    sampling.UNIFORM,
    f"How often an epoch shows the images of each class, one of {sampling.NAMES}. uniform: every "
    "image once; class_balanced: as many of each class; square_root: between the two; progressive: "
    "from every image once to as many of each class, by the epoch; power:P: class c by n_c^(1-P). "
    "An epoch has as many images either way.",
)

flags.DEFINE_float(
    "validation_fraction",
    0,
    "Part of every class that is held out of the training images, after the long tail is cut, and "
    "evaluated during the training in place of the test set; settings are then chosen by its "
    "balanced accuracy. By --split_seed.",
)

flags.DEFINE_integer("train_epochs", 200, "Epochs.")
flags.DEFINE_integer("eval_epochs", 2, "Epochs between evaluations.")
flags.DEFINE_integer("batch_size", 128, "Images per training step.")
flags.DEFINE_float("learning_rate", 0.1, "Learning rate after the warm-up.")
flags.DEFINE_float("warmup_epochs", 5, "Epochs of linear warm-up from 0.")
flags.DEFINE_list("lr_boundaries", ["0.8", "0.9"], "Fractions of the run at which the rate drops.")
flags.DEFINE_float("lr_decay", 0.01, "Factor of the rate at each boundary.")
flags.DEFINE_float(
    "balanced_lr_decay",
    None,
    "Used instead of --lr_decay where the training set is balanced (preset cui2019: 0.1).",
)
flags.DEFINE_float("momentum", 0.9, "Momentum of SGD, in [0, 1).")
flags.DEFINE_float("weight_decay", 2e-4, "L2 penalty: weight_decay * sum(w^2) / 2.")
flags.DEFINE_string("backbone", backbones.DEFAULT, f"The network: {backbones.NAMES}.")
flags.DEFINE_integer("depth", 32, "Depth of the small ResNet, 6n + 2.")
flags.DEFINE_string(
    "backbone_weights",
    None,
    "File of weights that all layers but the last start from: of the same backbone with "
    "include_top=False (NAME.weights.h5, NAME.h5), or a saved model that begins with it "
    "(NAME.keras). Nothing is downloaded; without a file they are random.",
)
flags.DEFINE_integer(
    "freeze_epochs",
    0,
    "Epochs at the start that train the last layer alone, the batch normalisation of the others in "
    "inference mode.",
)
flags.DEFINE_enum(
    "augmentation",
    "auto",
    ["auto", "none", "crop", "crop_flip"],
    "Random crop of the zero-padded image, random left-right flip; auto suits the data set.",
)
flags.DEFINE_integer(
    "seed", 0, "Seed of the weights, the order and the augmentation; and of the long tail."
)

flags.DEFINE_enum(
    "precision", "float32", ["float32", "mixed_bfloat16", "mixed_float16"], "Policy of the layers."
)
flags.DEFINE_enum(
    "jit_compile",
    "auto",
    ["auto", "true", "false"],
    "XLA; auto: on with a GPU, off without, where it is slower for this network.",
)
flags.DEFINE_enum(
    "fused_op",
    "auto",
    ["auto", "on", "off"],
    "Native op for the loss; auto: where it is built for this device. Same values either way.",
)
flags.DEFINE_bool(
    "deterministic",
    False,
    "Only operations that give the same bits every time. A GPU needs it for that, and is slower "
    "with it; the CPU gives the same bits without.",
)
flags.DEFINE_enum(
    "strategy", "none", ["none", "mirrored"], "mirrored: all devices of this machine."
)

flags.DEFINE_string(
    "output_dir", None, "Run directory; default: a name made of the flags, under runs/."
)
flags.DEFINE_bool("resume", False, "Continue the run in --output_dir.")
flags.DEFINE_string(
    "same_data_as",
    None,
    "Directory of another run: other images, labels or classes than it began with are refused "
    "before the training. experiments.sweep gives it.",
)
flags.DEFINE_list(
    "exports",
    None,
    f"What the trained model is written as besides model.keras: {', '.join(exports.EXPORTS)}. "
    "Default: saved_model, on JAX none of them; there TensorFlow writes it, if it is installed.",
)
flags.DEFINE_bool("plots", True, "Draw pictures at the end; needs matplotlib.")

# Every flag of a training, as `--help` shows them.
GROUPS = {
    "Method and loss": ("method", "loss", "first_stage", *methods.PARAMETERS),
    "Data": (*data_flags.GROUPS["Data"], "validation_fraction", "image_size", "same_data_as"),
    "Long tail": ("long_tail", "imbalance_factor", "long_tail_seed", "sampler"),
    "Network": ("backbone", "depth", "backbone_weights", "freeze_epochs"),
    "Protocol": (
        *("train_epochs", "eval_epochs", "batch_size", "learning_rate", "warmup_epochs"),
        *("lr_boundaries", "lr_decay", "balanced_lr_decay", "momentum", "weight_decay"),
        *("augmentation", "seed"),
    ),
    **recipe_flags.GROUPS,
    "Machine": ("precision", "jit_compile", "fused_op", "deterministic", "strategy"),
    "Run directory": ("output_dir", "resume", "exports", "plots"),
}
_NAMES = tuple(name for names in GROUPS.values() for name in names)

# What may differ between a run and its continuation.
_NOT_RECORDED = (
    *("data_dir", "download", "exports", "output_dir", "plots", "resume"),
    "same_data_as",
)


def given_settings():
    """Values of all flags as a dict; `--long_tail` and the backbone as they take effect."""
    given = backbones.settled({name: flags.FLAGS[name].value for name in _NAMES})
    given["sampler"] = sampling.canonical(given["sampler"])
    given = first_stage.adopted(given, lambda name: flags.FLAGS[name].present)
    with contextlib.suppress(UserError):  # which the checks of the settings tell
        given["dataset"] = datasets.canonical(given["dataset"])
    return _with_long_tail(given, flags.FLAGS["imbalance_factor"].present)


def protocol_defaults():
    """The settings of the published protocol, which are the defaults of the recorded flags."""
    defaults = {name: default(name) for name in _NAMES}
    return recorded(_with_long_tail(defaults, factor_given=False))


def default(name):
    """The default of a flag."""
    return flags.FLAGS[name].default


def is_recorded(name):
    """Whether a flag makes the run what it is."""
    return name not in _NOT_RECORDED


def recorded(settings):
    """The settings that make the run what it is: those a continuation must share."""
    kept = {name: value for name, value in settings.items() if is_recorded(name)}
    kept["backbone_weights"] = weights.recorded(settings["backbone_weights"])
    return {**kept, "first_stage": first_stage.recorded(settings["first_stage"])}


def command_line(settings):
    """The flags that give experiments.train these settings, as a list; defaults are left out."""
    texts = [(name, _text(settings[name]), _text(default(name))) for name in _NAMES]
    return [f"--{name}={text}" for name, text, usual in texts if text not in (usual, None)]


def _with_long_tail(settings, factor_given):
    """The settings with a value for `--long_tail`: nobody's own data are cut without being asked.

    It is settled here, once, so that a run records what was done, whatever the default is later.
    """
    if settings["long_tail"] is not None:
        return settings
    usual = datasets.default_long_tail(settings["dataset"])
    return {**settings, "long_tail": tails.EXPONENTIAL if factor_given else usual}


def _text(value):
    """A value as a command line has it."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    if value is None:  # not "None", which is a name like any other
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
