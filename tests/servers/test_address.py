"""Addresses: read as Ollama reads OLLAMA_HOST, or refused with the reason and an example."""

from __future__ import annotations

import doctest

import pytest

from magpie_ollama.errors import UsageError
from magpie_ollama.servers import address
from magpie_ollama.servers.address import base_url, is_loopback, without_password


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(address) == doctest.TestResults(failed=0, attempted=4)


# What Ollama's own test of OLLAMA_HOST has, and what its client accepts.
@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":1234", "http://127.0.0.1:1234"),
        ("1.2.3.4:", "http://1.2.3.4:11434"),
        ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        ("example.com", "http://example.com:11434"),
        ("example.com:1234", "http://example.com:1234"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("https://1.2.3.4", "https://1.2.3.4:443"),
        ("https://1.2.3.4:1234", "https://1.2.3.4:1234"),
        ("https://1.2.3.4:1234/", "https://1.2.3.4:1234"),
        ("example.com/ollama", "http://example.com:11434/ollama"),
        ("example.com:1234/ollama/", "http://example.com:1234/ollama"),
        ("https://example.com/ollama", "https://example.com:443/ollama"),
        ("http://localhost:11434", "http://localhost:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:1234", "http://[::1]:1234"),
        ("::1", "http://[::1]:11434"),
        ("fe80::1%eth0", "http://[fe80::1%eth0]:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("http://0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("[::]:1234", "http://[::1]:1234"),
        (" 1.2.3.4:1234 ", "http://1.2.3.4:1234"),
        ('"1.2.3.4:1234"', "http://1.2.3.4:1234"),
        ("'1.2.3.4'", "http://1.2.3.4:11434"),
        ("my_host:1", "http://my_host:1"),
        ("müller.example", "http://müller.example:11434"),
        ("host:0", "http://host:11434"),
        ("ollama.com", "https://ollama.com:443"),
    ],
)
def test_as_ollama_reads_it(host: str, url: str) -> None:
    assert base_url(host, 11434) == url


def test_the_servers_own_port() -> None:
    assert base_url("gpu", 8000) == "http://gpu:8000"


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("localhost:http", "Port could not be cast"),
        ("localhost:66000", "Port out of range"),
        ("localhost:-1", "Port could not be cast"),
        ("ftp://localhost", "the scheme must be http or https, not 'ftp'"),
        ("http:/localhost", "the scheme must be followed by ://"),
        ("http//localhost", "the scheme must be followed by ://"),
        ("my host", "a character that no address has"),
        ("user:secret@localhost", "***@localhost' is not an address of a server: a name and password"),
        ("localhost?x=1", "a character that no address has"),
        ("localhost/a b", "a character that no address has"),
        ("::1:11434:", "address"),
        ("1:2:3", "1:2:3"),
        ("[::1", "IPv6"),
        ("[::1]x", "what follows the bracket is no port"),
        ("[localhost]", "localhost"),
        ("*", "no name of a host"),
        ("..", "no name of a host"),
        ("ä..b", "IDNA"),
    ],
)
def test_wrong_syntax(host: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        base_url(host, 11434)
    assert why in caught.value.cause
    assert repr(without_password(host)) in caught.value.cause
    assert "secret" not in caught.value.cause
    assert caught.value.remedy.endswith("--host 127.0.0.1:11434")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:11434", True),
        ("http://127.8.8.8", True),
        ("http://[::1]:11434", True),
        ("http://LOCALHOST:1", True),
        ("http://a.localhost", True),
        ("http://192.168.0.2:11434", False),
        ("http://example.com", False),
        ("http://localhost.example.com", False),
    ],
)
def test_loopback(url: str, own: bool) -> None:
    assert is_loopback(url) is own
