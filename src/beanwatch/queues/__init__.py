"""The queue model, and one module for each queue system that fills it."""
