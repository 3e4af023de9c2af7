"""The gateways of the library, from the command line."""
