"""Shared by the checks: the plugin, its process, its memory, its sources, and what installs it."""
