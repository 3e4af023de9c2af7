"""The container engine. Only this folder knows docker; nothing here knows sessions."""
