"""How fast is a training step of ResNet-32 on the CPU next to PyTorch's?

python -m benchmarks.resnet_step [--json=FILE]

Images per second of a step on a constant batch: our network under Keras and TensorFlow, and the
same network written in PyTorch, channels last, eager and compiled. Each in a process of its own;
all take turns in rounds, and those that wait sleep.
"""

import argparse
import os
import subprocess
import sys

from benchmarks import timing

_BATCH_SIZE = 128
_CONTENDERS = ("ours", "PyTorch", "PyTorch, compiled")
_PRECISIONS = ("float32", "bfloat16")
_WEIGHT_DECAY = 2e-4
_PARAMETERS = 464_154


def batch():
    """Images float32 `[B, 32, 32, 3]` in [0, 255], and class ids `[B]`."""
    import numpy as np

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (_BATCH_SIZE, 32, 32, 3)).astype("float32")
    return images, generator.integers(0, 10, _BATCH_SIZE)


def our_step(precision):
    """A step of `model.fit` without its loop, and how many parameters are trained."""
    import keras
    import tensorflow as tf

    import cb_keras

    model = cb_keras.resnet_cifar(dtype=precision.replace("bfloat16", "mixed_bfloat16"))
    model.compile(
        cb_keras.optimizers.MomentumSGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    images, labels = (tf.constant(array) for array in batch())
    number = sum(v.shape.num_elements() for v in model.trainable_variables)
    return lambda: model.train_on_batch(images, labels), number


def torch_step(precision, compiled):
    """The same with PyTorch, its weight decay part of the optimizer."""
    import torch

    model = torch_network().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=_WEIGHT_DECAY)
    images, labels = (torch.from_numpy(array) for array in batch())
    images = images.permute(0, 3, 1, 2)  # in memory as they were: channels last

    def loss_of():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(images / 128 - 1)
        return torch.nn.functional.cross_entropy(logits.float(), labels)

    loss_of = torch.compile(loss_of) if compiled else loss_of

    def step():
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()

    return step, sum(p.numel() for p in model.parameters())


def torch_network():
    """`cb_keras.resnet_cifar()` as a `torch.nn.Module`, without its preprocessing."""
    import torch
    from torch.nn import functional

    def conv_bn(before, after, stride):
        return torch.nn.Sequential(
            torch.nn.Conv2d(before, after, 3, stride, 1, bias=False),
            torch.nn.BatchNorm2d(after, momentum=0.1),
        )

    class Block(torch.nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.first, self.second = conv_bn(before, after, stride), conv_bn(after, after, 1)
            self.stride, self.added = stride, (after - before) // 2

        def forward(self, x):
            shortcut = x
            if self.stride > 1:
                shortcut = functional.avg_pool2d(x, self.stride)
                shortcut = functional.pad(shortcut, (0, 0, 0, 0, self.added, self.added))
            x = functional.relu(self.first(x), inplace=True)
            return functional.relu(self.second(x) + shortcut)

    sides = [(16, 16, 1)] * 5 + [(16, 32, 2)] + [(32, 32, 1)] * 4 + [(32, 64, 2)]
    blocks = [Block(*of_block) for of_block in [*sides, *[(64, 64, 1)] * 4]]
    stem = torch.nn.Sequential(conv_bn(3, 16, 1), torch.nn.ReLU(inplace=True))
    pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return torch.nn.Sequential(stem, *blocks, pool, torch.nn.Linear(64, 10))


def work(name, precision, seconds):
    """A process of one contender: a rate for every line that it reads."""
    ours = name == "ours"
    step, parameters = our_step(precision) if ours else torch_step(precision, "comp" in name)
    if parameters != _PARAMETERS:
        raise SystemExit(f"{name} trains {parameters} parameters, not {_PARAMETERS}")
    timing.rate_of(step, 1.0)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(_BATCH_SIZE * timing.rate_of(step, seconds), flush=True)


class Worker:
    """A contender in its process."""

    def __init__(self, name, precision, seconds):
        command = [sys.executable, "-m", "benchmarks.resnet_step", f"--worker={name}"]
        self.process = subprocess.Popen(
            [*command, f"--precision={precision}", f"--seconds={seconds}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        self._line()

    def rate(self):
        """Images per second of the next round."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self._line())

    def end(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[3]} ended, see above")
        return line


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5, help="Rounds.")
    parser.add_argument("--seconds", type=float, default=3.0, help="Of one measurement.")
    parser.add_argument("--json", help="File for the figures.")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.precision, arguments.seconds)
        return
    workers = {
        f"{name}, {precision}": Worker(name, precision, arguments.seconds)
        for precision in _PRECISIONS
        for name in _CONTENDERS
    }
    rates = timing.alternate({n: w.rate for n, w in workers.items()}, arguments.repetitions)
    for worker in workers.values():
        worker.end()
    title = f"ResNet-32 training step, batch {_BATCH_SIZE}"
    timing.report(title, rates, "PyTorch, float32", "images/s", arguments.json)


if __name__ == "__main__":
    main()
