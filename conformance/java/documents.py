#!/usr/bin/env python3
"""Makes the documents fit for the generator: documents.py own|vendor FILE > FILE. Nothing that says what is asked or answered changes."""

import json
import re
import sys

kind, path = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    text = file.read()
if kind == "own":
    # OpenAPI 3.1 wants a description with every answer, ours leaves out empty ones. The rest of the generator's check stays on.
    document = json.loads(text)
    for operations in document["paths"].values():
        for operation in operations.values():
            for answer in operation["responses"].values():
                answer.setdefault("description", "")
    text = json.dumps(document)
else:
    # OpenID Connect beside keys: the generated code asks for it with every call and has no class for it.
    text = re.sub(r"^      - oauth2:\n(?:        - \w+\n)+", "", text, flags=re.MULTILINE)
sys.stdout.write(text)
