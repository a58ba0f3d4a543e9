"""Arguments that a loss computes with once, when it is made, or that compiled code has taken in."""

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class Fixed(Generic[Value]):
    """An attribute that can be set once: a later value would be in the configuration alone.

    Without a `__get__` it costs nothing to read: Python then takes the instance's own value.

    Raises:
        AttributeError: It is set again.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    if TYPE_CHECKING:

        @overload
        def __get__(self, loss: None, owner: type) -> "Fixed[Value]": ...

        @overload
        def __get__(self, loss: object, owner: type | None = None) -> Value: ...

        def __get__(self, loss: Any, owner: type | None = None) -> Any: ...

    def __set__(self, loss: Any, value: Value) -> None:
        if self._name in loss.__dict__:
            raise AttributeError(
                f"`{self._name}` is fixed when a loss is made, and {value!r} would change nothing "
                f"that is computed already or compiled: make another {type(loss).__name__} with "
                "it, or assign to `class_weights`."
            )
        loss.__dict__[self._name] = value
