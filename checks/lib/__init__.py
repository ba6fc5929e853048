"""What the checks share: the plugin, its process, its memory, and its sources."""
