"""The stages of a run: lock, build, probe, verify, and the graph that orders their work."""
