"""The names of `typing` that checks use, without what it costs at each start of a check.

A Nagios starts thousands of checks a minute. `typing` takes 8 % of the instructions of a minimal
plugin. The thirty named tuples of a check take 13 % if `typing` makes them, 9 % if they are made
here. Type checkers see the real names. At run time, a type is only a name in an annotation.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Generic, Literal, NamedTuple, NoReturn, TypeVar
else:
    from collections import namedtuple

    Any = NoReturn = object

    class Literal:
        """`Literal["a", "b"]` is `Literal`."""

        def __class_getitem__(cls, values: object) -> type:
            return cls

    class Generic:
        """`class Stack(Generic[T])` is a plain class."""

        def __class_getitem__(cls, parameters: object) -> type:
            return cls

    def TypeVar(_name: str, **_: object) -> type:  # noqa: N802
        """Return the type of everything."""
        return object

    class _NamedTupleType(type):
        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            """Make a named tuple of the annotations of a class, with its methods."""
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body.get("__annotations__", {})
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body.pop("__module__"))
            for key, value in body.items():
                setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_NamedTupleType):
        """The base of a named tuple, as in `typing`."""


__all__ = ["TYPE_CHECKING", "Any", "Generic", "Literal", "NamedTuple", "NoReturn", "TypeVar"]
