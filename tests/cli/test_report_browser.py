"""The report page in a browser, where Chromium is present; elsewhere `test_report_page` checks the text."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support.pages import full_page
from support.patience import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
HERE_ONLY = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip

pytestmark = pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="no Chromium here")


class Site(ThreadingHTTPServer):
    """A web server on loopback with the report page on each path; keeps the paths asked for."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Site)
        self.server.paths.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(full_page().encode())

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.costly
@pytest.mark.parametrize("width", [1280, 400])
def test_the_browser_loads_the_page_and_nothing_else(
    site: Site, tmp_path: Path, width: int
) -> None:
    """Chromium asks for the page, for no icon, script, font or picture, and draws the charts."""
    url = f"http://127.0.0.1:{site.server_port}"
    log = tmp_path / "net.json"
    shown = subprocess.run(  # noqa: S603 - a browser, without a network
        [CHROMIUM, *HERE_ONLY, f"--window-size={width},2000", f"--user-data-dir={tmp_path / 'user'}",
         f"--log-net-log={log}", "--dump-dom", f"{url}/report.html"],
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    net = json.loads(log.read_text())
    started = net["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    by_page = [
        event["params"]["url"]
        for event in net["events"]
        if event["type"] == started and event.get("params", {}).get("initiator", "") == url
    ]

    assert site.paths == ["/report.html"]
    assert by_page == []
    assert shown.stdout.count("<figure>") == 4
