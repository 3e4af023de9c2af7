"""The images of kernels for these tests, and what builds them."""
