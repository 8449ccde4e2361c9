"""Commands for people. Each command is a module of its name; importing one must cost nothing."""
