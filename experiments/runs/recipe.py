"""What a run had of the flags that came after it was recorded: none of the strong recipe."""

OFF = {
    "lr_schedule": "steps",
    "cutout": 0,
    "randaugment": 0.0,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "ema": 0.0,
    "sam_rho": 0.0,
}
OLDER = {**OFF, "first_stage": None, "long_tail_seed": None}
