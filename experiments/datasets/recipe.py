"""What the strong recipe does to the images and labels of a training."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The parts of it that concern the data, by default none.

    Attributes:
        num_classes: Number of classes, where images are mixed.
        randaugment: Magnitude of `randaugment.RandAugment`, before the crop; 0 for none.
        cutout: Side of the square of `mixing.cutout`, after the crop; 0 for none.
        mixup_alpha: As of `mixing.mix`.
        cutmix_alpha: As of `mixing.mix`.
    """

    num_classes: int = 0
    randaugment: float = 0.0
    cutout: int = 0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    @classmethod
    def of(cls, settings, num_classes):
        """That of the settings of a run; one that was recorded before there was any has none."""
        names = [field.name for field in dataclasses.fields(cls)][1:]
        return cls(num_classes, **{n: settings[n] for n in names if n in settings})

    @property
    def mixes(self):
        """Whether images are mixed, so that labels are `[B, C]`."""
        return bool(self.mixup_alpha or self.cutmix_alpha)
