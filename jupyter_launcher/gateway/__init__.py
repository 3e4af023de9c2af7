"""Kernel gateways: finding them, their kernels, and running one of ours."""
