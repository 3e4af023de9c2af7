"""The server ends when no kernel is starting on the gateway any more.

Upstream: none filed.
Leans on: ``GatewayMappingKernelManager.start_kernel`` and ``shutdown_all``.
Seen with: jupyter_server 2.21.1.
Without it: a kernel that is just starting when the server ends stays on the gateway.
Goes when: ``shutdown_all`` waits for the kernels that are starting.
"""

try:
    from jupyter_server.gateway.managers import GatewayMappingKernelManager

    _start_and_keep = GatewayMappingKernelManager.start_kernel
    _shutdown_all = GatewayMappingKernelManager.shutdown_all
except (ImportError, AttributeError):  # another jupyter_server
    pass
else:
    import asyncio

    _starting = set()

    async def _start_and_note(self, *args, **options):
        task = asyncio.ensure_future(_start_and_keep(self, *args, **options))
        _starting.add(task)
        task.add_done_callback(_starting.discard)
        return await asyncio.shield(task)

    async def _finish_and_shutdown_all(self, *args, **options):
        if _starting:
            await asyncio.wait(set(_starting), timeout=10)
        return await _shutdown_all(self, *args, **options)

    GatewayMappingKernelManager.start_kernel = _start_and_note
    GatewayMappingKernelManager.shutdown_all = _finish_and_shutdown_all
