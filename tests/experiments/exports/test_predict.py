"""experiments.predict: classes of image files, as the SavedModel has them."""

import csv
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from experiments.cli import UserError
from experiments.exports import image_files


@pytest.fixture(scope="module")
def pictures(real_digits, tmp_path_factory):
    """Folder of six digits as files: gray, in colour, enlarged; with others that are no images."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "below" / ".hidden").mkdir(parents=True)
    for i in range(6):
        image = Image.fromarray(real_digits[0][i, ..., 0])
        image = image.convert("RGB") if i in (1, 2) else image
        image = image.resize((16, 24), Image.Resampling.NEAREST) if i == 3 else image
        image.save((folder / "below" if i == 5 else folder) / f"{i}.{'bmp' if i == 4 else 'png'}")
    (folder / "notes.txt").write_text("no image")
    for hidden in (folder / ".7.png", folder / "below" / ".hidden" / "8.png"):
        hidden.write_bytes((folder / "0.png").read_bytes())
    return folder


def answers(run, images):
    saved = str(run.folder / "saved_model")
    serve = tf.saved_model.load(saved).signatures["serving_default"]
    return serve(images=tf.constant(images))["probabilities"].numpy()


def test_the_classes_and_probabilities_are_those_of_the_saved_model(
    digits_run, call_predict, real_digits, pictures, tmp_path, capsys
):
    output = tmp_path / "found.json"
    saved = f"--saved_model={digits_run.folder / 'saved_model'}"
    call_predict(saved, pictures, "--top=2", f"--output={output}")
    found = json.loads(output.read_text())
    assert found["probabilities"] == "softmax"
    names = [image["file"].removeprefix(f"{pictures}/") for image in found["images"]]
    assert names == ["0.png", "1.png", "2.png", "3.png", "4.bmp", "below/5.png"]
    expected = answers(digits_run, real_digits[0][:6])
    printed = capsys.readouterr().out
    for i, image in enumerate(found["images"]):
        if i == 3:  # which is resized
            continue
        best = np.argsort(-expected[i])[:2]
        assert [entry["class"] for entry in image["classes"]] == [str(c) for c in best]
        probabilities = [entry["probability"] for entry in image["classes"]]
        np.testing.assert_allclose(probabilities, expected[i, best], atol=1e-5)
        line = next(line for line in printed.splitlines() if line.split()[0] == image["file"])
        assert line.split()[1] == str(best[0])
    assert f"{pictures}: 1 file of other types left out: '.txt'" in printed.splitlines()
    assert "1 of 6 images resized to 8x8, which the model takes" in printed
    assert "2 of 6 images made gray: the model takes 1" in printed


def test_probabilities_of_a_sigmoid_head_sum_to_1_unless_they_are_asked_for_raw(
    short_run, call_predict, real_digits, pictures, tmp_path, capsys
):
    output = tmp_path / "found.csv"
    saved = f"--saved_model={short_run.folder / 'saved_model'}"
    expected = answers(short_run, real_digits[0][:1])[0]
    for form, of_all in (("normalized", expected / expected.sum()), ("raw", expected)):
        call_predict(
            *(saved, pictures / "0.png", "--top=99", f"--probabilities={form}"),
            f"--output={output}",
        )
        with open(output, newline="") as file:
            (row,) = csv.DictReader(file)
        found = {row[f"class_{k}"]: float(row[f"probability_{k}"]) for k in range(1, 11)}
        np.testing.assert_allclose([found[str(c)] for c in range(10)], of_all, atol=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True)
    printed = capsys.readouterr().out
    assert "of a sigmoid head, over their sum" in printed
    assert "one yes or no a class; they do not sum to 1" in printed


def test_a_file_that_is_no_image_is_named_and_the_others_are_answered(
    digits_run, call_predict, pictures, tmp_path, capsys
):
    damaged, output = tmp_path / "damaged.png", tmp_path / "found.json"
    damaged.write_bytes((pictures / "0.png").read_bytes()[:60])
    saved = f"--saved_model={digits_run.folder / 'saved_model'}"
    files = (pictures / "0.png", damaged, pictures / "notes.txt")
    with pytest.raises(SystemExit) as caught:
        call_predict(saved, *files, f"--output={output}")
    assert caught.value.code == 1
    found = json.loads(output.read_text())
    assert [image["file"] for image in found["images"]] == [str(pictures / "0.png")]
    assert [entry["file"] for entry in found["unreadable"]] == [str(file) for file in files[1:]]
    errors = capsys.readouterr().err
    assert f"{damaged} can't be read: " in errors
    assert "notes.txt can't be read: not an image (accepted: BMP, JPEG, PNG, WebP)\n" in errors
    with pytest.raises(UserError, match=r"none of 1 file can be read as an image\."):
        call_predict(saved, damaged)


def test_images_of_other_types_are_counted_in_a_folder_and_by_name_told_their_type(
    digits_run, call_predict, pictures, tmp_path, capsys
):
    folder, saved = tmp_path / "scans", f"--saved_model={digits_run.folder / 'saved_model'}"
    (folder / "more").mkdir(parents=True)
    with Image.open(pictures / "0.png") as image:
        for name in ("a.png", "b.tif", "more/c.TIF", "more/d.gif"):
            image.save(folder / name)
    (folder / "more" / "README").write_text("scans")
    call_predict(saved, folder)
    told = f"{folder}: 4 files of other types left out: 'without a suffix', '.gif', '.tif'"
    printed = capsys.readouterr().out.splitlines()
    assert told in printed
    assert len([line for line in printed if line.startswith(f"{folder}/")]) == 1
    with pytest.raises(SystemExit):
        call_predict(saved, folder / "a.png", folder / "b.tif", folder / "more" / "d.gif")
    errors = capsys.readouterr().err
    for name, kind in (("b.tif", "TIFF"), ("more/d.gif", "GIF")):
        told = f"{folder / name} can't be read: a {kind} image (accepted: BMP, JPEG, PNG, WebP)\n"
        assert told in errors


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_names_of_files_that_are_no_text_are_written_and_told_apart(
    digits_run, call_predict, pictures, tmp_path, suffix
):
    folder, output = tmp_path / "odd", tmp_path / f"found{suffix}"
    folder.mkdir()
    names = [b"bad\xfe.png", b"bad\xff.png", "gut\u00e4.png".encode()]
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write((pictures / "0.png").read_bytes())
    call_predict(f"--saved_model={digits_run.folder / 'saved_model'}", folder, f"--output={output}")
    text = output.read_bytes().decode()  # it is UTF-8, whatever the names are
    if suffix == ".json":
        files = [image["file"] for image in json.loads(text)["images"]]
        assert [os.fsencode(file) for file in files] == [
            os.path.join(os.fsencode(folder), name) for name in names
        ]
    else:
        files = [row["file"] for row in csv.DictReader(text.splitlines())]
        told = [rf"{folder}/bad\udcfe.png", rf"{folder}/bad\udcff.png", f"{folder}/gut\u00e4.png"]
        assert files == told


def error(call_predict, *arguments):
    with pytest.raises(UserError) as caught:
        call_predict(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_wrong_arguments_are_refused_before_the_model_is_loaded(
    digits_run, call_predict, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(tf.saved_model, "load", lambda *_: pytest.fail("the model was loaded"))
    saved, image = f"--saved_model={digits_run.folder / 'saved_model'}", pictures / "0.png"
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ((image,), "--saved_model is missing"),
        ((saved, image, "--top=0"), "--top must be at least 1, got 0"),
        ((saved, image, f"--output={tmp_path}/a.txt"), "a.txt must end in .json or .csv"),
        ((saved, image, f"--output={tmp_path}/none/a.csv"), "none: No such file or directory"),
        ((saved, tmp_path / "none.png"), "none.png is not a file or a folder; give image files"),
        ((saved, tmp_path / "empty"), "empty holds no image file (.bmp, .jpeg, .jpg, .png, .webp)"),
        ((f"--saved_model={tmp_path}", image), "holds no SavedModel"),
    ):
        assert words in error(call_predict, *arguments)


def test_a_model_that_takes_any_size_gets_images_as_they_are(pictures):
    reader = image_files.Reader([None, None, 3])
    images = [reader.read(pictures / name) for name in ("3.png", "1.png", "0.png")]
    assert [image.shape for image in images] == [(24, 16, 3), (8, 8, 3), (8, 8, 3)]
    assert list(reader.notes(3)) == [
        "2 of 3 images in gray, as three equal channels: the model takes 3"
    ]

    class Model:
        def predict(self, images, batch_size):
            assert len(images) <= batch_size
            logits = images.mean(axis=(1, 2))
            return logits, logits.argmax(axis=1)

    found = image_files.logits(Model(), images)
    expected = [image.mean(axis=(0, 1)) for image in images]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_model_of_other_channels_than_files_have_is_refused():
    with pytest.raises(UserError, match="takes images of 4 channels, which image files do not"):
        image_files.Reader([8, 8, 4])
