"""The Containerfile and the Deployment of the docs, in a bare Debian root: `make container`."""
