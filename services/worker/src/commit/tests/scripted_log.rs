//! A log in memory whose failures are scripted.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use crate::commit::{
    TransactionalLog,
    log::{Failure, RejectedMessage},
    transaction::Outgoing,
};

/// The log in memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) open: Vec<Sent>,
    /// What a reader of committed messages sees: topic, key, size.
    pub(super) committed: Vec<(String, String, usize)>,
    pub(super) transactions: usize,
    /// Outcomes of the next steps of each kind; what is not scripted succeeds.
    pub(super) faults: HashMap<&'static str, VecDeque<Failure>>,
    /// A key that the broker always refuses.
    pub(super) refused: Option<String>,
    /// Whether it refuses that message also as a dead letter, but not without its value.
    pub(super) refused_as_dead: bool,
}

/// A message that was handed over.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    index: usize,
    topic: String,
    key: String,
    size: usize,
    is_dead: bool,
}

/// A log whose steps fail as scripted.
#[derive(Debug, Clone, Default)]
pub(super) struct Scripted(pub(super) Arc<Mutex<Memory>>);

impl Scripted {
    pub(super) fn fail(
        self,
        step: &'static str,
        failures: impl IntoIterator<Item = Failure>,
    ) -> Self {
        self.0
            .lock()
            .unwrap()
            .faults
            .entry(step)
            .or_default()
            .extend(failures);
        self
    }

    pub(super) fn step(&self, step: &'static str) -> Result<(), Failure> {
        let mut memory = self.0.lock().unwrap();
        match memory.faults.get_mut(step).and_then(VecDeque::pop_front) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    pub(super) fn keys(&self, topic: &str) -> Vec<String> {
        let memory = self.0.lock().unwrap();
        let of_topic = memory.committed.iter().filter(|it| it.0 == topic);
        of_topic.map(|it| it.1.clone()).collect()
    }

    pub(super) fn transactions(&self) -> usize {
        self.0.lock().unwrap().transactions
    }
}

impl TransactionalLog for Scripted {
    fn begin(&mut self) -> Result<(), Failure> {
        self.step("begin")
    }

    fn send(&mut self, index: usize, message: &Outgoing<'_>) -> Result<(), Failure> {
        self.step("send")?;
        let is_dead = message.dead.is_some();
        let sent = Sent {
            index,
            topic: if is_dead {
                "t.dead-letters".to_owned()
            } else {
                message.topic.to_owned()
            },
            key: message.key.to_owned(),
            size: message.payload.map_or(0, <[u8]>::len),
            is_dead,
        };
        self.0.lock().unwrap().open.push(sent);
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Failure> {
        self.step("drain")?;
        let memory = self.0.lock().unwrap();
        let refused = memory
            .open
            .iter()
            .filter(|it| memory.refused.as_ref() == Some(&it.key))
            .filter(|it| !it.is_dead || (memory.refused_as_dead && it.size > 0));
        let refused: Vec<_> = refused
            .map(|it| RejectedMessage {
                index: it.index,
                error: "refused".to_owned(),
            })
            .collect();
        if refused.is_empty() {
            Ok(())
        } else {
            Err(Failure::Rejected(refused))
        }
    }

    fn commit(&mut self) -> Result<(), Failure> {
        self.step("commit")?;
        let mut memory = self.0.lock().unwrap();
        let open = std::mem::take(&mut memory.open);
        memory.transactions += 1;
        memory
            .committed
            .extend(open.into_iter().map(|it| (it.topic, it.key, it.size)));
        Ok(())
    }

    fn abort(&mut self) -> Result<(), Failure> {
        self.step("abort")?;
        self.0.lock().unwrap().open.clear();
        Ok(())
    }
}
