"""Checks of arguments, by value, shape and dtype; what is wrong raises ValueError."""

from cb_keras.checks.activation import warn_of_activation
from cb_keras.checks.class_ids import refuse_invalid_class_ids
from cb_keras.checks.labels import (
    canonical_labels,
    check_labels,
    classes_first_hint,
    invalid_class_ids,
    known_shape,
    narrow_class_ids,
    safe_class_ids,
    sizes_fit,
    to_tensors,
    void_class_ids,
    with_checked_sizes,
)
from cb_keras.checks.multi_hot import (
    invalid_multi_hot,
    refuse_invalid_multi_hot,
    refuse_invalid_one_hot,
)
from cb_keras.checks.nan import nan_where
from cb_keras.checks.numbers import (
    check_beta,
    check_choice,
    check_depth,
    check_flag,
    check_gamma,
    check_ignore_class,
    check_ignored_label,
    check_imbalance_factor,
    check_label_smoothing,
    check_margin,
    check_momentum,
    check_number,
    check_positive,
    check_power,
    check_share,
    check_tau,
    check_weight_decay,
    check_whole_number,
)
from cb_keras.checks.pairs import check_pairs_of_counts, check_pairs_of_weights
from cb_keras.checks.per_label import per_label
from cb_keras.counts import check_class_counts, check_class_weights

__all__ = [
    "canonical_labels",
    "check_beta",
    "check_choice",
    "check_class_counts",
    "check_class_weights",
    "check_depth",
    "check_flag",
    "check_gamma",
    "check_ignore_class",
    "check_ignored_label",
    "check_imbalance_factor",
    "check_label_smoothing",
    "check_labels",
    "check_margin",
    "check_momentum",
    "check_number",
    "check_pairs_of_counts",
    "check_pairs_of_weights",
    "check_positive",
    "check_power",
    "check_share",
    "check_tau",
    "check_weight_decay",
    "check_whole_number",
    "classes_first_hint",
    "invalid_class_ids",
    "invalid_multi_hot",
    "known_shape",
    "nan_where",
    "narrow_class_ids",
    "per_label",
    "refuse_invalid_class_ids",
    "refuse_invalid_multi_hot",
    "refuse_invalid_one_hot",
    "safe_class_ids",
    "sizes_fit",
    "to_tensors",
    "void_class_ids",
    "warn_of_activation",
    "with_checked_sizes",
]
