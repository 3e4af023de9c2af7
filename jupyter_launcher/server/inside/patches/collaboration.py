"""What jupyter-collaboration writes for itself is kept below HOME, unless somebody sets another place.

Upstream: none filed.
Leans on: ``SQLiteYStore.db_path`` and ``YDocExtension.session_store_path`` take a value that is set before their
``__init__`` reads the configuration.
Seen with: jupyter-server-ydoc 3.0.4.
Without it: each document that is opened leaves ``.jupyter_ystore.db`` and ``.jupyter`` in the pipeline.
Goes when: jupyter-collaboration writes into Jupyter's data folder.
"""

try:
    from jupyter_server_ydoc.app import YDocExtension
    from jupyter_server_ydoc.stores import SQLiteYStore
except Exception:  # noqa: BLE001, S110 - it is not there, or the server says why it cannot be imported
    pass
else:
    import os

    def _keep_below_home(kind, option, name):
        init = kind.__init__

        def init_below_home(self, *args, **options):
            pipeline = os.stat(".")  # HOME may be that of many pipelines
            folder = "~/.local/share/jupyter-launcher/collaboration/%x-%x" % (pipeline.st_dev, pipeline.st_ino)
            folder = os.path.expanduser(folder)
            try:
                os.makedirs(folder, mode=0o700, exist_ok=True)
            except OSError:
                pass
            else:
                setattr(self, option, os.path.join(folder, name))
            init(self, *args, **options)

        kind.__init__ = init_below_home

    _keep_below_home(SQLiteYStore, "db_path", "ystore.db")
    if "session_store_path" in YDocExtension.class_trait_names():
        _keep_below_home(YDocExtension, "session_store_path", "sessions.json")
