//! A checkpoint that does not fit its schema.

use super::*;
use crate::messages::tests::schema_without_values_of;

#[tokio::test]
async fn a_checkpoint_that_does_not_fit_its_schema_is_not_written_and_closes_its_stream_alone() {
    let log = Scripted::default();
    let strict = schema_without_values_of(schemas::checkpoint::SCHEMA, "cursor");
    let schemas = SchemaTexts {
        checkpoint: &strict,
        ..messages::OWN
    };
    let (committer, sink) = start_with(&log, schemas);
    sink.submit(page(0, 5)).await.unwrap();
    let last = Page {
        records: page(5, 5).records,
        ..last_page(Reason::Incremental, None, Some(7))
    };
    assert_eq!(sink.submit(last).await, Err(SinkClosed));
    // Not even a page that would fit, as the one before it is missing.
    assert_eq!(sink.submit(page(10, 5)).await, Err(SinkClosed));
    sink.settle().await.unwrap();
    let kept = sink.state().checkpoint();
    assert_eq!((kept.cursor, kept.records_total), (None, 5));
    let error = sink.state().take_failure().unwrap();
    assert!(error.to_string().contains("field cursor"), "{error}");

    let other = committer.sink(
        checkpoint("companies"),
        sink.state().definitions(),
        StreamIndex::default(),
    );
    other.submit(page(5, 5)).await.unwrap();
    other.settle().await.unwrap();
    assert!(!committer.has_ended());
    let memory = log.0.lock().unwrap();
    assert!(memory.committed.iter().all(|it| it.2 > 0), "{memory:?}");
    drop(memory);
    assert_eq!(log.keys("t.records").len(), 10);
}
