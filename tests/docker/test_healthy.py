"""What the images' health checks run."""

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tests.conftest import PROJECT


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(("path", "status"), [("/well", 0), ("/ill", 1)])
@pytest.mark.parametrize("environment", [{}, {"http_proxy": "http://127.0.0.1:9"}], ids=["direct", "proxy"])
def test_a_server_is_asked_itself_whatever_proxy_the_container_has(
    path: str, status: int, environment: dict[str, str]
) -> None:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}{path}"
        command = [sys.executable, str(PROJECT / "docker" / "healthy.py"), url]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        server.shutdown()
    assert done.returncode == status
    assert len(done.stderr.splitlines()) == status
