"""Git repositories: discovery, mirrors, trees, history, safe checkouts."""
