"""Numbers as people read them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """
    >>> duration(7.2), duration(93), duration(3 * 3600 + 125)
    ('7 s', '1 min 33 s', '3 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(number: int, noun: str) -> str:
    """
    >>> counted(1, "record"), counted(0, "record"), counted(1234, "record")
    ('1 record', '0 records', '1,234 records')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(amount: float) -> str:
    """
    >>> size(4_100_000_000), size(94_000_000), size(312)
    ('4.1 GB', '94.0 MB', '312 B')
    """
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def rate(per_minute: float) -> str:
    """
    >>> rate(9.04), rate(0.31), rate(1234)
    ('9.0 records/min', '19 records/h', '1,234 records/min')
    """
    if per_minute < 1:
        return f"{60 * per_minute:.0f} records/h"
    return f"{per_minute:.1f} records/min" if per_minute < 100 else f"{per_minute:,.0f} records/min"


def share(part: float, whole: float) -> str:
    """
    >>> share(1, 3), share(0, 0), share(1, 500)
    ('33 %', '-', '0.2 %')
    """
    if not whole:
        return "-"
    percent = 100 * part / whole
    return f"{percent:.1f} %" if 0 < percent < 1 else f"{percent:.0f} %"
