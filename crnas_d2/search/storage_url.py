"""The URL of a study's storage: its forms, and how to show it without its password.

SQLAlchemy is imported when a storage is named: it takes a tenth of the start of other verbs.
"""

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from detectron2.config import CfgNode

from crnas_d2.common.secrets_in_urls import hide_secrets

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_FORMS = (
    "expected postgresql+psycopg://user@host/database, another SQLAlchemy URL, grpc://host:port of "
    "a study_proxy, the path of a journal file in an existing folder, or $NAME of an environment "
    "variable that holds one of them"
)
GRPC = "grpc://"
# Of a server, without what a URL begins with.
_HOST = re.compile(r"([\w.-]+@)?([\w.-]+|\[[\da-f:]+\]):\d+|localhost|\d+(\.\d+){3}")
_SECRET = ("pass", "secret", "token", "key")  # in the name of a parameter of the driver


class StorageError(Exception):
    """The study cannot be read or written; the message says where, why and what to do."""


def study_url(cfg: CfgNode) -> str:
    """Return the URL of the study: ``SEARCH.STORAGE``, or what its ``$NAME`` holds, else a file."""
    storage = str(cfg.SEARCH.STORAGE)
    if storage.startswith("$"):
        name = storage[1:].removeprefix("{").removesuffix("}")
        if value := os.environ.get(name):
            return value
        missing = f"SEARCH.STORAGE is '${name}', but the environment has no variable {name}"
        raise ValueError(f"{missing}: export it, with the URL of the storage.")
    if storage:
        return storage
    path = os.path.abspath(os.path.join(cfg.OUTPUT_DIR, "search.db"))
    if quote(path) == path:
        return f"sqlite:///{path}"
    from sqlalchemy.engine import URL

    # As a URI, because SQLAlchemy would cut the path at a question mark.
    url = URL.create("sqlite", database=f"file:{quote(path)}", query={"uri": "true"})
    return url.render_as_string()


def hide_password(cfg: CfgNode) -> CfgNode:
    """Return a config that may be written to a file or a log: its URLs have no passwords."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEARCH.STORAGE = without_password(cfg.SEARCH.STORAGE)
    cfg.MODEL.WEIGHTS = hide_secrets(cfg.MODEL.WEIGHTS)
    cfg.freeze()
    return cfg


def check_url(url: str) -> None:
    """Raise ValueError, without a password, for a storage that is no URL and no journal file."""
    if _HOST.fullmatch(url):
        raise ValueError(
            f"SEARCH.STORAGE is '{url}', which looks like a server: write {GRPC}{_with_port(url)} "
            f"for a study_proxy, or ./{url} for a journal file of that name."
        )
    if "://" not in url:
        folder = os.path.dirname(os.path.abspath(url))
        if os.path.isdir(url) or not os.path.isdir(folder):
            raise ValueError(f"SEARCH.STORAGE is '{url}'; {_FORMS}.")
    elif _parsed(url) is None or (url.startswith(GRPC) and not _names_a_server(url)):
        raise ValueError(f"SEARCH.STORAGE is no URL that can be read; {_FORMS}.")
    elif _is_cut_short(url):
        raise ValueError(
            "SEARCH.STORAGE has an '@' in its user, password or settings: write %40 for it, or "
            "leave the password to PGPASSWORD or ~/.pgpass."
        )


def without_password(url: str) -> str:
    """Return a URL without its password and other secrets, which still names the same study."""
    if "://" not in url:
        return url
    parsed = _parsed(url)
    if parsed is None or _is_cut_short(url):
        return f"{url.partition('://')[0]}://..."
    secrets = [n for n in parsed.query if any(word in n.lower() for word in _SECRET)]
    if parsed.password is None and not secrets:
        return url
    return parsed.difference_update_query(secrets)._replace(password=None).render_as_string()


def public_arguments(arguments: Iterable[str]) -> list[str]:
    """Return the arguments of a command, to be kept as a record, without passwords."""
    return [hide_secrets(without_password(argument)) for argument in arguments]


def shown(url: str) -> str:
    """Return the file of a storage, or its URL without the password, for messages."""
    return file_of(url) or without_password(url)


def file_of(url: str) -> str | None:
    """Return the path of an SQLite or a journal file; ``None`` for a server."""
    if "://" not in url:
        return url
    parsed = _parsed(url)
    if parsed is None or parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    if parsed.database.startswith("file:"):
        return unquote(parsed.database.removeprefix("file:").partition("?")[0])
    return parsed.database


def _with_port(host: str) -> str:
    host = host.rpartition("@")[2]
    return host if re.search(r":\d+$", host) else f"{host}:13000"


def _names_a_server(url: str) -> bool:
    """Whether a URL of gRPC is a host with a port, and nothing else."""
    parsed = _parsed(url)
    assert parsed is not None
    others = parsed.username, parsed.password, parsed.database or None, *parsed.query
    return bool(parsed.host and parsed.port) and not any(others)


def _parsed(url: str) -> "URL | None":
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None


def _is_cut_short(url: str) -> bool:
    """Whether a part of the password may have been read as the host, the database or a setting."""
    return url.count("@") > 1 and not url.startswith("sqlite")
