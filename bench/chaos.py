#!/usr/bin/env python3
"""`.venv/bin/python bench/chaos.py [--minutes M] [--seed N]`: the same as `romana bench chaos`."""

import sys

from romana.cli.main import main

sys.argv[1:1] = ["bench", "chaos"]
main()
