"""--cors-origins: which web pages may call the service."""

from collections.abc import Callable

import httpx
import pytest

from tests.conftest import Service

PAGE = "https://music.example.org"
ROUTES = ["/predict", "/predict/stream", "/health", "/info", "/metrics", "/openapi.json"]


def preflight(service: Service, route: str, origin: str, headers: str = "content-type") -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
    return httpx.options(f"{service.url}{route}", headers=asked)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
def test_preflights_of_every_route_are_answered_without_a_key(origin: str, route: str, locked: Service) -> None:
    response = preflight(locked, route, origin, "content-type,x-api-key,traceparent")
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == origin
    assert {"GET", "POST"} <= set(response.headers["access-control-allow-methods"].split(", "))


def test_preflights_of_other_pages_and_for_other_headers_are_refused(locked: Service) -> None:
    other = preflight(locked, "/predict", "https://example.net")
    assert (other.status_code, "access-control-allow-origin" in other.headers) == (400, False)
    assert preflight(locked, "/predict", PAGE, "cookie").status_code == 400


@pytest.mark.parametrize(
    ("path", "key", "content", "status"),
    [
        ("/predict", "wrong", b"{}", 401),
        ("/predict", "secret", b"A" * 9 * 2**20, 413),
        ("/predict", "secret", b'{"length_seconds": 0}', 422),
        ("/predict", "secret", b'{"length_seconds": 1}', 200),
        ("/predict/stream", "secret", b'{"length_seconds": 1}', 200),
        ("/nowhere", "secret", b"{}", 404),
    ],
)
def test_a_page_may_read_every_response(path: str, key: str, content: bytes, status: int, locked: Service) -> None:
    headers = {"Origin": PAGE, "X-API-Key": key, "Content-Type": "application/json"}
    response = httpx.post(f"{locked.url}{path}", content=content, headers=headers, timeout=60)
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["access-control-expose-headers"] == "Retry-After"
    assert "Origin" in response.headers["vary"]


def test_a_page_learns_when_to_come_back(locked: Service) -> None:
    headers = {"Origin": PAGE, "X-API-Key": "secret"}
    body = {"length_seconds": 120, "num_variations": 5}
    url = f"{locked.url}/predict"
    with httpx.stream("POST", f"{url}/stream", json=body, headers=headers, timeout=60):
        refused = httpx.post(url, json=body, headers=headers)
    assert refused.status_code == 429
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert int(refused.headers["retry-after"]) > 0


@pytest.mark.slow
def test_a_star_stands_for_every_page(start: Callable[..., Service]) -> None:
    own = start("--default-model", "tiny", "--cors-origins", "*")
    own.wait_until_listening()
    assert preflight(own, "/predict", "https://any.example").headers["access-control-allow-origin"] == "*"
    assert httpx.get(f"{own.url}/info", headers={"Origin": "null"}).headers["access-control-allow-origin"] == "*"
    assert own.stop() == 0


def test_without_the_setting_no_page_may(service: Service) -> None:
    assert preflight(service, "/predict", PAGE).status_code == 405
    headers = httpx.get(f"{service.url}/info", headers={"Origin": PAGE}).headers
    assert not [name for name in headers if name.startswith("access-control")]
