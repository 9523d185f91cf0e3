"""The `hitagu` command: main.py holds the group, each other file a few of its commands."""
