import java.util.Map;
import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.server.policy.CreateTopicPolicy;

/** Refuses topics for messages above 1 MiB, as providers do above a size of theirs. */
public class MessageSizePolicy implements CreateTopicPolicy {
    @Override
    public void validate(RequestMetadata topic) {
        String size = topic.configs().get("max.message.bytes");
        if (size != null && Long.parseLong(size) > 1 << 20) {
            throw new PolicyViolationException("max.message.bytes may be at most 1048576");
        }
    }

    @Override
    public void configure(Map<String, ?> settings) {}

    @Override
    public void close() {}
}
