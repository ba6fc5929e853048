"""A Dramatiq application. As a program it puts jobs: `[function, arguments, options]` per line."""

import json
import os
import sys

import dramatiq
import tasks

from beanwatch.worker.adapters.dramatiq import BeanwatchMiddleware

if os.environ["BROKER_URL"].startswith("redis"):
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=os.environ["BROKER_URL"], **tasks.BROKER_OPTIONS)
else:
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    broker = RabbitmqBroker(url=os.environ["BROKER_URL"])
if tasks.IS_WATCHED:
    broker.add_middleware(BeanwatchMiddleware(os.environ.get("WORKER_NAME", "dramatiq")))
dramatiq.set_broker(broker)

for name in ("quick", "fail", "busy", "hang", "hold_lock", "die"):
    dramatiq.actor(queue_name="mail", max_retries=0, actor_name=name)(getattr(tasks, name))
dramatiq.actor(queue_name="mail", actor_name="work")(tasks.work)


@dramatiq.actor(queue_name="mail", max_retries=1, min_backoff=100)
def again() -> None:
    raise RuntimeError("the printer is busy")


if __name__ == "__main__":
    for line in sys.stdin:
        function, arguments, options = json.loads(line)
        if function == "unknown":
            message = dramatiq.Message("mail", arguments[0], (), {}, {})
            broker.enqueue(message)
        else:
            actor = broker.get_actor(function)
            message = actor.send_with_options(args=arguments, **options)
        print(json.dumps(message.message_id), flush=True)
