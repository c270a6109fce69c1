#!/usr/bin/env python3
"""`.venv/bin/python bench/ipam_hammer.py [--operations N] [--seconds S] [--seed K] ...`: as `romana bench ipam-hammer`."""

import sys

from romana.cli.main import main

sys.argv[1:1] = ["bench", "ipam-hammer"]
main()
