"""Evidence to documents and tables. Nothing here reads or writes a file."""
