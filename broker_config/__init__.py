"""The broker, and the way to it: topics, users and rules, configuration files and folders, the connection."""
