"""A form-encoded body, as OAuth clients send it (RFC 6749 appendix B), read field by field.

Called by ``emulate``. What nobody reads is ignored there: RFC 6749 3.2 wants it so.
"""

from urllib.parse import parse_qsl

from starlette.requests import Request

from broker.core.secret import Secret
from broker.errors import InvalidRequest
from broker.web.body import check_line, read_body, seconds_of

ENCODED = "application/x-www-form-urlencoded"
# A request of RFC 8693 with an assertion has a dozen fields.
MOST_FIELDS = 64


class Form:
    """The fields of a form. One that is empty counts as left out (RFC 6749 3.2)."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    @classmethod
    async def read(cls, request: Request) -> "Form":
        """Read the body of a request.

        Raises:
            InvalidRequest: it is too large, or no form.
        """
        kind = request.headers.get("content-type", ENCODED).partition(";")[0].strip().lower()
        raw = await read_body(request)
        if kind != ENCODED:
            raise InvalidRequest("The body is not form-encoded.", f"Send it as {ENCODED}, not as JSON.")
        try:
            return cls(parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=MOST_FIELDS))
        except ValueError as exc:
            raise InvalidRequest(
                "The form cannot be read.", f"Write names and values percent-encoded, {MOST_FIELDS} at the most."
            ) from exc

    def text(self, name: str) -> str:
        """Return a field, empty where it is missing.

        Raises:
            InvalidRequest: it is given twice, or holds a control character.
        """
        value = self._once(name)
        check_line(name, value)
        return value

    def secret(self, name: str) -> Secret | None:
        """Return a field that nobody may see, None where it is missing.

        Programs send a key file as it is, with the line feed at its end; no key begins or ends with white space.

        Raises:
            InvalidRequest: as :meth:`text`.
        """
        value = self._once(name).strip()
        check_line(name, value)
        return Secret(value) if value else None

    def words(self, name: str) -> tuple[str, ...]:
        """Return a field's words, with spaces between them.

        Raises:
            InvalidRequest: as :meth:`text`.
        """
        return tuple(dict.fromkeys(self.text(name).split()))

    def seconds(self, name: str) -> float | None:
        """Return a field that is a number of seconds, None where it is missing.

        Raises:
            InvalidRequest: as :meth:`text`, or it is no such number.
        """
        text = self.text(name)
        return seconds_of(name, text) if text else None

    def _once(self, name: str) -> str:
        values = self._values.get(name, [""])
        if len(values) > 1:
            raise InvalidRequest(f"'{name}' is given twice.", "Give it once.")
        return values[0]
