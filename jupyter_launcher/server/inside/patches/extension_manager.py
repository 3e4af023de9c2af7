"""JupyterLab's extension manager offers to install only where that can work.

It installs with pip into the server's own Python. Where the session's user cannot write there, and Python has no
folder of the user's own, each attempt ends in HTTP 500. Then it lists what is there, and offers nothing.

Upstream: jupyterhub/jupyterhub#3352; JupyterLab does not look before it offers.
Leans on: a ``LabApp`` takes a value that is set before its ``__init__`` reads the configuration; the name ``readonly``.
Seen with: JupyterLab 4.6.6.
Without it: a button that ends in "Permission denied".
Goes when: JupyterLab looks whether it can write.
"""

try:
    from jupyterlab.labapp import LabApp

    _init_lab = vars(LabApp).get("__init__")
except (ImportError, AttributeError):  # another server
    pass
else:
    import os
    import site
    import sysconfig

    def _init_without_offers(self, *args, **options):
        cannot_install = not site.ENABLE_USER_SITE and not os.access(sysconfig.get_path("purelib"), os.W_OK)
        if cannot_install and self.has_trait("extension_manager"):  # JupyterLab 3 has none
            self.extension_manager = "readonly"
        if _init_lab is not None:
            _init_lab(self, *args, **options)
        else:
            super(LabApp, self).__init__(*args, **options)

    LabApp.__init__ = _init_without_offers
