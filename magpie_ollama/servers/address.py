"""Where a server listens: addresses as people write them, and as OLLAMA_HOST may hold them."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import httpx

from magpie_ollama.errors import UsageError


def base_url(host: str, default_port: int) -> str:
    """The URL that ``host`` means, without a slash at its end.

    Read as Ollama reads OLLAMA_HOST: a host, ``host:port``, ``:port``, a URL with or without a path, IPv6
    with or without brackets. An address to listen on (0.0.0.0, ::) becomes the loopback address, since
    nothing can connect to it on every system. A URL's scheme brings its own default port, and
    "ollama.com" is its cloud's https, as in Ollama.

    >>> base_url("", 11434), base_url(":8080", 11434), base_url("0.0.0.0", 11434)
    ('http://127.0.0.1:11434', 'http://127.0.0.1:8080', 'http://127.0.0.1:11434')
    >>> base_url("https://models.example/ollama/", 11434), base_url("::1", 11434)
    ('https://models.example:443/ollama', 'http://[::1]:11434')
    """
    text = host.strip().strip("\"'")
    if "@" in text:  # before anything else quotes it
        raise _wrong(host, "a name and password in it are not used; a key comes from OLLAMA_API_KEY or OPENAI_API_KEY")
    if text == "ollama.com":
        text = "https://ollama.com"
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    elif scheme not in ("http", "https"):
        raise _wrong(host, f"the scheme must be http or https, not {scheme!r}")
    else:
        default_port = 443 if scheme == "https" else 80
    authority, slash, path = rest.partition("/")
    if authority.count(":") > 1 and not authority.startswith("["):
        authority = f"[{authority}]"
    try:
        parts = urlsplit(f"//{authority}")
        name, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError as error:
        raise _wrong(host, str(error)) from None
    if any(character.isspace() or character in "@?#\\" for character in authority + path):
        raise _wrong(host, "it has a character that no address has")
    if not separator and re.match("https?:?/", text):
        raise _wrong(host, "the scheme must be followed by ://")
    if authority.startswith("["):
        if not re.fullmatch(r"\[[^\]]*\](:\d*)?", authority):
            raise _wrong(host, "what follows the bracket is no port")
        _check_v6(host, name)  # Python 3.11.3 and older take anything between the brackets
    elif not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
        raise _wrong(host, f"{name!r} is no name of a host")
    if name in ("0.0.0.0", "::"):
        name = "127.0.0.1" if name == "0.0.0.0" else "::1"
    shown = f"[{name}]" if ":" in name else name
    url = f"{scheme}://{shown}:{port or default_port}{slash}{path}".rstrip("/")
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise _wrong(host, str(error)) from None
    return url


def is_loopback(url: str) -> bool:
    """Whether ``url`` is this machine's own loopback, which no proxy may stand before.

    >>> is_loopback("http://localhost:11434"), is_loopback("http://10.0.0.7:11434")
    (True, False)
    """
    name = urlsplit(url).hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def without_password(host: str) -> str:
    """``host`` to be shown: what stands where a URL has a name, a password or a query is nobody's business.

    >>> without_password("http://maria:segreto@h:1"), without_password("h:1/?key=segreto")
    ('http://***@h:1', 'h:1/?***')
    """
    return re.sub(r"\?.*", "?***", re.sub(r"^(\w+://)?.*@", r"\1***@", host, flags=re.S), flags=re.S)


def _check_v6(host: str, name: str) -> None:
    try:
        ipaddress.IPv6Address(name)
    except ValueError as error:
        raise _wrong(host, str(error)) from None


def _wrong(host: str, why: str) -> UsageError:
    return UsageError(
        f"{without_password(host)!r} is not an address of a server: {why.rstrip('.')}.",
        "write it as host, host:port or http://host:port, for example --host 127.0.0.1:11434",
    )
