"""The filters of templates for lists, and the tests; each pays for the items it goes through."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, Final

from circleci_relay.errors import RenderError
from circleci_relay.rendering.bounds import (
    MOST_TEXT,
    bounded,
    is_missing,
    kind_of,
    spend,
    text_of,
)
from circleci_relay.rendering.filters import FILTERS as TEXT_FILTERS
from circleci_relay.rendering.maps import FILTERS as MAP_FILTERS

if TYPE_CHECKING:
    from collections.abc import Callable

_ABSENT: Final = object()


def items_of(value: Any) -> list[Any]:
    """What a loop or a list filter goes through: a map's keys, a text's characters."""
    if is_missing(value):
        return []
    if isinstance(value, str):
        spend(items=len(value))
        return list(value)
    if isinstance(value, (list, tuple, dict)):
        spend(items=len(value))
        return list(value)
    raise RenderError(f"a list is wanted here, and the value is {kind_of(value)}")


def joined(parts: Any) -> str:
    """The texts of *parts*, one after another."""
    texts, size = [], 0
    for part in parts:
        text = text_of(part)
        size += len(text)
        if size > MOST_TEXT:
            raise RenderError(f"its text would be larger than {MOST_TEXT // 1024} KiB")
        texts.append(text)
    spend(size)
    return "".join(texts)


def join(value: Any, between: str = "", attribute: str | int | None = None) -> str:
    """The items' texts with *between* between them."""
    items, glue = items_of(value), text_of(between)
    parts: list[Any] = []
    for item in items:
        parts += (glue, item if attribute is None else reach(item, attribute))
    return joined(parts[1:])


def length(value: Any) -> int:
    """How many items or characters there are."""
    if is_missing(value):
        return 0
    if isinstance(value, (str, list, tuple, dict)):
        return len(value)
    raise RenderError(f"a list or a text is wanted here, and the value is {kind_of(value)}")


def first(value: Any) -> Any:
    """The first item or character; null where there is none."""
    return next(iter(value), None) if _countable(value) else None


def last(value: Any) -> Any:
    """The last item or character; null where there is none."""
    return next(reversed(value), None) if _countable(value) else None


def reverse(value: Any) -> Any:
    """The other way round."""
    if isinstance(value, str):
        spend(len(value))
        return value[::-1]
    return items_of(value)[::-1]


def sort(value: Any, reverse: bool = False, attribute: str | int | None = None) -> list[Any]:  # noqa: FBT001, FBT002 - Jinja's
    """In order; numbers before texts, texts without regard to case, the rest as it came."""
    items = items_of(value)
    spend(items=len(items))  # once more, for putting them in order
    return sorted(items, key=lambda item: order(reach(item, attribute)), reverse=bool(reverse))


def unique(value: Any, attribute: str | int | None = None) -> list[Any]:
    """Each once, the first one."""
    seen = set()
    kept = []
    for item in items_of(value):
        key = identity(reach(item, attribute))
        if key not in seen:
            seen.add(key)
            kept.append(item)
    return kept


def map_(value: Any, *args: Any, attribute: str | int | None = None, default: Any = None) -> Any:
    """Each item's *attribute*, or each item through a filter named here."""
    items = items_of(value)
    if attribute is not None and not args:
        found = (reach(item, attribute) for item in items)
        return [default if is_missing(each) else each for each in found]
    if not args or attribute is not None:
        raise RenderError("map() takes the name of a filter, or attribute=")
    apply = _named(args[0], FILTERS, "filter")
    return [apply(item, *args[1:]) for item in items]


def select(value: Any, *args: Any) -> list[Any]:
    """The items that pass a test named here; without one, those that are not empty."""
    test = _test(args)
    return [item for item in items_of(value) if test(item)]


def reject(value: Any, *args: Any) -> list[Any]:
    """The items that do not pass a test named here; without one, those that are empty."""
    test = _test(args)
    return [item for item in items_of(value) if not test(item)]


def selectattr(value: Any, attribute: str, *args: Any) -> list[Any]:
    """The items whose *attribute* passes a test named here."""
    test = _test(args)
    return [item for item in items_of(value) if test(reach(item, attribute))]


def rejectattr(value: Any, attribute: str, *args: Any) -> list[Any]:
    """The items whose *attribute* does not pass a test named here."""
    test = _test(args)
    return [item for item in items_of(value) if not test(reach(item, attribute))]


def groupby(value: Any, attribute: str | int, default: Any = None) -> list[dict[str, Any]]:
    """The items by their *attribute*, in its order: `grouper` and `list` of each group."""
    groups: dict[Any, dict[str, Any]] = {}
    for item in items_of(value):
        grouper = reach(item, attribute)
        grouper = default if is_missing(grouper) else grouper
        group = groups.setdefault(identity(grouper), {"grouper": grouper, "list": []})
        group["list"].append(item)
    return sorted(groups.values(), key=lambda group: order(group["grouper"]))


def sum_(value: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    """The numbers added up."""
    total = start
    for item in items_of(value):
        number = reach(item, attribute)
        if not isinstance(number, (int, float)):
            raise RenderError(
                f"the filter sum adds numbers, and one value is {kind_of(number)} here"
            )
        total = bounded(total + number)
    return total


def least(value: Any, attribute: str | int | None = None) -> Any:
    """The least item; null where there is none."""
    return min(items_of(value), key=lambda item: order(reach(item, attribute)), default=None)


def greatest(value: Any, attribute: str | int | None = None) -> Any:
    """The greatest item; null where there is none."""
    return max(items_of(value), key=lambda item: order(reach(item, attribute)), default=None)


def reach(item: Any, attribute: str | int | None) -> Any:
    """What stands in *item* under a dotted path; None where nothing does."""
    if attribute is None:
        return item
    for key in attribute.split(".")[:20] if isinstance(attribute, str) else (attribute,):
        try:
            if isinstance(item, dict):
                item = item[key]
            elif isinstance(item, (list, tuple)):
                item = item[int(key)]
            else:
                return None
        except (LookupError, ValueError, TypeError):
            return None
    return item


def order(value: Any) -> tuple[int, Any]:
    """What *value* is sorted by, whatever it is."""
    if isinstance(value, (bool, int, float)):
        return (0, value) if math.isfinite(value) else (1, 0)
    if isinstance(value, str):
        spend(min(len(value), 100))
        return 2, value.casefold() if len(value) <= 100 else value[:100].casefold()  # noqa: PLR2004 - enough to sort by
    return 3, 0


def identity(value: Any) -> Any:
    """What two values share that count as one."""
    if isinstance(value, (dict, list, tuple)):
        return type(value).__name__, text_of(value)
    return None if is_missing(value) else (isinstance(value, bool), value)


def contains(container: Any, value: Any) -> bool:
    """Whether *value* is in a list, among a map's keys, or part of a text."""
    if isinstance(container, str):
        spend(len(container))
        return text_of(value) in container
    if isinstance(container, dict):
        return isinstance(value, (str, int, float)) and value in container
    return value in items_of(container)


def equal(left: Any, right: Any) -> bool:
    """Whether two values are equal; what is missing equals null."""
    if is_missing(left) or is_missing(right):
        return is_missing(left) and is_missing(right)
    if isinstance(left, (dict, list, tuple)):
        spend(items=len(left))
        return text_of(left) == text_of(right) if isinstance(right, type(left)) else False
    if isinstance(left, str):
        spend(len(left))
    return bool(left == right)


def compare(left: Any, name: str, right: Any) -> bool:
    """`left < right` and the like; false where either is missing."""
    if name == "eq":
        return equal(left, right)
    if name == "ne":
        return not equal(left, right)
    if is_missing(left) or is_missing(right):
        return False
    if isinstance(left, str) and isinstance(right, str):
        spend(min(len(left), len(right)))
    elif not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
        raise RenderError("only two numbers, or two texts, can be compared")
    return bool(_ORDERS[name](left, right))


def _countable(value: Any) -> bool:
    if is_missing(value):
        return False
    if isinstance(value, (str, list, tuple, dict)):
        return True
    raise RenderError(f"a list or a text is wanted here, and the value is {kind_of(value)}")


def _named(name: Any, known: dict[str, Callable[..., Any]], kind: str) -> Callable[..., Any]:
    found = known.get(name) if isinstance(name, str) else None
    if found is None:
        raise RenderError(f"there is no such {kind}")
    return found


def _test(args: tuple[Any, ...]) -> Callable[[Any], bool]:
    if not args:
        return bool
    found = _named(args[0], TESTS, "test")
    return lambda item: found(item, *args[1:])


def _ordered(name: str) -> Callable[[Any, Any], bool]:
    return lambda value, other: compare(value, name, other)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _divisible(value: Any, by: Any) -> bool:
    if not (_is_integer(value) and _is_integer(by) and by):
        raise RenderError("only whole numbers can be divisible")
    return bool(value % by == 0)


_ORDERS: Final = {"lt": operator.lt, "lteq": operator.le, "gt": operator.gt, "gteq": operator.ge}

FILTERS: Final[dict[str, Callable[..., Any]]] = TEXT_FILTERS | MAP_FILTERS | {
    "join": join, "length": length, "count": length, "first": first, "last": last,
    "reverse": reverse, "sort": sort, "unique": unique, "map": map_, "select": select,
    "reject": reject, "selectattr": selectattr, "rejectattr": rejectattr, "groupby": groupby,
    "list": items_of, "sum": sum_, "min": least, "max": greatest,
}  # fmt: skip
"""All filters by the names that templates use."""

TESTS: Final[dict[str, Callable[..., bool]]] = {
    "defined": lambda value: not is_missing(value),
    "undefined": is_missing,
    "none": is_missing,
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": _is_integer,
    "float": lambda value: isinstance(value, float),
    "boolean": lambda value: isinstance(value, bool),
    "true": lambda value: value is True,
    "false": lambda value: value is False,
    "mapping": lambda value: isinstance(value, dict),
    "sequence": lambda value: isinstance(value, (list, tuple, str)),
    "iterable": lambda value: isinstance(value, (list, tuple, str, dict)),
    "odd": lambda value: not _divisible(value, 2),
    "even": lambda value: _divisible(value, 2),
    "divisibleby": _divisible,
    "in": lambda value, container: contains(container, value),
    "eq": equal, "==": equal, "equalto": equal,
    "ne": lambda value, other: not equal(value, other),
    "!=": lambda value, other: not equal(value, other),
    "lt": _ordered("lt"), "<": _ordered("lt"), "lessthan": _ordered("lt"),
    "le": _ordered("lteq"), "<=": _ordered("lteq"),
    "gt": _ordered("gt"), ">": _ordered("gt"), "greaterthan": _ordered("gt"),
    "ge": _ordered("gteq"), ">=": _ordered("gteq"),
}  # fmt: skip
"""All tests by the names that stand behind `is`."""
