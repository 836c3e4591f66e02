"""What PICCOLO is claimed to survive, tried to the full: `./dev lab --full`."""
