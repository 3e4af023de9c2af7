"""Each start of a kernel on a gateway carries a number of its own, and the server ends only when no start is under way.

Enterprise Gateway and Kernel Gateway may give the environment of one request to later ones that bring none: then a
kernel of another client carries the mark of this session. The number tells which kernels came of one request, and
of those only the oldest is the session's. It begins with the time of the request, by which a kernel is known that was
made long after.

Upstream: none filed; the gateways exchange ``kernel_manager.start_kernel`` for the time of a request, and put back
what was there before, which may be another request's.
Leans on: ``GatewayKernelManager.start_kernel`` with ``env``, of which what begins with ``KERNEL_`` reaches the
gateway; ``GatewayMappingKernelManager.start_kernel`` and ``shutdown_all``.
Seen with: jupyter_server 2.21.1, Enterprise Gateway 3.3.0.
Without it: the kernel of another client is taken for the session's, and deleted with it; and a kernel that is just
starting when the server ends stays on the gateway.
Goes when: the gateways keep the environments of requests apart.
"""

try:
    from jupyter_server.gateway.managers import GatewayKernelManager, GatewayMappingKernelManager

    _start_kernel = GatewayKernelManager.start_kernel
    _start_and_keep = GatewayMappingKernelManager.start_kernel
    _shutdown_all = GatewayMappingKernelManager.shutdown_all
except (ImportError, AttributeError):  # another jupyter_server
    pass
else:
    import asyncio
    import time
    import uuid

    _starting = set()

    async def _start_with_a_number(self, *args, **options):
        number = f"{time.time():.3f}-{uuid.uuid4().hex}"
        options["env"] = {**(options.get("env") or {}), "KERNEL_JUPYTER_LAUNCHER_START": number}
        return await _start_kernel(self, *args, **options)

    async def _start_and_note(self, *args, **options):
        task = asyncio.ensure_future(_start_and_keep(self, *args, **options))
        _starting.add(task)
        task.add_done_callback(_starting.discard)
        return await asyncio.shield(task)

    async def _finish_and_shutdown_all(self, *args, **options):
        if _starting:
            await asyncio.wait(set(_starting), timeout=10)
        return await _shutdown_all(self, *args, **options)

    GatewayKernelManager.start_kernel = _start_with_a_number
    GatewayMappingKernelManager.start_kernel = _start_and_note
    GatewayMappingKernelManager.shutdown_all = _finish_and_shutdown_all
