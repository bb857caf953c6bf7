"""Which framework, Python, accelerator and OS combinations really work, by running them."""

__version__ = "0.1.0"
