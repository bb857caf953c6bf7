"""Getting wheels: the settings of pip, questions to uv, and the wheelhouse. Uses the network."""
