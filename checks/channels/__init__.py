"""Where an alert goes: one module a channel, each with a `CHANNEL`."""
