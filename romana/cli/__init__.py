"""The command line `romana`. Exit codes: 0 fine, 1 found something or different, 2 usage, 3 could not tell, 4 refused."""
