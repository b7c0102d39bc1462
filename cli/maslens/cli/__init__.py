"""The composition root: the `maslens` command."""
