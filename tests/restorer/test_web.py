import socket
from pathlib import Path

import pytest
from vocbench.restorer.web import file_name, is_url, read_url

from tests.support.web import Answer, server


@pytest.fixture(scope="module")
def site():
    answers = {
        "/a.png": Answer(b"0123456789"),
        "/plain": Answer(b"0123456789", kind="text/plain"),
        "/page": Answer(b"<html>", kind="text/html; charset=utf-8"),
        "/moved": Answer(status=302, headers={"Location": "/a.png"}),
        "/away": Answer(status=302, headers={"Location": "file:///etc/hostname"}),
        "/short": Answer(b"0123456789", missing=4),
        "/untold": Answer(b"0123456789", headers={"Content-Length": ""}),
        "/down": Answer(status=503),
    }
    with server(answers) as address:
        yield address


@pytest.mark.parametrize("path", ["a.png", "plain", "moved"])
def test_what_is_at_an_address_is_read(site, path):
    assert read_url(f"{site}/{path}", largest=10) == b"0123456789"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.png", "none.png: the server answered 404 Not Found; check the address"),
        ("down", "down: the server answered 503 Service Unavailable; check the address"),
        ("short", "short: broke off after 6 of 10 bytes; try again"),
        ("away", "away: the server answered 302 .*not allowed"),
    ],
)
def test_what_cannot_be_had_is_named_with_the_reason(site, path, message):
    with pytest.raises(OSError, match=message):
        read_url(f"{site}/{path}")


def test_a_page_is_no_file(site):
    with pytest.raises(
        ValueError, match=r"page: returns a web page \(text/html\), not a file; use the address of the file itself"
    ):
        read_url(f"{site}/page")


@pytest.mark.parametrize("path", ["a.png", "untold"])  # told in advance, and found out while reading
def test_no_more_is_read_than_the_limit(site, path):
    with pytest.raises(OSError, match=r"is larger than 9e-06 MB; download it yourself and give the file"):
        read_url(f"{site}/{path}", largest=9)


def test_a_server_that_stays_silent_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.png"
        with pytest.raises(OSError, match=r"a\.png: cannot be read \(no answer in time\); check the address and the network"):
            read_url(url, patience=0.05)


def test_a_server_that_takes_too_long_is_given_up(site):
    with pytest.raises(OSError, match=r"a\.png: is too slow, 10 bytes came so far"):
        read_url(f"{site}/a.png", longest=0)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.png", "http://none.invalid/a.png", "http:///a.png", "http://[x/a.png"])
def test_an_address_without_a_server_is_named(url):
    with pytest.raises(OSError) as raised:
        read_url(url)
    assert str(raised.value).startswith(f"{url}: cannot be read (")


def test_addresses_are_told_from_paths():
    assert [is_url(text) for text in ("http://a/b.jpg", "HTTPS://a/b.jpg")] == [True, True]
    assert [is_url(text) for text in ("a.jpg", "http/a.jpg", "C:\\a.jpg", Path("http://a/b.jpg"))] == [False] * 4
    with pytest.raises(
        ValueError, match=r"ftp://a/b\.jpg: photos are read from http:// and https:// addresses .* not from ftp://"
    ):
        is_url("ftp://a/b.jpg")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.org/b/c.jpg?size=2#x", "c.jpg"),
        ("https://a.org/two%20words.jpg", "two words.jpg"),
        ("https://a.org/%2e%2e%2f%2e%2e%2fc.jpg", "c.jpg"),
        ("https://a.org/..%5Cc.jpg", "_c.jpg"),
        ("https://a.org/..", "photo"),
        ("https://a.org", "photo"),
        (f"https://a.org/{'x' * 300}.jpg", "x" * 96 + ".jpg"),
    ],
)
def test_a_photo_at_an_address_has_a_name_that_stays_in_its_folder(url, name):
    assert file_name(url) == Path(name)
