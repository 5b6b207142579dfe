"""The page in a browser, by what a person does with it and sees of it."""

import time
from collections.abc import Callable
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

SECONDS = 20.0

# Chromium's driver may come back from get() before the scripts have run, on a busy machine in one of ten.
LOADED = 'return !document.isLeft && document.readyState === "complete"'


class Page:
    """One tab, and the address of the gateway whose pages it opens."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver, self.url = driver, url

    def open(self, path: str = "/", width: int = 1100, height: int = 900, dark: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.run("document.isLeft = true")
        self.driver.get(self.url + path)
        self.wait_for(lambda: bool(self.run(LOADED)))

    def choose(self, place: int, file: Path) -> None:
        self.all(".photo input")[place].send_keys(str(file))

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def attributes(self, selector: str, *names: str) -> list[float]:
        """Numbers as they stand in the document; for SVG, get_attribute would give objects."""
        element = self.one(selector)
        return [float(element.get_dom_attribute(name)) for name in names]

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def run(self, script: str, *arguments: object) -> object:
        return self.driver.execute_script(script, *arguments)

    def wait_for(self, found: Callable[[], bool]) -> None:
        until = time.monotonic() + SECONDS
        while not found():
            assert time.monotonic() < until, self.text("main")
            time.sleep(0.05)

    def wait_for_result(self, words: str) -> None:
        self.wait_for(lambda: words in self.text("#result"))

    def wait_for_error(self, words: str) -> None:
        self.wait_for(lambda: words in self.text("#error"))

    def console(self) -> list[str]:
        """What the browser complained about since it was last asked."""
        return [str(line["message"]) for line in self.driver.get_log("browser")]
