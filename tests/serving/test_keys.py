"""LIT_SERVER_API_KEY, and what it covers."""

from collections.abc import Callable

import httpx
import pytest

from tests.conftest import Service

ROUTES = [
    "/predict",
    "/predict/stream",
    "/render",
    "/info",
    "/metrics",
    "/docs",
    "/docs/assets/swagger-ui.css",
    "/openapi.json",
    "/nowhere",
]


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"X-API-Key": "s\u00e9cret".encode()}])
@pytest.mark.parametrize("route", ROUTES)
def test_every_route_asks_for_the_key(route: str, headers: dict[str, str], locked: Service) -> None:
    for method in ("GET", "POST"):
        response = httpx.request(method, f"{locked.url}{route}", headers=headers)
        assert response.status_code == 401
        assert "X-API-Key" in response.json()["detail"]


def test_a_wrong_key_is_counted_once(locked: Service) -> None:
    url, key = f"{locked.url}/metrics", {"X-API-Key": "secret"}
    name = 'anticipatory_requests_total{size="-",status="401",task="-"}'

    def count() -> float:
        lines = httpx.get(url, headers=key).text.splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0)

    before = count()
    assert httpx.post(f"{locked.url}/predict", json={}).status_code == 401
    assert count() == before + 1


def test_health_asks_for_no_key(locked: Service) -> None:
    assert httpx.get(f"{locked.url}/health").text in ("ok", "not ready")
    assert httpx.head(f"{locked.url}/health").status_code in (200, 503)


@pytest.mark.parametrize("route", ["/", "/playground/app.js", "/playground/style.css", "/soundfont"])
def test_the_page_and_what_it_is_made_of_ask_for_no_key(route: str, locked: Service) -> None:
    assert httpx.get(f"{locked.url}{route}").status_code == 200


def test_the_right_key_opens(locked: Service) -> None:
    assert httpx.get(f"{locked.url}/info", headers={"X-API-Key": "secret"}).status_code == 200


@pytest.mark.slow
def test_metrics_may_be_left_open(start: Callable[..., Service]) -> None:
    own = start("--default-model", "tiny", "--public-metrics", LIT_SERVER_API_KEY="secret")
    own.wait_until_listening()
    assert httpx.get(f"{own.url}/metrics").status_code == 200
    assert httpx.get(f"{own.url}/info").status_code == 401
    assert own.stop() == 0


@pytest.mark.slow
def test_a_service_for_everybody_without_a_key_warns(start: Callable[..., Service]) -> None:
    own = start("--default-model", "tiny", "--host", "0.0.0.0")
    own.wait_until_listening()
    assert "set LIT_SERVER_API_KEY, or --host 127.0.0.1" in own.output()
    assert own.stop() == 0
