"""Probes: reading their headers, running them in an image or on a host, and judging the result."""
