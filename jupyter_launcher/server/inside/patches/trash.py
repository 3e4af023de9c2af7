"""What is deleted in JupyterLab is deleted, unless somebody sets ``FileContentsManager.delete_to_trash``.

Filled folders too, as with the trash; JupyterLab asks before, and says that it is for good.

Upstream: jupyter/docker-stacks#635, jupyterhub/jupyterhub#1688: both switched it off for containers.
Leans on: a ``FileContentsManager`` takes a value that is set before its ``__init__`` reads the configuration.
Seen with: jupyter_server 2.21.1, traitlets 5.
Without it: deleted files stay in the pipeline, in a folder ``.Trash-UID`` that JupyterLab does not show.
Goes when: jupyter_server deletes by default, or where no desktop is.
"""

try:
    from jupyter_server.services.contents.filemanager import FileContentsManager
except ImportError:  # another server
    pass
else:
    _init_contents = vars(FileContentsManager).get("__init__")

    def _init_without_trash(self, *args, **options):
        self.delete_to_trash = False
        self.always_delete_dir = True
        if _init_contents is not None:
            _init_contents(self, *args, **options)
        else:
            super(FileContentsManager, self).__init__(*args, **options)

    FileContentsManager.__init__ = _init_without_trash
