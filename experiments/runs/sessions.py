"""With what each part of a run was trained: the `sessions` of `config.json`.

A run that was stopped may go on with another device, other versions, without the fused op: that
changes the last bits, and what the run was begun with must not be lost for it.
"""

import itertools
import json
import re

# Of the surroundings, those that change how sums are added.
_VARIABLES = ("TF_ENABLE_ONEDNN_OPTS", "OMP_NUM_THREADS", "XLA_FLAGS", "TF_NUM_INTRAOP_THREADS")
_FRAMEWORKS = ("tensorflow", "jax")
_HARMLESS = re.compile(r"--\w+|(--\w+=)?(true|false|[\d.,+-]*)", re.IGNORECASE)


def begin(first_epoch, resolved, environment, variables):
    """The session that is beginning, a JSON-able dict.

    Args:
        first_epoch: The epoch it begins with, from 1; one more than there are where only the
            figures are left to do.
        resolved: `resolved` of `config.json`.
        environment: Of `machine.environment`.
        variables: The environment variables, a mapping.
    """
    set_here = {name: _without_paths(variables[name]) for name in _VARIABLES if name in variables}
    return {
        "first_epoch": first_epoch,
        **environment,
        "resolved": resolved,
        "variables": set_here,
    }


def after(config, session):
    """The list of sessions once `session` goes on with the run that `config` is of.

    Sessions whose epochs are all trained again have no part in the result and are left out.

    Args:
        config: `config.json` as the session before left it, or None for a new run.
        session: Of `begin`.
    """
    first = session["first_epoch"]
    before = of(config) if config and first > 1 else []
    return [*(s for s in before if (s["first_epoch"] or 1) < first), session]


def of(config):
    """The sessions in a `config.json`; the only one known where an older version wrote it.

    That one's `first_epoch` is None: it may itself have gone on with a run.
    """
    found = config.get("sessions")
    if isinstance(found, list) and all(_is_session(s) for s in found) and found:
        return found
    names = ("versions", "device", "command", "resolved")
    only = {"first_epoch": None, **{n: config[n] for n in names if n in config}}
    return [only if _is_session(only) else {"first_epoch": None}]


def changes(sessions):
    """A line for each session that went on with something else than the one before it."""
    for before, now in itertools.pairwise(sessions):
        first, last = before["first_epoch"], (now["first_epoch"] or 1) - 1
        if different := "; ".join(_differences(before, now)):
            if first is None:
                epochs = f"the epochs up to {last} were"
            else:
                epochs = f"epochs {first} to {last} were" if first < last else f"epoch {last} was"
            yield f"{epochs} trained {different}: the last bits may differ"


def _differences(before, now):
    for name, theirs, ours in _pairs(before, now, "resolved"):
        words = {"fused_op": "the fused op", "jit_compile": "XLA"}.get(name)
        if words:
            yield f"{_with(theirs)} {words}, now {_with(ours)}"
        else:
            yield f"with {name} {theirs}, now {ours}"
    theirs, ours = before.get("device"), now.get("device")
    if theirs and ours and theirs != ours:
        yield f"on {_list(theirs)}, now on {_list(ours)}"
    theirs, ours = _framework(before), _framework(now)
    if theirs and ours and theirs != ours:
        yield f"with {theirs}, now {ours}"
    for name, theirs, ours in _pairs(before, now, "versions"):
        yield f"with {name} {theirs}, now {ours}"
    if "variables" in before:  # not where an older version wrote it
        for name, theirs, ours in _pairs(before, now, "variables", dict.fromkeys(_VARIABLES)):
            yield f"with {name} {_set(theirs)}, now {_set(ours)}"


def _framework(session):
    """Name of the framework that a session trained with; None where it is not known."""
    versions = session.get("versions")
    known = versions if isinstance(versions, dict) else {}
    return next((name for name in _FRAMEWORKS if name in known), None)


def _pairs(before, now, part, absent=None):
    """`(name, value before, value now)` of what differs; what one of them lacks is not known."""
    theirs, ours = (
        {**(absent or {}), **(s[part] if isinstance(s.get(part), dict) else {})}
        for s in (before, now)
    )
    for name, value in ours.items():
        if name in theirs and theirs[name] != value:
            yield name, theirs[name], value


def _set(value):
    return "unset" if value is None else value or "empty"


def _with(value):
    return "with" if value else "without"


def _list(device):
    return " and ".join(map(str, device)) if isinstance(device, list) else str(device)


def _is_session(session):
    """Whether it is as `begin` makes them; another's `config.json` may hold anything."""
    if not isinstance(session, dict):
        return False
    first = session.get("first_epoch", 0)
    whole = first is None or (type(first) is int and first > 0)
    whole = whole and all(isinstance(session.get(n, {}), dict) for n in ("resolved", "versions"))
    try:
        json.dumps(session, allow_nan=False)  # so that it can be written again
    except ValueError:
        return False
    return whole


def _without_paths(value):
    """The words of a variable; values other than numbers and switches are replaced by "..."."""
    words = []
    for word in value.split():
        name = re.match(r"--\w+=", word)
        words.append(word if _HARMLESS.fullmatch(word) else f"{name[0] if name else ''}...")
    return " ".join(words)
