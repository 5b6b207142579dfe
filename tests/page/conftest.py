"""Headless Chromium on the page of a live gateway."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.client.live import LiveGateway
from tests.fakes.triton import FakeTriton
from tests.page.browser import Page

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # for tests as root; nothing but our own page is opened
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if not CHROMIUM or not DRIVER:
        pytest.skip("Chromium is not here (on Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def running_fake() -> Iterator[FakeTriton]:
    with FakeTriton() as triton:
        yield triton


@pytest.fixture
def fake(running_fake: FakeTriton) -> FakeTriton:
    running_fake.reset()
    return running_fake


@pytest.fixture(scope="session")
def running_gateway(running_fake: FakeTriton) -> Iterator[LiveGateway]:
    with LiveGateway(running_fake.url) as gateway:
        yield gateway


@pytest.fixture
def page(driver: webdriver.Chrome, running_gateway: LiveGateway, fake: FakeTriton) -> Page:
    """The page before the fake Triton, which finds one face in any file."""
    driver.get_log("browser")
    return Page(driver, f"http://127.0.0.1:{running_gateway.port}")


@pytest.fixture
def photos(tmp_path: Path, make_picture: Callable[..., bytes]) -> tuple[Path, Path]:
    """Two pictures that a browser can show."""
    first, second = tmp_path / "first.jpg", tmp_path / "second.png"
    first.write_bytes(make_picture("JPEG", size=(300, 200), seed=1))
    second.write_bytes(make_picture("PNG", size=(200, 300), seed=2))
    return first, second
