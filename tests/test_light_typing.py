"""The named tuples of the checks behave as those of `typing`."""

import copy
import pickle
import typing
from types import MappingProxyType

import pytest

from beanwatch import light_typing


class Plain(light_typing.NamedTuple):
    """A limit."""

    name: str
    low: float = 0.0
    more: typing.Mapping[str, int] = MappingProxyType({})

    @property
    def title(self) -> str:
        """The name in capitals."""
        return self.name.upper()

    @classmethod
    def of(cls, name: str) -> "Plain":
        return cls(name, 1.0)


class Real(typing.NamedTuple):
    """A limit."""

    name: str
    low: float = 0.0
    more: typing.Mapping[str, int] = MappingProxyType({})


def test_it_has_the_fields_the_defaults_and_the_text_of_a_real_one() -> None:
    assert Plain._fields == Real._fields
    assert Plain._field_defaults == Real._field_defaults
    assert Plain.__annotations__ == Real.__annotations__
    assert Plain.__doc__ == Real.__doc__
    assert Plain.__module__ == Real.__module__
    assert repr(Plain("a")) == repr(Real("a")).replace("Real", "Plain")
    assert Plain("a", low=2.0) == Real("a", low=2.0) == ("a", 2.0, {})
    assert Plain("a")._replace(name="b")._asdict() == Real("b")._asdict()


def test_it_has_methods_and_can_be_copied() -> None:
    assert Plain.of("a") == ("a", 1.0, {})
    assert Plain.of("a").title == "A"
    assert copy.copy(Plain("a")) == Plain("a")
    one = Plain("a", more={"b": 1})
    assert pickle.loads(pickle.dumps(one)) == one
    assert not hasattr(one, "__dict__")


def test_it_refuses_what_a_real_one_refuses() -> None:
    for wrong in ((), ("a", 1, {}, 2)):
        with pytest.raises(TypeError):
            Plain(*wrong)
    with pytest.raises(AttributeError):
        Plain("a").low = 1.0  # type: ignore[misc]
