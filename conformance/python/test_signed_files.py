"""URLs of files that need no key, as the official client signs them."""

import requests


def test_a_file_goes_up_and_down_by_signed_urls_until_the_key_is_changed(sandbox):
    path = "/home/daytona/a b+é.txt"
    up = sandbox.upload_url(path)
    answer = requests.post(up, files={"file": ("x", b"signed")}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert sandbox.fs.download_file(path) == b"signed"
    down = sandbox.download_url(path, ttl_seconds=0)
    assert requests.get(down, timeout=30).content == b"signed"

    refused = [
        requests.get(up, timeout=30),
        requests.post(down, files={"file": ("x", b"y")}, timeout=30),
        requests.get(down.replace("a+b", "other"), timeout=30),
        requests.get(down + "&path=%2Fetc%2Fpasswd", timeout=30),
        requests.get(down.replace("/files/download", "/files/info"), timeout=30),
        requests.get(sandbox.download_url(path, ttl_seconds=1).replace("expires=", "expires=1"), timeout=30),
    ]
    assert [answer.status_code for answer in refused] == [401] * len(refused)

    sandbox.rotate_signing_key()
    assert requests.get(down, timeout=30).status_code == 401
    assert requests.get(sandbox.download_url(path), timeout=30).content == b"signed"
    assert sandbox.fs.download_file(path) == b"signed"
