"""Ports of sandboxes, as the official client hands out their addresses."""

import http.client
import urllib.parse

from conftest import wait_until
from daytona import SessionExecuteRequest

PORT = 3456
SERVE = f"mkdir -p www && echo inside > www/page && cd www && python3 -m http.server {PORT} --bind 127.0.0.1"


def serve(sandbox):
    """Starts a server that only the sandbox's own loopback reaches."""
    sandbox.process.create_session("server")
    request = SessionExecuteRequest(command=SERVE, run_async=True)
    sandbox.process.execute_session_command("server", request)
    link = sandbox.get_preview_link(PORT)
    headers = {"X-Daytona-Preview-Token": link.token}
    wait_until(lambda: look(link.url, headers)[0] == 200, "a server that answers")
    return link


def look(url, headers=None):
    """Status and body of the page, whatever this machine makes of names below localhost."""
    url = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", url.port, timeout=20)
    try:
        connection.request("GET", "/page", headers={"Host": url.netloc, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_link_shows_the_port_to_who_has_the_token(sandbox):
    link = serve(sandbox)
    assert look(link.url, {"X-Daytona-Preview-Token": link.token}) == (200, "inside\n")
    assert look(link.url)[0] == 401
    assert look(link.url, {"X-Daytona-Preview-Token": "guess"})[0] == 401


def test_a_signed_url_needs_nothing_else_until_it_is_ended(sandbox):
    serve(sandbox)
    signed = sandbox.create_signed_preview_url(PORT, expires_in_seconds=600)
    assert (signed.sandbox_id, signed.port) == (sandbox.id, PORT)
    assert look(signed.url) == (200, "inside\n")
    sandbox.expire_signed_preview_url(PORT, signed.token)
    assert look(signed.url)[0] == 401


def test_a_public_sandbox_shows_its_ports_to_everybody(create):
    sandbox = create(public=True)
    link = serve(sandbox)
    assert look(link.url) == (200, "inside\n")
