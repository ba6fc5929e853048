"""What an application imports: App, Context, Producer and the errors."""
