"""The data of the project and pure functions on it: matrix, cells, locks, evidence, causes."""
