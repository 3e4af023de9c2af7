"""Each start of a kernel on a gateway carries an id of its own.

Enterprise Gateway and Kernel Gateway may give the environment of one request to later ones that bring none: then a
kernel of another client carries the mark of this session. The id tells which kernels came of one request, and of
those only the oldest is the session's. It begins with the time of the request, by which a kernel is known that was
made long after.

Upstream: none filed; the gateways exchange ``kernel_manager.start_kernel`` for the time of a request, and put back
what was there before, which may be another request's.
Leans on: ``GatewayKernelManager.start_kernel`` with ``env``, of which what begins with ``KERNEL_`` reaches the gateway.
Seen with: jupyter_server 2.21.1, Enterprise Gateway 3.3.0.
Without it: the kernel of another client is taken for the session's, and deleted with it.
Goes when: the gateways keep the environments of requests apart.
"""

try:
    from jupyter_server.gateway.managers import GatewayKernelManager

    _start_kernel = GatewayKernelManager.start_kernel
except (ImportError, AttributeError):  # another jupyter_server
    pass
else:
    import time
    import uuid

    async def _start_with_an_id(self, *args, **options):
        start = f"{time.time():.3f}-{uuid.uuid4().hex}"
        options["env"] = {**(options.get("env") or {}), "KERNEL_JUPYTER_LAUNCHER_START": start}
        return await _start_kernel(self, *args, **options)

    GatewayKernelManager.start_kernel = _start_with_an_id
