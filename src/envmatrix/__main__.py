"""`python -m envmatrix` is the command envmatrix."""

from envmatrix.cli import main

main()
