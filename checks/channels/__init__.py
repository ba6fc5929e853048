"""The ways to deliver alerts: mail, webhook and file. Each module defines one as `CHANNEL`."""
