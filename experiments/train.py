"""Trains a ResNet on long-tailed images with a class-balanced loss: the reference protocol.

python -m experiments.train --flagfile=experiments/presets/park2022.flags --loss=focal --cb_power=1
"""

import os
import sys

import keras
import tensorflow as tf

import cb_keras
from cb_keras import fused, metrics
from experiments import cli, datasets, plots
from experiments.datasets import pipeline
from experiments.exports import saved_model, scoring
from experiments.runs import atomic, data_record, directory, sessions
from experiments.runs.figures import counted
from experiments.training import checkpoint, divergence, history, machine
from experiments.training import flags as train_flags
from experiments.training.settings import checked_settings


def main(argv):
    """Runs the protocol that the flags describe, unless the run is there and complete."""
    del argv
    settings = checked_settings()
    if settings["plots"]:
        plots.rehearse()
    flags = train_flags.recorded(settings)
    defaults = train_flags.protocol_defaults()
    with directory.open_run(settings["output_dir"], flags, settings["resume"], defaults) as run:
        if run.path("metrics.json").exists():
            _, figures = directory.read_finished(run.folder)
            print(f"{run.folder} is complete:")
        else:
            figures = _train(run, settings, flags)
        if settings["plots"]:
            _draw(run.folder)
        _print_summary(run, figures)


def _draw(folder):
    """Draws the pictures; the run is whole without them, so that no error of theirs ends it."""
    try:
        plots.draw_missing(folder)
    except Exception as error:
        reason = " ".join(f"{error}".split()) or type(error).__name__
        print(
            f"warning: {reason.rstrip('.')}; the run is finished and saved, and the same command "
            "with --resume draws the pictures that are missing.",
            file=sys.stderr,
        )


def _train(run, settings, flags):
    """The protocol, from data to SavedModel; returns the figures of `metrics.json`."""
    if settings["deterministic"]:
        tf.config.experimental.enable_op_determinism()
    data = datasets.load(settings["dataset"], settings["data_dir"], settings["download"])
    train, class_counts = datasets.cut_long_tail(
        data.train,
        len(data.class_names),
        settings["long_tail"],
        settings["imbalance_factor"],
        settings["seed"],
    )
    about_data = {
        "data": data_record.of(data),
        "class_names": data.class_names,
        "class_counts": class_counts.tolist(),
    }
    if begun := directory.read_config(run.folder):
        data_record.check(begun, about_data, run.folder)
        # What it began with, where the flag now names the version of the same data.
        flags = {**flags, "dataset": begun["flags"].get("dataset", flags["dataset"])}
    resolved = _resolve(settings, data, class_counts)
    print(
        f"{data.name}: {len(train.labels)} training images of {len(class_counts)} "
        f"classes ({class_counts.max()} to {class_counts.min()} a class), "
        f"{len(data.test.labels)} test images -> {run.folder}"
    )
    if len(train.labels) < len(data.train.labels):
        print(
            f"--long_tail=exponential: {len(train.labels)} of {len(data.train.labels)} training "
            "images kept; --long_tail=natural keeps all"
        )

    keras.utils.set_random_seed(settings["seed"])
    strategy = _strategy(settings, len(train.labels))
    schedule = _schedule(settings, resolved)
    with strategy.scope():
        model = _model(settings, data, len(class_counts))
        loss = scoring.make_loss(settings, class_counts, resolved["fused_op"])
        model.compile(
            optimizer=_optimizer(settings, schedule),
            loss=loss,
            metrics=[
                keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
                metrics.BalancedAccuracy(len(class_counts)),
            ],
            jit_compile=resolved["jit_compile"],
        )
        model.optimizer.build(model.trainable_variables)
    first_epoch, progress = _continue(run, model, settings, len(train.labels), about_data, begun)
    config = _config(flags, resolved, about_data, loss, begun, first_epoch)
    for change in sessions.changes(config["sessions"][-2:]):
        print(change)
    run.write_json("config.json", config)

    model.fit(
        pipeline.training_dataset(
            train,
            settings["batch_size"],
            settings["seed"],
            first_epoch,
            settings["train_epochs"],
            resolved["augmentation"],
        ),
        initial_epoch=first_epoch,
        epochs=settings["train_epochs"],
        steps_per_epoch=resolved["steps_per_epoch"],
        validation_data=pipeline.evaluation_dataset(data.test, settings["eval_batch_size"]),
        validation_freq=settings["eval_epochs"],
        shuffle=False,  # the pipeline shuffles, by seed
        callbacks=_callbacks(run, progress, settings, schedule, about_data["data"]),
        verbose=0,
    )
    _check_trained(run, model, settings, resolved)

    # The figures are the exported model's after the last epoch, never the best epoch's.
    description = {
        "settings": {key: settings[key] for key in ("loss", "cb_beta", "cb_power", "gamma")},
        "dataset": flags["dataset"],
        **about_data,
        "epochs": settings["train_epochs"],
        "train_seconds": progress.train_seconds,
        "images_per_second": progress.images_per_second,
    }
    with atomic.appears_whole(run.path("model.keras")) as temporary:
        model.save(temporary)
    saved_model.export(model, run.path("saved_model"), description)
    figures = saved_model.evaluate(run.path("saved_model"), data.test, settings["eval_batch_size"])
    plots.remove(run.folder)
    run.write_json("metrics.json", figures)
    return figures


def _resolve(settings, data, class_counts):
    """What the flags leave to the data and the machine; written to `config.json`."""
    balanced = class_counts.min() == class_counts.max()
    decay = settings["balanced_lr_decay"] if balanced else None
    jit_compile = settings["jit_compile"]
    if jit_compile == "auto":
        jit_compile = "true" if tf.config.list_physical_devices("GPU") else "false"
    augmentation = settings["augmentation"]
    return {
        "augmentation": data.augmentation if augmentation == "auto" else augmentation,
        "fused_op": _fused_op(settings["fused_op"], jit_compile == "true"),
        "jit_compile": jit_compile == "true",
        "lr_decay": settings["lr_decay"] if decay is None else decay,
        "steps_per_epoch": pipeline.steps_per_epoch(
            int(class_counts.sum()), settings["batch_size"]
        ),
    }


def _fused_op(asked, jit_compile):
    """Whether the loss runs as the native op, which XLA can't call."""
    if asked == "on" and jit_compile:
        raise cli.UserError(
            "--fused_op=on can't be used with XLA, which --jit_compile=auto turns on where there "
            "is a GPU; add --jit_compile=false."
        )
    return asked != "off" and not jit_compile and fused.available()


def _strategy(settings, num_images):
    if settings["strategy"] == "none":
        return tf.distribute.get_strategy()
    strategy = tf.distribute.MirroredStrategy()
    replicas = strategy.num_replicas_in_sync
    print(f"mirrored over {replicas} device(s): {', '.join(strategy.extended.worker_devices)}")
    smallest = min(num_images % settings["batch_size"] or num_images, settings["batch_size"])
    if smallest < replicas:
        raise cli.UserError(
            f"--batch_size={settings['batch_size']} leaves a last batch of {smallest} images for "
            f"{replicas} devices; choose one that leaves at least one image for each."
        )
    return strategy


def _model(settings, data, num_classes):
    return cb_keras.resnet_cifar(
        settings["depth"],
        data.train.images.shape[1:],
        num_classes,
        head="softmax" if settings["loss"] == "softmax" else "sigmoid",
        weight_decay=settings["weight_decay"],
        dtype=settings["precision"],
    )


def _schedule(settings, resolved):
    steps = resolved["steps_per_epoch"]
    return cb_keras.schedules.WarmupPiecewiseConstant(
        settings["learning_rate"],
        warmup_steps=settings["warmup_epochs"] * steps,
        boundaries=[b * settings["train_epochs"] * steps for b in settings["lr_boundaries"]],
        decay=resolved["lr_decay"],
    )


def _optimizer(settings, schedule):
    sgd = cb_keras.optimizers.MomentumSGD(schedule, momentum=settings["momentum"])
    if settings["precision"] == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(sgd)  # float16 gradients underflow without
    return sgd


def _check_trained(run, model, settings, resolved):
    """Raises UserError where something ended the training early: its figures would be false."""
    epochs = run.history[-1]["epoch"] if run.history else 0
    steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    planned = settings["train_epochs"] * resolved["steps_per_epoch"]
    # Loss scaling skips the steps whose gradients are not finite, and does not count them.
    skipping = settings["precision"] == "mixed_float16" and steps < planned
    if epochs != settings["train_epochs"] or (steps != planned and not skipping):
        raise cli.UserError(
            f"the training ended after epoch {epochs} of --train_epochs={settings['train_epochs']} "
            f"with {steps} steps of {planned}, so that nothing was exported: find what changes "
            "Keras' training here, and train again in another --output_dir."
        )


def _config(flags, resolved, about_data, loss, begun, first_epoch):
    groups, rule = metrics.shot_groups(about_data["class_counts"])
    environment = machine.environment(all_gpus=flags["strategy"] == "mirrored")
    session = sessions.begin(first_epoch + 1, resolved, environment, os.environ)
    return {
        "flags": flags,
        "resolved": resolved,
        **about_data,
        "class_weights": keras.ops.convert_to_numpy(loss.class_weights).tolist(),
        "shot_rule": rule,
        "shot_groups": groups,
        **environment,
        "sessions": sessions.after(begun, session),
    }


def _continue(run, model, settings, num_images, about_data, begun):
    """First epoch to train, and the progress display; from the checkpoint where there is one."""
    progress = cb_keras.callbacks.ThroughputProgress(
        num_images, settings["batch_size"], settings["train_epochs"]
    )
    first_epoch, state = checkpoint.restore(run.path("checkpoint"), model)
    if first_epoch:
        data_record.check({"data": state.get("data")}, about_data, run.folder)
        run.history = state["history"]
        progress.restore(**state["progress"])
        print(f"continuing after epoch {first_epoch} of {settings['train_epochs']}")
    elif begun:
        checkpoint.check_lost(run, settings["eval_epochs"], settings["train_epochs"])
    return first_epoch, progress


def _callbacks(run, progress, settings, schedule, data):
    return [
        progress,
        history.HistoryWriter(run, progress, schedule),
        divergence.StopOnDivergence(run.path("checkpoint")),
        keras.callbacks.TensorBoard(str(run.path("tensorboard")), write_graph=False),
        checkpoint.Checkpoint(
            run.path("checkpoint"),
            settings["eval_epochs"],
            settings["train_epochs"],
            lambda: {"history": run.history, "progress": progress.state(), "data": data},
        ),
    ]


def _print_summary(run, figures):
    config = run.read_json("config.json")
    print()
    for line in scoring.table(
        figures, config["class_counts"], config["class_weights"], config["class_names"]
    ):
        print(line)
    epochs, rate = counted(figures["epochs"], "epoch"), figures["images_per_second"]
    print(
        f"\n{epochs}, {figures['train_seconds']:.0f} s of training"
        + (f", {rate:.0f} images/s" if rate else "")
        + f"; everything is in {run.folder}"
    )


if __name__ == "__main__":
    cli.run(main)
