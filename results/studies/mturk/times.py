"""Reads the times of result files."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_TIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d{1,2}) (\d\d):(\d\d):(\d\d) ([A-Z]{3,4}) (\d{4})")
# Not by strptime, whose names of months and zones depend on the locale.
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
# The zones of requesters in the USA; Mechanical Turk wrote Pacific time for years.
_OFFSETS = {
    **{"UTC": 0, "GMT": 0, "EDT": -4, "EST": -5, "CDT": -5, "CST": -6},
    **{"MDT": -6, "MST": -7, "PDT": -7, "PST": -8},
}


def utc_time(cell: str) -> str | None:
    """Returns a time such as "Thu Oct 09 07:30:20 PDT 2025", or an ISO time, as ISO 8601 in UTC.

    "" for an empty cell; None if the time cannot be read.
    """
    cell = cell.strip()
    if not cell:
        return ""
    try:
        if match := _TIME.fullmatch(cell):
            month, day, hour, minute, second, zone, year = match.groups()
            numbers = (int(year), _MONTHS.index(month) + 1, *map(int, (day, hour, minute, second)))
            local = datetime(*numbers, tzinfo=UTC)
            time = local - timedelta(hours=_OFFSETS[zone])
        else:
            time = datetime.fromisoformat(cell)
            time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, KeyError, OverflowError):
        return None
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
