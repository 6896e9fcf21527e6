"""/docs and /redoc, which must work where there is no network."""

import re
from urllib.parse import urljoin

import httpx
import pytest

from tests.conftest import Service

PAGES = [("/docs", "swagger-ui-bundle.js"), ("/redoc", "redoc.standalone.js")]


def references(html: str) -> list[str]:
    """Everything that a page makes a browser fetch."""
    return re.findall(r"""(?:src|href|spec-url)="([^"]*)"|url:\s*['"]([^'"]*)['"]""", html)


@pytest.mark.parametrize(("page", "script"), PAGES)
def test_all_that_a_page_needs_comes_from_the_service(page: str, script: str, service: Service) -> None:
    address = f"{service.url}{page}"
    html = httpx.get(address).raise_for_status().text
    assert not re.search(r"""["'](?:https?:)?//""", html)
    found = ["".join(each) for each in references(html)]
    fetched = [urljoin(address, each) for each in found if not each.startswith("data:")]
    assert {f"{service.url}/docs/assets/{script}", f"{service.url}/openapi.json"} <= set(fetched)
    for each in fetched:
        response = httpx.get(each)
        assert response.status_code == 200, each
        assert response.content
        kind = {"js": "javascript", "css": "text/css", "json": "application/json"}[each.rpartition(".")[2]]
        assert kind in response.headers["content-type"]


@pytest.mark.parametrize(("page", "script"), PAGES)
def test_a_page_works_behind_a_proxy_that_adds_a_prefix(page: str, script: str, service: Service) -> None:
    html = httpx.get(f"{service.url}{page}").text
    outside = [urljoin(f"http://proxy/music{page}", "".join(each)) for each in references(html)]
    assert f"http://proxy/music/docs/assets/{script}" in outside
    assert "http://proxy/music/openapi.json" in outside
