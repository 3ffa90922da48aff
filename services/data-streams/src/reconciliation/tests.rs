//! Comparisons over parts in memory, whose tables, log and dead letters are set.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Mutex,
};

use async_trait::async_trait;
use schemas::{DigestRange, Millis};

use super::*;
use crate::{
    comparison::{DifferentRange, StoredRange, StoredRanges},
    ingest::JobError,
};

/// Objects in the verdict: one range with one object.
const IN_LOG: DigestRange = DigestRange {
    first_id: 0,
    objects: 1,
    digest: 7,
};

/// What the tables have where they lack the object.
const LACKING: StoredRange = StoredRange {
    objects: 0,
    live: 0,
    digest: 0,
    unverified: 0,
};

/// What they have where they have it.
const COMPLETE: StoredRange = StoredRange {
    objects: 1,
    live: 1,
    digest: 7,
    unverified: 0,
};

#[derive(Debug, Default)]
struct FakeParts {
    follows: bool,
    /// What the tables have at each look; the last one stays.
    looks: Mutex<VecDeque<StoredRange>>,
    dead: BTreeSet<i64>,
    kafka_is_away: bool,
    records_wait: bool,
    /// For so many looks another instance fills the tables.
    others_refill: Mutex<usize>,
    kept: Mutex<Vec<Comparison>>,
    /// What another instance keeps during the first look.
    while_looking: Mutex<Option<Comparison>>,
    /// What was done, in order.
    done: Mutex<Vec<&'static str>>,
}

impl FakeParts {
    fn with(looks: &[StoredRange]) -> Self {
        Self {
            looks: Mutex::new(looks.iter().copied().collect()),
            ..Self::default()
        }
    }

    fn done(&self) -> Vec<&'static str> {
        self.done.lock().unwrap().clone()
    }
}

#[async_trait]
impl Ports for FakeParts {
    fn now_ms(&self) -> Millis {
        9
    }

    fn leads(&self) -> bool {
        !self.follows
    }

    async fn kept(&self, streams: &[StreamName]) -> Result<Vec<Comparison>, Failure> {
        assert!(!streams.is_empty());
        let kept = self.kept.lock().unwrap().clone();
        Ok(kept
            .into_iter()
            .min_by_key(|it| it.compared_at)
            .into_iter()
            .collect())
    }

    async fn keep(&self, comparison: &Comparison) -> Result<(), Failure> {
        self.kept.lock().unwrap().push(comparison.clone());
        Ok(())
    }

    async fn until_loaded(&self) -> Result<bool, Failure> {
        if self.kafka_is_away {
            return Err(JobError::Kafka("away".to_owned()).into());
        }
        Ok(!self.records_wait)
    }

    async fn stored(
        &self,
        _subject: &Subject,
        _ranges: &[DigestRange],
    ) -> Result<StoredRanges, Failure> {
        let other = self.while_looking.lock().unwrap().take();
        self.kept.lock().unwrap().extend(other);
        let mut looks = self.looks.lock().unwrap();
        let look = match looks.len() {
            1 => looks[0],
            _ => looks.pop_front().unwrap(),
        };
        Ok(StoredRanges::from([(0, look)]))
    }

    async fn dead_objects(
        &self,
        _subject: &Subject,
        _ranges: Vec<DifferentRange>,
    ) -> Result<BTreeSet<i64>, Failure> {
        Ok(self.dead.clone())
    }

    async fn others_refill(&self) -> Result<bool, Failure> {
        let mut left = self.others_refill.lock().unwrap();
        let refills = *left > 0;
        *left = left.saturating_sub(1);
        Ok(refills)
    }

    async fn refill(&self) -> Result<(), Failure> {
        self.done.lock().unwrap().push("refill");
        Ok(())
    }

    async fn ask_for_resync(&self, _subject: &Subject) -> Result<(), Failure> {
        self.done.lock().unwrap().push("resync");
        Ok(())
    }
}

fn subject(run_id: &str) -> Subject {
    Subject {
        connection: "default".to_owned(),
        destination: "hubspot".to_owned(),
        verdict: Arc::new(Verdict {
            stream: "contacts".to_owned(),
            run_id: run_id.to_owned(),
            objects: 1,
            ranges: vec![IN_LOG],
            ..Verdict::default()
        }),
        asked: None,
        is_running: true,
    }
}

/// The comparison of a verdict, and what was done about it.
async fn settled(parts: &FakeParts, subject: &Subject) -> (Comparison, Vec<&'static str>) {
    let comparison = settle(parts, subject, None).await.unwrap();
    assert_eq!(parts.kept.lock().unwrap().last(), Some(&comparison));
    (comparison, parts.done())
}

#[tokio::test]
async fn tables_that_have_what_the_log_has_are_left_alone() {
    let parts = FakeParts::with(&[COMPLETE]);
    let (comparison, done) = settled(&parts, &subject("a")).await;
    assert_eq!((comparison.in_hubspot, comparison.in_warehouse), (1, 1));
    assert_eq!((comparison.still_different, comparison.compared_at), (0, 9));
    assert!(done.is_empty());
}

/// The partition moved while the other instance compared: both did.
#[tokio::test]
async fn of_two_instances_that_compared_one_pass_the_first_is_believed_by_both() {
    let other = Comparison {
        compared_at: 5,
        ..Comparison::new("default", &subject("a").verdict)
    };
    let parts = FakeParts::with(&[COMPLETE]);
    *parts.while_looking.lock().unwrap() = Some(other.clone());
    let comparisons = Comparisons::default();
    let step = step(&parts, &comparisons, vec![subject("a")]).await;
    assert_eq!(step.unwrap(), Step::AllCompared);
    assert_eq!(comparisons.last("default", "contacts"), Some(other));
}

#[tokio::test]
async fn tables_that_differ_are_filled_from_the_log_once() {
    let parts = FakeParts::with(&[LACKING, COMPLETE]);
    let (comparison, done) = settled(&parts, &subject("a")).await;
    assert_eq!(comparison.still_different, 0);
    assert_eq!(done, ["refill"]);
}

#[tokio::test]
async fn what_the_log_lacks_is_asked_for_once() {
    let parts = FakeParts::with(&[LACKING]);
    let first = subject("a");
    let (comparison, done) = settled(&parts, &first).await;
    assert_eq!(comparison.still_different, 1);
    assert_eq!(done, ["refill", "resync"]);

    // The pass that wrote every object, and the next scheduled one.
    let resync = Subject {
        asked: Some(RequestKind::Resync),
        ..subject("b")
    };
    let parts = FakeParts::with(&[LACKING]);
    for subject in [resync, subject("c")] {
        let again = settle(&parts, &subject, Some(&comparison)).await.unwrap();
        assert_eq!(again.still_different, 1);
        assert!(parts.done().is_empty(), "{subject:?}");
    }

    // Somebody asks for it.
    let asked = Subject {
        asked: Some(RequestKind::Reconcile),
        ..subject("d")
    };
    settle(&parts, &asked, Some(&comparison)).await.unwrap();
    assert_eq!(parts.done(), ["refill", "resync"]);
}

#[tokio::test]
async fn a_stopped_connection_gets_no_request_of_its_own() {
    let parts = FakeParts::with(&[LACKING]);
    let stopped = Subject {
        is_running: false,
        ..subject("a")
    };
    assert_eq!(settled(&parts, &stopped).await.1, ["refill"]);
}

#[tokio::test]
async fn what_dead_letters_explain_is_reported_only() {
    let parts = FakeParts {
        dead: BTreeSet::from([4]),
        ..FakeParts::with(&[LACKING])
    };
    let (comparison, done) = settled(&parts, &subject("a")).await;
    assert_eq!(comparison.still_different, 1);
    assert!(done.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_by_another_instance_is_waited_for_and_may_be_the_repair() {
    let parts = FakeParts {
        others_refill: Mutex::new(2),
        ..FakeParts::with(&[LACKING, LACKING, COMPLETE])
    };
    let (comparison, done) = settled(&parts, &subject("a")).await;
    assert_eq!(comparison.still_different, 0);
    assert!(done.is_empty());
}

#[tokio::test]
async fn a_verdict_is_compared_once_by_the_instance_that_leads() {
    let comparisons = Comparisons::default();
    let parts = FakeParts {
        follows: true,
        ..FakeParts::with(&[COMPLETE])
    };
    let outstanding = vec![subject("a")];
    let following = step(&parts, &comparisons, outstanding.clone()).await;
    assert_eq!(following.unwrap(), Step::Waiting);
    assert_eq!(comparisons.last("default", "contacts"), None);

    let leader = FakeParts::with(&[COMPLETE]);
    let own = Comparisons::default();
    for _ in 0..2 {
        let led = step(&leader, &own, outstanding.clone()).await;
        assert_eq!(led.unwrap(), Step::AllCompared);
    }
    let kept = leader.kept.lock().unwrap().clone();
    assert_eq!(kept.len(), 1);

    // The others, and an instance that starts, read it.
    *parts.kept.lock().unwrap() = kept.clone();
    let following = step(&parts, &comparisons, outstanding.clone()).await;
    assert_eq!(following.unwrap(), Step::AllCompared);
    assert_eq!(
        comparisons.last("default", "contacts"),
        Some(kept[0].clone())
    );

    // A deleted connection has no verdict.
    comparisons.retain(&[]);
    assert_eq!(comparisons.last("default", "contacts"), None);
}

#[tokio::test]
async fn while_records_wait_what_is_equal_is_compared_and_what_differs_is_not_repaired() {
    for (look, is_compared) in [(COMPLETE, true), (StoredRange::default(), false)] {
        let comparisons = Comparisons::default();
        let parts = FakeParts {
            records_wait: true,
            ..FakeParts::with(&[look])
        };
        let outcome = step(&parts, &comparisons, vec![subject("a")]).await;
        if is_compared {
            assert_eq!(outcome.unwrap(), Step::AllCompared);
        } else {
            assert!(matches!(outcome, Err(Failure::RecordsWait)));
        }
        assert_eq!(
            comparisons.last("default", "contacts").is_some(),
            is_compared
        );
        assert_eq!(parts.done(), [""; 0]);
    }
}

#[tokio::test]
async fn a_verdict_that_cannot_be_compared_now_is_tried_again() {
    let comparisons = Comparisons::default();
    let mut parts = FakeParts {
        kafka_is_away: true,
        ..FakeParts::with(&[COMPLETE])
    };
    let outstanding = vec![subject("a")];
    let failed = step(&parts, &comparisons, outstanding.clone()).await;
    assert!(matches!(failed, Err(Failure::Job(JobError::Kafka(_)))));
    parts.kafka_is_away = false;
    let tried = step(&parts, &comparisons, outstanding).await;
    assert_eq!(tried.unwrap(), Step::AllCompared);
}
