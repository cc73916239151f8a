#!/usr/bin/env python3
"""Makes the vendor's documents fit for the generator: documents.py FILE > FILE. Nothing that says what is asked or answered changes."""

import re
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read()
# OpenID Connect beside keys: the generated code asks for it with every call and has no class for it.
sys.stdout.write(re.sub(r"^      - oauth2:\n(?:        - \w+\n)+", "", text, flags=re.MULTILINE))
