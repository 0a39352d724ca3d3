"""The command line: it parses, imports what a verb needs when it runs, and prints."""
