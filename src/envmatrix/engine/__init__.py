"""The Docker engine: connection, images, builds, containers. Only this package uses docker-py."""
