"""The ASGI layer before every route and socket: host names, token, browser ids, security headers.

It knows nothing of the app behind it. A page of another site cannot reach the app through a name of its own
(DNS rebinding), because such a name is refused; a number address is never such a name.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "CRYSTAL_TOKEN"  # noqa: S105 (environment variable: the token that a browser must show; empty for none)
NAMES = "CRYSTAL_ALLOWED_HOSTS"  # environment variable: further names of the app, with commas between them
LEAST_TOKEN = 16  # characters; a shorter one can be guessed
QUERY = "token"  # of the link that opens a protected app
CLIENT = "crystal_client"  # cookie: the random id of a browser
CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{22}")
# request header that the guard alone sets: the id with which the runs of this browser are marked
CLIENT_HEADER = "x-crystal-client"
# id of browsers without cookies, which share their runs
NO_ID = "without-cookies"
YEAR = 365 * 24 * 3600
CLOSED = (
    "This app is protected by a token. Open the whole link that 'crystal-core serve' printed, "
    "or ask the person who started the app for it.\n"
)
WRONG_LINK = (
    "The token in this link is wrong, perhaps because the link was cut short or the app was started anew. "
    "Ask the person who started the app for the whole link.\n"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def content_policy(scripts: Iterable[str] = ()) -> str:
    """The Content-Security-Policy: nothing from other servers, no frames around the app.

    Args:
        scripts: texts of the inline scripts of the start page; all others are refused.
    """
    from base64 import b64encode

    allowed = "".join(
        f" 'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return "; ".join(
        [
            "default-src 'self'",
            # the viewer's own scripts reach Streamlit's components as blobs
            f"script-src 'self' blob:{allowed}",
            "style-src 'self' 'unsafe-inline'",  # Streamlit writes its styles into the page
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "media-src 'self' data: blob:",
            "worker-src 'self' blob:",
            "connect-src 'self' data: blob:",
            "frame-src 'self'",
            "frame-ancestors 'none'",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
        ]
    )


class AccessGuard:
    """An ASGI app that lets through what is allowed and answers everything else with one plain sentence.

    Args:
        app: what is guarded.
        names: host names by which the app is reached, besides localhost and number addresses.
        token: what a browser must show once, as ``?token=``; it then gets a cookie.
        Empty: everyone may enter.
        scripts: see :func:`content_policy`.
    """

    def __init__(
        self, app: ASGIApp, *, names: Iterable[str] = (), token: str = "", scripts: Iterable[str] = ()
    ) -> None:
        self.app, self.token = app, token
        self.names = frozenset(name.strip().lower().rstrip(".") for name in names if name.strip())
        self.headers = HEADERS | {"Content-Security-Policy": content_policy(scripts)}
        # cookies know no ports: two apps on one machine need two names
        self.cookie = f"crystal_access_{_digest('name', token)[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        answer = self._refusal(connection)
        is_socket = scope["type"] == "websocket"
        if is_socket and (answer is not None or not self._is_own_page(connection)):
            await send({"type": "websocket.close", "code": 1008})
            return
        name = CLIENT_HEADER.encode()
        headers = [pair for pair in scope["headers"] if pair[0].lower() != name]
        headers.append((name, (client_id(connection.cookies) or NO_ID).encode()))
        request_scope = {**scope, "headers": headers}
        await (answer or self.app)(request_scope, receive, self._with_headers(connection, send))

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        """The answer to a request that must not reach the app; None for one that may."""
        host = connection.headers.get("host", "")
        if not is_known_host(host, self.names):
            name = re.sub(r"[^A-Za-z0-9.:_-]", "", host)[:100]
            return PlainTextResponse(
                f"This app does not answer to the name '{name}'. Open it by its address, "
                f"or let its operator start it with '--allow-host {name.partition(':')[0] or 'NAME'}'.\n",
                421,
            )
        if not self.token or self._has_access(connection):
            return None
        given = connection.query_params.get(QUERY)
        if given is None or connection.scope["type"] == "websocket":
            return PlainTextResponse(CLOSED, 401)
        if not _same(given, self.token):
            return PlainTextResponse(WRONG_LINK, 403)
        # the token leaves the address, so that it stands in no bookmark, picture or shared link
        rest = urlencode(
            [(key, value) for key, value in connection.query_params.multi_items() if key != QUERY]
        )
        path = "/" + connection.url.path.lstrip("/")  # //name would lead to another server
        entered = RedirectResponse(path + (f"?{rest}" if rest else ""), 303, {"Cache-Control": "no-store"})
        _set_cookie(entered, connection, self.cookie, self._pass())
        return entered

    def _is_own_page(self, connection: HTTPConnection) -> bool:
        """Whether a page of this app, or no page at all, requests a socket.

        Streamlit refuses foreign pages, too, but lets those of other servers on this machine pass, and asks a
        server on the internet for its own address before it refuses one.
        """
        origin = connection.headers.get("origin")
        if origin is None:
            return True
        try:
            parts = urlsplit(origin)
            name = (parts.hostname or "").rstrip(".")
        except ValueError:
            return False
        return parts.netloc == connection.headers.get("host", "") or name in self.names

    def _has_access(self, connection: HTTPConnection) -> bool:
        kind, _, given = connection.headers.get("authorization", "").partition(" ")
        return _same(connection.cookies.get(self.cookie, ""), self._pass()) or (
            kind.lower() == "bearer" and _same(given, self.token)
        )

    def _pass(self) -> str:
        """The value of the cookie: it opens the app, and the token cannot be read from it."""
        return _digest("pass", self.token)

    def _with_headers(self, connection: HTTPConnection, send: Send) -> Send:
        known = client_id(connection.cookies)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers[name] = value
                if not known and headers.get("content-type", "").startswith("text/html"):
                    cookie = Response()
                    _set_cookie(cookie, connection, CLIENT, secrets.token_urlsafe(16))
                    headers.append("set-cookie", cookie.headers["set-cookie"])
            await send(message)

        return send_with_headers


def is_known_host(host: str, names: Iterable[str] = ()) -> bool:
    """Whether a Host header names this app: localhost, a number address, or one of ``names`` (lower case).

    >>> is_known_host("127.0.0.1:8501"), is_known_host("[::1]:8501"), is_known_host("localhost")
    (True, True, True)
    >>> is_known_host("rebound.example:8501"), is_known_host("Lab.example.", ["lab.example"])
    (False, True)
    """
    try:
        parts = urlsplit(f"//{host}")
        name = (parts.hostname or "").rstrip(".")
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    if parts.netloc != host or "@" in host:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name in names
    return True


def client_id(cookies: Mapping[str, str]) -> str:
    """The id of the browser with these cookies, as runs are marked with it; "" for a browser without one.

    It is a digest of the cookie, so a reader of the database cannot impersonate that browser.
    """
    value = cookies.get(CLIENT, "")
    return _digest("client", value)[:32] if CLIENT_ID.fullmatch(value) else ""


def _set_cookie(answer: Response, connection: HTTPConnection, name: str, value: str) -> None:
    """A cookie for a year, which no script reads and no other site sends.

    Over HTTPS it never travels unencrypted.
    """
    secure = connection.url.scheme == "https"
    answer.set_cookie(name, value, YEAR, httponly=True, samesite="lax", secure=secure)


def _same(given: str, wanted: str) -> bool:
    """Whether two texts agree, in a time that does not tell how far they do."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def _digest(purpose: str, secret: str) -> str:
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()
