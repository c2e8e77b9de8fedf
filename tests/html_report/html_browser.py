"""A page in headless Chromium, for the tests of the report: what it shows, and what it asks the network for."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,1000",
)  # fmt: skip
SECONDS = 60


def missing() -> str:
    """Why no browser can be started; "" where one can."""
    absent = [str(path) for path in (CHROMIUM, DRIVER) if not path.is_file()]
    try:
        import selenium  # noqa: F401  only whether it is there
    except ImportError:
        absent.append("the package selenium")
    return f"no browser to look at the page with: {' and '.join(absent)} not found" if absent else ""


@contextmanager
def browser() -> Iterator[Any]:
    """A driver with a profile of its own, which is deleted with it."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = Chrome(options=options, service=Service(str(DRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


class Page:
    """A report that was opened from disk."""

    def __init__(self, driver: Any, path: Path) -> None:
        self.driver = driver
        self.requested: list[str] = []
        self.said: list[str] = []
        driver.get_log("performance")
        driver.get_log("browser")
        driver.get(path.resolve().as_uri())
        self.until("document.getElementById('viewer').hidden || document.getElementById('viewer').dataset.drawn")

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def until(self, condition: str) -> None:
        """Waits until a JavaScript expression holds."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, SECONDS, 0.05).until(
            lambda _: self.script(f"return Boolean({condition})"), condition
        )

    @property
    def drawn(self) -> str:
        """Case, plane and slice (from 0) of the picture that is on the canvas."""
        return str(self.script("return document.getElementById('viewer').dataset.drawn"))

    def until_drawn(self, what: str) -> None:
        self.until(f"document.getElementById('viewer').dataset.drawn === {json.dumps(what)}")

    def press(self, element: str, *keys: str) -> None:
        self.driver.find_element("id", element).send_keys(*keys)

    def texts(self, selector: str) -> list[str]:
        """What the elements say."""
        return list(
            self.script("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)
        )

    def colours(self, rows: int, columns: int) -> Any:
        """(rows, columns, 3): the main canvas's colour in the middle of each voxel."""
        import numpy as np

        values = self.script(
            """const [rows, columns] = arguments, canvas = document.getElementById("main");
            const { width, height } = canvas, data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
            const found = [];
            for (let r = 0; r < rows; r += 1) for (let c = 0; c < columns; c += 1) {
              const y = Math.floor(((r + 0.5) * height) / rows), x = Math.floor(((c + 0.5) * width) / columns);
              found.push(...data.slice(4 * (y * width + x), 4 * (y * width + x) + 3));
            }
            return found;""",
            rows,
            columns,
        )
        return np.array(values, np.uint8).reshape(rows, columns, 3)

    def collect(self) -> None:
        """Adds to `requested` every address that the page asked for, to `said` what stands on the console.

        Not counted: `chrome:`, the pictures of the browser's own controls (the cross of a search field), which come
        from inside the browser, at a moment of its choice, and not at all in some versions.
        """
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                address = message["params"]["request"]["url"]
                if not address.startswith("chrome:"):
                    self.requested.append(address)
        self.said += [entry["message"] for entry in self.driver.get_log("browser")]
