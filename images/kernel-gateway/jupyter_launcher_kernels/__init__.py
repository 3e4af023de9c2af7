"""How the gateway of jupyter_launcher starts kernels; jupyter_kernel_gateway_config.py names the classes."""
