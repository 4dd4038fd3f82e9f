"""The command line, a module a group; every heavy import inside its command."""
