#!/usr/bin/env python3
"""Runs a command beside a registry of images of its own.

    conformance/with-registry.py ARCHIVE COMMAND [ARGUMENT]...

The registry is Debian's `docker-registry`, on a free port of the loopback address, with the image of the OCI archive in it.
The command gets ALCOVE_REGISTRIES, by which a server may use it, and CONFORMANCE_IMAGE, the reference of the image.
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request

REPOSITORY = "team/tiny"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(folder, port):
    config = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": f"{folder}/storage"}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "conformance"},
    }
    path = f"{folder}/config.yml"
    with open(path, "w") as file:
        json.dump(config, file)
    with open(f"{folder}/log", "w") as log:
        registry = subprocess.Popen(["docker-registry", "serve", path], stdout=log, stderr=log)
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return registry
        except OSError:
            if registry.poll() is not None or time.monotonic() > deadline:
                with open(f"{folder}/log") as log:
                    sys.exit(f"with-registry.py: the registry does not start: {log.read()}")
            time.sleep(0.02)


def send(method, url, body=b"", kind="application/octet-stream"):
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind})
    # Whatever proxy there is, it is not for this.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)


def push(base, archive):
    blobs = {}
    with tarfile.open(archive) as layout:
        for member in layout:
            if member.name.startswith("blobs/sha256/"):
                blobs["sha256:" + member.name.rsplit("/", 1)[1]] = layout.extractfile(member).read()
            elif member.name == "index.json":
                index = json.load(layout.extractfile(member))
    manifest = index["manifests"][0]["digest"]
    for digest, content in blobs.items():
        assert digest == "sha256:" + hashlib.sha256(content).hexdigest()
        if digest != manifest:
            place = send("POST", f"{base}/blobs/uploads/").headers["Location"]
            start_of_query = "&" if "?" in place else "?"
            send("PUT", f"{place}{start_of_query}digest={digest}", content)
    send("PUT", f"{base}/manifests/1", blobs[manifest], MANIFEST)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if not shutil.which("docker-registry"):
        sys.exit("with-registry.py: docker-registry is missing: run scripts/setup.sh")
    with tempfile.TemporaryDirectory(prefix="alcove-registry-") as folder:
        port = free_port()
        registry = start(folder, port)
        try:
            push(f"http://127.0.0.1:{port}/v2/{REPOSITORY}", sys.argv[1])
            settings = f"{folder}/registries.json"
            with open(settings, "w") as file:
                json.dump({"registries": {f"127.0.0.1:{port}": {"insecure": True}}}, file)
            environment = {
                **os.environ,
                "ALCOVE_REGISTRIES": settings,
                "CONFORMANCE_IMAGE": f"127.0.0.1:{port}/{REPOSITORY}:1",
            }
            command = subprocess.Popen(sys.argv[2:], env=environment)
            while True:
                try:
                    return command.wait()
                except KeyboardInterrupt:
                    # The command has had the signal too, and says when it is done.
                    continue
        finally:
            registry.kill()
            registry.wait()


if __name__ == "__main__":
    sys.exit(main())
