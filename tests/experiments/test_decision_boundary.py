"""Decision boundaries of four powers: what is trained, what is reported, what is refused."""

import importlib.util
import struct

import keras
import matplotlib.image
import numpy as np
import pytest
from sklearn.datasets import load_digits

import cb_keras
from experiments import decision_boundary as program
from experiments.boundary import boundary_picture, boundary_table, boundary_training
from experiments.cli import UserError

pytestmark = pytest.mark.slow

SETTINGS = {
    "loss": "focal",
    "cb_beta": 0.9999,
    "gamma": 1.0,
    "imbalance_factor": 0.02,
    "seed": 0,
    "output": "boundary.png",
}


@pytest.fixture(scope="module")
def problem():
    return boundary_training.load_problem(imbalance_factor=0.02, seed=0)


@pytest.fixture(scope="module")
def runs():
    """The first of the default seeds in full. Read only."""
    return boundary_training.train_all(SETTINGS, num_seeds=1)[1]


@pytest.fixture(scope="module")
def shortly(problem):
    """Weights after 25 steps with power 1, unless changed."""

    def train(problem=problem, power=1, seed=0, **changes):
        trained = boundary_training.train(problem, {**SETTINGS, **changes}, power, seed, steps=25)
        return trained.model.get_weights()

    return train


@pytest.fixture(scope="module")
def briefly_trained(shortly):
    """`shortly()`, which the changed ones are compared with."""
    return shortly()


def logits_by_numpy(weights, points):
    kernel, bias, last_kernel, last_bias = (w.astype("float64") for w in weights)
    hidden = np.tanh(points @ kernel + bias)
    return hidden, hidden @ last_kernel + last_bias


def refusal(**changes):
    with pytest.raises(UserError) as caught:
        program.check({**SETTINGS, **changes})
    return str(caught.value)


def test_training_and_test_images_are_all_images_of_the_three_digits(problem):
    target = load_digits().target
    available = [np.sum(target == digit) for digit in (8, 3, 2)]
    assert problem.class_counts.tolist() == [150, 21, 3]  # int(150 * 0.02^(c / 2))
    held_out = np.bincount(problem.test_labels)
    assert (problem.class_counts + held_out).tolist() == available
    assert held_out.tolist() == [24, 162, 174]
    train, test = ({*map(tuple, p)} for p in (problem.train_points, problem.test_points))
    assert not train & test


def test_the_projection_is_the_svd_of_the_training_images_alone(problem):
    digits = load_digits()
    kept = np.isin(digits.target, boundary_training.DIGITS)
    images = digits.data[kept]
    labels = np.array([boundary_training.DIGITS.index(d) for d in digits.target[kept]])
    chosen = cb_keras.choose_long_tail(labels, [150, 21, 3], 0)
    mean = images[chosen].mean(axis=0)
    _, singular, rows = np.linalg.svd(images[chosen] - mean, full_matrices=False)
    scale = singular[:2] / np.sqrt(len(chosen) - 1)
    expected = (images - mean) @ rows[:2].T / scale
    others = np.setdiff1d(np.arange(len(images)), chosen)
    for points, positions in ((problem.train_points, chosen), (problem.test_points, others)):
        np.testing.assert_allclose(np.abs(points), np.abs(expected[positions]), atol=1e-5)
    np.testing.assert_array_equal(problem.train_labels, labels[chosen])
    np.testing.assert_array_equal(problem.test_labels, labels[others])


def test_the_training_is_gradient_descent_on_the_weighted_loss(problem):
    settings = {**SETTINGS, "loss": "softmax"}
    trained = boundary_training.train(problem, settings, power=1, seed=3, steps=25)
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(8), keras.layers.Dense(3)]
    keras.Sequential([keras.Input((2,)), *layers])
    weights = [w.astype("float64") for layer in layers for w in layer.get_weights()]
    points, labels = problem.train_points.astype("float64"), problem.train_labels
    class_weights = trained.class_weights.astype("float64")
    velocity = [np.zeros_like(w) for w in weights]
    for _ in range(25):
        hidden, logits = logits_by_numpy(weights, points)
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        # d/dz of mean(w_y * -log p_y)
        at_logits = class_weights[labels][:, None] * (p - np.eye(3)[labels]) / len(labels)
        at_hidden = (at_logits @ weights[2].T) * (1 - hidden**2)
        gradients = [points.T @ at_hidden, at_hidden.sum(0), hidden.T @ at_logits, at_logits.sum(0)]
        velocity = [0.9 * v - 0.1 * g for v, g in zip(velocity, gradients, strict=True)]
        weights = [w + v for w, v in zip(weights, velocity, strict=True)]
    for weight, expected in zip(trained.model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-5)


@pytest.mark.slow
def test_the_four_networks_were_trained_with_the_class_balanced_weights(runs):
    effective = (1 - 0.9999 ** np.array([150, 21, 3])) / (1 - 0.9999)  # Cui et al., equation 2
    assert list(runs) == [0, 0.5, 1, 2]
    for power, (trained,) in runs.items():
        expected = effective ** -float(power)
        expected *= 3 / expected.sum()
        np.testing.assert_allclose(trained.class_weights, expected, rtol=1e-5)
        np.testing.assert_array_equal(
            trained.class_weights,
            cb_keras.class_balanced_weights([150, 21, 3], 0.9999, power),
        )


def test_the_recalls_are_those_of_the_networks_on_the_test_images(problem, runs):
    for (trained,) in runs.values():
        _, logits = logits_by_numpy(trained.model.get_weights(), problem.test_points)
        right = logits.argmax(axis=1) == problem.test_labels
        recalls = [right[problem.test_labels == c].mean() for c in range(3)]
        np.testing.assert_allclose(trained.recalls, recalls, atol=1e-6)
        expected = [recalls[2], recalls[0], np.mean(recalls)]
        np.testing.assert_allclose(trained.figures, expected, atol=1e-6)


def test_the_term_recovers_the_tail_and_its_square_gives_up_the_head(runs):
    tail, head, balanced = np.transpose([trained.figures for (trained,) in runs.values()])
    assert tail[0] < 0.1 < tail[2] - 0.3  # measured: 0.00 and 0.70
    assert (np.diff(tail) > 0).all()
    assert head[2] > 0.5 > head[3] + 0.2  # measured: 0.75 and 0.00
    assert balanced.argmax() == 2


def test_nothing_but_the_power_differs_between_the_four(shortly):
    # Every power weights a balanced problem alike.
    balanced = boundary_training.load_problem(imbalance_factor=1.0, seed=0)
    plain = shortly(balanced, power=0)
    for power in (0.5, 2):
        for weight, expected in zip(shortly(balanced, power=power), plain, strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_a_seed_gives_the_same_again(problem, shortly, briefly_trained):
    again = boundary_training.load_problem(imbalance_factor=0.02, seed=0)
    np.testing.assert_array_equal(again.train_points, problem.train_points)
    np.testing.assert_array_equal(again.test_points, problem.test_points)
    for weight, expected in zip(shortly(again), briefly_trained, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize(
    "changes", [{"loss": "softmax"}, {"cb_beta": 0.9}, {"gamma": 2.0}, {"seed": 1}, {"power": 0.5}]
)
@pytest.mark.slow
def test_every_setting_changes_the_network(shortly, briefly_trained, changes):
    pairs = zip(shortly(**changes), briefly_trained, strict=True)
    assert max(np.abs(a - b).max() for a, b in pairs) > 1e-4


def test_every_seed_has_a_split_and_a_network_of_its_own(monkeypatch):
    monkeypatch.setattr(boundary_training, "POWERS", {1: "class-balanced"})
    settings = {**SETTINGS, "imbalance_factor": 0.1, "seed": 5}
    first, runs = boundary_training.train_all(settings, num_seeds=2, steps=25)
    assert first.class_counts.tolist() == [150, 47, 15]
    for seed, one in zip((5, 6), runs[1], strict=True):
        alone = boundary_training.train(
            boundary_training.load_problem(0.1, seed), settings, 1, seed, steps=25
        )
        for weight, expected in zip(one.model.weights, alone.model.weights, strict=True):
            np.testing.assert_array_equal(weight, expected)
    figures = np.array([one.figures for one in runs[1]])
    *_, row = boundary_table.lines(first, runs, settings)
    assert row.startswith("1 (class-balanced)")
    for column in range(3):
        mean, deviation = figures[:, column].mean(), figures[:, column].std(ddof=1)
        assert f"{figures[0, column]:.2f}  {mean:.2f} ± {deviation:.2f}" in row


def test_the_panels_show_the_regions_the_points_and_the_figures(problem, runs):
    figure = boundary_picture.draw(problem, runs, SETTINGS)
    titles = ["power 0 (none)", "power 0.5 (square root)"]
    titles += ["power 1 (class-balanced)", "power 2 (squared)"]
    assert [axes.get_title() for axes in figure.axes] == titles
    for axes, (trained,) in zip(figure.axes, runs.values(), strict=True):
        (image,) = axes.images
        x0, x1, y0, y1 = image.get_extent()
        x, y = np.meshgrid(np.linspace(x0, x1, 400), np.linspace(y0, y1, 400))
        _, logits = logits_by_numpy(trained.model.get_weights(), np.stack([x, y], axis=-1))
        assert (image.get_array() == logits.argmax(axis=-1)).mean() > 0.999
        points = np.concatenate([problem.train_points, problem.test_points])
        assert (points > [x0, y0]).all()
        assert (points < [x1, y1]).all()
        drawn = {c.get_label(): c.get_offsets() for c in axes.collections}
        tail = problem.train_points[problem.train_labels == 2]
        np.testing.assert_allclose(drawn["digit 2 (tail)"], tail)
        for number, name in zip(trained.figures, ("tail", "head", "balanced"), strict=True):
            line = next(i for i in axes.get_xlabel().splitlines() if i.startswith(name))
            assert f" {number:.2f} " in line
    assert "focal loss (gamma 1), beta 0.9999, seed 0: 150 / 21 / 3" in figure.get_suptitle()


def test_the_same_networks_give_the_same_picture_to_the_byte(problem, runs, monkeypatch, tmp_path):
    first = boundary_picture.png(problem, runs, SETTINGS, dpi=50)
    assert boundary_picture.png(problem, runs, SETTINGS, dpi=50) == first
    monkeypatch.setenv("PATH", str(tmp_path))  # where no latex is
    with matplotlib.rc_context({"text.usetex": True, "savefig.bbox": "tight", "font.size": 30}):
        assert boundary_picture.png(problem, runs, SETTINGS, dpi=50) == first


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cb_beta": 1.5}, "--cb_beta: `beta` must be in [0, 1], got 1.5"),
        ({"cb_beta": float("nan")}, "--cb_beta: `beta` must be in [0, 1], got nan"),
        ({"gamma": -1.0}, "--gamma: `gamma` must be a finite number >= 0, got -1.0"),
        ({"loss": "softmax", "gamma": 2.0}, "--gamma=2.0 has no effect on --loss=softmax"),
        ({"loss": "hinge"}, "--loss=hinge does not go with --method=class_balanced"),
        ({"imbalance_factor": 50.0}, "use 1/50 = 0.02"),
        ({"imbalance_factor": 0.001}, "leaves class 2 of 3 without examples"),
        ({"seed": -1}, "--seed must be in [0, 2^31), got -1"),
        ({"seed": 2**31}, "--seed must be in [0, 2^31)"),
        ({"output": "boundary.pdf"}, "--output=boundary.pdf must end in .png"),
        ({"output": ""}, "must end in .png"),
        ({"output": "no/such/folder/a.png"}, "can't be written (no/such/folder: No such file"),
        ({"output": "file/a.png"}, "can't be written (file: Not a directory)"),
        ({"output": "a" * 300 + ".png"}, "File name too long"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_the_remedy(changes, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    assert words in refusal(**changes)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_not_a_picture(tmp_path):
    (tmp_path / "a.png").mkdir()
    assert f"--output={tmp_path / 'a.png'} is a folder" in refusal(output=tmp_path / "a.png")


def test_settings_at_the_ends_of_their_ranges_are_accepted(tmp_path):
    program.check({**SETTINGS, "output": tmp_path / "a.png"})
    for changes in ({"cb_beta": 0.0}, {"cb_beta": 1.0}, {"gamma": 0.0}, {"imbalance_factor": 1.0}):
        program.check({**SETTINGS, "output": tmp_path / "A.PNG", **changes})
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_remedy_is_named(monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "matplotlib" else find_spec(name, *rest),
    )
    message = refusal(output=tmp_path / "a.png")
    assert message == "the picture needs matplotlib: pip install 'cb_keras[plots]'"


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_written(tmp_path):
    output = tmp_path / "absent" / "a.png"
    message = refusal(cb_beta=2.0, imbalance_factor=50.0, output=output)
    for words in ("--cb_beta", "use 1/50 = 0.02", "choose another folder"):
        assert words in message
    assert len(message.splitlines()) == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # on a machine that does other things too
def test_the_program_prints_the_table_and_writes_the_picture(run_python, tmp_path, runs):
    picture = tmp_path / "a.png"
    picture.write_text("an older one")
    done = run_python("-m", "experiments.decision_boundary", f"--output={picture}")
    assert done.returncode == 0, done.stderr
    assert "150, 21, 3 training images of the digits 8, 3, 2" in done.stdout
    rows = done.stdout.splitlines()[-6:-2]
    for row, (power, (trained,)) in zip(rows, runs.items(), strict=True):
        cells = row.partition(")")[2].split()
        assert row.startswith(f"{power} (")
        assert cells[:3] == [f"{w:.4f}" for w in trained.class_weights]
        assert cells[3::4] == [f"{figure:.2f}" for figure in trained.figures]
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:]) == (1680, 648)
    pixels = matplotlib.image.imread(picture)[..., :3]
    assert len(np.unique(np.round(pixels.reshape(-1, 3), 1), axis=0)) > 5
