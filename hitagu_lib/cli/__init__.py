"""The `hitagu` command: a file a group of commands, main.py over them."""
