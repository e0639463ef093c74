"""Statements that run again and again: made into SQL once, and from then on given to the driver itself.

Used by the modules of the store through which every refresh goes. To run a statement takes SQLAlchemy several times as
long as SQLite. The types of the columns convert what goes in and what comes out, as they do there: a row is the same
whichever way it was read or written. What the driver raises ``engine`` translates, as it does with SQLAlchemy's errors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Select, Update
from sqlalchemy.exc import MultipleResultsFound
from sqlalchemy.types import TypeEngine

from broker.store.engine import Dialect
from broker.store.transactions import driver

Convert = Callable[[Any], Any]
Values = Mapping[str, Any]
NOTHING: Values = MappingProxyType({})
_DIALECT = Dialect()


@dataclass(frozen=True, slots=True)
class _Sql:
    """What a statement became for some values.

    Attributes:
        text: it, with question marks.
        fixed: what stands for them, with gaps where a value comes.
        gaps: where each value comes, its name, and how it is converted.
    """

    text: str
    fixed: list[Any]
    gaps: list[tuple[int, str, Convert | None]]

    def filled(self, values: Values) -> list[Any]:
        """Return what stands for the question marks."""
        filled = self.fixed.copy()
        for at, name, convert in self.gaps:
            filled[at] = values[name] if convert is None else convert(values[name])
        return filled


class Prepared:
    """One statement, whose parameters have names; lists of any length (``in_``) it has none.

    Of an INSERT or UPDATE that names no columns, those are written for which there are values.
    """

    def __init__(self, statement: Select[Any] | Insert | Update | Delete) -> None:
        self._statement = statement
        self._made: dict[tuple[str, ...], _Sql] = {}
        columns = {str(name): column for name, column in statement.exported_columns.items()}
        self._names = tuple(columns)
        converts = ((name, _to_python(column.type)) for name, column in columns.items())
        self._converts = [(name, convert) for name, convert in converts if convert is not None]

    def run(self, tx: Connection, values: Values = NOTHING) -> None:
        """Run it, for what it changes."""
        self._run(tx, values)

    def run_each(self, tx: Connection, rows: Sequence[Values]) -> None:
        """Run it once for each of some rows, which have values for the same columns."""
        if rows:
            sql = self._sql(tuple(rows[0]))
            driver(tx).executemany(sql.text, [sql.filled(row) for row in rows])

    def rows(self, tx: Connection, values: Values = NOTHING) -> list[dict[str, Any]]:
        """Return what it finds, or what it returns of what it changes."""
        return [self._read(found) for found in self._run(tx, values)]

    def row(self, tx: Connection, values: Values = NOTHING) -> dict[str, Any] | None:
        """Return the only row that it finds, or None where there is none."""
        found = self._run(tx, values)
        if len(found) > 1:
            raise MultipleResultsFound("there are several where one is expected")
        return self._read(found[0]) if found else None

    def value(self, tx: Connection, values: Values = NOTHING) -> Any:  # noqa: ANN401 -- whatever the column holds
        """Return what stands in the only column of the only row, or None where there is none."""
        found = self.row(tx, values)
        return None if found is None else found[self._names[0]]

    def _run(self, tx: Connection, values: Values) -> list[tuple[Any, ...]]:
        sql = self._sql(tuple(values))
        return driver(tx).execute(sql.text, sql.filled(values)).fetchall()

    def _read(self, found: tuple[Any, ...]) -> dict[str, Any]:
        row = dict(zip(self._names, found, strict=True))
        for name, convert in self._converts:
            row[name] = convert(row[name])
        return row

    def _sql(self, names: tuple[str, ...]) -> _Sql:
        made = self._made.get(names)
        if made is None:
            made = self._made[names] = self._make(names)
        return made

    def _make(self, names: tuple[str, ...]) -> _Sql:
        made = self._statement.compile(dialect=_DIALECT, column_keys=list(names))
        places = made.positiontup or []
        known = made.construct_params(dict.fromkeys(names))
        converts = [_to_sqlite(made.binds[name].type) for name in places]
        fixed = [
            known[name] if convert is None or name in names else convert(known[name])
            for name, convert in zip(places, converts, strict=True)
        ]
        gaps = [(at, name, converts[at]) for at, name in enumerate(places) if name in names]
        return _Sql(str(made), fixed, gaps)


def _to_sqlite(kind: TypeEngine[Any]) -> Convert | None:
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _to_python(kind: TypeEngine[Any]) -> Convert | None:
    return kind.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
