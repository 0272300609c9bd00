"""A worker refuses source topics whose records carry their producers' time."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from ops.stack.local import LocalStack
from streams.failures import FatalFailure
from streams.routing import Index, Route
from streams.settings import Settings
from streams.topics import Topic
from streams.worker import check_append_time
from tests.unit.streams.core_world import Added, Tally

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("append_time", [True, False])
def test_a_source_topic_without_append_time_is_refused_with_the_remedy(
    broker: LocalStack, unique: str, append_time: bool
) -> None:
    topic = Topic(unique, "tenant_id", (Added.RECORD,), append_time=append_time)
    settings = Settings.read(bootstrap_servers=broker.bootstrap_servers)
    admin = AdminClient(settings.librdkafka_config())
    for created in admin.create_topics([NewTopic(unique, 1, 1, config=topic.config)]).values():
        created.result(30)
    index = Index([Route(Added, topic, Tally().aggregate, lambda event: str(event.tenant_id))], [])
    if append_time:
        check_append_time(settings, index)
        return
    with pytest.raises(FatalFailure, match=f"{unique}; run `sluice setup`"):
        check_append_time(settings, index)
