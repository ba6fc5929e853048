"""Pictures of the live page for the documentation: `make pictures`."""
