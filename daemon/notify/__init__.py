"""Tell the outside what happens: a command or a webhook, each in a process of its own. Optional."""
