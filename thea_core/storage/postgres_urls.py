"""The URL of a PostgreSQL database: what libpq is to make of it, and what of it may be shown."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from thea_core.errors import StoreUnavailableError

__all__ = ["Target", "read_url"]

_EXAMPLE = "write postgresql://USER:PASSWORD@HOST:5432/DATABASE"
_HIGHEST_PORT = 65535
# What libpq leaves to the system, which waits for hours: a server that is gone without a word is noticed by these.
_PATIENCE = {
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}


class Target(NamedTuple):
    """Where to connect to.

    Attributes:
        parameters: libpq's, by name.
        shown: the address without the user and anything secret, for messages.
    """

    parameters: dict[str, Any]
    shown: str

    def without_password(self, text: str) -> str:
        """Return ``text`` with the password struck out, should it be in there."""
        for secret in (self.parameters.get("password"), self.parameters.get("sslpassword")):
            if secret:
                text = text.replace(str(secret), "***")
        return text


def read_url(url: str, *, connect_timeout: float) -> Target:
    """Take a URL apart.

    Args:
        url: as libpq understands it: ``postgresql://user:password@host:port/database?option=value``.
        connect_timeout: seconds for an attempt to connect, where the URL does not say so.

    Raises:
        StoreUnavailableError: libpq would not understand it, or not as it was meant. Nothing of the URL is in the
            message: where it cannot be taken apart, nobody knows which part of it is the password.
    """
    slashes, rest = url.partition(":")[2][:2], url.partition(":")[2][2:]
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if slashes != "//" or not rest:
        raise StoreUnavailableError(f"the URL of the PostgreSQL database is not complete: {_EXAMPLE}")
    if "@" in rest[len(authority) :] or authority.count("@") > 1:
        raise StoreUnavailableError(
            "the URL of the PostgreSQL database holds an @ where none can be; in a user name or password write %40 "
            "for @, %2F for / and %3F for ?"
        )
    try:
        parameters = conninfo_to_dict(f"postgresql://{rest}")
    except psycopg.Error:
        raise StoreUnavailableError(
            f"the URL of the PostgreSQL database cannot be understood: {_EXAMPLE}, with %25 for a % in the password"
        ) from None
    _check_ports(parameters)
    parameters = {**_PATIENCE, "connect_timeout": max(1, round(connect_timeout)), **parameters}
    return Target({**parameters, "client_encoding": "UTF8"}, _shown(parameters))


def _check_ports(parameters: dict[str, Any]) -> None:
    for port in str(parameters.get("port") or 1).split(","):
        if port and not (port.isdecimal() and 0 < int(port) <= _HIGHEST_PORT):
            raise StoreUnavailableError(
                f"the port in the URL of the PostgreSQL database is no number from 1 to {_HIGHEST_PORT}: {_EXAMPLE}, "
                "with %2F for a / in the password"
            )


def _shown(parameters: dict[str, Any]) -> str:
    host = parameters.get("host") or parameters.get("hostaddr") or ""
    port = f":{parameters['port']}" if parameters.get("port") else ""
    database = f"/{parameters['dbname']}" if parameters.get("dbname") else ""
    return f"postgresql://{host}{port}{database}"
