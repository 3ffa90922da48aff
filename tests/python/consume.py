"""Reads a records topic to its end with Confluent's stock client and prints
how many distinct objects of each type it holds.

It must not know anything of this repository: what it needs is in the topic
and in the registry.
"""

import json
import sys

from confluent_kafka import DeserializingConsumer, KafkaError, TopicPartition
from confluent_kafka.error import ConsumeError
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import StringDeserializer


def main() -> int:
    bootstrap, registry, topic = sys.argv[1:4]
    consumer = DeserializingConsumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "stranger-python",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "key.deserializer": StringDeserializer(),
            "value.deserializer": AvroDeserializer(
                # With a limit a request without an answer is repeated.
                SchemaRegistryClient({"url": registry, "timeout": 10})
            ),
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    open_partitions = set(partitions)
    seen: dict[str, set[int]] = {}
    while open_partitions:
        try:
            message = consumer.poll(10)
        except ConsumeError as error:
            if error.code != KafkaError._PARTITION_EOF:
                raise
            open_partitions.discard(error.kafka_message.partition())
            continue
        if message is None:
            print("no message within 10 s", file=sys.stderr)
            return 1
        record = message.value()
        key = f"{record['portal_id']}/{record['object_type']}/{record['object_id']}"
        if message.key() != key:
            print(f"key {message.key()} is not {key}", file=sys.stderr)
            return 1
        if not record["deleted"] and not isinstance(record["properties"], dict):
            print(f"{key} has no properties", file=sys.stderr)
            return 1
        seen.setdefault(record["object_type"], set()).add(record["object_id"])
    consumer.close()
    print(json.dumps({name: len(ids) for name, ids in seen.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
