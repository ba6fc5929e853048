"""The channels that carry alerts. Each module defines one as `CHANNEL`."""
