"""Training steps that do more than Keras' own: sharpness-aware ones, and those that average."""

import keras

from experiments.training.averaging import Averages


def install(model, settings):
    """Gives the network the training step of the settings, where it is not Keras' own.

    On JAX, whose steps are those of `jax_training`, it only makes the averages.

    Args:
        model: A compiled `keras.Model`, its optimizer built.
        settings: Checked settings of experiments.train.

    Returns:
        The `Averages` that its steps update, or None.
    """
    rho, momentum = settings["sam_rho"], settings["ema"]
    averages = Averages(model, momentum) if momentum else None
    if keras.backend.backend() == "jax":
        return averages
    step = model.train_step
    if rho:
        from experiments.training.sharpness import SharpnessAwareStep  # TensorFlow's

        step = SharpnessAwareStep(model, rho)

    def step_and_average(data):
        figures = step(data)
        averages.update()
        return figures

    if rho or averages:
        model.train_step = step_and_average if averages else step
    return averages
