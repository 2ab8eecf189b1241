"""Typed decoding: what somebody else wrote, as a value of a stated type, or an error that says where it is wrong.

For every boundary: answers of servers, files beside a corpus, data files. Shapes are ``msgspec.Struct`` classes,
dataclasses and plain annotations; keys that a shape does not name are passed over.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0)]
"""A number of things: whole, and none of them negative."""


class Misshapen(ValueError):
    """Data of another shape than was expected. ``str()`` says what is wrong and where: "Expected `int`, got `str` - at
    `$.usage.prompt_tokens`"."""


def decode(data: bytes | str, shape: type[T]) -> T:
    """The JSON in ``data`` as a ``shape``. Raises ``Misshapen``, for what is no JSON too.

    Halves of surrogate pairs are taken, as Python's servers write them; NaN and infinities, which they write too, are
    null.
    """
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        raise Misshapen(str(error)) from error
    except RecursionError as error:
        raise Misshapen("nested too deeply") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        try:
            value = json.loads(data, parse_constant=lambda constant: None)
        except (ValueError, RecursionError):
            raise Misshapen(str(error)) from error
        return convert(value, shape)


def convert(value: Any, shape: type[T]) -> T:
    """``value``, as a parser of JSON or TOML gives it, as a ``shape``. Raises ``Misshapen``."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise Misshapen(str(error)) from error
    except UnicodeError as error:  # where a text is compared, as a key is
        raise Misshapen("half of a surrogate pair") from error
    except RecursionError as error:
        raise Misshapen("nested too deeply") from error
