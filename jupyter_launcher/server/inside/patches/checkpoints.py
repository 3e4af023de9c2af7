"""Checkpoints of notebooks are kept below HOME, in a folder for each folder of the pipeline.

Unless somebody sets ``FileCheckpoints.checkpoint_dir``, or another class. An absolute ``checkpoint_dir`` would put the
checkpoints of all notebooks of one name into one file. HOME may be that of many pipelines, so the directory's device
and inode are in the path.

Upstream: jupyterlab#11826, notebook#7348: both ask for another place.
Leans on: ``filemanager.FileCheckpoints`` and ``filemanager.AsyncFileCheckpoints`` are the defaults of the contents
managers; ``checkpoint_path``, ``rename_all_checkpoints``, ``delete_all_checkpoints``.
Seen with: jupyter_server 1.24.0 and 2.21.1.
Without it: each notebook that is saved leaves ``.ipynb_checkpoints`` in the pipeline.
Goes when: jupyter_server can keep them elsewhere, one for each path.
"""

try:
    from jupyter_server.services.contents import filemanager

    _checkpoints = filemanager.FileCheckpoints
    _async_checkpoints = filemanager.AsyncFileCheckpoints
except (ImportError, AttributeError):  # another server
    pass
else:
    import os
    import shutil

    from traitlets import Unicode

    class CheckpointsBelowHome:
        def _folder_below_home(self, path):
            root = os.stat(self.root_dir)
            steps = os.path.relpath(self._get_os_path(path.strip("/")), self.root_dir)
            home = os.path.expanduser("~/.local/share/jupyter-launcher/checkpoints")
            return os.path.normpath(os.path.join(home, "%x-%x" % (root.st_dev, root.st_ino), steps))

        def checkpoint_path(self, checkpoint_id, path):
            if self.checkpoint_dir:  # somebody has set it
                return super().checkpoint_path(checkpoint_id, path)
            parent, _, name = path.strip("/").rpartition("/")
            folder = os.path.join(self._folder_below_home(parent), ".ipynb_checkpoints")
            with self.perm_to_403():
                os.makedirs(folder, mode=0o700, exist_ok=True)
            stem, suffix = os.path.splitext(name)
            return os.path.join(folder, stem + "-" + checkpoint_id + suffix)

        # A folder of this name in the pipeline, which other servers have left, has the path of what is kept here.
        def _is_store(self, *paths):
            return any(".ipynb_checkpoints" in path.split("/") for path in paths)

        # A folder's checkpoints do not move with the folder, and do not end with it.
        def _move_folder(self, old_path, new_path):
            old, new = self._folder_below_home(old_path), self._folder_below_home(new_path)
            if not self.checkpoint_dir and not self._is_store(old_path, new_path) and os.path.isdir(old):
                with self.perm_to_403():
                    shutil.rmtree(new, ignore_errors=True)
                    os.makedirs(os.path.dirname(new), mode=0o700, exist_ok=True)
                    os.rename(old, new)

        def _remove_folder(self, path):
            if not self.checkpoint_dir and not self._is_store(path):
                shutil.rmtree(self._folder_below_home(path), ignore_errors=True)

    class FileCheckpointsBelowHome(CheckpointsBelowHome, _checkpoints):
        checkpoint_dir = Unicode("", config=True)

        def rename_all_checkpoints(self, old_path, new_path):
            super().rename_all_checkpoints(old_path, new_path)
            self._move_folder(old_path, new_path)

        def delete_all_checkpoints(self, path):
            super().delete_all_checkpoints(path)
            self._remove_folder(path)

    class AsyncFileCheckpointsBelowHome(CheckpointsBelowHome, _async_checkpoints):
        checkpoint_dir = Unicode("", config=True)

        async def rename_all_checkpoints(self, old_path, new_path):
            await super().rename_all_checkpoints(old_path, new_path)
            self._move_folder(old_path, new_path)

        async def delete_all_checkpoints(self, path):
            await super().delete_all_checkpoints(path)
            self._remove_folder(path)

    filemanager.FileCheckpoints = FileCheckpointsBelowHome
    filemanager.AsyncFileCheckpoints = AsyncFileCheckpointsBelowHome
