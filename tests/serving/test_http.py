"""What a service says to bodies that it cannot read, and to those who only look whether it is there."""

import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import Service

JSON = {"content-type": "application/json"}


def post(service: Service, content: bytes, headers: dict[str, str], path: str = "/predict") -> httpx.Response:
    return httpx.post(f"{service.url}{path}", content=content, headers=headers, timeout=60)


@pytest.mark.parametrize("path", ["/predict", "/predict/stream"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "Expecting property name"),
        (b"hello", "Expecting value: line 1 column 1"),
        (b'{"task": "\x00"}', "Invalid control character at: line 1 column 11"),
        (b'\x00{"task": "embed"}', "Expecting value: line 1 column 1"),
        (b'{\x00"\x00}\x00', "Expecting property name"),
        (b'{"task": "\xff"}', "byte 10 is not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "byte 0 is not UTF-8"),
        (b'{"seed": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "it is nested too deeply"),
        (b'{"seed": 1' + b"0" * 5_000 + b"}", "a number has too many digits"),
    ],
)
def test_json_that_cannot_be_read_is_one_kind_of_error(
    content: bytes, reason: str, path: str, service: Service
) -> None:
    response = post(service, content, JSON, path)
    assert response.status_code == 400
    assert response.json()["detail"].startswith(f"the body is not JSON that can be read: {reason}")


@pytest.mark.parametrize("headers", [JSON, {}, {"content-type": "text/plain"}])
def test_an_empty_body_is_told_so(headers: dict[str, str], service: Service) -> None:
    response = post(service, b"", headers)
    assert (response.status_code, response.json()["detail"]) == (
        400,
        "the body is empty: send a JSON object; {} stands for all defaults",
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"[]", "an array"), (b"null", "null"), (b'"text"', "a string"), (b"true", "a boolean"), (b"1", "a number"),
     (b"1.5", "a number")],
)  # fmt: skip
def test_json_that_is_no_object_is_told_so(content: bytes, kind: str, service: Service) -> None:
    response = post(service, content, JSON)
    assert (response.status_code, response.json()["detail"]) == (
        422,
        f"the body must be a JSON object, in braces, and is {kind}",
    )


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"]
)
def test_another_content_type_than_json_is_named(content_type: str, service: Service) -> None:
    response = post(service, b'{"length_seconds": 1}', {"content-type": content_type})
    assert (response.status_code, response.json()["detail"]) == (
        415,
        f"the body has the content type {content_type}: send JSON with the header Content-Type: application/json",
    )


def test_a_missing_content_type_is_told_so(service: Service) -> None:
    response = post(service, b'{"length_seconds": 1}', {})
    assert response.status_code == 415
    assert "the body has no content type: send JSON with the header" in response.json()["detail"]


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/problem+json", "APPLICATION/JSON"]
)
def test_every_json_content_type_is_read(content_type: str, service: Service) -> None:
    content = b'\xef\xbb\xbf{"length_seconds": 1}'  # with a byte order mark, as some editors write it
    assert post(service, content, {"content-type": content_type}).status_code == 200


def test_a_client_that_goes_away_while_it_sends_is_counted_as_such(service: Service) -> None:
    name = "anticipatory_requests_total{size=-,status=499,task=-}"
    before = service.metrics().get(name, 0)
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port)) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    service.wait_for(name, before + 1)
    assert "Traceback" not in service.output()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_answers_those_who_want_no_body(method: str, service: Service) -> None:
    response = httpx.request(method, f"{service.url}/health")
    assert (response.status_code, response.headers["content-length"]) == (200, "2")
    assert response.text == ("ok" if method == "GET" else "")


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("GET", "/docs/assets/nothing.js", {}, 404),
        ("GET", "/predict", {}, 405),
        ("POST", "/health", {}, 405),
        ("POST", "/predict", {"content": b"{", "headers": JSON}, 400),
        ("POST", "/predict", {"content": b"A" * 9 * 2**20, "headers": JSON}, 413),
        ("POST", "/predict", {"content": b"{}"}, 415),
        ("POST", "/predict", {"json": []}, 422),
        ("POST", "/predict/stream", {"json": {"task": "compose"}}, 422),
    ],
)
def test_every_refusal_is_counted_once(
    method: str, path: str, options: dict[str, Any], status: int, service: Service
) -> None:
    before = service.metrics()
    assert httpx.request(method, f"{service.url}{path}", **options, timeout=60).status_code == status
    after = service.metrics()
    changes = {
        name: value - before.get(name, 0)
        for name, value in after.items()
        if name.startswith("anticipatory_requests_total") and value != before.get(name, 0)
    }
    assert changes == {f"anticipatory_requests_total{{size=-,status={status},task=-}}": 1}


def test_looking_at_the_service_is_not_counted(service: Service) -> None:
    def counts() -> dict[str, float]:
        return {name: value for name, value in service.metrics().items() if "requests_total" in name}

    before = counts()
    for path in ("/health", "/info", "/docs", "/openapi.json"):
        assert httpx.get(f"{service.url}{path}").status_code == 200
    assert counts() == before
