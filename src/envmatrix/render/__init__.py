"""Cells and locks to the files of folders that `docker build` takes."""
