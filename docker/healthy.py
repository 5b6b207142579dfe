"""Exits with 0 if the URL answers 200, else with 1 and one line: what the images' health checks run."""

import sys
import urllib.request

try:
    urllib.request.urlopen(sys.argv[1], timeout=2).close()
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error}")
