"""Says which class a model of experiments.train sees in image files, and how probable it is.

python -m experiments.predict --saved_model=runs/NAME/saved_model FILES...

FILES are PNG, JPEG, WebP or BMP of any size, or folders of them.
"""

import csv
import io
import json
import sys

from absl import flags

from experiments import cli
from experiments.exports import image_files, program_flags
from experiments.exports.predictions import NORMALIZED_SIGMOID, SIGMOID
from experiments.runs import outputs
from experiments.runs.figures import accuracy, counted

program_flags.define("saved_model", "probabilities", "output")
flags.DEFINE_integer("top", 3, "Classes that are named for each image, the most probable first.")

GROUPS = {"Model": ("saved_model", "probabilities"), "Output": ("top", "output")}
_FORMATS = (".json", ".csv")
_KINDS = {
    NORMALIZED_SIGMOID: ("probabilities: of a sigmoid head, over their sum",),
    SIGMOID: ("probabilities: of a sigmoid head, one yes or no a class; they do not sum to 1",),
}


def main(argv):
    """Prints the classes of the files that the arguments name, and writes them."""
    given = flags.FLAGS
    folder = program_flags.check_saved_model(given.saved_model)
    _check(given.top, given.output)
    paths = image_files.find(argv[1:])
    from experiments.exports import evaluation, trained  # which import Keras

    description, model = trained.description(folder), trained.Trained(folder)
    reader = image_files.Reader(model.shape)
    kind = evaluation.kind(description["settings"], given.probabilities)
    rows, widest = [], max(len(str(path)) for path in paths)
    for path, *answers in _answers(paths, reader, model, folder, description["settings"]):
        best = _best(*answers, description["class_names"], given.top)
        rows.append((str(path), best))
        cells = (f"{name} {accuracy(probability)}" for name, probability in best)
        print(f"{path!s:<{widest}}  {'  '.join(cells)}")
    for line in (*reader.notes(len(rows)), *_KINDS.get(kind, ())):
        print(line)
    for path, reason in reader.unreadable.items():
        print(f"{path} can't be read: {reason}", file=sys.stderr)
    if not rows:
        raise cli.UserError(f"none of {counted(len(paths), 'file')} can be read as an image.")
    if given.output:
        text = _content(rows, reader.unreadable, kind)
        # A file name that is not UTF-8 is written as it is printed: two such names stay two.
        outputs.write_output(given.output, text.encode(errors="backslashreplace"))
        print(f"written to {given.output}")
    if reader.unreadable:
        sys.exit(1)


def _check(top, output):
    """Raises UserError where a flag is out of range, or names what can't be written."""
    if top < 1:
        raise cli.UserError(f"--top must be at least 1, got {top}.")
    if output and not output.lower().endswith(_FORMATS):
        raise cli.UserError(f"--output={output} must end in {' or '.join(_FORMATS)}.")
    program_flags.check_output(output)


def _answers(paths, reader, model, folder, settings):
    """Yields each path that can be read, with logits and probabilities `[C]` of its image."""
    from experiments.exports import evaluation

    for start in range(0, len(paths), image_files.BATCH):
        some = paths[start : start + image_files.BATCH]
        read = [(path, image) for path in some if (image := reader.read(path)) is not None]
        if read:
            kept, images = zip(*read, strict=True)
            logits = image_files.logits(model, images)
            evaluation.check_finite(logits, folder)
            form = flags.FLAGS.probabilities
            probabilities = evaluation.probabilities(settings, logits, form)
            yield from zip(kept, logits, probabilities, strict=True)


def _best(logits, probabilities, names, number):
    """The most probable classes, as pairs of name and probability."""
    order = (-logits).argsort(kind="stable")[:number]  # two probabilities may both be 1
    return [(names[c], float(probabilities[c])) for c in order]


def _content(rows, unreadable, kind):
    """Text of the file to write: JSON, or CSV with a row an image."""
    given = flags.FLAGS
    if given.output.lower().endswith(".json"):
        record = {
            "saved_model": str(given.saved_model),
            "probabilities": kind,
            "images": [
                {"file": path, "classes": [{"class": n, "probability": p} for n, p in best]}
                for path, best in rows
            ],
            "unreadable": [{"file": str(path), "reason": r} for path, r in unreadable.items()],
        }
        return json.dumps(record, indent=2, allow_nan=False) + "\n"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    places = range(1, len(rows[0][1]) + 1)
    writer.writerow(["file", *(f"{what}_{k}" for k in places for what in ("class", "probability"))])
    writer.writerows([path, *(cell for pair in best for cell in pair)] for path, best in rows)
    return text.getvalue()


if __name__ == "__main__":
    flags.FLAGS["output"].help = "File for the results, .csv or .json."
    cli.run(main, arguments=("FILES...",), groups=GROUPS)
