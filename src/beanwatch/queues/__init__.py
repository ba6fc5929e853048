"""The queue model, and a module for each queue system, which reads its servers into the model."""
