"""Who may ask the page for what: only this machine's own browser, or whoever has the token.

A browser opens any site, and any site may send requests to this machine. So a request has to name this server as its
host (no other name that a site may have leads here), come from no other origin, and carry the token of the page where
it changes anything. On another address than the loopback, all of it asks for the token that the terminal printed.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import platform
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 2**22
"""Bytes of a request: an edited text is far shorter."""

TOKEN_HEADER = "x-magpie-token"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""With every answer, errors too. No script and no style but the files of this page; no site may frame or read it."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Access:
    """``host`` is the address that is listened on. ``token`` opens the page where that is no loopback, "" where it
    need not; ``page_token`` is in each page, and goes with what it posts."""

    host: str = "127.0.0.1"
    token: str = ""
    page_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @classmethod
    def to(cls, host: str) -> Access:
        return cls(host, "" if is_loopback(host) else secrets.token_urlsafe(24))

    @property
    def cookie(self) -> str:
        """Told to the browser in place of the token itself."""
        return hashlib.blake2b(self.token.encode(), key=self.page_token.encode()[:64], digest_size=24).hexdigest()

    def may_be(self, name: str) -> bool:
        """Whether a request's host is a name of this server that no other site can have: an address in digits is."""
        if is_loopback(self.host):
            return is_loopback(name)
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            node = platform.node().lower()
            return name.lower() in ("localhost", self.host.lower(), node, f"{node}.local")
        return True


class Guard:
    """Around the whole application."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        refused = self._refusal(request) or self._opening(request)
        await (refused or self._app)(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        hosts = request.headers.getlist("host")
        name = hosts[0].rpartition(":")[0] if hosts and hosts[0].rpartition(":")[2].isdigit() else "".join(hosts[:1])
        if len(hosts) != 1 or not self._access.may_be(name):
            return _refused("This server has another name.", 421)
        origin = request.headers.get("origin")
        if origin is not None and origin != f"{request.url.scheme}://{hosts[0]}":
            return _refused("Another site asks.")
        if request.method in ("GET", "HEAD"):
            return None
        if request.method != "POST" or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return _refused("Only the page itself may do that.")
        if not hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), self._access.page_token.encode()):
            return _refused("The page is of an earlier start of this server: load it again.")
        size = request.headers.get("content-length", "")
        if not size.isdecimal() or int(size) > LARGEST:
            return _refused("The request has no length, or is too long.", 413)
        return None

    def _opening(self, request: Request) -> Response | None:
        """Asks whoever is no browser of this machine for the token; one that has it is remembered."""
        access = self._access
        if not access.token:
            return None
        cookie = f"magpie-{request.url.port or 80}"
        given = request.query_params.get("token", "")
        if hmac.compare_digest(given.encode(), access.token.encode()):
            rest = [(key, value) for key, value in request.query_params.multi_items() if key != "token"]
            path = f"/{request.url.path.lstrip('/')}"  # two slashes would lead to another host
            answer = RedirectResponse("?".join(filter(None, (path, urlencode(rest)))), 303)
            answer.set_cookie(cookie, access.cookie, httponly=True, samesite="lax")
            return answer
        if hmac.compare_digest(request.cookies.get(cookie, "").encode(), access.cookie.encode()):
            return None
        return _refused("Open the page by the address that `magpie-ollama serve` printed, with its token.", 401)


def _refused(why: str, status: int = 403) -> Response:
    return PlainTextResponse(f"{why}\n", status)
