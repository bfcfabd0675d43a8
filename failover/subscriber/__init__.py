"""The other end: the small JSON-RPC server over TCP that an application embeds to receive events and confirm them.

```python
subscriber = Subscriber("127.0.0.1", 8080)

@subscriber.method("E_ACC_CDR")
async def on_cdr(params):
    await store(params)          # returning confirms the event; raising refuses it

async with subscriber:
    await asyncio.get_running_loop().create_future()
```
"""

from __future__ import annotations

from failover.subscriber.dispatch import Request, RpcError
from failover.subscriber.server import Subscriber
from failover.subscriber.service import SubscriberStatus

__all__ = ["Request", "RpcError", "Subscriber", "SubscriberStatus"]
