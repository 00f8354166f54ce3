"""Reads an MCAP file with the public reader and prints what it found: one JSON object with messages per topic."""
import collections
import json
import sys

from mcap.reader import make_reader

with open(sys.argv[1], "rb") as stream:
    topics = collections.Counter()
    last = collections.defaultdict(int)
    for schema, channel, message in make_reader(stream).iter_messages():
        fields = json.loads(message.data)
        assert schema.encoding == "jsonschema" and json.loads(schema.data), channel.topic
        assert fields["_id"].count(".") == 2, fields["_id"]
        assert message.log_time >= last[channel.topic], channel.topic
        last[channel.topic] = message.log_time
        topics[channel.topic] += 1
print(json.dumps({"messages": sum(topics.values()), "topics": topics}))
