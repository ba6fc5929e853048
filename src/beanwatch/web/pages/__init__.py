"""The pages: each module has one function from a view to data, which JSON shows as it is."""
