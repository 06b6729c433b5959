"""The settings in force, and how a person changes one."""
