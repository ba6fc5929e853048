"""The interface for applications: App, Context, Producer and the exceptions."""
