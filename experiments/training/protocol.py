"""The recipe, from data to exported model."""

import os
import sys

import keras

import cb_keras
from cb_keras import metrics
from experiments import backbones, methods
from experiments.backbones import weights
from experiments.cli import UserError
from experiments.datasets import draws
from experiments.datasets.recipe import Recipe
from experiments.exports import EXPORTS, chosen, evaluation, measured_file, training_images
from experiments.runs import atomic, data_record, directory, sessions
from experiments.training import (
    averaging,
    checkpoint,
    divergence,
    first_stage,
    freezing,
    history,
    machine,
    recipe_flags,
    second_stage,
    steps,
    weighting,
)
from experiments.training import images as images_of
from experiments.training.progress import ThroughputProgress


def train(run, settings, flags):
    """Trains, exports and measures; writes the run's files but `metrics.json` and the pictures.

    Args:
        run: `RunDirectory`, empty or of the same run, which is then continued.
        settings: Checked settings of experiments.train.
        flags: Those of them that are recorded.

    Returns:
        The content of `metrics.json`.

    Raises:
        UserError: The data are not there, are others than the run began with, or do not fit the
            settings; or the training diverged.
    """
    if settings["deterministic"]:
        machine.make_deterministic()
    machine.leave_gpus_to_jax()
    data, images, held_out, class_counts = images_of.load(settings)
    image_shape = data.train.images.shape[1:]
    backbones.of(settings).check_images(settings["backbone"], image_shape)
    recipe_flags.check_images(settings, image_shape)
    record = {
        "data": data_record.of(data),
        "class_names": data.class_names,
        "class_counts": class_counts.tolist(),
    }
    begun = directory.read_config(run.folder)
    first_stage.check_data(settings, record)
    if other := settings["same_data_as"]:
        data_record.check_same(directory.read_config(other), record, other)
    flags = _check_data(run, record, flags, begun)
    resolved = resolve(settings, data, class_counts)
    for line in images_of.lines(run.folder, data, images, held_out):
        print(line)
    _print_network(settings, image_shape)
    if warning := images_of.balanced_twice(settings):
        print(f"warning: {warning}", file=sys.stderr)
    trained_on = training_images.of_splits(images, held_out)
    for warning in training_images.lines(images, held_out, data.test, trained_on):
        print(f"warning: {warning}", file=sys.stderr)

    weighted = weighting.Weighting(settings, images, class_counts, begun)
    record |= weighted.measured
    keras.utils.set_random_seed(settings["seed"])
    schedule = make_schedule(settings, resolved)
    with machine.scope(settings["strategy"], settings["batch_size"], len(images.labels)):
        given = class_counts, weighted.class_weights
        model = _compiled_model(settings, resolved, schedule, data, *given)
        averages = steps.install(model, settings)
    record["class_weights"] = keras.ops.convert_to_numpy(model.loss.class_weights).tolist()

    first_epoch, progress = _continue(
        run, model, averages, weighted, settings, len(images.labels), record, begun
    )
    _write_config(run, flags, resolved, record, begun, first_epoch)
    run.write(training_images.FILE, training_images.content(trained_on))
    callbacks = [
        *weighted.callbacks,
        *_callbacks(run, progress, settings, schedule, record["data"], averages, weighted),
    ]
    evaluated = held_out or data.test
    _fit(model, settings, resolved, images, evaluated, first_epoch, callbacks, averages)
    _check_trained(run, model, settings, resolved)
    if averages:
        averages.use()
    description = _describe(settings, flags, data, record, progress)
    description[training_images.KEY] = training_images.as_text(trained_on)
    return _export_and_measure(run, model, settings, description, data.test, held_out)


def _check_data(run, record, flags, begun):
    """The flags to record, once the data are known to be those that the run began with.

    Args:
        run: `RunDirectory`.
        record: What is recorded of the data.
        flags: The flags of this command.
        begun: `config.json` of the run that is continued, or None.
    """
    if not begun:
        return flags
    data_record.check(begun, record, run.folder)
    # What it began with, where the flag now names the version of the same data.
    return {**flags, "dataset": begun["flags"].get("dataset", flags["dataset"])}


def resolve(settings, data, class_counts):
    """Settings that depend on the data or the device, for `config.json`."""
    balanced = class_counts.min() == class_counts.max()
    decay = settings["balanced_lr_decay"] if balanced else None
    jit_compile = machine.jit_compile(settings["jit_compile"])
    augmentation = settings["augmentation"]
    op_has_loss = methods.of(settings).loss(settings["loss"]).fused_op
    return {
        "augmentation": data.augmentation if augmentation == "auto" else augmentation,
        "fused_op": machine.fused_op(settings["fused_op"], jit_compile, op_has_loss),
        "jit_compile": jit_compile,
        "lr_decay": settings["lr_decay"] if decay is None else decay,
        "steps_per_epoch": draws.steps_per_epoch(int(class_counts.sum()), settings["batch_size"]),
    }


def _print_network(settings, image_shape):
    """What is not seen in the flags of the network."""
    if image_shape[-1] == 1 and settings["backbone"] != backbones.DEFAULT:
        print(f"{settings['backbone']} takes three channels: the single one is repeated")
    if settings["freeze_epochs"] and not settings["backbone_weights"]:
        print(
            f"--freeze_epochs={settings['freeze_epochs']} without --backbone_weights: what a "
            "frozen trunk of random weights can learn is little; give weights, or leave it out"
        )


def make_schedule(settings, resolved):
    """Learning rate by step: linear warm-up, then steps down or half a cosine to 0."""
    steps = resolved["steps_per_epoch"]
    if settings.get("lr_schedule") == "cosine":
        return _cosine(settings, steps)
    return cb_keras.schedules.WarmupPiecewiseConstant(
        settings["learning_rate"],
        warmup_steps=settings["warmup_epochs"] * steps,
        boundaries=[b * settings["train_epochs"] * steps for b in settings["lr_boundaries"]],
        decay=resolved["lr_decay"],
    )


def _cosine(settings, steps):
    """Linear warm-up from 0, then `peak (1 + cos(pi x)) / 2`, x the part of what follows it."""
    peak, warmup = settings["learning_rate"], settings["warmup_epochs"] * steps
    rest = settings["train_epochs"] * steps - warmup
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(peak, rest)
    return keras.optimizers.schedules.CosineDecay(
        0.0, rest, warmup_target=peak, warmup_steps=warmup
    )


def make_optimizer(settings, schedule):
    """SGD with momentum; its loss is scaled where layers compute in float16."""
    sgd = cb_keras.optimizers.MomentumSGD(schedule, momentum=settings["momentum"])
    if settings["precision"] == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(sgd)  # float16 gradients underflow without
    return sgd


def _compiled_model(settings, resolved, schedule, data, class_counts, class_weights=None):
    """The network with the method's head and loss, its optimizer built."""
    method = methods.of(settings)
    image_shape, head = data.train.images.shape[1:], method.head(settings)
    model = backbones.of(settings).make(settings, image_shape, len(class_counts), head)
    if settings["backbone_weights"]:
        weights.load(model, settings["backbone_weights"])
    if method.second_stage:
        model = second_stage.begin(model, settings, method.second_stage)
    loss = method.make_loss(
        settings,
        class_counts=class_counts,
        class_weights=class_weights,
        fused=resolved["fused_op"],
    )
    accuracy = keras.metrics.SparseCategoricalAccuracy
    if recipe_flags.mixes(settings):
        accuracy = keras.metrics.CategoricalAccuracy  # of the class with the largest share
    model.compile(
        optimizer=make_optimizer(settings, schedule),
        loss=loss,
        metrics=[
            accuracy(name="accuracy"),
            metrics.BalancedAccuracy(len(class_counts)),
        ],
        jit_compile=resolved["jit_compile"],
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _continue(run, model, averages, weighted, settings, num_images, record, begun):
    """First epoch to train, and the progress display; from the checkpoint where there is one."""
    progress = ThroughputProgress(num_images, settings["batch_size"], settings["train_epochs"])
    also = averages.variables if averages else ()
    first_epoch, state = checkpoint.restore(run.path("checkpoint"), model, also)
    if first_epoch:
        data_record.check({"data": state.get("data")}, record, run.folder)
        run.history = state["history"]
        progress.restore(**state["progress"])
        weighted.restore(state.get("weighting"))
        print(f"continuing after epoch {first_epoch} of {settings['train_epochs']}")
    elif begun:
        checkpoint.check_lost(run, settings["eval_epochs"], settings["train_epochs"])
    return first_epoch, progress


def _write_config(run, flags, resolved, record, begun, first_epoch):
    """Writes `config.json`; prints what this session does otherwise than the one before it."""
    groups, rule = metrics.shot_groups(record["class_counts"])
    environment = machine.environment(all_gpus=flags["strategy"] == "mirrored")
    session = sessions.begin(first_epoch + 1, resolved, environment, os.environ)
    config = {
        "flags": flags,
        "resolved": resolved,
        **record,
        "shot_rule": rule,
        "shot_groups": groups,
        **environment,
        "sessions": sessions.after(begun, session),
    }
    for change in sessions.changes(config["sessions"][-2:]):
        print(change)
    run.write_json("config.json", config)


def _fit(model, settings, resolved, images, evaluated, first_epoch, callbacks, averages):
    """Trains from `first_epoch`, counted from 0, to the last."""
    augmentation = resolved["augmentation"]
    if machine.backend() == "jax":
        from experiments.training import jax_training

        jax_training.fit(
            model, images, evaluated, settings, augmentation, first_epoch, callbacks, averages
        )
        return
    from experiments.datasets import pipeline

    recipe = Recipe.of(settings, model.output_shape[-1])
    one_hot = recipe.num_classes if recipe.mixes else None
    model.fit(
        pipeline.training_dataset(
            images,
            settings["batch_size"],
            settings["seed"],
            first_epoch,
            settings["train_epochs"],
            augmentation,
            settings["sampler"],
            recipe=recipe,
        ),
        initial_epoch=first_epoch,
        epochs=settings["train_epochs"],
        steps_per_epoch=resolved["steps_per_epoch"],
        validation_data=pipeline.evaluation_dataset(
            evaluated, settings["eval_batch_size"], one_hot
        ),
        validation_freq=settings["eval_epochs"],
        shuffle=False,  # the pipeline shuffles, by seed
        callbacks=callbacks,
        verbose=0,
    )


def _callbacks(run, progress, settings, schedule, data, averages, weighted):
    frozen = settings["freeze_epochs"]
    if methods.of(settings).second_stage:
        frozen = settings["train_epochs"]
    return [
        *([averaging.EvaluateAverages(averages)] if averages else []),
        *([freezing.FrozenTrunk(frozen, progress)] if frozen else []),
        progress,
        history.HistoryWriter(run, progress, schedule),
        divergence.StopOnDivergence(run.path("checkpoint")),
        *_tensorboard(run),
        checkpoint.Checkpoint(
            run.path("checkpoint"),
            settings["eval_epochs"],
            settings["train_epochs"],
            lambda: {
                "history": run.history,
                "progress": progress.state(),
                "data": data,
                "weighting": weighted.state(),
            },
            averages.variables if averages else (),
        ),
    ]


def _tensorboard(run):
    """The callback that writes for TensorBoard, in a list; none without TensorFlow."""
    if machine.has_tensorflow():
        return [keras.callbacks.TensorBoard(str(run.path("tensorboard")), write_graph=False)]
    print("nothing is written for TensorBoard, which takes TensorFlow; history.csv has the figures")
    return []


def _check_trained(run, model, settings, resolved):
    """Raises UserError where something ended the training early: its figures would be false."""
    epochs = run.history[-1]["epoch"] if run.history else 0
    steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    planned = settings["train_epochs"] * resolved["steps_per_epoch"]
    # Loss scaling skips the steps whose gradients are not finite, and does not count them.
    skipping = settings["precision"] == "mixed_float16" and steps < planned
    if epochs != settings["train_epochs"] or (steps != planned and not skipping):
        raise UserError(
            f"the training ended after epoch {epochs} of --train_epochs={settings['train_epochs']} "
            f"with {steps} steps of {planned}, so that nothing was exported: find what changes "
            "Keras' training here, and train again in another --output_dir."
        )


def _describe(settings, flags, data, record, progress):
    """What every export says of the run, a JSON-able dict."""
    return {
        "settings": methods.settings_of(settings),
        "sampler": settings["sampler"],
        "dataset": flags["dataset"],
        "resizes": data.resized,
        **record,
        "epochs": settings["train_epochs"],
        "train_seconds": progress.train_seconds,
        "images_per_second": progress.images_per_second,
    }


def _export_and_measure(run, model, settings, description, test, held_out):
    """Writes `model.keras` and the exports; returns the content of `metrics.json`.

    The figures are the exported model's after the last epoch, never the best epoch's: those of the
    test set, and under `validation` those of the images that were held out.
    """
    with atomic.appears_whole(run.path("model.keras")) as temporary:
        model.save(temporary)
    for name in chosen(settings["exports"], machine.backend()):
        EXPORTS[name](model, run.path(name), description)

    def measured(split):
        exported = run.path(measured_file(machine.backend()))
        return evaluation.evaluate(exported, description, split, settings["eval_batch_size"])

    figures = measured(test)
    if held_out is None:
        return figures
    validation = evaluation.of_validation(measured(held_out))
    return {**figures, "split": "test", "validation": validation}
