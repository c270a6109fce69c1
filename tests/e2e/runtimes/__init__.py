"""Real container runtimes, each with a node of the lab as its host, and a private folder for all that it keeps."""
