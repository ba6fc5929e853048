"""The programming interface for applications: App, Context, Producer and the exceptions."""
