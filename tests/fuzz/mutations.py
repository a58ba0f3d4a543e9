"""Makes inputs of `targets` out of others: flags, JSON and CSV with nasty values in them."""

import json
import random

from absl import flags

NUMBERS = (
    *("0", "-0.0", "1", "-1", "2", "1e400", "-1e400", "1e-400", "nan", "inf", "-inf", "1_0", "٣"),
    *("9" * 19, "1" + "0" * 309, "9" * 5000, str(2**31), str(2**63), "0.9999999", "1.0000001"),
)
NASTY = (
    *NUMBERS,
    *("", " ", "None", "null", "true", "false", "True", "yes", "auto", "0x10", "²", "½"),
    *("0.5,0.5", "0.8,0.9", "0,1,2", "0,00", "1,+1", ",", '"', '"0.5', "0.5\r", "0.1,nan", "a\tb"),
    *(
        "tfds:x",
        "tfds:x/y:1.0.0",
        "tfds:" + "a" * 300,
        "tfds:é",
        "cifar100",
        "digits",
        "../..",
        "/",
    ),
    *(
        "focal",
        "natural",
        "mirrored",
        "mixed_float16",
        "power",
        "on",
        "off",
        "runs/x",
        "~",
        "--",
        "=",
    ),
    *("\udcff", "\x1b[31m", "{}", "%s", "'", "\\", "#", "a" * 5000),
)
JSON_NASTY = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, 1e-320, 10**400, 2**63),
    *(float("nan"), float("inf"), float("-inf"), "", "a", "\udcff", "1", "softmax", "focal"),
    *([], {}, [[]], [None], [1, 2, 3], [1, 2], [0, 0, 0], ["a"] * 3, {"": 0}, {"flags": {}}),
)
_NESTED = (b"[" * 100_000, b'{"a":' * 50_000, b"[" * 5000 + b"]" * 5000)


def mutated(data, rng):
    """`data` with one change that suits its kind, or any change of its bytes."""
    kind, body = data[:1], data[1:]
    if rng.random() < 0.15:
        return kind + _bytes(body, rng)
    if kind in b"tsf":
        return kind + _arguments(body, rng)
    if kind in b"cm":
        return kind + _json(body, rng)
    return kind + _csv(body, rng)


def changed(data, seed):
    """`data` after one to four changes, the same for the same seed."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 4)):
        data = mutated(data, rng)
    return data


def _bytes(data, rng):
    data = bytearray(data)
    at = rng.randint(0, len(data))
    change = rng.randrange(5)
    if change == 0:
        del data[at:]
    elif change == 1:
        del data[at : at + rng.randint(1, 8)]
    elif change == 2:
        data[at:at] = rng.choice((b"\0", b"\n", b"\r", b'"', b",", b"\xff", b"\xef\xbb\xbf", b"9"))
    elif change == 3 and data:
        data[at % len(data)] = rng.randrange(256)
    else:
        data[at:at] = data[at : at + 40]
    return bytes(data)


def _arguments(data, rng):
    lines = data.split(b"\n") if data else []
    at = rng.randint(0, len(lines))
    change = rng.randrange(6)
    if change == 0 and lines:
        del lines[at % len(lines)]
    elif change == 1 and lines:
        name, _, _ = lines[at % len(lines)].partition(b"=")
        lines[at % len(lines)] = name + b"=" + _value(rng)
    elif change == 2 and lines:
        lines[at % len(lines)] = _bytes(lines[at % len(lines)], rng)
    else:
        lines.insert(at, _argument(rng))
    return b"\n".join(lines)


def _argument(rng):
    name = rng.choice(_names())
    flag = flags.FLAGS[name]
    no = "no" if flag.boolean and rng.random() < 0.5 else ""
    if flag.boolean and rng.random() < 0.5:
        return f"--{no}{name}".encode()
    if getattr(flag.parser, "enum_values", None) and rng.random() < 0.7:
        return f"--{name}={rng.choice(flag.parser.enum_values)}".encode()
    if flag.flag_type() in ("int", "float") and rng.random() < 0.8:
        ordinary = (rng.uniform(0, 1), rng.uniform(0, 300), rng.randint(0, 300))
        return f"--{name}={rng.choice((*NUMBERS, *ordinary * 3))}".encode()
    return f"--{no}{name}=".encode() + _value(rng)


def _value(rng):
    return rng.choice(NASTY).encode("utf-8", "surrogateescape")


def _names():
    """The flags of the programs, and some that absl brings along."""
    own = (
        "experiments.training.flags",
        "experiments.datasets.data_flags",
        "experiments.sweep",
    )
    by_module = flags.FLAGS.flags_by_module_dict()
    names = [flag.name for module in own for flag in by_module.get(module, ())]
    return [*names, "verbosity", "v", "stderrthreshold"]


def _json(data, rng):
    if rng.random() < 0.02:
        return rng.choice(_NESTED)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return _bytes(data, rng)
    places = list(_places(content))
    if not places:
        return json.dumps(rng.choice(JSON_NASTY)).encode()
    holder, key = rng.choice(places)
    change = rng.randrange(4)
    if change == 0:
        del holder[key]
    elif change == 1 and isinstance(holder, list):
        holder.append(rng.choice(JSON_NASTY))
    elif change == 1:
        holder[rng.choice(("flags", "train_epochs", "new", "", "\udcff"))] = rng.choice(JSON_NASTY)
    else:
        holder[key] = rng.choice(JSON_NASTY)
    return json.dumps(content).encode()


def _places(content):
    """`(holder, key)` of everything in a JSON value."""
    items = enumerate(content) if isinstance(content, list) else ()
    items = content.items() if isinstance(content, dict) else items
    for key, value in items:
        yield content, key
        yield from _places(value)


def _csv(data, rng):
    rows = [row.split(b",") for row in data.split(b"\n")]
    row = rng.choice(rows)
    at = rng.randrange(len(row))
    change = rng.randrange(4)
    if change == 0:
        del row[at]
    elif change == 1:
        row.insert(at, _value(rng))
    elif change == 2:
        rows.insert(rng.randrange(len(rows)), list(row))
    else:
        row[at] = _value(rng)
    return b"\n".join(b",".join(row) for row in rows)
