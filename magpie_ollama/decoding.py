"""Typed decoding: what somebody else wrote, as a value of a stated type, or an error that says where it is wrong.

For every boundary: answers of servers, files beside a corpus, data files. Shapes are ``msgspec.Struct`` classes,
dataclasses and plain annotations; keys that a shape does not name are passed over.
"""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Annotated, Any, TypeVar, cast

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
    null; so is 1e400, which no float can hold.
    """
    try:
        value: T = _decoder(cast("Any", shape)).decode(data)
        return value
    except RecursionError as error:
        raise Misshapen("nested too deeply") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        if isinstance(error, msgspec.ValidationError) and "out of range" not in str(error):
            raise Misshapen(str(error)) from error
        try:
            value = json.loads(data, parse_constant=lambda constant: None, parse_float=_finite)
        except (ValueError, RecursionError):
            raise Misshapen(str(error)) from error
        return convert(value, shape)


def convert(value: Any, shape: type[T]) -> T:
    """``value``, as a parser of JSON or TOML gives it, as a ``shape``. Raises ``Misshapen``."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise Misshapen(str(error)) from error
    except UnicodeError as error:  # where a text is compared, as a key is, or a number was expected
        raise Misshapen("half of a surrogate pair where no text belongs") from error
    except RecursionError as error:
        raise Misshapen("nested too deeply") from error


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


@cache
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    """Made once a shape: a stream has many pieces."""
    return msgspec.json.Decoder(shape)
