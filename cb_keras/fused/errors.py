"""The error of the fused op."""


class FusedOpError(Exception):
    """The fused op was insisted on and can't be used; the message says why."""
