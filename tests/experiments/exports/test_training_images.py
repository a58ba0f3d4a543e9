"""Test images that a model was trained on: known by their pixels, told, refused or left out."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments.cli import UserError
from experiments.datasets.data import Split
from experiments.datasets.rows import Rows, row_digest
from experiments.exports import training_images
from tests.experiments.cases import Run

SHORT = (
    *("--depth=8", "--batch_size=64", "--plots=false", "--train_epochs=1", "--eval_epochs=1"),
    *("--warmup_epochs=0", "--image_size=8"),
)


def random_images(number):
    return np.random.default_rng(3).integers(0, 256, (number, 4, 5, 3), "uint8")


def test_images_have_the_digests_that_they_have_as_rows_of_a_file():
    images = random_images(6)
    each = np.stack([np.frombuffer(row_digest(image), "uint8") for image in images])
    whole = training_images.digests(Split(images[[4, 1, 5]], np.zeros(3, "int32")))
    rows = training_images.digests(Split(Rows(images, each, [4, 1, 5]), np.zeros(3, "int32")))
    assert whole.tolist() == rows.tolist()
    assert len(set(whole.tolist())) == 3
    text = training_images.as_text(whole)
    assert training_images.of({"training_images": text}).tolist() == whole.tolist()
    assert training_images.of({}) is None


def test_images_that_two_splits_share_are_told_with_their_number():
    images = random_images(9)
    train, held_out, test = (
        Split(images[ids], np.zeros(len(ids), "int32"))
        for ids in ([0, 1, 2, 3], [4, 1], [5, 2, 4, 0, 6])
    )
    seen = training_images.of_splits(train, held_out)
    of_test, of_held_out = training_images.lines(train, held_out, test, seen)
    assert of_test.startswith("3 of 5 test images have the pixels of training images")
    assert of_held_out.startswith("1 of 2 held-out images have the pixels of training images")
    new = test.take(np.array([0, 4]))
    assert not [*training_images.lines(train, None, new, training_images.of_splits(train, None))]


@pytest.mark.parametrize("text", ["no digests!", "AAAA", 5])
def test_what_are_no_digests_is_refused(text):
    with pytest.raises(ValueError, match="'training_images' are not digests"):
        training_images.of({"training_images": text})


@pytest.fixture(scope="module")
def folder(tmp_path_factory, real_digits):
    """The digits 0 to 3 in class folders of 60, 30, 15 and 5 images."""
    root = tmp_path_factory.mktemp("leak") / "digits"
    images, labels = real_digits
    for digit, number in enumerate((60, 30, 15, 5)):
        (root / str(digit)).mkdir(parents=True)
        for i, image in enumerate(images[labels == digit][:number, :, :, 0]):
            Image.fromarray(image).save(root / str(digit) / f"{i:03}.png")
    return root


@pytest.fixture(scope="module")
def run(folder, call_train):
    """A run of one epoch on the folder. Read only."""
    flags = (f"--data_dir={folder.parent / 'cache'}", f"--output_dir={folder.parent / 'run'}")
    call_train(f"--dataset=folder:{folder}", *SHORT, *flags)
    return Run(folder.parent / "run")


@pytest.fixture
def grown(run, folder, tmp_path):
    """A copy of the folder with twenty new images, so that its split is drawn otherwise."""
    copy = tmp_path / "grown"
    shutil.copytree(folder, copy)
    for i, image in enumerate(random_images(20)[:, :, :4, 0].repeat(2, 1).repeat(2, 2)):
        Image.fromarray(image).save(copy / str(i % 2) / f"{i:03}_new.png")
    return copy


def pixels(split):
    """The pixels of each image, without a digest."""
    return [np.asarray(image).tobytes() for image in split.images]


def shared(folder, grown, cache, seed=0):
    """How many images are in the test split of the one and the training split of the other."""
    from experiments import datasets

    trained_on = datasets.load(f"folder:{folder}", cache, choices={"image_size": (8, 8)}).train
    choices = {"image_size": (8, 8), "split_seed": seed}
    test = datasets.load(f"folder:{grown}", cache, choices=choices).test
    return sum(x in {*pixels(trained_on)} for x in pixels(test)), len(test.labels)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["saved_model", "model.keras"])
@pytest.mark.parametrize("split", [(), ("--split_seed=1",)])
def test_a_split_of_a_folder_that_grew_is_refused_told_or_cleaned(
    run, folder, grown, call_evaluate, tmp_path, capsys, model, split
):
    cache, output = tmp_path / "cache", tmp_path / "figures.json"
    of_model = (f"--saved_model={run.folder / model}", f"--data_dir={cache}", *split)
    given = (*of_model, f"--dataset=folder:{grown}", f"--output={output}")
    number, of = shared(folder, grown, cache, seed=len(split))
    assert 0 < number < of
    with pytest.raises(UserError) as caught:
        call_evaluate(*given)
    words = str(caught.value)
    assert words.startswith(f"{number} of {of} test images of folder:{grown} are images that the")
    assert f"--training_images=leave_out to measure on the {of - number} others" in words
    assert ("--split_seed=0, as at the training" in words) == bool(split)
    assert not output.exists()
    for rule, left_out in (("keep", 0), ("leave_out", number)):
        call_evaluate(*given, f"--training_images={rule}")
        assert f"{number} of {of} test images are images that the model was trained on" in (
            capsys.readouterr().out
        )
        found = json.loads(output.read_text())
        about = found["test_data"]
        assert np.sum(found["confusion_matrix"]) == about["images"] == of - left_out
        assert (about["training_images"], about["left_out"]) == (number - left_out, left_out)


@pytest.mark.slow
def test_the_folder_of_the_training_itself_is_looked_at_without_a_flag_of_the_data(
    run, folder, grown, call_evaluate, tmp_path
):
    """What the trial of a stranger found: the files change below a run that is evaluated again."""
    place = tmp_path / "place"
    shutil.copytree(run.folder, place)
    note = place / "saved_model" / "assets.extra" / "cb_keras.json"
    note.write_text(note.read_text().replace(str(folder), str(grown)))
    saved = (f"--saved_model={place / 'saved_model'}", f"--data_dir={tmp_path / 'cache'}")
    with pytest.raises(UserError, match="images that the model was trained on"):
        call_evaluate(*saved)


@pytest.mark.slow
def test_new_images_alone_are_measured_on_and_a_model_that_recorded_nothing_is_told(
    run, grown, call_evaluate, tmp_path, capsys
):
    new = tmp_path / "new"
    for file in grown.glob("*/*_new.png"):
        (new / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, new / file.parent.name)
    output = tmp_path / "figures.json"
    given = (f"--dataset=folder:{new}", "--test_fraction=1", f"--output={output}")
    given += (f"--data_dir={tmp_path / 'cache'}",)
    call_evaluate(f"--saved_model={run.folder / 'saved_model'}", *given)
    assert "0 of 20 test images are images that the model was trained on" in capsys.readouterr().out
    assert json.loads(output.read_text())["test_data"]["training_images"] == 0
    older = tmp_path / "older"
    shutil.copytree(run.folder, older)
    (older / "training_images.npy").unlink()
    call_evaluate(f"--saved_model={older / 'model.keras'}", *given)
    assert "is not known: it is of an older version" in capsys.readouterr().out
    assert json.loads(output.read_text())["test_data"]["training_images"] is None
    (older / "training_images.npy").write_bytes(b"half a file")
    with pytest.raises(UserError, match=r"training_images\.npy can't be read .* delete it"):
        call_evaluate(f"--saved_model={older / 'model.keras'}", *given)


@pytest.mark.slow
def test_the_same_files_in_train_and_test_are_told_by_the_training_and_the_evaluation(
    folder, call_train, call_evaluate, tmp_path, capsys
):
    both, output = tmp_path / "both", tmp_path / "figures.json"
    shutil.copytree(folder, both / "train")
    for file in sorted((folder / "1").iterdir())[:10]:
        (both / "test" / "1").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, both / "test" / "1")
    cache = f"--data_dir={tmp_path / 'cache'}"
    call_train(f"--dataset=folder:{both}", *SHORT, cache, f"--output_dir={tmp_path / 'run'}")
    assert "warning: 10 of 10 test images have the pixels of training" in capsys.readouterr().err
    call_evaluate(f"--saved_model={tmp_path / 'run' / 'saved_model'}", cache, f"--output={output}")
    assert "10 of 10 test images are images that the model was" in capsys.readouterr().out
    assert json.loads(output.read_text())["test_data"]["training_images"] == 10


@pytest.mark.slow
def test_two_runs_are_compared_on_images_that_neither_was_trained_on(
    run, grown, folder, call_compare, tmp_path, capsys
):
    cache = tmp_path / "cache"
    number, of = shared(folder, grown, cache)
    given = (run.folder, run.folder, f"--dataset=folder:{grown}", f"--data_dir={cache}")
    with pytest.raises(UserError, match=f"{number} of {of} test images of .* trained on"):
        call_compare(*given)
    call_compare(*given, "--training_images=leave_out", "--resamples=5")
    assert f"{of - number} test images of folder:" in capsys.readouterr().out
